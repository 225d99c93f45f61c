"""`lycoris refresh`: run the scheduled refresh by hand, from a hook or from CI."""

from __future__ import annotations

from typing import Any

from flows.cli.options import EXPERIMENT, Arguments, experiment_overrides, option
from flows.cli.output import print_json
from lycoris.errors import InputError
from lycoris.terms import DIMENSIONS

DESCRIPTION = """\
Run an experiment again if the data changed since it was last refreshed; otherwise do nothing.

The challenger and the champion of each concept then generate images for the same prompts and seeds, which are scored
against images held out from training. The challenger is promoted only if it is better by the rule in the result.
"""


PARAMETERS = (
    *EXPERIMENT,
    option(
        "--target",
        default="fidelity",
        metavar="DIMENSION",
        help=f"the dimension in which the challenger must be better (default: fidelity): {', '.join(DIMENSIONS)}",
    ),
    option(
        "--tolerance",
        multiple=True,
        metavar="DIMENSION=LOSS",
        help="how much worse another dimension may become (default: 0); repeatable",
    ),
)


def run(arguments: Arguments) -> int:
    """Refresh; 1 if a concept failed."""
    from flows.config.loading import load_experiment
    from flows.config.promotion import PromotionConfig
    from flows.runtime.session import with_prefect_server
    from lycoris.analysis import decide_promotion

    experiment = load_experiment(arguments.experiment, experiment_overrides(arguments))
    promotion = PromotionConfig(target_dimension=arguments.target, tolerances=_parse_tolerances(arguments.tolerance))
    decide_promotion([], promotion.target_dimension, promotion.tolerances)  # an invalid rule fails before any work

    def refresh_experiment() -> dict[str, Any]:
        from flows.refresh import refresh
        from flows.runtime.states import flow_result

        return flow_result(refresh(experiment, promotion, return_state=True))

    result = with_prefect_server(experiment, refresh_experiment)
    if arguments.json:
        print_json(result)
    return 1 if any(concept["state"] == "failed" for concept in result["concepts"]) else 0


def _parse_tolerances(pairs: list[str]) -> dict[str, float]:
    tolerances = {}
    for pair in pairs:
        dimension, _, loss = pair.partition("=")
        try:
            tolerances[dimension] = float(loss)
        except ValueError:
            raise InputError(
                f"Option `--tolerance` must be DIMENSION=LOSS, such as `diversity=0.1`, but got `{pair}`."
            ) from None
    return tolerances
