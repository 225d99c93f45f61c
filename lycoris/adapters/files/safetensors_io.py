"""Safetensors files: the header is checked before memory is allocated, and equal content gives equal bytes."""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor

from lycoris.cache.atomic import atomic_write
from lycoris.errors import InputError

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}
FLOAT8 = (torch.float8_e4m3fn, torch.float8_e5m2)
"""Formats of which every value is one of float16."""
HASH_KEY = "modelspec.hash_sha256"
"""Name of the SHA-256 of everything after the header, by the ModelSpec standard."""
KOHYA_HASH_KEY = "sshs_model_hash"
"""kohya's name of the same, without `0x`: Civitai's AutoV3 is its beginning."""
_DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_MAX_HEADER_BYTES = 100_000_000
_MAX_DIMENSIONS = 16
_MAX_ELEMENTS = 2**60
"""Number of elements with which the number of bytes fits in 63 bits."""


def read_header(path: str | PathLike[str]) -> tuple[dict[str, str], dict[str, tuple[str, tuple[int, ...]]]]:
    """Return a file's metadata, and the dtype and shape of each tensor, without reading a tensor.

    Raises:
        InputError: the file is missing, or its header does not match its content.
    """
    metadata, entries, _ = _read_header(Path(path))
    return metadata, {name: (entry["dtype"], tuple(entry["shape"])) for name, entry in entries.items()}


def read_tensors(path: str | PathLike[str]) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Return a file's metadata and tensors.

    Raises:
        InputError: as for `read_header`.
    """
    path = Path(path)
    metadata, entries, start = _read_header(path)
    tensors = {}
    with path.open("rb") as file:
        for name, entry in entries.items():
            begin, end = entry["data_offsets"]
            dtype = DTYPES[entry["dtype"]]
            if begin == end:
                tensors[name] = torch.empty(entry["shape"], dtype=dtype)
                continue
            part = bytearray(end - begin)  # one buffer per tensor, so that the values are aligned
            file.seek(start + begin)
            if file.readinto(part) != len(part):
                raise InputError(f"File `{path}` was truncated while it was read.")
            tensors[name] = torch.frombuffer(part, dtype=dtype).view(entry["shape"])
    return metadata, tensors


def write_tensors(path: str | PathLike[str], tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a file, which appears once it is complete.

    Args:
        path: of the file; its folder is created.
        tensors: name → values of any dtype in `DTYPES`.
        metadata: strings. Where there are any, the SHA-256 of all tensors' bytes is added, as `HASH_KEY` and
            `KOHYA_HASH_KEY`.

    Raises:
        InputError: metadata is not a string, or the file cannot be written.
    """
    entries = {name: (values.dtype, tuple(values.shape)) for name, values in tensors.items()}
    write_streamed(path, entries, tensors.__getitem__, metadata)


def write_streamed(
    path: str | PathLike[str],
    entries: Mapping[str, tuple[torch.dtype, tuple[int, ...]]],
    read: Callable[[str], Tensor],
    metadata: Mapping[str, str],
) -> None:
    """Write a file tensor by tensor, so that one of them at a time is in memory.

    Args:
        path: of the file; its folder is created.
        entries: name → dtype and shape.
        read: name → values of that dtype and shape.
        metadata: as for `write_tensors`.

    Raises:
        InputError: metadata is not a string, or the file cannot be written.
    """
    for key, value in metadata.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise InputError(f"Argument `metadata` must map strings to strings, but got {value!r} for {key!r}.")
    names = sorted(entries, key=lambda name: (-entries[name][0].itemsize, name))
    digest = hashlib.sha256()
    placeholder = _header(names, entries, metadata, digest.hexdigest())
    try:
        with atomic_write(Path(path)) as temporary, temporary.open("wb") as file:
            file.write(placeholder)
            for name in names:
                values = read(name).detach().cpu().contiguous()
                if values.numel():
                    chunk = values.reshape(-1).view(torch.uint8).numpy().data
                    digest.update(chunk)
                    file.write(chunk)
            file.seek(0)
            file.write(_header(names, entries, metadata, digest.hexdigest()))
    except OSError as error:
        raise InputError(f"Cannot write `{path}`: {error.strerror or error}.") from error


