"""What a choice by made-up anomalies is worth, on anomalies of other kinds.

    python -m studies.choosing measure --data-dir data/
    python -m studies.choosing table
    python -m studies.choosing kinds

No set of a published table is read but for its normal training images. Each finished row is
written at once to ``results/choosing/``; what is there is not measured again.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from scipy.stats import spearmanr

from anomirror import Auto
from anomirror.benchmark.render import markdown
from anomirror.errors import AnomirrorWarning
from anomirror.metrics import auroc
from anomirror.synthetic import KINDS
from studies.rows import Rows
from studies.scattering import tasks

OUT = Path("results/choosing")
DRAWS = 2
MEMBERS = ("scattering", "pca", "knn")

app = typer.Typer(help=__doc__, no_args_is_help=True)
Row = Mapping[str, Any]


@app.command()
def measure(data_dir: Annotated[Path, typer.Option(envvar="ANOMIRROR_DATA")]) -> None:
    """AUROC of each candidate, and of combinations, from one fit of all of them."""
    kept = Rows(OUT / "proxies.json")
    for draw in range(DRAWS):
        for name, fitted, good, made in tasks(draw, data_dir):
            key = {"draw": draw, "set": name}
            if key not in kept:
                kept.add({**key, **_measured(draw, fitted, good, made)})


def _measured(
    draw: int, fitted: np.ndarray, good: np.ndarray, odd: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AnomirrorWarning)
        model = Auto(margin=1.0, random_state=draw).fit(fitted)
    chosen = Auto().chosen({each.name: each.mean for each in model.tried_})
    ways: dict[str, tuple[Sequence[str], str]] = {name: ([name], "largest") for name in MEMBERS}
    ways |= {"auto": (chosen, "largest"), "auto, harmonic": (chosen, "harmonic")}
    ways |= {"all": (MEMBERS, "largest"), "all, harmonic": (MEMBERS, "harmonic")}
    normal = model.statistics(good)
    found = {
        kind: {
            way: auroc(*(-_combined(model, each, *how) for each in (normal, model.statistics(x))))
            for way, how in ways.items()
        }
        for kind, x in odd.items()
    }
    tried = {each.name: each.auroc for each in model.tried_}
    return {"chosen": chosen, "tried": tried, "auroc": found}


def _mean(by_kind: Mapping[str, float]) -> float:
    return float(np.mean(list(by_kind.values())))


def _combined(
    model: Auto, statistics: Mapping[str, np.ndarray], members: Sequence[str], combination: str
) -> np.ndarray:
    """The raw score that an ensemble of some of the members would have."""
    part = copy.copy(model).set_params(combination=combination)
    part.members_ = {name: model.members_[name] for name in members}
    return np.asarray(part.raw_scores_from(statistics))


@app.command()
def table() -> None:
    """Means by set over kinds of anomalies and draws, and what is lost to the best candidate."""
    print(proxies_table())


@app.command()
def kinds() -> None:
    """Rank correlation of AUROC on made-up anomalies with that on the others, over candidates."""
    print(kinds_table())


def proxies_table(folder: Path = OUT) -> str:
    """For docs/decisions/0024-choosing.md."""
    rows = Rows(folder / "proxies.json").rows
    ways = list(next(iter(rows[0]["auroc"].values())))
    lines = [
        [family, *(f"{np.mean(_over(of, way)):.3f}" for way in ways)]
        for family, of in _families(rows).items()
    ]
    means = [np.mean([np.mean(_over(of, way)) for of in _families(rows).values()]) for way in ways]
    lines.append(["mean", *(f"{mean:.3f}" for mean in means)])
    lost = [np.max(_best_of(rows) - np.array(_over(rows, way))) for way in ways]
    lines.append(["most lost to the best of the three", *(f"{each:.3f}" for each in lost)])
    return markdown(["normal images", *ways], lines)


def kinds_table(folder: Path = OUT) -> str:
    """For docs/choosing.md."""
    rows = Rows(folder / "proxies.json").rows
    ways: dict[str, Callable[[Mapping[str, float]], float]] = {
        kind: itemgetter(kind) for kind in KINDS
    }
    ways["mean of all"] = _mean
    lines = []
    for name, value in ways.items():
        by_family = []
        for of in _families(rows).values():
            by_family.append(np.nanmean([_rank_correlation(row, value) for row in of]))
        lines.append([name.replace("_", " "), f"{np.nanmean(by_family):.2f}"])
    return markdown(["made-up anomalies", "rank correlation"], lines)


def _rank_correlation(row: Row, value: Callable[[Mapping[str, float]], float]) -> float:
    made = [value(row["tried"][name]) for name in MEMBERS]
    found = [np.mean([each[name] for each in row["auroc"].values()]) for name in MEMBERS]
    return float(spearmanr(made, found)[0])


def _over(rows: Iterable[Row], way: str) -> list[float]:
    return [each[way] for row in rows for each in row["auroc"].values()]


def _best_of(rows: Iterable[Row]) -> np.ndarray:
    of = [each for row in rows for each in row["auroc"].values()]
    return np.array([max(each[name] for name in MEMBERS) for each in of])


def _families(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """One for all classes of a set."""
    families: dict[str, list[Row]] = {}
    for row in rows:
        name, _, normal = row["set"].partition(", ")
        families.setdefault(f"{name}, one class" if normal else name, []).append(row)
    return families


if __name__ == "__main__":
    app()
