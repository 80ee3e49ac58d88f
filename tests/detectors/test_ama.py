"""AMA: its step, its switches, its scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch import Tensor, nn

from anomirror import AMA, losses, preset
from anomirror.data.sample import Sample
from anomirror.devices import use_bf16
from anomirror.errors import DivergenceError, ImageError, SettingError
from anomirror.images import to_network
from anomirror.minibatch import Batch
from anomirror.networks.residual import Critic
from anomirror.presets import PRESETS
from anomirror.structure import flat_in_mean_colour, floor_of, slope, usual_power
from anomirror.training import Run
from tests.tiny import TINY, framed, tiny


def prepared(**more: Any) -> tuple[AMA, Run, Batch]:
    """An unfitted AMA with networks, a run and a batch: one step can be taken by hand."""
    ama = AMA(
        **{**TINY["ama"], "device": "cpu", "precision": "float32", "negatives_start": 0.0, **more}
    )
    ama, run = ama.untrained((1, 32, 32))
    x = torch.rand(8, 1, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    return ama, run, Batch(x, torch.zeros(8, dtype=torch.bool))


def step(ama: AMA, batch: Batch, run: Run) -> Mapping[str, Tensor]:
    """One minibatch of its only phase."""
    (phase,) = ama.phases()
    return phase.step(batch, run)


class Objective(NamedTuple):
    """What the critic was asked in a step, by name."""

    terms: dict[str, list[losses.Term]]
    pair: Callable[[Tensor, Tensor], Tensor]


def objective(ama: AMA, batch: Batch, run: Run, monkeypatch: pytest.MonkeyPatch) -> Objective:
    """Of one step that stops before the first update."""

    class Reached(Exception):
        """The objective is known."""

    seen: list[Objective] = []

    def stop(
        critic: nn.Module, pair: Callable[[Tensor, Tensor], Tensor], terms: list[losses.Term]
    ) -> None:
        named = {name: [t for t in terms if t.name == name] for name in {t.name for t in terms}}
        seen.append(Objective(named, pair))
        raise Reached

    with monkeypatch.context() as patched:
        patched.setattr(losses, "gaps", stop)
        with pytest.raises(Reached):
            step(ama, batch, run)
    return seen[0]


def parameters(ama: AMA) -> dict[str, list[Tensor]]:
    return {
        name: [p.detach().clone() for p in network.parameters()]
        for name, network in ama.networks_.items()
    }


def moved(before: list[Tensor], after: list[Tensor]) -> list[bool]:
    return [not torch.equal(a, b) for a, b in zip(before, after, strict=True)]


def test_each_update_moves_every_parameter_it_claims_and_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ama, run, batch = prepared(critic_steps=2)
    update = Run.update
    updates: list[str] = []

    def watched(self: Run, optimizer: str, loss: Tensor) -> None:
        before = parameters(ama)
        update(self, optimizer, loss)
        after = parameters(ama)
        claimed = {"critic": {"critic"}, "autoencoder": {"encoder", "generator"}}[optimizer]
        for name in before:
            changes = moved(before[name], after[name])
            assert all(changes) if name in claimed else not any(changes), (optimizer, name)
        updates.append(optimizer)

    monkeypatch.setattr(Run, "update", watched)
    step(ama, batch, run)
    assert updates == ["critic", "critic", "autoencoder"]


def test_the_encoder_has_adam_betas_of_its_own() -> None:
    ama, run, _ = prepared(learning_rate=1e-3)
    of = {
        id(parameter): group["betas"]
        for optimizer in run.optimizers.values()
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    found = {
        name: {of[id(p)] for p in network.parameters()} for name, network in ama.networks_.items()
    }
    assert found == {"encoder": {(0.5, 0.9)}, "generator": {(0.0, 0.9)}, "critic": {(0.0, 0.9)}}


def test_images_are_reconstructed_once_per_minibatch_whatever_the_critic_steps() -> None:
    for critic_steps in (1, 5):
        ama, run, batch = prepared(critic_steps=critic_steps, interpolation=None, negatives=None)
        calls: list[str] = []
        for name in ("encoder", "generator"):
            ama.networks_[name].register_forward_hook(lambda *_, name=name: calls.append(name))
        step(ama, batch, run)
        assert calls == ["encoder", "generator"]


def test_the_interpolation_term_gives_encoder_and_generator_a_gradient(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ama, run, batch = prepared(interpolation_endpoints="all")
    asked = objective(ama, batch, run, monkeypatch)
    terms = asked.terms["gap_interpolation"]
    assert len(terms) == 3
    loss = sum(ama.networks_["critic"](asked.pair(t.x, t.x_hat)).mean() for t in terms)
    loss.backward()  # type: ignore[union-attr]
    for name in ("encoder", "generator"):
        gradients = [p.grad for p in ama.networks_[name].parameters()]
        assert all(g is not None and float(g.abs().sum()) > 0 for g in gradients), name


def test_the_objective_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the critic replaced by D(pair) = mean of the second image, every gap is a difference of
    means.
    """

    class Mean(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, pair: Tensor) -> Tensor:
            return self.scale * pair[:, 1:].mean((1, 2, 3))

    ama, run, batch = prepared()
    ama.networks_["critic"] = Mean()
    asked = objective(ama, batch, run, monkeypatch)
    (mirrored,), (negative,) = asked.terms["gap"], asked.terms["gap_negative"]
    assert torch.equal(mirrored.x, batch.normal)
    assert mirrored.weight == 1.0
    assert negative.weight == -ama.negatives_weight
    for term in (mirrored, negative):
        (gap,) = losses.gaps(ama.networks_["critic"], asked.pair, [term])
        expected = float((term.x.mean() - term.x_hat.mean()).detach())
        assert float(gap.detach()) == pytest.approx(expected, abs=1e-6)


