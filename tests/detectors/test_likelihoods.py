"""The likelihood systems: what each of their scores is made of, and behaviour that their papers
report.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch import Tensor, nn

from anomirror import WAIC, Complexity, LikelihoodRatio, Typicality, load
from anomirror.codecs import compressed_bits
from anomirror.detector.variants import raw_scores_under
from anomirror.detectors.likelihood_ratio import mutated
from anomirror.detectors.waic import generator_turns
from anomirror.errors import InputError, MissingDependencyError, SettingError
from anomirror.metrics import auroc
from anomirror.minibatch import Batch
from anomirror.training import Run
from tests.tiny import TINY, tiny


def test_mutation_replaces_that_share_by_any_grey_level() -> None:
    x = torch.zeros(400, 3, 32, 32)
    found = mutated(x, 0.2, torch.Generator().manual_seed(0))
    changed = found != 0
    assert float(changed.float().mean()) == pytest.approx(0.2, abs=0.003)
    levels, counts = ((found[changed] + 1) * 127.5).round().unique(return_counts=True)
    assert levels.tolist() == list(range(256))
    assert counts.max() < 1.5 * counts.min()


def test_the_ratio_is_the_difference_of_two_likelihoods_in_bits(clothes: np.ndarray) -> None:
    ratio = cast(
        LikelihoodRatio, tiny("likelihood_ratio", scoring_precision="float32").fit(clothes)
    )
    raw = ratio.raw_scores(clothes[:20])
    alone = ratio.set_params(likelihood_only=True).raw_scores(clothes[:20])
    assert_allclose(alone, ratio.bits_per_dim(clothes[:20]) * 1024, rtol=1e-5)
    foreground = ratio.networks_["foreground"]
    ratio.networks_["foreground"] = ratio.networks_["background"]
    background = ratio.raw_scores(clothes[:20])
    ratio.networks_["foreground"] = foreground
    assert_allclose(raw, alone - background, atol=0.05)


def test_the_background_learns_mutated_pictures_and_feels_its_weight_decay(
    clothes: np.ndarray,
) -> None:
    free, bound = (
        cast(LikelihoodRatio, tiny("likelihood_ratio", weight_decay=decay).fit(clothes))
        for decay in (0.0, 100.0)
    )
    assert free.history_[-1]["bits_per_dim_background"] > free.history_[-1]["bits_per_dim"]
    gains = [
        sum(
            p.detach().square().sum().item()
            for n, p in r.networks_["background"].named_parameters()
            if "gain" in n
        )
        for r in (free, bound)
    ]
    assert gains[1] < gains[0]
    for r in (free, bound):
        assert_array_equal(
            r.set_params(likelihood_only=True).raw_scores(clothes[:5]),
            free.set_params(likelihood_only=True).raw_scores(clothes[:5]),
        )


def test_s_is_the_likelihood_less_the_compressed_length(
    clothes: np.ndarray, tmp_path: Path
) -> None:
    s = cast(Complexity, tiny("complexity", cache_dir=tmp_path).fit(clothes))
    framed = np.pad(clothes[:20], ((0, 0), (2, 2), (2, 2)))
    alone = s.set_params(likelihood_only=True).raw_scores(clothes[:20])
    for codec in ("png", "webp"):
        raw = s.set_params(likelihood_only=False, codec=codec).raw_scores(clothes[:20])
        assert_allclose(raw, alone - compressed_bits(list(framed), codec), rtol=1e-5)
    assert sorted(file.name.split("-")[0] for file in tmp_path.iterdir()) == ["png", "webp"]
    s.save(tmp_path / "model")
    loaded = load(tmp_path / "model", device="cpu")
    assert loaded.get_params()["codec"] == "webp"
    assert loaded.get_params()["cache_dir"] is None
    with pytest.raises(SettingError, match="codec='gif': choose one of"):
        Complexity(codec="gif").fit(clothes)


def test_typicality_is_the_distance_from_the_mean_of_training_images(clothes: np.ndarray) -> None:
    typical = cast(Typicality, tiny("typicality", calibration_fraction=0.0).fit(clothes))
    raw = typical.raw_scores(clothes)
    alone = typical.set_params(likelihood_only=True).raw_scores(clothes)
    assert typical.entropy_ == pytest.approx(float(alone.mean()), rel=1e-4)
    assert_allclose(raw, np.abs(alone - typical.entropy_), atol=1e-2)
    pairs = typical.score_groups(clothes[:50], group_size=2)
    assert_allclose(pairs, -np.abs(alone[:50].reshape(25, 2).mean(1) - typical.entropy_), atol=1e-2)
    assert_allclose(typical.score_groups(clothes[:50], group_size=1), -raw[:50], atol=1e-2)
    with pytest.raises(
        SettingError, match=r"group_size=3: 50 images make no whole groups; leave out 2"
    ):
        typical.score_groups(clothes[:50], group_size=3)
    with pytest.raises(SettingError, match="group_size=0"):
        typical.score_groups(clothes[:50], group_size=0)


def test_dequantisation_is_the_same_for_every_image_and_every_call(clothes: np.ndarray) -> None:
    typical = cast(Typicality, tiny("typicality").fit(clothes))
    again = np.concatenate([clothes[:1], clothes[100:150], clothes[:1]])
    raw = typical.raw_scores(again)
    assert raw[0] == pytest.approx(raw[-1], abs=1e-2)
    assert raw[0] == pytest.approx(typical.raw_scores(again)[0], abs=1e-2)


def test_waic_is_the_variance_less_the_mean_of_the_logits(clothes: np.ndarray) -> None:
    waic = cast(WAIC, tiny("waic", members=3, scoring_precision="float32").fit(clothes))
    x = torch.from_numpy(np.pad(clothes[:6], ((0, 0), (2, 2), (2, 2)))).float()[:, None] / 127.5 - 1
    with torch.no_grad():
        logits = waic.networks_["critics"](x.repeat(1, 3, 1, 1)).double().numpy()
    assert_allclose(
        waic.raw_scores(clothes[:6]), logits.var(1) - logits.mean(1), rtol=1e-4, atol=1e-5
    )


def test_the_history_of_waic_tells_both_phases_and_waic_itself(clothes: np.ndarray) -> None:
    waic = cast(
        WAIC, tiny("waic", epochs=2, cross_entropy_epochs=2, calibration_fraction=0.0).fit(clothes)
    )
    assert [row["phase"] for row in waic.history_] == [1, 1, 2, 2]
    assert {"gap", "penalty"} <= waic.history_[0].keys()
    assert "cross_entropy" in waic.history_[2]
    assert "cross_entropy" not in waic.history_[0]
    assert waic.history_[-1]["waic_train"] == pytest.approx(
        -waic.raw_scores(clothes).mean(), rel=0.05
    )


def test_waic_does_not_end_before_its_critics_are_classifiers(clothes: np.ndarray) -> None:
    steps = TINY["waic"]["steps_per_epoch"] * TINY["waic"]["epochs"]
    with pytest.raises(
        SettingError,
        match=f"max_steps={steps}: training would end before.* choose more than {steps}",
    ):
        tiny("waic", max_steps=steps).fit(clothes)
    assert tiny("waic", max_steps=steps + 1).fit(clothes).history_[-1]["phase"] == 2


class _Critics(nn.Module):
    """D_m(x) = a_m * mean of x, for two members."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor([2.0, -3.0]))

    def forward(self, x: Tensor) -> Tensor:
        return self.a * x.unflatten(1, (2, -1)).flatten(2).mean(2)


