"""The README says only what works and what was measured."""

from __future__ import annotations

import copy
import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import torch
import typer
from PIL import Image
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from anomirror import AMA, preset
from anomirror.cli.app import app
from anomirror.data.sample import Sample
from anomirror.errors import InputError
from studies.pages import refreshed
from studies.speed.reference_ama import written_out
from tests.commands import run

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


@pytest.fixture
def place(tmp_path: Path, sample: Sample) -> Path:
    """The folders that the README's examples name."""
    for name, images in (
        ("good-images", sample.train[:60]),
        ("new-images", sample.normal[:5]),
        ("defects", sample.anomalies[:10]),
    ):
        (tmp_path / name).mkdir()
        for index, image in enumerate(images):
            Image.fromarray(image).save(tmp_path / name / f"{index}.png")
    np.save(tmp_path / "good.npy", sample.train[:40])
    np.save(tmp_path / "new.npy", sample.normal[:5])
    return tmp_path


def test_every_readme_command_runs(place: Path) -> None:
    """As written."""
    commands = [
        line
        for block in blocks("bash")
        for line in block.splitlines()
        if line.startswith("anomirror ")
    ]
    assert len(commands) >= 5
    for command in commands:
        words = shlex.split(command, comments=True)
        if words[1] == "demo":
            continue  # two minutes; tests/test_demo.py runs it, shortened
        done = run(*words[1:], cwd=place)
        assert done.returncode == 0, (command, done.stderr)


@pytest.mark.parametrize(
    "page", ["README.md", "docs/guarantees.md", "docs/choosing.md", "docs/reproduction/index.md"]
)
def test_every_command_of_the_pages_is_one_that_the_command_line_takes(page: str) -> None:
    """Names, options and their types, also of what needs data or a network."""
    fences = re.findall(
        r"```\w*\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL
    )
    lines = [
        line.strip()
        for fence in fences
        for line in fence.splitlines()
        if line.strip().startswith("anomirror ")
    ]
    assert len(lines) >= 4
    for line in lines:
        words = shlex.split(line.split("&&")[0].replace("$seed", "0"), comments=True)[1:]
        command = typer.main.get_command(app)
        while isinstance(command, click.Group):
            command = command.commands[words.pop(0)]
        command.make_context(line, words)


def test_the_readme_python_runs(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    (code,) = blocks("python")
    names: dict[str, Any] = {}
    exec(code, names)
    assert "scattering" in names["model"].members_
    assert (place / "model" / "model.json").is_file()


def test_make_has_the_two_commands_of_the_readme() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in ("demo", "test"):
        assert f"make {target}" in README
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE)
    assert "make test" in (ROOT / ".ci" / "run").read_text()


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "docs/first-hour.md",
        "docs/reproduction/index.md",
        "docs/reproduction/table1.md",
        "docs/reproduction/table2.md",
        "docs/reproduction/table3.md",
        "docs/references.md",
        "docs/stability.md",
        "docs/performance.md",
    ],
)
def test_tables_are_those_of_the_measured_cells(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert (
        len(re.findall(r"<!-- table [^>]+ -->\n(?:\*\*.*\*\*\n\n)?[|]", text))
        == text.count("<!--")
        >= 1
    )
    assert refreshed(text, ROOT) == text


def test_a_marked_table_is_replaced_and_nothing_else() -> None:
    page = "Before.\n\n<!-- table demo results/demo -->\n| old |\n|---|\n\nAfter.\n"
    fresh = refreshed(page, ROOT)
    assert fresh.startswith("Before.\n\n<!-- table demo results/demo -->\n| detector | seed 0 |")
    assert fresh.endswith(" |\n\nAfter.\n")
    assert "old" not in fresh
    with pytest.raises(InputError, match="no table named 'dessert'"):
        refreshed("<!-- table dessert -->\n\n", ROOT)


def test_the_counted_products_of_the_page_on_speed() -> None:
    """What grows with the batch: the same image once more, written out as the paper has it and as
    it is computed.
    """

    def millions(network: nn.Module, shape: tuple[int, ...]) -> float:
        counts = []
        for batch in (2, 3):
            with FlopCounterMode(display=False) as counter, torch.no_grad():
                network(torch.zeros(batch, *shape))
            counts.append(counter.get_total_flops())
        return (counts[1] - counts[0]) / 2e6

    rows: dict[str, list[str]] = {"encoder": [], "generator": [], "critic": []}
    for channels, settings in ((3, preset("ama", "paper-cifar10")), (1, preset("ama", "cpu"))):
        ama, _ = AMA(**settings, device="cpu").untrained((channels, 32, 32))
        networks = ama.networks_.eval()
        inputs = {
            "encoder": (channels, 32, 32),
            "generator": (ama.latent_dim,),
            "critic": (2 * channels, 32, 32),
        }
        for name, shape in inputs.items():
            as_written = millions(written_out(copy.deepcopy(networks[name])), shape)
            rows[name] += [f"{as_written:.1f}", f"{millions(networks[name], shape):.1f}"]
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    for name, row in rows.items():
        assert f"| {name} | {' | '.join(row)} |" in page


def test_the_start_that_the_page_tells_is_the_measured_one() -> None:
    medians = json.loads((ROOT / "results" / "start.json").read_text(encoding="utf-8"))["medians"]
    ours, bare = (f"{medians[name]:.2f}" for name in ("anomirror --help", "bare Python"))
    page = " ".join((ROOT / "docs" / "performance.md").read_text(encoding="utf-8").split())
    assert f"{ours} s for `anomirror --help` where Python alone takes {bare}" in page


def test_links_within_the_repository_exist() -> None:
    for page in [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), (page.name, target)


def test_the_project_names_no_machine_and_no_host() -> None:
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    for name in tracked:
        if (
            name.endswith((".py", ".md", ".toml", ".txt", "Makefile", "run", ".json"))
            and "test_docs" not in name
        ):
            text = (ROOT / name).read_text(encoding="utf-8")
            assert not re.search(r"/work/|/root/|pypi\.org|farm-", text), name
