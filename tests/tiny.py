"""Arguments that make every registered detector fit in a second or two; a new detector adds its line here."""

from __future__ import annotations

from typing import Any

from anomirror import DETECTORS, Detector, make_detector

TINY: dict[str, dict[str, Any]] = {
    "ama": {
        "latent_dim": 8,
        "encoder_width": 8,
        "generator_width": 8,
        "critic_width": 8,
        "batch_size": 16,
        "epochs": 2,
        "epoch_steps": 4,
        "relative": 0.5,  # a few steps fit a power of 0, which would leave S out
    },
    "waic": {
        "members": 2,
        "latent_dim": 8,
        "critic_width": 2,
        "generator_width": 4,
        "batch_size": 16,
        "epochs": 1,
        "cross_entropy_epochs": 1,
        "epoch_steps": 4,
    },
    "likelihood_ratio": {"filters": 4, "mixtures": 2, "levels": 2, "batch_size": 16, "epochs": 2, "epoch_steps": 3},
    "typicality": {"flow_steps": 1, "hidden_width": 8, "batch_size": 16, "epochs": 2, "epoch_steps": 4},
    "complexity": {"filters": 4, "mixtures": 2, "levels": 2, "batch_size": 16, "epochs": 2, "epoch_steps": 3},
    "pca": {"n_components": 8},
    "knn": {"n_components": 8},
}
LONGER: dict[str, dict[str, Any]] = {
    "ama": {"epochs": 3, "epoch_steps": 60, "learning_rate": 2e-3, "generator_width": 16, "latent_dim": 16}
}
"""What is added where a test needs the detector to be any good."""


def tiny(method: str, **more: Any) -> Detector:
    return make_detector(method, **{**TINY[method], "device": "cpu", "random_state": 0, **more})


METHODS = list(DETECTORS)
