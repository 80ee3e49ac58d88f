"""Parameters are declared once: constructor, ranges, what is stored, and docstrings come from one
field.
"""

from __future__ import annotations

import inspect
import json
from typing import Annotated, Any

import numpy as np
import pytest
from torch import Tensor

from anomirror import DETECTORS, PRESETS, make_detector
from anomirror.detector.parameters import (
    SCORING,
    UNSTORED,
    Betas,
    Count,
    Milestones,
    Weight,
    check,
    declared,
    fitted,
    marked,
    parameters_of,
    within,
    words,
)
from anomirror.errors import SettingError


@declared
class Base:
    """A base class."""

    width: Count = 4
    """Channels."""

    rate: Annotated[Annotated[float, within("(0, 0.5]")] | None, UNSTORED] = None
    """A rate."""

    mean_: Tensor = fitted()
    """Mean of the images."""

    scale_: float | None = fitted(default=None)


@declared
class Derived(Base):
    """A derived class.

    Notes
    -----
    Some.
    """

    width = 8
    rate = 0.25
    """Another rate."""

    betas: Betas = (0.5, 0.9)
    """Two decay rates."""

    weight: Annotated[Weight, SCORING] = 1.0


def test_an_assignment_changes_the_default_alone() -> None:
    assert Derived().width == 8
    assert Base().width == 4
    assert parameters_of(Derived)["width"].doc == "Channels."
    with pytest.raises(SettingError, match="width=0: expected an integer of at least 1"):
        check(Derived(width=0))


def test_the_constructor_is_keyword_only_and_shows_plain_types() -> None:
    signature = inspect.signature(Derived)
    assert {p.kind for p in signature.parameters.values()} == {inspect.Parameter.KEYWORD_ONLY}
    assert signature.parameters["rate"].annotation == float | None
    with pytest.raises(TypeError, match="positional"):
        Derived(8)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="mean_"):
        Derived(mean_=0)


def test_fitted_attributes_are_no_parameters_and_absent_before_a_fit() -> None:
    assert set(parameters_of(Base)) == {"width", "rate"}
    assert not hasattr(Base(), "mean_")
    assert Base().scale_ is None


def test_marks_are_inherited() -> None:
    assert marked(Derived, UNSTORED) == {"rate"}
    assert marked(Derived, SCORING) == {"weight"}


def test_the_docstring_lists_own_parameters_first_then_fitted_attributes() -> None:
    assert Derived.__doc__ == inspect.cleandoc(
        """
        A derived class.

        Parameters
        ----------
        betas : 2 values, each a number in [0, 1), default (0.5, 0.9)
            Two decay rates.
        weight : a number of at least 0, default 1.0
        width : an integer of at least 1, default 8
            Channels.
        rate : a number in (0, 0.5] or None, default 0.25
            Another rate.

        Attributes
        ----------
        mean_
            Mean of the images.

        Notes
        -----
        Some.
        """
    )


@pytest.mark.parametrize(
    ("hint", "value"),
    [
        (Count, 1),
        (Count, np.int64(3)),
        (Weight, 0),  # a whole number is a number
        (Weight, np.float32(0.5)),
        (Betas, (0.0, 0.9)),
        (Betas, json.loads("[0.0, 0.9]")),  # JSON has no tuples
        (Milestones, ()),
        (Count | None, None),
    ],
)
def test_values_in_range_are_accepted(hint: Any, value: Any) -> None:
    field_named(hint).check(value)


@pytest.mark.parametrize(
    ("hint", "value"),
    [
        (Count, 0),
        (Count, 1.0),
        (Count, True),
        (Count, "1"),
        (Weight, -1e-9),
        (Weight, float("inf")),
        (Weight, float("nan")),
        (Betas, (0.9,)),
        (Betas, (0.9, 0.9, 0.9)),
        (Betas, (0.9, 1.0)),
        (Milestones, (0.5, 1.0)),
        (Count | None, "none"),
    ],
)
def test_values_out_of_range_or_of_another_type_are_refused(hint: Any, value: Any) -> None:
    with pytest.raises(SettingError, match="x=.*: expected "):
        field_named(hint).check(value)


def field_named(hint: Any) -> Any:
    @declared
    class Holder:
        """Of one parameter."""

        x: Any = None

    parameter = parameters_of(Holder)["x"]
    return type(parameter)("x", hint, None, "")


@pytest.mark.parametrize("method", DETECTORS)
def test_every_parameter_is_described_and_its_default_is_in_range(method: str) -> None:
    parameters = parameters_of(DETECTORS[method])
    assert set(parameters) == set(DETECTORS[method]().get_params())
    for name, parameter in parameters.items():
        assert parameter.doc, name
        assert "typing" not in words(parameter.hint), name
        parameter.check(parameter.default)
    doc = DETECTORS[method].__doc__ or ""
    assert doc.count("\nParameters\n") == 1
    assert all(doc.count(f"\n{name} : ") == 1 for name in parameters)


@pytest.mark.parametrize(
    ("method", "preset"), [(m, name) for m, presets in PRESETS.items() for name in presets]
)
def test_presets_hold_parameters_in_range(method: str, preset: str) -> None:
    members = {"detectors": "pca"} if method == "ensemble" else {}  # it has none by itself
    make_detector(method, **PRESETS[method][preset], **members).validate()


def test_presets_are_of_methods_and_resolve_what_they_extend() -> None:
    assert set(PRESETS) <= set(DETECTORS)  # a method without a file has its defaults
    assert all("cpu" in presets and "paper-common" not in presets for presets in PRESETS.values())
    paper = PRESETS["ama"]["paper-svhn"]
    assert "extends" not in paper
    # of its own table, of the one that it extends, and a None that TOML cannot write
    assert (paper["negatives"], paper["critic_steps"], paper["ema_decay"]) == ("outward", 5, None)
    assert paper["lr_milestones"] == (0.3, 0.6, 0.9)
