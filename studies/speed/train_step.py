"""A training step and the scoring of AMA as ratios to the literal transcription of the paper, all
timed in turn in one run.

    python -m studies.speed.train_step --batch 16 --steps 2 --repeats 5
    python -m studies.speed.train_step --json > results/speed/steps-paper-cifar10.json

Networks, batch, loss terms and critic steps are those of one preset for both. Four ways of doing
the same step: the reference; ours in float32 (what less work and the memory format win); ours in
precision "auto", which the device computes natively (what arithmetic wins; the presets paper-*
themselves ask for float32); and that with the blocks of the networks written out (what fewer
products win). Averages of weights, which neither the paper nor paper-* keep, are not in it. The
operations are counted, too (studies/speed/floor.py), and the time below which they cannot be done
is set next to the time that they took.
"""

from __future__ import annotations

import copy
import json
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from functools import partial
from typing import Annotated, Any, Literal, cast
from unittest.mock import patch

import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import nn

from anomirror import AMA, latent, losses, preset
from anomirror.benchmark.provenance import command, versions
from anomirror.detector.variants import with_params
from anomirror.devices import Precision, choose_device, use_bf16
from anomirror.minibatch import Batch
from anomirror.scorers import GaussianDensity, Scores
from anomirror.training import Run
from studies.speed.floor import Counted, Machine, at_its_best, counting
from studies.speed.reference_ama import Draws, ReferenceAMA, written_out

CHANNELS = 3
SCORED = 2
"""Batches of the size that :class:`AMA` scores in, one after the other."""

SMALL = 16
"""Images at once with which the reference scores fastest on a CPU: its intermediate results then
stay in the caches.
"""


def prepared(settings: Mapping[str, Any], precision: str, device: torch.device) -> tuple[AMA, Run]:
    """AMA with fresh weights, and a run for its steps."""
    ama = AMA(**{**settings, "negatives_start": 0.0, "precision": precision, "device": str(device)})
    return ama.untrained((CHANNELS, 32, 32))


def reference_like(ama: AMA, modules: Mapping[str, nn.Module] | None = None) -> ReferenceAMA:
    """The reference with the weights of AMA's terms, and ``modules``, or copies of its networks in
    the default memory format.
    """
    networks: Any = modules
    if modules is None:
        networks = copy.deepcopy(ama.networks_).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return ReferenceAMA(
        networks["encoder"],
        networks["generator"],
        networks["critic"],
        ama.interpolation_weight,
        ama.negatives_weight,
        ama.latent_weight,
        ama.critic_steps,
        ama.learning_rate,
    )


def draws_like(
    ama: AMA, batch: int, device: torch.device, generator: torch.Generator | None = None
) -> Callable[[], Draws]:
    """Draws what AMA's step draws for a minibatch, in the same order, from ``generator`` or from
    one seeded with 0.
    """
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    k, direction = cast(int, ama.interpolation), cast(Literal["inward", "outward"], ama.negatives)

    def draw() -> Draws:
        ends = latent.endpoints(batch, k, generator).to(device)
        beside = ends if ama.interpolation_endpoints == "all" else ends[:, :1]
        weights = latent.simplex_weights(batch, k, generator).to(device)
        z_negative = latent.shell(
            ama.anomalies_per_batch(batch), ama.latent_dim, ama.delta, direction, generator
        ).to(device)
        return Draws(ends, beside, weights, z_negative)

    return draw


def timed(work: Callable[[], Any], device: torch.device) -> float:
    """Seconds that ``work`` takes, the device's queue included."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def in_turn(
    ways: dict[str, Callable[[], Any]], repeats: int, device: torch.device
) -> dict[str, list[float]]:
    """Seconds of each way, one after the other, ``repeats`` times.

    The first round warms up and is not counted.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for round_number in range(repeats + 1):
        for name, work in ways.items():
            taken = timed(work, device)
            if round_number:
                seconds[name].append(taken)
    return seconds


