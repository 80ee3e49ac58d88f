"""Two processes that train one model: torchrun on this machine, gloo between them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from PIL import Image
from torch import Tensor

from anomirror import AMA, load
from anomirror.data.sample import load_sample
from anomirror.errors import SettingError
from anomirror.minibatch import Batch, TrainingData
from anomirror.processes import Group
from anomirror.schedule import Schedule
from anomirror.training import Run, train
from tests.tiny import TINY
from tests.trained_together import IMAGES, SETTINGS, STARTED

ROOT = Path(__file__).parents[1]


def torchrun(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
    ]
    return subprocess.run(
        [*command, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, timeout=120
    )


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What both processes saved."""
    folder = tmp_path_factory.mktemp("together")
    done = torchrun("-m", "tests.trained_together", folder)
    assert done.returncode == 0, done.stderr
    return folder


def parameters(ama: AMA) -> dict[str, Tensor]:
    return {name: parameter.detach() for name, parameter in ama.networks_.named_parameters()}


def test_both_processes_end_with_one_model(models: Path) -> None:
    first, second = (load(models / f"whole-{rank}", device="cpu") for rank in (0, 1))
    images = load_sample().normal[:50]
    assert_array_equal(first.score_samples(images), second.score_samples(images))
    assert first.history_[-1]["gap"] == second.history_[-1]["gap"]


@pytest.mark.parametrize("name", STARTED)
def test_both_find_between_epochs_what_is_found_once(models: Path, name: str) -> None:
    first, second = (load(models / f"{name}-{rank}", device="cpu") for rank in (0, 1))
    images = load_sample().normal[:50]
    assert_array_equal(first.score_samples(images), second.score_samples(images))


def test_no_thread_of_the_group_outlives_it(models: Path) -> None:
    """One that still holds a tensor when the interpreter ends aborts the process."""
    assert [(models / f"threads-{rank}").read_text() for rank in (0, 1)] == ["", ""]


class _Reached(Exception):
    """The update of interest is reached."""


