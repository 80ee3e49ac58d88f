"""Fetching from a server on this machine: whole, interrupted, damaged, unreachable; and checking
what is there.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from anomirror.data import DATASETS
from anomirror.data.catalogue import OfficialFile
from anomirror.data.downloads import digest, get, present, verify
from anomirror.errors import InputError, SettingError
from tests.data.test_readers import idx

CONTENT = np.random.default_rng(0).bytes(3_000_000)
MD5 = hashlib.md5(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Offers CONTENT; drops the connection after ``limit`` bytes, and knows ranges unless
    ``whole``.
    """

    limit: int | None = None
    whole = False
    asked: list[str | None]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        if self.path != "/file":
            self.send_error(404)
            return
        wanted = self.headers.get("Range")
        self.server.asked.append(wanted)
        start = (
            int(wanted.removeprefix("bytes=").rstrip("-"))
            if wanted and not self.server.whole
            else 0
        )
        if start >= len(CONTENT):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        self.wfile.write(
            CONTENT[start : start + self.server.limit] if self.server.limit else CONTENT[start:]
        )

    def log_message(self, *arguments: object) -> None:
        """Not on stderr."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as server:
        server.asked = []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def offered(server: Server, monkeypatch: pytest.MonkeyPatch) -> OfficialFile:
    """The data set ``mnist`` as one file of that server."""
    file = OfficialFile("mnist/file.gz", f"http://127.0.0.1:{server.server_port}/file", MD5)
    monkeypatch.setitem(DATASETS, "mnist", replace(DATASETS["mnist"], files=(file,)))
    return file


def test_a_file_is_fetched_once_with_progress(
    server: Server, offered: OfficialFile, tmp_path: Path
) -> None:
    seen: list[tuple[str, int, int | None]] = []
    files = get("mnist", tmp_path, lambda *state: seen.append(state))
    assert files == [tmp_path / "mnist" / "file.gz"]
    assert files[0].read_bytes() == CONTENT
    assert seen[-1] == ("mnist/file.gz", len(CONTENT), len(CONTENT))
    assert len(seen) >= 2
    get("mnist", tmp_path)
    assert len(server.asked) == 1
    assert [file.name for file in (tmp_path / "mnist").iterdir()] == ["file.gz"]


@pytest.mark.parametrize("whole", [False, True])
def test_an_interrupted_download_goes_on(
    server: Server, offered: OfficialFile, tmp_path: Path, whole: bool
) -> None:
    server.limit, server.whole = 2_000_000, whole
    with pytest.raises(InputError, match="what came is kept in file.gz.part"):
        get("mnist", tmp_path)
    assert not (tmp_path / "mnist" / "file.gz").exists()
    server.limit = None
    assert get("mnist", tmp_path)[0].read_bytes() == CONTENT
    assert server.asked == [None, "bytes=2000000-"]


def test_a_whole_part_is_only_checked(
    server: Server, offered: OfficialFile, tmp_path: Path
) -> None:
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "file.gz.part").write_bytes(CONTENT)
    assert get("mnist", tmp_path)[0].read_bytes() == CONTENT


def test_other_bytes_than_the_published_ones_get_no_name(
    server: Server, offered: OfficialFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        DATASETS, "mnist", replace(DATASETS["mnist"], files=(replace(offered, md5="0" * 32),))
    )
    with pytest.raises(InputError, match=f"md5 {MD5}, published 0000"):
        get("mnist", tmp_path)
    assert list((tmp_path / "mnist").iterdir()) == []


def test_without_a_checksum_only_an_archive_is_taken_and_nothing_is_pieced_together(
    server: Server, offered: OfficialFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unchecked = replace(offered, md5=None, path="mnist/file.tar.gz")
    monkeypatch.setitem(DATASETS, "mnist", replace(DATASETS["mnist"], files=(unchecked,)))
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "file.tar.gz.part").write_bytes(b"of another day")
    with pytest.raises(InputError, match=r"what came is no file\.tar\.gz"):
        get("mnist", tmp_path)
    assert server.asked == [None]
    assert list((tmp_path / "mnist").iterdir()) == []


def test_what_is_there_and_different_is_not_overwritten(
    server: Server, offered: OfficialFile, tmp_path: Path
) -> None:
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "file.gz").write_bytes(b"mine")
    with pytest.raises(InputError, match="exists, and is not the published file; move it away"):
        get("mnist", tmp_path)
    assert (tmp_path / "mnist" / "file.gz").read_bytes() == b"mine"
    assert server.asked == []


def test_no_network_no_file_and_no_address_are_one_clear_line(
    server: Server, offered: OfficialFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"http://127.0.0.1:{server.server_port}"
    for address, message in (
        (
            "http://127.0.0.1:1/file",
            "cannot be reached .*refused.*Without a network, put it at .*file.gz",
        ),
        (f"{url}/gone", "the server answers 404"),
        (None, "get it by hand at yann.lecun.com"),
    ):
        monkeypatch.setitem(
            DATASETS, "mnist", replace(DATASETS["mnist"], files=(replace(offered, url=address),))
        )
        with pytest.raises(InputError, match=message):
            get("mnist", tmp_path)
    with pytest.raises(SettingError, match="no data set named 'dessert'"):
        get("dessert", tmp_path)


@pytest.fixture
def digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small MNIST whose published contents are known."""
    rng = np.random.default_rng(1)
    (tmp_path / "mnist").mkdir()
    contents = {}
    for split, stem in (("train", "train"), ("test", "t10k")):
        images, labels = rng.integers(0, 256, (6, 28, 28)), np.arange(6)
        (tmp_path / "mnist" / f"{stem}-images-idx3-ubyte").write_bytes(idx(images))
        (tmp_path / "mnist" / f"{stem}-labels-idx1-ubyte").write_bytes(idx(labels))
        contents[split] = digest(images.astype(np.uint8), labels)
    dataset = replace(DATASETS["mnist"], counts={"train": 6, "test": 6}, contents=contents)
    monkeypatch.setitem(DATASETS, "mnist", dataset)
    return tmp_path


