"""Every error that anomirror raises on purpose.

::

    AnomirrorError
    ├── InputError (also ValueError)     what the caller passed cannot be used
    │   ├── MissingDataError             files of a named data set are not there
    │   ├── ImageError                   images that cannot be read, or are of the wrong kind
    │   └── SettingError                 a parameter out of its range, an unknown name
    ├── NotFittedError (also sklearn's)  the detector has not seen any data yet
    ├── DivergenceError (also ArithmeticError)
    │                                    training left the finite numbers; names the epoch
    ├── CheckpointError                  a checkpoint of other data or other parameters
    ├── ModelFileError                   a saved model is damaged, or too new
    └── MissingDependencyError (also ImportError)
                                         an optional package is needed; names the extra

    AnomirrorWarning (a UserWarning)     something was left out, guessed, or is not promised
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

__all__ = [
    "AnomirrorError",
    "AnomirrorWarning",
    "CheckpointError",
    "DivergenceError",
    "ImageError",
    "InputError",
    "MissingDataError",
    "MissingDependencyError",
    "ModelFileError",
    "NotFittedError",
    "SettingError",
]


class AnomirrorError(Exception):
    """Root of all errors of this package: catching it catches them all."""


class AnomirrorWarning(UserWarning):
    """Something was left out, guessed, or cannot be promised.

    The command line prints it as a note.
    """


def unknown(what: str, name: str, known: Iterable[str], choose: str = "choose one of") -> str:
    """The message for a name that is not known: the nearest known one, and all of them.

    >>> unknown("method named", "PCa", ["pca", "knn"])
    "no method named 'PCa': choose one of pca, knn; did you mean 'pca'?"
    """
    names = list(known)
    lower = {candidate.lower(): candidate for candidate in reversed(names)}
    near = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.6)
    suggested = f"; did you mean {lower[near[0]]!r}?" if near else ""
    return f"no {what} {name!r}: {choose} {', '.join(names)}{suggested}"


class InputError(AnomirrorError, ValueError):
    """What the caller passed cannot be used; the message says what, where, and the way out."""


class MissingDataError(InputError):
    """The files of a named data set are not there; the message names the expected place."""


class ImageError(InputError):
    """Images that cannot be read or do not fit; ``bad`` lists ``(name, reason)`` of each."""

    def __init__(self, message: str, bad: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(message)
        self.bad = list(bad)


class SettingError(InputError):
    """A parameter out of its range, or a name that is not registered."""


class DivergenceError(AnomirrorError, ArithmeticError):
    """Training diverged in ``epoch`` (counted from 1)."""

    def __init__(self, message: str, epoch: int) -> None:
        super().__init__(message)
        self.epoch = epoch


class CheckpointError(AnomirrorError):
    """A checkpoint cannot continue this run: other data, other parameters, or a damaged file."""


class ModelFileError(AnomirrorError):
    """A saved model cannot be loaded; the message names the file and what is wrong with it."""


class MissingDependencyError(AnomirrorError, ImportError):
    """An optional package is not installed; the message names the extra that brings it."""


def warn(message: str) -> None:
    """Issue an :class:`AnomirrorWarning`."""
    warnings.warn(message, AnomirrorWarning, stacklevel=3)


if TYPE_CHECKING:
    from sklearn.exceptions import NotFittedError as _SklearnNotFittedError

    class NotFittedError(AnomirrorError, _SklearnNotFittedError):
        """The detector was asked for scores before ``fit``."""


def __getattr__(name: str) -> object:
    """``NotFittedError`` is made when first asked for (PEP 562).

    Its base lies in a package that takes a second to import.
    """
    if name != "NotFittedError":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from sklearn import exceptions

    made = type(
        name,
        (AnomirrorError, exceptions.NotFittedError),
        {"__module__": __name__, "__doc__": "The detector was asked for scores before ``fit``."},
    )
    return globals().setdefault(name, made)


def __dir__() -> list[str]:
    return sorted(globals().keys() | set(__all__))
