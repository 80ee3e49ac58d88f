"""Models on disk: a folder of safetensors, JSON and CSV, written atomically, never pickled.

A model folder::

    model.json            what it is (:class:`ModelCard`): method, parameters, scorer, threshold
    weights.safetensors   every fitted tensor
    history.csv           one row for each epoch of training

Everything read is validated before it is used; no name in a file is ever imported.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from anomirror.cards import ModelCard
from anomirror.errors import InputError, ModelFileError

FORMAT = 1
"""Version of the model folder's format; a newer one is refused."""

CARD, WEIGHTS, HISTORY = "model.json", "weights.safetensors", "history.csv"
CHECKPOINT = "checkpoint.safetensors"
_OURS = (CARD, WEIGHTS, HISTORY, CHECKPOINT)
"""Names of the files that this module writes: all that it ever removes."""


@dataclass(frozen=True)
class ModelTarget:
    """Where a model is to be written, and what was there when it was first checked."""

    path: Path
    """Resolved: what links and ``..`` lead to."""
    replaced: tuple[int, int] | None
    """Device and inode of the model that it takes the place of; None where nothing was."""


def model_target(
    path: str | os.PathLike[str], *, overwrite: bool = False, ways_out: str = "pass overwrite=True"
) -> ModelTarget:
    """Look at the place of a model before any work, and find out whether it can be written.

    Raises
    ------
    InputError : a file, a folder that is no model, or a model without ``overwrite`` is there.
    OSError : nothing can be written there.
    """
    target = _resolved(path)
    if target.name == "":
        raise InputError(f"{path}: cannot hold a model; choose another place")
    if target.exists() and not target.is_dir():
        raise InputError(f"{target}: is a file; choose another place for the model")
    if target.exists():
        if not (target / CARD).is_file():
            raise InputError(
                f"{target}: is not a model of anomirror but another folder, and is left alone; "
                "choose a name that is not taken"
            )
        read_card(target)
        if not overwrite:
            raise InputError(f"{target}: exists already; choose another place, or {ways_out}")
    existing = next(folder for folder in target.parents if folder.exists())
    if not existing.is_dir():
        raise InputError(f"{existing}: is a file, and cannot hold a model; choose another place")
    Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=existing)).rmdir()
    return ModelTarget(target, _identity(target) if target.exists() else None)


def refuse_overlap(
    place: str | os.PathLike[str], data: str | os.PathLike[str], option: str, *, above: bool = True
) -> None:
    """Refuse to write into the folder that is read, or around it.

    What is written there would be read, or lost, later.

    Raises
    ------
    InputError : ``place`` is, lies in, or (with ``above``) holds the folder or file ``data``.
    """
    wanted, read = _resolved(place), _resolved(data)
    if not read.exists():
        return
    there = [folder for folder in (wanted, *wanted.parents) if folder.exists()]
    inside = read.is_dir() and any(folder.samefile(read) for folder in there)
    around = (
        above
        and wanted.exists()
        and any(folder.samefile(wanted) for folder in (read, *read.parents))
    )
    if inside or around:
        relation = "lies in" if inside else "holds"
        raise InputError(
            f"{option} {place}: {relation} the images that are read ({data}); choose a place "
            "outside"
        )


