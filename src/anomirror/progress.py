"""Progress of long work.

A bar with the time left on a terminal, a line every ten seconds elsewhere.
"""

from __future__ import annotations

import sys
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

SILENCE = 10.0
"""Seconds between two lines where there is no terminal."""


class Progress:
    """Counts what is done of ``total`` and shows it on stderr.

    Parameters
    ----------
    what : "training", "reading": what is counted is said once by ``unit``.
    total : how many there are.
    unit : "steps", "images".
    done : how many were done before.
    shown : False shows nothing.
    """

    def __init__(
        self, what: str, total: int, unit: str, *, done: int = 0, shown: bool = True
    ) -> None:
        self.what = what
        self._total = total
        self._unit = unit
        self._done = self._before = done
        self._shown = shown
        self._started = self._said = time.monotonic()
        self._bar: RichProgress | None = None
        if shown and sys.stderr.isatty():
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn(unit),
                TimeRemainingColumn(),
            )
            self._bar = RichProgress(*columns, console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task(what, total=total, completed=done)

    def advance(self, count: int = 1) -> None:
        """So many more are done."""
        self._done += count
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done, description=self.what)
        elif self._shown and (now := time.monotonic()) - self._said >= SILENCE:
            self._said = now
            left = (
                (now - self._started)
                / max(1, self._done - self._before)
                * (self._total - self._done)
            )
            print(
                f"{self.what}: {self._done:,} of {self._total:,} {self._unit}, about "
                f"{duration(left)} left",
                file=sys.stderr,
                flush=True,
            )

    def __enter__(self) -> Progress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.stop()


def duration(seconds: float) -> str:
    """For a person.

    >>> duration(4.2), duration(75), duration(3 * 3600 + 120)
    ('4 seconds', '75 seconds', '3.0 hours')
    >>> duration(0.3), duration(200)
    ('1 second', '3 minutes')
    """
    whole = max(1, round(seconds))
    if whole < 100:
        return f"{whole} second{'s' if whole > 1 else ''}"
    minutes = round(seconds / 60)
    return f"{minutes} minutes" if minutes < 100 else f"{seconds / 3600:.1f} hours"
