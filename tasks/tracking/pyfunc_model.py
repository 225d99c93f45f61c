"""The MLflow model of an adapter: prompts in, images out. MLflow loads this file as code."""

from __future__ import annotations

from typing import Any

import mlflow
from mlflow.pyfunc import PythonModel


class AdapterModel(PythonModel):
    """Generates images with one adapter on its base."""

    def load_context(self, context: Any) -> None:
        """Load the base named in the model's configuration and attach the adapter."""
        import lycoris
        from lycoris.bases import open_base

        self.base = open_base(context.model_config["base"], **context.model_config.get("base_options", {}))
        self.network = lycoris.load(context.artifacts["adapter"], self.base.parts)

    def predict(self, context: Any, model_input: list[str], params: dict[str, Any] | None = None) -> list[Any]:
        """Generate one image per prompt.

        Args:
            context: unused.
            model_input: prompts; MLflow also takes them as a table of one column.
            params: ``seed`` of the first image (the n-th adds n), ``steps``, ``guidance``, ``scale``.

        Returns:
            PIL images, in the order of the prompts.
        """
        from lycoris.bases.sampling import GenerationSettings, generate

        options = {"seed": 1000, "steps": 25, "guidance": 7.0, "scale": 1.0, **(params or {})}
        prompts = [str(prompt) for prompt in model_input]
        self.network.scale = float(options["scale"])
        seeds = [int(options["seed"]) + number for number in range(len(prompts))]
        return generate(
            self.base,
            prompts,
            seeds,
            GenerationSettings(steps=int(options["steps"]), guidance=float(options["guidance"])),
        )


mlflow.models.set_model(AdapterModel())
