"""A training step of our PixelCNN++ and Glow beside a public implementation of the same size, in one run.

    git clone https://github.com/pclucas14/pixel-cnn-pp; git clone https://github.com/rosinality/glow-pytorch
    python -m benchmarks.public_step pixelcnn pixel-cnn-pp --json results/speed/public-pixelcnn.json
    python -m benchmarks.public_step glow glow-pytorch --json results/speed/public-glow.json

Same images, same sizes, same optimiser on both sides: forward, loss, backward and update. Rounds of both alternate, and the
median of the ratios counts. The public code is read from its clone, brought to Python 3 where it is older, and never kept.
"""

from __future__ import annotations

import importlib
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor, nn

from anomirror import likelihood
from anomirror.networks.glow import Glow
from anomirror.networks.pixelcnn import PixelCNN
from anomirror.training import autocast

ROUNDS = 7
BATCH, CHANNELS = 16, 3
SIZES: dict[str, dict[str, int]] = {
    "pixelcnn": {"filters": 40, "blocks": 2, "mixtures": 10},
    "glow": {"steps": 8, "levels": 3, "hidden": 128},
}
Step = Callable[[Tensor], None]


def step_of(network: nn.Module, loss: Callable[[Tensor], Tensor], precision: Any = "float32") -> Step:
    """A whole minibatch: what comes out of ``loss`` is a scalar."""
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)

    def step(x: Tensor) -> None:
        optimizer.zero_grad()
        with autocast(precision, torch.device("cpu"), cached=False):
            value = loss(x)
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def ours(name: str, precision: str) -> Step:
    size = SIZES[name]
    if name == "pixelcnn":
        pixelcnn = PixelCNN(CHANNELS, size["filters"], size["blocks"], size["mixtures"], dropout=0.5)
        network: nn.Module = pixelcnn.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return step_of(network, lambda x: -likelihood.mixture_log_probability(network(x), x).mean(), precision)
    network = Glow(CHANNELS, size["levels"], size["steps"], size["hidden"]).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def loss(x: Tensor) -> Tensor:
        latents, log_determinant = network(likelihood.dequantized(x, torch.rand(x.shape)))
        density = log_determinant + sum(likelihood.gaussian_log_density(of.z, of.mean, of.log_deviation) for of in latents)
        return -likelihood.flow_log_probability(density, x).mean()

    return step_of(network, loss, precision)


def public(name: str, clone: Path) -> Step:
    """The same step of the public code, its modules imported from a copy that Python 3 and a CPU can read."""
    copy = Path(tempfile.mkdtemp())
    for file in clone.glob("*.py"):
        text = re.sub(r"^(\s*)print ([^(\n].*)$", r"\1print(\2)", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
        (copy / file.name).write_text(text.replace(".cuda()", ""), encoding="utf-8")
    sys.path.insert(0, str(copy))
    model = importlib.import_module("model")
    size = SIZES[name]
    if name == "pixelcnn":
        network = model.PixelCNN(
            nr_resnet=size["blocks"], nr_filters=size["filters"], nr_logistic_mix=size["mixtures"], input_channels=CHANNELS
        )
        total: Callable[[Tensor, Tensor], Tensor] = importlib.import_module("utils").discretized_mix_logistic_loss
        return step_of(network, lambda x: total(x, network(x)) / len(x))
    network = model.Glow(CHANNELS, size["steps"], size["levels"])
    for block in network.blocks:
        for flow in block.flows:
            flow.coupling = type(flow.coupling)(flow.actnorm.loc.shape[1], filter_size=size["hidden"])

    def glow_loss(x: Tensor) -> Tensor:
        log_p, log_determinant, _ = network(x / 2 + torch.rand(x.shape) / 256)
        mean: Tensor = (log_p + log_determinant).mean()
        return -mean

    return step_of(network, glow_loss)


def main(
    name: Annotated[str, typer.Argument(help="pixelcnn or glow")],
    clone: Annotated[Path, typer.Argument(help="a clone of the public implementation")],
    out: Annotated[Path | None, typer.Option("--json")] = None,
    threads: int = 2,
) -> None:
    """Print the ratios, and write them."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    x = torch.randint(256, (BATCH, CHANNELS, 32, 32)) / 127.5 - 1
    x_last = x.contiguous(memory_format=torch.channels_last)
    steps = {"public": (public(name, clone), x), "float32": (ours(name, "float32"), x_last), "auto": (ours(name, "auto"), x_last)}
    for step, images in steps.values():
        step(images)
    seconds: dict[str, list[float]] = {which: [] for which in steps}
    for _ in range(ROUNDS):
        for which, (step, images) in steps.items():
            started = time.perf_counter()
            step(images)
            seconds[which].append(time.perf_counter() - started)
    ratios = {
        which: statistics.median(p / o for p, o in zip(seconds["public"], seconds[which], strict=True))
        for which in ("float32", "auto")
    }
    git = ["git", "-C", str(clone)]
    revision = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    told = {
        "network": f"{name}: " + ", ".join(f"{value} {what}" for what, value in SIZES[name].items()),
        "public": clone.resolve().name,
        "revision": revision,
        "ratios": ratios,
        "threads": threads,
        "batch": BATCH,
        "bf16": torch.cpu._is_avx512_bf16_supported(),
        "torch": torch.__version__,
    }
    print(json.dumps(told, indent=1))
    if out is not None:
        out.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
