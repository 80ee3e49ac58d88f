"""The command line: parse, call, print. Here are the commands for models.

What needs torch or scikit-learn is imported by the command that uses it: help comes at once.
"""

from __future__ import annotations

import csv
import ctypes
import inspect
import io
import json
import os
import shutil
import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from PIL import Image
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from anomirror.cli.common import DataDir, app, assigned, example, none_from_word, refuse_owned, say
from anomirror.data import DATASETS, Split, load_dataset
from anomirror.errors import AnomirrorError, DivergenceError, InputError, SettingError
from anomirror.presets import PRESETS, preset

if TYPE_CHECKING:
    from anomirror.detectors import AMA, Detector
    from anomirror.images import ImageSet

_DATA_HELP = (
    "a folder (searched recursively), one image, a .txt file of paths (relative to its folder), an .npy/.npz array (n, h, w, c), "
    f"or a data set: {', '.join(DATASETS)}"
)
Data = Annotated[str, typer.Argument(metavar="DATA", help=_DATA_HELP)]
Model = Annotated[Path, typer.Argument(metavar="MODEL", help="a model folder that `anomirror fit` wrote")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, ...; the GPU if there is one")]


@app.command(epilog=example("anomirror demo --out demo-out"))
def demo(
    out: Annotated[Path, typer.Option(help="folder for the results")] = Path("demo-out"),
    seed: Annotated[int, typer.Option(help="seed of the training")] = 0,
) -> None:
    """Train AMA on a bundled sample of real images and show how well it finds anomalies."""
    from anomirror.demo import run_demo  # needs the extra `report`

    run_demo(out, Console(), seed=seed)


@app.command(
    epilog=example(
        "anomirror fit good-images/ --out model",
        "anomirror fit good-images/ --anomalies defects/ --out model --set epochs=30 --set image_size=64",
    )
)
def fit(
    data: Data,
    out: Annotated[Path, typer.Option(help="the model folder to write")],
    anomalies: Annotated[str | None, typer.Option(metavar="DATA", help="known anomalies to learn from")] = None,
    method: Annotated[str, typer.Option(help=", ".join(PRESETS))] = "ama",
    preset_name: Annotated[str, typer.Option("--preset", help="named settings; `anomirror methods` lists them")] = "cpu",
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="one parameter; repeatable")] = None,
    config: Annotated[Path | None, typer.Option(help="a TOML file of parameters")] = None,
    seed: Annotated[int | None, typer.Option(help="seed of everything random (0 if not given)")] = None,
    device: Device = None,
    resume: Annotated[bool, typer.Option("--resume", help="continue from the checkpoint in MODEL.partial")] = False,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="leave unreadable files out")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace an existing model")] = False,
    data_dir: DataDir = None,
) -> None:
    """Fit a detector on normal images and write it as a model folder."""
    from anomirror.detectors import make_detector
    from anomirror.images import Joined, open_images
    from anomirror.processes import rank
    from anomirror.storage import read_card

    out = out.resolve() if out.name in ("", "..") else out
    if out.name == "":
        raise InputError(f"{out}: is no place for a model; choose another --out")
    partial = out.with_name(out.name + ".partial")
    unfinished = (partial / "checkpoint.safetensors").exists()
    if out.is_file():
        raise InputError(f"{out}: is a file; choose another --out")
    if out.exists():
        read_card(out)  # a folder that is no model is refused before any work
        if resume and not (overwrite and unfinished):
            say(f"{out} is complete already; nothing to do")
            return
        if not overwrite:
            raise InputError(f"{out}: exists already; choose another --out, or pass --overwrite")
    if unfinished and not resume:
        raise InputError(f"{partial}: holds the checkpoint of an unfinished run; pass --resume, or remove the folder")
    parameters = preset(method, preset_name) | _config_file(config) | assigned(set_)
    refuse_owned(parameters, "checkpoint_dir", "verbose", "monitor")
    parameters |= {"random_state": seed} if seed is not None else {}
    parameters |= {"device": device} if device is not None else {}
    parameters |= {"skip_bad": True} if skip_bad else {}
    detector = make_detector(method, **parameters)
    if "checkpoint_dir" in detector.get_params():
        if detector.random_state is None:
            raise SettingError(
                "random_state=none: the command line can resume its runs, which needs a seed; choose one with --seed"
            )
        detector.set_params(checkpoint_dir=str(partial), verbose=True)
    elif rank() > 0:  # nothing to share
        return
    images: ImageSet = open_images(_resolve(data, "train", data_dir), image_size=detector.image_size)
    labels = np.ones(len(images), dtype=int)
    if anomalies is not None:
        known = open_images(_resolve(anomalies, "train", data_dir), image_size=detector.image_size, shape=images.shape)
        labels = np.concatenate([labels, -np.ones(len(known), dtype=int)])
        images = Joined(images, known)
    try:
        detector.fit(images, labels)
    except DivergenceError as error:
        kept = f"; the last good checkpoint is in {partial}" if partial.exists() else ""
        raise DivergenceError(f"{error}{kept}", error.epoch) from error
    if rank() > 0:
        return
    detector.save(out, overwrite=overwrite)
    shutil.rmtree(partial, ignore_errors=True)
    skipped = f", {detector.skipped_} unreadable ones left out" if detector.skipped_ else ""
    say(f"{method} fitted on {detector.trained_on_} of {len(images)} images{skipped}; written to {out}")


