"""What every detector shares: scikit-learn's contract over images, and the engine for those that train networks."""

from __future__ import annotations

import copy
import json
import math
import os
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, TypeVar, cast, get_type_hints

import numpy as np
import torch
from pydantic import ConfigDict, TypeAdapter, ValidationError
from sklearn.base import BaseEstimator, OutlierMixin
from torch import Tensor, nn
from torch.optim import Optimizer

from anomirror.errors import DivergenceError, ImageError, InputError, ModelFileError, NotFittedError, SettingError
from anomirror.images import (
    Frame,
    ImageInput,
    ImageSet,
    ImageShape,
    Subset,
    check_files,
    fingerprint,
    in_batches,
    iterate,
    open_images,
    to_network,
)
from anomirror.processes import Group, together
from anomirror.scoring import LogGaussianDensity, Scorer, Scores, make_scorer, scorer_name
from anomirror.storage import ModelCard, Value, save_model, state_tensors, without_prefix
from anomirror.training import (
    Checkpoints,
    History,
    Phase,
    Precision,
    Run,
    TrainingData,
    autocast,
    choose_device,
    refuse_taken,
    train,
)

Calibration = Literal["train", "heldout"]
Monitor = Callable[["NetworkDetector"], Mapping[str, float]]

SCORING_BATCH = 128
"""Images of 32x32 that are scored at once (fewer larger ones): scores do not depend on it, memory does."""

_SHARED: ContextVar[dict[tuple[str, int], tuple[Tensor, Tensor]] | None] = ContextVar("shared", default=None)
"""What several scorings of one batch of images have in common, each thread's its own."""

CALIBRATION = 10_000
"""Training images whose raw scores fit the scorer and the threshold, at most: scoring more costs as much as a short training."""


