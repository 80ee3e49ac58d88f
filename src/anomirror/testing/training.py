"""Checks of a fit: random states, threads, interruptions, parameters."""

from __future__ import annotations

import random
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from numpy.testing import assert_array_equal

from anomirror.detector.contract import Detector
from anomirror.detector.network import NetworkDetector
from anomirror.detector.parameters import Arguments, parameters_of
from anomirror.detectors import load
from anomirror.testing.subject import Check, Subject, refused
from anomirror.training import Run


def check_no_random_state_of_the_process_is_touched(subject: Subject) -> None:
    """Not before, during or after a fit; a training looks after every update."""
    seen: list[torch.Tensor] = []
    update = Run.update

    def noting(run: Run, optimizer: str, loss: torch.Tensor) -> None:
        seen.append(torch.get_rng_state())
        update(run, optimizer, loss)

    before = _random_states()
    with patch.object(Run, "update", noting):
        subject.make().fit(subject.normal[:100]).predict(subject.normal[:5])
    python, numpy, torch_before = before
    python_after, numpy_after, torch_after = _random_states()
    assert python == python_after
    assert numpy == numpy_after
    assert all(torch.equal(torch_before, state) for state in (*seen, torch_after))
    assert seen or not subject.has("checkpoint_dir"), "no update was seen"


def _random_states() -> tuple[object, object, torch.Tensor]:
    """Of Python, numpy and torch."""
    name, key, *rest = np.random.get_state()
    return random.getstate(), (name, list(key), *rest), torch.get_rng_state()


def check_fits_in_four_threads_give_the_scores_of_one_in_turn(subject: Subject) -> None:
    """Bit for bit."""

    def scores(_: int = 0) -> np.ndarray:
        fitted = subject.make().fit(subject.normal[:60])
        return fitted.raw_scores(subject.normal[:10])

    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(scores, range(4)))
    alone = scores()
    for each in together:
        assert_array_equal(each, alone)


def check_numbers_of_numpy_are_parameters_that_save_and_load(subject: Subject) -> None:
    """As grid searches give them."""
    given = subject.detector.get_params()
    integers = {name for name, value in given.items() if type(value) is int}
    names = sorted(integers - {"random_state"} & parameters_of(type(subject.detector)).keys())
    changes: Arguments = {name: np.int64(given[name]) for name in names}
    changes |= {"false_alarm_rate": np.float64(0.1), "image_size": np.int64(32)}
    detector = subject.make(**changes).fit(subject.normal[:60])
    with tempfile.TemporaryDirectory() as folder:
        loaded = load(detector.save(Path(folder) / "model"), device="cpu")
    images = subject.normal[:5]
    assert_array_equal(loaded.raw_scores(images), detector.raw_scores(images))


CHECKS: tuple[Check, ...] = (
    check_no_random_state_of_the_process_is_touched,
    check_fits_in_four_threads_give_the_scores_of_one_in_turn,
    check_numbers_of_numpy_are_parameters_that_save_and_load,
)

# ---------------------------------------------------------------------- of epochs


class _InterruptedError(Exception):
    """Somebody stopped the run."""


def check_an_interrupted_training_goes_on_to_the_same_scores(subject: Subject) -> None:
    """Interrupted in its last epoch, and in the first epoch of its last phase, if it has
    several.
    """
    normal, epochs = subject.normal[:100], 3
    whole = subject.make(epochs=epochs).fit(normal)
    phases = [row["phase"] for row in whole.history_]
    assert len(phases) >= epochs
    for stop_in in sorted({phases.index(phases[-1]) + 1, len(phases)}):
        seen: list[Detector] = []

        def stop(
            detector: Detector, seen: list[Detector] = seen, last: int = stop_in
        ) -> dict[str, float]:
            seen.append(detector)
            if len(seen) == last:
                raise _InterruptedError("in the middle")
            return {}

        with tempfile.TemporaryDirectory() as folder:
            several = {"epochs": epochs, "checkpoint_dir": folder}
            with refused(_InterruptedError, "in the middle"):
                subject.make(**several, callback=stop).fit(normal)
            resumed = subject.make(**several).fit(normal)
        assert len(resumed.history_) == len(phases)
        assert_array_equal(resumed.raw_scores(normal[:20]), whole.raw_scores(normal[:20]))


def check_training_moves_every_network_and_logs_its_course(subject: Subject) -> None:
    """Against the same networks under a learning rate of almost 0."""
    rates = {
        name: 1e-12 for name in subject.detector.get_params() if name.endswith("learning_rate")
    }
    began, fitted = subject.make(**rates).fit(subject.normal), subject.fitted
    assert isinstance(began, NetworkDetector)
    assert isinstance(fitted, NetworkDetector)
    for name, network in fitted.networks_.items():
        before = dict(began.networks_[name].named_parameters())
        moved = [
            not torch.allclose(p, before[key], atol=1e-5) for key, p in network.named_parameters()
        ]
        assert np.mean(moved) > 0.5, name
    columns = fitted.history_[-1].keys()
    assert {"epoch", "phase", "step", "seconds"} <= columns
    assert any(name.endswith("_heldout") for name in columns)


OF_EPOCHS: tuple[Check, ...] = (
    check_an_interrupted_training_goes_on_to_the_same_scores,
    check_training_moves_every_network_and_logs_its_course,
)
