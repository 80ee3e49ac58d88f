"""What every detector is: scikit-learn's contract over images."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
from sklearn.base import BaseEstimator, OutlierMixin

from anomirror.cards import TriedCard, Value
from anomirror.decisions import Guarantee
from anomirror.detector.calibrated import Calibrated, Calibrating
from anomirror.detector.calibration import CalibratedBy, Calibration
from anomirror.detector.costs import Costed
from anomirror.detector.framing import Framing
from anomirror.detector.maps import Explaining
from anomirror.detector.measuring import Measuring
from anomirror.detector.membership import Member
from anomirror.detector.parameters import (
    DECIDING,
    SCORING,
    UNSTORED,
    CountOrZero,
    SampleSize,
    Seed,
    check,
    declared,
    fitted,
    marked,
    within,
)
from anomirror.detector.persistence import Persistent
from anomirror.detector.recalibration import Recalibrating
from anomirror.detector.streaming import spaced
from anomirror.detector.training_set import TrainingSet
from anomirror.errors import DivergenceError, SettingError, warn
from anomirror.images import (
    WHITE,
    Frame,
    ImageInput,
    ImageSet,
    ImageShape,
    ImageSize,
    SizeRange,
    white_of,
)
from anomirror.scorers import Domain, Scorer, Scores, make_scorer
from anomirror.training import History

REMEMBERED = 100_000
"""Training images whose hash a model keeps, at most, to know them again."""


@declared
class Detector(
    OutlierMixin,
    BaseEstimator,
    Persistent,
    Framing,
    Measuring,
    Explaining,
    Calibrated,
    Recalibrating,
    Costed,
    Member,
    ABC,
):
    """A detector of anomalous images that is fitted on normal ones.

    Raw scores are high for anomalies; ``score_samples`` and ``decision_function`` are high for
    normal images, as everywhere in scikit-learn. A method writes :meth:`_learn`,
    :meth:`_statistics`, :meth:`_raw`, :meth:`_tensors` and :meth:`_restore`.
    """

    auto_size: ClassVar[int] = 32
    """The largest size that ``image_size="auto"`` chooses: what suits the method, and ends within
    minutes on two cores.
    """
    learns_from_anomalies: ClassVar[bool] = False
    """Whether labelled anomalies are trained on; methods without leave them out."""
    chooses: ClassVar[bool] = False
    """Whether a fit chooses among :meth:`candidates`."""
    statistic_names: ClassVar[tuple[str, ...]]
    """What :meth:`statistics` measures of each image."""

    image_size: ImageSize = "auto"
    """Side of the square that images are scaled to, with the aspect kept: 32, 64, 128 or 256;
    "auto" is 32 (of ``scattering``, ``auto`` and ``ensemble`` 128), where they are not smaller;
    None keeps the pixels and pads."""

    batch_size: SampleSize = 64
    """Normal images in a minibatch."""

    device: Annotated[str | None, UNSTORED] = None
    """"cpu", "cuda", ...; None is the GPU if there is one."""

    random_state: Seed | None = 0
    """Seed; None draws one."""

    false_alarm_rate: Annotated[float, within("(0, 0.5]"), DECIDING] = 0.05
    """Fraction of normal images that :meth:`predict` may call anomalies."""

    guarantee: Annotated[Guarantee, DECIDING] = "expected"
    """Whether that rate is kept on average over calibration sets ("expected"), or with 95 %
    confidence by this very one ("confident", which finds less)."""

    scorer: Annotated[str | Scorer, SCORING, UNSTORED] = "negate"
    """"negate": high raw scores are anomalous; "log-gaussian" (a density of the raw score's
    logarithm) and "gaussian" are two-sided: a raw score that is too low is anomalous too
    (docs/first-hour.md compares them). Or a scorer object."""

    calibration: Calibration = "auto"
    """Images on which scorer and threshold are fitted, 10,000 at most: "folds", each scored by a
    fit on all others (methods without networks); "heldout" ones; or "train", as in the paper,
    which promises nothing for new images. "auto" holds out ``calibration_fraction`` of 1,000 images
    or more, at least 100; of fewer it takes folds, or holds out a fifth, at least 20, never more
    than half."""

    calibration_split: Literal["random", "last"] = "random"
    """Which images are held out: "random" ones, or the "last" as they are given, where a camera
    ages or a production changes; these are held out, never in folds."""

    calibration_fraction: Annotated[float, within("[0, 1)")] = 0.05
    """Fraction of the images kept out of the fit, for the calibration and the history; where a
    method trains networks, 0 calibrates on "train"."""

    workers: Annotated[CountOrZero, UNSTORED] = 0
    """Processes that decode images which are not in memory."""

    skip_bad: Annotated[bool, UNSTORED] = False
    """Leave unreadable files out instead of refusing them."""

    verbose: Annotated[bool, UNSTORED] = False
    """Show a progress bar on stderr."""

    fitted_with_: dict[str, Value] = fitted()
    """Parameters that decided what was learnt: later changes of them are not saved."""

    image_shape_: ImageShape = fitted()
    """``(channels, size, size)`` that the detector sees."""

    scorer_: Scorer = fitted()
    """The fitted scorer."""

    map_scale_: float = fitted(default=math.nan)
    """99 % quantile of the deviations of normal pixels; NaN for methods without maps."""

    calibrated_on_: int = fitted()
    """Normal images that threshold and p-values come from: of each group the oddest."""

    calibrated_images_: int = fitted()
    """Images in these groups; as many where there are no groups."""

    calibrated_with_: dict[str, object] = fitted()
    """Parameters of measuring (``scoring_precision``, ...) when they were measured."""

    calibrated_by_: CalibratedBy = fitted()
    """Whether these are unseen by a fit ("heldout", "folds"), or promise nothing ("train")."""

    sizes_: SizeRange | None = fitted()
    """Sizes of the training images in their files; None if they are not known."""

    white_: int = fitted(default=WHITE)
    """White of images with 16 bits."""

    copies_: int = fitted()
    """Training images that are exact copies of another one."""

    training_hashes_: np.ndarray = fitted()
    """Hashes of training images, to know them again."""

    anomaly_hashes_: np.ndarray = fitted()
    """The same of the labelled anomalies."""

    calibrating_: Calibrating = fitted()
    """What was measured of all images that calibrate: raw scores, statistics, groups."""

    n_train_: int = fitted()
    """Normal images in training."""

    skipped_: int = fitted()
    """Unreadable files that ``skip_bad`` left out."""

    suspects_dropped_: int = fitted(default=0)
    """Odd images that the command line left out on request, before the fit."""

    tried_: Sequence[TriedCard] = fitted(default=())
    """What each candidate was found to be worth on made-up anomalies, by kind; empty where nothing
    was tried."""

    data_fingerprint_: str = fitted()
    """Short hash of the training images."""

    groups_fingerprint_: str = fitted(default="")
    """Short hash of the groups and categories that were given to ``fit``; empty without."""

    category_pattern_: str = fitted(default="")
    """What the command line found categories with, in names of images; empty without."""

    calibration_hashes_: np.ndarray = fitted()
    """Of the images of :meth:`recalibrate`, as those of the training images."""

    calibration_fingerprint_: str = fitted(default="")
    """Short hash of the images of :meth:`recalibrate`; empty if training images calibrate."""

    history_: History = fitted()
    """One row for each epoch of training, empty for methods without."""

    # ------------------------------------------------------------------ what a method writes

    @abstractmethod
    def _learn(
        self, normal: ImageSet, heldout: ImageSet | None, anomalies: ImageSet | None
    ) -> None:
        """Fit to normal images.

        ``heldout`` are others, for the history and the choice of an epoch.
        """

    def programs(self) -> dict[str, str]:
        """Programs outside Python's packages that scores depend on, and their versions."""
        return {}

    def validate(self) -> None:
        """Check every parameter by itself; a method adds what two of them must have in common."""
        check(self)
        Frame.choose(1, 1, self.image_size)  # refuses a size that the networks do not have
        if self.calibration == "heldout" and self.calibration_fraction == 0:
            raise SettingError("calibration='heldout' needs calibration_fraction > 0, such as 0.05")
        if self.calibration_fraction == 0 and self.calibration_split == "last":
            raise SettingError("calibration_split='last' needs calibration_fraction > 0")
        if self.calibration == "folds" and self.calibration_split == "last":
            raise SettingError(
                "calibration_split='last' holds the last images out, calibration='folds' none: "
                "choose one of the two"
            )
        if make_scorer(self.scorer).domain == "nonnegative" and self.raw_domain == "real":
            raise SettingError(
                f"scorer={self.scorer!r} needs raw scores of at least 0, and those of "
                f"{self.method} are not; "
                "use scorer='gaussian'"
            )

    @property
    def raw_domain(self) -> Domain:
        """Values that raw scores may take."""
        return "nonnegative"

    # ------------------------------------------------------------------ scikit-learn's contract

    def fit(
        self, X: ImageInput, y: object = None, groups: object = None, by: object = None
    ) -> Self:
        """Fit on normal images.

        Parameters
        ----------
        X : images in any form that :func:`anomirror.images.open_images` takes.
        y : None: all are normal. Or one of +1 (normal) and -1 (labelled anomaly) for each image;
            labelled anomalies are used by methods that can (AMA), and are only left out of training
            by the others.
        groups : None, or a name for each image: images of one part, such as views of one object or
            frames of one film, never calibrate what was fitted on others of them. Exact copies need
            no name.
        by : None, or a category for each image, such as its camera, shift or product: threshold and
            p-values come from images of the same category, and hold in each of them. What is
            scored then needs ``by`` as well.

        Raises
        ------
        ImageError : files that cannot be read (all of them are listed), unless ``skip_bad``; too
            few images.
        SettingError : a parameter out of its range.
        """
        given = self._begin(X, y, groups, by)
        calibrating = self._learn_and_measure(given)
        if not np.isfinite(calibrating.raw).all():
            raise DivergenceError(
                "the scores of the training images are not finite", len(self.history_)
            )
        self._calibrate(calibrating)
        if self.calibrated_by_ != "train" and (promise := self.promise()) is not None:
            warn(promise)
        return self

    def fit_predict(
        self, X: ImageInput, y: object = None, groups: object = None, by: object = None
    ) -> np.ndarray:
        """:meth:`fit`, then :meth:`predict` of the same images: odd ones among them look more
        normal than new ones do.
        """
        return self.fit(X, y, groups, by).predict(X, by)

    def _begin(self, X: ImageInput, y: object, groups: object, by: object = None) -> TrainingSet:
        """Read and check what a fit is given, and keep what a model says of it."""
        self.validate()
        self.fitted_with_ = self.fitting_parameters()
        images = self.open(X)
        given = TrainingSet.of(
            images,
            y,
            groups,
            by,
            workers=self.workers,
            skip_bad=self.skip_bad,
            verbose=self.verbose,
        )
        self.image_shape_, self.white_ = images.shape, white_of(images)
        self.data_fingerprint_, self.sizes_ = given.fingerprint, given.sizes
        self.training_hashes_ = given.hashes[spaced(len(given.hashes), REMEMBERED)]
        self.anomaly_hashes_ = given.anomaly_hashes
        self.copies_, self.skipped_, self.suspects_dropped_ = given.copies, given.skipped, 0
        self.category_pattern_, self.history_ = "", []
        self.n_train_, self.calibrated_on_ = len(given.normal), 0
        self.calibration_fingerprint_, self.calibration_hashes_ = "", np.empty(0, np.int64)
        # of one split: a training is not continued with another
        grouped = groups is not None or by is not None
        self.groups_fingerprint_ = given.split_fingerprint if grouped else ""
        self._forget_calibration()
        return given

    def set_params(self, **params: object) -> Self:
        """Set parameters by name; a fitted detector's scorer follows a new formula."""
        before = self.get_params(deep=False)
        super().set_params(**params)
        names = marked(type(self), SCORING)
        if self.__sklearn_is_fitted__() and any(getattr(self, n) != before[n] for n in names):
            try:
                self._follow_formula()
            except SettingError:
                super().set_params(**before)
                raise
        return self

    def out_of_fold(self, X: ImageInput, groups: object = None) -> Scores:
        """Raw score of each image by a fit that has not seen it, ``(n,)``; high is anomalous.

        Suspects among images that are taken as normal have the highest ones. This detector is left
        as it is; a method with networks is trained once for each of 5 folds.

        Parameters
        ----------
        X, groups : as in :meth:`fit`.
        """
        fresh = copy.copy(self)
        for name in {"checkpoint_dir", "callback"} & fresh.get_params().keys():
            setattr(fresh, name, None)  # of one training, not of one for each fold
        return fresh.raw_by_fold(fresh._begin(X, None, groups))

    def candidates(self) -> Sequence[Detector]:
        """Detectors that this one is made of, or chooses among; none of a single one."""
        return ()

    def with_candidates(self, detectors: Sequence[Detector]) -> Self:
        """The same choice among other candidates, not fitted.

        Raises
        ------
        SettingError : it chooses among none.
        """
        raise SettingError(f"{self.method} has no candidates (auto has)")

    def score_samples(self, X: ImageInput) -> Scores:
        """Normality of each image, ``(n,)`` float64, high = normal."""
        return self.normality(self.raw_scores(X))

    def normality(self, raw: Scores) -> Scores:
        """``score_samples`` from raw scores that are there already."""
        self._check_fitted()
        return self.scorer_.normality(raw)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "calibrating_")