class Detector(OutlierMixin, BaseEstimator, ABC):
    """A detector of anomalous images that is fitted on normal ones.

    Raw scores are high for anomalies; ``score_samples`` and ``decision_function`` are high for normal images, as everywhere in
    scikit-learn. A method writes :meth:`_learn`, :meth:`_raw_score`, :meth:`_tensors` and :meth:`_restore`.

    Attributes
    ----------
    image_shape_ : ``(channels, size, size)`` that the detector sees.
    scorer_ : the fitted scorer.
    offset_ : threshold on ``score_samples``: ``contamination`` of the calibration images lie below it.
    calibration_raw_ : raw scores of the calibration images, to fit another scorer on; not saved.
    trained_on_ : number of normal images in training.
    skipped_ : number of unreadable files that ``skip_bad`` left out.
    data_fingerprint_ : short hash of the training images.
    history_ : one row for each epoch of training, empty for methods without.
    """

    method: ClassVar[str]
    """Name in the registry, on the command line and in model files."""

    image_size: int | None
    batch_size: int
    device: str | None
    random_state: int | None
    contamination: float
    scorer: str | Scorer
    skip_bad: bool
    workers: int = 0

    image_shape_: ImageShape
    scorer_: Scorer
    offset_: float
    calibration_raw_: Scores
    trained_on_: int
    skipped_: int
    data_fingerprint_: str
    history_: History

    _not_stored: ClassVar[frozenset[str]] = frozenset({"device", "skip_bad", "scorer"})
    _scoring_only: ClassVar[frozenset[str]] = frozenset({"scorer"})
    """Parameters that may change after a fit: no training depends on them."""

    # ------------------------------------------------------------------ what a method writes

    @abstractmethod
    def _learn(self, normal: ImageSet, anomalies: ImageSet | None) -> ImageSet:
        """Fit to the images; returns those whose raw scores calibrate the scorer."""

    @abstractmethod
    def _raw_score(self, x: Tensor) -> Tensor:
        """``(b, c, size, size)`` float32 in [-1, 1] on the device to ``(b,)``, high = anomalous."""

    @abstractmethod
    def _tensors(self) -> dict[str, Tensor]:
        """Everything fitted that is a tensor."""

    @abstractmethod
    def _restore(self, tensors: Mapping[str, Tensor], fitted: Mapping[str, float]) -> None:
        """The inverse of :meth:`_tensors` and :meth:`_fitted`, with ``image_shape_`` known."""

    def _fitted(self) -> dict[str, float]:
        """Everything else fitted, as numbers."""
        return {}

    def _programs(self) -> dict[str, str]:
        """Programs outside Python's packages that scores depend on, and their versions."""
        return {}

    @contextmanager
    def _scoring(self) -> Iterator[None]:
        """What holds while fitted networks compute: no gradients, and what a method adds."""
        with torch.no_grad():
            yield

    def _validate(self) -> None:
        """Check the parameters: their types, and what all methods share; a method adds its own ranges."""
        # Monitor names NetworkDetector, which a method's own module need not import
        for name, hint in get_type_hints(type(self).__init__, localns={"NetworkDetector": NetworkDetector}).items():
            if name != "return":
                _check_type(name, getattr(self, name), hint)
        Frame.choose(1, 1, self.image_size)  # refuses a size that the networks do not have
        if self.workers < 0:
            raise SettingError(f"workers={self.workers!r}: expected 0 or more")
        if not 0 < self.contamination <= 0.5:
            raise SettingError(f"contamination={self.contamination!r}: expected a share in (0, 0.5]")
        if self.random_state is not None and not 0 <= self.random_state < 2**32:
            raise SettingError(f"random_state={self.random_state!r}: expected 0 to 2**32 - 1, or None")
        if self.batch_size < 2:
            raise SettingError(f"batch_size={self.batch_size!r}: expected at least 2")
        if isinstance(make_scorer(self.scorer), LogGaussianDensity) and self._signed():
            raise SettingError(
                f"scorer='log-gaussian' needs raw scores of at least 0, and those of {self.method} are not; use scorer='gaussian'"
            )

    def _signed(self) -> bool:
        """Whether raw scores may lie below 0."""
        return False

    # ------------------------------------------------------------------ scikit-learn's contract

    def fit(self, X: ImageInput, y: Any = None) -> Self:
        """Fit on normal images.

        Parameters
        ----------
        X : images in any form that :func:`anomirror.images.open_images` takes.
        y : None: all are normal. Or one of +1 (normal) and -1 (known anomaly) for each image; known anomalies are used
            by methods that can (AMA), and are only left out of training by the others.

        Raises
        ------
        ImageError : files that cannot be read (all of them are listed), unless ``skip_bad``; too few images.
        SettingError : a parameter out of its range.
        """
        self._validate()
        images = open_images(X, image_size=self.image_size)
        labels = _labels(y, len(images))
        images, labels = self._checked(images, labels)
        normal: ImageSet = images
        anomalies: ImageSet | None = None
        if (labels == -1).any():
            normal = Subset(images, np.flatnonzero(labels == 1).tolist())
            anomalies = Subset(images, np.flatnonzero(labels == -1).tolist())
        if len(normal) < 2:
            raise ImageError(f"{len(normal)} normal image(s): a detector needs at least 2, and hundreds to be any good")
        self.image_shape_ = images.shape
        self.trained_on_ = len(normal)
        self.data_fingerprint_ = fingerprint(normal, self.workers)
        self.history_ = []
        self._forget_calibration()
        calibration = self._learn(normal, anomalies)
        raw = self._stream(calibration)
        if not np.isfinite(raw).all():
            raise DivergenceError("the scores of the training images are not finite", len(self.history_))
        self.calibration_raw_ = raw
        self._calibrate(raw)
        return self

    def raw_scores(self, X: ImageInput) -> Scores:
        """The method's own statistic for each image, ``(n,)`` float64, high = anomalous."""
        return self._stream(self._open(X))

    def raw_scores_by(self, X: ImageInput, scorings: Mapping[str, Mapping[str, Any]]) -> dict[str, Scores]:
        """Raw scores under several settings of scoring, under their names; what they share is computed once.

        Parameters
        ----------
        scorings : name to parameters that are set otherwise, of those that may change after a fit (but the precision, which is
            one for all).

        Raises
        ------
        SettingError : a parameter that is none of these, or out of its range.
        """
        allowed = self._scoring_only - {"scoring_precision"}
        for changes in scorings.values():
            if odd := sorted(changes.keys() - allowed):
                raise SettingError(f"{odd[0]} is not set in scoring: choose among {', '.join(sorted(allowed))}")
            changed(self, changes)._validate()
        return self._stream_by(self._open(X), {name: changed(self, changes) for name, changes in scorings.items()})

    def score_samples(self, X: ImageInput) -> Scores:
        """Normality of each image, ``(n,)`` float64, high = normal."""
        return self.normality(self.raw_scores(X))

    def normality(self, raw: Scores) -> Scores:
        """``score_samples`` from raw scores that are there already."""
        self._check_fitted()
        return self.scorer_.normality(raw)

    def decision_function(self, X: ImageInput) -> Scores:
        """``score_samples - offset_``: negative for what :meth:`predict` calls an anomaly."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: ImageInput) -> np.ndarray:
        """+1 for normal images, -1 for anomalies, ``(n,)`` int."""
        return np.where(self.decision_function(X) >= 0, 1, -1)  # a score that is no number is no normal one

    @property
    def frame_(self) -> Frame:
        """How images of any size come into the square that the detector sees."""
        self._check_fitted()
        return self._frame()

    # ------------------------------------------------------------------ on disk

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write the fitted detector as a model folder (see :mod:`anomirror.storage`)."""
        self._check_fitted()
        self._validate()  # set_params may have changed how it scores
        card = {
            "library": version("anomirror"),
            "method": self.method,
            "parameters": self.stored_parameters(),
            "scorer": scorer_name(self.scorer_),
            "scorer_state": self.scorer_.state(),
            "offset": self.offset_,
            "image_shape": list(self.image_shape_),
            "trained_on": self.trained_on_,
            "data_fingerprint": self.data_fingerprint_,
            "fitted": self._fitted(),
        }
        save_model(path, card, self._tensors(), self.history_, overwrite=overwrite)

    @classmethod
    def brought_up_to_date(cls, parameters: Mapping[str, Value]) -> dict[str, Value]:
        """The parameters of a model that an older release wrote, with what it did by arguments that it did not have."""
        return dict(parameters)

    def stored_parameters(self) -> dict[str, Value]:
        """The constructor's arguments that decide the result, as they stand in ``model.json``."""
        return {name: _plain(value) for name, value in self.get_params(deep=False).items() if name not in self._not_stored}

    def _restore_from(self, card: ModelCard, tensors: Mapping[str, Tensor], history: History) -> Self:
        try:
            self._validate()
            self.image_shape_ = cast(ImageShape, tuple(card.image_shape))
            self.scorer_ = make_scorer(card.scorer).restore(card.scorer_state)
            self.offset_, self.trained_on_ = card.offset, card.trained_on
            self.data_fingerprint_, self.history_ = card.data_fingerprint, history
            if self.image_size not in (None, self.image_shape_[1]):
                raise ValueError(f"image_size is {self.image_size}, image_shape {list(self.image_shape_)}")
            self._restore(tensors, card.fitted)
            for what, found, expected in (
                ("tensors", tensors.keys(), self._tensors().keys()),
                ("fitted", card.fitted.keys(), self._fitted().keys()),
            ):
                if odd := sorted(found ^ expected):
                    raise ValueError(f"{what}: {odd[0]} is missing or does not belong there")
        except (SettingError, LookupError, RuntimeError, ValueError, TypeError) as error:
            raise ModelFileError(f"model.json and weights.safetensors do not fit together: {error}") from error
        return self

    # ------------------------------------------------------------------ shared by all

    def _checked(self, images: ImageSet, labels: np.ndarray) -> tuple[ImageSet, np.ndarray]:
        good, bad = check_files(images)
        self.skipped_ = len(bad)
        named = [(images.names[index], reason) for index, reason in bad.items()]
        if bad and not self.skip_bad:
            listed = "\n".join(f"  {name}: {reason}" for name, reason in named[:20])
            more = f"\n  and {len(bad) - 20} more" if len(bad) > 20 else ""
            raise ImageError(
                f"{len(bad)} of {len(images)} files cannot be read:\n{listed}{more}\n"
                "remove them, or pass skip_bad=True (--skip-bad) to leave them out",
                named,
            )
        if not bad:
            return good, labels
        kept = np.delete(labels, list(bad))
        if (labels == -1).any() and not (kept == -1).any():
            raise ImageError("none of the known anomalies can be read; without them this would be another training", named)
        return good, kept

    def _open(self, X: ImageInput) -> ImageSet:
        self._check_fitted()
        return open_images(X, image_size=self.image_size, shape=self.image_shape_)

    def _check_fitted(self) -> None:
        if not hasattr(self, "offset_"):
            raise NotFittedError(f"this {type(self).__name__} is not fitted yet: call fit(images) first")

    def _frame(self) -> Frame:
        return Frame(self.image_shape_[1], resize=self.image_size is not None)

    def _batches(self, images: ImageSet, batch_size: int | None = None) -> Iterator[Tensor]:
        """All images as the method sees them, in order, on the device."""
        device = choose_device(self.device)
        for batch in iterate(images, in_batches(len(images), batch_size or self._scoring_batch()), self.workers):
            yield to_network(batch.to(device))

    def _calibrated(self) -> int:
        """Images that calibrate the scorer, at most."""
        return CALIBRATION

    def _scoring_batch(self) -> int:
        """As many pixels at once for every size."""
        return max(1, SCORING_BATCH * 32 * 32 // self.image_shape_[1] ** 2)

    def _stream(self, images: ImageSet) -> Scores:
        return self._stream_by(images, {"": self})[""]

    def _stream_by(self, images: ImageSet, scored: Mapping[str, Detector]) -> dict[str, Scores]:
        """Raw scores of this detector's images by several copies of it."""
        full = self._scoring_batch()
        parts: dict[str, list[Tensor]] = {name: [] for name in scored}
        with self._scoring():
            for x in self._batches(images):
                filled = _filled(x, full)
                token = _SHARED.set({})
                try:
                    for name, detector in scored.items():
                        parts[name].append(detector._raw_score(filled)[: len(x)].double().cpu())
                finally:
                    _SHARED.reset(token)
        return {name: torch.cat(found).numpy() for name, found in parts.items()}

    def _once(self, name: str, x: Tensor, compute: Callable[[Tensor], Tensor]) -> Tensor:
        """``compute(x)``, or what another copy of this detector has computed under this name of the same images."""
        shared = _SHARED.get()
        if shared is None:
            return compute(x)
        key = (name, id(x))
        if key not in shared:
            shared[key] = x, compute(x)  # x as well: the number of an object that is gone may be another's
        return shared[key][1]

    def _seed(self) -> int:
        """``random_state``, or a fresh one: never from the caller's generators."""
        return secrets.randbits(32) if self.random_state is None else int(self.random_state)

    def _calibrate(self, raw: Scores) -> None:
        self.scorer_ = make_scorer(self.scorer).fit(raw)
        self.offset_ = float(np.quantile(self.scorer_.normality(raw), self.contamination))

    def _forget_calibration(self) -> None:
        """Back to unfitted: a fit that fails, or a second one, never leaves an old threshold with new weights."""
        for name in ("scorer_", "offset_"):
            self.__dict__.pop(name, None)

    def _split(self, images: ImageSet, share: float) -> tuple[Subset, Subset]:
        """Most of the images, and a random ``share`` of them (at least one), each in their order."""
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(self._seed())).tolist()
        count = max(1, math.floor(len(images) * share))
        return Subset(images, sorted(order[count:])), Subset(images, sorted(order[:count]))

    def _some(self, images: ImageSet, count: int) -> ImageSet:
        """Up to ``count`` evenly spaced images."""
        chosen = np.unique(np.linspace(0, len(images) - 1, min(count, len(images))).astype(int)).tolist()
        return Subset(images, chosen)

    def _flat_sample(self, images: ImageSet, count: int) -> np.ndarray:
        """Up to ``count`` evenly spaced images as rows of pixels in [-1, 1]."""
        return torch.cat([flat(x).cpu() for x in self._batches(self._some(images, count))]).numpy()

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "offset_")


