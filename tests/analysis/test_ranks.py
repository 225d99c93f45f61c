"""Which metrics have a part in the ranks of a dimension."""

from lycoris.analysis.ranks import dimension_ranks


def test_a_warning_takes_no_part_in_its_dimension():
    def row(adapter, metric, value, up):
        return {
            "adapter": adapter, "name": f"{metric}/alter/clip", "value": value, "dimension": "fidelity",
            "higher_is_better": up,
        }  # fmt: skip

    rows = [row("near", "image_similarity", 0.9, True), row("far", "image_similarity", 0.1, True)]
    risks = [row("near", "copy_risk", 0.9, False), row("far", "copy_risk", 0.1, False)]
    assert dimension_ranks(rows + risks)["fidelity"].to_dict() == {"near": 1.0, "far": 0.0}
    assert dimension_ranks(risks).empty
