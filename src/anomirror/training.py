"""The only training loop: it knows minibatches, phases and optimisers, and no method by name.

A method gives a list of :class:`Phase`; each names the function that does one minibatch of its
algorithm. The loop brings the data in a reproducible order, autocast, learning-rate schedule,
averaged weights, a checkpoint after every epoch, resuming from one, the history, a progress bar,
and stops when training leaves the finite numbers.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from anomirror.checkpoints import read_checkpoint, write_checkpoint
from anomirror.devices import Precision, autocast
from anomirror.errors import CheckpointError, DivergenceError, SettingError
from anomirror.images import iterate, to_network
from anomirror.minibatch import Batch, TrainingData
from anomirror.networks.randomness import dropout_from
from anomirror.processes import Group
from anomirror.progress import Progress
from anomirror.schedule import Epoch, Phase, Schedule, plan

History = list[dict[str, float]]


@dataclass
class Run:
    """A training under way: modules, optimisers, random generator, position.

    Parameters
    ----------
    modules, optimizers : by name; the names are those of the checkpoint.
    device : where the modules are.
    generator : private CPU generator: all randomness of training comes from it.
    schedule : how long the training is, and how its learning rates and averages move.
    precision : "auto" is bf16 where the device computes it natively.
    group : the processes that train together, each on an equal share of every minibatch; the
        schedule's ``batch_size`` counts all of them. ``generator`` must begin equally in all, and
        within an epoch is another one in each.
    """

    modules: Mapping[str, nn.Module]
    optimizers: Mapping[str, Optimizer]
    device: torch.device
    generator: torch.Generator
    schedule: Schedule = field(default_factory=Schedule)
    precision: Precision = "auto"
    group: Group = field(default_factory=Group)
    phase: str = ""
    epoch: int = 0
    step: int = 0
    total_steps: int = 1
    averaged: dict[str, AveragedModel] = field(default_factory=dict)
    best_value: float = math.inf
    best: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    """The modules, as they would have been kept, after the best epoch so far; empty if none is
    singled out.
    """
    attempt: int = 0
    """How often this training was begun before."""
    given_up: bool = False
    """Whether it ended early, to be begun again."""

    @property
    def progress(self) -> float:
        """Share of the planned steps that is done, in [0, 1)."""
        return self.step / self.total_steps

    def update(self, optimizer: str, loss: Tensor) -> None:
        """One step of the named optimiser down ``loss``, the mean over all processes."""
        chosen = self.optimizers[optimizer]
        chosen.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.group.average(
            p.grad for group in chosen.param_groups for p in group["params"] if p.grad is not None
        )
        chosen.step()

    def scoring_modules(self) -> dict[str, nn.Module]:
        """The modules as they would be kept if training ended now: averages, if there are any."""
        if not self.averaged:
            return dict(self.modules)
        return {name: self.averaged[name].module for name in self.modules}

    def rest(self, *names: str) -> None:
        """Freeze modules, at their averaged weights if averages are kept."""
        for name in names:
            if name in self.averaged:
                self.modules[name].load_state_dict(self.averaged[name].module.state_dict())

    def autocast(self) -> AbstractContextManager[object]:
        """The context in which a step runs; no cached casts: weights change within a step."""
        return autocast(self.precision, self.device, cached=False)


@dataclass(frozen=True)
class Checkpoints:
    """Where checkpoints are written, and what they must agree with to be continued."""

    folder: Path
    identity: Mapping[str, object]


def train(
    phases: Sequence[Phase],
    data: TrainingData,
    run: Run,
    *,
    checkpoints: Checkpoints | None = None,
    on_epoch: Callable[[Run], Mapping[str, float]] | None = None,
    best_by: str | None = None,
    gives_up: Callable[[Run, Mapping[str, float]], bool] | None = None,
    verbose: bool = False,
) -> History:
    """Run all phases; returns one row for each epoch.

    A row holds ``epoch``, ``phase`` (its number), ``step``, ``seconds``, ``attempt`` if it is not
    the first, the mean of what the steps returned, and what ``on_epoch`` returned. ``best_by``
    names the value of a row by whose lowest the epoch of the last phase is chosen whose weights are
    kept. A run that finds its checkpoint goes on from it: on the CPU to the same weights, bit for
    bit. Where ``gives_up(run, row)`` the run ends without a checkpoint of that epoch.

    Raises
    ------
    DivergenceError : a loss or a weight is not finite, or ``on_epoch`` says so.
    CheckpointError : the checkpoint belongs to another run, or not all processes have it.
    SettingError : several processes cannot share the minibatches equally; ``max_steps`` leaves the
        last phase out.
    """
    batch_size = _shared_batch_size(run, len(data.normal))
    epochs = plan(phases, run.schedule, len(data.normal) // batch_size)
    run.total_steps = epochs[-1].total_steps if epochs else 1
    _prepare(run)
    history = _continue_from(checkpoints, run)
    _refuse_different_processes(run, checkpoints)
    with _bar(run, verbose) as bar:
        for epoch in epochs[run.epoch :]:
            started = time.perf_counter()
            for phase in epoch.begins:
                _start(phase, data, run, batch_size)
            with _seeded_layers(run, epoch.number):
                means = _one_epoch(epoch, data, run, batch_size, bar)
            run.epoch = epoch.number
            row = _row(epoch, run, means, on_epoch)
            if epoch.is_last_phase and best_by is not None and best_by in row:
                _keep_if_best(run, best_by, row[best_by])
            run.given_up = gives_up is not None and gives_up(run, row)
            if run.given_up:
                return history
            history.append(row | {"step": run.step, "seconds": time.perf_counter() - started})
            _write(checkpoints, run, history)
    _settle(run)
    return history


def _settle(run: Run) -> None:
    """Leave the weights that are kept: averages, or those of the best epoch."""
    run.rest(*run.averaged)
    for name, state in run.best.items():
        run.modules[name].load_state_dict(state)


def _write(checkpoints: Checkpoints | None, run: Run, history: History) -> None:
    """A checkpoint, by the first of the processes."""
    if checkpoints is not None and run.group.rank == 0:
        write_checkpoint(checkpoints.folder, checkpoints.identity, _state(run), history)


def _row(
    epoch: Epoch,
    run: Run,
    means: Mapping[str, float],
    on_epoch: Callable[[Run], Mapping[str, float]] | None,
) -> dict[str, float]:
    """Of the history, with what ``on_epoch`` returned, if none of its names is taken."""
    row = {"epoch": epoch.number, "phase": epoch.phase_number, **means}
    row |= {"attempt": run.attempt} if run.attempt else {}
    if on_epoch is None:
        return row
    observed = on_epoch(run)
    refuse_taken(observed, {**row, "step": 0, "seconds": 0})
    return row | dict(observed)


def _prepare(run: Run) -> None:
    """Note the full learning rates, and begin the averages."""
    for optimizer in run.optimizers.values():
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
    if run.schedule.ema_decay is not None:
        average = get_ema_multi_avg_fn(run.schedule.ema_decay)  # type: ignore[no-untyped-call]
        run.averaged = {
            name: AveragedModel(module, multi_avg_fn=average)
            for name, module in run.modules.items()
        }


def _refuse_different_processes(run: Run, checkpoints: Checkpoints | None) -> None:
    if not run.group.agree(f"{run.step} {run.generator.get_state().tolist()}", run.device):
        where = "" if checkpoints is None else f"{checkpoints.folder}: "
        raise CheckpointError(
            f"{where}the processes do not continue from one checkpoint; all of them must share its "
            "folder"
        )


def _start(phase: Phase, data: TrainingData, run: Run, batch_size: int) -> None:
    """Begin a phase: what it does once, and averages again."""
    run.phase = phase.name
    if phase.start is not None:
        with _seeded_layers(run, 0):
            phase.start(data.once(batch_size, run.generator, run.device), run)
        for module in run.modules.values():
            # the same to the last digit in all processes
            run.group.average(p.data for p in module.parameters())
    for averaged in run.averaged.values():  # what begins to learn now has no past that counts
        averaged.n_averaged.zero_()


def _keep_if_best(run: Run, name: str, value: float) -> None:
    """Remember the weights, if the value's mean over all processes is the lowest so far."""
    value = run.group.average_values({name: value}, run.device)[name]
    if value < run.best_value:
        run.best_value = value
        run.best = {
            name: {key: t.clone() for key, t in module.state_dict().items()}
            for name, module in run.scoring_modules().items()
        }


