"""What a density of AMA's statistics finds next to R and A, on proxies and made-up anomalies.

    anomirror reproduce table1 --methods ama --seeds 10 --keep-models --out models
    python -m studies.density measure models/cpu --data-dir data/
    python -m studies.density table

Half of the images that a training held out are normal ones; of others, anomalies are made up. No
tested set is read. What is measured is not measured again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import typer

from anomirror import AMA, load
from anomirror.benchmark.render import markdown, mean_and_spread
from anomirror.data import load_dataset
from anomirror.detector.variants import raw_scores_under
from anomirror.metrics import auroc
from anomirror.synthetic import KINDS, made_up
from studies.rows import Rows
from studies.stability import PROXIES, proxy_sets

OUT = Path("results/density/proxies.json")
NORMALS = ("fashion-mnist", "cifar10", "gtsrb")
NORMAL, EACH = 1000, 200
WAYS = ("R", "A", "density")
GROUPS: Mapping[str, tuple[str, ...]] = {"proxies": PROXIES, "made up": tuple(KINDS)}

app = typer.Typer(help=__doc__, no_args_is_help=True)


@app.command()
def measure(
    models: Annotated[Path, typer.Argument(help="folder of kept models")],
    data_dir: Annotated[Path, typer.Option(envvar="ANOMIRROR_DATA")],
) -> None:
    """AUROC of every kept model of AMA itself."""
    rows = Rows(OUT)
    for normal in NORMALS:
        for file in sorted((models / normal).glob("ama-seed*.model")):
            key = {"normal": normal, "seed": int(file.stem.removeprefix("ama-seed"))}
            if key not in rows:
                model = cast(AMA, load(file, device="cpu"))
                rows.add({**key, "auroc": _measured(model, normal, data_dir)})


def _measured(model: AMA, normal: str, data_dir: Path) -> dict[str, dict[str, float]]:
    images = load_dataset(normal, "train", data_dir)[0]
    _, heldout = model.split(model.open(images), model.calibration_fraction)
    at = np.random.default_rng(0).permutation(heldout.indices)
    good, sources = images[at[: min(NORMAL, len(at) // 2)]], images[at[-EACH:]]
    usual = _raw(model, good)
    found = {}
    for name, odd in _odd(normal, sources, data_dir):
        raw = _raw(model, odd)
        pairs = {way: (-usual[way], -raw[way]) for way in ("R", "density")}
        pairs["A"] = model.normality(usual["R"]), model.normality(raw["R"])
        found[name] = {way: round(auroc(*pairs[way]), 4) for way in WAYS}
    return found


def _raw(model: AMA, images: np.ndarray) -> dict[str, np.ndarray]:
    ways = {"R": {"score": "r"}, "density": {"score": "density", "scorer": "negate"}}
    return raw_scores_under(model, images, ways)


def _odd(normal: str, sources: np.ndarray, data_dir: Path) -> Iterator[tuple[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    for name, images in proxy_sets(normal != "fashion-mnist", rng, data_dir).items():
        yield name, images[:EACH]
    channels = sources if sources.ndim == 4 else sources[..., None]
    for kind in KINDS:
        odd = made_up(np.ascontiguousarray(np.moveaxis(channels, -1, 1)), kind)
        yield kind, np.moveaxis(odd, 1, -1).reshape(sources.shape)


@app.command()
def table() -> None:
    """Means and spreads over seeds."""
    print(density_table())


def density_table(file: Path = OUT) -> str:
    """For docs/decisions/0026-density.md."""
    measured, lines = Rows(file).rows, []
    for normal in NORMALS:
        of = [row["auroc"] for row in measured if row["normal"] == normal]
        for group, names in GROUPS.items():
            lines.append([f"{normal}, {group}", *_means(of, names), str(len(of))])
    return markdown(["mean AUROC", *WAYS, "seeds"], lines)


def kinds_table(file: Path = OUT) -> str:
    """Each proxy and kind by itself."""
    measured, lines = Rows(file).rows, []
    for name in (*PROXIES, *KINDS):
        cells = []
        for normal in NORMALS:
            of = [row["auroc"] for row in measured if row["normal"] == normal]
            means = [np.mean([each[name][way] for each in of]) for way in WAYS]
            cells.append(", ".join(f"{mean:.2f}" for mean in means))
        lines.append([name, *cells])
    return markdown(["R, A, density", *NORMALS], lines)


def _means(rows: list[dict[str, Any]], names: tuple[str, ...]) -> list[str]:
    return [
        mean_and_spread([float(np.mean([row[name][way] for name in names])) for row in rows])
        for way in WAYS
    ]


if __name__ == "__main__":
    app()
