"""What a file holds instead of the weights that its name promises, and how to get those."""

from __future__ import annotations

from pathlib import Path

PICKLE_SUFFIXES = frozenset({".ckpt", ".pt", ".pth", ".bin", ".pkl"})
WEIGHTS_SUFFIX = ".safetensors"
LFS_MARK = b"version https://git-lfs.github.com/spec/"
CONVERT_PICKLE_COMMAND = (
    'python -c "import torch, safetensors.torch as s; '
    "w = torch.load(open('{file}', 'rb'), map_location='cpu', weights_only=True); w = w.get('state_dict', w); "
    "s.save_file({{k: v.contiguous().clone() for k, v in w.items() if torch.is_tensor(v)}}, '{target}')\""
)
"""Reads the tensors of a pickle file and nothing else, so no code in it is run."""
_ZIP_MARK, _PICKLE_MARKS, _GGUF_MARK = b"PK\x03\x04", (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"), b"GGUF"


def is_weights_file(path: Path) -> bool:
    """Whether a file's name is that of a safetensors file, in capital or small letters."""
    return path.suffix.lower() == WEIGHTS_SUFFIX


def is_lfs_pointer(path: Path) -> bool:
    """Whether a file is the small text that Git LFS puts in the place of a large file."""
    return _first_bytes(path).startswith(LFS_MARK)


def wrong_kind(path: Path) -> str | None:
    """Say what a file holds if it is a known kind of file without safetensors, and what to do; None otherwise.

    Returns:
        The rest of a sentence that starts with the file's name.
    """
    start = _first_bytes(path)
    if start.startswith(LFS_MARK):
        return (
            "is a Git LFS pointer and not the weights themselves. Run `git lfs install` and `git lfs pull` in its "
            "repository, or download the file."
        )
    if start.startswith((_ZIP_MARK, *_PICKLE_MARKS)) or (path.suffix.lower() in PICKLE_SUFFIXES):
        target = path.with_suffix(WEIGHTS_SUFFIX)
        if target == path:
            target = path.with_name(f"{path.stem}-converted{WEIGHTS_SUFFIX}")
        return (
            "is a pickle file, which can run code when opened, and is refused. Convert it once, reading its tensors "
            f"only: {CONVERT_PICKLE_COMMAND.format(file=path, target=target)}"
        )
    if start.startswith(_GGUF_MARK):
        return "is a GGUF file, whose quantized weights are not read here: use the safetensors file of the same model."
    if start.lstrip().lower().startswith((b"<!doctype", b"<html")):
        return "is a web page and not a model: the download asked for a page or a login. Download the file itself."
    return None


def _first_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(64)
    except OSError:
        return b""