def _one_epoch(
    epoch: Epoch, data: TrainingData, run: Run, batch_size: int, bar: Progress
) -> dict[str, float]:
    """Every minibatch of an epoch; returns the means of what its steps returned."""
    run.phase = epoch.phase.name
    sums: dict[str, Tensor] = {}
    counts: Counter[str] = Counter()
    for module in run.modules.values():
        module.train()
    order, shared = data.order(batch_size, len(epoch.steps), run.generator), run.generator
    run.generator = _own_generator(run)
    for batch in _epoch_batches(data, run, order):
        factor = run.schedule.learning_rate_factor(run.step, epoch)
        for optimizer in run.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * factor
        with run.autocast():
            terms = epoch.phase.step(batch, run)
        counts.update(terms.keys())
        for name, value in terms.items():
            sums[name] = sums[name] + value if name in sums else value.detach().clone()
        for name, averaged in run.averaged.items():
            averaged.update_parameters(run.modules[name])
        run.step += 1
        bar.what = f"training ({run.phase})"
        bar.advance()
    run.generator = shared
    for keeper in (*run.modules.values(), *run.averaged.values()):
        # batch-norm statistics: each process has seen other images
        run.group.average(keeper.buffers())
    means = run.group.average_values(
        {name: float(total) / counts[name] for name, total in sums.items()}, run.device
    )
    lost = [name for name, value in means.items() if not math.isfinite(value)]
    if lost or not _finite(run.modules.values()):
        what = f"{', '.join(lost)} is not finite" if lost else "a weight is not finite"
        raise DivergenceError(
            f"training diverged in epoch {epoch.number}: {what}; lower the learning rate, or try "
            "another seed",
            epoch.number,
        )
    return means