@app.command(epilog=example("anomirror score model new-images/ --out scores.csv --maps maps/"))
def score(
    model: Model,
    data: Data,
    out: Annotated[Path | None, typer.Option(help="CSV file; standard output if not given")] = None,
    maps: Annotated[Path | None, typer.Option(help="folder for a PNG per row: where the image departs from normal")] = None,
    device: Device = None,
    data_dir: DataDir = None,
) -> None:
    """Score images: one CSV row each, in order; `score` is high for normal images, `raw_score` for anomalies.

    A picture that cannot be read is a row with its error.
    """
    from anomirror.detectors import AMA, load
    from anomirror.images import open_images

    detector = load(model, device=device)
    if maps is not None:
        if not isinstance(detector, AMA):
            raise SettingError(f"{detector.method} has no maps; only ama explains its scores")
        maps.mkdir(parents=True, exist_ok=True)  # what cannot be written is known before anything is scored
    images = open_images(_resolve(data, "test", data_dir), image_size=detector.image_size, shape=detector.image_shape_)
    with _written(out) as stream:
        unreadable = _write_rows(stream, detector, images)
    if maps is not None and isinstance(detector, AMA):
        _write_maps(detector, images, maps)
    if unreadable:
        say(f"{unreadable} of {len(images)} images could not be read; see the column error")


@app.command(epilog=example("anomirror evaluate model --normal good/ --anomalies defects/ --json"))
def evaluate(
    model: Model,
    normal: Annotated[str, typer.Option(metavar="DATA", help="images known to be normal")],
    anomalies: Annotated[str, typer.Option(metavar="DATA", help="images known to be anomalous")],
    as_json: Annotated[bool, typer.Option("--json", help="only JSON on standard output")] = False,
    device: Device = None,
    data_dir: DataDir = None,
) -> None:
    """AUROC, AUPR and FPR@95 with 95 % intervals on labelled images."""
    from anomirror import metrics
    from anomirror.detectors import load
    from anomirror.report.console import metrics_table

    detector = load(model, device=device)
    raw_normal, raw_anomalies = (detector.raw_scores(_resolve(d, "test", data_dir)) for d in (normal, anomalies))
    by_score = {
        "score": metrics.evaluate(detector.normality(raw_normal), detector.normality(raw_anomalies)),
        "raw_score": metrics.evaluate(-raw_normal, -raw_anomalies),
    }
    if as_json:
        counts = {"normal": len(raw_normal), "anomalies": len(raw_anomalies)}
        print(json.dumps({"method": detector.method, **counts, **{k: m.as_dict() for k, m in by_score.items()}}, indent=2))
        return
    title = f"{detector.method}: {len(raw_normal)} normal, {len(raw_anomalies)} anomalous images (95 % intervals)"
    Console().print(metrics_table(title, "by", by_score))


@app.command(epilog=example("anomirror info model"))
def info(model: Model, as_json: Annotated[bool, typer.Option("--json", help="only JSON")] = False) -> None:
    """What a model folder holds: method, parameters, threshold, what it was trained on."""
    from anomirror.storage import read_card

    card = read_card(model)
    if as_json:
        print(card.model_dump_json(indent=2))
        return
    table = Table(title=escape(str(model)), show_header=False)
    for name, value in card.model_dump(exclude={"parameters"}).items():
        table.add_row(name, escape(str(value)))
    for name, value in card.parameters.items():
        table.add_row(escape(f"parameters.{name}"), escape(str(value)))
    Console().print(table)


@app.command(epilog=example("anomirror methods"))
def methods() -> None:
    """Every method, with its presets."""
    from anomirror.detectors import DETECTORS

    table = Table("method", "presets", "what it is")
    for name, detector in DETECTORS.items():
        summary = (inspect.getdoc(detector) or "").split("\n\n")[0].replace("\n", " ")
        table.add_row(name, ", ".join(PRESETS[name]), escape(summary))
    Console().print(table)


# ---------------------------------------------------------------------- helpers


_ODD_NAMES = "backslashreplace"
"""How file names that are not valid text are written."""


def _resolve(data: str, split: Split, data_dir: Path | None) -> Any:
    """A path as it is, or the images of a named data set."""
    if Path(data).exists():
        return Path(data)
    if data in DATASETS:
        return load_dataset(data, split, data_dir)[0]
    raise InputError(f"{data}: no such file or folder, nor a data set ({', '.join(DATASETS)})")


