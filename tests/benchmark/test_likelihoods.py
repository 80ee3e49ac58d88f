"""Rows that name a codec or plain likelihood, and what stored likelihoods say next to AUROC."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from anomirror import load
from anomirror.benchmark.cells import Entry, read_arrays, read_entries
from anomirror.benchmark.experiments import Settings, absent_codecs, all_scorings, planned, trials
from anomirror.benchmark.fits import CACHE
from anomirror.benchmark.measure import measure
from anomirror.benchmark.published import PUBLISHED
from anomirror.benchmark.rows import LIKELIHOOD, Row
from anomirror.benchmark.tables import all_tables
from anomirror.benchmark.trial import Trial
from anomirror.codecs import CODECS, installed
from anomirror.detector.variants import with_params
from anomirror.errors import InputError, SettingError
from anomirror.likelihood import deviation_of_groups
from anomirror.metrics import auroc
from studies import backgrounds
from studies.likelihoods import bits_table, group_metrics, groups_table, lengths_table
from tests.tiny import TINY, shuffled


def trial(method: str, **more: object) -> Trial:
    scorings = {
        LIKELIHOOD: {"likelihood_only": True},
        **({"png": {"codec": "png"}} if method == "complexity" else {}),
    }
    own = "webp" if method == "complexity" else ""
    return Trial(
        method,
        "cpu",
        {**TINY[method], **more},
        "fashion-mnist",
        ("mnist", "constant"),
        0,
        scorings=scorings,
        own=own,
    )


@pytest.fixture(scope="module")
def results(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("results")
    for method in ("typicality", "complexity"):
        measure(trial(method), out, data_dir, keep_model=True)
    measure(replace(trial("typicality"), seed=1), out, data_dir)
    return out


def test_every_result_of_complexity_names_its_codec(results: Path) -> None:
    entries = [entry for entry in read_entries(results) if entry.record.method == "complexity"]
    assert {(e.cell.scoring, e.record.parameters_of(e.cell)["codec"]) for e in entries} == {
        ("webp", "webp"),
        ("png", "png"),
        (LIKELIHOOD, "webp"),
    }
    assert {(e.cell.scoring, *e.cell.programs) for e in entries} == {
        ("webp", "webp"),
        ("png", "png"),
        (LIKELIHOOD,),
    }
    assert all(re.match(r"\d", version) for e in entries for version in e.cell.programs.values())
    of_likelihood = [e for e in entries if e.cell.scoring == LIKELIHOOD]
    assert {e.record.parameters_of(e.cell)["likelihood_only"] for e in of_likelihood} == {True}
    assert {file.name.split("-")[0] for file in (results / CACHE).iterdir()} == {"png", "webp"}
    (table,) = all_tables(entries)
    labels = [row[0] for row in table.rows]
    assert labels[:2] == [
        "complexity scored by likelihood alone, one-sided",
        "complexity scored by likelihood alone, two-sided",
    ]
    assert {"complexity with webp, one-sided", "complexity with png, two-sided"} <= set(labels)


def test_each_scoring_has_the_scores_of_the_model_set_so(results: Path, data_dir: Path) -> None:
    model = load(results / "fashion-mnist" / "complexity-seed0.model", device="cpu")
    normal = trial("complexity").comparison(data_dir).normal
    file = results / "fashion-mnist" / "complexity-seed0.json"
    for name, changes in (
        ("webp", {}),
        ("png", {"codec": "png"}),
        (LIKELIHOOD, {"likelihood_only": True}),
    ):
        (stored,) = read_arrays(file, f"{name}/normal")
        assert np.allclose(with_params(model, changes).raw_scores(normal), stored, rtol=1e-5)


def test_rows_are_planned_for_every_installed_codec_and_compared_with_the_papers_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (one,) = trials("fashion-mnist", ["mnist"], Settings(("complexity",)), scorings=all_scorings)
    assert one.own == "webp"
    assert set(one.scorings) == {
        LIKELIHOOD,
        *(codec for codec in CODECS if codec != "webp" and installed(codec)),
    }
    assert [place.scoring for place in one.places()].count("webp") == 2
    assert absent_codecs(["ama", "complexity"]) == [
        codec for codec in CODECS if not installed(codec)
    ]
    settings = Settings(("complexity",), changes={"codec": "png"})
    (other,) = trials("fashion-mnist", ["mnist"], settings, scorings=all_scorings)
    assert (other.variant, other.own) == ("codec=png", "png")
    published = PUBLISHED["table1"]
    for method, scoring, compared in (
        ("complexity", "flif", True),
        ("complexity", "webp", False),
        ("complexity", LIKELIHOOD, False),
        ("typicality", "", False),
        ("likelihood_ratio", "", True),
        ("likelihood_ratio", LIKELIHOOD, False),
    ):
        assert (Row(method, "", scoring, "one-sided").published() in published) == compared
    methods = {
        each.method
        for each in planned("table1", Settings(("waic", "typicality")), lambda name: name != "svhn")
    }
    assert methods == {"waic", "typicality"}


def test_groups_are_scored_from_stored_likelihoods(results: Path, data_dir: Path) -> None:
    table = groups_table(results, "fashion-mnist")
    rows = [line.split(" | ") for line in table.splitlines()]
    assert [row[0].lstrip("| ") for row in rows[2:]] == [
        f"{images}, {what}"
        for images in ("one image", "2 images of one kind", "10 images of one kind")
        for what in ("AUROC", "rejected at 1%")
    ]
    assert "(paper 0.140)" in rows[5][2]  # a share of rejected pairs stands next to ours
    assert "paper" not in rows[4][2]
    own, plain = (
        [e for e in read_entries(results) if of(e)]
        for of in (_typicality(""), _typicality(LIKELIHOOD))
    )
    single = float(np.mean([entry.cell.value("auroc") for entry in own]))
    # one image: the detector itself
    assert float(rows[2][2].split()[0]) == pytest.approx(single, abs=0.003)
    model = load(results / "fashion-mnist" / "typicality-seed0.model", device="cpu")
    comparison = trial("typicality").comparison(data_dir)
    rng = np.random.default_rng(0)
    bits = {
        kind: model.statistics(images, ("bits",))["bits"]
        for kind, images in (
            ("train", comparison.train),
            ("normal", comparison.normal),
            ("anomalies", comparison.anomalies["mnist"][comparison.sampled["mnist"]]),
        )
    }
    entropy = own[0].cell.fitted["entropy"]
    groups = {
        kind: deviation_of_groups(rng.permutation(of), entropy, 2) for kind, of in bits.items()
    }
    found = group_metrics(plain[0], 2)
    usual = np.quantile(groups["train"], 0.99)
    assert found[0] == pytest.approx(auroc(-groups["normal"], -groups["anomalies"]), abs=0.01)
    assert found[1:] == pytest.approx(
        [np.mean(groups[kind] > usual) for kind in ("anomalies", "normal")], abs=0.02
    )
    with pytest.raises(InputError, match="no typicality of cifar10"):
        groups_table(results, "cifar10")


def _typicality(scoring: str) -> Callable[[Entry], bool]:
    wanted = ("typicality", scoring, "mnist", "one-sided")
    return lambda e: (e.record.method, *e.cell.place) == wanted


def test_bits_per_dim_are_those_of_a_sets_own_pixels(results: Path, data_dir: Path) -> None:
    table = bits_table(results)
    model = load(results / "fashion-mnist" / "complexity-seed0.model", device="cpu")
    normal = trial("complexity").comparison(data_dir).normal
    expected = model.bits_per_dim(normal).mean() * 32 * 32 / (28 * 28)  # type: ignore[attr-defined]
    row = next(
        line for line in table.splitlines() if line.startswith("| complexity, fashion-mnist")
    )
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert float(cells[1]) == pytest.approx(expected, abs=2e-3)
    ours = sum(p.numel() for p in model.networks_["pixelcnn"].parameters())  # type: ignore[attr-defined]
    assert cells[2] == f"{ours:,}"


def test_lengths_and_filters_come_from_histories(
    results: Path, data_dir: Path, tmp_path: Path
) -> None:
    wide = replace(trial("complexity", filters=6), variant="filters=6")
    measure(wide, tmp_path, data_dir)
    lines = lengths_table("fashion-mnist", results, tmp_path).splitlines()
    assert lines[0].count("minibatches") == TINY["complexity"]["epochs"]
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| 4 filters", "| 6 filters"]
    history = load(results / "fashion-mnist" / "complexity-seed0.model", device="cpu").history_
    assert f"{history[-1]['bits_per_dim_heldout'] * 1024 / 784:.3f}" in lines[2]


def test_backgrounds_are_compared_on_proxies_with_unseen_images(
    clothes: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = np.concatenate([clothes, clothes[:, ::-1]])
    monkeypatch.setattr(backgrounds, "load_dataset", lambda *_: (images, None))
    proxies = {name: shuffled(clothes[:40]) for name in backgrounds.PROXIES}
    monkeypatch.setattr(backgrounds, "proxy_sets", lambda *_: proxies)
    cell = backgrounds.study(
        "fashion-mnist",
        0.2,
        10.0,
        0,
        None,
        **TINY["likelihood_ratio"],
        calibration_fraction=0.1,
        device="cpu",
    )
    assert cell["counts"]["normal"] == len(images) // 10
    assert cell["parameters"]["mutation_rate"] == 0.2
    assert set(cell["auroc"]) == {"ratio", "likelihood"}
    (tmp_path / "cell.json").write_text(json.dumps(cell))
    with pytest.raises(
        SettingError, match="cell.json: was measured with batch_size=16, and now it would be 8"
    ):
        backgrounds.refuse_other_settings(tmp_path / "cell.json", 0.2, 10.0, 0)
    lines = backgrounds.backgrounds_table(tmp_path, "fashion-mnist").splitlines()
    assert lines[2].startswith("| rate 0.2, decay 10 | ")
    assert lines[3].startswith("| likelihood alone | ")
