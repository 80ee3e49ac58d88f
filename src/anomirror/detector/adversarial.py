"""What detectors share that train a generator against a discriminator."""

from __future__ import annotations

from anomirror.detector.network import NetworkDetector
from anomirror.detector.parameters import Betas, Count, declared


@declared
class AdversarialDetector(NetworkDetector):
    """A detector that trains a generator against a discriminator, DCGAN's as a rule."""

    generator_width: Count = 16
    """Channels of the generator's last but one convolution."""

    discriminator_width: Count = 16
    """Channels of the discriminator's first convolution."""

    betas: Betas = (0.5, 0.999)
    """Adam's decay rates."""
