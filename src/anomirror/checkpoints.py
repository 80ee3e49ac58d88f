"""Checkpoints of a run: one safetensors file, written atomically, never pickled."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from anomirror.errors import CheckpointError
from anomirror.storage import CHECKPOINT, FORMAT, replacing


def write_checkpoint(
    folder: Path,
    identity: Mapping[str, object],
    state: Mapping[str, object],
    history: Sequence[Mapping[str, float]],
) -> None:
    """The state of a run as one safetensors file.

    Its JSON header carries everything that is not a tensor.
    """
    tensors: dict[str, Tensor] = {}
    skeleton = _pack(state, "", tensors)
    header = {
        "format": str(FORMAT),
        "identity": json.dumps(identity, sort_keys=True),
        "state": json.dumps(skeleton),
        "history": json.dumps(list(history)),
    }
    with replacing(folder / CHECKPOINT) as temporary:
        save_file(tensors, temporary, metadata=header)


def read_checkpoint(
    folder: Path, identity: Mapping[str, object]
) -> tuple[dict[str, Any], list[dict[str, float]]] | None:
    """The last checkpoint of this very run, or None if there is none.

    Raises
    ------
    CheckpointError : it is damaged, or its identity (parameters, data) differs; the message names
        what differs.
    """
    file = folder / CHECKPOINT
    if not file.is_file():
        return None
    try:
        with safe_open(file, framework="pt") as archive:
            header = archive.metadata() or {}
            tensors = {name: archive.get_tensor(name) for name in archive.keys()}  # noqa: SIM118
        theirs, skeleton, history = (
            json.loads(header[key]) for key in ("identity", "state", "history")
        )
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise CheckpointError(f"{file}: damaged ({error}); remove it to start afresh") from error
    ours = json.loads(json.dumps(identity, sort_keys=True))
    differing = sorted(
        key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key)
    )
    if differing:
        details = "; ".join(
            f"{key} was {theirs.get(key)!r}, is {ours.get(key)!r}" for key in differing[:3]
        )
        raise CheckpointError(
            f"{file}: belongs to another run ({details}); use its settings, or remove it"
        )
    return _unpack(skeleton, tensors), history


def _pack(value: object, name: str, tensors: dict[str, Tensor]) -> object:
    """``value`` as JSON with each tensor replaced by its name in ``tensors``.

    Dictionary keys keep their type.
    """
    if isinstance(value, Tensor):
        tensors[name] = value.detach().cpu().clone().contiguous()
        return {"tensor": name}
    if isinstance(value, Mapping):
        return {
            "items": [[key, _pack(item, f"{name}/{key}", tensors)] for key, item in value.items()]
        }
    if isinstance(value, (list, tuple)):
        return [_pack(item, f"{name}/{index}", tensors) for index, item in enumerate(value)]
    return value


def _unpack(skeleton: object, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(skeleton, list):
        return [_unpack(item, tensors) for item in skeleton]
    if isinstance(skeleton, dict):
        if "tensor" in skeleton:
            return tensors[skeleton["tensor"]]
        return {key: _unpack(item, tensors) for key, item in skeleton["items"]}
    return skeleton


def remove_checkpoint(folder: Path) -> None:
    """Remove the checkpoint in a folder and what was left of writing one, and the folder if nothing
    else is in it.
    """
    for file in folder.glob(f".{CHECKPOINT}.*"):
        file.unlink(missing_ok=True)
    (folder / CHECKPOINT).unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()
