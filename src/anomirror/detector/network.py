"""What detectors share that train networks."""

from __future__ import annotations

import copy
import json
import math
import os
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from anomirror.detector.contract import Detector
from anomirror.detector.costs import Rehearsed
from anomirror.detector.parameters import (
    MEASURING,
    UNSTORED,
    Count,
    CountOrZero,
    Milestones,
    OpenFraction,
    Rate,
    declared,
    fitted,
    within,
)
from anomirror.detector.streaming import evenly_spaced
from anomirror.devices import Precision, autocast, choose_device
from anomirror.errors import DivergenceError, SettingError
from anomirror.images import ImageInput, ImageSet, ImageShape, fingerprint
from anomirror.minibatch import TrainingData
from anomirror.networks.randomness import first_weights_from
from anomirror.processes import Group, together
from anomirror.schedule import Phase, Schedule
from anomirror.scorers import Scores
from anomirror.tensors import state_tensors, without_prefix
from anomirror.training import Checkpoints, Run, refuse_taken, train

Callback = Callable[["NetworkDetector"], Mapping[str, float]]
ATTEMPTS = 2
"""Trainings that are begun at most, where a method gives one up."""
MakeOptimizers = Callable[[], dict[str, Optimizer]]
_Module = TypeVar("_Module", bound=nn.Module)
Built = tuple[dict[str, nn.Module], MakeOptimizers]
"""Networks, and a function that makes their optimisers once they are on the device."""


def adam_each(
    networks: Mapping[str, nn.Module], learning_rate: float, betas: Sequence[float]
) -> MakeOptimizers:
    """An Adam for each network, under its name."""

    def make() -> dict[str, Optimizer]:
        rates = (betas[0], betas[1])
        return {
            name: Adam(network.parameters(), lr=learning_rate, betas=rates)
            for name, network in networks.items()
        }

    return make


