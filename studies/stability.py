"""The stability study.

AUROC by epoch and seed, on proxies and on the tested sets, under every scoring rule at once.

    python -m studies.stability --seed 0
    python -m studies.stability --seed 0 --interpolation-weight 2 --last-only
    python -m studies.stability --seed 0 --negatives-weight 5 --last-only
    python -m studies.stability --seed 0 --latent-dim 64 --last-only
    python -m studies.stability --seed 0 --normal cifar10 --last-only
    python -m studies.stability --seed 0 --latent-dim 64 --steps-per-epoch 50 --crossed

Which weights are scored with, whose batch-norm statistics, whether R is relative, and how it
becomes a score, does not touch the training: one training is scored in every way. Only the weights
of the loss terms, the size of the codes and the length need trainings of their own. Choices are
made on the proxies; docs/stability.md says which figures of the tested sets had been seen.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import typer
from torch import nn

from anomirror.benchmark.cells import read_json, write_json
from anomirror.benchmark.provenance import command, versions
from anomirror.benchmark.render import markdown, mean_and_spread
from anomirror.data import Split, load_dataset
from anomirror.data.proxies import bold, noises, shapes
from anomirror.detector.streaming import evenly_spaced
from anomirror.detector.variants import with_params
from anomirror.detectors import AMA
from anomirror.errors import InputError, SettingError
from anomirror.images import ImageSet, open_images
from anomirror.metrics import auroc
from anomirror.presets import as_published
from anomirror.scorers import SCORERS, Scores
from anomirror.training import Run

TRAIN, CALIBRATE, NORMAL, EACH = 6000, 300, 500, 300
FIRST: dict[str, Any] = {"latent_dim": 64, "negatives_weight": 0.5, "steps_per_epoch": 50}
"""What the trainings named "before" differ in from the defaults: the settings that the study began
with.
"""
EARLY = 3
"""The epoch whose networks are exchanged with the last one's."""
PROXIES, TESTED = ("omniglot-background", "bold", "shapes", "noises"), ("mnist", "omniglot")
SETS = (*PROXIES, *TESTED)
LABELS = {"negate": "R", "gaussian": "A", "log-gaussian": "L"}
"""What the cells call a scorer: by default the A-score is their L, their A is that of Eq. (6)."""


@dataclass(frozen=True)
class Rule:
    """How a training's networks become scores.

    Each field is one of our departures from the paper.
    """

    averaged: bool
    recomputed: bool
    relative: bool
    scorer: str

    def __str__(self) -> str:
        weights = "averaged" if self.averaged else "last"
        statistics = "recomputed" if self.recomputed else "running"
        return (
            f"{LABELS[self.scorer]} {weights} {statistics} "
            f"{'relative' if self.relative else 'plain'}"
        )


PAPER = Rule(averaged=False, recomputed=False, relative=False, scorer="gaussian")


CHOSEN = Rule(averaged=True, recomputed=True, relative=True, scorer="log-gaussian")
"""The rule that the study chose. What R is relative to has changed since (docs/references.md): here
it is the median pixel.
"""
STUDIED: dict[str, Any] = {
    "structure_power": 1.0,
    "reference_image": "median",
    "restart": False,
    "score": "r",
}
"""AMA's arguments for a relative R of the study, each training as it went."""

R_SCORE = replace(CHOSEN, scorer="negate")
"""What the cells of every release hold."""