def test_synthetic_negatives_are_images_without_gradient_and_a_share_of_the_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ama, run, batch = prepared(negatives_fraction=0.25)
    (term,) = objective(ama, batch, run, monkeypatch).terms["gap_negative"]
    assert term.x.shape == (2, 1, 32, 32)
    assert not term.x.requires_grad
    assert term.x_hat.requires_grad


def test_literal_negatives_stand_beside_normal_images(monkeypatch: pytest.MonkeyPatch) -> None:
    ama, run, batch = prepared(negatives_literal=True, negatives_fraction=0.25)
    (term,) = objective(ama, batch, run, monkeypatch).terms["gap_negative"]
    assert torch.equal(term.x, batch.normal[:2])


def test_labelled_anomalies_replace_synthetic_negatives_with_a_weight_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ama, run, batch = prepared(negatives_weight=0.25, anomalies_weight=2.0)
    (synthetic,) = objective(ama, batch, run, monkeypatch).terms["gap_negative"]
    assert synthetic.weight == -0.25
    labelled = torch.zeros(8, dtype=torch.bool)
    labelled[6:] = True
    marked = Batch(batch.images, labelled)
    (term,) = objective(ama, marked, run, monkeypatch).terms["gap_negative"]
    assert torch.equal(term.x, batch.images[6:])
    assert term.weight == -2.0


def test_an_interrupted_training_with_labelled_anomalies_goes_on_to_the_same_scores(
    clothes: np.ndarray, digits: np.ndarray, tmp_path: Path
) -> None:
    images = np.concatenate([clothes, digits[:20]])
    labels = np.r_[np.ones(len(clothes), int), -np.ones(20, int)]
    arguments = {"negatives_start": 0.0, "epochs": 3, "max_steps": 11}
    whole = tiny("ama", **arguments).fit(images, labels)

    def interrupt(ama: Any) -> dict[str, float]:
        # after the second epoch: the first one's checkpoint is there
        if len(list(tmp_path.iterdir())):
            raise KeyboardInterrupt
        return {}

    with pytest.raises(KeyboardInterrupt):
        tiny("ama", **arguments, checkpoint_dir=str(tmp_path), callback=interrupt).fit(
            images, labels
        )
    resumed = tiny("ama", **arguments, checkpoint_dir=str(tmp_path)).fit(images, labels)
    assert [row["step"] for row in resumed.history_] == [4, 8, 11]
    assert np.array_equal(resumed.raw_scores(digits), whole.raw_scores(digits))