def _config_file(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        loaded = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{file}: {error}") from error
    return {name: none_from_word(value) for name, value in loaded.items()}


@contextmanager
def _written(out: Path | None) -> Iterator[IO[str]]:
    """A text file that appears when it is complete, or standard output."""
    from anomirror.storage import replacing

    if out is None:
        yield sys.stdout
        return
    with replacing(out) as temporary, temporary.open("w", newline="", encoding="utf-8", errors=_ODD_NAMES) as stream:
        yield stream


def _pieces(images: ImageSet, count: int) -> Iterator[tuple[range, ImageSet, Mapping[int, str]]]:
    """The images, ``count`` at a time: their indices, the readable ones as a set, and why others (counted within) are not.

    Each file is decoded once, and what is decoded is let go with its piece.
    """
    from anomirror.images import FileImages, Subset, check_files, in_batches

    for indices in in_batches(len(images), count):
        piece = images.part(indices) if isinstance(images, FileImages) else Subset(images, indices)
        yield indices, *check_files(piece)


def _write_rows(stream: IO[str], detector: Detector, images: ImageSet) -> int:
    """The CSV of ``score``; returns how many images cannot be read."""
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["path", "raw_score", "score", "decision", "is_anomaly", "error"])
    unreadable = 0
    for indices, readable, bad in _pieces(images, 1024):
        scores = iter(_scores(detector, readable))
        for within, index in enumerate(indices):
            if within in bad:
                writer.writerow([images.names[index], "", "", "", "", bad[within]])
                continue
            raw, normality, decision = next(scores)
            writer.writerow(
                [images.names[index], f"{raw:.9g}", f"{normality:.9g}", f"{decision:.9g}", int(not decision >= 0), ""]
            )
        unreadable += len(bad)
    return unreadable


def _scores(detector: Detector, images: ImageSet) -> list[tuple[float, float, float]]:
    """Raw score, normality and decision of each image."""
    if not len(images):
        return []
    raw = detector.raw_scores(images)
    normality = detector.normality(raw)
    return list(zip(raw.tolist(), normality.tolist(), (normality - detector.offset_).tolist(), strict=True))


def _write_maps(detector: AMA, images: ImageSet, folder: Path) -> None:
    """One grey PNG for each readable image, in its own size, named by its row in the CSV (from 1) and its file.

    Black is normal, white a residual of twice the normal limit or more.
    """
    import torch

    from anomirror.storage import replacing

    digits = len(str(len(images)))
    for indices, readable, bad in _pieces(images, 256):
        if not len(readable):
            continue
        maps = torch.from_numpy(detector.explain(readable))
        rows = [index for within, index in enumerate(indices) if within not in bad]
        for within, (index, framed) in enumerate(zip(rows, maps, strict=True)):
            own = detector.frame_.take_out(framed, *readable.native_size(within)).clamp(0, 1)
            stem = Path(images.names[index]).stem.encode("utf-8", _ODD_NAMES)[:100].decode("utf-8", "ignore").replace(" ", "-")
            with replacing(folder / f"{index + 1:0{digits}d}-{stem}.png") as temporary:
                Image.fromarray((own.numpy() * 255).round().astype(np.uint8)).save(temporary)


def _keep_freed_memory() -> None:
    """Let the process keep what it frees.

    By default glibc gives large blocks back to the system at once, and each tensor of the next minibatch is mapped and faulted
    in anew (docs/performance.md). Elsewhere than on glibc nothing happens, nor where MALLOC_ variables say what is wanted.
    """
    if sys.platform != "linux" or any(name.startswith("MALLOC_") for name in os.environ):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # a static build, or another C library
        return
    trim_threshold, mmap_max = -1, -4  # M_TRIM_THRESHOLD, M_MMAP_MAX of malloc.h
    mallopt(trim_threshold, 2**31 - 1)
    mallopt(mmap_max, 0)


from anomirror.cli import datasets, results  # noqa: E402, F401  (they add their commands to the application)


def main() -> None:
    """Entry point: errors are one clear line and exit code 2, never a traceback (unless ``ANOMIRROR_DEBUG`` is set)."""
    _keep_freed_memory()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_ODD_NAMES)
    try:
        app()
    except (AnomirrorError, OSError, MemoryError) as error:
        if os.environ.get("ANOMIRROR_DEBUG"):
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except Exception as error:  # a fault of ours, or of the machine: still one line
        if os.environ.get("ANOMIRROR_DEBUG"):
            raise
        first = (str(error).splitlines() or [""])[0]
        print(f"error: {type(error).__name__}: {first} (ANOMIRROR_DEBUG=1 shows where)", file=sys.stderr)
        sys.exit(1)