def _header(
    names: Sequence[str],
    entries: Mapping[str, tuple[torch.dtype, tuple[int, ...]]],
    metadata: Mapping[str, str],
    digest: str,
) -> bytes:
    """Return the header of a file with these tensors in this order; its length does not depend on the digest."""
    header: dict[str, object] = {}
    if metadata:
        hashes = {HASH_KEY: f"0x{digest}", KOHYA_HASH_KEY: digest}
        header["__metadata__"] = dict(sorted({**hashes, **metadata}.items()))
    offset = 0
    for name in names:
        dtype, shape = entries[name]
        end = offset + math.prod(shape) * dtype.itemsize
        header[name] = {"dtype": _DTYPE_NAMES[dtype], "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def atomic_write_bytes(path: str | PathLike[str], chunks: Iterable[bytes]) -> None:
    """Write a file, which appears once it is complete; its folder is created.

    Raises:
        InputError: it cannot be written.
    """
    try:
        with atomic_write(Path(path)) as temporary, temporary.open("wb") as file:
            file.writelines(chunks)
    except OSError as error:
        raise InputError(f"Cannot write `{path}`: {error.strerror or error}.") from error


def _read_header(path: Path) -> tuple[dict[str, str], dict[str, dict], int]:
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8).ljust(8, b"\xff"))
            if length > min(size - 8, _MAX_HEADER_BYTES):
                raise InputError(f"File `{path}` is not a safetensors file: a header of {length} bytes in {size}.")
            text = file.read(length)
    except OSError as error:
        raise InputError(f"Cannot read `{path}`: {error.strerror or error}.") from error
    try:
        header = json.loads(text, object_pairs_hook=lambda pairs: _reject_duplicates(pairs, path))
    except InputError:
        raise
    except (ValueError, RecursionError) as error:  # also bytes that are not text, and numbers of thousands of digits
        raise InputError(f"File `{path}` has a header that is not JSON: {error}.") from None
    if not isinstance(header, dict):
        raise InputError(f"File `{path}` has a header that is not a JSON object.")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise InputError(f"File `{path}` has metadata that is not strings.")
    for name, entry in header.items():
        _check_entry(path, name, entry, size - 8 - length)
    _check_coverage(path, header, size - 8 - length)
    return metadata, header, 8 + length


def _reject_duplicates(pairs: list[tuple[str, object]], path: Path) -> dict[str, object]:
    values = dict(pairs)
    if len(values) != len(pairs):
        counts = Counter(name for name, _ in pairs)
        duplicate = next(name for name, count in counts.items() if count > 1)
        raise InputError(f"File `{path}` has the key `{duplicate}` twice.")
    return values


def _check_entry(path: Path, name: str, entry: object, size: int) -> None:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise InputError(f"File `{path}`, tensor `{name}`: the header must give dtype, shape and data_offsets.")
    shape, offsets, dtype = entry["shape"], entry["data_offsets"], entry["dtype"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise InputError(f"File `{path}`, tensor `{name}`: dtype must be one of {list(DTYPES)}, but got {dtype!r}.")
    are_lists = isinstance(shape, list) and isinstance(offsets, list) and len(offsets) == 2
    if not are_lists or any(type(number) is not int or number < 0 for number in [*shape, *offsets]):
        raise InputError(f"File `{path}`, tensor `{name}`: wrong shape {shape!r} or offsets {offsets!r}.")
    if len(shape) > _MAX_DIMENSIONS or math.prod(number or 1 for number in shape) > _MAX_ELEMENTS:
        raise InputError(f"File `{path}`, tensor `{name}`: a shape of {len(shape)} dimensions that no tensor can have.")
    needed = math.prod(shape) * DTYPES[dtype].itemsize
    if offsets[1] - offsets[0] != needed or offsets[1] > size:
        raise InputError(
            f"File `{path}`, tensor `{name}`: shape {shape} of {dtype} takes {needed} bytes, but its offsets are "
            f"{offsets} in {size} bytes of data."
        )


def _check_coverage(path: Path, header: Mapping[str, dict], size: int) -> None:
    """Check that the tensors follow each other and fill the data, without overlaps and gaps."""
    end, previous = 0, "the start"
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin = entry["data_offsets"][0]
        if begin != end:
            what = "overlaps" if begin < end else "leaves a gap after"
            raise InputError(f"File `{path}`, tensor `{name}` {what} `{previous}`: it begins at {begin}, not at {end}.")
        end, previous = entry["data_offsets"][1], name
    if end != size:
        raise InputError(f"File `{path}` has {size} bytes of data, but its tensors end at {end}.")