class _FakeRun:
    """What a step needs of a run; it keeps the losses, and whether critics were to get gradients,
    in place of updating.
    """

    device = torch.device("cpu")
    total_steps = 10

    def __init__(self, critics: nn.Module, step: int) -> None:
        self.generator = torch.Generator().manual_seed(0)
        self.step = step
        self.critics = critics
        self.losses: dict[str, Tensor] = {}
        self.critics_learn: dict[str, bool] = {}

    def update(self, name: str, loss: Tensor) -> None:
        self.losses[name] = loss
        self.critics_learn[name] = all(p.requires_grad for p in self.critics.parameters())


def test_one_step_of_waic_by_hand(clothes: np.ndarray) -> None:
    """Linear critics: the gap and the penalty of every member, and what its generator sees, are
    known in closed form.
    """
    waic = cast(WAIC, tiny("waic").fit(clothes))
    waic.networks_["critics"] = critics = _Critics()
    x = torch.rand(8, 1, 32, 32) * 2 - 1
    batch = Batch(x, torch.zeros(8, dtype=torch.bool))

    def means_of_fakes(generator: torch.Generator) -> Tensor:
        with torch.no_grad():
            z = torch.randn(8, 2 * waic.latent_dim, generator=generator)
            return waic.networks_["generators"](z).unflatten(1, (2, -1)).flatten(2).mean((0, 2))

    for step in (0, 10**6):
        run, generator = _FakeRun(critics, step), torch.Generator().manual_seed(0)
        told = waic.phases()[0].step(batch, cast(Run, run))
        a = critics.a.detach()
        gaps = a * (x.mean() - means_of_fakes(generator))
        # the gradient of the mean over n pixels has norm 1 / sqrt(n)
        penalties = (a.abs() / math.sqrt(32 * 32) - 1).square()
        assert float(told["gap"]) == pytest.approx(float(gaps.mean()), rel=1e-3)
        assert float(told["penalty"]) == pytest.approx(float(penalties.mean()), rel=1e-4)
        assert run.losses["critics"].item() == pytest.approx(
            float(10 * penalties.sum() - gaps.sum()), rel=1e-3
        )
        assert run.critics_learn["critics"]
        assert ("generators" in run.losses) == (step == 0)
        if step == 0:
            torch.rand(8, 2, 1, 1, generator=generator)  # where the penalty is taken
            expected = -(a * means_of_fakes(generator)).sum()
            assert run.losses["generators"].item() == pytest.approx(float(expected), rel=1e-3)
            assert not run.critics_learn["generators"]
    run = _FakeRun(critics, 0)
    told = waic.phases()[1].step(batch, cast(Run, run))
    z = torch.randn(8, 2 * waic.latent_dim, generator=torch.Generator().manual_seed(0))
    fake = waic.networks_["generators"](z).detach()
    with torch.no_grad():
        real_p, fake_p = (
            torch.sigmoid(critics(images)).double() for images in (x.repeat(1, 2, 1, 1), fake)
        )
    entropy = -(real_p.log().mean(0) + (1 - fake_p).log().mean(0))
    assert run.losses["critics"].item() == pytest.approx(float(entropy.sum()), rel=1e-4)
    assert float(told["cross_entropy"]) == pytest.approx(float(entropy.mean()), rel=1e-4)


