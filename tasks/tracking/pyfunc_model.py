"""The MLflow model of an adapter: prompts in, images out. MLflow loads this file as code."""

from __future__ import annotations

import base64
import importlib.util
import io
import os
import sys
from typing import Any

import mlflow
from mlflow.pyfunc import PythonModel

SERVING_VARIABLE = "_MLFLOW_IS_IN_SERVING_ENVIRONMENT"
"""Set by MLflow's scoring server, which can only return what JSON can represent."""
FORMATS = ("auto", "pil", "png")


class AdapterModel(PythonModel):
    """Generates images with one adapter on its base."""

    def load_context(self, context: Any) -> None:
        """Load the base named in the model's configuration and attach the adapter."""
        source = context.model_config["base"]
        if importlib.util.find_spec("lycoris") is None:
            sys.path.append(context.artifacts["code"])
            source = context.model_config["embedded_bases"].get(source, source)  # the code comes without weights
        import lycoris
        from lycoris.bases import open_base

        self.base = open_base(source, **context.model_config.get("base_options", {}))
        self.network = lycoris.load(context.artifacts["adapter"], self.base.parts)

    def predict(self, context: Any, model_input, params: dict[str, Any] | None = None):
        """Generate one image per prompt.

        The input has no type hint: MLflow would replace the stored signature, and its parameters, by the hint.

        Args:
            context: unused.
            model_input: prompts, as MLflow passes them: a table of one column, whose cells may be lists.
            params: ``seed`` of the first image (the n-th adds n), ``steps``, ``guidance`` (0: the base's own),
                ``scale`` of the adapter, and ``format``: ``"pil"``, ``"png"`` (base64) or ``"auto"``, which is
                ``"png"`` when served.

        Returns:
            Images in the order of the prompts.

        Raises:
            ValueError: there is no prompt, or the format is unknown.
        """
        from lycoris.bases.sampling import GenerationSettings, generate

        options = {"seed": 1000, "steps": 25, "guidance": 0.0, "scale": 1.0, "format": "auto", **(params or {})}
        if options["format"] not in FORMATS:
            raise ValueError(f"Parameter `format` must be one of {', '.join(FORMATS)}, but got {options['format']!r}.")
        prompts = _prompts(model_input)
        self.network.scale = float(options["scale"])
        seeds = [int(options["seed"]) + number for number in range(len(prompts))]
        images = generate(
            self.base,
            prompts,
            seeds,
            GenerationSettings(steps=int(options["steps"]), guidance=float(options["guidance"]) or None),
        )
        is_served = os.environ.get(SERVING_VARIABLE, "").lower() in ("1", "true")
        if options["format"] == "pil" or (options["format"] == "auto" and not is_served):
            return images
        return [_png(image) for image in images]


def _prompts(model_input: Any) -> list[str]:
    """The prompts in a table of one column, an array, a list or a text; cells may be lists of prompts."""
    values = getattr(model_input, "values", model_input)
    values = [values] if isinstance(values, str) else [value for row in values for value in _flatten(row)]
    if not values or not all(isinstance(value, str) for value in values):
        raise ValueError(f"Argument `model_input` must be prompts, but got {model_input!r}.")
    return values


def _flatten(value: Any) -> list[Any]:
    if isinstance(value, str) or not hasattr(value, "__iter__"):
        return [value]
    return [each for part in value for each in _flatten(part)]


def _png(image: Any) -> str:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode("ascii")


mlflow.models.set_model(AdapterModel())
