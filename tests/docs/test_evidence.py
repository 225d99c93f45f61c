"""Each result in the documents has a source or a reason, and each table a stamp of what it was made with."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from flows.studies.evidence import documents, making, stamps
from flows.studies.evidence.__main__ import main
from flows.studies.evidence.documents import check_documents, update_documents
from flows.studies.evidence.figures import (
    DATA,
    ROOT,
    Value,
    check_blocks,
    check_unsourced,
    expected_figures,
    falsify,
    figure_blocks,
    figures_in,
    read_sources,
    read_unsourced,
    read_values,
    unsourced_figures,
    write_blocks,
)
from flows.studies.evidence.published import published_values, render_values
from flows.studies.evidence.result_tables import check_tables, keep_scores, render_table
from flows.studies.evidence.stamps import Made, TableRecord, read_records, stale_inputs, stamp_sentence, tree_inputs
from lycoris.errors import InputError
from tests.analysis.conftest import PAPER

UNSOURCED_FIGURES = 973
"""Figures of results without a file with their source; the number falls as tables are made again."""
VALUES = {"a": Value(0.125, -0.5, 0.75), "b": Value(31.0)}
TREE = {"data": "11111111", "weights": "22222222", "definitions": "33333333"}


def text_of(document: str) -> str:
    return (ROOT / document).read_text()


def test_every_figure_and_stamp_of_the_documents_is_as_its_source() -> None:
    assert check_documents() == []


def test_a_figure_of_a_block_that_is_changed_by_one_in_its_last_place_is_found() -> None:
    count = 0
    for document in documents.documents():
        text = text_of(document)
        sources = read_sources(text)
        for _, _, start, block in figure_blocks(text):
            for figure in figures_in(block):
                changed = text[:start] + falsify(block, figure) + text[start + len(block) :]
                assert changed != text
                assert len(check_blocks(changed, sources)) == 1, (document, figure)
                count += 1
    assert count == 78


def test_a_figure_without_a_source_that_is_changed_by_one_in_its_last_place_is_found() -> None:
    count = 0
    for document, sections in read_unsourced().items():
        text = text_of(document)
        for heading, listed in sections.items():
            assert str(listed["reason"])
            for figure in unsourced_figures(text, heading):
                assert len(check_unsourced(falsify(text, figure), {heading: listed})) == 1, (document, figure)
                count += 1
    assert count == UNSOURCED_FIGURES


@pytest.mark.skipif(not (PAPER / "metrics_mean.csv").is_file(), reason="there is no published table")
@pytest.mark.slow
def test_the_values_of_the_published_table_are_what_it_gives() -> None:
    assert render_values(published_values(PAPER)) == text_of("docs/data/published.csv")


def test_figures_are_numbers_of_the_prose_alone() -> None:
    text = "95 of 1,234 at −.05 [.01, +2.5], 16/8 `7` <!-- 8 --> [x](y9.md#3) v2\n\n    code 4\n"
    assert [one.text for one in figures_in(text)] == ["95", "1,234", "−.05", ".01", "+2.5", "16", "8"]


def test_expressions_print_values_as_documents_do() -> None:
    assert expected_figures("a:2 a:+2i a:-2i b:d =16", VALUES) == [
        *(".12", "+.12", "−.50", ".75"), *("−.12", "−.75", ".50", "31", "16"),
    ]  # fmt: skip
    for wrong, message in (("c:2", "c"), ("a:x", "KEY:FORMAT"), ("b:2i", "interval")):
        with pytest.raises(InputError, match=message):
            expected_figures(wrong, VALUES)


def test_blocks_are_written_from_their_sources() -> None:
    text = "x\n<!-- figures s: a:+2i =7 -->\nIt is +.99 [0, .5] of 7.\n<!-- /figures -->\n"
    assert len(check_blocks(text, {"s": VALUES})) == 3
    written = write_blocks(text, {"s": VALUES})
    assert "It is +.12 [−.50, .75] of 7." in written
    assert check_blocks(written, {"s": VALUES}) == []
    assert "named" in check_blocks(text.replace(" of 7", ""), {"s": VALUES})[0]


def test_a_file_of_values_with_a_key_twice_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("key,value,low,high\na,1,,\na,2,,\n")
    with pytest.raises(InputError, match="`a` twice"):
        read_values(tmp_path / "s.csv")
    with pytest.raises(InputError, match="no file"):
        read_values(tmp_path / "t.csv")


@pytest.mark.parametrize("name", sorted(TREE))
def test_a_stamp_that_is_not_of_the_trees_inputs_says_made_on_an_earlier_version(name: str) -> None:
    record = TableRecord("t", "docs/t.md", Made("abc1234", TREE), commands=("study t",))
    assert stale_inputs(record, TREE) == []
    assert stamp_sentence(record, TREE).startswith("Made with commit `abc1234`, data `11111111`")
    for other in ("44444444", None):
        made = Made("abc1234", {**TREE, name: other})
        assert stale_inputs(replace(record, made=made), TREE) == [name]
        assert stamp_sentence(replace(record, made=made), TREE).startswith("**Made on an earlier version** (")


def test_a_change_of_the_data_makes_the_stamp_of_a_current_table_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = small_project(tmp_path, monkeypatch)
    assert check_documents(project) == []
    (project / "data.dvc").write_text("outs:\n- md5: 99999999\n")
    [problem] = check_documents(project)
    assert "says `Made with" in problem
    assert "instead of `**Made on an earlier version**" in problem
    update_documents(project)
    assert check_documents(project) == []


def small_project(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One document with one table that is current."""
    monkeypatch.setattr(
        stamps, "tree_inputs",
        lambda sources, root: {**TREE, "data": re.findall("md5: (.{8})", (root / "data.dvc").read_text())[0]},
    )  # fmt: skip
    (folder / DATA).mkdir(parents=True)
    (folder / "data.dvc").write_text("outs:\n- md5: 11111111\n")
    (folder / DATA / "evidence.yaml").write_text(
        "tables:\n  t:\n    document: docs/t.md\n    commands: [study t]\n    study: t\n"
        "    made: {commit: abc, data: '11111111', weights: '22222222', definitions: '33333333'}\n"
    )
    (folder / DATA / "unsourced.yaml").write_text("sections: {}\n")
    (folder / "docs/t.md").write_text("# T\n\n<!-- stamp t -->\n\n<!-- /stamp -->\n<!-- table t -->\n<!-- /table -->\n")
    update_documents(folder)
    return folder


