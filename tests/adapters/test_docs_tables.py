"""The generated tables of the documentation are up to date."""

from __future__ import annotations

from lycoris.adapters import ALGORITHMS
from tests.adapters import docs_tables
from tests.adapters.cases import LAYERS


def test_the_tables_in_the_document_are_up_to_date():
    text = docs_tables.DOCUMENT.read_text()
    for name in docs_tables.TABLES:
        assert text.count(f"<!-- {name}: begin -->") == text.count(f"<!-- {name}: end -->") == 1
    assert text == docs_tables.updated_document(text), "run `python -m tests.adapters.docs_tables`"


def test_the_tables_name_every_algorithm_layer_and_test():
    table = docs_tables.coverage_table()
    assert all(f"| `{algorithm}` | defaults |" in table for algorithm in ALGORITHMS)
    assert all(f" {layer} " in table for layer in LAYERS)
    assert len(docs_tables.certified_tests()) >= 8
    assert "●" in table
    assert "○" in table
    assert all(f"| `{algorithm}`" in docs_tables.algorithm_table() for algorithm in ALGORITHMS)