def save_model(
    path: str | os.PathLike[str] | ModelTarget,
    card: ModelCard,
    tensors: Mapping[str, Tensor],
    history: Sequence[Mapping[str, float]],
    *,
    overwrite: bool = False,
) -> Path:
    """Write a model folder.

    ``weights_sha256`` of the card is set here. Returns where it is.

    The folder appears complete or not at all. An existing path is refused unless ``overwrite``, and
    then replaced only if it is a model itself; files of others in it are kept. What appeared there
    since a :class:`ModelTarget` was made is left alone.

    Raises
    ------
    InputError : the place is taken; if it was taken meanwhile, the message says where the model is
        instead.
    """
    target = path if isinstance(path, ModelTarget) else model_target(path, overwrite=overwrite)
    target.path.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{target.path.name}.", dir=target.path.parent))
    try:
        save_file(
            {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
            folder / WEIGHTS,
        )
        full = card.model_copy(update={"weights_sha256": _sha256(folder / WEIGHTS)})
        (folder / CARD).write_text(full.model_dump_json(indent=2) + "\n", encoding="utf-8")
        write_history(folder / HISTORY, history)
        for file in folder.iterdir():
            file.chmod(0o644)
            with file.open("rb") as stream:
                os.fsync(stream.fileno())
        folder.chmod(0o755)
        _put_in_place(folder, target)
    finally:
        remove_ours(folder)
    return target.path


def _put_in_place(folder: Path, target: ModelTarget) -> None:
    """Give a complete folder its name.

    A folder cannot be replaced in one step: killed between the two renames, the old one lies whole
    in ``.NAME.old.*`` next to.
    """
    path = target.path
    now = _identity(path) if os.path.lexists(path) else None
    if now != target.replaced or (now is not None and not (path / CARD).is_file()):
        other = _free_name(path)
        folder.rename(other)
        raise InputError(
            f"{path}: was taken by something else while the model was fitted, and is left alone; "
            f"the model is {other}"
        )
    if now is None:
        folder.rename(path)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{path.name}.old.", dir=path.parent))
    path.rename(old / path.name)
    folder.rename(path)
    for entry in (old / path.name).iterdir():
        if entry.name not in (CARD, WEIGHTS, HISTORY):
            entry.rename(path / entry.name)
    remove_ours(old)


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.lstat()
    return status.st_dev, status.st_ino


def _free_name(path: Path) -> Path:
    number = 2
    while os.path.lexists(other := path.with_name(f"{path.name}-{number}")):
        number += 1
    return other


def _resolved(path: str | os.PathLike[str]) -> Path:
    """Where links and ``..`` lead to."""
    try:
        return Path(path).resolve()
    except RuntimeError as error:  # what Python 3.11 raises
        raise InputError(f"{path}: is a link that leads to itself") from error


def remove_ours(folder: Path) -> None:
    """Remove the files that this module writes, below a folder, and the folders that this leaves
    empty; nothing else.

    Links are not followed.
    """
    for inside, _, files in os.walk(folder, topdown=False):
        for name in files:
            if name in _OURS or any(name.startswith(f".{ours}.") for ours in _OURS):
                (Path(inside) / name).unlink(missing_ok=True)
        with suppress(OSError):
            Path(inside).rmdir()


def load_model(
    path: str | os.PathLike[str],
) -> tuple[ModelCard, dict[str, Tensor], list[dict[str, float]]]:
    """Read and check a model folder.

    Raises
    ------
    ModelFileError : names the file and what is wrong: missing, truncated, changed, of a newer
        format.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise ModelFileError(f"{folder}: no such model folder")
    card = _read_card(folder / CARD)
    weights = folder / WEIGHTS
    if not weights.is_file():
        raise ModelFileError(f"{weights}: missing")
    if _sha256(weights) != card.weights_sha256:
        raise ModelFileError(
            f"{weights}: truncated or changed since it was saved (its SHA-256 is not that of "
            f"{CARD})"
        )
    try:
        # copied: the file is mapped into memory, and what happens to it later must not change, or
        # end, a loaded model
        tensors = {name: tensor.clone() for name, tensor in load_file(weights).items()}
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelFileError(f"{weights}: not a readable safetensors file ({error})") from error
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor.double()).all()):
            raise ModelFileError(f"{weights}: {name} holds NaN or infinity")
    return card, tensors, read_history(folder / HISTORY)


def read_card(path: str | os.PathLike[str]) -> ModelCard:
    """Only ``model.json`` of a model folder, checked."""
    if not Path(path).is_dir():
        raise ModelFileError(f"{path}: no such model folder")
    return _read_card(Path(path) / CARD)


def _read_card(file: Path) -> ModelCard:
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ModelFileError(f"{file}: missing; is this a model folder?") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ModelFileError(f"{file}: cannot be read ({error})") from error
    try:
        raw = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ModelFileError(f"{file}: truncated or not JSON ({error})") from error
    version = raw.get("format") if isinstance(raw, dict) else None
    if isinstance(version, int) and version > FORMAT:
        raise ModelFileError(
            f"{file}: format {version}, this release reads up to {FORMAT}; upgrade anomirror"
        )
    try:
        return ModelCard.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "document"
        raise ModelFileError(f"{file}: {where}: {first['msg']}") from error


def write_history(file: Path, history: Sequence[Mapping[str, float]]) -> None:
    """One CSV row for each epoch; columns in the order in which they first appear."""
    columns = list(dict.fromkeys(name for row in history for name in row))
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)


def read_history(file: Path) -> list[dict[str, float]]:
    """What :func:`write_history` wrote; whole numbers come back whole."""
    try:
        with file.open(newline="", encoding="utf-8") as stream:
            return [
                {name: _number(text) for name, text in row.items() if text}
                for row in csv.DictReader(stream)
            ]
    except FileNotFoundError:
        raise ModelFileError(f"{file}: missing") from None
    except (OSError, ValueError, TypeError, UnicodeDecodeError, csv.Error) as error:
        raise ModelFileError(f"{file}: not a table of numbers ({error})") from error


def _number(text: str) -> float:
    try:
        return int(text)
    except ValueError:
        return float(text)


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def replacing(file: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary file next to ``file`` that takes its name when the block ends well."""
    target = _resolved(file)
    if target.exists() and not target.is_file():
        raise InputError(f"{file}: is not a file that could be replaced")
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(
        prefix=f".{target.name}.", suffix=target.suffix, dir=target.parent
    )
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