class NetworkDetector(Detector):
    """A detector that trains networks: it writes :meth:`_build`, :meth:`_phases` and :meth:`_raw_score`.

    Attributes
    ----------
    networks_ : the networks by name, in eval mode.
    """

    epochs: int
    epoch_steps: int | None
    max_steps: int | None
    lr_drops: Sequence[float]
    average: float | None
    precision: Precision
    scoring_precision: Precision
    calibration: Calibration
    heldout: float
    checkpoint_dir: str | os.PathLike[str] | None
    verbose: bool
    monitor: Monitor | None

    learning_rate: float
    dropout: float = 0.0
    betas: Sequence[float] = (0.9, 0.999)
    lr_decay: float = 1.0
    """What multiplies every learning rate after each step."""
    lr_warmup: int = 0
    """Steps over which every learning rate rises."""

    networks_: nn.ModuleDict

    _common: ClassVar[tuple[str, ...]] = (
        "epochs",
        "epoch_steps",
        "max_steps",
        "batch_size",
        "lr_drops",
        "average",
        "precision",
        "scoring_precision",
        "calibration",
        "heldout",
        "scorer",
        "contamination",
        "image_size",
        "device",
        "random_state",
        "checkpoint_dir",
        "workers",
        "skip_bad",
        "verbose",
        "monitor",
    )
    """Arguments of the constructor that every detector of this kind has."""
    _not_stored = Detector._not_stored | {"checkpoint_dir", "workers", "verbose", "monitor"}
    _scoring_only = Detector._scoring_only | {"scoring_precision"}
    _way_out = "lower the learning rate"
    """What helps against divergence."""
    _watched_as = "r"
    """How the history calls what is watched: with ``_train`` and ``_heldout`` after it."""
    _monitored = 256  # images of each kind whose raw score enters the history
    _best_by: ClassVar[str | None] = None
    """Column of the history by whose lowest value the epoch is chosen whose weights are kept; None keeps the last."""

    @abstractmethod
    def _build(self, image_shape: ImageShape) -> tuple[dict[str, nn.Module], Callable[[], dict[str, Optimizer]]]:
        """The networks, and a function that makes their optimisers once they are on the device."""

    @abstractmethod
    def _phases(self) -> list[Phase]:
        """What is trained, in which order."""

    def _finish(self, normal: ImageSet) -> None:
        """Called with normal images when the weights in ``networks_`` are final."""

    @contextmanager
    def _scoring(self) -> Iterator[None]:
        """As in every detector, in ``scoring_precision``."""
        with super()._scoring(), autocast(self.scoring_precision, choose_device(self.device), cached=True):
            yield

    @classmethod
    def brought_up_to_date(cls, parameters: Mapping[str, Value]) -> dict[str, Value]:
        """Before scoring had a precision of its own it was float32."""
        return {"scoring_precision": "float32"} | super().brought_up_to_date(parameters)

    def _validate_counts(self, *names: str, least: int = 1) -> None:
        """Refuse a named parameter that is less than ``least``."""
        for name in names:
            if getattr(self, name) < least:
                raise SettingError(f"{name}={getattr(self, name)!r}: expected at least {least}")

    def _validate_weights(self, *names: str) -> None:
        """Refuse a named parameter that is negative or not finite."""
        for name in names:
            if not 0 <= getattr(self, name) < math.inf:
                raise SettingError(f"{name}={getattr(self, name)!r}: expected 0 or a positive number")

    def _validate_rates(self, *names: str) -> None:
        """Refuse a named parameter that is not positive and finite."""
        for name in names:
            if not 0 < getattr(self, name) < math.inf:
                raise SettingError(f"{name}={getattr(self, name)!r}: expected a positive number")

    def _validate_dropout(self) -> None:
        """Refuse what is no probability to drop a value."""
        if not 0 <= (dropout := self.dropout) < 1:
            raise SettingError(f"dropout={dropout!r}: expected a probability in [0, 1)")

    def _validate_drops(self, name: str) -> None:
        """Refuse what are no shares of a training."""
        if not all(0 < drop < 1 for drop in getattr(self, name)):
            raise SettingError(f"{name}={getattr(self, name)!r}: expected shares of the run in (0, 1)")

    def _store_common(self, arguments: Mapping[str, Any]) -> None:
        """Keep those of a constructor's arguments that all detectors of this kind have."""
        for name in self._common:
            setattr(self, name, arguments[name])

    def _anomalies_per_batch(self, batch_size: int) -> int:
        """Known anomalies that each minibatch shall hold."""
        return 0

    def _validate(self) -> None:
        super()._validate()
        self._validate_counts("epochs")
        for name in ("max_steps", "epoch_steps"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise SettingError(f"{name}={getattr(self, name)!r}: expected at least 1, or None")
        if self.average is not None and not 0 < self.average < 1:
            raise SettingError(f"average={self.average!r}: expected a decay in (0, 1), or None")
        self._validate_drops("lr_drops")
        if self.calibration not in ("train", "heldout"):
            raise SettingError(f"calibration={self.calibration!r}: choose train or heldout")
        self._validate_rates("learning_rate")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise SettingError(f"betas={self.betas!r}: expected two numbers in [0, 1)")
        if not 0 < self.lr_decay <= 1:
            raise SettingError(f"lr_decay={self.lr_decay!r}: expected a factor in (0, 1]")
        if self.lr_warmup < 0:
            raise SettingError(f"lr_warmup={self.lr_warmup!r}: expected 0 or more steps")
        if not 0 <= self.heldout < 1:
            raise SettingError(f"heldout={self.heldout!r}: expected a share in [0, 1)")
        if self.calibration == "heldout" and self.heldout == 0:
            raise SettingError("calibration='heldout' needs heldout > 0, for example heldout=0.05")

    def _learn(self, normal: ImageSet, anomalies: ImageSet | None) -> ImageSet:
        device = choose_device(self.device)
        seed = self._seed()
        generator = torch.Generator().manual_seed(seed)
        group = together()
        if group.size > 1 and self.random_state is None:
            raise SettingError("several processes need a random_state: each would draw a seed of its own")
        if group.size > 1 and not group.agree(json.dumps(self._identity(anomalies), sort_keys=True), device):
            raise SettingError(
                "the processes of this run differ in parameters or images, and can train no model together; "
                "for a model of its own in each, start them without torchrun"
            )
        kept, heldout = (normal, None) if self.heldout == 0 else self._split(normal, self.heldout)
        if self.calibration == "heldout" and heldout is not None and len(heldout) < 20:
            raise ImageError(
                f"calibration='heldout': heldout={self.heldout} of {len(normal)} images are {len(heldout)} to calibrate on, "
                "and at least 20 are needed; raise heldout, give more images, or use calibration='train'"
            )
        networks, make_optimizers = self._build_seeded(seed, device)
        self.networks_ = networks
        data = TrainingData(kept, anomalies, self._anomalies_per_batch(min(self.batch_size, len(kept))), self.workers)
        run = Run(
            modules=dict(networks.items()),
            optimizers=make_optimizers(),
            device=device,
            generator=generator,
            batch_size=self.batch_size,
            epoch_steps=self.epoch_steps,
            max_steps=self.max_steps,
            lr_drops=tuple(self.lr_drops),
            lr_decay=self.lr_decay,
            lr_warmup=self.lr_warmup,
            average=self.average,
            precision=self.precision,
            group=group,
        )
        self.history_ = train(
            self._phases(),
            data,
            run,
            checkpoints=self._checkpoints(anomalies, group),
            on_epoch=lambda run: self._observe(run, kept, heldout),
            best_by=self._best_by,
            verbose=self.verbose and group.rank == 0,
        )
        networks.eval()
        self._finish(self._some(kept, 4096))
        self.trained_on_ = len(kept)
        return self._some(heldout if self.calibration == "heldout" and heldout is not None else kept, self._calibrated())

    def _build_seeded(self, seed: int, device: torch.device) -> tuple[nn.ModuleDict, Callable[[], dict[str, Optimizer]]]:
        """Networks whose first weights depend on the seed alone; the caller's random state is left as it was."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            modules, make_optimizers = self._build(self.image_shape_)
        networks = nn.ModuleDict(modules).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return networks, make_optimizers

    def _identity(self, anomalies: ImageSet | None) -> dict[str, Any]:
        """What decides a training: a checkpoint of another one is not continued, processes that differ do not train together."""
        parameters = {name: value for name, value in self.stored_parameters().items() if name not in self._scoring_only}
        known = None if anomalies is None else fingerprint(anomalies, self.workers)
        return {"method": self.method, **parameters, "data": self.data_fingerprint_, "known anomalies": known}

    def _checkpoints(self, anomalies: ImageSet | None, group: Group) -> Checkpoints | None:
        if self.checkpoint_dir is None:
            return None
        if self.random_state is None:
            raise SettingError("checkpoint_dir needs a random_state: a run without a seed cannot be continued")
        # each process draws for itself, so another number of them would be another run
        together = {"processes": group.size} if group.size > 1 else {}
        return Checkpoints(Path(self.checkpoint_dir), {**self._identity(anomalies), **together})

    def _observe(self, run: Run, kept: ImageSet, heldout: ImageSet | None) -> dict[str, float]:
        """Raw scores after an epoch, of copies of the networks in the state in which they would be kept."""
        live = self.networks_
        try:
            self.networks_ = nn.ModuleDict({n: copy.deepcopy(m) for n, m in run.scoring_modules().items()}).eval()
            self._finish(self._some(kept, 512))
            watched = self._mean_watched(kept)
            row = {f"{self._watched_as}_train": watched}
            if heldout is not None:
                row[f"{self._watched_as}_heldout"] = self._mean_watched(heldout)
            if self.monitor is not None:
                self._calibrate(self._stream(self._some(kept, self._monitored)))
                row |= self._monitored_values(row)
        finally:
            self.networks_ = live
            self._forget_calibration()
        if not math.isfinite(watched) or watched > self._largest_watched():
            raise DivergenceError(
                f"training diverged in epoch {run.epoch}: {self._watched_as} of normal images is {watched:g} on average; "
                f"{self._way_out}",
                run.epoch,
            )
        return row

    def _monitored_values(self, row: Mapping[str, float]) -> dict[str, float]:
        """What the caller's monitor returns, as numbers that the history can hold."""
        assert self.monitor is not None
        returned = self.monitor(self)
        if not isinstance(returned, Mapping) or not all(
            isinstance(value, (int, float, np.number)) for value in returned.values()
        ):
            raise SettingError(f"monitor returned {returned!r}: expected a mapping of names to numbers")
        refuse_taken(returned, row)
        return {str(name): float(value) for name, value in returned.items()}

    def _watched(self, x: Tensor) -> Tensor:
        """What the history shows of normal images after each epoch, and what must not grow without bound."""
        return self._raw_score(x)

    def _largest_watched(self) -> float:
        """A mean of :meth:`_watched` that means divergence."""
        return math.inf

    def _mean_watched(self, images: ImageSet) -> float:
        with self._scoring():
            watched = torch.cat([self._watched(x) for x in self._batches(self._some(images, self._monitored))])
        return float(watched.double().mean())

    def _tensors(self) -> dict[str, Tensor]:
        return state_tensors(**dict(self.networks_.items()))

    def _restore(self, tensors: Mapping[str, Tensor], fitted: Mapping[str, float]) -> None:
        with torch.device("meta"):  # shapes alone: a false width in a file allocates nothing
            modules, _ = self._build(self.image_shape_)
        networks = nn.ModuleDict(modules)
        for name, network in networks.items():
            stored = without_prefix(name, tensors)
            for key, expected in network.state_dict().items():
                found = stored.get(key)
                if found is None or (found.shape, found.dtype) != (expected.shape, expected.dtype):
                    what = "missing" if found is None else f"{tuple(found.shape)} {found.dtype}"
                    raise ValueError(f"{name}.{key} is {what}, not {tuple(expected.shape)} {expected.dtype}")
            network.load_state_dict(stored, assign=True)
        self.networks_ = networks.to(choose_device(self.device)).to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]