@declared
class NetworkDetector(Detector, Rehearsed):
    """A detector that trains networks.

    It writes :meth:`_build`, :meth:`_phases`, :meth:`_statistics` and :meth:`_raw`.
    """

    learning_rate: Rate = 1e-3
    """Learning rate of every optimiser."""

    lr_milestones: Milestones = ()
    """Fractions of the run after which the learning rates are divided by 10."""

    lr_decay: Annotated[float, within("(0, 1]")] = 1.0
    """Factor of the learning rates after every step."""

    lr_warmup: CountOrZero = 0
    """Steps over which the learning rates rise."""

    epochs: Count = 8
    """Epochs of the training."""

    steps_per_epoch: Count | None = 64
    """Minibatches in an epoch; None is a pass over the images."""

    max_steps: Count | None = None
    """Minibatches after which the training ends."""

    ema_decay: OpenFraction | None = 0.99
    """Decay per step of the average of the weights that is scored with; None keeps the last
    weights.
    """

    precision: Precision = "auto"
    """Of training: "auto" (bf16 where the device computes it natively), "float32" or "bf16"."""

    scoring_precision: Annotated[Precision, MEASURING] = "float32"
    """The same of scoring. In float32 a threshold and p-values hold on every machine; "auto" scores
    1.8 times as fast where the processor computes bf16 (docs/performance.md), moves scores by up to
    some per cent, and suits rankings."""

    calibration: Literal["auto", "heldout", "train"] = "auto"
    """Images on which scorer and threshold are fitted, 10,000 at most: "heldout" ones, or "train",
    as in the paper, which promises nothing for new images. "auto" holds out
    ``calibration_fraction`` of them, at least 100, and of fewer than 1,000 a fifth, at least 20,
    never more than half."""

    checkpoint_dir: Annotated[str | os.PathLike[str] | None, UNSTORED] = None
    """Folder for a checkpoint after each epoch; a run that finds its own checkpoint continues from
    it.
    """

    callback: Annotated[Callback | None, UNSTORED] = None
    """Called after each epoch with the detector in scoring state; what it returns enters the
    history.
    """

    networks_: nn.ModuleDict = fitted()
    """The networks by name, in eval mode."""

    _watches_heldout = True
    _way_out = "lower the learning rate"
    """What helps against divergence."""
    _watched_as = "r"
    """Name of the metric that is logged after each epoch, with ``_train`` and ``_heldout``."""

    @property
    def can_fold(self) -> bool:
        """A training for each fold takes too long."""
        return False

    @abstractmethod
    def _build(self, image_shape: ImageShape) -> Built:
        """The networks, and a function that makes their optimisers once they are on the device."""

    def network(self, name: str, kind: type[_Module]) -> _Module:
        """One of the networks, of the class that the method built it of."""
        module = self.networks_[name]
        assert isinstance(module, kind), f"{name} is a {type(module).__name__}"
        return module

    def _output(self, network: str, x: Tensor) -> Tensor:
        """Of one network."""
        out: Tensor = self.networks_[network](x)
        return out

    @abstractmethod
    def _phases(self) -> list[Phase]:
        """What is trained, in which order."""

    def finish(self, normal: ImageSet) -> None:
        """Called with normal images when the weights in ``networks_`` are final."""

    @contextmanager
    def _scoring(self) -> Iterator[None]:
        """As in every detector, in ``scoring_precision``."""
        with (
            super()._scoring(),
            autocast(self.scoring_precision, choose_device(self.device), cached=True),
        ):
            yield

    def anomalies_per_batch(self, batch_size: int) -> int:
        """Labelled anomalies in each minibatch."""
        return 0

    def _learn(
        self, normal: ImageSet, heldout: ImageSet | None, anomalies: ImageSet | None
    ) -> None:
        device = choose_device(self.device)
        seed = self._seed()
        group = together()
        if group.size > 1 and self.random_state is None:
            raise SettingError(
                "several processes need a random_state: each would draw a seed of its own"
            )
        if group.size > 1 and not group.agree(
            json.dumps(self._identity(anomalies), sort_keys=True), device
        ):
            raise SettingError(
                "the processes of this run differ in parameters or images, and can train no model "
                "together; "
                "for a model of its own in each, start them without torchrun"
            )
        data = TrainingData(
            normal,
            anomalies,
            self.anomalies_per_batch(min(self.batch_size, len(normal))),
            self.workers,
        )
        for attempt in range(ATTEMPTS):
            run = self.begin_run(seed)
            run.group, run.attempt = group, attempt
            self.history_ = train(
                self._phases(),
                data,
                run,
                checkpoints=self._checkpoints(anomalies, group),
                on_epoch=lambda run: self._observe(run, normal, heldout),
                best_by=self._best_by,
                gives_up=self._gives_up if anomalies is None else None,
                verbose=self.verbose and group.rank == 0,
            )
            if not run.given_up:
                break
        self.networks_.eval()
        self.finish(evenly_spaced(normal, 4096))

    def _gives_up(self, run: Run, row: Mapping[str, float]) -> bool:
        """Whether a training without labelled anomalies is begun again after this epoch; never at
        the second attempt.
        """
        return False

    def schedule(self) -> Schedule:
        """How long the training is, and how its learning rates and averages move."""
        return Schedule(
            batch_size=self.batch_size,
            steps_per_epoch=self.steps_per_epoch,
            max_steps=self.max_steps,
            lr_milestones=tuple(self.lr_milestones),
            lr_decay=self.lr_decay,
            lr_warmup=self.lr_warmup,
            ema_decay=self.ema_decay,
        )

    def begin_run(self, seed: int) -> Run:
        """Networks whose first weights depend on the seed alone, and a run that trains them."""
        device = choose_device(self.device)
        with first_weights_from(torch.Generator().manual_seed(seed)):
            modules, make_optimizers = self._build(self.image_shape_)
        self.networks_ = _placed(nn.ModuleDict(modules), device)
        return Run(
            modules=dict(self.networks_.items()),
            optimizers=make_optimizers(),
            device=device,
            generator=torch.Generator().manual_seed(seed),
            schedule=self.schedule(),
            precision=self.precision,
        )

    def _identity(self, anomalies: ImageSet | None) -> dict[str, object]:
        """What decides a training.

        A checkpoint in which it differs is not continued, and processes do not train together.
        """
        labelled = None if anomalies is None else fingerprint(anomalies, self.workers)
        return {
            "method": self.method,
            **self.fitting_parameters(),
            "data": self.data_fingerprint_,
            **({"groups": self.groups_fingerprint_} if self.groups_fingerprint_ else {}),
            "labelled anomalies": labelled,
        }

    def _checkpoints(self, anomalies: ImageSet | None, group: Group) -> Checkpoints | None:
        if self.checkpoint_dir is None:
            return None
        if self.random_state is None:
            raise SettingError(
                "checkpoint_dir needs a random_state: a run without a seed cannot be continued"
            )
        # each process draws for itself, so another number of them would be another run
        together = {"processes": group.size} if group.size > 1 else {}
        return Checkpoints(Path(self.checkpoint_dir), {**self._identity(anomalies), **together})

    def snapshot(self, modules: Mapping[str, nn.Module], normal: ImageSet) -> Self:
        """A copy of this detector with copies of ``modules`` as its networks, ready to score."""
        snapshot = copy.copy(self)
        snapshot.networks_ = nn.ModuleDict(
            {name: copy.deepcopy(module) for name, module in modules.items()}
        ).eval()
        snapshot.finish(normal)
        return snapshot

    def _observe(self, run: Run, normal: ImageSet, heldout: ImageSet | None) -> dict[str, float]:
        """What is logged after an epoch, of a snapshot in the state in which it would be kept."""
        return self.snapshot(run.scoring_modules(), evenly_spaced(normal, 512))._row(
            run.epoch, normal, heldout
        )

    def _row(self, epoch: int, normal: ImageSet, heldout: ImageSet | None) -> dict[str, float]:
        watched = self._mean_watched(normal)
        row = {f"{self._watched_as}_train": watched}
        if heldout is not None:
            row[f"{self._watched_as}_heldout"] = self._mean_watched(heldout)
        if self.callback is not None:
            self._calibrate(self._measure_to_calibrate(evenly_spaced(normal, self._monitored)))
            row |= _numbers(self.callback(self), row)
        if not math.isfinite(watched) or watched > self._largest_watched():
            raise DivergenceError(
                f"training diverged in epoch {epoch}: {self._watched_as} of normal images is "
                f"{watched:g} on average; "
                f"{self._way_out}",
                epoch,
            )
        return row

    def _watches(self) -> frozenset[str]:
        """Names of the statistics that :meth:`_watched` reads."""
        return self.scoring_statistics

    def _watched(self, statistics: Mapping[str, Scores]) -> Scores:
        """What the history shows of normal images after each epoch, and what must not grow without
        bound.
        """
        return self._raw(statistics)

    def _largest_watched(self) -> float:
        """A mean of :meth:`_watched` that means divergence."""
        return math.inf

    def _mean_watched(self, images: ImageSet) -> float:
        sample = evenly_spaced(images, self._monitored)
        return float(np.mean(self._watched(self.measure(sample, self._watches()))))

    def _tensors(self) -> dict[str, Tensor]:
        return state_tensors(**dict(self.networks_.items()))

    def _restore(self, tensors: Mapping[str, Tensor], fitted: Mapping[str, float]) -> None:
        with torch.device("meta"):  # shapes alone: a false width in a file allocates nothing
            modules, _ = self._build(self.image_shape_)
        networks = nn.ModuleDict(modules)
        for name, network in networks.items():
            stored = without_prefix(name, tensors)
            for key, expected in network.state_dict().items():
                tensor = stored.get(key)
                if tensor is None or (tensor.shape, tensor.dtype) != (
                    expected.shape,
                    expected.dtype,
                ):
                    what = "missing" if tensor is None else f"{tuple(tensor.shape)} {tensor.dtype}"
                    raise ValueError(
                        f"{name}.{key} is {what}, not {tuple(expected.shape)} {expected.dtype}"
                    )
            network.load_state_dict(stored, assign=True)
        self.networks_ = _placed(networks, choose_device(self.device)).eval()


