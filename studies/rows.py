"""Measured rows in a file, each written as soon as it is there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class Rows:
    """Measured rows in one JSON file; a row is known by its key."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.rows: list[dict[str, Any]] = json.loads(file.read_text()) if file.exists() else []

    def __contains__(self, key: dict[str, Any]) -> bool:
        return any(key.items() <= row.items() for row in self.rows)

    def add(self, row: dict[str, Any]) -> None:
        """Keep a row, and print it."""
        self.rows.append(row)
        self._file.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._file.with_suffix(".tmp")
        temporary.write_text("[\n" + ",\n".join(json.dumps(row) for row in self.rows) + "\n]\n")
        temporary.replace(self._file)
        print(json.dumps(row), flush=True)
