"""The benchmarks of speed run, say what they measured, and measure what they say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from anomirror import AMA
from anomirror.benchmark.protocols import Comparison
from anomirror.data.sample import Sample
from anomirror.networks.residual import CriticBlock, UpBlock
from studies.speed.floor import Machine, counting
from studies.speed.memory import anonymous
from studies.speed.quality import Way, aurocs, change, scored, trained
from studies.speed.train_step import ratio
from studies.speed.trainings import timed
from tests.tiny import TINY

ROOT = Path(__file__).parents[2]


def test_the_step_benchmark_is_a_command_whose_json_says_what_its_ratios_came_from() -> None:
    words = [
        "--preset",
        "cpu",
        "--batch",
        "4",
        "--steps",
        "1",
        "--repeats",
        "2",
        "--device",
        "cpu",
        "--json",
    ]
    command = [sys.executable, "-m", "studies.speed.train_step", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    for kind, shares in (
        ("train", ("less_work", "arithmetic", "fewer_products")),
        ("score", ("less_work", "arithmetic")),
    ):
        seconds = result[f"{kind}_seconds"]
        assert all(len(taken) == 2 for taken in seconds.values())
        assert result[f"{kind}_ratio"] == ratio(seconds, "reference", "auto")
        assert all(result[f"{kind}_share_{share}"] > 0 for share in shares)
        assert result[f"{kind}_images_per_second"].keys() == seconds.keys()
        assert all(
            part["multiply_adds"] > 0 < part["bytes"] for part in result[f"{kind}_parts"].values()
        )
        assert 0 < result[f"{kind}_share_of_floor"] < 1.5
    assert {"threads", "versions", "device", "batch", "steps", "repeats", "bf16"} <= result.keys()


@pytest.fixture(scope="module")
def split(sample: Sample) -> Comparison:
    nothing = sample.train[:0]
    return Comparison(
        train=sample.train[:300],
        normal=sample.normal[:60],
        anomalies={"mnist": sample.anomalies[:60]},
        sampled={"mnist": np.arange(0, 60, 2)},
        validation_normal=nothing,
        validation={},
        labelled=nothing,
        parts={},
        copies={},
        preparation={},
    )


def test_quality_compares_two_trainings_that_end_in_the_same_kind_of_model(
    split: Comparison,
) -> None:
    settings = TINY["ama"] | {"critic_steps": 2, "device": "cpu", "learning_rate": 1e-3}
    models = {way: trained(way, split, 0, **settings)[0] for way in Way}
    for ama in models.values():
        assert type(ama) is AMA
        assert {
            type(m) for m in ama.networks_.modules() if isinstance(m, (CriticBlock, UpBlock))
        } == {CriticBlock, UpBlock}
        exact, shipped = scored(ama, split, "float32"), scored(ama, split, "bf16")
        assert all(0 <= value <= 1 for value in aurocs(ama, exact).values())
        assert 0 < change(exact["normal"], shipped["normal"])["median"] < 0.05
    assert models[Way.REFERENCE].precision == "float32"
    fast, reference = (models[way].networks_["critic"].linear.weight for way in Way)
    start = AMA(**settings).untrained((1, 32, 32))[0].networks_["critic"].linear.weight
    assert not torch.allclose(fast, reference)  # drawn otherwise
    assert not torch.allclose(start, reference)


def test_images_a_second_are_minibatches_times_their_size(sample: Sample) -> None:
    detector = AMA(**TINY["ama"])
    found = timed(detector, sample.train[:64], sample.normal[:16])
    # epochs, minibatches, images
    assert found["trained"] * found["fit_seconds"] == pytest.approx(2 * 4 * 16)
    assert found["fit_seconds"] > sum(row["seconds"] for row in detector.history_)
    assert found["scored"] > 0


def test_operations_are_counted_with_what_they_multiply_and_move() -> None:
    a, b = torch.rand(8, 16), torch.rand(16, 4)
    image, kernel = torch.rand(2, 3, 10, 10), torch.rand(5, 3, 3, 3)
    with counting() as counted:
        (a @ b).view(4, 8).add_(1.0)
        torch.nn.functional.conv2d(image, kernel)
    product, added, convolved = counted.operations
    assert product == (8 * 16 * 4, 4 * (8 * 16 + 16 * 4 + 8 * 4))
    assert added == (0, 4 * 8 * 4)  # in place: one tensor
    assert convolved == (2 * 5 * 8 * 8 * 27, 4 * (image.numel() + kernel.numel() + 2 * 5 * 8 * 8))
    machine = Machine(multiply_adds_per_second=100.0, bytes_per_second=1000.0)
    assert counted.floor(machine) == pytest.approx(max(5.12, 0.896) + 0.128 + max(172.8, 5.5))
    assert counted.since(1).operations == [added, convolved]
    assert counted.per_image(2, machine)["multiply_adds"] == (512 + 17280) / 2


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")
def test_anonymous_memory_grows_with_what_is_allocated_and_ends_with_the_process() -> None:
    code = (
        "import sys; sys.stdin.readline(); held = bytearray(b'1') * 50_000_000; print(flush=True); "
        "sys.stdin.readline()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdin is not None
    assert child.stdout is not None
    before = anonymous(child.pid)
    child.stdin.write("\n")
    child.stdin.flush()
    child.stdout.readline()
    assert anonymous(child.pid) - before > 45_000_000
    child.communicate("\n")
    assert anonymous(child.pid) == 0