class TwoHalves(AMA):
    """One process that works through both halves of a minibatch before each update, and applies the
    mean of their gradients.

    What a process has for itself there, each half has here: batch-norm statistics, and what it
    draws from.
    """

    _begun = -1

    def _step(self, batch: Batch, run: Run) -> Mapping[str, Tensor]:
        if self._begun != run.epoch:
            seed = int(torch.randint(2**62, (), generator=run.generator))
            self._generators = [torch.Generator().manual_seed(seed + half) for half in (0, 1)]
            buffers = (
                self._buffers()
                if self._begun < 0
                else [(a + b) / 2 for a, b in zip(*self._of_halves, strict=True)]
            )
            self._of_halves = [[b.clone() for b in buffers] for _ in (0, 1)]
            self._begun = run.epoch
        critic = dict(self.networks_["critic"].named_parameters())
        before = {name: p.detach().clone() for name, p in critic.items()}
        self._apply(
            run, "critic", [self._gradients(batch, run, half, "critic", {}) for half in (0, 1)]
        )
        after = {name: p.detach().clone() for name, p in critic.items()}
        found = []
        for half in (0, 1):
            self._put(critic, before)
            found.append(self._gradients(batch, run, half, "autoencoder", after))
            self._of_halves[half] = [b.clone() for b in self._buffers()]
        self._apply(run, "autoencoder", found)
        return {}

    def _gradients(
        self, batch: Batch, run: Run, half: int, wanted: str, critic_after: Mapping[str, Tensor]
    ) -> list[Tensor]:
        """Of one half up to the wanted update; the critic's own update before it is taken from
        ``critic_after``.
        """
        with torch.no_grad():
            for buffer, own in zip(self._buffers(), self._of_halves[half], strict=True):
                buffer.copy_(own)
        found: list[Tensor] = []
        generator = torch.Generator()
        generator.set_state(self._generators[half].get_state())

        def update(name: str, loss: Tensor) -> None:
            if name != wanted:
                self._put(dict(self.networks_["critic"].named_parameters()), critic_after)
                return
            found.extend(torch.autograd.grad(loss, self._claimed(run, name)))
            raise _Reached

        half_run: Any = SimpleNamespace(
            progress=run.progress, attempt=run.attempt, generator=generator, update=update
        )
        images = batch.images[half::2]
        with pytest.raises(_Reached):
            super()._step(Batch(images, torch.zeros(len(images), dtype=torch.bool)), half_run)
        if wanted == "autoencoder":
            self._generators[half] = generator
        return found

    def _apply(self, run: Run, name: str, gradients: list[list[Tensor]]) -> None:
        for parameter, first, second in zip(self._claimed(run, name), *gradients, strict=True):
            parameter.grad = (first + second) / 2
        run.optimizers[name].step()

    def _claimed(self, run: Run, name: str) -> list[Tensor]:
        return [p for group in run.optimizers[name].param_groups for p in group["params"]]

    def _buffers(self) -> list[Tensor]:
        return [b for b in self.networks_.buffers() if b.is_floating_point()]

    @torch.no_grad()
    def _put(self, parameters: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
        for name, parameter in parameters.items():
            parameter.copy_(values[name])


def test_two_processes_equal_one_that_accumulates_their_halves(models: Path) -> None:
    images = load_sample().train[:IMAGES]
    one = TwoHalves(**SETTINGS).fit(images)
    accumulated, alone = parameters(one), parameters(AMA(**SETTINGS).fit(images))
    together: Any = load(models / "whole-0", device="cpu")
    moved = 0
    for name, parameter in parameters(together).items():
        torch.testing.assert_close(parameter, accumulated[name], rtol=1e-5, atol=1e-7)
        moved += not torch.allclose(parameter, alone[name], rtol=1e-3, atol=1e-5)
    # one process with the whole minibatch draws otherwise: the comparison can fail
    assert moved > 10
    names = [name for name, buffer in one.networks_.named_buffers() if buffer.is_floating_point()]
    buffers, compared = dict(together.networks_.named_buffers()), 0
    for name, first, second in zip(names, *one._of_halves, strict=True):
        if "running" in name:  # those of batch norms; spectral norms have iterated since
            torch.testing.assert_close(buffers[name], (first + second) / 2, rtol=1e-5, atol=1e-7)
            compared += not torch.allclose(first, second, rtol=1e-3)
    assert compared > 4


def test_an_interrupted_run_of_two_goes_on_as_if_nothing_had_been(models: Path) -> None:
    whole: Any = load(models / "whole-0", device="cpu")
    for rank in (0, 1):
        resumed: Any = load(models / f"resumed-{rank}", device="cpu")
        assert all(
            torch.equal(value, parameters(whole)[name])
            for name, value in parameters(resumed).items()
        )


def test_an_ensemble_of_networks_is_refused_in_two_processes(tmp_path: Path) -> None:
    (tmp_path / "good").mkdir()
    for index, image in enumerate(load_sample().train[:40]):
        Image.fromarray(image).save(tmp_path / "good" / f"{index:02d}.png")
    done = torchrun(
        *("-m", "anomirror.cli", "fit", tmp_path / "good", "--out", tmp_path / "model"),
        *("--set=detectors=pca", "--with=deep_svdd"),
    )
    assert done.returncode != 0
    assert "cannot be trained by several processes" in done.stderr
    assert not (tmp_path / "model").exists()


def test_the_command_line_trains_in_two_processes_and_writes_once(tmp_path: Path) -> None:
    (tmp_path / "good").mkdir()
    for index, image in enumerate(load_sample().train[:40]):
        Image.fromarray(image).save(tmp_path / "good" / f"{index:02d}.png")
    sizes = [f"--set={name}={value}" for name, value in TINY["ama"].items()]
    done = torchrun(
        "-m",
        "anomirror.cli",
        "fit",
        tmp_path / "good",
        "--out",
        tmp_path / "model",
        "--method=ama",
        "--device",
        "cpu",
        *sizes,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("fitted on") == 1
    assert np.isfinite(
        load(tmp_path / "model", device="cpu").score_samples(load_sample().normal[:5])
    ).all()
    assert not (tmp_path / "model.partial").exists()


def test_processes_share_every_image_once() -> None:
    parts = [Group(rank, 3).share(range(12)) for rank in range(3)]
    assert sorted(index for part in parts for index in part) == list(range(12))
    assert {len(part) for part in parts} == {4}


def test_a_mean_over_processes_is_one_message_for_all_float_tensors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    messages = []

    def doubled(self: Group, tensor: Tensor) -> None:
        messages.append(tensor)
        tensor *= 2.0  # the other one has sent the same

    monkeypatch.setattr(Group, "_sum", doubled)
    tensors = [torch.ones(2, 3), torch.tensor(5), torch.full((4,), 2.0)]
    Group(0, 2).average(tensors)
    assert len(messages) == 1
    assert_array_equal(tensors[0].numpy(), np.ones((2, 3)))
    assert_array_equal(tensors[2].numpy(), np.full(4, 2.0))
    assert Group(0, 2).average_values({"gap": 3.0}, torch.device("cpu")) == {"gap": 3.0}


def test_a_minibatch_that_cannot_be_shared_is_refused(
    clothes: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    from anomirror.images import open_images

    monkeypatch.setattr(Group, "agree", lambda self, text, device: True)

    def attempt(batch_size: int, count: int) -> None:
        run = Run(
            {}, {}, torch.device("cpu"), torch.Generator(), Schedule(batch_size), group=Group(0, 2)
        )
        train([], TrainingData(open_images(clothes[:count])), run)

    attempt(16, 40)
    with pytest.raises(
        SettingError, match="batch_size=15: 2 processes need equal shares.*choose a multiple of 2"
    ):
        attempt(15, 40)
    with pytest.raises(SettingError, match="of at least 2 of 3 images"):
        attempt(16, 3)
