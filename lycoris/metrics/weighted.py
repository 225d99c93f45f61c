"""What all metrics share: checked features in float64, and weights on the drawings."""

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
"""Numbers of a kernel that are held at a time."""
CACHE_ELEMENTS = 2**18
"""Numbers that a processor keeps near."""
Features = Num[np.ndarray, "_ _"] | Num[torch.Tensor, "_ _"]


@runtime_checkable
class MetricFunction(Protocol):
    """A metric as published: features in, one number out; with weights, one number a row of weights."""

    __name__: str

    @overload
    def __call__(self, *features: Features, weights: None = None) -> float: ...
    @overload
    def __call__(self, *features: Features, weights: Array) -> Array: ...


def weighted_metric(function: Callable[..., Array], *, to_float64: bool = True) -> MetricFunction:
    """A metric as a function of the weighted drawings, its last features argument.

    The rule is written once, for ``weights`` of shape [resamples, drawings] whose rows sum to 1; every way
    to judge its uncertainty is then a choice of weights. Called without weights it gives the plain number
    as a float. Features are converted to float64 and checked: two-dimensional, not empty, finite, of one
    width. A rule that is not to have them converted gets float32 as it is and sees to its own precision, by `squares`.

    Raises:
        InputError: features or weights are not as said.
    """
    read = as_float64 if to_float64 else as_features

    @functools.wraps(function)
    def metric(*features: Features, weights: Array | None = None) -> float | Array:
        arrays = [read(array, f"features[{index}]") for index, array in enumerate(features)]
        if len({array.shape[1] for array in arrays}) != 1:
            raise InputError(
                f"Features of `{function.__name__}` must have one width, but got {[a.shape[1] for a in arrays]}."
            )
        count = len(arrays[-1])
        if weights is None:
            return float(function(*arrays, np.full((1, count), 1 / count))[0])
        if weights.ndim != 2 or weights.shape[1] != count or not np.allclose(weights.sum(1), 1):
            raise InputError(
                f"Argument `weights` must be rows of {count} numbers of sum 1, but got shape {weights.shape}."
            )
        return function(*arrays, weights)

    return metric  # type: ignore[return-value]


def as_float64(features: Features, name: str = "features") -> Float[np.ndarray, "images dim"]:
    """Features as a float64 array, whatever their precision and library.

    Raises:
        InputError: they are not two-dimensional, empty, or not finite.
    """
    return as_features(features, name).astype(np.float64, copy=False)


def as_features(features: Features, name: str = "features") -> Float[np.ndarray, "images dim"]:
    """Features as an array: float32 where they are that, else float64.

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
        doubtful = not np.isfinite(array.sum())
    if doubtful and not np.isfinite(array).all():
        raise InputError(f"Argument `{name}` must be finite, but row {_first_row(~np.isfinite(array))} is not.")
    return array


def l2_normalize(features: Float[np.ndarray, "images dim"]) -> Float[np.ndarray, "images dim"]:
    """Rows divided by their Euclidean length.

    Raises:
        InputError: a row is all zero, so it has no direction.
    """
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    if not lengths.all():
        raise InputError(f"Features must have a direction to be compared, but row {_first_row(lengths == 0)} is zero.")
    return features / lengths


def check_paired(first: Array, second: Array, description: str) -> None:
    """Check that two sets belong together row by row.

    Raises:
        InputError: they are of unlike size.
    """
    if len(first) != len(second):
        raise InputError(f"There must be one {description} a drawing, but got {len(first)} for {len(second)} drawings.")


def check_min_count(minimum: int, features: Array, description: str) -> None:
    """Check that a set is large enough for what is computed from it.

    Raises:
        InputError: it is not.
    """
    if len(features) < minimum:
        raise InputError(f"There must be at least {minimum} {description}, but got {len(features)}.")


def pair_weight(weights: Float[np.ndarray, "resamples drawings"]) -> Float[np.ndarray, " resamples"]:
    """1 - sum w², by which a weighted sum over unlike pairs is divided; (n - 1) / n for n equal weights.

    It is NaN where a single drawing has all the weight and there is no pair.
    """
    rest = 1 - (weights**2).sum(1)
    return np.where(rest > 1e-12, rest, np.nan)


def pairwise_kernel_sum(
    weights: Float[np.ndarray, "resamples drawings"], generated: Array, kernel: Callable[[Array, Array], Array]
) -> Float[np.ndarray, " resamples"]:
    """The sum of w_i w_j k(x_i, x_j) over all pairs, by blocks of rows, so that memory does not grow with n²."""
    step = max(1, BLOCK_ELEMENTS // len(generated))
    total = np.zeros(len(weights))
    for start in range(0, len(generated), step):
        rows = slice(start, start + step)
        total += np.einsum("ri,ir->r", weights[:, rows], kernel(generated[rows], generated) @ weights.T)
    return total


def map_row_blocks(features: Array, width: int, reduce: Callable[[Array], Array]) -> Array:
    """What `reduce` makes of each row, by blocks of rows.

    Args:
        features: rows.
        width: how many numbers `reduce` holds for one row; blocks are of about `CACHED` numbers.
        reduce: rows to one number or row each.
    """
    step = max(16, CACHE_ELEMENTS // width)
    return np.concatenate([reduce(features[start : start + step]) for start in range(0, len(features), step)])


def squared_distances(
    features: Float[np.ndarray, "images dim"], others: Float[np.ndarray, "*images dim"]
) -> Float[np.ndarray, " images"]:
    """The squared distance of every row to a point, or to the row at its place, in float64 by blocks of rows."""
    step = max(1, CACHE_ELEMENTS // features.shape[1])
    others = np.broadcast_to(others, features.shape)
    parts = []
    for start in range(0, len(features), step):
        apart = np.subtract(features[start : start + step], others[start : start + step], dtype=np.float64)
        parts.append(np.einsum("id,id->i", apart, apart))
    return np.concatenate(parts)


def _first_row(bad: Array) -> int:
    return int(np.flatnonzero(bad.any(axis=1))[0])
