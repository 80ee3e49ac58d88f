"""What a training does when, decided before it starts.

Phases, epochs, minibatches, learning rates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from anomirror.errors import SettingError


@dataclass(frozen=True)
class Phase:
    """A part of the training with its own step.

    ``step(batch, run)`` does one minibatch of the algorithm, and returns what the history
    holds (0-d tensors, detached). ``start(batches, run)`` sees the data once, before the first
    epoch. ``lr_milestones`` are fractions of this phase after which every learning rate is divided
    by 10, again in each phase; None: those of the schedule, over the whole training.
    """

    name: str
    step: Callable[..., Mapping[str, Tensor]]
    epochs: int
    start: Callable[..., None] | None = None
    lr_milestones: Sequence[float] | None = None


@dataclass(frozen=True)
class Schedule:
    """How long a training is, and how its learning rates and averages move.

    Parameters
    ----------
    batch_size : normal images in a minibatch of all processes (all images, if there are fewer).
    steps_per_epoch : minibatches in an epoch; None is one pass over the data.
    max_steps : training ends after this many minibatches, even within an epoch; None is no limit.
    lr_milestones : fractions of the training after which every learning rate is divided by 10.
    lr_decay : factor of every learning rate after each step.
    lr_warmup : steps over which every learning rate rises to its full height.
    ema_decay : decay per step of the exponential average of all weights that replaces them at the
        end, again in each phase; None keeps the last weights.
    """

    batch_size: int = 64
    steps_per_epoch: int | None = None
    max_steps: int | None = None
    lr_milestones: Sequence[float] = ()
    lr_decay: float = 1.0
    lr_warmup: int = 0
    ema_decay: float | None = None

    def learning_rate_factor(self, step: int, epoch: Epoch) -> float:
        """Factor of every learning rate in a step, counted from 0 over the whole training."""
        milestones, span = self.lr_milestones, range(epoch.total_steps)
        if epoch.phase.lr_milestones is not None:
            milestones, span = epoch.phase.lr_milestones, epoch.phase_steps
        drops = milestone_factor((step - span.start) / len(span), milestones)
        return drops * self.lr_decay**step * min(1.0, (step + 1) / max(1, self.lr_warmup))


@dataclass(frozen=True)
class Epoch:
    """One epoch of the plan. Epochs and phases are counted from 1, steps from 0."""

    number: int
    phase_number: int
    phase: Phase
    begins: tuple[Phase, ...]
    """Phases that start before it: its own if this is the first epoch, after empty ones."""
    is_last_phase: bool
    steps: range
    phase_steps: range
    total_steps: int


def plan(phases: Sequence[Phase], schedule: Schedule, minibatches: int) -> list[Epoch]:
    """Every epoch of a training on images that make so many ``minibatches`` in a pass.

    Raises
    ------
    SettingError : ``max_steps`` leaves the last phase out.
    """
    per_epoch = schedule.steps_per_epoch or max(1, minibatches)
    planned = per_epoch * sum(phase.epochs for phase in phases)
    before_last = per_epoch * sum(phase.epochs for phase in phases[:-1])
    if schedule.max_steps is not None and schedule.max_steps <= before_last:
        raise SettingError(
            f"max_steps={schedule.max_steps!r}: training would end before its last phase, "
            f"{phases[-1].name}; choose more than {before_last}, or fewer epochs"
        )
    total = max(1, planned if schedule.max_steps is None else min(planned, schedule.max_steps))
    epochs: list[Epoch] = []
    waiting: list[Phase] = []
    for phase_number, phase in enumerate(phases, start=1):
        waiting.append(phase)
        begins = per_epoch * len(epochs)
        ends = min(begins + per_epoch * phase.epochs, total)
        for first in range(begins, ends, per_epoch):
            epochs.append(
                Epoch(
                    number=len(epochs) + 1,
                    phase_number=phase_number,
                    phase=phase,
                    begins=tuple(waiting),
                    is_last_phase=phase_number == len(phases),
                    steps=range(first, min(first + per_epoch, ends)),
                    phase_steps=range(begins, ends),
                    total_steps=total,
                )
            )
            waiting = []
    return epochs


def milestone_factor(progress: float, milestones: Sequence[float]) -> float:
    """0.1 for each of ``milestones`` that ``progress`` has reached."""
    return float(0.1 ** sum(progress >= milestone for milestone in milestones))
