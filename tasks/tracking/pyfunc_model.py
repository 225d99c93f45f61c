"""The model that MLflow keeps for each adapter: prompts in, pictures out. MLflow loads this file as code."""

from __future__ import annotations

from typing import Any

import mlflow
from mlflow.pyfunc import PythonModel


class AdapterModel(PythonModel):
    """Draws with one adapter on its base."""

    def load_context(self, context: Any) -> None:
        """Open the base named in the model's configuration and put the adapter on it."""
        import lycoris
        from lycoris.bases import open_base

        self.base = open_base(context.model_config["base"])
        self.network = lycoris.load(context.artifacts["adapter"], self.base.parts)

    def predict(self, context: Any, model_input: list[str], params: dict[str, Any] | None = None) -> list[Any]:
        """Draw one picture for each prompt.

        Args:
            context: unused.
            model_input: prompts; MLflow also takes them as a one-column table.
            params: ``seed`` of the first picture (the n-th adds n), ``steps``, ``guidance``, ``scale``.

        Returns:
            PIL pictures, in the prompts' order.
        """
        from lycoris.bases.sampling import generate

        chosen = {"seed": 1000, "steps": 25, "guidance": 7.0, "scale": 1.0, **(params or {})}
        prompts = [str(prompt) for prompt in model_input]
        self.network.scale = float(chosen["scale"])
        seeds = [int(chosen["seed"]) + number for number in range(len(prompts))]
        return generate(self.base, prompts, seeds, steps=int(chosen["steps"]), guidance=float(chosen["guidance"]))


mlflow.models.set_model(AdapterModel())
