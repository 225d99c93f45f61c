"""Exchange adapter files with `lycoris-lora` and `peft`: one writes, the other opens, and the outputs are compared.

    python benchmarks/peers/setup.py       # once
    python benchmarks/peers/exchange.py    # a table; --json for programs

The model is a small `UNet2DConditionModel`. Each library computes the same batch with the adapter; the difference is
the largest one over the largest change that the adapter makes. Known faults of a peer are listed with their rows.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

import worker  # noqa: E402
from setup import interpreter  # noqa: E402

TOLERANCE = 1e-4
"""Relative difference up to which outputs of a UNet in float32 count as equal."""

CASES: dict[str, tuple[str, dict]] = {
    "lora": ("lora", {"rank": 4, "alpha": 3.0}),
    "lora unscaled": ("lora", {"rank": 4, "alpha": 4.0}),
    "lora tucker": ("lora", {"rank": 4, "alpha": 3.0, "tucker": True}),
    "lora stabilised": ("lora", {"rank": 4, "alpha": 3.0, "rank_stabilised": True}),
    "lora dora": ("lora", {"rank": 4, "alpha": 3.0, "dora": "output"}),
    "loha": ("loha", {"rank": 3, "alpha": 2.0}),
    "loha tucker": ("loha", {"rank": 3, "alpha": 2.0, "tucker": True}),
    "lokr": ("lokr", {"factor": 4}),
    "lokr rank": ("lokr", {"factor": 2, "rank": 2, "alpha": 1.0}),
    "lokr both": ("lokr", {"factor": -1, "rank": 1, "alpha": 1.0, "decompose_both": True}),
    "lokr tucker": ("lokr", {"factor": 2, "rank": 2, "alpha": 1.0, "tucker": True}),
    "full": ("full", {}),
    "ia3": ("ia3", {}),
    "glora": ("glora", {"rank": 3, "alpha": 2.0}),
    "dylora": ("dylora", {"rank": 4, "alpha": 3.0, "block": 2}),
    "diag-oft": ("diag-oft", {"factor": 4}),
    "boft": ("boft", {"factor": 8}),
    "t-lora": ("t-lora", {"rank": 4, "alpha": 3.0}),
}
"""Name → algorithm and options of this library."""

PEERS = {
    "lycoris-lora": [case for case in CASES if case != "lora stabilised"],
    "peft": [case for case in CASES if case.split()[0] in ("lora", "loha", "lokr") and case != "lora tucker"],
}
"""Peer → the cases that it supports."""

DIRECTIONS = ("ours to peer", "peer to ours")

KNOWN_DIFFERENCES: dict[tuple[str, str, str], str] = {
    ("lycoris-lora", "lokr tucker", "ours to peer"): "peer: cannot open a Tucker LoKr, its own neither",
    ("lycoris-lora", "ia3", "ours to peer"): "peer: cannot open an (IA)³ file, its own neither",
    ("lycoris-lora", "t-lora", "peer to ours"): "peer: its T-LoRA fails on padded convolutions",
}
"""(peer, case, direction) → reason of an error or a difference, and the library that causes it."""


def exchange(peer: str) -> list[dict]:
    """Exchange every case in both directions: rows of peer, case, direction, difference or error, and known reason."""
    from safetensors.torch import load_file

    import lycoris
    from lycoris.errors import InputError

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        unet = _save_base(folder)
        base = worker.unet_output(unet, folder)
        outputs, commands, rows = {}, [], []
        ending = ".safetensors" if peer == "lycoris-lora" else ""  # PEFT's are folders
        for case in PEERS[peer]:
            algorithm, options = CASES[case]
            common = {"algorithm": algorithm, "options": options}
            commands.append({"do": "make", **common, **_paths(folder, case, f"theirs{ending}")})
            network = lycoris.attach({"unet": unet}, algorithm, preset="full", **options)
            worker.randomize_parameters(list(network.parameters()))
            outputs[case] = worker.unet_output(unet, folder)
            try:
                network.save(folder / f"{case}.ours{ending}", format="lycoris" if ending else "peft")
                commands.append({"do": "open", **common, **_paths(folder, case, f"ours{ending}")})
            except InputError as error:
                rows.append(_row(peer, case, "ours to peer", error=str(error)))
            network.detach()
        answers = run_worker(peer, folder, commands)
        for command, answer in zip(commands, answers, strict=True):
            case, out = Path(command["file"]).name.split(".")[0], Path(command["out"])
            direction = "ours to peer" if command["do"] == "open" else "peer to ours"
            if "error" in answer:
                rows.append(_row(peer, case, direction, error=answer["error"]))
                continue
            theirs = load_file(out)["sample"]
            try:
                ours = outputs[case]
                if direction == "peer to ours":
                    network = lycoris.load(command["file"], {"unet": unet})
                    ours = worker.unet_output(unet, folder)
                    network.detach()
                change = max((theirs - base).abs().max(), (ours - base).abs().max())
                rows.append(_row(peer, case, direction, difference=float((theirs - ours).abs().max() / change)))
            except InputError as error:
                rows.append(_row(peer, case, direction, error=str(error)))
        return sorted(rows, key=lambda row: (PEERS[peer].index(row["case"]), DIRECTIONS.index(row["direction"])))


def exchange_drop_in() -> list[dict]:
    """Run the same calls with `lycoris-lora` and with this library's drop-in, and let each open the other's files.

    Returns:
        Rows as of `exchange`, each also with `keys`: those of the file that the other writer's lacks, or that have
        another shape there.
    """
    from safetensors.torch import load_file

    peer, sides = "lycoris-lora", {"ours": "peer", "peer": "ours"}
    with tempfile.TemporaryDirectory() as name:
        folder, rows = Path(name), []
        _save_base(folder)
        made, opened = ({side: [] for side in sides} for _ in range(2))
        for case in PEERS[peer]:
            algorithm, options = CASES[case]
            common = {"algorithm": algorithm, "options": options}
            for side, other in sides.items():
                made[side].append({"do": "make", **common, **_paths(folder, case, f"{side}.safetensors")})
                paths = _paths(folder, case, f"{other}.safetensors")
                opened[side].append({"do": "open", **common, **paths, "out": f"{paths['out']}.opened"})
        made_answers = {"ours": run_worker(peer, folder, made["ours"], drop_in=True)}
        theirs = run_worker(
            peer, folder, [*made["peer"], *opened["peer"]]
        )  # one process: it opens with its last preset
        made_answers["peer"] = theirs[: len(made["peer"])]
        opened_answers = {"peer": theirs[len(made["peer"]) :]}
        opened_answers["ours"] = run_worker(peer, folder, opened["ours"], drop_in=True)
        for index, case in enumerate(PEERS[peer]):
            for side, other in sides.items():
                error = made_answers[side][index].get("error") or opened_answers[other][index].get("error")
                result: dict[str, object] = {"error": error} if error else {}
                if not error:
                    path = _paths(folder, case, f"{side}.safetensors")
                    before, after = (load_file(path["out"] + ending)["sample"] for ending in ("", ".opened"))
                    result["difference"] = float((before - after).abs().max() / before.abs().max())
                    shapes, others = (
                        {
                            key: tuple(values.shape)
                            for key, values in load_file(folder / f"{case}.{s}.safetensors").items()
                        }
                        for s in (side, other)
                    )
                    result["keys"] = sorted(key for key in shapes if shapes[key] != others.get(key))
                rows.append(_row(peer, case, f"{side} to {other}", **result))
        return rows


def peer_layer_names(peer: str, tree: str) -> dict[str, str]:
    """Map part and path of every layer that a peer would adapt in a tree of `trees.py` to the peer's name of it."""
    answer = run_worker(peer, Path(), [{"do": "names", "tree": tree}])[0]
    if "error" in answer:
        raise RuntimeError(answer["trace"])
    return answer["names"]


