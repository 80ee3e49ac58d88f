"""How much memory scoring takes for each further image: `anomirror score` on 10,000 and on 1,000,000 of them.

    python -m benchmarks.memory > results/speed/memory.json

Anonymous memory (RssAnon of Linux: what the process has allocated, without what it has mapped from files) is read every 10 ms
while it runs, and the highest value counts. Inputs: an .npy array of a million pictures, and a list of a million paths, which
names 1,000 PNG files again and again (a million files would measure the file system). The model has narrow networks, which say
nothing about memory for each image.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

from anomirror import AMA
from anomirror.benchmark.runner import command, versions
from anomirror.data.sample import load_sample

FEW, MANY, FILES = 10_000, 1_000_000, 1_000


def inputs(folder: Path, count: int) -> dict[str, Path]:
    """``count`` pictures as an array and as a list of files."""
    images = load_sample().train[:FILES]
    array = np.lib.format.open_memmap(folder / f"{count}.npy", "w+", images.dtype, (count, *images.shape[1:]))
    for start in range(0, count, len(images)):
        array[start : start + len(images)] = images[: count - start]
    array.flush()
    (folder / "files").mkdir(exist_ok=True)
    for index, image in enumerate(images):
        Image.fromarray(image).save(folder / "files" / f"{index:04d}.png")
    listed = folder / f"{count}.txt"
    listed.write_text("".join(f"files/{index % len(images):04d}.png\n" for index in range(count)))
    return {"array": folder / f"{count}.npy", "list of files": listed}


def anonymous(pid: int) -> int:
    """Bytes of anonymous memory of a process now, 0 when it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((1024 * int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon")), 0)


def highest(arguments: list[str]) -> int:
    """The highest anonymous memory of one run of the command line, bytes."""
    process = subprocess.Popen([sys.executable, "-m", "anomirror.cli", *arguments], env=os.environ | {"OMP_NUM_THREADS": "1"})
    most = 0
    while process.poll() is None:
        most = max(most, anonymous(process.pid))
        time.sleep(0.01)
    if process.returncode:
        raise RuntimeError(f"anomirror {' '.join(arguments)} ended with {process.returncode}")
    return most


def growth(model: Path, folder: Path, few: int, many: int) -> dict[str, Any]:
    """Bytes for each further image, by kind of input."""
    found: dict[str, Any] = {}
    given = {count: inputs(folder, count) for count in (few, many)}
    for kind in given[few]:
        peaks = {
            count: highest(["score", str(model), str(given[count][kind]), "--out", str(folder / "scores.csv")])
            for count in (few, many)
        }
        found[kind] = {"bytes_per_image": (peaks[many] - peaks[few]) / (many - few), "highest": peaks}
    return found


def small_model(folder: Path) -> Path:
    """A model with narrow networks."""
    ama = AMA(latent_dim=4, encoder_width=4, generator_width=4, critic_width=4, epochs=1, epoch_steps=2, device="cpu")
    ama.fit(load_sample().train[:500]).save(folder / "model")
    return folder / "model"


if __name__ == "__main__":
    with TemporaryDirectory() as name:
        result = growth(small_model(Path(name)), Path(name), FEW, MANY)
    print(json.dumps(result | {"versions": versions(), "command": command("benchmarks.memory")}, indent=2))
