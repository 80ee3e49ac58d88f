"""The industrial example, end to end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "solar_cells.py"


@pytest.mark.slow
def test_defective_solar_cells(tmp_path: Path) -> None:
    """As a user runs it: every detector on both kinds, figures that are no coin's, and the
    images.
    """
    pytest.importorskip("elpv_dataset", reason="pip install 'anomirror[examples]'")
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), "--out", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    results = [json.loads(file.read_text()) for file in sorted(tmp_path.glob("*.json"))]
    methods = ("ama", "ama-density", "auto", "knn", "pca", "scattering")
    assert sorted((result["kind"], result["method"]) for result in results) == [
        (kind, method) for kind in ("mono", "poly") for method in methods
    ]
    auroc = {
        (result["kind"], result["method"]): result["metrics"]["one-sided"]["auroc"]
        for result in results
    }
    assert min(auroc["mono", "pca"], auroc["mono", "scattering"], auroc["mono", "auto"]) > 0.85
    assert min(auroc.values()) > 0.55
    for kind in ("mono", "poly"):
        assert (tmp_path / f"{kind}-64-worst-seed0.png").read_bytes().startswith(b"\x89PNG")