class ReconstructingDetector(NetworkDetector):
    """A detector whose networks reconstruct images: it writes :meth:`_reconstruction` as well."""

    @abstractmethod
    def _reconstruction(self, x: Tensor) -> Tensor:
        """x_hat, ``(b, c, size, size)`` in [-1, 1] as x is."""

    def reconstruct(self, X: ImageInput) -> np.ndarray:
        """x_hat, ``(n, size, size, channels)`` float32 in [0, 1], in the network's frame."""
        images = self._open(X)
        with self._scoring():
            parts = [(self._reconstruction(x) * 0.5 + 0.5).cpu() for x in self._batches(images)]
        return torch.cat(parts).permute(0, 2, 3, 1).numpy()


_AnyDetector = TypeVar("_AnyDetector", bound=Detector)


def changed(detector: _AnyDetector, changes: Mapping[str, Any]) -> _AnyDetector:
    """The same fitted detector with other parameters of scoring."""
    other: _AnyDetector = copy.copy(detector).set_params(**changes)
    return other


def _plain(value: Any) -> Value:
    """A parameter as JSON knows it: tuples as lists, numpy's numbers as Python's."""
    if isinstance(value, (list, tuple)):
        return cast(Value, [_plain(item) for item in value])
    return cast(Value, value.item() if isinstance(value, np.generic) else value)


