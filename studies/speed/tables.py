"""Tables of what the other modules here measured."""

from __future__ import annotations

import json
from pathlib import Path

from anomirror.benchmark.render import markdown, mean_and_spread
from anomirror.benchmark.trial import folder_name

_SPEED = {
    "training step, precision auto, against the reference": "train_ratio",
    "training step, float32, against the reference: less work, memory format": (
        "train_share_less_work"
    ),
    "training step, bf16 against float32": "train_share_arithmetic",
    "training step, joined convolutions against blocks as the paper writes them": (
        "train_share_fewer_products"
    ),
    "scoring R and A, precision auto, against the reference": "score_ratio",
    "scoring R and A, precision auto, against the reference at 128 or 16 at once, the faster": (
        "score_ratio_against_best"
    ),
    "scoring R and A, float32, against the reference: less work, memory format": (
        "score_share_less_work"
    ),
    "scoring R and A, bf16 against float32": "score_share_arithmetic",
    "scoring R and A, spectral norms once a stream against once a batch": "score_share_folded",
    "scoring the relative R, as the preset has it, precision auto, against the reference's R": (
        "score_ratio_relative"
    ),
}


def speed_table(folder: Path) -> str:
    """What ``studies/speed/train_step.py --json`` wrote, one row for each file and quantity."""
    rows = []
    for file in sorted(folder.glob("steps-*.json")):
        run = json.loads(file.read_text(encoding="utf-8"))
        setting = (
            f"{run['preset']} on {run['device']}, {run['threads']} threads, batch {run['batch']}"
        )
        told = {what: run[key] for what, key in _SPEED.items() if run["bf16"] or "bf16" not in what}
        rows += [
            [setting, what, f"{ratio:.2f}"] for what, ratio in told.items() if ratio is not None
        ]
    return markdown(["preset, device", "what", "ratio"], rows)


def counted_table(folder: Path) -> str:
    """Multiply-adds and bytes of each part of a step and of scoring, and how near its floor it
    came.
    """
    rows = []
    for file in sorted(folder.glob("steps-*.json")):
        run = json.loads(file.read_text(encoding="utf-8"))
        step = {
            key: sum(part[key] for part in run["train_parts"].values())
            for key in ("multiply_adds", "bytes", "floor_seconds")
        }
        shares = {
            "whole step": run["train_share_of_floor"],
            "scoring R": run["score_share_of_floor"],
        }
        for part, count in (run["train_parts"] | {"whole step": step} | run["score_parts"]).items():
            counts = (
                count["multiply_adds"] / 1e6,
                count["bytes"] / 1e6,
                count["floor_seconds"] * 1e3,
            )
            share = f"{shares[part]:.2f}" if part in shares else ""
            rows.append(
                [
                    run["preset"],
                    part,
                    *(f"{value:.3g}" if value < 100 else f"{value:.0f}" for value in counts),
                    share,
                ]
            )
    return markdown(
        [
            "preset",
            "part",
            "million multiply-adds",
            "MB read and written",
            "floor, ms",
            "floor / time",
        ],
        rows,
    )


def quality_table(folder: Path) -> str:
    """What ``studies/speed/quality.py`` wrote.

    AUROC of both trainings, scored in both precisions.
    """
    cells = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("*.json"))]
    columns = sorted(cells[0]["auroc"]["float32"])
    rows = []
    for way, precision, label in (
        ("reference", "float32", "float32"),
        ("fast", "float32", "float32"),
        ("fast", "auto", "bf16"),
    ):
        found = [cell["auroc"][precision] for cell in cells if cell["training"] == way]
        rows.append(
            [
                way,
                label,
                *(mean_and_spread([one[column] for one in found]) for column in columns),
                str(len(found)),
            ]
        )
    return markdown(["training", "scoring", *columns, "seeds"], rows)


def memory_table(folder: Path) -> str:
    """What ``studies/speed/memory.py`` wrote."""
    run = json.loads((folder / "memory.json").read_text(encoding="utf-8"))
    kinds = {
        kind: found
        for kind, found in run.items()
        if isinstance(found, dict) and "bytes_per_image" in found
    }
    rows = []
    for kind, found in kinds.items():
        few, many = (
            f"{int(count):,} images: {highest / 1e6:.0f} MB"
            for count, highest in found["highest"].items()
        )
        rows.append([kind, few, many, f"{found['bytes_per_image']:.0f}"])
    return markdown(["input", "highest with", "highest with", "bytes for each further image"], rows)


def scaling_table(folder: Path) -> str:
    """What ``studies/speed/scaling.py`` wrote."""
    run = json.loads((folder / "scaling.json").read_text(encoding="utf-8"))
    ratios = {
        "one process": 1.0,
        "two processes": run["scaling"],
        "one process, two threads": run["scaling_of_threads"],
    }
    rows = [
        [way, f"{run['images_per_second'][way]:.0f}", f"{ratio:.2f}"]
        for way, ratio in ratios.items()
    ]
    return markdown(["training", "images/s", "times one process of one thread"], rows)


def public_table(folder: Path) -> str:
    """What ``studies/speed/public_step.py`` wrote.

    Our training steps next to public implementations of the same size.
    """
    rows = []
    for file in sorted(folder.glob("public-*.json")):
        run = json.loads(file.read_text(encoding="utf-8"))
        ratios = [f"{run['ratios'][name]:.2f}" for name in ("float32", "auto")]
        rows.append([run["network"], f"{run['public']}, {run['revision'][:7]}", *ratios])
    return markdown(
        ["training step of", "beside", "times as fast, float32", "times as fast, precision auto"],
        rows,
    )


def trainings_table(folder: Path, normal: str) -> str:
    """What ``studies/speed/trainings.py`` wrote.

    A whole training of each method, and images a second.
    """
    run = json.loads((folder / f"trainings-{folder_name(normal)}.json").read_text(encoding="utf-8"))
    rows = []
    for method, found in run["methods"].items():
        trained = "-" if found["trained"] is None else f"{found['trained']:,.0f}"
        rows.append([method, f"{found['fit_seconds']:.0f}", trained, f"{found['scored']:,.0f}"])
    heading = [
        f"preset cpu, {run['images']:,} images of {normal}, {run['threads']} threads",
        "fit, seconds",
    ]
    return markdown([*heading, "images/s trained, by the whole fit", "images/s scored"], rows)
