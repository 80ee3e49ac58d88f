"""2. The default finishes, says so before, and there is one way into the frame."""

from __future__ import annotations

import inspect
import io
import json
import re
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from anomirror import DETECTORS, PCA, make_detector
from anomirror.detector import costs
from anomirror.detector.contract import Detector
from anomirror.detector.costs import cost_of
from anomirror.detector.streaming import SAMPLE_BYTES, evenly_spaced
from anomirror.errors import AnomirrorWarning
from anomirror.images import Frame, SizeRange, open_images
from anomirror.progress import Progress
from tests.commands import run
from tests.first_hour.conftest import tiles, write
from tests.tiny import METHODS, tiny


def test_the_size_is_chosen_everywhere_and_small_images_keep_their_pixels() -> None:
    for kind in DETECTORS.values():
        assert inspect.signature(kind).parameters["image_size"].default == "auto"
    assert Frame.choose(28, 28, "auto", 32) == Frame.choose(28, 28, None) == Frame(32, 1, 32)
    assert Frame.choose(300, 200, "auto", 32) == Frame.choose(300, 200, 32) == Frame.scaled(32)
    assert Frame.choose(50, 60, "auto", 64) == Frame(64, 1, 64)


def test_before_anything_starts_one_line_says_what_it_will_take(good: Path) -> None:
    done = run("fit", good, "--out", good.parent / "model", "--method", "pca")
    first = done.stderr.splitlines()[0]
    said = r"40 images of 48x48 at 32x32: about \d+ seconds?, \d\.\d GB \(--size 64: \d+ seconds?\)"
    assert re.fullmatch(said, first), first
    done = run("fit", good, "--out", good.parent / "larger", "--method", "pca", "--size", "128")
    assert "at 128x128" in done.stderr
    assert "--size" not in done.stderr  # more would only enlarge


@pytest.mark.parametrize("method", METHODS)
def test_the_cost_of_every_method_is_known_and_leaves_it_unfitted(method: str) -> None:
    detector = tiny(method)
    before = dict(vars(detector))
    cost = cost_of(detector, open_images(tiles(40, size=32)))
    assert 0 < cost.fitting <= cost.seconds < 600
    assert cost.gigabytes > 0.1
    assert vars(detector) == before


def test_what_is_told_is_the_number_of_steps_times_the_time_of_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        costs, "train", lambda phases, *_: [{"seconds": 9.0}, {"seconds": 0.5}] * len(phases)
    )  # the first warms up
    images = open_images(tiles(64, size=32))
    for steps in (2000, 4000):
        assert cost_of(
            tiny("ama", epochs=1, steps_per_epoch=steps), images
        ).fitting == pytest.approx(steps * 0.5, rel=0.02)
    assert cost_of(
        tiny("ama", epochs=2, steps_per_epoch=2000, max_steps=1000), images
    ).fitting == pytest.approx(500, rel=0.02)


def test_a_sample_is_limited_by_bytes() -> None:
    detector = PCA(image_size=256, largest_sample=20_000)
    detector.image_shape_, detector.sizes_ = (3, 256, 256), None
    taken: list[int] = []

    class Endless:
        shape, in_memory, names = (3, 256, 256), True, range(10**6)

        def __len__(self) -> int:
            return 10**6

        def take(self, indices: list[int]) -> object:
            taken.extend(indices)
            raise StopIteration  # how many are asked for is all that counts

    some = evenly_spaced(Endless(), SAMPLE_BYTES // (4 * 3 * 256 * 256))  # type: ignore[arg-type]
    assert len(some) * 3 * 256 * 256 * 4 <= SAMPLE_BYTES
    # at 32 it limits nothing
    assert (
        inspect.signature(PCA).parameters["largest_sample"].default * 4 * 3 * 32 * 32 < SAMPLE_BYTES
    )


def test_without_a_terminal_a_line_comes_every_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now, said = [0.0], io.StringIO()
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr("sys.stderr", said)
    with Progress("training", 100, "steps") as progress:
        for _ in range(30):
            now[0] += 1
            progress.advance()
    assert said.getvalue().splitlines() == [
        "training: 10 of 100 steps, about 90 seconds left",
        "training: 20 of 100 steps, about 80 seconds left",
        "training: 30 of 100 steps, about 70 seconds left",
    ]
    with Progress("training", 100, "steps", shown=False) as progress:
        now[0] += 100
        progress.advance()
    assert len(said.getvalue().splitlines()) == 3


def scaled(images: np.ndarray, size: int) -> np.ndarray:
    return np.stack(
        [
            np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC))
            for image in images
        ]
    )


