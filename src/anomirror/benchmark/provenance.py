"""What a measurement was made with."""

from __future__ import annotations

import platform
import shlex
import sys
from importlib.metadata import version


def command(module: str | None = None) -> str:
    """The command line that started this process: ``anomirror``, or a module.

    A worker of several gives the one that started them.
    """
    return shlex.join([*(["python", "-m", module] if module else ["anomirror"]), *sys.argv[1:]])


def versions() -> dict[str, str]:
    """Versions of ourselves and of the packages that decide numbers."""
    packages = {name: version(name) for name in ("anomirror", "torch", "numpy", "scikit-learn")}
    return packages | {"python": platform.python_version(), "machine": platform.machine()}
