"""Each result in the documents has a source or a reason, and each table a stamp of what it was made with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from flows.studies.evidence import documents, making
from flows.studies.evidence.__main__ import main
from flows.studies.evidence.documents import check_documents, update_documents
from flows.studies.evidence.figures import (
    DATA,
    ROOT,
    Value,
    check_blocks,
    check_coverage,
    check_unsourced,
    expected_figures,
    falsify,
    figure_blocks,
    figures_in,
    read_sources,
    read_unsourced,
    read_values,
    uncovered_figures,
    unsourced_figures,
    write_blocks,
)
from flows.studies.evidence.published import published_values, render_values
from flows.studies.evidence.result_tables import check_tables, keep_scores, render_table
from flows.studies.evidence.stamps import Made, TableRecord, read_records, stale_inputs, stamp_sentence, tree_inputs
from lycoris.errors import InputError
from tests.analysis.conftest import PAPER

UNSOURCED_FIGURES = 973
"""Figures of results without a file with their source, at most; the number falls as tables are made again."""
BLOCK_FIGURES = 78
"""Figures that are compared with a file, at least."""
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
    assert count >= BLOCK_FIGURES


@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_a_figure_without_a_source_that_is_changed_by_one_in_its_last_place_is_found(step: int) -> None:
    count = 0
    for document, sections in read_unsourced().items():
        text = text_of(document)
        for heading, listed in sections.items():
            assert str(listed["reason"])
            figures = unsourced_figures(text, heading)
            for figure in figures[::step]:
                assert len(check_unsourced(falsify(text, figure), {heading: listed})) == 1, (document, figure)
            count += len(figures)
    assert count == sum(
        int(listed["figures"]) for sections in read_unsourced().values() for listed in sections.values()
    )
    assert count <= UNSOURCED_FIGURES


def test_a_document_with_figures_that_are_neither_covered_nor_listed_is_named(tmp_path: Path) -> None:
    (tmp_path / DATA).mkdir(parents=True)
    (tmp_path / "docs/questions").mkdir()
    (tmp_path / DATA / "evidence.yaml").write_text("tables: {}\n")
    listed = tmp_path / DATA / "unsourced.yaml"
    listed.write_text("sections: {}\nnot_covered: {}\n")
    (tmp_path / "docs/words.md").write_text("# No figures\n")
    assert check_documents(tmp_path) == []
    for document in ("README.md", "docs/new.md", "docs/questions/new.md"):
        (tmp_path / document).write_text("# New\n\n## Result\n\nIt is .87 of 12.\n")
        [problem] = check_documents(tmp_path)
        assert problem.startswith(f"{document}: 2 figures, the first `.87` in line 5, are in no block")
        listed.write_text(f"sections: {{}}\nnot_covered: {{{document}: limits}}\n")
        assert check_documents(tmp_path) == []
        (tmp_path / document).write_text("# New\n")
        assert check_documents(tmp_path) == [
            f"{document}: `not_covered` of docs/data/unsourced.yaml lists the document, and all its figures are covered"
        ]
        (tmp_path / document).unlink()
        assert check_documents(tmp_path) == [f"{document}: docs/data/unsourced.yaml lists it, and it is not there"]
        listed.write_text("sections: {}\nnot_covered: {}\n")


def test_figures_outside_the_listed_sections_of_a_document_are_uncovered() -> None:
    text = (
        "# A\n\n1\n\n## B\n\n2 <!-- figures s: a:2 -->3<!-- /figures -->\n\n"
        "<!-- table t -->\n| 4 |\n<!-- /table -->\n\n## C\n\n5\n"
    )
    assert [one.text for one in uncovered_figures(text, ["B"])] == ["1", "5"]
    assert [one.text for one in unsourced_figures(text, "B")] == ["2"]
    assert check_coverage(text, ["A"], None) == []


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


def test_a_change_of_the_data_makes_the_stamp_of_a_current_table_wrong(tmp_path: Path) -> None:
    project = small_project(tmp_path)
    assert check_documents(project) == []
    change_data(project)
    [problem] = check_documents(project)
    assert "says `Made with" in problem
    assert "instead of `**Made on an earlier version**" in problem
    update_documents(project)
    assert check_documents(project) == []


def small_project(folder: Path) -> Path:
    """One document with one table that is current; weights and definitions are the library's own."""
    (folder / DATA).mkdir(parents=True)
    (folder / "data.dvc").write_text("outs:\n- md5: 11111111\n")
    tree = tree_inputs(root=folder)
    (folder / DATA / "evidence.yaml").write_text(
        "tables:\n  t:\n    document: docs/t.md\n    script: [tiny_study, OUTPUT]\n    study: t\n"
        f"    made: {{commit: abc, data: '11111111', weights: '{tree['weights']}', "
        f"definitions: '{tree['definitions']}'}}\n"
    )
    (folder / DATA / "unsourced.yaml").write_text("sections: {}\nnot_covered: {}\n")
    (folder / "docs/t.md").write_text("# T\n\n<!-- stamp t -->\n\n<!-- /stamp -->\n<!-- table t -->\n<!-- /table -->\n")
    update_documents(folder)
    return folder


