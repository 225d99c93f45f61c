"""Loading adapters from a file onto a model."""

from __future__ import annotations

import warnings
from os import PathLike

from lycoris.adapters.attaching import freeze
from lycoris.adapters.files.checkpoint_reader import read_adapter_file
from lycoris.adapters.files.layer_lookup import describe_left_out, find_targets
from lycoris.adapters.files.layer_names import find_layers, named_parts
from lycoris.adapters.files.metadata import common_algorithm
from lycoris.adapters.files.state_dict import build_adapters
from lycoris.adapters.layers.adapted_layer import MATRIX_LAYERS, NORM_LAYERS
from lycoris.adapters.network import Network
from lycoris.adapters.peft_methods.attaching import load_method
from lycoris.adapters.peft_methods.files import read_method_file


def load(path: str | PathLike[str], model: object, *, strict: bool = True) -> Network:
    """Attach the network of a file to a model. The keys identify dialect and algorithm.

    Args:
        path: a safetensors file, or a PEFT folder: of one part, or with one folder per part. PEFT's configuration is
            read where it lies beside the tensors; a method that this library does not have becomes PEFT's own layers.
        model: as for `attach`, with the parts that the file has layers of.
        strict: whether the model must have every layer of the file. Otherwise those that it has are loaded.

    Returns:
        The network, attached and at scale 1. Its `left_out` has the keys of the file that it does not have.

    Warns:
        UserWarning: a PEFT file has no configuration, so that alpha is taken to be the rank; or keys were left out.

    Raises:
        InputError: not an adapter file, layers that the model lacks, shapes that do not fit, missing or unknown keys,
            values that are not finite, or a PEFT adapter that is another map than ours.
    """
    method_file = read_method_file(path)
    if method_file is not None:
        return load_method(method_file, path, model)
    file = read_adapter_file(path)
    parts = named_parts(model)
    layers = find_layers(parts, MATRIX_LAYERS + NORM_LAYERS)
    built = build_adapters(file, find_targets(file, layers, strict=strict), layers)
    if built.left_out:
        warnings.warn(describe_left_out(file, built.left_out), stacklevel=2)
    freeze(parts)
    network = Network(common_algorithm(built.layer_adapters), file.settings, built.layer_adapters)
    network.left_out = built.left_out
    return network
