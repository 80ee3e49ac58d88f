"""Adversarial and one-class systems: what each score is made of, and the faults of public code that
are not repeated.
"""

from __future__ import annotations

import copy
import math
from typing import Any, cast

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch import Tensor, nn

from anomirror import ALAD, AnoGAN, DeepSVDD, FAnoGAN, FenceGAN, NegativeSampling, SkipGANomaly
from anomirror.data.sample import Sample
from anomirror.detector.network import NetworkDetector
from anomirror.detectors.deep_svdd import away_from_zero, contrast_normalized
from anomirror.detectors.fence_gan import generator_loss
from anomirror.errors import SettingError
from anomirror.minibatch import Batch
from anomirror.networks.dcgan import Discriminator
from anomirror.networks.dense import BoxClassifier
from anomirror.networks.lenet import Hypersphere
from anomirror.training import Run
from tests.tiny import framed, tiny
from tests.trained_together import Interrupted, Watch


def state_of(detector: NetworkDetector) -> dict[str, Tensor]:
    """Copies of all weights and statistics."""
    return {name: tensor.clone() for name, tensor in detector.networks_.state_dict().items()}


class FakeRun:
    """What a step needs of a run; it keeps the losses, and which networks could learn from each, in
    place of updating.
    """

    device = torch.device("cpu")
    step = 0

    def __init__(self, networks: nn.ModuleDict) -> None:
        self.generator = torch.Generator().manual_seed(0)
        self.networks = networks
        self.losses: dict[str, float] = {}
        self.learners: dict[str, set[str]] = {}

    def update(self, name: str, loss: Tensor) -> None:
        self.losses[name] = loss.item()
        named = [
            (name, p)
            for name, network in self.networks.items()
            for p in network.parameters()
            if p.requires_grad
        ]
        found = torch.autograd.grad(
            loss, [p for _, p in named], retain_graph=True, allow_unused=True
        )
        self.learners[name] = {
            name
            for (name, _), g in zip(named, found, strict=True)
            if g is not None and bool(g.any())
        }


def step(detector: NetworkDetector, name: str, images: np.ndarray) -> FakeRun:
    """One minibatch of the named step, its losses kept."""
    run = FakeRun(detector.networks_)
    x = framed(images)
    # no dropout, no statistics of the minibatch: the losses can be computed again
    detector.networks_.eval()
    getattr(detector, name)(Batch(x, torch.zeros(len(x), dtype=torch.bool)), cast(Run, run))
    return run


def cross_entropy(probability: Tensor, target: float) -> float:
    p = probability.double()
    return float(-(target * p.log() + (1 - target) * (1 - p).log()).mean())


# ---------------------------------------------------------------------- Deep SVDD


def deep_svdd(images: np.ndarray, **more: Any) -> DeepSVDD:
    return cast(DeepSVDD, tiny("deep_svdd", **more).fit(images))


def test_no_coordinate_of_the_centre_is_near_zero_even_where_phi_is(clothes: np.ndarray) -> None:
    found = away_from_zero(torch.tensor([-3.0, -0.1, -0.05, -0.0, 0.0, 1e-9, 0.0999, 0.2]))
    assert_allclose(found, [-3.0, -0.1, -0.1, 0.1, 0.1, 0.1, 0.1, 0.2])
    for images in (clothes, np.zeros_like(clothes)):  # phi of black images is exactly 0
        for pretrain_epochs in (0, 1):
            centre = cast(
                Hypersphere,
                deep_svdd(images, pretrain_epochs=pretrain_epochs).networks_["hypersphere"],
            ).centre
            assert float(centre.abs().min()) >= 0.1 - 1e-6