def _check_type(name: str, value: Any, hint: Any) -> None:
    if isinstance(value, np.generic):
        value = value.item()
    try:
        TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True)).validate_python(value, strict=True)
    except ValidationError as error:
        expected = "; or ".join(dict.fromkeys(e["msg"] for e in error.errors()))
        raise SettingError(f"{name}={value!r}: {expected}") from error


def _filled(x: Tensor, count: int) -> Tensor:
    """``count`` images, the last one repeated, on a GPU, where kernels are chosen by shape and each rounds in its own way."""
    if x.device.type == "cpu" or len(x) == count:
        return x
    return torch.cat([x, x[-1:].expand(count - len(x), -1, -1, -1)])


def flat(x: Tensor) -> Tensor:
    """Images as rows of pixels, ``(b, c * size * size)``."""
    return x.flatten(1)


def _labels(y: Any, count: int) -> np.ndarray:
    if y is None:
        return np.ones(count, dtype=int)
    labels = np.asarray(y)
    if labels.shape != (count,):
        raise InputError(f"y has shape {labels.shape}: expected one label for each of {count} images")
    wrong = labels[~np.isin(labels, (-1, 1))]
    if len(wrong):
        raise InputError(f"y holds {wrong[0].item()!r}: expected +1 (normal) or -1 (known anomaly)")
    return labels.astype(int)
