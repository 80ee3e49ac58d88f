"""Tables say what was measured, beside the paper, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from anomirror.benchmark.experiments import (
    ABLATIONS,
    EXPERIMENTS,
    NEGATIVES,
    Settings,
    chosen_preset,
    missing,
    on_disk,
    planned,
    table1,
    table2,
    table3,
    trainings,
)
from anomirror.benchmark.protocols import PROTOCOLS
from anomirror.benchmark.published import PRINTED_AVERAGES, PUBLISHED
from anomirror.benchmark.runner import Training
from anomirror.benchmark.tables import (
    FORMATS,
    Row,
    Table,
    all_tables,
    as_html,
    as_latex,
    as_markdown,
    comparison,
    negatives,
    one_class,
    read_cells,
)
from anomirror.cli import results
from anomirror.detectors import make_detector
from anomirror.errors import InputError, SettingError


def cell(auroc: float, **more: Any) -> dict[str, Any]:
    told = {
        "method": "ama",
        "variant": "",
        "side": "two-sided",
        "scorer": "log-gaussian",
        "normal": "fashion-mnist",
        "anomalies": "mnist",
        "seed": 0,
        "protocol": "blind",
        "preset": "cpu",
        "parameters": {"random_state": 0},
        "known_anomalies": None,
        "scores_file": "x.npz",
        "metrics": {"auroc": auroc, "auroc_ci": [auroc - 0.01, auroc + 0.01], "fpr95": 0.2},
    }
    return {**told, **more}


KNN = {"method": "knn", "side": "one-sided", "scorer": "negate"}


def test_ours_stands_beside_the_papers_figure_and_the_difference() -> None:
    cells = [cell(0.96, seed=0), cell(0.98, seed=1), cell(0.99, side="one-sided", scorer="negate"), cell(0.9, **KNN)]
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
    cells = [cell(0.95), cell(0.96, **KNN), cell(0.97, side="one-sided", scorer="negate")]
    assert comparison(cells, "fashion-mnist").notes == [
        "ama, two-sided does not beat pca and knn on → mnist (knn, one-sided 0.960, 0.950)."
    ]
    fpr = [cell(0, metrics={"fpr95": 0.3}), cell(0, **KNN, metrics={"fpr95": 0.2})]
    assert "→ mnist (knn, one-sided 0.200, 0.300)" in comparison(fpr, "fashion-mnist", "fpr95").notes[0]


def test_a_metric_that_the_paper_does_not_give_stands_alone() -> None:
    assert comparison([cell(0.9)], "fashion-mnist", "fpr95").rows == [["ama, two-sided", "0.200", "-", "1"]]


def test_the_average_over_classes_needs_all_of_them_and_has_a_spread_over_seeds() -> None:
    classes = [
        cell(0.8 + 0.01 * label + 0.02 * seed, normal=f"mnist:{label}", anomalies="rest", seed=seed)
        for label in range(10)
        for seed in (0, 1)
    ]
    baseline = [cell(0.9, **KNN, normal=f"mnist:{label}", anomalies="rest") for label in range(10)]
    table = one_class(classes + baseline, "mnist")
    assert table.heading == ["AUROC", "ama, two-sided", "knn, one-sided"]
    assert table.rows[0] == ["0", "0.810 ± 0.014 (paper 0.986, -0.176)", "0.900 [0.890, 0.910]"]
    assert table.rows[10] == ["average", "0.855 ± 0.014 (paper 0.938, -0.083)", "0.900"]
    assert table.rows[11] == ["seeds", "2", "1"]
    assert table.notes == ["ama, two-sided does not beat knn, one-sided on average (0.855, 0.900)."]
    assert one_class(classes[:9], "mnist").rows[5:] == [["average of 5", "0.820"], ["seeds", "1 to 2"]]  # the seed that all have


def test_a_sample_of_the_test_is_told_of() -> None:
    few, all_ = ({"counts": {"normal": n, "anomalies": 9 * n, "train": 5}} for n in (50, 1000))
    here = {"normal": "mnist:0", "anomalies": "rest"}
    cells = [cell(0.9, **here, **all_), cell(0.8, **here, **few, method="anogan", side="one-sided")]
    cells.append(cell(0.7, **here, **all_, method="anogan", side="one-sided", variant="fast"))
    table = one_class(cells, "mnist")
    assert table.heading == ["AUROC", "ama, two-sided", "anogan, one-sided", "anogan, fast, one-sided"]
    assert table.rows[0][2:] == ["0.800 [0.790, 0.810] (paper 0.902, -0.102)", "0.700 [0.690, 0.710]"]
    assert table.notes == ["anogan, one-sided: a sample of 500 test images."]


def test_an_average_over_some_classes_is_called_so_and_not_compared_and_a_table_can_be_turned() -> None:
    classes = [cell(0.8 + 0.1 * label, normal=f"cifar10:{label}", anomalies="rest") for label in (0, 1)]
    changed = [cell(0.5, normal=f"cifar10:{label}", anomalies="rest", variant="epochs=24") for label in (0, 1)]
    boxed = cell(0.6, normal="cifar10:0", anomalies="rest", variant="negatives=box")
    plain = [cell(0.6, normal=f"cifar10:{label}", anomalies="rest", variant="epochs=24-plain-r") for label in (0, 1)]
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
    table = comparison([cell(0.5, variant="negatives=box"), cell(0.4, variant="no-mirrored"), cell(0.9, **KNN)], "fashion-mnist")
    assert [row[0] for row in table.rows[:2]] == ["ama without mirrored loss, two-sided", "ama, negatives=box, two-sided"]
    assert len(table.notes) == 1
    assert table.notes[0].startswith("ama, negatives=box, two-sided does not beat")
    assert len(all_tables([cell(0.5, variant="negatives=box")])) == 1  # no table of Table 3's networks


def test_no_other_metric_stands_beside_the_papers_auroc_and_a_low_fpr_is_the_better_one() -> None:
    classes = [cell(0, normal=f"mnist:{label}", anomalies="rest", metrics={"fpr95": 0.2}) for label in range(10)]
    baseline = [cell(0, **KNN, normal=f"mnist:{label}", anomalies="rest", metrics={"fpr95": 0.5}) for label in range(10)]
    table = one_class(classes + baseline, "mnist", "fpr95")
    assert table.rows[10] == ["average", "0.200", "0.500"]
    assert table.notes == []
    assert one_class(classes, "mnist", "aupr").rows[0] == ["0", "-"]  # cells of before had no such metric


def test_box_negatives_stand_beside_atypical_ones_with_open_cells() -> None:
    cells = [cell(0.9, variant="box"), cell(0.95), cell(0.7, normal="gtsrb", anomalies="cifar10", variant="no-interpolation")]
    rows = {row[0]: row for row in negatives(cells).rows}
    assert rows["fashion-mnist → mnist"][1:5] == [
        "- (paper 0.778)",
        "- (paper 0.960)",
        "0.900 [0.890, 0.910] (paper 0.824, +0.076)",
        "0.950 [0.940, 0.960] (paper 0.987, -0.037)",
    ]
    assert negatives([*cells, cell(0.96, **KNN)]).notes == [
        "ama, two-sided does not beat pca and knn on fashion-mnist → mnist (knn, one-sided 0.960, 0.950)."
    ]
    assert rows["svhn → cifar10"][4] == "- (paper 0.993)"
    assert rows["gtsrb → cifar10"][2].startswith("0.700")
    assert not any("by the paper's R" in name for name in rows)
    plain = negatives([*cells, cell(0.8, variant="box-plain-r"), cell(0.85, variant="plain-r")]).rows
    assert [row[3:5] for row in plain if row[0] == "fashion-mnist → mnist, by the paper's R"] == [
        ["0.800 [0.790, 0.810] (paper 0.824, -0.024)", "0.850 [0.840, 0.860] (paper 0.987, -0.137)"]
    ]


def test_what_does_not_belong_together_is_refused() -> None:
    with pytest.raises(InputError, match="several cells of one seed"):
        comparison([cell(0.9), cell(0.8)], "fashion-mnist")
    for other in ({"scorer": "gaussian"}, {"parameters": {"random_state": 1, "epochs": 3}}):
        with pytest.raises(InputError, match="cells of different settings or scorers"):
            comparison([cell(0.9), cell(0.8, seed=1, **other)], "fashion-mnist")
    with pytest.raises(InputError, match="never stand in one table"):
        comparison([cell(0.9), cell(0.8, seed=1, protocol="paper")], "fashion-mnist")
    with pytest.raises(SettingError, match="no metric named 'taste'"):
        all_tables([cell(0.9)], "taste")
    with pytest.raises(InputError, match="no measured cell here"):
        all_tables([])


def test_protocols_come_apart_and_every_kind_of_table_is_made() -> None:
    cells = [cell(0.9), cell(0.8, protocol="paper"), cell(0.7, variant="box")]
    cells += [cell(0.9, normal=f"mnist:{label}", anomalies="rest") for label in range(2)]
    titles = [table.title for table in all_tables(cells)]
    assert [title.split(":")[0] for title in titles] == [
        "fashion-mnist is normal",
        "one class of mnist is normal",
        "synthetic negatives of AMA",
        "fashion-mnist is normal",
    ]
    assert ["protocol paper" in title for title in titles] == [False, False, False, True]
    long = all_tables([cell(0.9), cell(0.8, group="cpu-long"), cell(0.7, **KNN, group="cpu-long")])
    assert ["preset cpu;" in long[0].title, "preset cpu-long;" in long[1].title, len(long[1].rows)] == [True, True, 2]


def test_cells_are_read_from_folders_and_other_files_are_not(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "cell.json").write_text(json.dumps(cell(0.9)))
    (tmp_path / "a" / "other.json").write_text("{}")
    assert [found["metrics"]["auroc"] for found in read_cells(tmp_path)] == [0.9]
    (tmp_path / "a" / "half.json").write_text('{"method": ')
    with pytest.raises(InputError, match=r"half\.json: no JSON, or damaged"):
        read_cells(tmp_path)


AWKWARD = Table("50 % & more: a_b → ±", ["a", "b"], [["<x>", "1 & 2"]], ["x_y < 3"])


def test_markdown_latex_and_html_hold_the_same_cells() -> None:
    assert as_markdown(AWKWARD) == "**50 % & more: a_b → ±**\n\n| a | b |\n| --- | --- |\n| <x> | 1 & 2 |\n> x_y < 3\n"
    latex = as_latex(AWKWARD)
    assert r"\caption{50 \% \& more: a\_b $\rightarrow$ $\pm$}" in latex
    assert r"<x> & 1 \& 2 \\" in latex
    assert latex.count(r"\begin") == latex.count(r"\end") == 2
    page = as_html(AWKWARD)
    assert "<td>&lt;x&gt;</td><td>1 &amp; 2</td>" in page
    assert "<p>x_y &lt; 3</p>" in page


def test_the_papers_figures_have_its_averages_but_one() -> None:
    for (method, name), average in PRINTED_AVERAGES.items():
        values = [PUBLISHED["table2"][method][f"{name}:{label}", "rest"] for label in range(10)]
        wrong = (method, name) == ("fence_gan", "cifar10")
        assert (sum(values) / 10 == pytest.approx(average, abs=0.0011)) != wrong, (method, name)
    assert PUBLISHED["table3"]["ama"]["cifar10", "svhn"] == PUBLISHED["table1"]["ama"]["cifar10", "svhn"]
    assert Row("ama", "", "one-sided").published() == Row("ama", "plain-r", "one-sided").published() == "ama/one-sided"
    assert Row("ama", "no-mirrored-plain-r", "two-sided").published() == "ama/no-mirrored"
    assert ("fashion-mnist", "mnist") in PUBLISHED["table1"]["ama/no-mirrored"]


def test_a_cell_that_the_paper_leaves_open_is_told_from_a_column_that_it_does_not_have() -> None:
    placed = {"method": "waic", "normal": "cifar10", "side": "one-sided"}
    cells = [cell(0.9, **placed, anomalies=column) for column in ("cifar100", "uniform")]
    row = comparison(cells, "cifar10").rows[0]
    assert row[3:5] == ["0.900 [0.890, 0.910] (paper -)", "0.900 [0.890, 0.910]"]
    assert comparison(cells[1:], "cifar10").heading[1:] == ["→ uniform", "seeds"]  # nothing to compare with the paper


def test_every_experiment_is_made_of_trainings_that_can_be_built(tmp_path: Path) -> None:
    settings = Settings(("ama", "pca", "knn"), seeds=2)
    for name, experiment in EXPERIMENTS.items():
        trainings = experiment(settings, lambda _: True)
        assert len({(training.normal, training.stem) for training in trainings}) == len(trainings), name
        for training in trainings:
            assert make_detector(training.method, **training.parameters)
            assert set(training.scorings) <= {"plain-r"}
    for table, variants in ((table1, ABLATIONS["ama"]), (table2, {}), (table3, NEGATIVES["ama"])):
        ours = [training for training in table(settings, lambda _: True) if training.method == "ama"]
        assert {training.variant for training in ours} == {"", *variants}
        assert all(training.scorings.keys() == {"plain-r"} for training in ours)
    paper = table1(Settings(("ama",), preset="paper"), lambda _: True)
    assert not any(training.scorings for training in paper)  # there it is the method's own
    assert len(table1(settings, lambda _: True)) == 4 * 2 * (4 + 2)
    assert len(table2(settings, lambda _: True)) == 20 * 2 * 3
    assert len(table3(settings, lambda _: True)) == 4 * 2 * (4 + 2)


def test_a_search_for_each_image_is_tested_on_a_sample_and_its_fast_form_on_all() -> None:
    both = table2(Settings(("anogan",)), lambda _: True)
    assert {(training.variant, training.tested) for training in both} == {("", 500), ("fast", None)}
    changed = next(iter(trainings("mnist:3", ["rest"], Settings(("anogan",), changes={"search_steps": 5}))))
    assert changed.tested == 500
    assert not any(training.tested for training in table2(Settings(("ama", "deep_svdd")), lambda _: True))


def test_a_change_is_a_variant_with_one_name() -> None:
    def made(**changes: Any) -> Training:
        return next(iter(trainings("mnist:3", ["rest"], Settings(("ama",), changes=changes))))

    changed = made(critic_steps=5, betas=[0.5, 0.9])
    assert changed.variant == made(betas=[0.5, 0.9], critic_steps=5).variant == "betas=_0.5,0.9_,critic_steps=5"
    assert changed.stem == "ama-betas=_0.5,0.9_,critic_steps=5-seed0"
    assert changed.parameters == {"epochs": 6, "critic_steps": 5, "betas": [0.5, 0.9]}  # of the preset one
    assert made(epochs=6, critic_steps=1).stem == made().stem  # nothing is changed by these


def test_what_is_not_on_disk_is_left_open(tmp_path: Path) -> None:
    (tmp_path / "cifar-10-batches-bin").mkdir()
    there = on_disk(tmp_path)
    trainings = table1(Settings(("pca",)), there)
    assert [(training.normal, training.anomalies) for training in trainings] == [("cifar10", ("uniform", "gaussian", "constant"))]
    everything = {"fashion-mnist", "mnist", "omniglot", "svhn", "imagenet-resize", "cifar100", "gtsrb"}
    assert missing("table1", Settings(("pca",)), there) == sorted(everything)
    assert missing("table2", Settings(("pca",)), there) == ["mnist"]


def test_normal_sets_of_a_table_can_be_chosen() -> None:
    def normals(target: str, *chosen: str) -> set[str]:
        return {each.normal for each in planned(target, Settings(("ama",), normals=chosen), lambda _: True)}

    assert normals("table1") == {"fashion-mnist", "cifar10", "svhn", "gtsrb"}
    assert normals("table1", "cifar10", "gtsrb") == {"cifar10", "gtsrb"}
    assert normals("table2", "mnist") == {f"mnist:{label}" for label in range(10)}
    assert normals("table2", "mnist:3", "cifar10:0") == {"mnist:3", "cifar10:0"}
    assert missing("table1", Settings(("pca",), normals=("gtsrb",)), lambda name: name != "omniglot") == []
    figure = planned("figure2", Settings(("ama",), normals=("cifar10",)), lambda name: name != "svhn")
    assert {each.normal for each in figure} == {"cifar10"}  # which stands there for SVHN
    with pytest.raises(SettingError, match="table1 has no normal set mnist: choose among fashion-mnist, cifar10, svhn, gtsrb"):
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