def ratio(seconds: dict[str, list[float]], slow: str, fast: str) -> float:
    """The median over rounds of the ratio within a round."""
    return statistics.median(a / b for a, b in zip(seconds[slow], seconds[fast], strict=True))


def counted_step(ama: AMA, run: Run, batch: Batch) -> dict[str, Counted]:
    """The operations of one minibatch.

    What is reconstructed, all updates of the critic, the update of the autoencoder.
    """
    gaps, update = losses.gaps, run.update
    critic_from = autoencoder_from = 0
    with counting() as counted, run.autocast():

        def before_critic(*arguments: Any) -> Any:
            nonlocal critic_from
            critic_from = critic_from or len(counted.operations)
            return gaps(*arguments)

        def after_update(name: str, loss: torch.Tensor) -> None:
            nonlocal autoencoder_from
            update(name, loss)
            if name == "critic":
                autoencoder_from = len(counted.operations)

        with patch.object(losses, "gaps", before_critic), patch.object(run, "update", after_update):
            ama.phases()[0].step(batch, run)
    return {
        "reconstructions": counted.since(0, critic_from),
        "critic": counted.since(critic_from, autoencoder_from),
        "autoencoder": counted.since(autoencoder_from),
    }


def training(
    settings: Mapping[str, Any],
    batch: int,
    steps: int,
    repeats: int,
    device: torch.device,
    machine: Machine,
) -> dict[str, Any]:
    """``steps`` minibatches in each of the four ways."""
    x = (
        torch.rand(batch, CHANNELS, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    ).to(device)
    laid_out = Batch(
        x.contiguous(memory_format=torch.channels_last),
        torch.zeros(batch, dtype=torch.bool, device=device),
    )
    precisions = {"float32": "float32", "auto": "auto", "written out": "auto"}
    ours = {name: prepared(settings, precision, device) for name, precision in precisions.items()}
    written_out(ours["written out"][0].networks_)
    reference = reference_like(ours["float32"][0])
    draw = draws_like(ours["float32"][0], batch, device)

    def step(name: str) -> None:
        ama, run = ours[name]
        for _ in range(steps):
            with run.autocast():
                ama.phases()[0].step(laid_out, run)

    def reference_step() -> None:
        for _ in range(steps):
            reference.step(x, draw)

    ways: dict[str, Callable[[], Any]] = {"reference": reference_step}
    ways |= {name: partial(step, name) for name in ours}
    seconds = in_turn(ways, repeats, device)
    parts = counted_step(*ours["auto"], laid_out)
    floor = sum(part.floor(machine) for part in parts.values())
    return {
        "train_parts": {name: part.per_image(batch, machine) for name, part in parts.items()},
        "train_share_of_floor": floor * steps / statistics.median(seconds["auto"]),
        "train_ratio": ratio(seconds, "reference", "auto"),
        "train_share_less_work": ratio(seconds, "reference", "float32"),
        "train_share_arithmetic": ratio(seconds, "float32", "auto"),
        "train_share_fewer_products": ratio(seconds, "written out", "auto"),
        "train_images_per_second": {
            name: batch * steps / statistics.median(s) for name, s in seconds.items()
        },
        "train_seconds": seconds,
    }


def scoring(
    settings: Mapping[str, Any], repeats: int, device: torch.device, machine: Machine
) -> dict[str, Any]:
    """R, Eq. (5), and A, Eq. (6), of the same images in every way.

    And the preset's own raw score, if that is the relative R.

    All in batches of the size that AMA scores in; the reference in small ones, too, and the better
    of both counts apart.
    """
    ama, _ = prepared(settings, "float32", device)
    batch = ama._scoring_batch()
    count = batch * SCORED
    x = (
        torch.rand(count, CHANNELS, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    ).to(device)
    reference = reference_like(ama)
    for network in (ama.networks_, reference.encoder, reference.generator, reference.critic):
        network.eval()
    ama.reference_image_, ama.sensitivity_floor_, ama.structure_power_ = (
        torch.zeros(CHANNELS, 1, 1),
        1e-3,
        0.5,
    )
    batches = torch.split(x, batch)
    density = GaussianDensity().fit(reference.raw_scores(x).double().cpu().numpy())

    def a_score(parts: Iterable[torch.Tensor]) -> Scores:
        return density.normality(torch.cat(list(parts)).double().cpu().numpy())

    def streamed(power: float | str, precision: Precision) -> Scores:
        scored = with_params(ama, {"structure_power": power, "scoring_precision": precision})
        names = scored.scoring_statistics
        with scored._scoring():
            parts = [scored._statistics(some, names) for some in batches]
        measured = {
            name: torch.cat([part[name] for part in parts]).double().cpu().numpy() for name in names
        }
        return density.normality(scored._raw(measured))

    def norms_each_batch(some: torch.Tensor) -> torch.Tensor:
        ama.scoring_precision = "auto"
        with ama._scoring():
            return ama._statistics(some, ("r",))["r"]

    ways: dict[str, Callable[[], Any]] = {
        "reference": lambda: a_score(map(reference.raw_scores, batches)),
        "reference, small batches": lambda: a_score(
            map(reference.raw_scores, torch.split(x, SMALL))
        ),
        "float32": partial(streamed, 0.0, "float32"),
        "auto": partial(streamed, 0.0, "auto"),
        "norms each batch": lambda: a_score(map(norms_each_batch, batches)),
    }
    ways |= (
        {"relative": partial(streamed, ama.structure_power, "auto")} if ama.structure_power else {}
    )
    seconds = in_turn(ways, repeats, device)
    with counting() as counted:
        ways["auto"]()
    return {
        "score_parts": {"scoring R": counted.per_image(count, machine)},
        "score_share_of_floor": counted.floor(machine) / statistics.median(seconds["auto"]),
        "score_ratio": ratio(seconds, "reference", "auto"),
        "score_ratio_against_best": min(
            ratio(seconds, name, "auto") for name in ("reference", "reference, small batches")
        ),
        "score_batch": batch,
        "score_share_less_work": ratio(seconds, "reference", "float32"),
        "score_share_arithmetic": ratio(seconds, "float32", "auto"),
        "score_share_folded": ratio(seconds, "norms each batch", "auto"),
        "score_ratio_relative": ratio(seconds, "reference", "relative")
        if ama.structure_power
        else None,
        "score_images_per_second": {
            name: count / statistics.median(s) for name, s in seconds.items()
        },
        "score_seconds": seconds,
    }


def main(
    preset_name: Annotated[str, typer.Option("--preset")] = "paper-cifar10",
    batch: Annotated[int, typer.Option(min=2)] = 16,
    steps: Annotated[int, typer.Option(min=1, help="minibatches in each timing")] = 1,
    repeats: Annotated[int, typer.Option(min=1, help="timings of each way")] = 5,
    device: Annotated[str, typer.Option()] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="JSON alone on stdout")] = False,
) -> None:
    chosen = choose_device(device)
    settings = preset("ama", preset_name)
    machine = at_its_best(chosen, torch.bfloat16 if use_bf16("auto", chosen) else torch.float32)
    result = training(settings, batch, steps, repeats, chosen, machine) | scoring(
        settings, repeats, chosen, machine
    )
    result |= {
        "at_its_best": asdict(machine),
        "preset": preset_name,
        "batch": batch,
        "steps": steps,
        "repeats": repeats,
        "device": torch.cuda.get_device_name(chosen) if chosen.type == "cuda" else chosen.type,
        "bf16": use_bf16("auto", chosen),
        "threads": torch.get_num_threads(),
        "versions": versions(),
        "command": command("studies.speed.train_step"),
    }
    if as_json:
        print(json.dumps(result, indent=2))
        return
    table = Table("what", "ratio to the reference", "images/s")
    table.add_row(
        "training step",
        f"{result['train_ratio']:.2f}",
        f"{result['train_images_per_second']['auto']:.1f}",
    )
    table.add_row(
        "scoring",
        f"{result['score_ratio']:.2f}",
        f"{result['score_images_per_second']['auto']:.1f}",
    )
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
