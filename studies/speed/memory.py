"""How much memory scoring takes for each further image.

`anomirror score` on 10,000 and on 1,000,000 of them.

    python -m studies.speed.memory > results/speed/memory.json

Anonymous memory (RssAnon of Linux: what the process has allocated, without what it has mapped from
files) is read every 10 ms while it runs, and the highest value counts. Inputs: an .npy array of a
million images; a list of a million paths, which names 1,000 PNG files again and again; and a
folder, with 100,000 files as the larger number (a million would measure the file system). The model
has narrow networks, which say nothing about memory for each image.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

from anomirror import AMA
from anomirror.benchmark.provenance import command, versions
from anomirror.data.sample import load_sample

FEW, MANY, MANY_FILES, PICTURES = 10_000, 1_000_000, 100_000, 1_000


def array(folder: Path, count: int) -> Path:
    """``count`` images in one ``.npy`` file."""
    images, file = load_sample().train[:PICTURES], folder / f"{count}.npy"
    written = np.lib.format.open_memmap(file, "w+", images.dtype, (count, *images.shape[1:]))
    for start in range(0, count, len(images)):
        written[start : start + len(images)] = images[: count - start]
    written.flush()
    return file


def files(folder: Path, count: int) -> Path:
    """``count`` images as files of one folder."""
    images, place = load_sample().train[:PICTURES], folder / f"{count}-files"
    place.mkdir(exist_ok=True)
    for index in range(count):
        Image.fromarray(images[index % len(images)]).save(place / f"{index:06d}.png")
    return place


def listed(folder: Path, count: int) -> Path:
    """``count`` paths in one text file."""
    place, file = files(folder, min(count, PICTURES)), folder / f"{count}.txt"
    file.write_text("".join(f"{place.name}/{index % PICTURES:06d}.png\n" for index in range(count)))
    return file


KINDS: dict[str, tuple[Callable[[Path, int], Path], int]] = {
    "array": (array, MANY),
    "list of files": (listed, MANY),
    "folder": (files, MANY_FILES),
}
"""What writes each kind of input, and the larger number of images."""


def anonymous(pid: int) -> int:
    """Bytes of anonymous memory of a process now, 0 when it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next(
        (1024 * int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon")),
        0,
    )


def highest(arguments: list[str]) -> int:
    """The highest anonymous memory of one run of the command line, bytes."""
    process = subprocess.Popen(
        [sys.executable, "-m", "anomirror.cli", *arguments],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    most = 0
    while process.poll() is None:
        most = max(most, anonymous(process.pid))
        time.sleep(0.01)
    if process.returncode:
        raise RuntimeError(f"anomirror {' '.join(arguments)} ended with {process.returncode}")
    return most


def growth(
    model: Path, folder: Path, write: Callable[[Path, int], Path], few: int, many: int
) -> dict[str, Any]:
    """Bytes for each further image of one kind of input."""
    out = str(folder / "scores.csv")
    peaks = {
        count: highest(["score", str(model), str(write(folder, count)), "--out", out])
        for count in (few, many)
    }
    return {"bytes_per_image": (peaks[many] - peaks[few]) / (many - few), "highest": peaks}


def small_model(folder: Path) -> Path:
    """A model with narrow networks."""
    ama = AMA(
        latent_dim=4,
        encoder_width=4,
        generator_width=4,
        critic_width=4,
        epochs=1,
        steps_per_epoch=2,
        device="cpu",
    )
    ama.fit(load_sample().train[:500]).save(folder / "model")
    return folder / "model"


if __name__ == "__main__":
    with TemporaryDirectory() as name:
        model = small_model(Path(name))
        result = {
            kind: growth(model, Path(name), write, FEW, many)
            for kind, (write, many) in KINDS.items()
        }
    print(
        json.dumps(
            result | {"versions": versions(), "command": command("studies.speed.memory")}, indent=2
        )
    )
