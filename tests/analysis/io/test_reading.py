"""Claims about tables of scores: what is read from names, and what a table that is not right is answered with."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lycoris.analysis.io.reading import read_table
from lycoris.analysis.statistics.configurations import complete_settings
from lycoris.analysis.statistics.effects import compute_effects
from lycoris.analysis.statistics.measures import mean_components, measure_from_column, measure_from_name
from lycoris.analysis.statistics.ranking import rank_table
from lycoris.errors import InputError
from tests.analysis.conftest import TABLES


def edit(line, old, new):
    """Replaces ``old`` in the lines that hold it, from the given file row on (an int: that row only)."""

    def change(lines):
        out = list(lines)
        places = [line - 1] if line else range(len(out))
        for place in places:
            out[place] = out[place].replace(old, new)
        assert out != lines
        return out

    return change


@pytest.mark.parametrize(
    ("column", "name", "dimension", "up"),
    [
        ("Image Similarity (dinov2-l-crop) (out)", "image_similarity/alter/dinov2-l-crop", "fidelity", True),
        ("Squared Centroid Distance (a-b) (in)", "squared_centroid_distance/train/a-b", "fidelity", False),
        ("Text Similarity (trigger)", "text_similarity/trigger", "controllability", True),
        ("Vendi (siglip-so400m) (out)", "vendi/alter/siglip-so400m", "diversity", True),
        ("Style Loss (style)", "style_loss/style", "preservation", False),
        ("Style Loss (vgg19) (in)", "style_loss/train/vgg19", "fidelity", False),
        ("FID (train)", "frechet_distance/train", "quality", False),
        ("LIQE (in)", "liqe/train", "quality", True),
        ("Vendi (clip-L-14)", "vendi/clip-L-14", "diversity", True),
    ],
)  # fmt: skip
def test_a_column_name_is_parsed_into_a_measure(column, name, dimension, up):
    measure = measure_from_column(column)
    assert (measure.name, measure.dimension, measure.higher_is_better) == (name, dimension, up)


def test_the_resize_mode_is_at_the_end_of_the_encoder():
    measure = measure_from_column("Image Similarity (dinov2-l-fb-padding) (out)")
    assert (measure.network, measure.resize_mode) == ("dinov2-l-fb", "padding")
    assert measure_from_column("Vendi (dinov2-l-fb) (in)").resize_mode == ""


@pytest.mark.parametrize(
    "column", ["Image Similarty (clip) (in)", "Vendi (clip) (in) (out)", "Vendi (clip", "Vendi (in) (out)"]
)
def test_an_unknown_column_is_named(column):
    with pytest.raises(InputError, match=re.escape(f"`{column}`")):
        measure_from_column(column)


def test_a_misspelled_metric_gets_a_suggestion():
    with pytest.raises(InputError, match="Did you mean `image_similarity`"):
        measure_from_column("Image Similarty (clip) (in)")


def test_an_unknown_metric_needs_its_direction():
    assert measure_from_name("sparkle/train/clip", "quality", False).higher_is_better is False
    with pytest.raises(InputError, match="sparkle"):
        measure_from_name("sparkle/train/clip")


def test_a_dimension_weighs_metrics_not_encoders():
    columns = ["Image Similarity (a) (in)", "Image Similarity (b) (in)", "Squared Centroid Distance (a) (in)"]
    [fidelity, similarity] = mean_components([measure_from_column(column) for column in columns]).values()
    assert [len(part) for part in fidelity] == [2, 1]
    assert [len(part) for part in similarity] == [2]


def test_folders_and_configurations_give_all_settings(changed):
    rows = changed().rows
    row = rows[(rows["config"] == "exp-2001-sd15-lora8a4-db") & (rows["group"] == "anime/abukuma/none")].iloc[0]
    output = row[["base", "epoch", "seed", "category", "class", "subclass", "algorithm", "captions", "dim"]].to_list()
    expected = ["ddim-v1-5-pruned-emaonly", 50, "a", "anime", "abukuma", "none", "lora", "none", 8.0]
    assert output == expected
    strategies = rows.drop_duplicates("config").set_index("config")["captions"]
    assert strategies["exp-3001-sd15-lora8a4-alltags"] == "all"
    assert strategies["exp-1021-sd15-lokrf8"] == "adjusted"
    assert set(rows["epoch"]) == {10, 50}


def test_other_bases_epochs_seeds_and_strengths_are_read(changed):
    def change(lines):
        named = [line.replace("ddim-v1-5-pruned-emaonly", "07/my-exp-base-xl") for line in lines]
        return [re.sub(r"-a(?=[-/,])", "-s3", line.replace("-000010", "-123")) for line in named]

    rows = changed(change).rows
    assert set(rows["base"]) == {"my-exp-base-xl"}
    assert set(rows["epoch"]) == {50, 123}
    assert set(rows["seed"]) == {"s3", "b"}
    assert set(rows["strength"]) == {"07"}


def test_aggregates_are_marked(changed):
    table = changed()
    remaining = set(table.rows["group"][~table.rows["aggregate"]])
    assert remaining == {"anime/abukuma/none", "anime/abukuma/kai", "people/Rose_Tico", "scene", "style"}
    assert any("Ranked but not averaged" in note for note in table.notes)


def test_captions_are_inferred_from_names(changed):
    table = changed(configs=lambda lines: [line.rsplit(",", 1)[0] for line in lines])
    assert set(table.rows["captions"]) == {"adjusted", "none", "all"}


@pytest.mark.parametrize("keep", [2, 3, 5])
def test_unspecified_settings_leave_their_factors_out(changed, keep):
    table = changed(configs=lambda lines: [",".join(line.split(",")[:keep]) for line in lines])
    result = compute_effects(rank_table(table))
    assert "algorithm" in set(result["factor"])
    assert "learning_rate" not in set(result["factor"])


def test_a_missing_score_is_not_ranked(changed):
    whole = rank_table(changed())
    holed = rank_table(changed(lambda lines: [lines[0], re.sub(r",[^,]*", ",nan", lines[1], count=1), *lines[2:]]))
    name = "image_similarity/alter/dinov2-l-fb-padding"
    assert np.isnan(holed.rows[name].iloc[0])
    others = holed.rows[holed.rows["group"] == holed.rows["group"].iloc[0]].iloc[1:]
    assert (others[name].min(), others[name].max()) == (0.0, 1.0)
    assert not whole.rows[name].isna().any()
    assert not compute_effects(holed)["effect"].isna().any()


def test_a_column_without_any_score_is_noted(changed):
    def change(lines):
        return [lines[0] + ",Vendi (clip-L-14) (out)", *(line + ",N/A" for line in lines[1:])]

    table = changed(change)
    assert "vendi/alter/clip-L-14" not in table.measures
    assert any("vendi/alter/clip-L-14" in note for note in table.notes)


def test_missing_columns_and_missing_rows_leave_the_rest_right(changed):
    whole, part = (
        rank_table(changed()),
        rank_table(changed(lambda lines: [",".join(line.split(",")[:3]) for line in lines])),
    )
    name = "image_similarity/alter/dinov2-l-fb-crop"
    assert part.rows[name].equals(whole.rows[name])
    fewer = compute_effects(rank_table(changed(lambda lines: lines[:20] + lines[40:])))
    assert not fewer.empty


def test_the_same_row_twice_counts_once(changed):
    whole, twice = rank_table(changed()), changed(lambda lines: [*lines, lines[5], lines[9]])
    assert any("2 duplicate rows" in note for note in twice.notes)
    np.testing.assert_array_equal(rank_table(twice).group_ranks, whole.group_ranks)


def test_the_base_model_is_left_out_and_named(changed):
    table = changed(lambda lines: [*lines, "ddim-v1-5-pruned-emaonly/scene,0.3,0.3,0.5,0.3,4.0"])
    assert any("`ddim-v1-5-pruned-emaonly`" in note for note in table.notes)
    assert (table.rows["config"] != "").all()


@pytest.mark.parametrize(
    ("metrics", "configs", "message"),
    [
        (lambda lines: [*lines, lines[5].replace(",0.", ",0.9", 1)], None, r"Rows 6 and 170 .*image_similarity"),
        (edit(7, "exp-1001", "exp-1007"), None, r"Row 7, column `Folder`.*`exp-1007-sd15-lora8a4`.*nearest is `exp-10"),
        (edit(4, ",0.", ",zero."), None, r"Row 4, column `Image Similarity .*must be a number, but is `zero\."),
        (lambda lines: [lines[0], re.sub(",[^,]*", ",inf", lines[1], count=1)], None, "Row 2, column .*`inf`"),
        (edit(1, "Folder", "Directory"), None, "needs a column `Folder`"),
        (edit(1, "Text Similarity", "Txt Similarity"), None, "`Txt Similarity .out.`.*Did you mean `text_similarity`"),
        (edit(1, "-crop", "-padding"), None, "two columns `Image Similarity"),
        (edit(1, "(dinov2-l-fb-crop) (out)", "(dinov2-l-fb-padding) (alter)"), None, "repeats the measure"),
        (edit(3, "/anime/abukuma/kai", "/anime/abukuma/kai/red"), None, "Row 3, column `Folder`"),
        (lambda lines: lines[:1], None, "no rows"),
        (lambda lines: [line.split(",")[0] for line in lines], None, "no column of scores"),
        (None, edit(1, "Algo", "Kind"), "needs a column `Algo`"),
        (None, edit(3, ",lora,", ",,"), "Row 3 .*no algorithm"),
        (None, edit(2, "0.0005", "fast"), "Row 2, column `Lr`.*`fast`"),
        (None, edit(6, ".txtdb", ".txttags"), "Row 6 .*`none`.*`.txttags`"),
        (None, lambda lines: [*lines, lines[1].replace("0.0005", "0.001")], "Row 9 .*described twice"),
    ],
)  # fmt: skip
def test_errors_name_row_and_column(changed, metrics, configs, message):
    same = lambda lines: lines  # noqa: E731
    with pytest.raises(InputError, match=message):
        changed(metrics or same, configs or same)


def test_files_that_are_not_tables_are_errors(tmp_path):
    with pytest.raises(InputError, match="There is no file"):
        read_table(tmp_path / "nowhere.csv", TABLES / "configs.csv")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(InputError, match="cannot be read"):
        read_table(tmp_path / "empty.csv", TABLES / "configs.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(InputError, match="cannot be read"):
        read_table(tmp_path / "binary.csv", TABLES / "configs.csv")
    with pytest.raises(InputError, match="--configs"):
        read_table(TABLES / "metrics.csv")


HEAD = "concept,algorithm,captions,seed,name,value,dimension,higher_is_better"


def study(folder: Path, *lines: str, head: str = HEAD) -> Path:
    path = folder / "scores.csv"
    path.write_text("\n".join([head, *lines]) + "\n")
    return path


def scores(value: float, *settings: str) -> str:
    return ",".join([*settings, "image_similarity/trigger/clip", str(value), "fidelity", "True"])


def test_a_study_needs_no_configurations(tmp_path):
    lines = [
        scores(0.1 * place + shift, concept, label, captions, "0")
        for shift, concept in enumerate(["cat", "dog"])
        for place, (label, captions) in enumerate(
            [("lora", "none"), ("lora", "all"), ("lora rank=16", "none"), ("lokr", "none")]
        )
    ]
    table = read_table(study(tmp_path, *lines))
    result = compute_effects(rank_table(table))
    single = result[result["encoder"] == "clip"].set_index(["factor", "level", "against"])["effect"]
    assert single["captions", "none", "all"] == pytest.approx(-1 / 3)
    assert single["capacity", "dim 16", "default"] == pytest.approx(2 / 3)
    assert single["algorithm", "lokr", "lora"] == pytest.approx(1.0)
    assert list(rank_table(table).groups) == ["cat", "dog"]


def test_a_study_can_have_a_table_of_configurations(tmp_path):
    configs = tmp_path / "configs.csv"
    configs.write_text("Config,Algo,Preset,Lr\nsmall,lora,attn-mlp,0.0005\nwide,lora,full,0.0005\n")
    head = HEAD.replace("concept", "concept,config")
    lines = [scores(value, "cat", name, "lora", "none", "0") for name, value in (("small", 0.1), ("wide", 0.4))]
    [row] = (
        compute_effects(rank_table(read_table(study(tmp_path, *lines, head=head), configs)))
        .query("encoder == 'clip' and level == 'full'")
        .to_dict("records")
    )
    assert (row["factor"], row["against"], row["effect"], row["low"]) == ("preset", "attn-mlp", 1.0, None)
    with pytest.raises(InputError, match=r"Row 2 .*lacks `other`"):
        read_table(study(tmp_path, scores(0.1, "cat", "other", "lora", "none", "0"), head=head), configs)


def test_a_second_value_for_one_score_is_named(tmp_path):
    one, other = (scores(value, "cat", "lora", "none", "0") for value in (0.1, 0.2))
    with pytest.raises(InputError, match=r"Row 4 .*image_similarity/trigger/clip"):
        read_table(study(tmp_path, one, one, other))
    table = read_table(study(tmp_path, one, one))
    assert len(table.rows) == 1
    assert any("duplicate" in note for note in table.notes)


def test_native_fine_tuning_is_matched_default_to_default(changed):
    result = compute_effects(rank_table(changed()))
    own = result[(result["factor"] == "algorithm") & (result["level"] == "full") & (result["against"] == "lora")]
    assert set(own["pairs"]) == {2}  # the default LoRA, after both epochs


def test_a_known_order_of_caption_strategies_is_found(changed):
    result = compute_effects(rank_table(changed()))
    own = result[(result["factor"] == "captions") & (result["level"] == "none") & (result["against"] == "all")]
    effect = own.set_index(["metric", "prompt_type", "encoder"])
    assert effect.loc[("fidelity", "all", "all"), "low"] > 0
    assert effect.loc[("controllability", "all", "all"), "high"] < 0


def test_capacity_counts_steps_from_the_default():
    arms = pd.DataFrame(
        {
            "algorithm": ["lora", "lora", "lokr", "lokr", "lokr", "lokr", "full"],
            "dim": [8, 32, 10_000, 10_000, 10_000, 10_000, np.nan],
            "alpha": [4, 1, 1, 1, 1, 1, np.nan],
            "factor": [np.nan, np.nan, 8, 4, 12, -1, np.nan],
        }
    )
    output = complete_settings(arms)
    assert output["capacity_level"].to_list() == [0, 1, 0, 1, -1, -2, 0]
    assert output["scale_level"].to_list() == [0, -1, 0, 0, 0, 0, 0]
    words = ["dim 8, alpha 4", "dim 32, alpha 1", "factor 8", "factor 4", "factor 12", "factor -1", "default"]
    assert output["capacity"].to_list() == words
