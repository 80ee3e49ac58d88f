"""What every detector shares: scikit-learn's contract over images, and the engine for those that train networks."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import os
import secrets
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar, cast

import numpy as np
import torch
from sklearn.base import BaseEstimator, OutlierMixin
from torch import Tensor, nn
from torch.optim import Optimizer

from anomirror.decisions import least_rate, threshold
from anomirror.detector.parameters import (
    MEASURING,
    SCORING,
    UNSTORED,
    Count,
    CountOrZero,
    Milestones,
    OpenFraction,
    Rate,
    SampleSize,
    Seed,
    check,
    declared,
    fitted,
    marked,
    renamed,
    within,
)
from anomirror.detectors.calibrating import FEWEST_FOLDED, HELD_OUT_FROM, Calibration, folds, held_out, heldout_count
from anomirror.devices import Precision, autocast, choose_device
from anomirror.errors import (
    AnomirrorWarning,
    DivergenceError,
    ImageError,
    InputError,
    ModelFileError,
    NotFittedError,
    SettingError,
    unknown,
)
from anomirror.images import (
    ArrayImages,
    Frame,
    ImageInput,
    ImageSet,
    ImageShape,
    ImageSize,
    SizeRange,
    Subset,
    check_files,
    fingerprint,
    fingerprints,
    in_batches,
    iterate,
    known_sizes,
    open_images,
    to_network,
    unreadable_error,
)
from anomirror.networks.randomness import first_weights_from
from anomirror.processes import Group, together
from anomirror.progress import Progress
from anomirror.schedule import Phase, Schedule
from anomirror.scorers import Domain, Scorer, Scores, make_scorer, scorer_name
from anomirror.storage import ModelCard, ModelTarget, Value, save_model, state_tensors, without_prefix
from anomirror.training import Checkpoints, History, Run, TrainingData, refuse_taken, train

Callback = Callable[["NetworkDetector"], Mapping[str, float]]

SCORING_BATCH = 128
"""Images of 32x32 that are scored at once (fewer larger ones): scores do not depend on it, memory does."""

SAMPLE_BYTES = 400_000_000
"""Pixels as float32 of which a method without networks is fitted, at most: three such arrays exist at once."""

REMEMBERED = 100_000
"""Training images whose hash a model keeps, at most, to know them again."""

MAPPED = 256
"""Normal images from whose maps the scale of maps is taken, at most."""

HASHES = "training.hashes"
"""Name of these among the tensors of a model."""

CALIBRATION = 10_000
"""Training images whose raw scores fit the scorer and the threshold, at most: scoring more costs as much as a short training."""


@declared
class Detector(OutlierMixin, BaseEstimator, ABC):
    """A detector of anomalous images that is fitted on normal ones.

    Raw scores are high for anomalies; ``score_samples`` and ``decision_function`` are high for normal images, as everywhere in
    scikit-learn. A method writes :meth:`_learn`, :meth:`_statistics`, :meth:`_raw`, :meth:`_tensors` and :meth:`_restore`.
    """

    method: ClassVar[str]
    """Name in the registry, on the command line and in model files."""

    auto_size: ClassVar[int] = 32
    """The largest size that ``image_size="auto"`` chooses: what suits the method, and ends within minutes on two cores."""
    learns_from_anomalies: ClassVar[bool] = False
    """Whether labelled anomalies are trained on; methods without leave them out."""
    statistic_names: ClassVar[tuple[str, ...]]
    """What :meth:`statistics` measures of each image."""
    explains: ClassVar[bool] = False
    """Whether it can say where an image departs from normal ones."""

    image_size: ImageSize = "auto"
    """Side of the square that images are scaled to, with the aspect kept: 32, 64, 128 or 256; "auto" is
    32, where the images are not smaller; None keeps the pixels and pads."""

    batch_size: SampleSize = 64
    """Normal images in a minibatch."""

    device: Annotated[str | None, UNSTORED] = None
    """"cpu", "cuda", ...; None is the GPU if there is one."""

    random_state: Seed | None = 0
    """Seed; None draws one."""

    contamination: Annotated[float, within("(0, 0.5]")] = 0.05
    """Fraction of normal images that :meth:`predict` may call anomalies."""

    scorer: Annotated[str | Scorer, SCORING, UNSTORED] = "negate"
    """"negate": high raw scores are anomalous; "log-gaussian" (a density of the raw score's logarithm)
    and "gaussian" are two-sided: a raw score that is too low is anomalous too (docs/first-hour.md
    compares them). Or a scorer object."""

    calibration: Calibration = "auto"
    """Images on which scorer and threshold are fitted, 10,000 at most: "folds", each scored by a fit on
    the other four (methods without networks); "heldout" ones; or "train", as in the paper, which
    promises nothing for new images. "auto" holds out ``heldout`` of 1,000 images or more, at least 100;
    of fewer it takes folds, or holds out a fifth, at least 20, never more than half."""

    heldout: Annotated[float, within("[0, 1)")] = 0.05
    """Fraction of the images kept out of the fit, for the calibration and the history; where a method
    trains networks, 0 calibrates on "train"."""

    workers: Annotated[CountOrZero, UNSTORED] = 0
    """Processes that decode images which are not in memory."""

    skip_bad: Annotated[bool, UNSTORED] = False
    """Leave unreadable files out instead of refusing them."""

    verbose: Annotated[bool, UNSTORED] = False
    """Show a progress bar on stderr."""

    image_shape_: ImageShape = fitted()
    """``(channels, size, size)`` that the detector sees."""

    scorer_: Scorer = fitted()
    """The fitted scorer."""

    offset_: float = fitted()
    """Threshold on ``score_samples``: ``contamination`` of the calibration images lie below it."""

    map_scale_: float | None = fitted(default=None)
    """99 % quantile of the departures of normal pixels; None where there are no maps."""

    calibrated_on_: int = fitted()
    """Normal images that scorer and threshold come from."""

    calibrated_by_: Literal["train", "heldout", "folds"] = fitted()
    """Whether these are unseen by a fit ("heldout", "folds"), or promise nothing ("train")."""

    sizes_: SizeRange | None = fitted()
    """Sizes of the training images in their files; None if they are not known."""

    copies_: int = fitted()
    """Training images that are exact copies of another one."""

    training_hashes_: np.ndarray = fitted()
    """Hashes of training images, to know them again."""

    calibration_raw_: Scores = fitted()
    """Raw scores of the calibration images, to fit another scorer on; not saved."""

    n_train_: int = fitted()
    """Normal images in training."""

    skipped_: int = fitted()
    """Unreadable files that ``skip_bad`` left out."""

    data_fingerprint_: str = fitted()
    """Short hash of the training images."""

    history_: History = fitted()
    """One row for each epoch of training, empty for methods without."""

    _folds: ClassVar[bool] = True
    """Whether it is fast enough to be fitted once for each fold."""
    _watches_heldout: ClassVar[bool] = False
    """Whether images are held out for its history even where they do not calibrate."""

    # ------------------------------------------------------------------ what a method writes

    @abstractmethod
    def _learn(self, normal: ImageSet, heldout: ImageSet | None, anomalies: ImageSet | None) -> None:
        """Fit to normal images; ``heldout`` are others, for the history and the choice of an epoch."""

    @abstractmethod
    def _statistics(self, x: Tensor, names: Collection[str]) -> dict[str, Tensor]:
        """``(b, c, size, size)`` float32 in [-1, 1] on the device to ``(b,)`` for each name, perhaps of others too."""

    def _raw(self, statistics: Mapping[str, Scores]) -> Scores:
        """The raw score, ``(n,)``, as a formula over :attr:`scoring_statistics`; a method with one of them needs none."""
        (name,) = self.scoring_statistics
        return statistics[name]

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
        """Check every parameter by itself; a method adds what two of them must have in common."""
        check(self)
        Frame.choose(1, 1, self.image_size)  # refuses a size that the networks do not have
        if self.calibration == "heldout" and self.heldout == 0:
            raise SettingError("calibration='heldout' needs heldout > 0, for example heldout=0.05")
        if make_scorer(self.scorer).domain == "nonnegative" and self.raw_domain == "real":
            raise SettingError(
                f"scorer={self.scorer!r} needs raw scores of at least 0, and those of {self.method} are not; "
                "use scorer='gaussian'"
            )

    @property
    def raw_domain(self) -> Domain:
        """Values that raw scores may take."""
        return "nonnegative"

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
        images = self.open(X)
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
        self.data_fingerprint_, hashes = fingerprints(normal, self.workers)
        if anomalies is not None:
            _refuse_two_roles(normal, hashes, anomalies, fingerprints(anomalies, self.workers)[1])
        self.training_hashes_ = hashes[spaced(len(hashes), REMEMBERED)]
        self.copies_ = len(hashes) - len(np.unique(hashes))
        self.sizes_ = _size_range(normal)
        if self.sizes_ is not None and self.sizes_.mixed:
            _warn(f"training images differ in size and shape, and all are brought into one frame: {self.sizes_}")
        self.history_ = []
        self.n_train_, self.calibrated_on_ = len(normal), 0
        self._forget_calibration()
        raw = self._learn_and_score(normal, hashes, anomalies)
        if not np.isfinite(raw).all():
            raise DivergenceError("the scores of the training images are not finite", len(self.history_))
        self.calibration_raw_, self.calibrated_on_ = raw, len(raw)
        self._calibrate(raw)
        if self.calibrated_by_ != "train" and (promise := self.promise()) is not None:
            _warn(promise)
        return self

    def open(self, X: ImageInput) -> ImageSet:
        """Images to fit on, as this detector would see them: of a folder with ``train`` and ``test`` the first."""
        return open_images(X, image_size=self.image_size, most=self.auto_size, part="train")

    def open_to_score(self, X: ImageInput) -> ImageSet:
        """Images to score, as this fitted detector sees them: of a folder with ``train`` and ``test`` the second."""
        self._check_fitted()
        return open_images(X, shape=self.image_shape_, frame=self._frame(), part="test")

    def promise(self) -> str | None:
        """What a fitted detector cannot promise of its false alarms, in a sentence; None if it keeps ``contamination``."""
        self._check_fitted()
        asked = f"{100 * self.contamination:g} %"
        if self.calibrated_by_ == "train":
            return f"the threshold comes from images that were fitted: false alarms on new images can be far more than {asked}"
        least = least_rate(self.calibrated_on_)
        if least <= self.contamination + 1e-9:
            return None
        return (
            f"{self.calibrated_on_} image{'s' if self.calibrated_on_ > 1 else ''} calibrate this: "
            f"false alarms below {100 * least:.1f} % cannot be asked for ({asked} were); give more normal images"
        )

    def statistics(self, X: ImageInput, names: Collection[str] | None = None) -> dict[str, Scores]:
        """What the fitted method measures of each image, ``{name: (n,) float64}``.

        Parameters
        ----------
        names : some of :attr:`statistic_names`, or None for all that can be measured here. Each is computed only where it
            is asked for.

        Raises
        ------
        SettingError : a name that is none of them.
        """
        self._check_fitted()
        wanted = self._available() if names is None else names
        if odd := sorted(set(wanted) - set(self.statistic_names)):
            raise SettingError(f"{self.method} has {unknown('statistic', odd[0], self.statistic_names, 'choose among')}")
        images = self._open(X)
        measured = self._measured(images, wanted)
        self._warn_of_sizes(images)
        return measured

    def _available(self) -> tuple[str, ...]:
        """Statistics that can be measured on this machine."""
        return self.statistic_names

    @property
    def scoring_statistics(self) -> frozenset[str]:
        """Names of the statistics that the raw score reads, under the present parameters."""
        return frozenset(self.statistic_names)

    def raw_scores(self, X: ImageInput) -> Scores:
        """Uncalibrated anomaly score of each image, ``(n,)`` float64; higher is more anomalous."""
        return self.raw_scores_from(self.statistics(X, self.scoring_statistics))

    def raw_scores_from(self, statistics: Mapping[str, Scores]) -> Scores:
        """:meth:`raw_scores` from statistics that were measured already, perhaps under other parameters of scoring."""
        self._check_fitted()
        return np.asarray(self._raw(statistics), np.float64)

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

    def explain(self, X: ImageInput) -> np.ndarray:
        """Where images depart from normal ones: one map for each, float32, >= 0.

        The departure of each pixel (the method says from what) above the 99 % quantile of those of normal pixels, in units of
        that quantile: 0 for 99 % of the pixels of normal images, 1 for a departure twice as large.

        Returns
        -------
        ``(n, h, w)`` in the height and width of the input for arrays; ``(n, size, size)`` for files and datasets, whose
        sizes may differ (``frame_.take_out`` brings one map into the size of its image).

        Raises
        ------
        SettingError : the method cannot say where, or this model was fitted before it could.
        """
        images = self._open(X)
        maps = self.framed_maps(images)
        if isinstance(images, ArrayImages) and images.one_size:
            maps = self.frame_.take_out(maps, *images.native_size(0))
        return maps.numpy()

    def framed_maps(self, images: ImageSet) -> Tensor:
        """The maps of :meth:`explain` as the method sees the images, ``(n, size, size)``."""
        self.refuse_without_maps()
        maps = torch.cat([self._mapped(x).cpu() for x in self._batches(images)])
        return (maps / cast(float, self.map_scale_) - 1.0).clamp_min(0.0)

    def refuse_without_maps(self) -> None:
        """Raise a :class:`SettingError` where :meth:`explain` has nothing to show."""
        if not self.explains:
            raise SettingError(f"{self.method} cannot say where an image is odd, so it has no maps")
        self._check_fitted()
        if self.map_scale_ is None:
            raise SettingError(f"this model of {self.method} was fitted before maps were; fit it again")

    def _map(self, x: Tensor) -> Tensor:
        """``(b, c, size, size)`` to the departure of each pixel, ``(b, size, size)``, >= 0."""
        raise NotImplementedError

    def _mapped(self, x: Tensor) -> Tensor:
        with self._scoring():
            return self._map(x).float()

    def _map_scale(self, images: ImageSet) -> float:
        """The 99 % quantile over the pixels of images, without the padding, which never departs."""
        parts = []
        maps = torch.cat([self._mapped(x).cpu() for x in self._batches(images)])
        for index, one in enumerate(maps):
            top, left, height, width = self._frame().inner(*images.native_size(index))
            parts.append(one[top : top + height, left : left + width].flatten())
        return max(float(np.quantile(torch.cat(parts).numpy(), 0.99)), 1e-6)

    @property
    def frame_(self) -> Frame:
        """How images of any size come into the square that the detector sees."""
        self._check_fitted()
        return self._frame()

    # ------------------------------------------------------------------ on disk

    def save(self, path: str | os.PathLike[str] | ModelTarget, *, overwrite: bool = False) -> Path:
        """Write the fitted detector as a model folder (see :mod:`anomirror.storage`); returns where it is.

        Raises
        ------
        InputError : something else than a model is there, or a model without ``overwrite``.
        """
        self._check_fitted()
        self._validate()  # set_params may have changed how it scores
        card = {
            "library": version("anomirror"),
            "method": self.method,
            "parameters": self.stored_parameters(),
            "scorer": scorer_name(self.scorer_),
            "scorer_state": self.scorer_.state(),
            "offset": self.offset_,
            "calibrated_on": self.calibrated_on_,
            "calibrated_by": self.calibrated_by_,
            "sizes": None if self.sizes_ is None else dataclasses.astuple(self.sizes_),
            "image_shape": list(self.image_shape_),
            "trained_on": self.n_train_,
            "data_fingerprint": self.data_fingerprint_,
            "fitted": self._fitted(),
        }
        tensors = self._tensors() | {HASHES: torch.from_numpy(self.training_hashes_)}
        return save_model(path, card, tensors, self.history_, overwrite=overwrite)

    @classmethod
    def brought_up_to_date(cls, parameters: Mapping[str, Value]) -> dict[str, Value]:
        """The parameters of a model that an older release wrote, with what it did by arguments that it did not have."""
        return renamed(parameters)

    def stored_parameters(self) -> dict[str, Value]:
        """The constructor's arguments that decide the result, as they stand in ``model.json``."""
        unstored = marked(type(self), UNSTORED)
        return {name: _plain(value) for name, value in self.get_params(deep=False).items() if name not in unstored}

    def _restore_from(self, card: ModelCard, tensors: Mapping[str, Tensor], history: History) -> Self:
        try:
            self._validate()
            self.image_shape_ = cast(ImageShape, tuple(card.image_shape))
            self.scorer_ = make_scorer(card.scorer).restore(card.scorer_state)
            self.offset_, self.n_train_ = card.offset, card.trained_on
            self.calibrated_on_, self.calibrated_by_ = card.calibrated_on, card.calibrated_by
            self.sizes_ = None if card.sizes is None else SizeRange(*card.sizes)
            known = {HASHES: torch.empty(0, dtype=torch.int64), **tensors}
            self.training_hashes_ = known.pop(HASHES).numpy()
            tensors = known
            self.data_fingerprint_, self.history_ = card.data_fingerprint, history
            if self.image_size not in (None, "auto", self.image_shape_[1]):
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
        with Progress("reading", len(images), "images", shown=self.verbose) as progress:
            good, bad = check_files(images, report=progress.advance)
        self.skipped_ = len(bad)
        error = unreadable_error(images, bad, "remove them, or pass skip_bad=True (--skip-bad) to leave them out")
        if bad and not self.skip_bad:
            raise error
        if not bad:
            return good, labels
        kept = np.delete(labels, list(bad))
        if (labels == -1).any() and not (kept == -1).any():
            raise ImageError("none of the known anomalies can be read; without them this would be another training", error.bad)
        return good, kept

    def _open(self, X: ImageInput) -> ImageSet:
        return self.open_to_score(X)

    def _check_fitted(self) -> None:
        if not hasattr(self, "offset_"):
            raise NotFittedError(f"this {type(self).__name__} is not fitted yet: call fit(images) first")

    def _frame(self) -> Frame:
        size = self.image_shape_[1]
        sizes = self.sizes_
        shrunk = self.image_size == "auto" and sizes is not None and sizes.longest > size
        scaled = shrunk or isinstance(self.image_size, (int, np.integer))
        frame = Frame.scaled(size) if scaled else Frame(size, 1, size)
        return frame if sizes is None else frame.as_seen(sizes)

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
        """Raw scores, before there is a scorer."""
        return np.asarray(self._raw(self._measured(images, self.scoring_statistics)), np.float64)

    def _measured(self, images: ImageSet, names: Collection[str]) -> dict[str, Scores]:
        full = self._scoring_batch()
        parts: dict[str, list[Tensor]] = {name: [] for name in names}
        with self._scoring():
            for x in self._batches(images):
                found = self._statistics(_filled(x, full), names)
                for name, values in parts.items():
                    values.append(found[name][: len(x)].double().cpu())
        return {name: torch.cat(values).numpy() for name, values in parts.items()}

    def _seed(self) -> int:
        """``random_state``, or a fresh one: never from the caller's generators."""
        return secrets.randbits(32) if self.random_state is None else int(self.random_state)

    def _calibrate(self, raw: Scores) -> None:
        self.scorer_ = make_scorer(self.scorer).fit(raw)
        unseen = self.calibrated_by_ != "train"
        self.offset_ = threshold(self.scorer_.normality(raw), self.contamination, unseen=unseen, noise=self._noise())

    def _noise(self) -> float:
        """What rounding alone leaves in a raw score, where that is a difference of much larger numbers."""
        return 0.0

    def _forget_calibration(self) -> None:
        """Back to unfitted: a fit that fails, or a second one, never leaves an old threshold with new weights."""
        for name in ("scorer_", "offset_"):
            self.__dict__.pop(name, None)

    def _learn_and_score(self, normal: ImageSet, copies: np.ndarray, anomalies: ImageSet | None) -> Scores:
        """Fit, and the raw scores of the images that calibrate, by a fit without them (unless "train" is asked for)."""
        self.calibrated_by_ = self._calibrated_by(copies)
        if self.calibrated_by_ == "folds":
            return self._cross_fitted(normal, copies)
        kept, heldout = self._kept_and_heldout(normal, copies)
        self._learn(kept, heldout, anomalies)
        self.n_train_ = len(kept)
        calibrating = kept
        if self.calibrated_by_ == "heldout" and heldout is not None:
            calibrating = Subset(normal, _distinct(copies, heldout.indices))
        if self.explains:
            self.map_scale_ = self._map_scale(self._some(calibrating, MAPPED))
        return self._stream(self._some(calibrating, self._calibrated()))

    def _calibrated_by(self, copies: np.ndarray) -> Literal["train", "heldout", "folds"]:
        if self.calibration != "auto" and self.calibration != "folds":
            return self.calibration
        if (distinct := len(np.unique(copies))) < FEWEST_FOLDED:
            _warn(f"{distinct} different normal image{'s' if distinct > 1 else ''}: none can be left out of the fit to calibrate")
            return "train"
        if self.heldout == 0 and not self._folds:
            return "train"  # nothing shall be held out
        return "folds" if self._folds and (self.calibration == "folds" or len(copies) < HELD_OUT_FROM) else "heldout"

    def _kept_and_heldout(self, normal: ImageSet, copies: np.ndarray) -> tuple[ImageSet, Subset | None]:
        """Images to fit on, and those that are held out, each in their order."""
        count = len(normal)
        if self.calibrated_by_ == "train":
            if self.heldout == 0 or not self._watches_heldout:
                return normal, None
            return self._split(normal, self.heldout)
        wanted = heldout_count(count, self.heldout)
        if self.calibration == "heldout":
            wanted = max(1, math.floor(count * self.heldout))
        chosen = held_out(self._shuffled(count).tolist(), copies, wanted)
        kept = np.setdiff1d(np.arange(count), chosen)
        if self.calibration == "heldout" and len(chosen) < 20:
            raise ImageError(
                f"calibration='heldout': heldout={self.heldout} of {count} images are {len(chosen)} to calibrate on, "
                "and at least 20 are needed; raise heldout, give more images, or use calibration='auto'"
            )
        return Subset(normal, kept.tolist()), Subset(normal, chosen.tolist())

    def _cross_fitted(self, normal: ImageSet, copies: np.ndarray) -> Scores:
        """Fit on all images; the raw score of each by a fit on the other folds."""
        raw = np.empty(len(normal))
        scales = []
        for fold in folds(self._shuffled(len(normal)).tolist(), copies):
            others = copy.copy(self)
            others._learn(Subset(normal, np.setdiff1d(np.arange(len(normal)), fold).tolist()), None, None)
            unseen = Subset(normal, fold.tolist())
            raw[fold] = others._stream(unseen)
            if self.explains:
                scales.append(others._map_scale(others._some(unseen, MAPPED)))
        self._learn(normal, None, None)
        if self.explains:
            self.map_scale_ = float(np.median(scales))
        self.n_train_ = len(normal)
        calibrating: Scores = raw[_distinct(copies, np.arange(len(raw)))]  # fewer than 1,000, or asked for
        return calibrating

    def _split(self, images: ImageSet, share: float) -> tuple[Subset, Subset]:
        """Most of the images, and a random ``share`` of them (at least one), each in their order."""
        order = self._shuffled(len(images)).tolist()
        count = max(1, math.floor(len(images) * share))
        return Subset(images, sorted(order[count:])), Subset(images, sorted(order[:count]))

    def _shuffled(self, count: int) -> np.ndarray:
        order = torch.randperm(count, generator=torch.Generator().manual_seed(self._seed()))
        return np.asarray(order.numpy())

    def _warn_of_sizes(self, images: ImageSet) -> None:
        """Images that are far smaller, larger, wider or higher than those of the training."""
        self.warn_of_sizes(images.native_sizes(), images.names)

    def warn_of_sizes(self, sizes: np.ndarray, names: Sequence[str]) -> None:
        """The same of heights and widths ``(n, 2)`` (0: unknown) of images with these names."""
        known = np.flatnonzero(sizes[:, 0] > 0)
        far = known[:0] if self.sizes_ is None else known[self.sizes_.far_from(sizes[known])]
        if len(far):
            height, width = sizes[far[0]]
            _warn(
                f"images far from the size or shape of the training images ({self.sizes_}) are scaled into their frame, and "
                f"their scores say less: {len(far)} of {len(sizes)}, for example {names[int(far[0])]} of {width}x{height}"
            )

    def _some(self, images: ImageSet, count: int) -> ImageSet:
        """Up to ``count`` evenly spaced images."""
        return Subset(images, spaced(len(images), count).tolist())

    def _flat_sample(self, images: ImageSet, count: int) -> np.ndarray:
        """Up to ``count`` evenly spaced images, and not more than :data:`SAMPLE_BYTES`, as rows of pixels in [-1, 1]."""
        count = min(count, max(2, SAMPLE_BYTES // (4 * math.prod(self.image_shape_))))
        return torch.cat([flat(x).cpu() for x in self._batches(self._some(images, count))]).numpy()

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "offset_")


@declared
class NetworkDetector(Detector):
    """A detector that trains networks: it writes :meth:`_build`, :meth:`_phases`, :meth:`_statistics` and :meth:`_raw`."""

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
    """Decay per step of the average of the weights that is scored with; None keeps the last weights."""

    precision: Precision = "auto"
    """Of training: "auto" (bf16 where the device computes it natively), "float32" or "bf16"."""

    scoring_precision: Annotated[Precision, MEASURING] = "auto"
    """The same of scoring (docs/performance.md says what bf16 gains, and how little it changes
    scores)."""

    calibration: Literal["auto", "heldout", "train"] = "auto"
    """Images on which scorer and threshold are fitted, 10,000 at most: "heldout" ones, or "train", as in
    the paper, which promises nothing for new images. "auto" holds out ``heldout`` of them, at least
    100, and of fewer than 1,000 a fifth, at least 20, never more than half."""

    checkpoint_dir: Annotated[str | os.PathLike[str] | None, UNSTORED] = None
    """Folder for a checkpoint after each epoch; a run that finds its own checkpoint continues from it."""

    callback: Annotated[Callback | None, UNSTORED] = None
    """Called after each epoch with the detector in scoring state; what it returns enters the history."""

    networks_: nn.ModuleDict = fitted()
    """The networks by name, in eval mode."""

    _folds = False
    _watches_heldout = True
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

    def _anomalies_per_batch(self, batch_size: int) -> int:
        """Known anomalies that each minibatch shall hold."""
        return 0

    def _learn(self, kept: ImageSet, heldout: ImageSet | None, anomalies: ImageSet | None) -> None:
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
        networks, make_optimizers = self._build_seeded(seed, device)
        self.networks_ = networks
        data = TrainingData(kept, anomalies, self._anomalies_per_batch(min(self.batch_size, len(kept))), self.workers)
        run = Run(
            modules=dict(networks.items()),
            optimizers=make_optimizers(),
            device=device,
            generator=generator,
            schedule=self.schedule(),
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

    def _build_seeded(self, seed: int, device: torch.device) -> tuple[nn.ModuleDict, Callable[[], dict[str, Optimizer]]]:
        """Networks whose first weights depend on the seed alone."""
        with first_weights_from(torch.Generator().manual_seed(seed)):
            modules, make_optimizers = self._build(self.image_shape_)
        networks = nn.ModuleDict(modules).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return networks, make_optimizers

    def _identity(self, anomalies: ImageSet | None) -> dict[str, Any]:
        """What decides a training: a checkpoint of another one is not continued, processes that differ do not train together."""
        scoring = marked(type(self), SCORING, MEASURING)
        parameters = {name: value for name, value in self.stored_parameters().items() if name not in scoring}
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

    def _snapshot(self, modules: Mapping[str, nn.Module], normal: ImageSet) -> Self:
        """A copy of this detector with copies of ``modules`` as its networks, ready to score."""
        snapshot = copy.copy(self)
        snapshot._forget_calibration()
        snapshot.networks_ = nn.ModuleDict({name: copy.deepcopy(module) for name, module in modules.items()}).eval()
        snapshot._finish(normal)
        return snapshot

    def _observe(self, run: Run, kept: ImageSet, heldout: ImageSet | None) -> dict[str, float]:
        """What is logged after an epoch, of a snapshot in the state in which it would be kept."""
        snapshot = self._snapshot(run.scoring_modules(), self._some(kept, 512))
        watched = snapshot._mean_watched(kept)
        row = {f"{self._watched_as}_train": watched}
        if heldout is not None:
            row[f"{self._watched_as}_heldout"] = snapshot._mean_watched(heldout)
        if self.callback is not None:
            snapshot._calibrate(snapshot._stream(self._some(kept, self._monitored)))
            row |= _numbers(self.callback(snapshot), row)
        if not math.isfinite(watched) or watched > self._largest_watched():
            raise DivergenceError(
                f"training diverged in epoch {run.epoch}: {self._watched_as} of normal images is {watched:g} on average; "
                f"{self._way_out}",
                run.epoch,
            )
        return row

    def _watches(self) -> frozenset[str]:
        """Names of the statistics that :meth:`_watched` reads."""
        return self.scoring_statistics

    def _watched(self, statistics: Mapping[str, Scores]) -> Scores:
        """What the history shows of normal images after each epoch, and what must not grow without bound."""
        return self._raw(statistics)

    def _largest_watched(self) -> float:
        """A mean of :meth:`_watched` that means divergence."""
        return math.inf

    def _mean_watched(self, images: ImageSet) -> float:
        some = self._some(images, self._monitored)
        return float(np.mean(self._watched(self._measured(some, self._watches()))))

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


@declared
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


def _numbers(returned: Any, row: Mapping[str, float]) -> dict[str, float]:
    """What a callback returned, as numbers that the history can hold."""
    if not isinstance(returned, Mapping) or not all(isinstance(value, (int, float, np.number)) for value in returned.values()):
        raise SettingError(f"callback returned {returned!r}: expected a mapping of names to numbers")
    refuse_taken(returned, row)
    return {str(name): float(value) for name, value in returned.items()}


_AnyDetector = TypeVar("_AnyDetector", bound=Detector)


def with_params(detector: _AnyDetector, changes: Mapping[str, Any]) -> _AnyDetector:
    """The same fitted detector with other parameters of scoring."""
    other: _AnyDetector = copy.copy(detector).set_params(**changes)
    return other


def raw_scores_under(detector: Detector, X: ImageInput, scorings: Mapping[str, Mapping[str, Any]]) -> dict[str, Scores]:
    """Raw scores of a fitted detector under several settings of scoring, under their names.

    Networks run once for all settings that measure alike.

    Parameters
    ----------
    scorings : name to parameters that are set otherwise, of those that may change after a fit.

    Raises
    ------
    SettingError : a parameter that is none of these, or out of its range.
    """
    changeable, measuring = (marked(type(detector), *marks) for marks in ((SCORING, MEASURING), (MEASURING,)))
    variants: dict[str, Detector] = {}
    for name, changes in scorings.items():
        if odd := sorted(changes.keys() - changeable):
            raise SettingError(f"{odd[0]} is not set in scoring: choose among {', '.join(sorted(changeable))}")
        variants[name] = with_params(detector, changes)
        variants[name]._validate()
    found: dict[str, Scores] = {}
    while left := [name for name in variants if name not in found]:
        first = variants[left[0]]
        alike = [n for n in left if all(getattr(variants[n], p) == getattr(first, p) for p in measuring)]
        wanted = frozenset().union(*(variants[name].scoring_statistics for name in alike))
        statistics = first.statistics(X, wanted)
        found |= {name: variants[name].raw_scores_from(statistics) for name in alike}
    return {name: found[name] for name in scorings}


def _plain(value: Any) -> Value:
    """A parameter as JSON knows it: tuples as lists, numpy's numbers as Python's."""
    if isinstance(value, (list, tuple)):
        return cast(Value, [_plain(item) for item in value])
    return cast(Value, value.item() if isinstance(value, np.generic) else value)


def _filled(x: Tensor, count: int) -> Tensor:
    """``count`` images, the last one repeated, on a GPU, where kernels are chosen by shape and each rounds in its own way."""
    if x.device.type == "cpu" or len(x) == count:
        return x
    return torch.cat([x, x[-1:].expand(count - len(x), -1, -1, -1)])


def _warn(message: str) -> None:
    warnings.warn(message, AnomirrorWarning, stacklevel=3)


def spaced(count: int, most: int) -> np.ndarray:
    """Up to ``most`` evenly spaced places of ``count``."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).astype(int))


def _distinct(copies: np.ndarray, places: np.ndarray) -> list[int]:
    """Of some places the first of each group of copies, in order: copies say nothing more of what is normal."""
    _, first = np.unique(copies[places], return_index=True)
    return [int(place) for place in np.sort(places[first])]


def _size_range(images: ImageSet) -> SizeRange | None:
    sizes = known_sizes(images)
    return SizeRange.of(sizes) if len(sizes) else None


def _refuse_two_roles(normal: ImageSet, hashes: np.ndarray, anomalies: ImageSet, known: np.ndarray) -> None:
    """No image may be given as normal and as an anomaly."""
    both = np.flatnonzero(np.isin(known, hashes))
    if not len(both):
        return
    place = {int(digest): index for index, digest in enumerate(hashes)}
    listed = "\n".join(f"  {anomalies.names[int(i)]} is {normal.names[place[int(known[i])]]}" for i in both[:10])
    more = f"\n  and {len(both) - 10} more" if len(both) > 10 else ""
    raise ImageError(
        f"{len(both)} of {len(anomalies)} anomalies are also given as normal images (the same pixels):\n{listed}{more}\n"
        "leave them in one of the two"
    )


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


def most_components(rows: np.ndarray) -> int:
    """Principal components that ``(n, d)`` rows may have: half of n, so that a new row leaves over about what these do."""
    return max(1, min(len(rows) // 2, int(rows.shape[1])))