def test_a_finished_study_leaves_scores_and_a_table_in_which_no_figure_can_be_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = small_project(tmp_path, monkeypatch)
    study = tmp_path / "runs"
    study.mkdir()
    with pytest.raises(InputError, match="has not finished"):
        keep_scores(study, "t", project)
    scores = "category,concept,algorithm,captions,seed,name,value,other\ntoys,bop,lora,all,0,vendi/alter/clip,2,x\n"
    (study / "scores.csv").write_text(scores)
    columns = "category,factor,level,against,metric,prompt_type,encoder,effect,low,high,pairs,concepts"
    (study / "effects_by_category.csv").write_text(
        f"{columns}\nmy_toys,captions,none,all,fidelity,all,,0.125,0.05,0.2,9,3\n"
        "my_toys,captions,none,all,preservation,all,,-0.3,,,9,3\nmy_toys,captions,none,all,vendi,all,,1,,,9,3\n"
    )
    keep_scores(study, "t", project)
    assert "other" not in (project / DATA / "t-scores.csv").read_text()
    assert "| my toys | none - all | +.12 [.05, .20] | −.30 | 9 | 3 |" in render_table("t", project)
    assert len(check_documents(project)) == 1
    update_documents(project)
    text = (project / "docs/t.md").read_text()
    assert check_documents(project) == []
    table = text[text.index("| my toys") :]
    for figure in figures_in(table):
        assert check_tables(text.replace(table, falsify(table, figure)), project)


def test_a_table_is_recorded_when_it_is_made_and_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = small_project(tmp_path, monkeypatch)
    (project / "data.dvc").write_text("outs:\n- md5: 99999999\n")
    calls = []
    tree = {**TREE, "data": "99999999"}
    monkeypatch.setattr(making, "tree_inputs", lambda *a: tree)
    monkeypatch.setattr(making, "read_tree", lambda *a: tree)
    monkeypatch.setattr(making, "_run_module", lambda name, words, root: calls.append(list(words)))
    monkeypatch.setattr(making, "keep_scores", lambda folder, name, root: calls.append([folder.name, name]))
    [record] = read_records(project).values()
    assert making.plan_lines([record])[0].startswith("t in docs/t.md: data; hours not known")
    making.make_table(replace(record, commands=("study t --set output=OUTPUT",)), tmp_path / "out", None, project)
    assert calls == [["flows.cli", "study", "t", "--set", f"output={tmp_path}/out/t"], ["t", "t"]]
    [again] = read_records(project).values()
    assert again.made is not None
    assert again.made.inputs == tree
    assert stale_inputs(again, tree) == []


def test_the_plan_names_every_stale_table_and_its_hours(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--plan"]) == 0
    lines = capsys.readouterr().out.splitlines()
    stale = [name for name, one in read_records().items() if stale_inputs(one, tree_inputs(one.sources))]
    assert [line.split(" in docs/")[0] for line in lines[:-1]] == stale
    assert lines[-1].startswith(f"{len(stale)} stale, ")
    assert main(["--only", "trsut"]) == 2
    assert "Did you mean `trust`" in capsys.readouterr().err