@declared
class ReconstructingDetector(NetworkDetector):
    """A detector whose networks reconstruct images."""

    def _reconstruction(self, x: Tensor) -> Tensor:
        """x_hat, ``(b, c, size, size)`` in [-1, 1] as x is: G(E(x)) if a method has no other."""
        return self._output("generator", self._output("encoder", x))

    def reconstruct(self, X: ImageInput) -> np.ndarray:
        """x_hat, ``(n, size, size, channels)`` float32 in [0, 1], in the network's frame."""
        images = self.open_to_score(X)
        with self._scoring():
            parts = [(self._reconstruction(x) * 0.5 + 0.5).cpu() for x in self._batches(images)]
        return torch.cat(parts).permute(0, 2, 3, 1).numpy()


def _placed(networks: nn.ModuleDict, device: torch.device) -> nn.ModuleDict:
    """On a device, in the layout in which its convolutions are fast."""
    return networks.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _numbers(returned: object, row: Mapping[str, float]) -> dict[str, float]:
    """What a callback returned, as numbers that the history can hold."""
    if not isinstance(returned, Mapping) or not all(
        isinstance(value, (int, float, np.number)) for value in returned.values()
    ):
        raise SettingError(
            f"callback returned {returned!r}: expected a mapping of names to numbers"
        )
    refuse_taken(returned, row)
    return {str(name): float(value) for name, value in returned.items()}
