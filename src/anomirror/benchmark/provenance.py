"""What a measurement was made with."""

from __future__ import annotations

import platform
import shlex
import sys
from importlib.metadata import version


def command(module: str | None = None) -> str:
    """The command line that started this process, or the process that started it.

    Of ours or of a module.
    """
    return shlex.join([*(["python", "-m", module] if module else ["anomirror"]), *sys.argv[1:]])


def versions() -> dict[str, str]:
    """Of ourselves and of what decides numbers."""
    packages = {name: version(name) for name in ("anomirror", "torch", "numpy", "scikit-learn")}
    return packages | {"python": platform.python_version(), "machine": platform.machine()}
