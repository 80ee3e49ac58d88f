"""The plan of a training: epochs, steps and learning rates, before anything is trained."""

from __future__ import annotations

import pytest

from anomirror.errors import SettingError
from anomirror.schedule import Phase, Schedule, plan


def phase(name: str, epochs: int, milestones: tuple[float, ...] | None = None) -> Phase:
    return Phase(name, lambda batch, run: {}, epochs, lr_milestones=milestones)


def test_epochs_are_numbered_through_and_steps_counted_from_zero() -> None:
    first, second = phase("first", 1), phase("second", 2)
    epochs = plan([first, second], Schedule(), minibatches=3)
    assert [(e.number, e.phase_number, e.steps, e.is_last_phase) for e in epochs] == [
        (1, 1, range(3), False),
        (2, 2, range(3, 6), True),
        (3, 2, range(6, 9), True),
    ]
    assert [e.begins for e in epochs] == [(first,), (second,), ()]
    assert epochs[1].phase_steps == range(3, 9)
    assert {e.total_steps for e in epochs} == {9}


def test_a_phase_without_epochs_starts_before_the_next_one() -> None:
    empty, last = phase("empty", 0), phase("last", 1)
    (epoch,) = plan([empty, last], Schedule(steps_per_epoch=2), minibatches=9)
    assert epoch.begins == (empty, last)
    assert epoch.steps == range(2)


def test_the_last_epoch_is_cut_by_max_steps_and_later_ones_are_left_out() -> None:
    epochs = plan([phase("only", 5)], Schedule(steps_per_epoch=4, max_steps=6), minibatches=9)
    assert [e.steps for e in epochs] == [range(4), range(4, 6)]
    assert {e.total_steps for e in epochs} == {6}
    with pytest.raises(
        SettingError, match=r"max_steps=4: .* its last phase, b; choose more than 4"
    ):
        plan(
            [phase("a", 1), phase("b", 1)], Schedule(steps_per_epoch=4, max_steps=4), minibatches=9
        )


def test_too_few_images_for_a_minibatch_are_one() -> None:
    assert plan([phase("only", 1)], Schedule(), minibatches=0)[0].steps == range(1)


def test_milestones_are_those_of_the_training_or_of_the_phase_alone() -> None:
    schedule = Schedule(steps_per_epoch=2, lr_milestones=(0.5,))
    own, shared = plan([phase("own", 1, (0.5,)), phase("shared", 1)], schedule, minibatches=9)
    assert [schedule.learning_rate_factor(step, own) for step in own.steps] == pytest.approx(
        [1.0, 0.1]
    )
    assert [schedule.learning_rate_factor(step, shared) for step in shared.steps] == pytest.approx(
        [0.1, 0.1]
    )
