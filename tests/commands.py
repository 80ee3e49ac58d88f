"""The command line, called as a shell would call it."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from anomirror.cli import app as cli

WIDE = {"COLUMNS": "300"}


def run(
    *arguments: object, cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """In this process: no start of Python and no import of torch for each."""
    words = list(map(str, arguments))
    out, err = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        patch.setattr(sys, "argv", ["anomirror", *words])
        patch.setattr(cli, "keep_freed_memory", lambda: None)  # that would last
        for name, value in {**WIDE, **environment}.items():
            patch.setenv(name, value)
        if cwd is not None:
            patch.chdir(cwd)
        try:
            cli.main()
            code = 0
        except SystemExit as stopped:
            code = int(stopped.code or 0)
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())


def run_apart(
    *arguments: object, cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """In a process of its own, with real streams."""
    command = [sys.executable, "-m", "anomirror.cli", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **WIDE, **environment}
    return subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, env=environment, check=False
    )


def failed(done: subprocess.CompletedProcess[str], message: str) -> None:
    """It ended with exit code 2 and one clear line."""
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert message in done.stderr