class Studied(AMA):
    """AMA that scores named sets under every rule after some epochs, and keeps the networks of
    some.
    """

    calibrate: np.ndarray
    normal: np.ndarray
    sets: dict[str, np.ndarray]
    scored: Container[int]
    """Epochs after which the sets are scored."""
    kept: dict[int, nn.ModuleDict]
    """Filled with the averaged networks of the epochs that are its keys, their statistics
    recomputed.
    """

    def _observe(self, run: Run, kept: ImageSet, heldout: ImageSet | None) -> dict[str, float]:
        row = super()._observe(run, kept, heldout)
        for averaged, recomputed in product((False, True), repeat=2):
            keep = averaged and recomputed and run.epoch in self.kept
            if run.epoch not in self.scored and not keep:
                continue
            modules: Mapping[str, nn.Module] = run.scoring_modules() if averaged else run.modules
            ruled = with_params(self, {"recompute_statistics": recomputed})
            snapshot = ruled.snapshot(modules, evenly_spaced(kept, 512))
            if run.epoch in self.scored:
                row |= snapshot._under_every_rule(averaged, recomputed)
            if keep:
                self.kept[run.epoch] = snapshot.networks_
        return row

    def _under_every_rule(self, averaged: bool, recomputed: bool) -> dict[str, float]:
        row: dict[str, float] = {}
        groups = {"": self.normal, **self.sets}
        calibration, raw = (
            self._both(self.calibrate),
            {name: self._both(images) for name, images in groups.items()},
        )
        for relative, scorer_name in product((False, True), LABELS):
            scorer = SCORERS[scorer_name]().fit(calibration[relative])
            scores = {name: scorer.normality(both[relative]) for name, both in raw.items()}
            for name in self.sets:
                key = f"{Rule(averaged, recomputed, relative, scorer_name)} {name}"
                row[key] = round(auroc(scores[""], scores[name]), 5)
        return row

    def _both(self, images: np.ndarray) -> tuple[Scores, Scores]:
        """Plain and relative R."""
        measured = self.measure(open_images(images, shape=self.image_shape_), ("r", "s"))
        return measured["r"], self._raw(measured)


def study(
    normal: str,
    seed: int,
    parameters: Mapping[str, Any],
    *,
    last_only: bool,
    crossed: bool,
    data_dir: Path | None,
) -> dict[str, Any]:
    """Train once on 6,000 images, and score after every epoch, or after the last.

    Or exchange parts between two epochs.
    """
    images = load_dataset(normal, "train", data_dir)[0]
    images = images[np.random.default_rng(seed).permutation(len(images))]
    train, unseen = images[:TRAIN], images[TRAIN : TRAIN + 2000]
    ama = Studied(random_state=seed, scoring_precision="float32", **STUDIED, **parameters)
    ama.calibrate, ama.normal, ama.sets = (
        train[:CALIBRATE],
        unseen[:NORMAL],
        _sets(normal, data_dir),
    )
    ama.scored = () if crossed else (ama.epochs,) if last_only else range(ama.epochs + 1)
    ama.kept = dict.fromkeys((EARLY, ama.epochs), nn.ModuleDict()) if crossed else {}
    ama.fit(train)
    cell = {
        "normal": normal,
        "seed": seed,
        "parameters": ama.stored_parameters(),
        "history": ama.history_,
    }
    if crossed:
        return cell | {"crossed": crossings(ama)}
    calibration, error = (
        _calibrations(ama, train, unseen),
        _reconstruction_error(ama, unseen[:NORMAL]),
    )
    return cell | {"calibration": calibration, "reconstruction_error": error}


def _sets(normal: str, data_dir: Path | None) -> dict[str, np.ndarray]:
    """The proxies, in colour next to CIFAR-10; the tested sets next to Fashion-MNIST alone."""
    colour = normal == "cifar10"
    rng = np.random.default_rng(0)
    sets = proxy_sets(colour, rng, data_dir)
    tested: list[tuple[str, str, Split]] = (
        [] if colour else [("mnist", "mnist", "test"), ("omniglot", "omniglot", "test")]
    )
    return sets | {name: _drawn(source, split, rng, data_dir) for name, source, split in tested}


