"""Create a virtual environment for each peer, as `lycoris-lora` also installs a module named `lycoris`.

    python benchmarks/peers/setup.py            # a minute
    python benchmarks/peers/setup.py --standalone    # several GB where pip's torch is the CUDA one

The first shares torch, diffusers and their dependencies with the running interpreter; the second installs everything.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import sysconfig
from pathlib import Path

PEERS_FOLDER = Path(__file__).resolve().parent
ENVIRONMENTS = PEERS_FOLDER / ".environments"
SHARED_REQUIREMENTS = [
    "torch==2.13.0",
    "diffusers==0.42.1",
    "transformers==5.23.0",
    "safetensors==0.8.0",
    "accelerate==1.15.0",
]
PEERS = {"lycoris-lora": "lycoris-lora==4.1.3", "peft": "peft==0.21.2"}


def interpreter(peer: str) -> Path:
    """Return the path of a peer's Python, whether it exists or not."""
    return ENVIRONMENTS / peer / "bin" / "python"


def build(peer: str, standalone: bool) -> None:
    """Create an environment from scratch, with the pinned peer."""
    folder = ENVIRONMENTS / peer
    subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
    if not standalone:
        site = sysconfig.get_path("purelib", "venv", {"base": str(folder), "platbase": str(folder)})
        Path(site, "shared.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [interpreter(peer), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run(
        [*pip, "-c", PEERS_FOLDER.parents[1] / "constraints.txt", PEERS[peer], *SHARED_REQUIREMENTS], check=True
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--standalone", action="store_true", help="share no packages with the running interpreter")
    for peer in PEERS:
        build(peer, parser.parse_args().standalone)
        print(f"{PEERS[peer]}: {interpreter(peer)}")


if __name__ == "__main__":
    main()