def test_negatives_start_at_their_share_of_the_run() -> None:
    ama, run, batch = prepared(negatives_start=0.5)
    run.total_steps = 10
    run.step = 4
    assert "gap_negative" not in step(ama, batch, run)
    run.step = 5
    assert "gap_negative" in step(ama, batch, run)


def test_neither_negatives_nor_interpolations_enter_the_batch_norm_statistics() -> None:
    with_both, run, batch = prepared()
    step(with_both, batch, run)
    without, run, batch = prepared(interpolation=None, negatives=None)
    step(without, batch, run)
    for name in ("encoder", "generator"):
        expected = dict(without.networks_[name].named_buffers())
        for key, buffer in with_both.networks_[name].named_buffers():
            if not key.endswith("num_batches_tracked"):
                assert torch.equal(buffer, expected[key]), key


class ByHand(Critic):
    """A critic whose features are known."""

    def __init__(self, features: Callable[[Tensor], Tensor]) -> None:
        nn.Module.__init__(self)
        self.by_hand = features

    def features(self, pair: Tensor) -> Tensor:
        return self.by_hand(pair)


def with_critic(images: np.ndarray, features: Callable[[Tensor], Tensor]) -> AMA:
    """A fitted AMA in float32, and then a critic with these features."""
    ama = tiny("ama", precision="float32", scoring_precision="float32").fit(images)
    assert isinstance(ama, AMA)
    ama.networks_["critic"] = ByHand(features)
    return ama


def test_the_r_score_of_a_tiny_critic_by_hand(clothes: np.ndarray) -> None:
    ama, x = with_critic(clothes, lambda pair: pair.sum((2, 3))), framed(clothes[:20])
    x_hat = torch.from_numpy(ama.reconstruct(clothes[:20])).permute(0, 3, 1, 2) * 2 - 1
    expected = (x.sum((1, 2, 3)) - x_hat.sum((1, 2, 3))).abs().numpy()
    ama.reference_image, ama.reference_image_, ama.sensitivity_floor_ = (
        "median",
        torch.full((1, 1, 1), -1.0),
        1e-3,
    )
    from_black = (x.sum((1, 2, 3)) + 32 * 32).abs().numpy()
    statistics = ama.statistics(clothes[:20], ("r", "s"))
    assert_allclose(statistics["r"], expected, rtol=1e-3, atol=0.02)
    for ama.structure_power in (0.0, 0.5, 1.0):
        corrected = statistics["r"] / from_black**ama.structure_power
        assert_allclose(ama.raw_scores(clothes[:20]), corrected, rtol=1e-4)


def test_statistics_are_what_their_names_say(clothes: np.ndarray) -> None:
    ama = tiny("ama", precision="float32", scoring_precision="float32").fit(clothes)
    measured, x = ama.statistics(clothes[:20]), framed(clothes[:20])
    encoder, generator, critic = (
        ama.networks_[name] for name in ("encoder", "generator", "critic")
    )
    with torch.no_grad():
        z = encoder(x)
        x_hat = generator(z)
        expected = {
            "gap": critic(torch.cat([x, x], 1)) - critic(torch.cat([x, x_hat], 1)),
            "code_norm": z.square().sum(1).sqrt(),
            "code_cycle": (z - encoder(x_hat)).square().sum(1).sqrt(),
            "residual": (x - x_hat).square().sum((1, 2, 3)).sqrt(),
            "contrast": (x - flat_in_mean_colour(x)).square().sum((1, 2, 3)).sqrt(),
        }
    for name, values in expected.items():
        assert_allclose(measured[name], values.double().numpy(), rtol=1e-4, atol=1e-5)