def test_turns_of_the_generator_follow_the_published_schedule() -> None:
    turns = sorted(generator_turns(106_080, usual=5, warmup=100))
    assert len(turns) == 20_000
    waits = np.diff([-1, *turns])
    assert set(waits[:25]) == {100}
    assert [int(i) for i in np.flatnonzero(waits[25:] == 100)[:2] + 25] == [500, 1000]
    assert set(waits.tolist()) == {5, 100}
    assert turns[-1] == 106_079


def test_plain_likelihood_prefers_digits_to_clothes_and_complexity_repairs_it(sample: Any) -> None:
    """What Nalisnick et al. and Serrà et al. report, after a few seconds of training."""
    settings = TINY["complexity"] | {"steps_per_epoch": 60, "filters": 8, "learning_rate": 1e-2}
    s = Complexity(**settings, device="cpu").fit(sample.train[:1000])
    scorings: dict[str, dict[str, Any]] = {
        "plain": {"likelihood_only": True},
        "s": {"codec": "webp"},
    }
    clothes, digits = (
        raw_scores_under(s, images, scorings)
        for images in (sample.normal[:200], sample.anomalies[:200])
    )
    found = {name: auroc(-clothes[name], -digits[name]) for name in scorings}
    assert found["plain"] < 0.3
    assert found["s"] > 0.7


def test_dropout_is_decided_by_the_seed_and_leaves_the_callers_alone(clothes: np.ndarray) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = tiny("complexity", dropout=0.3).fit(clothes)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    again = tiny("complexity", dropout=0.3).fit(clothes)
    assert_array_equal(first.raw_scores(clothes[:5]), again.raw_scores(clothes[:5]))
    without = tiny("complexity").fit(clothes)
    assert not np.allclose(
        first.raw_scores(clothes[:5]), without.raw_scores(clothes[:5]), rtol=1e-4
    )


def test_a_codec_that_is_not_there_is_told_of_before_the_training(
    clothes: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NODE_PATH", raising=False)
    detector = tiny("complexity", codec="flif", callback=lambda _: pytest.fail("trained"))
    with pytest.raises(MissingDependencyError, match="flif-wasm"):
        detector.fit(clothes)
    tiny("complexity", codec="flif", likelihood_only=True).fit(clothes)  # compresses nothing


def test_a_folder_that_remembers_no_lengths_is_told_of_before_the_training(
    clothes: np.ndarray, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    detector = tiny(
        "complexity",
        cache_dir=tmp_path / "file" / "below",
        callback=lambda _: pytest.fail("trained"),
    )
    with pytest.raises(InputError, match="cannot remember lengths"):
        detector.fit(clothes)


def test_bad_settings_are_refused(clothes: np.ndarray) -> None:
    for detector, message in (
        (LikelihoodRatio(mutation_rate=0.0), "mutation_rate=0.0"),
        (LikelihoodRatio(weight_decay=-1.0), "weight_decay=-1.0"),
        (LikelihoodRatio(levels=7), "levels=7"),
        (Complexity(filters=0), "filters=0"),
        (Complexity(nonlinearity=cast(Any, "tanh")), "nonlinearity='tanh'"),
        (Typicality(flow_levels=6), "flow_levels=6"),
        (Typicality(flow_steps=10**7), "flow_steps=10000000"),
        (LikelihoodRatio(blocks=10**7), "blocks=10000000"),
        (Typicality(lr_decay=0.0), "lr_decay=0.0"),
        (Typicality(lr_warmup=-1), "lr_warmup=-1"),
        (WAIC(members=0), "members=0"),
        (WAIC(gradient_penalty=-1.0), "gradient_penalty=-1.0"),
    ):
        with pytest.raises(SettingError, match=message):
            detector.fit(clothes)
