"""The house in numbers, for a table before and after.

python -m studies.house src results
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from anomirror.benchmark.render import markdown

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
OWN = {"self", "cls"}


def _trees(source: Path) -> Iterator[tuple[Path, ast.Module]]:
    for file in sorted(source.rglob("*.py")):
        yield file, ast.parse(file.read_text(encoding="utf-8"))


def function_lines(source: Path) -> int:
    """Of the longest function, without its docstring."""
    longest = 0
    for _, tree in _trees(source):
        for node in ast.walk(tree):
            if isinstance(node, FUNCTIONS):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if ast.get_docstring(node) is not None:
                    lines -= (node.body[0].end_lineno or 0) - node.body[0].lineno + 1
                longest = max(longest, lines)
    return longest


def private_reaches(source: Path) -> int:
    """Places that read ``x._name`` of something that is neither self, cls nor super()."""
    return sum(
        isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and not node.attr.startswith("__")
        and not (isinstance(node.value, ast.Name) and node.value.id in OWN)
        and not (
            isinstance(node.value, ast.Call)
            and isinstance(node.value.func, ast.Name)
            and node.value.func.id == "super"
        )
        for _, tree in _trees(source)
        for node in ast.walk(tree)
    )


def complexity(source: Path) -> int:
    """Of the worst function, as ruff counts it."""
    rules = ["--isolated", "--select", "C901", "--config", "lint.mccabe.max-complexity=1"]
    command = [sys.executable, "-m", "ruff", "check", *rules, str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return max(map(int, re.findall(r"is too complex \((\d+)", done.stdout)), default=1)


def counted(source: Path, results: Path) -> dict[str, str]:
    """Name of a number to its value."""
    texts = [file.read_text(encoding="utf-8") for file in source.rglob("*.py")]
    stored = [file for file in results.rglob("*") if file.is_file()]
    words = {name: sum(text.count(name) for text in texts) for name in ("cast(", "type: ignore")}
    any_ = sum(len(re.findall(r"\bAny\b", text)) for text in texts)
    return {
        "lines of src": f"{sum(text.count(chr(10)) for text in texts):,}",
        "largest file, lines": str(max(text.count("\n") for text in texts)),
        "longest function, lines of code": str(function_lines(source)),
        "worst complexity": str(complexity(source)),
        "Any / cast / type: ignore": f"{any_} / {words['cast(']} / {words['type: ignore']}",
        "private reaches": str(private_reaches(source)),
        "files of results": f"{len(stored):,}",
        "MB of results": f"{sum(file.stat().st_size for file in stored) / 1e6:.1f}",
    }


def main(
    source: Annotated[Path, typer.Argument()], results: Annotated[Path, typer.Argument()]
) -> None:
    """Print the numbers of one tree."""
    print(markdown(["what", "number"], [list(row) for row in counted(source, results).items()]))


if __name__ == "__main__":
    typer.run(main)