def test_the_centre_is_the_mean_of_the_pretrained_phi_in_evaluation_mode_and_stays(
    clothes: np.ndarray,
) -> None:
    seen: list[Hypersphere] = []

    def keep(detector: NetworkDetector) -> dict[str, float]:
        seen.append(copy.deepcopy(cast(Hypersphere, detector.networks_["hypersphere"])))
        return {}

    deep_svdd(
        clothes,
        pretrain_epochs=3,
        steps_per_epoch=30,
        learning_rate=1e-2,
        precision="float32",
        calibration_fraction=0.0,
        callback=keep,
    )
    with torch.no_grad():
        mean = seen[2].phi(framed(clothes) * 0.5 + 0.5).mean(0)
    assert float(mean.abs().max()) > 0.2  # or all coordinates would be pushed
    assert_allclose(seen[3].centre, away_from_zero(mean), rtol=1e-3, atol=1e-4)
    assert torch.equal(seen[3].centre, seen[4].centre)


def test_scores_do_not_collapse_to_one_value_however_long_it_trains(sample: Sample) -> None:
    images = sample.train[:300]
    short, long = (
        deep_svdd(images, epochs=1, steps_per_epoch=steps, learning_rate=3e-3, calibration="train")
        for steps in (4, 400)
    )
    # it did contract
    assert long.history_[-1]["distance_heldout"] < 0.2 * short.history_[-1]["distance_heldout"]
    raw = long.raw_scores(sample.normal[:100])
    assert raw.std() > 0.1 * raw.mean()
    assert len(np.unique(raw)) == 100
    hypersphere = cast(Hypersphere, long.networks_["hypersphere"])
    assert not [name for name, _ in hypersphere.named_parameters() if "bias" in name]
    with torch.no_grad():
        blank = hypersphere.phi(torch.zeros(1, 1, 32, 32))
    # batch norms without a shift of their own still take off a mean: what is left of it is no
    # description of a centre
    assert float((blank - hypersphere.centre).square().sum()) > long.raw_scores(images).mean()


