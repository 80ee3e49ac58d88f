"""The public checks find what is wrong, and name it."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pytest
import torch
from torch import Tensor

from anomirror import KNN, PCA
from anomirror.detector.parameters import declared
from anomirror.errors import NotFittedError
from anomirror.testing import CheckError, Subject, check_detector, checks_of


def test_a_good_detector_passes() -> None:
    check_detector(KNN(n_components=8, device="cpu"))


@declared
class OfItsBatch(PCA):
    """A score that depends on the other images of the batch."""

    def _statistics(self, x: Tensor, names: Collection[str]) -> dict[str, Tensor]:
        return {
            name: values - values.mean() for name, values in super()._statistics(x, names).items()
        }


@declared
class Unseeded(PCA):
    """A fit that draws from the state of the process."""

    def _learn(self, *arguments: object) -> None:
        torch.rand(1)
        super()._learn(*arguments)  # type: ignore[arg-type]


@declared
class Forgetful(PCA):
    """What is saved is not all that was fitted."""

    def _tensors(self) -> dict[str, Tensor]:
        return {name: tensor.round(decimals=1) for name, tensor in super()._tensors().items()}


@declared
class Writing(PCA):
    """An image is changed by being scored."""

    def score_samples(self, X: object) -> np.ndarray:
        scores = super().score_samples(X)
        if isinstance(X, np.ndarray) and X.flags.writeable:
            X[0] = 0
        return scores


@declared
class Eager(PCA):
    """It scores before it is fitted."""

    def score_samples(self, X: object) -> np.ndarray:
        try:
            return super().score_samples(X)
        except NotFittedError:
            return np.zeros(3)


@pytest.mark.parametrize(
    ("faulty", "check"),
    [
        (OfItsBatch, "check_scores_do_not_depend_on_batch_neighbours_or_order"),
        (Unseeded, "check_no_random_state_of_the_process_is_touched"),
        (Forgetful, "check_a_saved_and_loaded_detector_is_equal"),
        (Writing, "check_the_input_is_not_changed"),
        (Eager, "check_before_a_fit_scoring_is_refused"),
    ],
)
def test_a_fault_is_found_by_the_check_that_is_named_after_it(
    faulty: type[PCA], check: str
) -> None:
    detector = faulty(n_components=8, device="cpu")
    (named,) = (each for each in checks_of(detector) if each.__name__ == check)
    with pytest.raises(AssertionError):
        named(Subject(detector))


def test_the_first_failure_is_named() -> None:
    with pytest.raises(CheckError, match=r"check_scores_do_not_depend_on_batch.*: AssertionError"):
        check_detector(OfItsBatch(n_components=8, device="cpu"))


def test_checks_of_epochs_are_for_methods_that_train_in_epochs() -> None:
    from anomirror import AMA

    assert len(checks_of(AMA())) == len(checks_of(PCA())) + 2
