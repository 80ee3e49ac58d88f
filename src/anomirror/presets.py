"""Named settings of every method: plain keyword arguments.

``cpu`` is what the constructors default to: small, sized in steps. ``default`` is our best stable setting at the paper's size.
``paper-*`` are the paper to the letter; where it is silent the released code (marked R), where both are silent ours (marked O).
"""

from __future__ import annotations

from typing import Any

from anomirror.errors import SettingError, unknown

_PAPER: dict[str, Any] = {
    "encoder_width": 64,
    "generator_width": 256,
    "critic_width": 128,
    "interpolation": 3,
    "interpolation_weight": 0.5,
    "interpolation_endpoints": "all",  # R
    # The paper's weight, with L_neg as a mean over the negatives. The released code takes it over the whole batch with 10 %
    # negatives: per negative that is a weight of 0.5.
    "negatives_weight": 5.0,
    "anomalies_weight": 5.0,
    "negatives_share": 0.1,  # R
    "negatives_start": 0.1,  # 10 of 100 epochs
    "delta": 2.0,  # O
    "latent_weight": 1.0,
    "spectral": True,
    "gradient_penalty": 0.0,
    "critic_steps": 5,  # R
    "learning_rate": 3e-4,
    "betas": (0.0, 0.9),
    "encoder_betas": (0.5, 0.9),
    "relative": 0.0,
    "scorer": "gaussian",
    "recompute_statistics": False,
    "average": None,
    "epochs": 100,
    "epoch_steps": None,
    "lr_drops": (0.3, 0.6, 0.9),
    "batch_size": 256,
    "calibration": "train",
    "heldout": 0.0,
    "precision": "float32",
    "scoring_precision": "float32",
}

_PAPER_COMMON: dict[str, Any] = {
    "average": None,
    "lr_drops": (),
    "calibration": "train",
    "heldout": 0.0,
    "precision": "float32",
    "scoring_precision": "float32",
}

_DEEP_SVDD = _PAPER_COMMON | {
    "contrast_normalization": False,
    "learning_rate": 1e-4,
    "weight_decay": 5e-7,
    "pretrain_weight_decay": 5e-7,
    "lr_drops": (1 / 3,),
    "batch_size": 200,
    "epoch_steps": None,
    "epochs": 150,
}

_FENCE_GAN = _PAPER_COMMON | {
    "generator_width": 64,  # O
    "discriminator_weight_decay": 0.0,  # O
    "betas": (0.5, 0.999),
    "pretrain_epochs": 15,
    "epoch_steps": None,
}

PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "ama": {
        "cpu": {},
        "default": {
            "latent_dim": 128,
            "encoder_width": 64,
            "generator_width": 256,
            "critic_width": 128,
            "interpolation_endpoints": "all",
            "negatives_weight": 0.5,
            "epochs": 30,
            "epoch_steps": None,
        },
        "paper-cifar10": _PAPER | {"latent_dim": 128, "negatives": "inward"},
        "paper-svhn": _PAPER | {"latent_dim": 128, "negatives": "outward"},  # latent_dim: O
        # Fashion-MNIST and MNIST: weights, latent_dim and delta are O
        "paper-grey": _PAPER | {"latent_dim": 64, "negatives": "outward"},
        "cpu-one-class": {"epochs": 6},  # three quarters of the minibatches of cpu
        # every image that is not held out 15 times: of CIFAR-10 22 times the minibatches of cpu
        "cpu-long": {"epochs": 15, "epoch_steps": None},
    },
    "waic": {
        "cpu": {},
        "paper": _PAPER_COMMON
        | {
            "critic_width": 32,
            "generator_width": 64,  # O
            "critic_steps": 5,
            "critic_warmup": 100,
            "learning_rate": 5e-5,
            "batch_size": 64,
            "epoch_steps": 160,
            "epochs": 663,  # 106,080 critic steps make 20,000 generator steps
            "cross_entropy_epochs": 25,  # 4,000 steps
        },
    },
    "likelihood_ratio": {
        "cpu": {},
        "paper": _PAPER_COMMON
        | {
            "filters": 32,
            "blocks": 5,
            "mixtures": 1,  # R
            "levels": 1,  # R
            "nonlinearity": "concat_elu",
            "mutation_rate": 0.1,  # O, of the paper's grid
            "weight_decay": 100.0,  # O, of the paper's grid
            "learning_rate": 1e-4,
            "lr_decay": 0.999995,
            "batch_size": 32,
            "epoch_steps": 1000,
            "epochs": 50,
        },
    },
    "typicality": {
        "cpu": {},
        "paper": _PAPER_COMMON
        | {
            "flow_steps": 32,
            "hidden_width": 512,
            "learning_rate": 5e-4,
            "lr_warmup": 10_000,  # ten epochs, as in Glow's released code
            "batch_size": 64,
            "epoch_steps": 1000,  # O
            "epochs": 100,  # O
        },
    },
    "complexity": {
        "cpu": {},
        # a PixelCNN++ to the letter of its own paper
        "paper": _PAPER_COMMON
        | {
            "codec": "flif",
            "filters": 160,
            "blocks": 5,
            "mixtures": 10,
            "nonlinearity": "concat_elu",
            "dropout": 0.5,
            "learning_rate": 1e-3,
            "lr_decay": 0.999995,
            "batch_size": 128,
            "average": 0.9995,
            "epoch_steps": None,
            "epochs": 500,  # O
        },
    },
    "deep_svdd": {
        "cpu": {},
        # MNIST and Fashion-MNIST; its own paper normalises contrast, the AMA paper does not
        "paper-grey": _DEEP_SVDD
        | {
            "widths": (8, 4),
            "latent_dim": 32,
            "pretrain_epochs": 150,
            "pretrain_lr_drops": (1 / 3,),
            "pretrain_weight_decay": 5e-4,
        },
        "paper": _DEEP_SVDD | {"widths": (32, 64, 128), "latent_dim": 128, "pretrain_epochs": 350, "pretrain_lr_drops": (5 / 7,)},
    },
    "fence_gan": {
        "cpu": {},
        "paper-grey": _FENCE_GAN
        | {
            "latent_dim": 200,
            "discriminator_width": 64,
            "border": 0.1,
            "dispersion_weight": 30.0,
            "fake_weight": 0.1,
            "dropout": 0.0,
            "discriminator_learning_rate": 1e-5,
            "learning_rate": 2e-5,
            "batch_size": 200,
            "epochs": 100,
        },
        "paper": _FENCE_GAN
        | {
            "latent_dim": 256,
            "discriminator_width": 32,
            "border": 0.5,
            "dispersion_weight": 10.0,
            "fake_weight": 0.5,
            "dropout": 0.2,
            "discriminator_learning_rate": 1e-4,
            "learning_rate": 1e-3,
            "batch_size": 128,
            "epochs": 150,
        },
    },
    "alad": {
        "cpu": {},
        "paper": _PAPER_COMMON
        | {
            "latent_dim": 100,
            "encoder_width": 128,
            "generator_width": 128,
            "discriminator_width": 128,  # of all three; the released one of pairs of images has 64
            "dropout": 0.2,
            "learning_rate": 2e-4,
            "betas": (0.5, 0.999),
            "average": 0.999,
            "heldout": 0.05,  # O: its best epoch is chosen on held-out normal images
            "batch_size": 32,
            "epoch_steps": None,
            "epochs": 100,  # O
        },
    },
    "anogan": {
        "cpu": {},
        # AnoGAN's; of f-AnoGAN kappa, critic_steps and gradient_penalty are its own, the rest is O
        "paper": _PAPER_COMMON
        | {
            "latent_dim": 100,
            "generator_width": 128,
            "discriminator_width": 128,
            "encoder_width": 128,  # O
            "search_steps": 500,
            "search_rate": 1e-3,
            "feature_weight": 0.1,
            "encoder_feature_weight": 1.0,
            "critic_steps": 5,
            "gradient_penalty": 10.0,
            "learning_rate": 2e-4,
            "betas": (0.5, 0.999),
            "batch_size": 64,
            "epoch_steps": None,
            "epochs": 100,  # O
            "encoder_epochs": 50,  # O
        },
    },
    "skip_ganomaly": {
        "cpu": {},
        "paper": _PAPER_COMMON
        | {
            "generator_width": 64,
            "discriminator_width": 64,
            "adversarial_weight": 1.0,
            "image_weight": 50.0,
            "feature_weight": 1.0,
            "image_share": 0.9,
            "learning_rate": 2e-4,
            "betas": (0.5, 0.999),
            "batch_size": 64,
            "epoch_steps": None,
            "epochs": 15,
        },
    },
    "negative_sampling": {
        "cpu": {},
        # the published classifier; its autoencoder is ours, of the size of AMA's encoder
        "paper": _PAPER_COMMON
        | {
            "latent_dim": 64,  # O
            "encoder_width": 64,  # O
            "generator_width": 64,  # O
            "delta": 0.05,  # R
            "negatives_per_image": 4,  # O
            "layers": 3,  # O
            "layer_width": 64,
            "dropout": 0.5,
            "learning_rate": 1e-3,  # O
            "batch_size": 256,  # O
            "epoch_steps": None,
            "autoencoder_epochs": 100,  # O
            "epochs": 100,
        },
    },
    "pca": {"cpu": {}, "default": {}},
    "knn": {"cpu": {}, "default": {}},
}


_AS_PUBLISHED: dict[str, dict[str, Any]] = {
    "ama": {"scorer": "log-gaussian"},
    "knn": {"calibration": "heldout"},
}


def as_published(method: str) -> dict[str, Any]:
    """Settings under which the tables were measured, where they are not the defaults: of what presets do not say.

    Pixels as the set has them, and a scorer fitted on training images (kNN's on a twentieth that is held out).
    """
    return {"image_size": None, "calibration": "train", **_AS_PUBLISHED.get(method, {})}


def preset(method: str, name: str) -> dict[str, Any]:
    """The keyword arguments of a preset, as a copy.

    >>> preset("ama", "paper-svhn")["negatives"]
    'outward'
    """
    if method not in PRESETS:
        raise SettingError(unknown("method named", method, PRESETS))
    presets = PRESETS[method]
    if name not in presets:
        raise SettingError(f"{method} has {unknown('preset', name, presets)}")
    return dict(presets[name])
