"""The table of what is certified says what the tests do."""

from __future__ import annotations

from lycoris.adapters import ALGORITHMS
from tests.adapters import certificate
from tests.adapters.cases import LAYERS


def test_the_table_in_the_document_is_what_the_tests_run_over():
    text = certificate.DOCUMENT.read_text()
    assert text.count(certificate.BEGIN) == text.count(certificate.END) == 1
    assert text == certificate.updated_document(text), "run `python -m tests.adapters.certificate`"


def test_the_table_names_every_algorithm_every_layer_and_the_tests():
    table = certificate.coverage_table()
    assert all(f"| `{algorithm}` | defaults |" in table for algorithm in ALGORITHMS)
    assert all(f" {layer} " in table for layer in LAYERS)
    assert len(certificate.certified_tests()) >= 8
    assert "●" in table
    assert "○" in table