def proxy_sets(
    colour: bool, rng: np.random.Generator, data_dir: Path | None
) -> dict[str, np.ndarray]:
    """:data:`PROXIES`, 300 of each: light on dark at 28 pixels, or in colour at 32."""
    size, channels = (32, 3) if colour else (28, 1)
    background = _drawn("omniglot", "train", rng, data_dir)
    drawings = {"omniglot-background": background, "bold": bold(background)}
    if colour:
        for name, images in drawings.items():
            drawings[name] = np.repeat(
                np.pad(images, ((0, 0), (2, 2), (2, 2)))[..., None], 3, axis=3
            )
    return {
        **drawings,
        "shapes": shapes(EACH, size, channels),
        "noises": noises(EACH, size, channels),
    }


def _drawn(
    source: str, split: Split, rng: np.random.Generator, data_dir: Path | None
) -> np.ndarray:
    images = load_dataset(source, split, data_dir)[0]
    return images[rng.permutation(len(images))[:EACH]]


def _calibrations(ama: AMA, train: np.ndarray, unseen: np.ndarray) -> dict[str, dict[str, float]]:
    """Share of unseen normal images below the threshold that 5 % of the calibration images lie
    below.
    """
    _, heldout = ama.split(ama.open_to_score(train), ama.calibration_fraction)
    raw = {"train": ama.calibration_raw_, "heldout": ama.raw_scores(heldout)}
    tested = ama.raw_scores(unseen)
    found: dict[str, dict[str, float]] = {}
    for calibration, values in raw.items():
        found[calibration] = {"images": len(values)}
        for name, label in LABELS.items():
            scorer = SCORERS[name]().fit(values)
            threshold = np.quantile(scorer.normality(values), ama.false_alarm_rate)
            found[calibration][f"false alarms {label}"] = float(
                np.mean(scorer.normality(tested) < threshold)
            )
    return found


def _reconstruction_error(ama: AMA, images: np.ndarray) -> float:
    """Mean |x - x_hat| of normal images, pixels in [0, 1]."""
    top, left, height, width = ama.frame_.inner(*images.shape[1:3])
    x_hat = ama.reconstruct(images)[:, top : top + height, left : left + width]
    return float(np.abs(x_hat.reshape(images.shape) - images / 255.0).mean())


def crossings(ama: Studied) -> list[dict[str, Any]]:
    """R, Eq. (5), of the autoencoder of one epoch and the critic of another: which forgets?"""
    rows = []
    for autoencoder, critic in product(ama.kept, repeat=2):
        parts = {"encoder": autoencoder, "generator": autoencoder, "critic": critic}
        ama.networks_ = nn.ModuleDict(
            {name: ama.kept[epoch][name] for name, epoch in parts.items()}
        )
        normal, _ = ama._both(ama.normal)
        found = {
            name: round(auroc(-normal, -ama._both(images)[0]), 5)
            for name, images in ama.sets.items()
        }
        rows.append({"autoencoder_epoch": autoencoder, "critic_epoch": critic, **found})
    return rows


# ---------------------------------------------------------------------- the page


def read(folder: Path, normal: str = "fashion-mnist", **wanted: Any) -> list[dict[str, Any]]:
    """Every stored training on ``normal`` whose parameters are ``wanted``, and otherwise AMA's
    defaults, by seed.
    """
    # apart, not of the training, told by their weight, and not in use: no anomaly is known here
    # (all cells are scored in float32, most before there was a choice)
    told = {
        "random_state",
        "scorer",
        "scoring_precision",
        "negatives",
        "anomalies_weight",
        *STUDIED,
    }
    usual = AMA(**as_published("ama")).stored_parameters()
    expected = {name: value for name, value in usual.items() if name not in told} | wanted
    chosen = [
        cell
        for cell in _cells(folder)
        if cell["normal"] == normal
        and all(cell["parameters"][name] == value for name, value in expected.items())
    ]
    return sorted(chosen, key=lambda cell: int(cell["seed"]))


def _cells(folder: Path) -> list[dict[str, Any]]:
    return [read_json(file) for file in sorted(folder.glob("*.json"))]


def _by_epoch(cell: dict[str, Any], rule: Rule, name: str) -> list[float]:
    return [row[key] for row in cell["history"] if (key := f"{rule} {name}") in row]


