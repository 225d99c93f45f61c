"""Which metrics have a part in the ranks of a dimension."""

from itertools import product

from lycoris.analysis.statistics.ranks import dimension_ranks, scaled_ranks


def test_a_metric_that_does_not_count_is_left_out_of_its_dimension():
    def row(adapter, metric, value, up):
        return {
            "adapter": adapter, "name": f"{metric}/alter/clip", "value": value, "dimension": "fidelity",
            "higher_is_better": up,
        }  # fmt: skip

    rows = [row("near", "image_similarity", 0.9, True), row("far", "image_similarity", 0.1, True)]
    risks = [row("near", "copy_risk", 0.9, False), row("far", "copy_risk", 0.1, False)]
    assert dimension_ranks(rows + risks)["fidelity"].to_dict() == {"near": 1.0, "far": 0.0}
    assert dimension_ranks(risks).empty


def test_text_similarity_on_trigger_prompts_does_not_count():
    def row(adapter, prompt_type, value):
        return {
            "adapter": adapter, "name": f"text_similarity/{prompt_type}/clip", "value": value,
            "dimension": "controllability", "higher_is_better": True,
        }  # fmt: skip

    requested = [row("follows", "alter", 0.9), row("does not", "alter", 0.1)]
    unasked = [row("follows", "trigger", 0.1), row("does not", "trigger", 0.9)]
    assert dimension_ranks(requested + unasked)["controllability"].to_dict() == {"follows": 1.0, "does not": 0.0}
    assert dimension_ranks(unasked).empty


def test_ranks_of_a_dimension_are_those_of_its_metrics_in_the_direction_of_each():
    values = {
        ("image_similarity", True): [0.3, 0.1, 0.3, None],
        ("color_distance", False): [2.0, 5.0, 1.0, 1.0],
    }
    rows = [
        {
            "adapter": f"a{number}", "name": f"{metric}/alter/clip", "value": values[metric, up][number],
            "dimension": f"dimension of {metric}", "higher_is_better": up,
        }
        for (metric, up), number in product(values, range(4))
    ]  # fmt: skip
    ranks = dimension_ranks(rows)
    for (metric, up), own in values.items():
        expected = scaled_ranks(own, higher_is_better=up)
        found = ranks[f"dimension of {metric}"]
        assert [None if found.isna()[name] else found[name] for name in sorted(found.index)] == expected
