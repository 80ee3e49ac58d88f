"""The loop: schedules, order of the data, averages, checkpoints, resume, divergence."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from anomirror import AMA, load
from anomirror.devices import choose_device, use_bf16
from anomirror.errors import CheckpointError, DivergenceError, SettingError
from anomirror.images import open_images
from anomirror.minibatch import Batch, TrainingData
from anomirror.schedule import Phase, Schedule, milestone_factor
from anomirror.training import Checkpoints, Run, train
from tests.tiny import TINY

CPU = torch.device("cpu")


def line_run(**more: Any) -> tuple[nn.Linear, Run]:
    """A run that fits one weight to the mean pixel."""
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(0.0)
    run = Run(
        {"model": model},
        {"model": torch.optim.Adam(model.parameters(), lr=0.1)},
        CPU,
        torch.Generator().manual_seed(0),
        Schedule(batch_size=4, **more),
        precision="float32",
    )
    return model, run


def descend(batch: Batch, run: Run) -> Mapping[str, Tensor]:
    model = run.modules["model"]
    loss = (model(torch.ones(1, 1)) - batch.normal.mean()).square().sum()
    run.update("model", loss)
    return {"loss": loss.detach()}


def images(count: int = 10, seed: int = 0) -> TrainingData:
    return TrainingData(
        open_images(np.random.default_rng(seed).integers(0, 256, (count, 8, 8), dtype=np.uint8))
    )


def test_learning_rate_drops_by_ten_at_each_share_of_the_run() -> None:
    assert [milestone_factor(p, (0.3, 0.6)) for p in (0.0, 0.29, 0.3, 0.6, 0.99)] == pytest.approx(
        [1.0, 1.0, 0.1, 0.01, 0.01]
    )


def test_learning_rate_rises_decays_and_drops_by_steps() -> None:
    rates: list[float] = []

    def watch(batch: Batch, run: Run) -> Mapping[str, Tensor]:
        rates.append(run.optimizers["model"].param_groups[0]["lr"])
        return {}

    _, run = line_run(steps_per_epoch=6, lr_warmup=4, lr_decay=0.5, lr_milestones=(0.9,))
    train([Phase("watch", watch, 2)], images(), run)
    shares = [0.25, 0.5, 0.75, *[1.0] * 8, 0.1]
    assert rates == pytest.approx([0.1 * share * 0.5**step for step, share in enumerate(shares)])


def test_every_image_is_seen_once_in_an_epoch_and_incomplete_batches_are_dropped() -> None:
    seen: list[Tensor] = []

    def watch(batch: Batch, run: Run) -> Mapping[str, Tensor]:
        seen.extend(batch.normal.flatten(1).sum(1))
        return {}

    _, run = line_run()
    train([Phase("watch", watch, 1)], images(10), run)
    assert len(seen) == 8
    assert len({float(s) for s in seen}) == 8


def test_epoch_steps_and_max_steps_size_a_run() -> None:
    _, run = line_run(steps_per_epoch=7)
    history = train([Phase("a", descend, 2)], images(), run)
    assert [row["step"] for row in history] == [7, 14]
    _, run = line_run(steps_per_epoch=7, max_steps=9)
    assert [row["step"] for row in train([Phase("a", descend, 3)], images(), run)] == [7, 9]


def test_phases_run_in_order_and_start_once() -> None:
    events: list[str] = []

    def start(batches: Any, run: Run) -> None:
        events.append(f"start {sum(len(b.images) for b in batches)}")

    def step(batch: Batch, run: Run) -> Mapping[str, Tensor]:
        events.append(run.phase)
        return {}

    _, run = line_run(steps_per_epoch=1)
    train([Phase("first", step, 1), Phase("second", step, 2, start)], images(), run)
    assert events == ["first", "start 10", "second", "second"]


def test_drops_of_a_phase_are_shares_of_it_alone() -> None:
    rates: list[float] = []

    def watch(batch: Batch, run: Run) -> Mapping[str, Tensor]:
        rates.append(run.optimizers["model"].param_groups[0]["lr"])
        return {}

    _, run = line_run(steps_per_epoch=2, lr_milestones=(0.5,), max_steps=10)
    train(
        [
            Phase("a", watch, 2, lr_milestones=(0.5,)),
            Phase("b", watch, 2, lr_milestones=()),
            Phase("c", watch, 2),
        ],
        images(),
        run,
    )
    # the last phase ends at ten steps, and has the run's drop after five of them
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, *[0.1] * 4, *[0.01] * 2])
    rates.clear()
    _, run = line_run(steps_per_epoch=2, max_steps=6)
    train(
        [Phase("a", watch, 2, lr_milestones=(0.5,)), Phase("b", watch, 2, lr_milestones=(0.5,))],
        images(),
        run,
    )
    # of a phase that is cut short, too
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.1, 0.01])


def test_the_weights_of_the_best_epoch_of_the_last_phase_are_kept(tmp_path: Path) -> None:
    told = iter([0.1, 3.0, 1.0, 2.0, 1.0])
    weights: list[float] = []

    def observe(run: Run) -> Mapping[str, float]:
        weights.append(float(next(run.scoring_modules()["model"].parameters())))
        return {"error": next(told)}

    model, run = line_run(ema_decay=0.5)
    phases = [Phase("a", descend, 1), Phase("b", descend, 4)]
    train(phases, images(), run, on_epoch=observe, best_by="error")
    assert len(set(weights)) == 5
    # the first of the two best ones, and none of another phase
    assert float(model.weight.detach()) == weights[2]
    told = iter([0.1, 3.0, 1.0, 2.0, 1.0])
    model, run = line_run(ema_decay=0.5)
    train(phases, images(), run, on_epoch=observe, best_by="nothing of the kind")
    assert float(model.weight.detach()) == weights[-1]


def test_modules_that_rest_have_their_averaged_weights_from_then_on() -> None:
    seen: list[float] = []

    def settle(batches: Any, run: Run) -> None:
        averaged = float(next(run.scoring_modules()["model"].parameters()))
        assert averaged != float(next(run.modules["model"].parameters()))
        run.rest("model")
        seen.append(averaged)

    model, run = line_run(ema_decay=0.9)
    train([Phase("a", descend, 2), Phase("b", lambda batch, run: {}, 2, settle)], images(), run)
    assert float(model.weight.detach()) == pytest.approx(seen[0], rel=1e-6)


def test_labelled_anomalies_come_with_every_batch_and_are_marked() -> None:
    data = images()
    data = TrainingData(
        data.normal, open_images(np.full((3, 8, 8), 255, np.uint8)), anomalies_per_batch=2
    )
    batches: list[Batch] = []

    def keep(batch: Batch, run: Run) -> Mapping[str, Tensor]:
        batches.append(batch)
        return {}

    _, run = line_run()
    train([Phase("keep", keep, 1)], data, run)
    for batch in batches:
        assert len(batch.normal) == 4
        assert len(batch.anomalies) == 2
        assert batch.anomalies.max() == 1.0


def test_averaged_weights_replace_the_last_ones() -> None:
    model, run = line_run(ema_decay=0.9)
    train([Phase("a", descend, 3)], images(), run)
    averaged = float(model.weight.detach())
    live, run = line_run()
    train([Phase("a", descend, 3)], images(), run)
    assert averaged != float(live.weight.detach())


def test_resumed_run_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    whole, run = line_run(ema_decay=0.9)
    expected = train([Phase("a", descend, 2), Phase("b", descend, 2)], images(), run)

    class Stop(Exception):
        pass

    def stop(run: Run) -> Mapping[str, float]:
        if run.epoch == 3:
            raise Stop
        return {}

    checkpoints = Checkpoints(tmp_path, {"a": 1})
    _, run = line_run(ema_decay=0.9)
    with pytest.raises(Stop):
        train(
            [Phase("a", descend, 2), Phase("b", descend, 2)],
            images(),
            run,
            checkpoints=checkpoints,
            on_epoch=stop,
        )
    resumed, run = line_run(ema_decay=0.9)
    history = train(
        [Phase("a", descend, 2), Phase("b", descend, 2)], images(), run, checkpoints=checkpoints
    )
    assert torch.equal(resumed.weight, whole.weight)
    assert [row["loss"] for row in history] == [row["loss"] for row in expected]


def test_a_checkpoint_of_another_run_is_refused_by_name_of_what_differs(tmp_path: Path) -> None:
    _, run = line_run()
    train(
        [Phase("a", descend, 1)],
        images(),
        run,
        checkpoints=Checkpoints(tmp_path, {"seed": 1, "data": "x"}),
    )
    _, run = line_run()
    with pytest.raises(CheckpointError, match="seed was 1, is 2"):
        train(
            [Phase("a", descend, 1)],
            images(),
            run,
            checkpoints=Checkpoints(tmp_path, {"seed": 2, "data": "x"}),
        )


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.safetensors").write_bytes(b"\x10\x00garbage")
    _, run = line_run()
    with pytest.raises(CheckpointError, match="damaged"):
        train([Phase("a", descend, 1)], images(), run, checkpoints=Checkpoints(tmp_path, {}))


def test_divergence_names_the_epoch_and_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    def explode(batch: Batch, run: Run) -> Mapping[str, Tensor]:
        terms = dict(descend(batch, run))
        if run.epoch == 1:
            terms["loss"] = terms["loss"] * torch.inf
        return terms

    _, run = line_run()
    with pytest.raises(DivergenceError, match="epoch 2: loss is not finite") as caught:
        train([Phase("a", explode, 3)], images(), run, checkpoints=Checkpoints(tmp_path, {}))
    assert caught.value.epoch == 2
    _, run = line_run()
    history = train([Phase("a", descend, 3)], images(), run, checkpoints=Checkpoints(tmp_path, {}))
    assert [row["epoch"] for row in history] == [1, 2, 3]


def test_precision_and_device_are_checked() -> None:
    with pytest.raises(SettingError, match="choose auto, float32 or bf16"):
        use_bf16("half", CPU)  # type: ignore[arg-type]
    assert use_bf16("bf16", CPU)
    assert not use_bf16("float32", CPU)
    assert choose_device("cpu") == CPU
    with pytest.raises(SettingError, match="use cpu"):
        choose_device("no-such-device")


def test_after_kill_9_the_resumed_weights_are_bit_for_bit_those_of_an_uninterrupted_run(
    tmp_path: Path,
) -> None:
    arguments = TINY["ama"] | {"epochs": 5, "device": "cpu", "random_state": 3}
    script = (
        "import os, signal, sys, torch\n"
        "from anomirror import AMA\n"
        "from anomirror.data.sample import load_sample\n"
        "torch.set_num_threads(1)\n"
        "epochs = []\n"
        "def kill(detector):\n"
        "    epochs.append(1)\n"
        "    if len(epochs) == 3:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return {}\n"
        f"AMA(**{arguments!r}, checkpoint_dir=sys.argv[1], "
        "callback=kill).fit(load_sample().train[:128])\n"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(tmp_path / "partial")], check=False)
    assert killed.returncode == -signal.SIGKILL

    from anomirror.data.sample import load_sample

    images = load_sample().train[:128]
    resumed = AMA(**arguments, checkpoint_dir=tmp_path / "partial").fit(images)
    whole = AMA(**arguments).fit(images)
    expected = whole.networks_.state_dict()
    for name, tensor in resumed.networks_.state_dict().items():
        assert torch.equal(tensor, expected[name]), name
    assert resumed.offset_ == whole.offset_
    assert [row["gap"] for row in resumed.history_] == [row["gap"] for row in whole.history_]
    whole.save(tmp_path / "model")
    assert load(tmp_path / "model", device="cpu").offset_ == resumed.offset_


def test_other_data_cannot_continue_a_checkpoint(tmp_path: Path, clothes: np.ndarray) -> None:
    arguments = TINY["ama"] | {"device": "cpu", "checkpoint_dir": tmp_path}
    AMA(**arguments).fit(clothes)
    with pytest.raises(CheckpointError, match="belongs to another run .data was"):
        AMA(**arguments).fit(clothes[:200])
    with pytest.raises(CheckpointError, match="delta was 2.0, is 3.0"):
        AMA(**arguments, delta=3.0).fit(clothes)


def test_a_set_larger_than_memory_streams_from_disk_and_trains_the_same(
    tmp_path: Path, clothes: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index, image in enumerate(clothes[:64]):
        Image.fromarray(image).save(tmp_path / f"{index:02d}.png")
    arguments = TINY["ama"] | {"device": "cpu", "random_state": 0}
    kept = AMA(**arguments).fit(tmp_path)
    monkeypatch.setattr("anomirror.images.protocol.MEMORY_LIMIT", 0)
    streamed = AMA(**arguments, workers=2).fit(tmp_path)
    for name, tensor in kept.networks_.state_dict().items():
        assert torch.equal(tensor, streamed.networks_.state_dict()[name]), name
    assert kept.data_fingerprint_ == streamed.data_fingerprint_


def test_a_term_that_starts_late_is_averaged_over_its_own_steps() -> None:
    def late(batch: Batch, run: Run) -> Mapping[str, Tensor]:
        return {"always": torch.tensor(2.0)} | (
            {"late": torch.tensor(3.0)} if run.step >= 3 else {}
        )

    _, run = line_run(steps_per_epoch=4)
    (row,) = train([Phase("a", late, 1)], images(), run)
    assert (row["always"], row["late"]) == (2.0, 3.0)
