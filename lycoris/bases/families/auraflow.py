"""AuraFlow: a transformer trained by flow matching, with one UMT5 text encoder that is not adapted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lycoris.bases.conditioning import TextConditioning
from lycoris.bases.families.family import Components
from lycoris.bases.flow_matching import FlowMatching
from lycoris.bases.noise import ForwardProcess
from lycoris.bases.shapes import ImageSizes, Latents, Timesteps

if TYPE_CHECKING:
    from lycoris.bases.files.checkpoint_layouts import CheckpointLayout
    from lycoris.bases.files.model_files import ModelFiles

MAX_LENGTH = 256


class AuraFlow:
    """The AuraFlow family; see `lycoris.bases.families.family.Family`.

    fal, "Introducing AuraFlow v0.1". Its text encoder is Pile-T5-XL. diffusers loads adapters of the transformer only.
    """

    name = "auraflow"
    models = "AuraFlow 0.1 to 0.3, folders only"
    denoiser = "transformer"
    text_encoders: tuple[str, ...] = ()
    forward_process: type[ForwardProcess] = FlowMatching
    upcasts_vae = True
    pipeline_class = "AuraFlowPipeline"
    default_scheduler = "FlowMatchEulerDiscreteScheduler"
    layouts: Mapping[str, CheckpointLayout] = {}

    def __init__(self, components: Components) -> None:
        self._transformer = components.modules["transformer"]
        self._text = components.text_encoder(max_length=MAX_LENGTH)
        self.pipeline_options: Mapping[str, Any] = {}

    @staticmethod
    def matches(files: ModelFiles) -> bool:
        """Whether the model index names AuraFlow's pipeline; parts of these names are common to many families."""
        return files.model_index().get("_class_name") == "AuraFlowPipeline"

    @staticmethod
    def part_classes(files: ModelFiles) -> Mapping[str, str]:
        """Each part's class."""
        return {
            "transformer": "diffusers.AuraFlowTransformer2DModel",
            "vae": "diffusers.AutoencoderKL",
            "text_encoder": "transformers.UMT5EncoderModel",
            "tokenizer": "transformers.AutoTokenizer",
        }

    @staticmethod
    def digest_options(files: ModelFiles) -> str:
        """No option of the model index changes the output."""
        return ""

    def encode_text(self, prompts: Sequence[str]) -> TextConditioning:
        """The last hidden states of the text encoder, zeros after the prompt's end."""
        return TextConditioning(self._text.masked_hidden_states(prompts).float())

    def predict(
        self, noisy: Latents, timesteps: Timesteps, conditioning: TextConditioning, size_conditioning: ImageSizes | None
    ) -> Latents:
        """Run the transformer on times in [0, 1], as precise as the latents; it has no size conditioning."""
        times = (timesteps / 1000).to(noisy.dtype)
        return self._transformer(noisy, conditioning.hidden_states, times, return_dict=False)[0]
