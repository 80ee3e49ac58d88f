"""What is stored in results/: every AUROC follows from its scores, and it stays small."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import typer

from anomirror.benchmark.cells import PACK, arrays_file, read_arrays, read_entries
from anomirror.benchmark.measure import measure
from anomirror.errors import InputError
from studies import pack, verify
from tests.benchmark.test_trials import PCA

RESULTS = Path(__file__).parents[2] / "results"


def test_results_stay_small() -> None:
    files = [file for file in RESULTS.rglob("*") if file.is_file()]
    assert len(files) <= 900
    assert sum(file.stat().st_size for file in files) <= 40_000_000


def test_every_stored_auroc_follows_from_stored_scores_with_scikit_learn(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Of two small folders; ``python -m studies.verify results`` takes all of them."""
    verify.main([RESULTS / "protocol", RESULTS / "labelled"])
    assert capsys.readouterr().out.startswith("42 of 42 agree")


@pytest.mark.slow
def test_every_stored_auroc_of_all_results_follows(capsys: pytest.CaptureFixture[str]) -> None:
    verify.main([RESULTS])
    said = capsys.readouterr().out
    count = len(read_entries(RESULTS))
    assert count > 2_800
    assert said.startswith(f"{count:,} of {count:,} agree")


def test_an_auroc_that_does_not_follow_is_named(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measure(PCA, tmp_path, data_dir)
    file = PCA.file(tmp_path)
    stored = read_entries(tmp_path)[0].cell.value("auroc")
    file.write_text(file.read_text().replace(f'"auroc": {stored}', '"auroc": 0.5', 1))
    with pytest.raises(typer.Exit):
        verify.main([tmp_path])
    out = capsys.readouterr().out
    assert f"{file}:  mnist one-sided: stored 0.5, computed {stored:.5f}" in out
    assert "3 of 4 agree" in out
    with pytest.raises(typer.Exit):
        verify.main([tmp_path / "nothing"])


def test_arrays_are_packed_and_packed_again(data_dir: Path, tmp_path: Path) -> None:
    measure(PCA, tmp_path, data_dir)
    file = PCA.file(tmp_path)
    names = "own/normal", "own/mnist", "tested/mnist"
    before = read_arrays(file, *names)
    assert pack.pack(file.parent) == 1
    assert pack.pack(file.parent) == 0
    assert not arrays_file(file).exists()
    packed = (file.parent / PACK).read_bytes()
    pack.main(tmp_path, again=True)
    assert (file.parent / PACK).read_bytes() == packed
    for array, stored in zip(before, read_arrays(file, *names), strict=True):
        assert np.array_equal(array, stored)
    with pytest.raises(InputError, match="no array 'own/train'"):  # that no figure draws
        read_arrays(file, "own/train")
    file.unlink()
    measure(PCA, tmp_path, data_dir)
    assert pack.pack(file.parent) == 1
    assert np.array_equal(read_arrays(file, "own/normal")[0], before[0])