def test_the_reference_is_flat_in_an_images_own_mean() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(1, 256, (40, 32, 32), dtype=np.uint8)
    ama = with_critic(images, lambda pair: pair[:, :, 0, 0])
    x = torch.from_numpy(images[:5] / 127.5 - 1)
    from_mean = (x[:, 0, 0] - x.mean((1, 2))).abs()
    assert_allclose(ama.statistics(images[:5], ("s",))["s"], from_mean, atol=1e-5)
    flat = np.full((5, 32, 32), 160, np.uint8)
    measured = ama.statistics(flat, ("r", "s"))
    # nothing to reconstruct: the floor stands in, and R counts double
    ama.structure_power, ama.sensitivity_floor_ = 0.5, 0.25
    assert_allclose(
        ama.raw_scores_from(measured),
        measured["r"] * 2,
        rtol=1e-5,
    )


def test_the_fitted_power_makes_r_independent_of_structure(clothes: np.ndarray) -> None:
    """Among the images that it was fitted on, no slope of log R on log S is left."""
    contrast = np.random.default_rng(0).uniform(0.2, 1.0, (len(clothes), 1, 1))
    images = (128 + (clothes - 128.0) * contrast).astype(np.uint8)
    unnormed = {"spectral": False, "precision": "float32", "scoring_precision": "float32"}
    ama = tiny("ama", structure_power="fitted", calibration_fraction=0.0, **unnormed).fit(images)
    assert 0.02 < ama.structure_power_ < 1
    raw = ama.raw_scores(images)
    assert abs(slope(raw, ama.statistics(images, ("s",))["s"])) < 1e-3
    assert_array_equal(ama.set_params(structure_power=ama.structure_power_).raw_scores(images), raw)


def test_blank_images_do_not_set_the_power() -> None:
    """There is nothing in them that could tell how R grows with structure; a slope through all
    would be another one.
    """
    rng = np.random.default_rng(0)
    s = rng.uniform(1, 9, 200)
    r = s**0.7 * rng.uniform(0.9, 1.1, 200)
    both = np.concatenate([r, np.full(20, 3.0)]), np.concatenate([s, np.full(20, 1e-6)])
    assert usual_power(*both) == usual_power(r, s) == pytest.approx(0.7, abs=0.05)
    assert slope(both[0], np.maximum(both[1], floor_of(both[1]))) < 0.3


def test_a_fit_on_blank_images_alone_has_a_power(clothes: np.ndarray) -> None:
    ama = tiny("ama", structure_power="fitted").fit(np.full_like(clothes, 90))
    assert 0 <= ama.structure_power_ <= 1
    assert np.isfinite(ama.raw_scores(clothes[:3])).all()


def test_a_slope_of_few_images_is_not_believed() -> None:
    s = np.linspace(1.0, 2.0, 31)
    assert usual_power(s**0.8, s) == 0.5
    s = np.linspace(1.0, 2.0, 32)
    assert usual_power(s**0.8, s) == pytest.approx(0.8)


@pytest.mark.parametrize("structure_power", [np.float32(0.5), np.int64(0), 1, "fitted"])
def test_a_power_may_be_any_kind_of_number(structure_power: Any, clothes: np.ndarray) -> None:
    assert np.isfinite(
        tiny("ama", structure_power=structure_power).fit(clothes).raw_scores(clothes[:3])
    ).all()


@pytest.mark.parametrize("structure_power", [True, "half", -0.1, 1.5])
def test_a_power_is_in_range_or_fitted(structure_power: Any, clothes: np.ndarray) -> None:
    with pytest.raises(
        SettingError, match=r"structure_power=.*: expected a number in \[0, 1\] or 'fitted'"
    ):
        tiny("ama", structure_power=structure_power).fit(clothes)


