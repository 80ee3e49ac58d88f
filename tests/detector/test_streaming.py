"""Images as they pass through a detector."""

from __future__ import annotations

import torch

from anomirror.detector.streaming import filled


def test_a_last_batch_is_filled_up_on_a_gpu_alone() -> None:
    x = torch.rand(3, 1, 4, 4)
    assert filled(x, 8) is x
    assert filled(x.to("meta"), 8).shape == (8, 1, 4, 4)
    assert filled(x.to("meta"), 3).shape == (3, 1, 4, 4)
