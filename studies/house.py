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
    """Of the longest function, with its signature and docstring."""
    return max(
        (node.end_lineno or 0) - node.lineno + 1
        for _, tree in _trees(source)
        for node in ast.walk(tree)
        if isinstance(node, FUNCTIONS)
    )


def private_reaches(source: Path) -> int:
    """Places that read ``x._name`` of another object, where no class of the module has the name.

    ``os._exit`` is Python's own public function.
    """
    return sum(
        isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and not node.attr.startswith("__")
        and not (isinstance(node.value, ast.Name) and node.value.id in {*OWN, "os"})
        and not (
            isinstance(node.value, ast.Call)
            and isinstance(node.value.func, ast.Name)
            and node.value.func.id == "super"
        )
        and node.attr not in _own_names(tree)
        for _, tree in _trees(source)
        for node in ast.walk(tree)
    )


def _own_names(tree: ast.Module) -> set[str]:
    """What the classes of a module define, declare or set on themselves."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, FUNCTIONS):
            names.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.update({node.attr} if ast.unparse(node.value) in OWN else ())
    return names


def untyped(source: Path) -> tuple[int, int, int]:
    """Uses of ``Any``, calls of ``cast``, and ``type: ignore``."""
    nodes = [node for _, tree in _trees(source) for node in ast.walk(tree)]
    return (
        sum(isinstance(node, ast.Name) and node.id == "Any" for node in nodes),
        sum(
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "cast"
            for node in nodes
        ),
        sum(file.read_text(encoding="utf-8").count("type: ignore") for file, _ in _trees(source)),
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
    return {
        "lines of src": f"{sum(text.count(chr(10)) for text in texts):,}",
        "largest file, lines": str(max(text.count("\n") for text in texts)),
        "longest function, lines": str(function_lines(source)),
        "worst complexity": str(complexity(source)),
        "Any / cast / type: ignore": " / ".join(map(str, untyped(source))),
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
