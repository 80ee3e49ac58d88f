"""What the commands share: options, how a line is said, and where data comes from."""

from __future__ import annotations

import csv
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Literal, TypeVar

import typer

from anomirror import plugins
from anomirror.data import DATASETS, Split, load_dataset
from anomirror.errors import InputError, SettingError, unknown
from anomirror.presets import PRESETS

if TYPE_CHECKING:
    import numpy as np

    from anomirror.detector.parameters import Arguments
    from anomirror.detectors import Detector
    from anomirror.images import ImageInput, ImageSet

_AnyDetector = TypeVar("_AnyDetector", bound="Detector")

METHODS = tuple(dict.fromkeys([*PRESETS, *plugins.names()]))
"""Names of all methods, known without an import of torch."""

ODD_NAMES = "backslashreplace"
"""How file names that are not valid text are written."""

DATA_HELP = (
    "a folder (searched recursively), one image, a .txt file of paths (relative to its folder), an "
    ".npy/.npz array (n, h, w, c), "
    f"or a data set: {', '.join(DATASETS)}"
)
Data = Annotated[str, typer.Argument(metavar="DATA", help=DATA_HELP)]
Model = Annotated[
    Path, typer.Argument(metavar="MODEL", help="a model folder that `anomirror fit` wrote")
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, ...; the GPU if there is one")]
DataDir = Annotated[
    Path | None,
    typer.Option(envvar="ANOMIRROR_DATA", help="where named data sets lie as their official files"),
]
Json = Annotated[bool, typer.Option("--json", help="only JSON on standard output")]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="leave unreadable files out")]


class Loudness:
    """What -v and -q ask for: 1, 0 or -1."""

    level = 0


def say(message: str) -> None:
    """One line on stderr, as it stands: no markup, no wrapping; nothing with -q."""
    if Loudness.level >= 0:
        print(message, file=sys.stderr, flush=True)


def words(text: str) -> list[str]:
    """Names separated by commas."""
    return [word for part in text.split(",") if (word := part.strip())]


def each_of(texts: Sequence[str] | None) -> list[str]:
    """An option that may be repeated, and may hold several values separated by commas.

    A text that names an existing file as it stands is one value, commas or not.
    """
    return [
        word for text in texts or [] for word in ([text] if Path(text).exists() else words(text))
    ]


Inputs = Annotated[
    list[str],
    typer.Argument(metavar="DATA...", help=f"{DATA_HELP}; or - for paths on standard input"),
]
Alpha = Annotated[
    float | None, typer.Option(help="false-alarm rate of the decisions; else the model's own")
]


def deciding(model: Path, device: str | None, alpha: float | None) -> Detector:
    """A model that decides at its own rate or another; what it cannot promise then is said."""
    from anomirror.detectors import load

    detector = load(model, device=device)
    if alpha is not None:
        detector.set_params(false_alarm_rate=alpha).validate()
        if (unkept := detector.promise()) is not None:
            say(f"warning: {unkept}")
    return detector


GroupBy = Annotated[
    str | None,
    typer.Option(
        metavar="PATTERN",
        help="images in whose name this finds the same belong together, such as views of a part "
        "by 'part_([0-9]+)': none calibrates what was fitted on others",
    ),
]


By = Annotated[
    str | None,
    typer.Option(
        metavar="PATTERN",
        help="decide within what this finds in the path of each image, such as cameras by "
        "'cam([0-9]+)' or '([^/]+)/[^/]*$', the folder it lies in: the rate then holds in each",
    ),
]


With = Annotated[
    list[str] | None,
    typer.Option(
        "--with",
        metavar="METHOD",
        help="further candidates of auto, such as ama; repeatable, or separated by commas",
    ),
]


def with_further(detector: _AnyDetector, methods: Sequence[str] | None) -> _AnyDetector:
    """A choice among further candidates."""
    from anomirror.detectors import make_detector

    further = [make_detector(each) for each in each_of(methods)]
    return detector.with_candidates([*detector.candidates(), *further])


def grouped(names: Sequence[str], data: str, pattern: str | None) -> np.ndarray | None:
    """By what a pattern finds below the folder of the images; how many there are is said.

    None without a pattern.
    """
    if pattern is None:
        return None
    import numpy as np

    from anomirror.workflows.naming import groups_of

    below = [name.removeprefix(f"{data.rstrip('/')}/") for name in names]
    groups = groups_of(below, pattern)
    alone = sum(group == name for group, name in zip(groups, below, strict=True))
    without = f", {alone} of them an image without the pattern" if alone else ""
    say(f"{len(names)} images come in {len(set(groups))} groups{without}")
    return np.array(groups)