def _before_and_after(folder: Path) -> dict[str, tuple[Rule, list[dict[str, Any]]]]:
    """The rule of each variant, and its trainings that were scored after every epoch."""
    variants: dict[str, tuple[Rule, dict[str, Any]]] = {
        "before": (PAPER, FIRST),
        "after": (CHOSEN, {}),
    }
    return {
        variant: (
            rule,
            [
                cell
                for cell in read(folder, **wanted)
                if len(_by_epoch(cell, rule, PROXIES[0])) == len(cell["history"])
            ],
        )
        for variant, (rule, wanted) in variants.items()
    }


def _last(cells: Sequence[dict[str, Any]], rule: Rule, names: Sequence[str]) -> list[str]:
    """One cell of a table for each set: mean and spread over seeds after the last epoch."""
    return [mean_and_spread([_by_epoch(cell, rule, name)[-1] for cell in cells]) for name in names]


def epochs_table(folder: Path) -> str:
    """AUROC of the A-score by epoch, before and after: one row for each set and seed."""
    rows, epochs = [], 0
    for variant, (rule, cells) in _before_and_after(folder).items():
        for name in SETS:
            for cell in cells:
                # the trainings "before" are older than one of the sets
                if values := _by_epoch(cell, rule, name):
                    epochs = len(values)
                    rows.append(
                        [variant, name, str(cell["seed"]), *(f"{value:.3f}" for value in values)]
                    )
    return markdown(
        ["variant", "anomalies", "seed", *(f"epoch {e}" for e in range(1, epochs + 1))], rows
    )


def departures_table(folder: Path, normal: str) -> str:
    """After the last epoch.

    What was chosen, each departure undone alone, and some of them together.
    """
    own, heavy = CHOSEN, {"interpolation_weight": 2.0}
    variants: dict[str, tuple[Rule, dict[str, Any]]] = {
        "as chosen": (own, {}),
        "last weights": (replace(own, averaged=False), {}),
        "running statistics": (replace(own, recomputed=False), {}),
        "plain R": (replace(own, relative=False), {}),
        "Gaussian of R itself": (replace(own, scorer="gaussian"), {}),
        "R, weights, statistics and score as in the paper": (PAPER, {}),
        "interpolation weight 2": (own, heavy),
        "interpolation weight 2, plain R": (replace(own, relative=False), heavy),
        "64 latents": (own, {"latent_dim": 64}),
        "negatives' weight 0.5": (own, {"negatives_weight": 0.5}),
        "as chosen, one-sided (R-score)": (R_SCORE, {}),
    }
    names = SETS if normal == "fashion-mnist" else PROXIES
    found = {label: read(folder, normal, **wanted) for label, (_, wanted) in variants.items()}
    rows = [
        [label, *_last(cells, variants[label][0], names), str(len(cells))]
        for label, cells in found.items()
        if cells
    ]
    return markdown(["AUROC", *names, "seeds"], rows)


def negatives_table(folder: Path) -> str:
    """R-score after the last epoch, by the weight of the negatives."""
    rows = []
    for weight in sorted({cell["parameters"]["negatives_weight"] for cell in _cells(folder)}):
        if not (found := read(folder, negatives_weight=weight)):
            continue
        norms = [cell["history"][-1]["latent_norm"] for cell in found]
        errors = mean_and_spread([cell["reconstruction_error"] for cell in found])
        label = f"{weight:g}" if weight else "0 (none)"
        rows.append(
            [label, *_last(found, R_SCORE, SETS), errors, f"{np.mean(norms):.1f}", str(len(found))]
        )
    return markdown(
        ["negatives' weight, R-score", *SETS, "reconstruction error", "norm of codes", "seeds"],
        rows,
    )


