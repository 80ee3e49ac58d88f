"""Arguments that make every registered detector fit in a second or two; a new detector adds its line here.

A form of a method that trains otherwise has a name of its own, the method's and a hyphen before it.
"""

from __future__ import annotations

from typing import Any, get_args

import numpy as np

from anomirror import DETECTORS, Detector, make_detector
from anomirror.detector.parameters import parameters_of

TINY: dict[str, dict[str, Any]] = {
    "ama": {
        "latent_dim": 8,
        "encoder_width": 8,
        "generator_width": 8,
        "critic_width": 8,
        "batch_size": 16,
        "epochs": 2,
        "steps_per_epoch": 4,
        "structure_power": 0.5,  # a few steps fit a power of 0, which would leave S out
    },
    "waic": {
        "members": 2,
        "latent_dim": 8,
        "critic_width": 2,
        "generator_width": 4,
        "batch_size": 16,
        "epochs": 1,
        "cross_entropy_epochs": 1,
        "steps_per_epoch": 4,
    },
    "likelihood_ratio": {"filters": 4, "mixtures": 2, "levels": 2, "batch_size": 16, "epochs": 2, "steps_per_epoch": 3},
    "typicality": {"flow_steps": 1, "hidden_width": 8, "batch_size": 16, "epochs": 2, "steps_per_epoch": 4, "lr_warmup": 2},
    "complexity": {"filters": 4, "mixtures": 2, "levels": 2, "batch_size": 16, "epochs": 2, "steps_per_epoch": 3},
    "deep_svdd": {
        "widths": (4, 4),
        "latent_dim": 16,
        "batch_size": 16,
        "pretrain_epochs": 1,
        "epochs": 2,
        "steps_per_epoch": 4,
    },
    "fence_gan": {
        "latent_dim": 8,
        "generator_width": 4,
        "discriminator_width": 4,
        "batch_size": 16,
        "epochs": 2,
        "steps_per_epoch": 4,
    },
    "alad": {
        "latent_dim": 8,
        "encoder_width": 4,
        "generator_width": 4,
        "discriminator_width": 4,
        "batch_size": 16,
        "epochs": 2,
        "steps_per_epoch": 4,
    },
    "anogan": {
        "latent_dim": 8,
        "generator_width": 4,
        "discriminator_width": 4,
        "batch_size": 16,
        "search_steps": 4,
        "epochs": 2,
        "steps_per_epoch": 4,
    },
    "fanogan": {
        "latent_dim": 8,
        "generator_width": 4,
        "discriminator_width": 4,
        "encoder_width": 4,
        "batch_size": 16,
        "epochs": 2,
        "encoder_epochs": 2,
        "steps_per_epoch": 4,
    },
    "skip_ganomaly": {"generator_width": 4, "discriminator_width": 4, "batch_size": 16, "epochs": 2, "steps_per_epoch": 4},
    "negative_sampling": {
        "latent_dim": 8,
        "encoder_width": 4,
        "generator_width": 4,
        "layer_width": 16,
        "batch_size": 16,
        "autoencoder_epochs": 1,
        "epochs": 2,
        "steps_per_epoch": 4,
    },
    "pca": {"n_components": 8},
    "knn": {"n_components": 8},
}
TINY["deep_svdd-contrast"] = TINY["deep_svdd"] | {"contrast_normalization": True}
LONGER: dict[str, dict[str, Any]] = {
    "ama": {"epochs": 3, "steps_per_epoch": 60, "learning_rate": 2e-3, "generator_width": 16, "latent_dim": 16},
    "waic": {
        "epochs": 5,
        "steps_per_epoch": 60,
        "cross_entropy_epochs": 3,
        "critic_width": 4,
        "generator_width": 16,
        "learning_rate": 2e-3,
    },
    "likelihood_ratio": {"steps_per_epoch": 40, "filters": 8, "learning_rate": 1e-2, "mutation_rate": 0.3},
    "typicality": {"steps_per_epoch": 60, "learning_rate": 1e-2, "lr_warmup": 20},
    "complexity": {"steps_per_epoch": 40, "filters": 8, "learning_rate": 1e-2},
    "deep_svdd": {"pretrain_epochs": 2, "steps_per_epoch": 60, "widths": (8, 8, 8), "latent_dim": 32, "learning_rate": 3e-3},
    "fence_gan": {"epochs": 3, "steps_per_epoch": 60, "generator_width": 8, "discriminator_width": 8},
    "alad": {
        "epochs": 6,
        "steps_per_epoch": 60,
        "latent_dim": 16,
        "encoder_width": 8,
        "generator_width": 8,
        "learning_rate": 4e-3,
        "ema_decay": 0.95,
    },
    "anogan": {"epochs": 3, "steps_per_epoch": 60, "generator_width": 8, "discriminator_width": 8, "search_steps": 30},
    "fanogan": {
        "epochs": 3,
        "encoder_epochs": 3,
        "steps_per_epoch": 60,
        "generator_width": 8,
        "discriminator_width": 8,
        "encoder_width": 8,
    },
    "skip_ganomaly": {"epochs": 3, "steps_per_epoch": 60, "discriminator_width": 8, "learning_rate": 2e-3},
    "negative_sampling": {
        "autoencoder_epochs": 4,
        "epochs": 3,
        "steps_per_epoch": 60,
        "latent_dim": 16,
        "encoder_width": 8,
        "generator_width": 8,
    },
}
LONGER["deep_svdd-contrast"] = LONGER["deep_svdd"]
"""What is added where a test needs the detector to be any good."""


