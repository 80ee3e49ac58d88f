"""Model folders: atomic, validated, and naming what is wrong."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from anomirror import Detector, load
from anomirror.errors import InputError, ModelFileError
from anomirror.storage import read_history, replacing, write_history
from tests.tiny import tiny


@pytest.fixture(scope="module")
def fitted(clothes: np.ndarray) -> Detector:
    return tiny("ama", structure_power="fitted", scorer="log-gaussian").fit(clothes)


@pytest.fixture
def model(fitted: Detector, tmp_path: Path) -> Path:
    fitted.save(tmp_path / "model")
    return tmp_path / "model"


def test_a_model_is_three_files_and_nothing_else_is_left(model: Path) -> None:
    assert sorted(p.name for p in model.iterdir()) == [
        "history.csv",
        "model.json",
        "weights.safetensors",
    ]
    assert [p.name for p in model.parent.iterdir()] == ["model"]


def test_the_history_is_a_table_of_every_term(model: Path) -> None:
    rows = read_history(model / "history.csv")
    assert [row["epoch"] for row in rows] == [1, 2]
    assert {
        "gap",
        "gap_interpolation",
        "latent_norm",
        "penalty",
        "r_train",
        "r_heldout",
        "step",
    } <= rows[0].keys()


def edit(file: str, change: Callable[[dict[str, object]], object]) -> Callable[[Path], object]:
    def apply(model: Path) -> None:
        card = json.loads((model / file).read_text())
        change(card)
        (model / file).write_text(json.dumps(card))

    return apply


def card(**values: object) -> Callable[[Path], object]:
    return edit("model.json", lambda c: c.update(values))


def inside(part: str, **values: object) -> Callable[[Path], object]:
    return edit("model.json", lambda c: c[part].update(values))  # type: ignore[attr-defined]


def parameter(**values: object) -> Callable[[Path], object]:
    return inside("parameters", **values)


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no card": (lambda m: (m / "model.json").unlink(), "model.json: missing"),
    "truncated card": (
        lambda m: (m / "model.json").write_text('{"format": 1,'),
        "truncated or not JSON",
    ),
    "binary card": (lambda m: (m / "model.json").write_bytes(b"\xff\xfe\x00"), "cannot be read"),
    "newer": (card(format=2), "format 2, this release reads up to 1; upgrade"),
    "unknown key": (card(hook="os.system"), "hook: Extra inputs are not permitted"),
    "missing key": (
        edit("model.json", lambda c: c.pop("trained_on")),
        "trained_on: Field required",
    ),
    "wrong type": (card(trained_on="low"), "trained_on: Input should be a valid integer"),
    "unknown method": (card(method="os.system"), "no method named 'os.system'"),
    "unknown parameter": (card(parameters={"depth": 3}), "ama has no parameter 'depth'"),
    "parameter that is no part of a model": (
        parameter(device="cpu"),
        "parameters.device does not belong there",
    ),
    "method as a parameter": (parameter(method="pca"), "ama has no parameter 'method'"),
    "no spread": (
        card(scorer="gaussian", scorer_state={"mean": 0.0, "std": 0.0}),
        "standard deviation is 0",
    ),
    "no width": (inside("scorer_state", scale=0.0), "its scale 0.0"),
    "no power": (
        edit("model.json", lambda c: c["fitted"].pop("structure_power")),
        "'structure_power' is missing",
    ),
    "power out of range": (inside("fitted", structure_power=1.5), "a power outside"),
    "no floor": (inside("scorer_state", floor=0.0), "floor is 0.0"),
    "the state of another scorer": (card(scorer="gaussian"), "do not fit together: 'mean'"),
    "calibrated on another number": (
        card(calibrated_on=7),
        r"calibration_groups: \d+ groups, not 7",
    ),
    "unknown scorer": (card(scorer="eval"), "scorer='eval'"),
    "other widths": (parameter(critic_width=9), "do not fit together"),
    "absurd size": (card(image_shape=[1, 33, 33]), "image_shape: Value error"),
    "other image size": (parameter(image_size=64), r"image_size is 64, image_shape \[1, 32, 32\]"),
    "no network's size": (parameter(image_size=50), "image_size=50"),
    "no scale": (inside("fitted", residual_scale=0.0), "scales that are not positive"),
    "a fitted number more": (
        inside("fitted", extra=1.0),
        "fitted: extra is missing or does not belong there",
    ),
    "a width that no memory holds": (
        parameter(encoder_width=30_000_000),
        "encoder.features.0.weight is",
    ),
    "nested without end": (
        lambda m: (m / "model.json").write_text("[" * 100_000),
        "truncated or not JSON",
    ),
    "no weights": (lambda m: (m / "weights.safetensors").unlink(), "weights.safetensors: missing"),
    "truncated weights": (
        lambda m: (m / "weights.safetensors").write_bytes(
            (m / "weights.safetensors").read_bytes()[:-10]
        ),
        "truncated or changed",
    ),
    "no history": (lambda m: (m / "history.csv").unlink(), "history.csv: missing"),
    "too many columns": (
        lambda m: (m / "history.csv").write_text("epoch\n1,2\n"),
        "not a table of numbers",
    ),
    "text in history": (
        lambda m: (m / "history.csv").write_text("epoch\nsoon\n"),
        "not a table of numbers",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_model_is_refused_and_the_damage_named(model: Path, name: str) -> None:
    damage, message = DAMAGES[name]
    damage(model)
    with pytest.raises(ModelFileError, match=message):
        load(model)


def test_weights_that_are_no_safetensors_are_refused_even_with_a_matching_hash(model: Path) -> None:
    torch.save({"x": torch.zeros(2)}, model / "weights.safetensors")  # a pickle
    digest = hashlib.sha256((model / "weights.safetensors").read_bytes()).hexdigest()
    edit("model.json", lambda c: c.update(weights_sha256=digest))(model)
    with pytest.raises(ModelFileError, match="not a readable safetensors file"):
        load(model)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: t | {"reference_image": torch.full_like(t["reference_image"], torch.nan)},
            "reference_image holds NaN",
        ),
        (
            lambda t: t | {"more": torch.zeros(1)},
            "tensors: more is missing or does not belong there",
        ),
        (
            lambda t: {name: x.double() if x.is_floating_point() else x for name, x in t.items()},
            "torch.float64, not",
        ),
    ],
)
def test_tensors_that_no_fit_gives_are_refused_even_with_a_matching_hash(
    model: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]], message: str
) -> None:
    save_file(change(load_file(model / "weights.safetensors")), model / "weights.safetensors")
    digest = hashlib.sha256((model / "weights.safetensors").read_bytes()).hexdigest()
    edit("model.json", lambda c: c.update(weights_sha256=digest))(model)
    with pytest.raises(ModelFileError, match=message):
        load(model)


def test_a_loaded_model_does_not_depend_on_its_files_any_more(
    model: Path, digits: np.ndarray
) -> None:
    loaded = load(model)
    before = loaded.raw_scores(digits)
    weights = model / "weights.safetensors"
    with weights.open("r+b") as stream:
        stream.seek(-4096, 2)
        stream.write(b"\0" * 4096)
    weights.write_bytes(b"")
    assert np.array_equal(loaded.raw_scores(digits), before)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="no such model folder"):
        load(tmp_path / "nothing")


def test_an_existing_model_is_kept_unless_told_otherwise(fitted: Detector, model: Path) -> None:
    before = (model / "model.json").read_bytes()
    with pytest.raises(InputError, match="exists already"):
        fitted.save(model)
    assert (model / "model.json").read_bytes() == before
    fitted.save(model, overwrite=True)
    load(model)


def test_a_folder_that_is_no_model_is_never_overwritten(fitted: Detector, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.txt").write_text("dear")
    with pytest.raises(InputError, match="is not a model"):
        fitted.save(tmp_path / "photos", overwrite=True)
    assert (tmp_path / "photos" / "a.txt").read_text() == "dear"


def test_a_failing_write_leaves_the_old_model(
    fitted: Detector, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (model / "model.json").read_bytes()

    def full_disk(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("anomirror.storage.write_history", full_disk)
    with pytest.raises(OSError, match="no space"):
        fitted.save(model, overwrite=True)
    assert (model / "model.json").read_bytes() == before
    assert [p.name for p in model.parent.iterdir()] == ["model"]


def test_replacing_keeps_the_old_file_when_the_block_fails(tmp_path: Path) -> None:
    target = tmp_path / "a.csv"
    target.write_text("old")
    with pytest.raises(RuntimeError), replacing(target) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.csv"]


def test_history_survives_the_round_trip(tmp_path: Path) -> None:
    rows = [{"epoch": 1, "a": 0.1}, {"epoch": 2, "a": 1e-30, "b": -5}]
    write_history(tmp_path / "h.csv", rows)
    assert read_history(tmp_path / "h.csv") == rows
    first = (tmp_path / "h.csv").read_bytes()
    write_history(tmp_path / "h.csv", read_history(tmp_path / "h.csv"))
    assert (tmp_path / "h.csv").read_bytes() == first
