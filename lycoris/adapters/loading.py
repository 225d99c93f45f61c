"""Loading adapters from a file onto a model."""

from __future__ import annotations

from os import PathLike

from lycoris.adapters.attaching import freeze
from lycoris.adapters.files.checkpoint_reader import read_adapter_file
from lycoris.adapters.files.layer_names import find_layers, named_parts
from lycoris.adapters.files.metadata import common_algorithm
from lycoris.adapters.files.state_dict import build_adapters
from lycoris.adapters.layers.adapted_layer import MATRIX_LAYERS, NORM_LAYERS
from lycoris.adapters.network import Network


def load(path: str | PathLike[str], model: object) -> Network:
    """Attach the network of a file to a model. The keys identify format and algorithm.

    Args:
        path: a safetensors file, or a PEFT folder: of one part, or with one folder per part. PEFT's configuration is
            read where it lies beside the tensors.
        model: as for `attach`, with the parts that the file has layers of.

    Returns:
        The network, attached and at scale 1.

    Warns:
        UserWarning: a PEFT file has no configuration, so that alpha is taken to be the rank.

    Raises:
        InputError: not an adapter file, layers that the model lacks, shapes that do not fit, missing or unknown keys,
            values that are not finite, or a PEFT adapter that is another map than ours.
    """
    file = read_adapter_file(path)
    parts = named_parts(model)
    layer_adapters = build_adapters(file, find_layers(parts, MATRIX_LAYERS + NORM_LAYERS))
    freeze(parts)
    return Network(common_algorithm(layer_adapters), file.settings, layer_adapters)
