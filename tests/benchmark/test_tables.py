"""Tables say what was measured, next to the paper, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from anomirror.benchmark.cells import (
    Cell,
    Column,
    Counts,
    Entry,
    Record,
    read_entries,
    write_record,
)
from anomirror.benchmark.experiments import (
    EXPERIMENTS,
    Settings,
    chosen_preset,
    missing,
    on_disk,
    planned,
    table1,
    table2,
    table3,
    trials,
)
from anomirror.benchmark.protocols import PROTOCOLS, Labelled
from anomirror.benchmark.published import PRINTED_AVERAGES, PUBLISHED, PaperRow
from anomirror.benchmark.render import FORMATS, Table, as_html, as_latex, as_markdown
from anomirror.benchmark.rows import ROWS, Row
from anomirror.benchmark.tables import all_tables, comparison, negatives, one_class
from anomirror.benchmark.trial import Trial
from anomirror.cli import results
from anomirror.detectors import make_detector
from anomirror.errors import InputError, SettingError

COUNTS = Counts(train=50, normal=1000, anomalies=200, whole_set=1000)


def entry(
    auroc: float,
    *,
    method: str = "ama",
    variant: str = "",
    scoring: str = "",
    side: Any = "two-sided",
    scorer: str = "log-gaussian",
    normal: str = "fashion-mnist",
    anomalies: str = "mnist",
    seed: int = 0,
    protocol: Any = "blind",
    group: str = "cpu",
    parameters: dict[str, Any] | None = None,
    labelled: Labelled | None = None,
    counts: Counts = COUNTS,
    metrics: dict[str, Any] | None = None,
) -> Entry:
    """A cell of a record that has no other."""
    usual = {"auroc": auroc, "auroc_ci": (auroc - 0.01, auroc + 0.01), "fpr95": 0.2}
    cell = Cell(
        scoring=scoring,
        anomalies=anomalies,
        side=side,
        scorer=scorer,
        scorer_state={},
        metrics=usual if metrics is None else metrics,
    )
    column = Column(
        name=anomalies, split="", parts={}, preparation={}, counts=counts, copies_left_out={}
    )
    record = Record(
        method=method,
        variant=variant,
        normal=normal,
        seed=seed,
        protocol=protocol,
        labelled_anomalies=labelled,
        group=group,
        preset="cpu",
        parameters={"random_state": seed} if parameters is None else parameters,
        scorings={scoring: {}},
        columns={anomalies: column},
        runs=(),
        cells=(cell,),
    )
    return Entry(record, cell, Path("record.json"))


KNN = {"method": "knn", "side": "one-sided", "scorer": "negate"}


def test_ours_stands_beside_the_papers_figure_and_the_difference() -> None:
    cells = [
        entry(0.96, seed=0),
        entry(0.98, seed=1),
        entry(0.99, side="one-sided", scorer="negate"),
        entry(0.9, **KNN),
    ]
    table = comparison(cells, "fashion-mnist")
    assert table.heading == ["AUROC", "→ mnist", "→ omniglot", "seeds"]
    assert table.rows == [
        ["ama, two-sided", "0.970 ± 0.014 (paper 0.987, -0.017)", "- (paper 0.998)", "2"],
        ["ama, one-sided", "0.990 [0.980, 1.000] (paper 0.991, -0.001)", "- (paper 0.997)", "1"],
        ["knn, one-sided", "0.900 [0.890, 0.910]", "-", "1"],
    ]
    assert table.notes == []
    assert "protocol blind" in table.title
    assert "preset cpu" in table.title


def test_a_trained_method_that_does_not_win_is_told() -> None:
    cells = [entry(0.95), entry(0.96, **KNN), entry(0.97, side="one-sided", scorer="negate")]
    assert comparison(cells, "fashion-mnist").notes == [
        "ama, two-sided does not beat pca and knn on → mnist (knn, one-sided 0.960, 0.950)."
    ]
    fpr = [entry(0, metrics={"fpr95": 0.3}), entry(0, **KNN, metrics={"fpr95": 0.2})]
    assert (
        "→ mnist (knn, one-sided 0.200, 0.300)"
        in comparison(fpr, "fashion-mnist", "fpr95").notes[0]
    )


def test_a_metric_that_the_paper_does_not_give_stands_alone() -> None:
    assert comparison([entry(0.9)], "fashion-mnist", "fpr95").rows == [
        ["ama, two-sided", "0.200", "-", "1"]
    ]


def test_the_average_over_classes_needs_all_of_them_and_has_a_spread_over_seeds() -> None:
    classes = [
        entry(
            0.8 + 0.01 * label + 0.02 * seed, normal=f"mnist:{label}", anomalies="rest", seed=seed
        )
        for label in range(10)
        for seed in (0, 1)
    ]
    baseline = [entry(0.9, **KNN, normal=f"mnist:{label}", anomalies="rest") for label in range(10)]
    table = one_class(classes + baseline, "mnist")
    assert table.heading == ["AUROC", "ama, two-sided", "knn, one-sided"]
    assert table.rows[0] == ["0", "0.810 ± 0.014 (paper 0.986, -0.176)", "0.900 [0.890, 0.910]"]
    assert table.rows[10] == ["average", "0.855 ± 0.014 (paper 0.938, -0.083)", "0.900"]
    assert table.rows[11] == ["seeds", "2", "1"]
    assert table.notes == ["ama, two-sided does not beat knn, one-sided on average (0.855, 0.900)."]
    # the seed that all have
    assert one_class(classes[:9], "mnist").rows[5:] == [
        ["average of 5", "0.820"],
        ["seeds", "1 to 2"],
    ]


def test_a_sample_of_the_test_is_told_of() -> None:
    here: dict[str, Any] = {"normal": "mnist:0", "anomalies": "rest"}
    few = COUNTS.model_copy(update={"normal": 50, "anomalies": 450})
    other = {**here, "side": "one-sided", "scorer": "negate"}
    cells = [
        entry(0.9, **here),
        entry(0.8, **other, counts=few, method="anogan"),
        entry(0.7, **other, method="fanogan"),
    ]
    table = one_class(cells, "mnist")
    assert table.heading == ["AUROC", "ama, two-sided", "anogan, one-sided", "fanogan, one-sided"]
    assert table.rows[0][2:] == [
        "0.800 [0.790, 0.810] (paper 0.902, -0.102)",
        "0.700 [0.690, 0.710]",
    ]
    assert table.notes == ["anogan, one-sided: a sample of 500 test images."]


def test_an_average_over_some_classes_is_called_so_and_not_compared_and_a_table_can_be_turned() -> (
    None
):
    classes = [
        entry(0.8 + 0.1 * label, normal=f"cifar10:{label}", anomalies="rest") for label in (0, 1)
    ]
    changed = [
        entry(0.5, normal=f"cifar10:{label}", anomalies="rest", variant="epochs=24")
        for label in (0, 1)
    ]
    boxed = entry(0.6, normal="cifar10:0", anomalies="rest", variant="negatives=box")
    plain = [
        entry(
            0.6, normal=f"cifar10:{label}", anomalies="rest", variant="epochs=24", scoring="plain-r"
        )
        for label in (0, 1)
    ]
    table = one_class([*classes, *plain, *changed, boxed], "cifar10").turned()
    assert table.heading == ["AUROC", "airplane", "automobile", "average of 2", "seeds"]
    assert [row[0] for row in table.rows] == [
        "ama, two-sided",
        "ama, epochs=24, two-sided",
        "ama, negatives=box, two-sided",
        "ama, epochs=24, scored by the paper's R, two-sided",
    ]
    assert table.rows[0][1:4] == [
        "0.800 [0.790, 0.810] (paper 0.752, +0.048)",
        "0.900 [0.890, 0.910] (paper 0.634, +0.266)",
        "0.850",
    ]
    assert table.rows[1][1:] == ["0.500 [0.490, 0.510]", "0.500 [0.490, 0.510]", "0.500", "1"]
    assert table.rows[2][1:] == ["0.600 [0.590, 0.610]", "-", "-", "1"]  # not of both classes


def test_a_changed_method_is_told_where_it_is_behind_as_the_method_is() -> None:
    table = comparison(
        [entry(0.5, variant="negatives=box"), entry(0.4, variant="no-mirrored"), entry(0.9, **KNN)],
        "fashion-mnist",
    )
    assert [row[0] for row in table.rows[:2]] == [
        "ama without mirrored loss, two-sided",
        "ama, negatives=box, two-sided",
    ]
    assert len(table.notes) == 1
    assert table.notes[0].startswith("ama, negatives=box, two-sided does not beat")
    # no table of Table 3's networks
    assert len(all_tables([entry(0.5, variant="negatives=box")])) == 1


def test_no_other_metric_stands_beside_the_papers_auroc_and_a_low_fpr_is_the_better_one() -> None:
    classes = [
        entry(0, normal=f"mnist:{label}", anomalies="rest", metrics={"fpr95": 0.2})
        for label in range(10)
    ]
    baseline = [
        entry(0, **KNN, normal=f"mnist:{label}", anomalies="rest", metrics={"fpr95": 0.5})
        for label in range(10)
    ]
    table = one_class(classes + baseline, "mnist", "fpr95")
    assert table.rows[10] == ["average", "0.200", "0.500"]
    assert table.notes == []
    assert one_class(classes, "mnist", "aupr").rows[0] == ["0", "-"]  # without that metric


def test_box_negatives_stand_beside_atypical_ones_with_open_cells() -> None:
    cells = [
        entry(0.9, variant="box"),
        entry(0.95),
        entry(0.7, normal="gtsrb", anomalies="cifar10", variant="no-interpolation"),
    ]
    rows = {row[0]: row for row in negatives(cells).rows}
    assert rows["fashion-mnist → mnist"][1:5] == [
        "- (paper 0.778)",
        "- (paper 0.960)",
        "0.900 [0.890, 0.910] (paper 0.824, +0.076)",
        "0.950 [0.940, 0.960] (paper 0.987, -0.037)",
    ]
    assert negatives([*cells, entry(0.96, **KNN)]).notes == [
        "ama, two-sided does not beat pca and knn on fashion-mnist → mnist (knn, one-sided 0.960, "
        "0.950)."
    ]
    assert rows["svhn → cifar10"][4] == "- (paper 0.993)"
    assert rows["gtsrb → cifar10"][2].startswith("0.700")
    assert not any("by the paper's R" in name for name in rows)
    plain = negatives(
        [*cells, entry(0.8, variant="box", scoring="plain-r"), entry(0.85, scoring="plain-r")]
    ).rows
    assert [row[3:5] for row in plain if row[0] == "fashion-mnist → mnist, by the paper's R"] == [
        ["0.800 [0.790, 0.810] (paper 0.824, -0.024)", "0.850 [0.840, 0.860] (paper 0.987, -0.137)"]
    ]


def test_what_does_not_belong_together_is_refused() -> None:
    with pytest.raises(InputError, match="several cells of one seed"):
        comparison([entry(0.9), entry(0.8)], "fashion-mnist")
    for other in ({"scorer": "gaussian"}, {"parameters": {"random_state": 1, "epochs": 3}}):
        with pytest.raises(InputError, match="cells of different settings or scorers"):
            comparison([entry(0.9), entry(0.8, seed=1, **other)], "fashion-mnist")
    with pytest.raises(InputError, match="never stand in one table"):
        comparison([entry(0.9), entry(0.8, seed=1, protocol="paper")], "fashion-mnist")
    with pytest.raises(SettingError, match="no metric named 'taste'"):
        all_tables([entry(0.9)], "taste")
    with pytest.raises(InputError, match="no measured cell here"):
        all_tables([])


def test_protocols_come_apart_and_every_kind_of_table_is_made() -> None:
    cells = [entry(0.9), entry(0.8, protocol="paper"), entry(0.7, variant="box")]
    cells += [entry(0.9, normal=f"mnist:{label}", anomalies="rest") for label in range(2)]
    titles = [table.title for table in all_tables(cells)]
    assert [title.split(":")[0] for title in titles] == [
        "fashion-mnist is normal",
        "one class of mnist is normal",
        "synthetic negatives of AMA",
        "fashion-mnist is normal",
    ]
    assert ["protocol paper" in title for title in titles] == [False, False, False, True]
    long = all_tables(
        [entry(0.9), entry(0.8, group="cpu-long"), entry(0.7, **KNN, group="cpu-long")]
    )
    assert [
        "preset cpu;" in long[0].title,
        "preset cpu-long;" in long[1].title,
        len(long[1].rows),
    ] == [True, True, 2]


def test_cells_are_read_from_folders_and_other_files_are_not(tmp_path: Path) -> None:
    written = entry(0.9, parameters={"random_state": 0, "betas": [0.0, 0.9]}).record
    write_record(tmp_path / "a" / "cell.json", written)
    (tmp_path / "a" / "other.json").write_text("{}")
    (found,) = read_entries(tmp_path)
    assert found == Entry(written, written.cells[0], tmp_path / "a" / "cell.json")
    damaged = tmp_path / "a" / "half.json"
    damaged.write_text('{"method": ')
    with pytest.raises(InputError, match=r"half\.json: not JSON, or damaged"):
        read_entries(tmp_path)
    content = json.loads((tmp_path / "a" / "cell.json").read_text())
    for change, message in (
        ({"seed": "many"}, "seed: Input should be a valid integer"),
        ({"taste": 1}, "taste: Extra inputs are not permitted"),
        ({"scorings": {}}, ": Value error, cells.0.scoring: the record has no ''"),
        ({"columns": {}}, ": Value error, cells.0.anomalies: the record has no 'mnist'"),
        (
            {"cells": [{**content["cells"][0], "side": "three-sided"}]},
            r"cells\.0\.side: Input should be",
        ),
    ):
        damaged.write_text(json.dumps(content | change))
        with pytest.raises(InputError, match=rf"half\.json: not a record of results \({message}"):
            read_entries(tmp_path)


AWKWARD = Table("50 % & more: a_b → ±", ["a", "b"], [["<x>", "1 & 2"]], ["x_y < 3"])


def test_markdown_latex_and_html_hold_the_same_cells() -> None:
    assert (
        as_markdown(AWKWARD)
        == "**50 % & more: a_b → ±**\n\n| a | b |\n| --- | --- |\n| <x> | 1 & 2 |\n> x_y < 3\n"
    )
    latex = as_latex(AWKWARD)
    assert r"\caption{50 \% \& more: a\_b $\rightarrow$ $\pm$}" in latex
    assert r"<x> & 1 \& 2 \\" in latex
    assert latex.count(r"\begin") == latex.count(r"\end") == 2
    page = as_html(AWKWARD)
    assert "<td>&lt;x&gt;</td><td>1 &amp; 2</td>" in page
    assert "<p>x_y &lt; 3</p>" in page


def test_the_papers_figures_have_its_averages_but_one() -> None:
    for (row, name), average in PRINTED_AVERAGES.items():
        values = [PUBLISHED["table2"][row][f"{name}:{label}", "rest"] for label in range(10)]
        wrong = (row.method, name) == ("fence_gan", "cifar10")
        assert (sum(values) / 10 == pytest.approx(average, abs=0.0011)) != wrong, (row, name)
    ama, one_sided = PaperRow("ama"), PaperRow("ama", side="one-sided")
    assert (
        PUBLISHED["table3"][ama]["cifar10", "svhn"] == PUBLISHED["table1"][ama]["cifar10", "svhn"]
    )
    for scoring in ("", "plain-r"):
        assert Row("ama", "", scoring, "one-sided").published() == one_sided
    ablation = Row("ama", "no-mirrored", "plain-r", "two-sided").published()
    assert ablation == PaperRow("ama", "no-mirrored")
    assert ("fashion-mnist", "mnist") in PUBLISHED["table1"][ablation]


def test_a_cell_that_the_paper_leaves_open_is_told_from_a_column_that_it_does_not_have() -> None:
    placed = {"method": "waic", "normal": "cifar10", "side": "one-sided"}
    cells = [entry(0.9, **placed, anomalies=column) for column in ("cifar100", "uniform")]
    row = comparison(cells, "cifar10").rows[0]
    assert row[3:5] == ["0.900 [0.890, 0.910] (paper -)", "0.900 [0.890, 0.910]"]
    # nothing to compare with the paper
    assert comparison(cells[1:], "cifar10").heading[1:] == ["→ uniform", "seeds"]


def test_every_experiment_is_made_of_trials_that_can_be_built() -> None:
    settings = Settings(("ama", "pca", "knn"), seeds=2)
    for name, experiment in EXPERIMENTS.items():
        made = experiment(settings, lambda _: True)
        assert len({(trial.normal, trial.name) for trial in made}) == len(made), name
        for trial in made:
            assert make_detector(trial.method, **trial.parameters)
            assert set(trial.scorings) <= {"plain-r", "density"}
    rows = ROWS["ama"]
    for table, variants in ((table1, rows.ablations), (table2, {}), (table3, rows.negatives)):
        ours = [trial for trial in table(settings, lambda _: True) if trial.method == "ama"]
        assert {trial.variant for trial in ours} == {"", *variants}
        for trial in ours:  # the density is one of the method itself, where it is compared
            beside = table is not table2 and not trial.variant
            assert set(trial.scorings) == {"plain-r"} | ({"density"} if beside else set())
    paper = table1(Settings(("ama",), preset="paper"), lambda _: True)
    assert not any("plain-r" in trial.scorings for trial in paper)  # there it is the method's own
    assert len(table1(settings, lambda _: True)) == 4 * 2 * (4 + 2)
    assert len(table2(settings, lambda _: True)) == 20 * 2 * 3
    assert len(table3(settings, lambda _: True)) == 4 * 2 * (4 + 2)


def test_a_density_is_one_sided_and_of_the_paper_there_is_none() -> None:
    cells = [
        entry(0.9),
        entry(0.97, scoring="density", side="one-sided", scorer="negate"),
        entry(0.6, scoring="density", side="two-sided", scorer="gaussian"),
    ]
    rows = comparison(cells, "fashion-mnist").rows
    assert [row[:2] for row in rows] == [
        ["ama, two-sided", "0.900 [0.890, 0.910] (paper 0.987, -0.087)"],
        ["ama scored by the density of its statistics, one-sided", "0.970 [0.960, 0.980]"],
    ]


def test_a_search_for_each_image_is_tested_on_a_sample() -> None:
    for method, tested in (("anogan", 500), ("fanogan", None), ("ama", None)):
        assert {trial.tested for trial in table2(Settings((method,)), lambda _: True)} == {tested}
    changed = next(
        iter(trials("mnist:3", ["rest"], Settings(("anogan",), changes={"search_steps": 5})))
    )
    assert changed.tested == 500


def test_every_row_of_the_paper_is_a_row_of_ours() -> None:
    """A label or a published figure under a name that no variant has would never be seen."""
    for method, rows in ROWS.items():
        assert rows.labels.keys() == rows.ablations.keys() | rows.negatives.keys(), method
    for figures in PUBLISHED.values():
        for row in figures:
            rows = ROWS.get(row.method)
            variants = {"", *rows.labels} if rows else {""}
            assert row.variant in variants, row


def test_a_change_is_a_variant_with_one_name() -> None:
    def made(**changes: Any) -> Trial:
        return next(iter(trials("mnist:3", ["rest"], Settings(("ama",), changes=changes))))

    changed = made(critic_steps=5, betas=[0.5, 0.9])
    assert (
        changed.variant
        == made(betas=[0.5, 0.9], critic_steps=5).variant
        == "betas=_0.5,0.9_,critic_steps=5"
    )
    assert changed.name == "ama-betas=_0.5,0.9_,critic_steps=5-seed0"
    # of the preset one
    assert changed.parameters == {"epochs": 6, "critic_steps": 5, "betas": [0.5, 0.9]}
    assert made(epochs=6, critic_steps=1).name == made().name  # nothing is changed by these


def test_what_is_not_on_disk_is_left_open(tmp_path: Path) -> None:
    (tmp_path / "cifar-10-batches-bin").mkdir()
    there = on_disk(tmp_path)
    made = table1(Settings(("pca",)), there)
    assert [(trial.normal, trial.anomalies) for trial in made] == [
        ("cifar10", ("uniform", "gaussian", "constant"))
    ]
    everything = {
        "fashion-mnist",
        "mnist",
        "omniglot",
        "svhn",
        "imagenet-resize",
        "cifar100",
        "gtsrb",
    }
    assert missing("table1", Settings(("pca",)), there) == sorted(everything)
    assert missing("table2", Settings(("pca",)), there) == ["mnist"]


def test_normal_sets_of_a_table_can_be_chosen() -> None:
    def normals(target: str, *chosen: str) -> set[str]:
        return {
            each.normal
            for each in planned(target, Settings(("ama",), normals=chosen), lambda _: True)
        }

    assert normals("table1") == {"fashion-mnist", "cifar10", "svhn", "gtsrb"}
    assert normals("table1", "cifar10", "gtsrb") == {"cifar10", "gtsrb"}
    assert normals("table2", "mnist") == {f"mnist:{label}" for label in range(10)}
    assert normals("table2", "mnist:3", "cifar10:0") == {"mnist:3", "cifar10:0"}
    assert (
        missing("table1", Settings(("pca",), normals=("gtsrb",)), lambda name: name != "omniglot")
        == []
    )
    figure = planned(
        "figure2", Settings(("ama",), normals=("cifar10",)), lambda name: name != "svhn"
    )
    assert {each.normal for each in figure} == {"cifar10"}  # which stands there for SVHN
    with pytest.raises(
        SettingError,
        match="table1 has no normal set mnist: choose among fashion-mnist, cifar10, svhn, gtsrb",
    ):
        normals("table1", "cifar10", "mnist")


def test_the_command_line_offers_what_there_is_without_importing_it() -> None:
    assert {target.value for target in results.Target} == set(EXPERIMENTS)
    assert {protocol.value for protocol in results.Protocol} == set(PROTOCOLS)
    assert {form.value for form in results.Format} == set(FORMATS)


def test_presets_are_chosen_by_data_set() -> None:
    assert chosen_preset("ama", "paper", "cifar10:3") == "paper-cifar10"
    assert chosen_preset("ama", "paper", "gtsrb") == "paper-svhn"
    assert chosen_preset("ama", "cpu-long", "cifar10") == "cpu-long"
    assert chosen_preset("knn", "cpu-long", "cifar10") == "cpu"
    with pytest.raises(SettingError, match="no method named 'dessert'"):
        chosen_preset("dessert", "cpu", "mnist")