def run_worker(peer: str, folder: Path, commands: list[dict], *, drop_in: bool = False) -> list[dict]:
    """Run commands with `worker.py` in a peer's environment, or with the drop-in for it in our own; one answer each."""
    done = subprocess.run(
        [sys.executable if drop_in else interpreter(peer), Path(worker.__file__), peer],
        input=json.dumps({"folder": str(folder), "commands": commands}),
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT) if drop_in else ""},
    )
    if done.returncode:
        raise RuntimeError(f"The process of {peer} failed:\n{done.stderr}")
    return json.loads(done.stdout)


def _paths(folder: Path, case: str, side: str) -> dict[str, str]:
    return {"file": str(folder / f"{case}.{side}"), "out": str(folder / f"{case}.{side}.output")}


def _row(peer: str, case: str, direction: str, **result: object) -> dict:
    return {
        "peer": peer,
        "case": case,
        "direction": direction,
        **result,
        "known": KNOWN_DIFFERENCES.get((peer, case, direction)),
    }


def is_equal(row: dict) -> bool:
    """Whether both outputs are equal within rounding."""
    return row.get("difference", float("inf")) <= TOLERANCE


def _save_base(folder: Path):
    """Save a small UNet of the real class and an input for the peers, and return the UNet."""
    import torch
    from safetensors.torch import save_file
    from trees import small_unet

    torch.manual_seed(0)
    unet = small_unet().requires_grad_(False)
    unet.save_pretrained(folder / "unet")
    batch = {"latent": torch.randn(2, 4, 8, 8), "time": torch.tensor([10, 500]), "text": torch.randn(2, 7, 32)}
    save_file(batch, folder / "input.safetensors")
    return unet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON list instead of a table")
    arguments = parser.parse_args()
    missing = [peer for peer in PEERS if not interpreter(peer).exists()]
    if missing:
        raise SystemExit(f"No environment of {' and '.join(missing)}: run benchmarks/peers/setup.py first.")
    rows = [row for peer in PEERS for row in exchange(peer)]
    if arguments.json:
        print(json.dumps(rows, indent=1))
    for row in rows if not arguments.json else ():
        difference = f"{row['difference']:10.1e}" if "difference" in row else "     error"
        note = row["known"] or ("" if is_equal(row) else row.get("error", "DIFFERENT"))
        print(f"{row['peer']:14s}{row['case']:16s}{row['direction']:14s}{difference}  {note}")
    raise SystemExit(any(not is_equal(row) and row["known"] is None for row in rows))


if __name__ == "__main__":
    main()
