"""The file that a thread read last, kept: the next image in it need not be looked for again."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

_Content = TypeVar("_Content")


class Last(threading.local, Generic[_Content]):
    """One file for each thread, as ``read`` gives it; ``close`` is told of what is kept no more."""

    def __init__(
        self, read: Callable[[str], _Content], close: Callable[[_Content], object] = lambda _: None
    ) -> None:
        self._read, self._close = read, close
        self._kept: tuple[tuple[object, ...], _Content] | None = None

    def get(self, file: str) -> _Content:
        """That file, read again if it has changed."""
        status = Path(file).stat()
        # a forked process shares the place in an open file with its parent: it opens its own
        key = os.getpid(), file, status.st_size, status.st_mtime_ns
        if self._kept is None or self._kept[0] != key:
            self.drop()
            self._kept = key, self._read(file)
        return self._kept[1]

    def drop(self) -> None:
        """Keep none."""
        kept, self._kept = self._kept, None
        if kept is not None:
            self._close(kept[1])
