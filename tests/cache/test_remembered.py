"""An answer is computed once for the same inputs; an error is raised each time."""

import pytest

from lycoris.cache import remembered
from lycoris.cache.remembered import remember


def test_an_answer_is_computed_again_when_something_it_depends_on_changes(tmp_path, monkeypatch):
    runs = []

    def ask(question, rank):
        return remember(
            tmp_path, question, {"rank": rank}, lambda: runs.append((question, rank)) or {"twice": 2 * rank}
        )

    assert [ask("size", rank)["twice"] for rank in (4, 4, 8, 4)] == [8, 8, 16, 8]
    assert runs == [("size", 4), ("size", 8)]
    ask("cost", 4)
    monkeypatch.setattr(remembered, "_installed_packages", lambda: ["torch-9.9.dist-info"])
    ask("size", 4)
    assert runs[2:] == [("cost", 4), ("size", 4)]


def test_a_damaged_answer_is_computed_again(tmp_path):
    assert remember(tmp_path, "size", {}, lambda: 3) == 3
    (file,) = (tmp_path / remembered.ANSWERS_DIR).iterdir()
    file.write_text("")
    assert remember(tmp_path, "size", {}, lambda: 4) == 4


def test_an_error_is_not_kept(tmp_path):
    def fail():
        raise ValueError("no")

    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            remember(tmp_path, "size", {}, fail)
    assert not list(tmp_path.rglob("*"))


def test_no_output_folder_is_created(tmp_path):
    assert remember(tmp_path / "runs" / "store", "size", {}, lambda: 1) == 1
    assert not (tmp_path / "runs").exists()


def test_a_folder_that_cannot_be_written_does_not_matter(tmp_path):
    (tmp_path / "store").write_text("a file where the folder should be")
    assert remember(tmp_path / "store", "size", {}, lambda: 1) == 1
