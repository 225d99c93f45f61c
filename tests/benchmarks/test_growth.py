"""The benchmark of growth: its fit, and lines that need no MLflow, at small sizes."""

import json

import pytest

from benchmarks.growth import exponent, main


def test_the_power_of_a_line_is_fitted_on_logarithms():
    assert exponent((1, 10, 100), (3.0, 30.0, 300.0), 0.1) == pytest.approx(1)
    assert exponent((1, 2, 4), (1.0, 4.0, 16.0), 0.1) == pytest.approx(2)
    assert exponent((1, 10, 100), (0.1, 30.0, 300.0), 0.1) == pytest.approx(1)
    assert exponent((1, 2), (0.1, 0.2), 0.1) is None


def test_small_lines_are_measured(capsys):
    main(["--smoke", "--only", "concepts,images,stages,ranks", "--json"])
    results = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert all(each["sizes"] == [2, 4, 8] for each in results.values())
    assert list(results) == ["concepts", "images", "stages", "ranks"]
    assert results["stages"]["powers"]["disk_mb"] == pytest.approx(1, abs=0.05)
    assert all(figure["cpu_s"] > 0 for each in results.values() for figure in each["figures"])