def categorised(
    names: Sequence[str], pattern: str | None, labels: np.ndarray | None = None
) -> np.ndarray | None:
    """Categories by a pattern; how many images each has is said. None without a pattern.

    Parameters
    ----------
    labels : +1 and -1; of labelled anomalies, -1, nothing is asked.
    """
    if pattern is None:
        return None
    import numpy as np

    from anomirror.workflows.naming import categories_of

    normal = np.arange(len(names)) if labels is None else np.flatnonzero(labels == 1)
    found = categories_of([names[int(index)] for index in normal], pattern)
    values, counts = np.unique(found, return_counts=True)
    listed = ", ".join(f"{n} of {value}" for value, n in zip(values[:8], counts, strict=False))
    more = f" and {len(values) - 8} more" if len(values) > 8 else ""
    say(f"images come in {len(values)} categories, decided within each: {listed}{more}")
    categories = np.full(len(names), "-", dtype=object)
    categories[normal] = found
    return categories.astype(str)


def refuse_files_of_others(out: Path, columns: Sequence[str]) -> None:
    """A file that is there is replaced if it is a table with these columns, and nothing else.

    Raises
    ------
    InputError : it is not.
    """
    if out.is_dir():
        raise InputError(f"--out {out}: is a folder; give the name of a CSV file")
    if not out.is_file():
        return
    with out.open("rb") as stream:
        begins = stream.read(64)
    if begins and not begins.startswith(",".join(columns).encode()):
        raise InputError(
            f"--out {out}: exists, and is no such table of ours; choose another name, or pass "
            "--overwrite"
        )


def resolve(data: str, split: Split, data_dir: Path | None) -> ImageInput:
    """A path as it is, or the images of a named data set."""
    from anomirror.images import is_there

    if is_there(Path(data)):
        return Path(data)
    if data in DATASETS:
        return load_dataset(data, split, data_dir)[0]
    if "/" in data or "." in data:
        raise InputError(f"{data}: no such file or folder, nor a data set ({', '.join(DATASETS)})")
    raise InputError(
        f"{data}: no such file or folder, and {unknown('data set named', data, DATASETS)}"
    )


def folders_of(images: ImageSet) -> set[Path]:
    """Folders in which the files of a set lie, resolved; none of arrays."""
    from anomirror.images import is_there

    first: dict[str, str] = {}
    for name in images.names:
        first.setdefault(name.rpartition("/")[0], name)
    return {Path(name).parent.resolve() for name in first.values() if is_there(Path(name))}


def assigned(texts: Sequence[str] | None) -> Arguments:
    """Parameters from ``key=value`` with TOML values.

    What is no TOML is a string, and none is None. The last of a key holds.
    """
    parameters: Arguments = {}
    for text in texts or []:
        key, separator, value = (part.strip() for part in text.partition("="))
        if not separator or not key or "\n" in value:
            raise InputError(f"--set {text}: expected key=value")
        try:
            parameters[key] = none_from_word(tomllib.loads(f"value = {value}")["value"])
        except tomllib.TOMLDecodeError:
            parameters[key] = none_from_word(value)
    return parameters


def none_from_word(value: object) -> object:
    """What stands in a configuration; TOML has no word for None."""
    return None if isinstance(value, str) and value.lower() == "none" else value


def refuse_owned(parameters: Mapping[str, object], *owned: str) -> None:
    """Parameters that a command sets by other ways."""
    if found := [name for name in owned if name in parameters]:
        raise SettingError(f"{found[0]} is set by the command line itself; leave it out")


def side(text: str) -> int | Literal["auto"]:
    """What ``--size`` says."""
    if text.lower() == "auto":
        return "auto"
    if not text.isdigit():
        raise SettingError(f"--size {text}: expected 32, 64, 128, 256 or auto")
    return int(text)


def opened_to_score(
    detector: Detector, data: Sequence[str], data_dir: Path | None
) -> list[ImageSet]:
    """Each input as the fitted detector sees it; "-" is paths on standard input."""
    from anomirror.images import with_pages

    sets: list[ImageSet] = []
    for source in data:
        if source == "-":
            paths = [line for raw in sys.stdin if (line := raw.rstrip("\r\n"))]
            if not paths:
                raise InputError("-: no path came on standard input")
            sets.append(detector.open_to_score(with_pages(paths)[0]))
        else:
            sets.append(detector.open_to_score(resolve(source, "test", data_dir)))
    return sets


def write_table(out: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A CSV file that appears when it is complete."""
    with written(out) as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


@contextmanager
def written(out: Path | None) -> Iterator[IO[str]]:
    """A text file that appears when it is complete, or standard output."""
    from anomirror.storage import replacing

    if out is None:
        yield sys.stdout
        return
    if out.exists() and not out.is_file():  # a pipe or a device is written to, not replaced
        with out.open("w", newline="", encoding="utf-8", errors=ODD_NAMES) as stream:
            yield stream
        return
    with (
        replacing(out) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors=ODD_NAMES) as stream,
    ):
        yield stream
