"""What every detector keeps, as checks that anybody can run on a detector of their own.

>>> from anomirror import PCA
>>> check_detector(PCA(n_components=8, device="cpu"))

In a test suite one test for each check says more:

    @pytest.mark.parametrize("check", checks_of(PCA()), ids=lambda check: check.__name__)
    def test_contract(check):
        check(Subject(PCA(n_components=8)))
"""

from __future__ import annotations

from anomirror.detector.contract import Detector
from anomirror.testing import inputs, scores, training
from anomirror.testing.subject import Check, CheckError, Subject

__all__ = ["CHECKS", "Check", "CheckError", "Subject", "check_detector", "checks_of"]

CHECKS: tuple[Check, ...] = (*scores.CHECKS, *inputs.CHECKS, *training.CHECKS)
"""Of every detector."""


def checks_of(detector: Detector) -> tuple[Check, ...]:
    """The checks that a detector must pass; those of epochs only if it trains in epochs."""
    has_epochs = "checkpoint_dir" in detector.get_params()
    return (*CHECKS, *training.OF_EPOCHS) if has_epochs else CHECKS


def check_detector(detector: Detector) -> None:
    """Run every check on a detector that is not fitted.

    Each check fits clones of it, on at most 256 images of 28x28: give it arguments with which a fit
    takes a second, ``device="cpu"``, and a seed.

    Raises
    ------
    CheckError : names the check that fails, and says why.
    """
    subject = Subject(detector)
    for check in checks_of(detector):
        try:
            check(subject)
        except Exception as error:
            raise CheckError(f"{check.__name__}: {type(error).__name__}: {error}") from error