def calibration_table(folder: Path) -> str:
    """False alarms among unseen normals where 5 % are meant, by what the threshold was fitted
    on.
    """
    rows = []
    for calibration, (name, label) in product(
        ("train", "heldout"), (("negate", "R"), (CHOSEN.scorer, "A"))
    ):
        found = [cell["calibration"][calibration] for cell in read(folder)]
        alarms = mean_and_spread([values[f"false alarms {LABELS[name]}"] for values in found])
        rows.append([calibration, str(found[0]["images"]), label, alarms])
    return markdown(["calibration", "images", "score", "false alarms (5 % wanted)"], rows)


def crossed_table(folder: Path) -> str:
    """Plain R with parts of two epochs (averaged weights, recomputed statistics), by seed."""
    if not (cells := read(folder / "crossed", **FIRST)):
        raise InputError(
            f"{folder / 'crossed'}: holds no training with exchanged parts; "
            "docs/reproduction/index.md has the commands"
        )
    names = [name for name in SETS if name in cells[0]["crossed"][0]]
    rows = []
    for cell in cells:
        for row in cell["crossed"]:
            values = [f"{row[name]:.3f}" for name in names]
            rows.append(
                [
                    str(cell["seed"]),
                    str(row["autoencoder_epoch"]),
                    str(row["critic_epoch"]),
                    *values,
                ]
            )
    return markdown(["seed", "autoencoder of epoch", "critic of epoch", *names], rows)


def figure(folder: Path, file: Path) -> None:
    """The table by epoch as curves, one panel for each set."""
    from anomirror.report.plots import curves  # needs the extra `report`

    variants = _before_and_after(folder).items()
    panels = {
        name: {
            variant: [values for cell in cells if (values := _by_epoch(cell, rule, name))]
            for variant, (rule, cells) in variants
        }
        for name in SETS
    }
    curves(panels, file, xlabel="epoch", ylabel="AUROC of the A-score", ylim=(0.2, 1.0))


def main(
    normal: Annotated[str, typer.Option(help="fashion-mnist or cifar10")] = "fashion-mnist",
    seed: Annotated[int, typer.Option()] = 0,
    interpolation_weight: Annotated[float, typer.Option()] = AMA().interpolation_weight,
    negatives_weight: Annotated[
        float, typer.Option(help="0 leaves the negatives out")
    ] = AMA().negatives_weight,
    latent_dim: Annotated[int, typer.Option()] = AMA().latent_dim,
    epochs: Annotated[int, typer.Option()] = AMA().epochs,
    steps_per_epoch: Annotated[int, typer.Option()] = cast(int, AMA().steps_per_epoch),
    last_only: Annotated[
        bool, typer.Option("--last-only", help="score after the last epoch alone")
    ] = False,
    crossed: Annotated[
        bool, typer.Option("--crossed", help="exchange parts between two epochs instead")
    ] = False,
    out: Annotated[Path, typer.Option()] = Path("results/stability"),
    data_dir: Annotated[Path | None, typer.Option(envvar="ANOMIRROR_DATA")] = None,
) -> None:
    """Measure one training."""
    folder = out / "crossed" if crossed else out
    if crossed and epochs <= EARLY:
        raise SettingError(f"epochs={epochs}: --crossed exchanges epoch {EARLY} with a later one")
    which = f"{normal}-interpolation{interpolation_weight:g}-negatives{negatives_weight:g}"
    which += f"-epochs{epochs}"
    which += f"-latent{latent_dim}-steps{steps_per_epoch}"
    file = folder / f"{which}{'-last' if last_only else ''}-seed{seed}.json"
    if file.is_file():
        return
    parameters: dict[str, Any] = {
        "interpolation_weight": interpolation_weight,
        "latent_dim": latent_dim,
    }
    parameters |= {"epochs": epochs, "steps_per_epoch": steps_per_epoch}
    parameters |= (
        {"negatives_weight": negatives_weight}
        if negatives_weight
        else {"negatives": None, "negatives_weight": 0.0}
    )
    cell = study(normal, seed, parameters, last_only=last_only, crossed=crossed, data_dir=data_dir)
    cell |= {"versions": versions(), "command": command("studies.stability")}
    write_json(file, cell)


if __name__ == "__main__":
    typer.run(main)
