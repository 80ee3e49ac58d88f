"""Training steps of our PixelCNN++ and Glow next to public implementations of the same size.

    git clone https://github.com/pclucas14/pixel-cnn-pp
    git clone https://github.com/rosinality/glow-pytorch
    python -m studies.speed.public_step pixelcnn pixel-cnn-pp --json public-pixelcnn.json
    python -m studies.speed.public_step glow glow-pytorch --json public-glow.json

Same images, same sizes, same optimiser on both sides: forward, loss, backward and update. Rounds of
both alternate, and the median of the ratios counts. The public code is read from its clone, in the
memory layout that it is faster in, and never kept.
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
from anomirror.benchmark.cells import write_json
from anomirror.devices import autocast, use_bf16
from anomirror.networks.glow import Glow
from anomirror.networks.pixelcnn import PixelCNN

ROUNDS = 7
BATCH, CHANNELS = 16, 3
SIZES: dict[str, dict[str, int]] = {
    "pixelcnn": {"filters": 40, "blocks": 2, "mixtures": 10},
    "glow": {"steps": 8, "levels": 3, "hidden": 128},
}
LAYOUTS = (torch.contiguous_format, torch.channels_last)
"""Of the public code, both are timed, and the faster counts."""
Step = Callable[[Tensor], None]
Loss = Callable[[Tensor], Tensor]


def step_of(network: nn.Module, loss: Loss, precision: Any = "float32") -> Step:
    """A whole minibatch: what comes out of ``loss`` is a scalar."""
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)

    def step(x: Tensor) -> None:
        optimizer.zero_grad()
        with autocast(precision, torch.device("cpu"), cached=False):
            value = loss(x)
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def ours(name: str) -> tuple[nn.Module, Loss]:
    size = SIZES[name]
    if name == "pixelcnn":
        pixelcnn = PixelCNN(CHANNELS, size["filters"], size["blocks"], size["mixtures"])
        return pixelcnn, lambda x: -likelihood.mixture_log_probability(pixelcnn(x), x).mean()
    glow = Glow(CHANNELS, size["levels"], size["steps"], size["hidden"])

    def loss(x: Tensor) -> Tensor:
        latents, log_determinant = glow(likelihood.dequantized(x, torch.rand(x.shape)))
        density = log_determinant + sum(
            likelihood.gaussian_log_density(of.z, of.mean, of.log_deviation) for of in latents
        )
        return -likelihood.flow_log_probability(density, x).mean()

    return glow, loss


def public(name: str, clone: Path, copy: Path) -> tuple[nn.Module, Loss]:
    """The public network and its loss, imported from a copy that Python 3 and a CPU can read."""
    for file in clone.glob("*.py"):
        text = re.sub(
            r"^(\s*)print ([^(\n].*)$",
            r"\1print(\2)",
            file.read_text(encoding="utf-8"),
            flags=re.MULTILINE,
        )
        (copy / file.name).write_text(text.replace(".cuda()", ""), encoding="utf-8")
    sys.path.insert(0, str(copy))
    model = importlib.import_module("model")
    size = SIZES[name]
    if name == "pixelcnn":
        network = model.PixelCNN(
            nr_resnet=size["blocks"],
            nr_filters=size["filters"],
            nr_logistic_mix=size["mixtures"],
            input_channels=CHANNELS,
        )
        # ours draws one number for each value, this one for each channel: left out of both
        for block in network.modules():
            if hasattr(block, "dropout"):
                block.dropout = nn.Identity()
        total: Loss = importlib.import_module("utils").discretized_mix_logistic_loss
        return network, lambda x: total(x, network(x)) / len(x)  # type: ignore[call-arg]
    network = model.Glow(CHANNELS, size["steps"], size["levels"])
    for block in network.blocks:
        for flow in block.flows:
            flow.coupling = type(flow.coupling)(
                flow.actnorm.loc.shape[1], filter_size=size["hidden"]
            )

    def loss(x: Tensor) -> Tensor:
        log_p, log_determinant, _ = network(x / 2 + torch.rand(x.shape) / 256)
        mean: Tensor = (log_p + log_determinant).mean()
        return -mean

    return network, loss


def count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


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
    images = {layout: x.contiguous(memory_format=layout) for layout in LAYOUTS}
    with tempfile.TemporaryDirectory() as copy:
        theirs, their_loss = public(name, clone, Path(copy))
    mine, my_loss = ours(name)
    mine.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    steps = {
        "float32": (step_of(mine, my_loss), images[torch.channels_last]),
        "auto": (step_of(mine, my_loss, "auto"), images[torch.channels_last]),
    }
    for layout in LAYOUTS:
        step = step_of(theirs, their_loss)
        theirs.to(memory_format=layout)  # type: ignore[call-overload]
        try:
            step(images[layout])
        except RuntimeError as error:
            print(
                f"the public code does not take {layout}: {str(error).splitlines()[0]}",
                file=sys.stderr,
            )
        else:
            steps[f"public, {layout}"] = step, images[layout]
    seconds: dict[str, list[float]] = {which: [] for which in steps}
    for _ in range(1 + ROUNDS):  # the first is not counted
        for which, (step, batch) in steps.items():
            theirs.to(
                memory_format=torch.channels_last if "last" in which else torch.contiguous_format
            )  # type: ignore[call-overload]
            started = time.perf_counter()
            step(batch)
            seconds[which].append(time.perf_counter() - started)
    best = min(
        (which for which in steps if "public" in which),
        key=lambda which: statistics.median(seconds[which][1:]),
    )
    ratios = {
        which: statistics.median(
            p / o for p, o in zip(seconds[best][1:], seconds[which][1:], strict=True)
        )
        for which in ("float32", "auto")
    }
    git = ["git", "-C", str(clone)]
    revision = subprocess.run(
        [*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    told = {
        "network": f"{name}: "
        + ", ".join(f"{value} {what}" for what, value in SIZES[name].items()),
        "public": clone.resolve().name,
        "revision": revision,
        "parameters": {"ours": count(mine), "public": count(theirs)},
        "ratios": ratios,
        "threads": threads,
        "batch": BATCH,
        "bf16": use_bf16("auto", torch.device("cpu")),
        "torch": torch.__version__,
    }
    print(json.dumps(told, indent=1))
    if out is not None:
        write_json(out, told)


if __name__ == "__main__":
    typer.run(main)