def test_padding_is_no_structure() -> None:
    """A flat image of any shape and brightness has none: its blank is the image itself, in the
    same black frame.
    """
    picture = torch.rand(3, 1, 12, 20, generator=torch.Generator().manual_seed(0))
    for inside in (picture, torch.full_like(picture, 0.7), torch.full_like(picture, -0.9)):
        x = nn.functional.pad(inside, (6, 6, 10, 10), value=-1.0)
        expected = nn.functional.pad(
            inside.mean((2, 3), keepdim=True).expand_as(inside), (6, 6, 10, 10), value=-1.0
        )
        assert torch.allclose(flat_in_mean_colour(x), expected, atol=1e-5)
    black = torch.full((1, 1, 32, 32), -1.0)
    assert torch.equal(flat_in_mean_colour(black), black)


SWITCHES: dict[str, dict[str, Any]] = {
    "not mirrored": {"mirrored": False},
    "no interpolation": {"interpolation": None},
    "all endpoints": {"interpolation_endpoints": "all"},
    "five endpoints": {"interpolation": 5},
    "no negatives": {"negatives": None},
    "outward": {"negatives": "outward"},
    "box": {"negatives": "box"},
    "literal": {"negatives_literal": True},
    "no spectral norm": {"spectral": False, "gradient_penalty": 10.0},
    "five critic steps": {"critic_steps": 5},
    "no averages": {"ema_decay": None, "recompute_statistics": False},
    "held-out calibration": {"calibration": "heldout", "calibration_fraction": 0.1},
    "nothing held out": {"calibration_fraction": 0.0},
    "A-score": {"scorer": "log-gaussian"},
    "Eq. (6)": {"scorer": "gaussian"},
    "plain R": {"structure_power": 0.0},
    "fitted power": {"structure_power": "fitted"},
    "R over the whole of S": {"structure_power": 1.0},
    "the median pixel as blank": {"reference_image": "median"},
    "the other precision": {
        "precision": "float32" if use_bf16("auto", torch.device("cpu")) else "bf16"
    },
}


@pytest.mark.parametrize("name", SWITCHES)
def test_every_component_is_switched_by_an_argument(name: str, clothes: np.ndarray) -> None:
    common = {"negatives_start": 0.0, "structure_power": 0.5}
    switched = tiny("ama", **{**common, **SWITCHES[name]}).fit(clothes)
    plain = tiny("ama", **common).fit(clothes)
    assert np.isfinite(switched.score_samples(clothes[:20])).all()
    assert not np.array_equal(
        switched.score_samples(clothes[:20]), plain.score_samples(clothes[:20])
    )
    if name == "not mirrored":
        assert next(switched.networks_["critic"].parameters()).shape[1] == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("size", [32, 64, 128, 256])
def test_larger_pictures(size: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (6, size, size - 7, 3), dtype=np.uint8)
    ama = tiny(
        "ama",
        batch_size=4,
        epochs=1,
        steps_per_epoch=1,
        generator_width=4,
        critic_width=4,
        image_size=None,
    ).fit(images)
    assert ama.image_shape_ == (3, size, size)
    assert ama.explain(images[:2]).shape == (2, size, size - 7)  # type: ignore[attr-defined]


def test_image_size_scales_with_the_aspect_kept() -> None:
    images = np.random.default_rng(0).integers(0, 256, (10, 100, 50), dtype=np.uint8)
    ama = tiny("ama", image_size=64).fit(images)
    assert ama.image_shape_ == (1, 64, 64)
    assert ama.explain(images).shape == (10, 100, 50)  # type: ignore[attr-defined]


