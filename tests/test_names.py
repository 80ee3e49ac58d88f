"""The public names, of which some are imported when first asked for."""

from __future__ import annotations

import pickle
import subprocess
import sys

import pytest

import anomirror
from anomirror import AMA, errors


def test_every_public_name_is_there_in_a_fresh_process() -> None:
    code = """
import anomirror
assert set(anomirror.__all__) <= set(dir(anomirror))
for name in anomirror.__all__:
    getattr(anomirror, name)
anomirror.images.open_images, anomirror.training.Run, anomirror.detectors.AMA
from anomirror.errors import *
assert issubclass(NotFittedError, AnomirrorError)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_names_that_do_not_exist_are_refused() -> None:
    for module in (anomirror, errors):
        with pytest.raises(AttributeError, match="has no attribute 'dessert'"):
            module.dessert  # noqa: B018


def test_the_lazy_error_is_one_class_and_can_be_pickled() -> None:
    from sklearn.exceptions import NotFittedError

    assert set(errors.__all__) <= set(dir(errors))
    error = pickle.loads(pickle.dumps(errors.NotFittedError("not yet")))
    assert type(error) is errors.NotFittedError
    assert isinstance(error, NotFittedError)
    with pytest.raises(errors.NotFittedError):
        AMA().score_samples([[[0.0]]])