def turned(images: np.ndarray) -> np.ndarray:
    """``(n, h, w)`` by a quarter."""
    return np.rot90(images, axes=(1, 2))


def shuffled(images: np.ndarray) -> np.ndarray:
    """``(n, 28, 28)`` with their 16 tiles in another order each."""
    rng = np.random.default_rng(0)
    tiles = images.reshape(-1, 4, 7, 4, 7).swapaxes(2, 3).reshape(-1, 16, 7, 7)
    tiles = np.stack([one[rng.permutation(16)] for one in tiles])
    return tiles.reshape(-1, 4, 4, 7, 7).swapaxes(2, 3).reshape(images.shape)


def inverted(images: np.ndarray) -> np.ndarray:
    """Dark where they were bright."""
    return 255 - images


def speckled(images: np.ndarray) -> np.ndarray:
    """One pixel in twenty is replaced by any grey level."""
    rng = np.random.default_rng(0)
    return np.where(rng.random(images.shape) < 0.05, rng.integers(0, 256, images.shape), images).astype(np.uint8)


PLANTED = {
    "waic": inverted,
    "likelihood_ratio": speckled,
    "typicality": speckled,
    "complexity": inverted,
    "fence_gan": inverted,
    "anogan": inverted,
    "fanogan": inverted,
    "skip_ganomaly": speckled,
}
"""What is anomalous to a short training of a method, if not a turn: what a likelihood sees first is its neighbourhoods."""


def method_of(name: str) -> str:
    return name.partition("-")[0]


def tiny(name: str, **more: Any) -> Detector:
    return make_detector(method_of(name), **{**TINY[name], "device": "cpu", "random_state": 0, **more})


def all_kept(name: str) -> dict[str, Any]:
    """Arguments that keep every image in the training."""
    if calibrates_on_train(name):
        return {"heldout": 0.0, "calibration": "train"}
    return {"calibration": "folds"}


def calibrates_on_train(name: str) -> bool:
    """Whether ``calibration="train"`` is one of its choices."""
    return "train" in get_args(parameters_of(type(tiny(name)))["calibration"].hint)


def frozen(name: str) -> dict[str, float]:
    """Arguments that leave its networks, if it has any, as they began."""
    return {rate: 1e-12 for rate in tiny(name).get_params() if rate.endswith("learning_rate")}


METHODS = list(DETECTORS)