def statuses(root: Path) -> list[str]:
    return [found.status for found in verify("mnist", root)]


def test_contents_are_verified_however_they_are_packed(digits: Path) -> None:
    assert statuses(digits) == ["contents ok", "contents ok"]


def test_wrong_pixels_labels_and_counts_are_damaged_and_absent_files_missing(digits: Path) -> None:
    file = digits / "mnist" / "t10k-labels-idx1-ubyte"
    right = file.read_bytes()
    for content in (right[:-1] + b"\x09", right[:-1]):
        file.write_bytes(content)
        assert statuses(digits) == ["contents ok", "DAMAGED"]
    file.unlink()
    assert statuses(digits) == ["contents ok", "missing"]
    assert present("mnist", digits)
    assert not present("cifar10", digits)


def test_without_published_contents_nothing_is_claimed(
    digits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DATASETS, "mnist", replace(DATASETS["mnist"], contents={}))
    assert statuses(digits) == ["unchecked", "unchecked"]
    monkeypatch.setitem(
        DATASETS, "mnist", replace(DATASETS["mnist"], counts={"train": 6, "test": 7})
    )
    assert statuses(digits) == ["unchecked", "DAMAGED"]


def test_official_files_are_compared_byte_by_byte(
    server: Server, offered: OfficialFile, tmp_path: Path
) -> None:
    get("mnist", tmp_path)
    found = [(checked.what, checked.status) for checked in verify("mnist", tmp_path)]
    assert found[0] == ("mnist/file.gz", "ok")


def test_unpacked_files_beside_the_official_ones_are_what_is_read_and_so_what_is_verified(
    digits: Path, server: Server, offered: OfficialFile
) -> None:
    get("mnist", digits)
    assert statuses(digits) == ["ok", "contents ok", "contents ok"]
    images = digits / "mnist" / "t10k-images-idx3-ubyte"
    images.write_bytes(images.read_bytes()[:16] + bytes(6 * 28 * 28))
    assert statuses(digits) == ["ok", "contents ok", "DAMAGED"]


def test_the_digest_holds_labels_but_no_order() -> None:
    images, labels = np.arange(12, dtype=np.uint8).reshape(3, 2, 2), np.array([0, 1, 2])
    assert digest(images, labels) == digest(images[::-1], labels[::-1])
    assert digest(images, labels) != digest(images, labels[::-1])
