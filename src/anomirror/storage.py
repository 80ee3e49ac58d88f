"""Models and checkpoints on disk: a folder of safetensors, JSON and CSV, written atomically, never pickled.

A model folder::

    model.json            what it is: method, parameters, scorer, threshold, shapes, versions (:class:`ModelCard`)
    weights.safetensors   every fitted tensor
    history.csv           one row for each epoch of training

Everything read is validated before it is used; no name in a file is ever imported.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, field_validator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from anomirror.errors import CheckpointError, InputError, ModelFileError
from anomirror.images import SIZES

FORMAT = 1
"""Version of the model folder's format; a newer one is refused."""

CARD, WEIGHTS, HISTORY = "model.json", "weights.safetensors", "history.csv"

Value = bool | int | float | str | None | list[float] | list[int]


class ModelCard(BaseModel):
    """Contents of ``model.json``."""

    model_config = ConfigDict(extra="forbid", strict=True, ser_json_inf_nan="constants")

    format: Literal[1] = 1
    library: str
    method: str
    parameters: dict[str, Value]
    scorer: str
    scorer_state: dict[str, FiniteFloat]
    offset: FiniteFloat
    image_shape: list[int] = Field(min_length=3, max_length=3)
    trained_on: int = Field(ge=1)
    data_fingerprint: str
    fitted: dict[str, FiniteFloat] = {}
    weights_sha256: str

    @field_validator("image_shape")
    @classmethod
    def _shape(cls, shape: list[int]) -> list[int]:
        channels, height, width = shape
        if channels < 1 or height != width or height not in SIZES:
            raise ValueError(f"{shape} is no (channels, size, size) with a size of {SIZES}")
        return shape


def save_model(
    path: str | os.PathLike[str],
    card: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    history: Sequence[Mapping[str, float]],
    *,
    overwrite: bool = False,
) -> None:
    """Write a model folder; ``card`` is :class:`ModelCard` without ``weights_sha256``.

    The folder appears complete or not at all. An existing path is refused unless ``overwrite``, and then replaced only if it
    is a model itself.
    """
    target = Path(path)
    if target.exists():
        if not overwrite:
            raise InputError(f"{target}: exists already; choose another path, or pass overwrite=True")
        if not (target / CARD).is_file():
            raise InputError(f"{target}: exists and is not a model; it is not overwritten")
    with _new_folder(target) as folder:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, folder / WEIGHTS)
        full = ModelCard(**card, weights_sha256=_sha256(folder / WEIGHTS))
        (folder / CARD).write_text(full.model_dump_json(indent=2) + "\n", encoding="utf-8")
        write_history(folder / HISTORY, history)


def load_model(path: str | os.PathLike[str]) -> tuple[ModelCard, dict[str, Tensor], list[dict[str, float]]]:
    """Read and check a model folder.

    Raises
    ------
    ModelFileError : names the file and what is wrong: missing, truncated, changed, of a newer format.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise ModelFileError(f"{folder}: no such model folder")
    card = _read_card(folder / CARD)
    weights = folder / WEIGHTS
    if not weights.is_file():
        raise ModelFileError(f"{weights}: missing")
    if _sha256(weights) != card.weights_sha256:
        raise ModelFileError(f"{weights}: truncated or changed since it was saved (its SHA-256 is not that of {CARD})")
    try:
        # copied: the file is mapped into memory, and what happens to it later must not change, or end, a loaded model
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
        raise ModelFileError(f"{file}: format {version}, this release reads up to {FORMAT}; upgrade anomirror")
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
            return [{name: _number(text) for name, text in row.items() if text} for row in csv.DictReader(stream)]
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
def _new_folder(target: Path) -> Iterator[Path]:
    """A temporary folder beside ``target`` that takes its place at the end; the old one survives any failure.

    A folder cannot be replaced in one step: killed between the two renames, the old one lies whole in ``.NAME.old.*`` beside.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield folder
        for file in folder.iterdir():
            file.chmod(0o644)
            with file.open("rb") as stream:
                os.fsync(stream.fileno())
        folder.chmod(0o755)
        if target.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
            target.rename(old / target.name)
            folder.rename(target)
            shutil.rmtree(old)
        else:
            folder.rename(target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def replacing(file: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary file beside ``file`` that takes its name when the block ends well."""
    target = Path(file)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=target.suffix, dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def write_checkpoint(
    folder: Path, identity: Mapping[str, Any], state: Mapping[str, Any], history: Sequence[Mapping[str, float]]
) -> None:
    """The state of a run as one safetensors file; its JSON header carries everything that is not a tensor."""
    tensors: dict[str, Tensor] = {}
    skeleton = _pack(state, "", tensors)
    header = {
        "format": str(FORMAT),
        "identity": json.dumps(identity, sort_keys=True),
        "state": json.dumps(skeleton),
        "history": json.dumps(list(history)),
    }
    with replacing(folder / "checkpoint.safetensors") as temporary:
        save_file(tensors, temporary, metadata=header)


def read_checkpoint(folder: Path, identity: Mapping[str, Any]) -> tuple[dict[str, Any], list[dict[str, float]]] | None:
    """The last checkpoint of this very run, or None if there is none.

    Raises
    ------
    CheckpointError : it is damaged, or its identity (parameters, data) differs; the message names what differs.
    """
    from safetensors import safe_open

    file = folder / "checkpoint.safetensors"
    if not file.is_file():
        return None
    try:
        with safe_open(file, framework="pt") as archive:
            header = archive.metadata() or {}
            tensors = {name: archive.get_tensor(name) for name in archive.keys()}  # noqa: SIM118
        theirs, skeleton, history = (json.loads(header[key]) for key in ("identity", "state", "history"))
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise CheckpointError(f"{file}: damaged ({error}); remove it to start afresh") from error
    ours = json.loads(json.dumps(identity, sort_keys=True))
    differing = sorted(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key))
    if differing:
        details = "; ".join(f"{key} was {theirs.get(key)!r}, is {ours.get(key)!r}" for key in differing[:3])
        raise CheckpointError(f"{file}: belongs to another run ({details}); use its settings, or remove it")
    return _unpack(skeleton, tensors), history


def _pack(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """``value`` as JSON with each tensor replaced by its name in ``tensors``; dictionary keys keep their type."""
    if isinstance(value, Tensor):
        tensors[name] = value.detach().cpu().clone().contiguous()
        return {"tensor": name}
    if isinstance(value, Mapping):
        return {"items": [[key, _pack(item, f"{name}/{key}", tensors)] for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        return [_pack(item, f"{name}/{index}", tensors) for index, item in enumerate(value)]
    return value


def _unpack(skeleton: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(skeleton, list):
        return [_unpack(item, tensors) for item in skeleton]
    if isinstance(skeleton, dict):
        if "tensor" in skeleton:
            return tensors[skeleton["tensor"]]
        return {key: _unpack(item, tensors) for key, item in skeleton["items"]}
    return skeleton


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Each tensor's name with ``prefix.`` before it."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def without_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with ``prefix.``, without it."""
    return {name[len(prefix) + 1 :]: tensor for name, tensor in tensors.items() if name.startswith(f"{prefix}.")}


def state_tensors(**modules: torch.nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers of several modules under one set of names."""
    return {name: t for prefix, m in modules.items() for name, t in prefixed(prefix, m.state_dict()).items()}
