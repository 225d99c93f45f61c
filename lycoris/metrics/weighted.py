"""The shared parts of all metrics: checked float64 features, weights on the generated images, and kernels by blocks."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Protocol, overload, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Num

from lycoris.errors import InputError

Array = np.ndarray
BLOCK_ELEMENTS = 2**24
"""Elements of a kernel matrix that are in memory at a time."""
CACHE_ELEMENTS = 2**18
"""Elements that fit into a processor's cache."""
Features = Num[np.ndarray, "_ _"] | Num[torch.Tensor, "_ _"]


@runtime_checkable
class MetricFunction(Protocol):
    """A metric as published: features in, one number out; with weights, one number per row of weights."""

    __name__: str

    @overload
    def __call__(self, *features: Features, weights: None = None) -> float: ...
    @overload
    def __call__(self, *features: Features, weights: Array) -> Array: ...


def weighted_metric(function: Callable[..., Array], *, to_float64: bool = True) -> MetricFunction:
    """Turn a formula over weighted images into a metric that checks its features.

    The formula is written once, for ``weights`` of shape [resamples, images] whose rows sum to 1; every estimate of
    uncertainty is then a choice of weights. Without weights the metric returns one float. The generated images are the
    last features. Features must be two-dimensional, not empty, finite and of one width.

    Args:
        function: (*features, weights) -> one number per row of weights.
        to_float64: whether features are converted to float64; otherwise the formula gets float32 features unchanged and
            is responsible for its own precision, see `squared_distances`.

    Raises:
        InputError: the metric gets features or weights that do not fit this description.
    """
    convert = as_float64 if to_float64 else as_features

    @functools.wraps(function)
    def metric(*features: Features, weights: Array | None = None) -> float | Array:
        arrays = [convert(array, f"features[{index}]") for index, array in enumerate(features)]
        if len({array.shape[1] for array in arrays}) != 1:
            raise InputError(
                f"Features of `{function.__name__}` must have one width, but got {[a.shape[1] for a in arrays]}."
            )
        count = len(arrays[-1])
        if weights is None:
            return float(function(*arrays, np.full((1, count), 1 / count))[0])
        if weights.ndim != 2 or weights.shape[1] != count or not np.allclose(weights.sum(1), 1):
            raise InputError(
                f"Argument `weights` must have rows of {count} numbers with sum 1, but got shape {weights.shape}."
            )
        return function(*arrays, weights)

    return metric  # type: ignore[return-value]


def as_float64(features: Features, name: str = "features") -> Float[np.ndarray, "images dim"]:
    """Convert features of any precision to a float64 array.

    Raises:
        InputError: they are not two-dimensional, empty, or not finite.
    """
    return as_features(features, name).astype(np.float64, copy=False)


def as_features(features: Features, name: str = "features") -> Float[np.ndarray, "images dim"]:
    """Convert features to an array: float32 stays float32, anything else becomes float64.

    Raises:
        InputError: they are not two-dimensional, empty, or not finite.
    """
    if isinstance(features, torch.Tensor):
        features = features.detach().cpu()
        features = (features if features.dtype == torch.float32 else features.double()).numpy()
    array = np.asarray(features)
    if array.dtype != np.float32:
        array = array.astype(np.float64, copy=False)
    if array.ndim != 2 or 0 in array.shape:
        raise InputError(f"Argument `{name}` must be of shape [images, dim], not empty, but got {array.shape}.")
    with np.errstate(over="ignore", invalid="ignore"):
        may_be_nonfinite = not np.isfinite(array.sum())
    if may_be_nonfinite and not np.isfinite(array).all():
        raise InputError(f"Argument `{name}` must be finite, but row {_first_row(~np.isfinite(array))} is not.")
    return array


def l2_normalize(features: Float[np.ndarray, "images dim"]) -> Float[np.ndarray, "images dim"]:
    """Divide each row by its Euclidean norm.

    Raises:
        InputError: a row is zero, so that it has no direction.
    """
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    if not norms.all():
        raise InputError(f"Features need a direction for a cosine, but row {_first_row(norms == 0)} is zero.")
    return features / norms


def check_paired(first: Array, second: Array, description: str) -> None:
    """Check that two sets correspond row by row.

    Raises:
        InputError: they differ in size.
    """
    if len(first) != len(second):
        raise InputError(f"There must be one {description} per image, but got {len(first)} for {len(second)} images.")


def check_min_count(minimum: int, features: Array, description: str) -> None:
    """Check that a set is large enough for a metric.

    Raises:
        InputError: it is smaller than `minimum`.
    """
    if len(features) < minimum:
        raise InputError(f"There must be at least {minimum} {description}, but got {len(features)}.")


def pair_weight(weights: Float[np.ndarray, "resamples images"]) -> Float[np.ndarray, " resamples"]:
    """Compute the total weight of pairs of different images, 1 - sum w²; (n - 1) / n for n equal weights.

    It is NaN where a single image has all the weight, so that there is no pair.
    """
    total = 1 - (weights**2).sum(1)
    return np.where(total > 1e-12, total, np.nan)


def pairwise_kernel_sum(
    weights: Float[np.ndarray, "resamples images"], generated: Array, kernel: Callable[[Array, Array], Array]
) -> Float[np.ndarray, " resamples"]:
    """Compute the sum of w_i w_j k(x_i, x_j) over all pairs by blocks of rows, so that memory does not grow with n²."""
    step = max(1, BLOCK_ELEMENTS // len(generated))
    total = np.zeros(len(weights))
    for start in range(0, len(generated), step):
        rows = slice(start, start + step)
        total += np.einsum("ri,ir->r", weights[:, rows], kernel(generated[rows], generated) @ weights.T)
    return total


def map_row_blocks(features: Array, width: int, reduce: Callable[[Array], Array]) -> Array:
    """Apply `reduce` to blocks of rows, and concatenate the results.

    Args:
        features: the rows.
        width: elements that `reduce` allocates per row; a block allocates about `CACHE_ELEMENTS`.
        reduce: rows -> one number or row each.
    """
    step = max(16, CACHE_ELEMENTS // width)
    return np.concatenate([reduce(features[start : start + step]) for start in range(0, len(features), step)])


def squared_distances(
    features: Float[np.ndarray, "images dim"], others: Float[np.ndarray, "*images dim"]
) -> Float[np.ndarray, " images"]:
    """Compute the squared distance of each row to a point, or to the row at its index, in float64 by blocks of rows."""
    step = max(1, CACHE_ELEMENTS // features.shape[1])
    others = np.broadcast_to(others, features.shape)
    parts = []
    for start in range(0, len(features), step):
        difference = np.subtract(features[start : start + step], others[start : start + step], dtype=np.float64)
        parts.append(np.einsum("id,id->i", difference, difference))
    return np.concatenate(parts)


def squared_distance_matrix(x: Array, y: Array) -> Array:
    """Compute the squared distance of each row of `x` to each row of `y`, shape [len(x), len(y)]."""
    return np.maximum((x**2).sum(1)[:, None] + (y**2).sum(1) - 2 * x @ y.T, 0)


def _first_row(mask: Array) -> int:
    return int(np.flatnonzero(mask.any(axis=1))[0])