def test_reconstructions_are_images(clothes: np.ndarray) -> None:
    ama = tiny("ama").fit(clothes)
    x_hat = ama.reconstruct(clothes[:3])  # type: ignore[attr-defined]
    assert x_hat.shape == (3, 32, 32, 1)
    assert x_hat.dtype == np.float32
    assert x_hat.min() >= 0
    assert x_hat.max() <= 1


def test_explanations_of_normal_images_are_dark_and_planted_squares_are_bright(
    sample: Sample,
) -> None:
    ama = tiny("ama", epochs=3, steps_per_epoch=60, learning_rate=1e-3, generator_width=16).fit(
        sample.train[:1000]
    )
    normal = sample.normal[:100]
    planted = normal.copy()
    planted[:, :6, :6] = 255  # a corner where clothes are rarely
    dark = ama.explain(normal)  # type: ignore[attr-defined]
    bright = ama.explain(planted)  # type: ignore[attr-defined]
    assert np.mean(dark > 0) < 0.03
    assert np.mean(bright[:, :6, :6]) > 10 * np.mean(dark)
    assert np.median(bright[:, :6, :6]) > np.median(bright[:, 10:, 10:])


@pytest.mark.parametrize("width", [28, 4, 2])
def test_explanations_of_narrow_images_are_as_dark_as_those_of_square_ones(
    sample: Sample, width: int
) -> None:
    left = 14 - width // 2
    narrow = sample.train[:300, :, left : left + width, None]
    ama = tiny(
        "ama", epochs=2, steps_per_epoch=20, learning_rate=1e-3, calibration_fraction=0.0
    ).fit(narrow)
    bright = float(np.mean(ama.explain(narrow) > 0))  # type: ignore[attr-defined]
    assert 0.005 < bright < 0.02  # 1 % of the pixels


def test_calibration_on_a_handful_of_images_is_refused(clothes: np.ndarray) -> None:
    with pytest.raises(
        ImageError, match="calibration_fraction=0.05 of 256 images are 12 to calibrate on"
    ):
        tiny("ama", calibration="heldout").fit(clothes)


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ("good", "expected a mapping"),
        ({"note": "good"}, "expected a mapping"),
        *(
            ({name: 1.0}, f"'{name}', which the history has already")
            for name in ("r_train", "epoch", "gap", "step", "seconds")
        ),
    ],
)
def test_a_monitor_that_the_history_cannot_hold_is_refused(
    clothes: np.ndarray, returned: Any, message: str
) -> None:
    with pytest.raises(SettingError, match=message):
        tiny("ama", callback=lambda _: returned).fit(clothes)


def test_a_monitor_may_return_numpys_numbers(clothes: np.ndarray, tmp_path: Path) -> None:
    ama = tiny(
        "ama", callback=lambda _: {"mine": np.float32(0.5)}, checkpoint_dir=str(tmp_path)
    ).fit(clothes)
    assert [row["mine"] for row in ama.history_] == [0.5, 0.5]


@pytest.mark.slow
@pytest.mark.parametrize("name", PRESETS["ama"])
def test_every_preset_trains_with_networks_of_its_full_size(name: str, sample: Sample) -> None:
    shortened = {"max_steps": 2, "batch_size": 32, "negatives_start": 0.0, "device": "cpu"}
    ama = AMA(**preset("ama", name) | shortened).fit(sample.train[:100])
    assert ama.history_[-1]["step"] == 2
    assert {"gap", "gap_interpolation", "gap_negative"} <= ama.history_[-1].keys()
    assert np.isfinite(ama.score_samples(sample.normal[:20])).all()


def test_the_history_holds_every_term(clothes: np.ndarray) -> None:
    history = tiny("ama", negatives_start=0.0).fit(clothes).history_
    assert [row["epoch"] for row in history] == [1, 2]
    names = {
        "gap",
        "gap_interpolation",
        "gap_negative",
        "latent_norm",
        "penalty",
        "r_train",
        "r_heldout",
        "step",
    }
    assert names <= history[0].keys()
    assert history[0]["latent_norm_over_sqrt_d"] == pytest.approx(
        history[0]["latent_norm"] / np.sqrt(8)
    )