def test_contrast_is_normalised_by_each_image_alone_and_scaled_by_the_training_images(
    clothes: np.ndarray,
) -> None:
    x = framed(clothes[:20])
    found = contrast_normalized(x)
    assert_allclose(found.mean((1, 2, 3)), 0, atol=1e-5)
    assert_allclose(found.abs().mean((1, 2, 3)), 1, rtol=1e-4)
    assert_allclose(contrast_normalized(x[3:4]), found[3:4], atol=1e-5)
    svdd = deep_svdd(clothes, contrast_normalization=True, calibration_fraction=0.0)
    seen = svdd.seen(framed(clothes))
    assert float(seen.min()) == pytest.approx(0, abs=1e-6)
    assert float(seen.max()) == pytest.approx(1, abs=1e-6)
    dim = (clothes // 2).astype(np.uint8)
    # half the contrast hardly matters
    assert np.corrcoef(svdd.raw_scores(dim), svdd.raw_scores(clothes))[0, 1] > 0.9
    plain = deep_svdd(clothes)
    assert_allclose(plain.seen(x), x / 2 + 0.5)


def test_the_rate_drops_within_each_training(clothes: np.ndarray) -> None:
    rates: list[float] = []

    class Noting(DeepSVDD):
        def _reconstruct(self, batch: Batch, run: Run) -> Any:
            rates.append(run.optimizers["autoencoder"].param_groups[0]["lr"])
            return super()._reconstruct(batch, run)

        def _contract(self, batch: Batch, run: Run) -> Any:
            rates.append(run.optimizers["phi"].param_groups[0]["lr"])
            return super()._contract(batch, run)

    settings = tiny(
        "deep_svdd",
        pretrain_epochs=1,
        epochs=2,
        pretrain_lr_milestones=(0.5,),
        lr_milestones=(0.25, 0.75),
    ).get_params()
    Noting(**settings).fit(clothes)
    assert_allclose(rates, [3e-4] * 2 + [3e-5] * 2 + [3e-4] * 2 + [3e-5] * 4 + [3e-6] * 2)


# ---------------------------------------------------------------------- Fence GAN


def test_the_loss_of_the_fences_generator_is_defined_for_one_image_and_for_equal_ones() -> None:
    for count in (1, 4):
        fake = torch.ones(count, 1, 2, 2).requires_grad_(True)
        loss = generator_loss(fake.mean((1, 2, 3)), fake, border=0.5, dispersion_weight=10.0)
        loss.backward()  # type: ignore[no-untyped-call]
        assert math.isfinite(loss.item())
        assert fake.grad is not None
        assert bool(torch.isfinite(fake.grad).all())
        assert bool(fake.grad.any())  # of the border


def test_the_fences_generator_is_rewarded_for_spread_and_for_the_border() -> None:
    near, far = (torch.tensor([-1.0, 1.0]).view(2, 1, 1, 1) * scale for scale in (1.0, 2.0))
    logits = torch.zeros(2)
    assert float(generator_loss(logits, near, 0.5, 10.0)) == pytest.approx(math.log(2) + 10.0)
    assert float(generator_loss(logits, far, 0.5, 10.0)) == pytest.approx(math.log(2) + 5.0)
    at_border, inside = torch.full((2,), math.log(0.1 / 0.9)), torch.full((2,), 3.0)
    assert generator_loss(at_border, near, 0.1, 0.0) < generator_loss(inside, near, 0.1, 0.0)


def test_one_step_of_fence_gan_by_hand(clothes: np.ndarray) -> None:
    fence = cast(
        FenceGAN, tiny("fence_gan", border=0.2, dispersion_weight=3.0, fake_weight=0.4).fit(clothes)
    )
    run = step(fence, "_play", clothes[:8])
    d, g = fence.networks_["discriminator"], fence.networks_["generator"]
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        first, second = (g(torch.randn(8, fence.latent_dim, generator=generator)) for _ in range(2))
        real_p, first_p, second_p = (
            torch.sigmoid(d(x)) for x in (framed(clothes[:8]), first, second)
        )
    assert run.losses["discriminator"] == pytest.approx(
        cross_entropy(real_p, 1) + 0.4 * cross_entropy(first_p, 0), rel=1e-4
    )
    spread = (second - second.mean(0)).flatten(1).norm(dim=1).mean()
    assert run.losses["generator"] == pytest.approx(
        cross_entropy(second_p, 0.2) + 3.0 / float(spread), rel=1e-4
    )
    assert run.learners == {"discriminator": {"discriminator"}, "generator": {"generator"}}
    raw = fence.set_params(scoring_precision="float32").raw_scores(clothes[:8])
    assert_allclose(raw, 1 - real_p, rtol=1e-3, atol=1e-6)


# ---------------------------------------------------------------------- ALAD


def test_alads_pairs_are_stacked_on_the_channels(clothes: np.ndarray) -> None:
    alad = cast(ALAD, tiny("alad").fit(clothes))
    shapes: list[tuple[int, ...]] = []
    hook = alad.networks_["d_xx"].body.register_forward_pre_hook(
        lambda _, seen: shapes.append(tuple(seen[0].shape))
    )  # type: ignore[union-attr, operator]
    alad.raw_scores(clothes[:3])
    hook.remove()
    assert set(shapes) == {(3, 2, 32, 32)}


def test_one_step_of_alad_by_hand(clothes: np.ndarray) -> None:
    alad = cast(ALAD, tiny("alad").fit(clothes))
    run = step(alad, "_step", clothes[:8])
    e, g, d_xz, d_xx, d_zz = (
        alad.networks_[name] for name in ("encoder", "generator", "d_xz", "d_xx", "d_zz")
    )
    x, z = (
        framed(clothes[:8]),
        torch.randn(8, alad.latent_dim, generator=torch.Generator().manual_seed(0)),
    )
    with torch.no_grad():
        joint_real, joint_fake = torch.sigmoid(d_xz(x, e(x))), torch.sigmoid(d_xz(g(z), z))
        xx, xx_hat = (torch.sigmoid(d_xx(torch.cat([x, other], 1))) for other in (x, g(e(x))))
        zz, zz_hat = torch.sigmoid(d_zz(z, z)), torch.sigmoid(d_zz(z, e(g(z))))
    told = ((joint_real, 1), (joint_fake, 0), (xx, 1), (xx_hat, 0), (zz, 1), (zz_hat, 0))
    assert run.losses["discriminators"] == pytest.approx(
        sum(cross_entropy(p, t) for p, t in told), rel=1e-4
    )
    fooled = ((joint_real, 0), (joint_fake, 1), (xx_hat, 1), (zz_hat, 1))
    assert run.losses["autoencoder"] == pytest.approx(
        sum(cross_entropy(p, t) for p, t in fooled), rel=1e-4
    )
    assert run.learners == {
        "discriminators": {"d_xz", "d_xx", "d_zz"},
        "autoencoder": {"encoder", "generator"},
    }


SWINGING = {"epochs": 6, "learning_rate": 0.1, "ema_decay": 0.5}
"""Of a rate so high that it does not converge."""


@pytest.fixture(scope="module")
def swinging(clothes: np.ndarray) -> tuple[int, int]:
    """A seed with which ALAD's best epoch is not its last, whatever the processor rounds; and that
    epoch.
    """
    for seed in range(8):
        history = tiny("alad", **SWINGING, random_state=seed).fit(clothes).history_
        best = int(np.argmin([row["reconstruction_heldout"] for row in history]))
        if best < len(history) - 1:
            return seed, best
    raise AssertionError("with every seed the last epoch is the best one")


def test_alad_scores_with_the_averaged_weights_of_its_best_epoch(
    clothes: np.ndarray, swinging: tuple[int, int]
) -> None:
    (seed, best), averaged = swinging, list[dict[str, Tensor]]()

    def keep(detector: NetworkDetector) -> dict[str, float]:
        averaged.append(
            {name: p.detach().clone() for name, p in detector.networks_.named_parameters()}
        )
        return {}

    alad = cast(ALAD, tiny("alad", **SWINGING, random_state=seed, callback=keep).fit(clothes))
    for name, p in alad.networks_.named_parameters():
        assert torch.equal(p, averaged[best][name])
    assert any(
        not torch.equal(p, averaged[-1][name]) for name, p in alad.networks_.named_parameters()
    )
    unaveraged = {**SWINGING, "ema_decay": None, "random_state": seed}
    without = cast(ALAD, tiny("alad", **unaveraged).fit(clothes))
    assert not torch.equal(
        without.networks_["encoder"].to_latent.weight, alad.networks_["encoder"].to_latent.weight
    )  # type: ignore[arg-type]


def test_the_best_epoch_survives_an_interruption(
    clothes: np.ndarray, tmp_path: Any, swinging: tuple[int, int]
) -> None:
    seed, best = swinging
    settings = {**SWINGING, "random_state": seed}
    whole = tiny("alad", **settings).fit(clothes)
    with pytest.raises(Interrupted):
        # after the best one
        tiny("alad", **settings, checkpoint_dir=tmp_path, callback=Watch(stop_in=best + 2)).fit(
            clothes
        )
    resumed = tiny("alad", **settings, checkpoint_dir=tmp_path).fit(clothes)
    assert_array_equal(resumed.raw_scores(clothes[:20]), whole.raw_scores(clothes[:20]))


def test_alads_score_is_a_distance_of_features(clothes: np.ndarray) -> None:
    alad = cast(ALAD, tiny("alad", scoring_precision="float32").fit(clothes))
    d_xx = cast(Discriminator, alad.networks_["d_xx"])
    x = framed(clothes[:6])
    with torch.no_grad():
        x_hat = alad.networks_["generator"](alad.networks_["encoder"](x))
        f, f_hat = d_xx.features(torch.cat([x, x], 1)), d_xx.features(torch.cat([x, x_hat], 1))
    assert_allclose(alad.raw_scores(clothes[:6]), (f - f_hat).abs().sum(1), rtol=1e-4)
    assert_allclose(alad.reconstruct(clothes[:6])[..., 0], x_hat[:, 0] / 2 + 0.5, atol=1e-4)


# ---------------------------------------------------------------------- AnoGAN


def anogan(images: np.ndarray, **more: Any) -> AnoGAN:
    return cast(AnoGAN, tiny("anogan", **more).fit(images))


def fanogan(images: np.ndarray, **more: Any) -> FAnoGAN:
    return cast(FAnoGAN, tiny("fanogan", **more).fit(images))


def test_the_search_changes_neither_network_and_its_residual_falls(sample: Sample) -> None:
    settings = {
        "epochs": 3,
        "steps_per_epoch": 40,
        "generator_width": 8,
        "search_steps": 60,
        "search_rate": 0.1,
    }
    found = anogan(sample.train[:500], **settings)
    before = state_of(found)
    # of its training
    gradients = [None if p.grad is None else p.grad.clone() for p in found.networks_.parameters()]
    z, course = found.search(framed(sample.normal[:30]))
    assert course.shape == (61, 30)
    assert bool((course[-1] < course[0]).all())  # of every image
    with torch.no_grad():
        can_be_made = found.networks_["generator"](
            torch.randn(30, found.latent_dim, generator=torch.Generator().manual_seed(1))
        )
    _, of_these = found.search(can_be_made)
    assert float(of_these[-1].mean()) < 0.5 * float(of_these[0].mean())
    assert not z.requires_grad
    found.raw_scores(sample.normal[:30])
    for name, tensor in found.networks_.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    for p, gradient in zip(found.networks_.parameters(), gradients, strict=True):
        assert p.grad is gradient is None or torch.equal(
            cast(Tensor, p.grad), cast(Tensor, gradient)
        )
    longer = found.set_params(search_steps=120).raw_scores(sample.normal[:30])
    assert longer.mean() < float(course[-1].mean())


def test_the_search_is_batched_and_each_image_is_searched_for_alone(clothes: np.ndarray) -> None:
    found = anogan(clothes, search_steps=10, search_rate=0.1, scoring_precision="float32")
    calls: list[int] = []
    hook = found.networks_["generator"].register_forward_hook(
        lambda _, seen, __: calls.append(len(seen[0]))
    )
    together = found.raw_scores(clothes[:40])
    hook.remove()
    assert calls == [40] * 11  # all at once: ten steps, and the end
    assert_allclose(
        np.concatenate([found.raw_scores(clothes[i : i + 1]) for i in range(5)]),
        together[:5],
        rtol=1e-3,
    )


def test_anogans_residual_by_hand(clothes: np.ndarray) -> None:
    found = anogan(clothes, feature_weight=0.3, scoring_precision="float32")
    x = framed(clothes[:5])
    z, course = found.search(x)
    d, g = cast(Discriminator, found.networks_["discriminator"]), found.networks_["generator"]
    with torch.no_grad():
        x_hat = g(z)
        features = (d.features(x) - d.features(x_hat)).abs().sum(1)
    assert_allclose(course[-1], 0.7 * (x - x_hat).abs().sum((1, 2, 3)) + 0.3 * features, rtol=1e-4)
    assert_allclose(found.raw_scores(clothes[:5]), course[-1], rtol=1e-4)
    run = step(found, "_play", clothes[:8])
    with torch.no_grad():
        fake = g(torch.randn(8, found.latent_dim, generator=torch.Generator().manual_seed(0)))
        real_p, fake_p = torch.sigmoid(d(framed(clothes[:8]))), torch.sigmoid(d(fake))
    assert run.losses["discriminator"] == pytest.approx(
        cross_entropy(real_p, 1) + cross_entropy(fake_p, 0), rel=1e-4
    )
    assert run.losses["generator"] == pytest.approx(cross_entropy(fake_p, 1), rel=1e-4)
    assert run.learners == {"discriminator": {"discriminator"}, "generator": {"generator"}}


def test_the_discriminator_is_the_same_function_in_scoring_as_in_training(sample: Sample) -> None:
    """Where real and generated images had minibatches of their own, it called generated ones more
    real in evaluation mode.
    """
    found = anogan(
        sample.train[:500],
        epochs=3,
        steps_per_epoch=60,
        generator_width=8,
        discriminator_width=8,
        ema_decay=None,
        learning_rate=0.0002,  # with which no seed and no rounding makes it swing
    )
    d, x = found.networks_["discriminator"], framed(sample.normal[:200])
    with torch.no_grad():
        fake = found.networks_["generator"](
            torch.randn(200, found.latent_dim, generator=torch.Generator().manual_seed(0))
        )
        assert d(x).mean() > d(fake).mean()
        in_evaluation = d(torch.cat([x, fake]))
        d.train()
        in_training = d(torch.cat([x, fake]))
    assert np.corrcoef(in_evaluation, in_training)[0, 1] > 0.9


def test_an_encoder_that_learns_late_is_not_averaged_with_its_beginning(
    clothes: np.ndarray,
) -> None:
    """With an average that hardly moves the scored encoder would be the one that has learnt
    nothing.
    """
    settings = {"encoder_epochs": 1, "steps_per_epoch": 20}

    def codes(**more: Any) -> np.ndarray:
        return (
            fanogan(clothes, **settings, **more)
            .networks_["encoder"]
            .to_latent.weight.detach()
            .numpy()
        )  # type: ignore[union-attr, operator]

    slow, last = (codes(ema_decay=average) for average in (1 - 1e-9, None))
    began = codes(ema_decay=None, max_steps=41, learning_rate=1e-12)
    assert 5e-4 < np.abs(slow - began).max() < 2e-3  # one step of Adam at the rate of .001
    assert np.abs(last - began).max() > 5e-3


def test_anogan_and_f_anogan_show_what_they_found(clothes: np.ndarray) -> None:
    searched = anogan(clothes, scoring_precision="float32", feature_weight=0.0)
    encoded = fanogan(clothes, scoring_precision="float32", encoder_feature_weight=0.0)
    for detector in (searched, encoded):
        x_hat = detector.reconstruct(clothes[:3])
        assert x_hat.shape == (3, 32, 32, 1)
        error = framed(clothes[:3]).permute(0, 2, 3, 1).numpy() + 1 - 2 * x_hat
        residual = (
            np.abs(error).sum((1, 2, 3))
            if detector is searched
            else np.square(error).mean((1, 2, 3))
        )
        assert_allclose(detector.raw_scores(clothes[:3]), residual, rtol=1e-3)


def test_f_anogan_trains_an_encoder_beside_networks_that_rest(clothes: np.ndarray) -> None:
    epochs: list[dict[str, Tensor]] = []

    def keep(detector: NetworkDetector) -> dict[str, float]:
        epochs.append(state_of(detector))
        return {}

    fast = fanogan(clothes, epochs=2, encoder_epochs=2, callback=keep)
    assert [row["phase"] for row in fast.history_] == [1, 1, 2, 2]
    for name in epochs[1]:
        if not name.startswith("encoder"):
            assert torch.equal(epochs[1][name], epochs[3][name]), name
    assert not torch.equal(
        epochs[1]["encoder.to_latent.weight"], epochs[3]["encoder.to_latent.weight"]
    )


def test_f_anogans_score_by_hand(clothes: np.ndarray) -> None:
    fast = fanogan(
        clothes, encoder_epochs=1, encoder_feature_weight=2.0, scoring_precision="float32"
    )
    d, g, e = (fast.networks_[name] for name in ("discriminator", "generator", "encoder"))
    x = framed(clothes[:5])
    with torch.no_grad():
        x_hat = g(e(x))
        features = (
            (cast(Discriminator, d).features(x) - cast(Discriminator, d).features(x_hat))
            .square()
            .mean(1)
        )
    expected = (x - x_hat).square().mean((1, 2, 3)) + 2.0 * features
    assert_allclose(fast.raw_scores(clothes[:5]), expected, rtol=1e-4)
    run = step(fast, "_encode", clothes[:5])
    assert run.losses["encoder"] == pytest.approx(float(expected.mean()), rel=1e-4)
    assert run.learners == {"encoder": {"encoder"}}


# ---------------------------------------------------------------------- Skip-GANomaly


def test_skip_ganomalys_scores_are_of_each_image_and_never_of_the_test_batch(
    clothes: np.ndarray, digits: np.ndarray
) -> None:
    skip = cast(SkipGANomaly, tiny("skip_ganomaly", scoring_precision="float32").fit(clothes))
    assert not any(module.training for module in skip.networks_.modules())
    before = state_of(skip)
    alone = skip.raw_scores(clothes[:10])
    among_others = skip.raw_scores(
        np.concatenate([clothes[:10], digits, np.full((50, 28, 28), 255, np.uint8)])
    )[:10]
    assert_allclose(among_others, alone, rtol=1e-4)
    for name, tensor in skip.networks_.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    d, u = cast(Discriminator, skip.networks_["discriminator"]), skip.networks_["generator"]
    x = framed(clothes[:10])
    with torch.no_grad():
        x_hat = u(x)
        feature = (d.features(x) - d.features(x_hat)).square().mean(1)
    assert_allclose(alone, 0.9 * (x - x_hat).square().mean((1, 2, 3)) + 0.1 * feature, rtol=1e-4)


def test_one_step_of_skip_ganomaly_by_hand(clothes: np.ndarray) -> None:
    weights = {"adversarial_weight": 2.0, "image_weight": 30.0, "feature_weight": 5.0}
    skip = cast(SkipGANomaly, tiny("skip_ganomaly", **weights).fit(clothes))
    run = step(skip, "_step", clothes[:8])
    d, u, x = (
        cast(Discriminator, skip.networks_["discriminator"]),
        skip.networks_["generator"],
        framed(clothes[:8]),
    )
    with torch.no_grad():
        x_hat = u(x)
        real_p, fake_p = torch.sigmoid(d(x)), torch.sigmoid(d(x_hat))
        feature = (d.features(x) - d.features(x_hat)).square().mean()
    assert run.losses["discriminator"] == pytest.approx(
        cross_entropy(real_p, 1) + cross_entropy(fake_p, 0), rel=1e-4
    )
    expected = (
        2 * cross_entropy(fake_p, 1) + 30 * float((x - x_hat).abs().mean()) + 5 * float(feature)
    )
    assert run.losses["generator"] == pytest.approx(expected, rel=1e-4)
    assert run.learners == {"discriminator": {"discriminator"}, "generator": {"generator"}}


# ---------------------------------------------------------------------- negative sampling


@pytest.mark.parametrize("ema_decay", [None, 0.9])
def test_the_box_covers_the_codes_that_it_was_fitted_on(
    clothes: np.ndarray, ema_decay: float | None
) -> None:
    settings = {
        "delta": 0.1,
        "calibration_fraction": 0.0,
        "ema_decay": ema_decay,
        "autoencoder_epochs": 2,
    }
    settings |= dict.fromkeys(("precision", "scoring_precision"), "float32")
    found = cast(NegativeSampling, tiny("negative_sampling", **settings).fit(clothes))
    classifier = cast(BoxClassifier, found.networks_["classifier"])
    with torch.no_grad():
        z = found.networks_["encoder"](framed(clothes))
    low, high = z.amin(0), z.amax(0)
    assert_allclose(classifier.low, low - 0.1 * (high - low), rtol=1e-4, atol=1e-5)
    assert_allclose(classifier.high, high + 0.1 * (high - low), rtol=1e-4, atol=1e-5)


def test_the_classifier_learns_codes_against_the_box_while_the_autoencoder_rests(
    clothes: np.ndarray,
) -> None:
    found = cast(NegativeSampling, tiny("negative_sampling", negatives_per_image=3).fit(clothes))
    run = step(found, "_classify", clothes[:8])
    assert run.learners == {"classifier": {"classifier"}}
    classifier = cast(BoxClassifier, found.networks_["classifier"])
    share = torch.rand(24, found.latent_dim, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        negatives = classifier.low + (classifier.high - classifier.low) * share
        normal_p = torch.sigmoid(classifier(found.networks_["encoder"](framed(clothes[:8]))))
        negative_p = torch.sigmoid(classifier(negatives))
    assert run.losses["classifier"] == pytest.approx(
        cross_entropy(normal_p, 1) + cross_entropy(negative_p, 0), rel=1e-4
    )
    raw = found.set_params(scoring_precision="float32").raw_scores(clothes[:8])
    assert_allclose(raw, 1 - normal_p, rtol=1e-3, atol=1e-6)


# ---------------------------------------------------------------------- all of them


def test_certainty_does_not_make_scores_equal(clothes: np.ndarray) -> None:
    """Where D is sure, 1 - D in float32 would be 0 or 1 for all."""
    for method, network in (("fence_gan", "discriminator"), ("negative_sampling", "classifier")):
        detector = cast(NetworkDetector, tiny(method).fit(clothes))
        surer = copy.deepcopy(detector)
        for sign in (1.0, -1.0):
            with torch.no_grad():
                cast(nn.Linear, surer.networks_[network].to_logit).bias.copy_(
                    torch.tensor([sign * 25.0])
                )
            assert len(np.unique(surer.raw_scores(clothes))) > 0.8 * len(clothes)


def test_bad_settings_are_refused(clothes: np.ndarray) -> None:
    for detector, message in (
        (DeepSVDD(latent_dim=24), "latent_dim=24: expected an integer that is a multiple of 16"),
        (DeepSVDD(widths=()), r"widths=\(\)"),
        (DeepSVDD(widths=(8, 8, 8, 8)), "expected 1 to 3 values"),
        (DeepSVDD(pretrain_epochs=-1), "pretrain_epochs=-1"),
        (DeepSVDD(pretrain_lr_milestones=(2.0,)), r"pretrain_lr_milestones=\(2.0,\)"),
        (DeepSVDD(weight_decay=-1.0), "weight_decay=-1.0"),
        (FenceGAN(border=1.0), "border=1.0"),
        (FenceGAN(pretrain_epochs=-1), "pretrain_epochs=-1"),
        (FenceGAN(discriminator_learning_rate=0.0), "discriminator_learning_rate=0.0"),
        (FenceGAN(dropout=1.0), "dropout=1.0"),
        (ALAD(dropout=-0.1), "dropout=-0.1"),
        (ALAD(latent_dim=0), "latent_dim=0"),
        (AnoGAN(feature_weight=1.1), "feature_weight=1.1"),
        (AnoGAN(search_rate=0.0), "search_rate=0.0"),
        (AnoGAN(search_rate=math.inf), "search_rate=inf"),
        (FenceGAN(discriminator_learning_rate=math.inf), "discriminator_learning_rate=inf"),
        (AnoGAN(search_steps=0), "search_steps=0"),
        (SkipGANomaly(image_share=2.0), "image_share=2.0"),
        (SkipGANomaly(image_weight=-1.0), "image_weight=-1.0"),
        (NegativeSampling(delta=-0.1), "delta=-0.1"),
        (NegativeSampling(layers=10**7), "layers=10000000"),
    ):
        with pytest.raises(SettingError, match=message):
            detector.fit(clothes)
