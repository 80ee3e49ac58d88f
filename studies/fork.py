"""Where trainings of AMA fork: whether negatives teach anything, two epochs in, by seed.

    python -m studies.fork measure --data-dir data/
    python -m studies.fork table

Fashion-MNIST with the defaults, stopped after two of eight epochs. The critic's gap of negatives,
D(x, x) - D(x, x_hat) of what is generated from the shell, over that of normal images: below 1
negatives are reconstructed as well as what the networks were trained to reconstruct.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from anomirror.benchmark.cells import Entry, read_entries
from anomirror.benchmark.render import markdown, mean_and_spread
from anomirror.benchmark.rows import Row
from anomirror.data import load_dataset
from anomirror.detectors import AMA
from anomirror.training import Run
from studies.rows import Rows

OUT = Path("results/stability/fork/rows.json")
SETTINGS: dict[str, tuple[dict[str, Any], int]] = {
    "after a tenth of the run, as in the paper": ({}, 10),
    "from the first step": ({"negatives_start": 0.0}, 10),
    "after a fifth": ({"negatives_start": 0.2}, 2),
    "after a tenth, five times as heavy": ({"negatives_weight": 0.5}, 2),
}
"""Since when negatives are in the loss, what of AMA's defaults that changes, and seeds: of fewer,
those of the first that went wrong.
"""
COLUMNS = ("mnist", "omniglot", "gtsrb")
WRONG_FIRST = (0, 5, *(seed for seed in range(10) if seed not in (0, 5)))

app = typer.Typer(help=__doc__, no_args_is_help=True)


class SeenError(Exception):
    """Two epochs are over."""


class TwoEpochs(AMA):
    """Stops after the second epoch, and keeps its row of the history."""

    row: Mapping[str, float]

    def _gives_up(self, run: Run, row: Mapping[str, float]) -> bool:
        if row["epoch"] == 2:
            self.row = row
            raise SeenError
        return False


@app.command()
def measure(data_dir: Annotated[Path, typer.Option(envvar="ANOMIRROR_DATA")]) -> None:
    """Two epochs of every setting and seed; what is there is not measured again."""
    rows, images = Rows(OUT), load_dataset("fashion-mnist", "train", data_dir)[0]
    for name, (changes, count) in SETTINGS.items():
        for seed in WRONG_FIRST[:count]:
            if (key := {"negatives": name, "seed": seed}) not in rows:
                rows.add(key | row(images, seed, changes))


def row(images: np.ndarray, seed: int, changes: Mapping[str, Any]) -> dict[str, float]:
    """What the second epoch of a training shows."""
    ama = TwoEpochs(random_state=seed, **changes)
    with suppress(SeenError):
        ama.fit(images)
    gap, negative = ama.row["gap"], ama.row["gap_negative"]
    return {
        "ratio": round(negative / gap, 2),
        "gap": round(gap),
        "gap_negative": round(negative),
        "latent_norm": round(ama.row["latent_norm"], 1),
    }


@app.command()
def table() -> None:
    """Ratios by seed."""
    print(fork_table(OUT))


def fork_table(file: Path) -> str:
    """For docs/stability.md."""
    measured, lines = Rows(file).rows, []
    for name in SETTINGS:
        of = sorted((row for row in measured if row["negatives"] == name), key=lambda r: r["seed"])
        ratios = [f"{row['ratio']:.1f} ({row['seed']})" for row in of]
        below = sum(row["ratio"] < 1 for row in of)
        lines.append([name, ", ".join(ratios), f"{below} of {len(of)}"])
    return markdown(["negatives in the loss", "ratio (seed)", "below 1"], lines)


def seeds_table(*folders: Path) -> str:
    """For docs/stability.md: AUROC of whole trainings, of each folder's seeds."""
    lines = []
    wanted = Row("ama", "", "", "two-sided")
    for folder in folders:
        of = [entry for entry in read_entries(folder) if Row.of(entry) == wanted]
        restarts = {bool(entry.record.parameters["restart"]) for entry in of}
        again = {entry.record.seed for entry in of if "attempt" in entry.record.history[0]}
        values = [_aurocs(of, name) for name in COLUMNS]
        spreads = [f"{mean_and_spread(each)} ({min(each):.3f})" for each in values]
        begun = ", ".join(map(str, sorted(again))) or "none"
        seeds = sorted({entry.record.seed for entry in of})
        word = "with" if restarts == {True} else "without"
        lines.append([f"{word} restart", *spreads, ", ".join(map(str, seeds)), begun])
    return markdown(["A-score", *COLUMNS, "seeds", "begun again"], lines)


def _aurocs(entries: list[Entry], column: str) -> list[float]:
    found = (entry.cell.value("auroc") for entry in entries if entry.cell.anomalies == column)
    return [value for value in found if value is not None]


if __name__ == "__main__":
    app()