def test_a_monitor_sees_the_scoring_state_after_every_epoch(
    clothes: np.ndarray, digits: np.ndarray
) -> None:
    seen: list[float] = []

    def monitor(ama: Any) -> dict[str, float]:
        seen.append(float(ama.score_samples(digits).mean()))
        return {"digits": seen[-1]}

    plain = tiny("ama").fit(clothes)
    ama = tiny("ama", callback=monitor).fit(clothes)
    assert [row["digits"] for row in ama.history_] == seen
    assert len(set(seen)) == 2
    # watching changes nothing
    assert np.array_equal(plain.raw_scores(digits), ama.raw_scores(digits))


def test_bf16_training_learns_like_float32(clothes: np.ndarray) -> None:
    gaps = [
        tiny("ama", precision=p, epochs=3).fit(clothes).history_[-1]["gap"]
        for p in ("float32", "bf16")
    ]
    assert gaps[1] == pytest.approx(gaps[0], rel=0.2)


def test_growth_without_bound_stops_with_the_epoch(clothes: np.ndarray) -> None:
    with pytest.raises(DivergenceError, match="epoch 1"):
        tiny("ama", spectral=False, learning_rate=30.0, epochs=3).fit(clothes)


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "negatives": ({"negatives": "sideways"}, "negatives='sideways'"),
    "k": ({"interpolation": 0}, "interpolation=0: expected an integer of at least 1 or None"),
    "share": ({"negatives_fraction": 0.0}, "negatives_fraction=0.0"),
    "width": ({"critic_width": 0}, "critic_width=0: expected an integer of at least 1"),
    "rate": ({"learning_rate": -1.0}, "learning_rate=-1.0: expected a number above 0"),
    "betas": ({"betas": (0.5,)}, "betas=.* expected 2 values, each a number in"),
    "epochs": ({"epochs": 0}, "epochs=0"),
    "calibration": (
        {"calibration": "heldout", "calibration_fraction": 0.0},
        "needs calibration_fraction > 0",
    ),
    "average": ({"ema_decay": 1.5}, "ema_decay=1.5"),
    "drops": ({"lr_milestones": (30, 60)}, "expected values, each a number in \\(0, 1\\)"),
    "size": ({"image_size": 50}, "image_size=50: choose one of 32, 64"),
    "type": ({"epochs": "many"}, "epochs='many'"),
    "infinite delta": ({"delta": np.inf}, "delta=inf: expected a number above 0"),
    "interpolation weight": (
        {"interpolation_weight": -2.0},
        "interpolation_weight=-2.0: expected a number of at least 0",
    ),
    "negatives weight": (
        {"negatives_weight": -1.0},
        "negatives_weight=-1.0: expected a number of at least 0",
    ),
    "latent weight": (
        {"latent_weight": np.nan},
        "latent_weight=nan: expected a number of at least 0",
    ),
    "penalty": (
        {"gradient_penalty": -10.0},
        "gradient_penalty=-10.0: expected a number of at least 0",
    ),
    "negatives start": (
        {"negatives_start": 7.0},
        "negatives_start=7.0: expected a number in \\[0, 1\\]",
    ),
    "workers": ({"workers": -1}, "workers=-1: expected an integer of at least 0"),
    "precision": ({"precision": "fp8"}, "precision='fp8'"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_parameter_is_named_with_the_way_out(name: str, clothes: np.ndarray) -> None:
    arguments, message = BAD[name]
    with pytest.raises(SettingError, match=message):
        tiny("ama", **arguments).fit(clothes)


@pytest.mark.parametrize("name", PRESETS["ama"])
def test_presets_are_valid_arguments(name: str) -> None:
    AMA(**preset("ama", name)).validate()


def test_paper_presets_are_the_paper() -> None:
    cifar, svhn, grey = (preset("ama", f"paper-{name}") for name in ("cifar10", "svhn", "grey"))
    assert {paper["precision"] for paper in (cifar, svhn, grey)} == {"float32"}
    assert (cifar["negatives"], svhn["negatives"], grey["negatives"]) == (
        "inward",
        "outward",
        "outward",
    )
    for paper in (cifar, svhn, grey):
        assert (
            paper["epochs"],
            paper["batch_size"],
            paper["critic_steps"],
            paper["learning_rate"],
        ) == (100, 256, 5, 3e-4)
        assert paper["ema_decay"] is None
        assert (
            paper["interpolation_weight"],
            paper["negatives_weight"],
            paper["latent_weight"],
        ) == (0.5, 5.0, 1.0)
    ama, _ = AMA(**cifar, device="cpu").untrained((3, 32, 32))
    assert {name: sum(map(torch.numel, n.parameters())) for name, n in ama.networks_.items()} == {
        "encoder": 1_183_616,
        "generator": 4_276_739,
        "critic": 1_057_664,
    }


def test_unknown_presets_are_refused() -> None:
    with pytest.raises(SettingError, match="ama has no preset 'gpu': choose one of cpu, default"):
        preset("ama", "gpu")


LARGE = {
    "epochs": 1,
    "steps_per_epoch": 1,
    "encoder_width": 4,
    "generator_width": 4,
    "batch_size": 64,
}


@pytest.mark.parametrize(("size", "arguments"), [(None, {}), (128, LARGE), (256, LARGE)])
def test_statistics_of_a_sorted_folder_are_those_of_a_shuffled_one(
    clothes: np.ndarray, size: int | None, arguments: dict[str, Any]
) -> None:
    """Dark images first, bright ones last: batches in file order, or of a few images, would lose
    the spread between them.
    """
    ordered = clothes[np.argsort(clothes.mean((1, 2)))]
    ama = tiny("ama", calibration_fraction=0.0, image_size=size, **arguments).fit(ordered)
    images = ama.open_to_score(ordered)
    x = to_network(images.take(range(len(images))))
    norm = ama.networks_["encoder"].features[1]  # type: ignore[attr-defined, index]
    first = ama.networks_["encoder"].features[0](x).detach()  # type: ignore[attr-defined, index]
    assert torch.allclose(norm.running_var, first.var((0, 2, 3)), rtol=0.05)


def test_a_seed_is_checked_and_none_leaves_numpys_generator_alone(clothes: np.ndarray) -> None:
    for method in ("ama", "pca", "knn"):
        with pytest.raises(SettingError, match="random_state=-1"):
            tiny(method, random_state=-1).fit(clothes)
        before: Any = np.random.get_state(legacy=False)
        tiny(method, random_state=None).fit(clothes)
        after: Any = np.random.get_state(legacy=False)
        assert before["state"]["pos"] == after["state"]["pos"]


@pytest.mark.skipif(
    not use_bf16("auto", torch.device("cpu")), reason="this processor computes no bf16 natively"
)
def test_in_bf16_a_score_is_bit_by_bit_the_same_in_every_batch(clothes: np.ndarray) -> None:
    """What makes it a choice: a difference of the last bit of bf16 would be one of a hundredth of a
    score.
    """
    ama = AMA(epochs=1, steps_per_epoch=2, device="cpu", scoring_precision="auto").fit(clothes)
    exact = ama.raw_scores(clothes[:40])
    for count in (1, 3, 16, 39):
        parts = [
            ama.raw_scores(clothes[start : min(start + count, 40)]) for start in range(0, 40, count)
        ]
        assert_array_equal(np.concatenate(parts), exact)
    ama.set_params(scoring_precision="float32")
    assert 0 < np.abs(ama.raw_scores(clothes[:40]) / exact - 1).max() < 0.1
