"""AMA's step and scores against the literal transcription that the benchmark compares them with."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from anomirror import latent
from anomirror.detectors.ama import AMA
from anomirror.minibatch import Batch
from anomirror.training import Run
from studies.speed.reference_ama import Draws, ReferenceAMA
from studies.speed.train_step import draws_like, reference_like
from tests.tiny import TINY

Gradients = dict[str, list[Tensor]]


def both(
    monkeypatch: pytest.MonkeyPatch, **more: object
) -> tuple[ReferenceAMA, Tensor, Draws, Gradients]:
    """Both in float64 with the same weights, images and draws; the gradients of AMA's step, which
    moves nothing.
    """
    arguments = (
        TINY["ama"]
        | {"negatives_start": 0.0, "precision": "float32", "negatives_fraction": 0.5}
        | more
    )
    ama, run = AMA(device="cpu", **arguments).untrained((1, 32, 32))
    networks = ama.networks_.double()
    reference = reference_like(ama)
    for critic in (networks["critic"], reference.critic):
        # the power iteration stands still
        monkeypatch.setattr(critic, "train", lambda mode=True, critic=critic: critic)
        for layer in critic.modules():
            layer.training = False

    x = (
        torch.rand(8, 1, 32, 32, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        * 2
        - 1
    )
    drawn = draws_like(ama, 8, torch.device("cpu"))()
    draws = replace(drawn, weights=drawn.weights.double(), z_negative=drawn.z_negative.double())
    found: Gradients = {}

    def keep(self: Run, optimizer: str, loss: Tensor) -> None:
        claimed = [p for group in self.optimizers[optimizer].param_groups for p in group["params"]]
        found[optimizer] = list(torch.autograd.grad(loss, claimed))

    monkeypatch.setattr(Run, "update", keep)
    # the float32 draws, as the step will see them, in the precision of this test
    for name in ("simplex_weights", "shell"):
        monkeypatch.setattr(latent, name, in_float64(getattr(latent, name)))
    # networks return float32 where bf16 went through them
    monkeypatch.setattr(torch.Tensor, "float", lambda self: self)
    ama.phases()[0].step(Batch(x, torch.zeros(8, dtype=torch.bool)), run)
    return reference, x, draws, found


def in_float64(draw: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda *arguments: draw(*arguments).double()


@pytest.mark.parametrize("endpoints", ["all", "one"])
def test_the_step_has_the_gradients_of_the_paper_s_loop(
    monkeypatch: pytest.MonkeyPatch, endpoints: str
) -> None:
    reference, x, draws, found = both(monkeypatch, interpolation_endpoints=endpoints)
    # each evaluation enters the running statistics, and the step evaluates once
    untouched = copy.deepcopy(reference)
    gaps, _ = untouched.objective(x, draws, for_critic=True)
    expected = {"critic": torch.autograd.grad(-gaps, list(untouched.critic.parameters()))}
    gaps, norm = reference.objective(x, draws, for_critic=False)
    claimed = [p for group in reference.autoencoder_optimizer.param_groups for p in group["params"]]
    expected["autoencoder"] = torch.autograd.grad(gaps + reference.latent_weight * norm, claimed)
    for name, gradients in expected.items():
        largest = max(float(g.abs().max()) for g in gradients)
        for one, other in zip(found[name], gradients, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-9 * largest)


def test_the_r_score_is_the_reference_s() -> None:
    ama = AMA(
        **{**TINY["ama"], "device": "cpu", "structure_power": 0.0, "scoring_precision": "float32"}
    )
    images = torch.randint(
        0, 255, (40, 1, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )
    ama.fit(images)
    reference = reference_like(ama)
    x = images.float() / 127.5 - 1
    torch.testing.assert_close(
        torch.from_numpy(ama.raw_scores(images)).float(),
        reference.raw_scores(x),
        rtol=1e-4,
        atol=1e-5,
    )


def test_the_reference_s_step_moves_the_critic_as_often_as_it_says_and_the_autoencoder_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tiny = AMA(**TINY["ama"], device="cpu", critic_steps=3, learning_rate=1e-3)
    ama, _ = tiny.untrained((1, 32, 32))
    reference = reference_like(ama)
    networks = nn.ModuleList([reference.encoder, reference.generator, reference.critic]).train()
    moved: list[str] = []
    for name in ("critic", "autoencoder"):
        optimizer = getattr(reference, f"{name}_optimizer")
        monkeypatch.setattr(
            optimizer, "step", lambda step=optimizer.step, name=name: (moved.append(name), step())
        )
    before = [p.detach().clone() for p in networks.parameters()]
    x = torch.rand(8, 1, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    reference.step(x, draws_like(ama, 8, torch.device("cpu")))
    assert moved == ["critic"] * 3 + ["autoencoder"]
    assert all(
        not torch.equal(old, new) for old, new in zip(before, networks.parameters(), strict=True)
    )