@pytest.mark.parametrize("image_size", ["auto", None, 64])
@pytest.mark.parametrize("native", [28, 48])
def test_good_images_stored_at_another_size_are_still_good(image_size: object, native: int) -> None:
    # nothing that a size would lose
    smooth = scaled(np.random.default_rng(0).integers(0, 256, (120, 4, 4), dtype=np.uint8), 96)
    detector = PCA(image_size=image_size).fit(scaled(smooth[:100], native))  # type: ignore[arg-type]
    assert detector.sizes_ == SizeRange(native, native, 1.0, 1.0)
    for size in (native * 2 // 3, native, native * 2):
        assert np.mean(detector.predict(scaled(smooth[100:], size)) == -1) <= 0.25, size


def test_mixed_sizes_of_training_images_are_kept_as_they_are() -> None:
    sizes = SizeRange(20, 28, 1.0, 1.0)
    frame = Frame.choose(28, 28, None).as_seen(sizes)
    assert [frame.inner(side, side)[2] for side in (10, 20, 24, 28, 56)] == [20, 20, 24, 28, 28]


def test_sizes_far_from_the_trainings_are_named(good: Path, model: Path) -> None:
    Image.fromarray(tiles(1, size=300)[0]).save(good / "large.png")
    done = run("score", model, good, "--out", good.parent / "s.csv")
    assert "1 of 41, for example" in done.stderr
    assert "large.png of 300x300" in done.stderr
    with pytest.warns(AnomirrorWarning, match="training images differ in size and shape"):
        PCA().fit([*tiles(20), *tiles(20, size=200)])
    Image.fromarray(tiles(1, size=200)[0][:40]).save(good / "wide.png")
    assert "width over height 1.00" in run("score", model, good / "wide.png").stderr


def test_a_large_jpeg_is_decoded_small_and_scores_as_its_pixels_do(tmp_path: Path) -> None:
    large = scaled(tiles(12, size=48), 1200)
    for index, image in enumerate(large):
        Image.fromarray(image).save(tmp_path / f"{index:02d}.jpg", quality=95)
    images = open_images(tmp_path, image_size=32)
    framed = images.take([0])[0].float()
    assert (images.native_size(0), images.names[0].endswith("00.jpg")) == ((1200, 1200), True)
    exact = open_images(large[:1], image_size=32).take([0])[0].float()
    assert (framed - exact).abs().mean() < 2.0  # of 255 grey levels
    detector: Detector = make_detector("pca").fit(tmp_path)
    assert detector.sizes_ == SizeRange(1200, 1200, 1.0, 1.0)


def test_no_default_of_a_method_is_larger_than_what_finishes() -> None:
    """32 pixels (of scattering, ensemble and auto 128), at which every method was measured: five
    minutes and 2 GB at most for 1,000 photos, small or large.
    """
    measured = json.loads((Path(__file__).parents[2] / "results/first-hour/cost.json").read_text())
    assert {(row["method"], row["width"]) for row in measured} == {
        (name, width)
        for name in DETECTORS.keys() - {"ensemble"}  # has no members by itself
        for width in (300, 4000)
    }
    assert max(row["seconds"] for row in measured) < 300
    assert max(row["gigabytes"] for row in measured) < 2
    larger = {name: kind.auto_size for name, kind in DETECTORS.items() if kind.auto_size != 32}
    assert larger == {"scattering": 128, "ensemble": 128, "auto": 128}
    write_size = open_images(np.zeros((2, 300, 300), np.uint8), image_size="auto", most=32)
    assert write_size.shape == (1, 32, 32)


def test_benchmark_and_fit_choose_the_same_size(tmp_path: Path) -> None:
    from anomirror.benchmark.experiments import Settings, trials

    folder = write(tiles(30), tmp_path / "good")
    made = next(iter(trials(str(folder), ["constant"], Settings(("pca",)))))
    assert made.comparison().train.shape[1:3] == (32, 32)
    assert (
        made.detector().fit(made.comparison().train).image_shape_ == PCA().fit(folder).image_shape_
    )


def test_far_sizes_are_counted_over_all_pieces_and_maps_fit_the_images(tmp_path: Path) -> None:
    folder = write(tiles(40, size=28), tmp_path / "good")
    assert run("fit", folder, "--out", tmp_path / "m", "--method", "pca").returncode == 0
    large = write(np.repeat(tiles(1, size=100), 300, axis=0), tmp_path / "large")
    done = run("score", tmp_path / "m", large, "--out", tmp_path / "s.csv")
    assert done.stderr.count("far from the size") == 1
    assert "300 of 300" in done.stderr
    cornered = tiles(1, size=32)
    cornered[0, :6, :6] = 255
    detector = PCA().fit(folder)
    write(cornered, tmp_path / "corner")
    framed = detector.framed_maps(detector.open_to_score(tmp_path / "corner"))
    own = detector.frame_.take_out(framed, 32, 32)[0].numpy()
    np.testing.assert_allclose(own, detector.explain(cornered)[0], rtol=1e-4)


def test_where_the_system_tells_no_memory_the_line_says_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(costs, "sys", SimpleNamespace(platform="win32"))
    said = costs.sentence(PCA(), open_images(tiles(40)))
    assert re.fullmatch(r"40 images of 48x48 at 64x64: about \d+ seconds?", said), said