def change_data(project: Path) -> None:
    (project / "data.dvc").write_text("outs:\n- md5: 99999999\n")
    tree_inputs.cache_clear()


SCORES = "category,concept,algorithm,captions,seed,name,value,other\ntoys,bop,lora,all,0,vendi/alter/clip,2,x\n"
EFFECTS = (
    "category,factor,level,against,metric,prompt_type,encoder,effect,low,high,pairs,concepts\n"
    "my_toys,captions,none,all,fidelity,all,,0.125,0.05,0.2,9,3\n"
    "my_toys,captions,none,all,preservation,all,,-0.3,,,9,3\nmy_toys,captions,none,all,vendi,all,,1,,,9,3\n"
)


def test_a_finished_study_leaves_scores_and_a_table_in_which_no_figure_can_be_changed(tmp_path: Path) -> None:
    project = small_project(tmp_path)
    study = tmp_path / "runs"
    study.mkdir()
    with pytest.raises(InputError, match="has not finished"):
        keep_scores(study, "t", project)
    (study / "scores.csv").write_text(SCORES)
    (study / "effects_by_category.csv").write_text(EFFECTS)
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


def test_a_table_is_recorded_when_it_is_made_and_not_made_again(tmp_path: Path) -> None:
    project = small_project(tmp_path)
    change_data(project)
    (project / "tiny_study.py").write_text(
        "import pathlib, sys\nfolder = pathlib.Path(sys.argv[1], 't')\nfolder.mkdir(parents=True)\n"
        f"(folder / 'scores.csv').write_text({SCORES!r})\n"
        f"(folder / 'effects_by_category.csv').write_text({EFFECTS!r})\n"
    )
    [record] = read_records(project).values()
    assert making.plan_lines([record], project)[0].startswith("t in docs/t.md: data; hours not known")
    making.make_table(record, tmp_path / "out", None, project)
    update_documents(project)
    assert check_documents(project) == []
    assert "| my toys | none - all | +.12 [.05, .20]" in (project / "docs/t.md").read_text()
    [again] = read_records(project).values()
    assert again.made is not None
    assert again.made.inputs["data"] == "99999999"
    assert stale_inputs(again, tree_inputs(again.sources, project)) == []
    with pytest.raises(InputError, match="ended with 1"):
        making.make_table(record, tmp_path / "out", None, project)


def test_the_plan_names_every_stale_table_and_its_hours(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--plan"]) == 0
    lines = capsys.readouterr().out.splitlines()
    stale = [name for name, one in read_records().items() if stale_inputs(one, tree_inputs(one.sources))]
    assert [line.split(" in docs/")[0] for line in lines[:-1]] == stale
    assert lines[-1].startswith(f"{len(stale)} stale, ")
    assert main(["--only", "trsut"]) == 2
    assert "Did you mean `trust`" in capsys.readouterr().err
