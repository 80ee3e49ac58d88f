"""Run by `make wheel` in an environment that has the wheel alone: only what users need is in it."""

from __future__ import annotations

from importlib.metadata import distribution
from importlib.util import find_spec
from pathlib import Path

import anomirror


def main() -> None:
    """Fail where the installed package is not what users need."""
    place = Path(anomirror.__file__).parent
    assert place.parent.name == "site-packages", f"{place}: not the installed wheel"
    assert "fresh" in place.parts, f"{place}: not the installed wheel"
    for absent in ("studies", "tests", "examples", "anomirror.benchmark.pages"):
        assert find_spec(absent) is None, f"{absent} is importable"
    files = [str(file) for file in distribution("anomirror").files or ()]
    tops = {file.split("/")[0] for file in files if not file.startswith("..")}
    assert all(top == "anomirror" or top.endswith(".dist-info") for top in tops), tops
    assert any(file.endswith("presets/ama.toml") for file in files)
    assert anomirror.make_detector("pca").method == "pca"
    print(f"anomirror {anomirror.__version__} is installed: {len(files)} files")


if __name__ == "__main__":
    main()