def refuse_taken(observed: Mapping[str, float], row: Mapping[str, float]) -> None:
    """What an observer of the training returns must not hide what is in the history already."""
    if taken := sorted(observed.keys() & row.keys()):
        raise SettingError(
            f"the callback returned {taken[0]!r}, which the history has already: choose another "
            "name"
        )


def _finite(modules: Iterable[nn.Module]) -> bool:
    return all(bool(torch.isfinite(p).all()) for module in modules for p in module.parameters())


def _shared_batch_size(run: Run, images: int) -> int:
    """Images in a minibatch of all processes together."""
    asked, size = run.schedule.batch_size, run.group.size
    batch_size = min(asked, images)
    if size > 1 and (asked % size or batch_size < 2 * size):
        raise SettingError(
            f"batch_size={asked!r}: {size} processes need equal shares of at least 2 of {images} "
            "images; "
            f"choose a multiple of {size}"
        )
    return batch_size - batch_size % size


def _own_generator(run: Run) -> torch.Generator:
    """What the steps of an epoch draw from.

    The run's generator, or, with several processes, another one for each.
    """
    if run.group.size == 1:
        return run.generator
    seed = int(torch.randint(2**62, (), generator=run.generator))
    return torch.Generator().manual_seed(seed + run.group.rank)


def _epoch_batches(data: TrainingData, run: Run, order: Sequence[Sequence[int]]) -> Iterator[Batch]:
    """The minibatches of an epoch, or this process's share of them, with labelled anomalies."""
    batches = iterate(data.normal, [run.group.share(indices) for indices in order], data.workers)
    anomalies_per_batch = math.ceil(data.anomalies_per_batch / run.group.size)
    for normal in batches:
        images = to_network(normal.to(run.device))
        labelled = torch.zeros(len(images), dtype=torch.bool, device=run.device)
        if data.anomalies is not None and anomalies_per_batch:
            drawn = torch.randint(
                len(data.anomalies), (anomalies_per_batch,), generator=run.generator
            )
            extra = to_network(data.anomalies.take(drawn.tolist()).to(run.device))
            images = torch.cat([images, extra])
            labelled = torch.cat(
                [labelled, torch.ones(len(extra), dtype=torch.bool, device=run.device)]
            )
        yield Batch(images.contiguous(memory_format=torch.channels_last), labelled)


@contextmanager
def _seeded_layers(run: Run, epoch: int) -> Iterator[None]:
    """Context in which dropout draws from a seed of this run and epoch."""
    seed = (run.generator.initial_seed() + 1_000_003 * epoch + run.group.rank) % 2**63
    with dropout_from(torch.Generator(run.device).manual_seed(seed)):
        yield


def _state(run: Run) -> dict[str, object]:
    return {
        "epoch": run.epoch,
        "step": run.step,
        **({"attempt": run.attempt} if run.attempt else {}),
        "generator": run.generator.get_state(),
        "modules": {name: module.state_dict() for name, module in run.modules.items()},
        "optimizers": {name: optimizer.state_dict() for name, optimizer in run.optimizers.items()},
        "averaged": {name: averaged.state_dict() for name, averaged in run.averaged.items()},
        # no infinity: it is no JSON
        **({"best_value": run.best_value, "best": run.best} if run.best else {}),
    }


def _continue_from(checkpoints: Checkpoints | None, run: Run) -> History:
    checkpoint = (
        None if checkpoints is None else read_checkpoint(checkpoints.folder, checkpoints.identity)
    )
    if checkpoint is None:
        return []
    state, history = checkpoint
    try:
        attempt = int(state.get("attempt", 0))
        if attempt < run.attempt:  # of a run that was given up
            return []
        run.attempt = attempt
        run.epoch, run.step = int(state["epoch"]), int(state["step"])
        run.generator.set_state(state["generator"])
        for name, module in run.modules.items():
            module.load_state_dict(state["modules"][name])
        for name, optimizer in run.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        for name, averaged in run.averaged.items():
            averaged.load_state_dict(state["averaged"][name])
        if "best" in state:
            run.best_value = float(state["best_value"])
            run.best = {
                name: {key: t.to(run.device) for key, t in checkpoint.items()}
                for name, checkpoint in state["best"].items()
            }
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        assert checkpoints is not None
        raise CheckpointError(
            f"{checkpoints.folder}: this checkpoint does not fit the run ({error})"
        ) from error
    return history


def _bar(run: Run, verbose: bool) -> Progress:
    return Progress("training", run.total_steps, "steps", done=run.step, shown=verbose)
