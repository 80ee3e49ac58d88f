"""Every named data set.

What it is, on which terms, its official files with their published checksums, and its reader.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from anomirror.data.readers import (
    Reader,
    Split,
    celeba,
    cifar_set,
    emnist,
    gtsrb,
    idx_set,
    omniglot,
    picture_set,
    svhn,
    tiny_imagenet_aliased,
)
from anomirror.errors import SettingError, unknown


@dataclass(frozen=True)
class OfficialFile:
    """A file as its publisher offers it, and where it belongs below the data directory."""

    path: str
    url: str | None
    """None where the publisher has no address that a program can fetch from."""
    md5: str | None
    """As published; None where nobody publishes one."""


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """A data set by name: its images, where it comes from, on which terms, and how it is read."""

    size: int
    channels: int
    counts: Mapping[Split, int]
    """Images in each split that there is."""
    megabytes: int
    """Of the official files, about."""
    terms: str
    source: str
    read: Reader
    files: tuple[OfficialFile, ...]
    folder: str = ""
    """Where the unpacked files lie, if the reader takes them as well."""
    preparation: str = ""
    """What the reader does to the official pixels."""
    named_labels: bool = False
    """Whether labels only number the names of folders, and so depend on what else is there."""
    contents: Mapping[Split, str] = field(default_factory=dict)
    """Digest of the images as they are read (:func:`anomirror.data.downloads.digest`), where we
    have seen the official files.
    """

    @property
    def splits(self) -> tuple[Split, ...]:
        return tuple(self.counts)


def _idx_files(folder: str, base: str, md5s: tuple[str, str, str, str]) -> tuple[OfficialFile, ...]:
    names = (
        "train-images-idx3-ubyte",
        "train-labels-idx1-ubyte",
        "t10k-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte",
    )
    return tuple(
        OfficialFile(f"{folder}/{name}.gz", f"{base}/{name}.gz", md5)
        for name, md5 in zip(names, md5s, strict=True)
    )


_CIFAR10: dict[Split, list[str]] = {
    "train": [f"data_batch_{i}.bin" for i in range(1, 6)],
    "test": ["test_batch.bin"],
}
_CIFAR100: dict[Split, list[str]] = {"train": ["train.bin"], "test": ["test.bin"]}
_KRIZ, _ERDA = (
    "https://www.cs.toronto.edu/~kriz",
    "https://sid.erda.dk/public/archives/daaeac0d7ce1152aea9b61d9f1e19370",
)
_OMNIGLOT = "https://raw.githubusercontent.com/brendenlake/omniglot/master/python"
_SVHN, _ODIN = "http://ufldl.stanford.edu/housenumbers", "https://www.dropbox.com/s"
_SHRUNK = "shrunk to 32x32 where larger (bilinear, anti-aliased)"

DATASETS: dict[str, DataSet] = {
    "fashion-mnist": DataSet(
        size=28,
        channels=1,
        counts={"train": 60_000, "test": 10_000},
        megabytes=31,
        terms="MIT",
        source="github.com/zalandoresearch/fashion-mnist",
        read=idx_set("fashion-mnist"),
        files=_idx_files(
            "fashion-mnist",
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
            (
                "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
                "25c81989df183df01b3e8a0aad5dffbe",
                "bef4ecab320f06d8554ea6380940ec79",
                "bb300cfdad3c16e7a12a480ee83cd310",
            ),
        ),
        folder="fashion-mnist",
        contents={
            "train": "f78f9d4adab7f24922e8f1c820cbea43",
            "test": "2eb003ed2dda73348b79fad35737cf48",
        },
    ),
    "mnist": DataSet(
        size=28,
        channels=1,
        counts={"train": 60_000, "test": 10_000},
        megabytes=12,
        terms="usually stated as CC BY-SA 3.0",
        source="yann.lecun.com/exdb/mnist",
        read=idx_set("mnist"),
        files=_idx_files(
            "mnist",
            "https://ossci-datasets.s3.amazonaws.com/mnist",
            (
                "f68b3c2dcbeaaa9fbdd348bbdeb94873",
                "d53e105ee54ea40749a09fcbcd1e9432",
                "9fb629c4189551a2d022fa330f9573f3",
                "ec29112dd5afa0611ce80d1b7f02629c",
            ),
        ),
        folder="mnist",
        contents={
            "train": "5dba0d5119f8443f361b11039e35c523",
            "test": "5746198b7bf28efb5c7c63e91f036b0c",
        },
    ),
    "emnist": DataSet(
        size=28,
        channels=1,
        counts={"train": 124_800, "test": 20_800},
        megabytes=562,
        terms="public domain (NIST)",
        source="nist.gov/itl/products-and-services/emnist-dataset",
        read=emnist,
        files=(
            OfficialFile(
                "emnist/gzip.zip",
                "https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip",
                "58c8d27c78d21e728a6bc7b3cc06412e",
            ),
        ),
        folder="emnist",
        preparation="letters; turned upright (they are stored transposed)",
    ),
    "omniglot": DataSet(
        size=28,
        channels=1,
        counts={"train": 19_280, "test": 13_180},
        megabytes=16,
        terms="MIT",
        source="github.com/brendenlake/omniglot",
        read=omniglot,
        files=(
            OfficialFile(
                "omniglot/images_background.zip",
                f"{_OMNIGLOT}/images_background.zip",
                "68d2efa1b9178cc56df9314c21c6e718",
            ),
            OfficialFile(
                "omniglot/images_evaluation.zip",
                f"{_OMNIGLOT}/images_evaluation.zip",
                "6b91aef0f799c5bb55b94e3f2daec811",
            ),
        ),
        folder="omniglot",
        named_labels=True,
        contents={
            "train": "65a9d24e3c32678e354625faf7696edc",
            "test": "cdfb43941dd21bdfedfc851a2bd52130",
        },
        preparation="inverted to light on dark, 105x105 shrunk to 28x28 (box, anti-aliased)",
    ),
    "cifar10": DataSet(
        size=32,
        channels=3,
        counts={"train": 50_000, "test": 10_000},
        megabytes=170,
        terms="none stated; cite Krizhevsky 2009",
        source="cs.toronto.edu/~kriz/cifar.html",
        read=cifar_set("cifar-10-batches-bin", "cifar-10-binary.tar.gz", _CIFAR10, 1),
        files=(
            OfficialFile(
                "cifar-10-binary.tar.gz",
                f"{_KRIZ}/cifar-10-binary.tar.gz",
                "c32a1d4ab5d03f1284b67883e8d87530",
            ),
        ),
        folder="cifar-10-batches-bin",
        contents={
            "train": "4406d29fd6201604c12ef288baf4be58",
            "test": "a75400d949291e4895cd7bf0fa4c27ea",
        },
    ),
    "cifar100": DataSet(
        size=32,
        channels=3,
        counts={"train": 50_000, "test": 10_000},
        megabytes=169,
        terms="none stated; cite Krizhevsky 2009",
        source="cs.toronto.edu/~kriz/cifar.html",
        read=cifar_set("cifar-100-binary", "cifar-100-binary.tar.gz", _CIFAR100, 2),
        files=(
            OfficialFile(
                "cifar-100-binary.tar.gz",
                f"{_KRIZ}/cifar-100-binary.tar.gz",
                "03b5dce01913d631647c71ecec9e9cb8",
            ),
        ),
        folder="cifar-100-binary",
        contents={"test": "56986e7aa50bb64fe6040af22a898c9e"},
    ),
    "svhn": DataSet(
        size=32,
        channels=3,
        counts={"train": 73_257, "test": 26_032},
        megabytes=246,
        terms="non-commercial use",
        source="ufldl.stanford.edu/housenumbers",
        read=svhn,
        files=(
            OfficialFile(
                "svhn/train_32x32.mat",
                f"{_SVHN}/train_32x32.mat",
                "e26dedcc434d2e4c54c9b2d4a06d8373",
            ),
            OfficialFile(
                "svhn/test_32x32.mat", f"{_SVHN}/test_32x32.mat", "eb5a983be6a315427106f1b164d9cef3"
            ),
        ),
        folder="svhn",
    ),
    "imagenet-resize": DataSet(
        size=32,
        channels=3,
        counts={"test": 10_000},
        megabytes=22,
        terms="ImageNet's: non-commercial research",
        source="github.com/facebookresearch/odin",
        read=picture_set("Imagenet_resize", "Imagenet_resize.tar.gz", (".png", ".jpeg", ".jpg")),
        files=(
            OfficialFile(
                "Imagenet_resize.tar.gz",
                f"{_ODIN}/kp3my3412u5k9rl/Imagenet_resize.tar.gz?dl=1",
                "0f9ff11d45babf2eff5fe12281d1ac31",
            ),
        ),
        folder="Imagenet_resize",
        preparation=_SHRUNK,
    ),
    "tiny-imagenet-aliased": DataSet(
        size=32,
        channels=3,
        counts={"test": 10_000},
        megabytes=248,
        terms="ImageNet's: non-commercial research",
        source="cs231n.stanford.edu",
        read=tiny_imagenet_aliased,
        files=(
            OfficialFile(
                "tiny-imagenet-200.zip",
                "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
                "90528d7ca1a48142e341f4ef8d21d0de",
            ),
        ),
        folder="tiny-imagenet-200",
        preparation=(
            "the test images' 64x64 made 32x32 of every second pixel (nearest, not anti-aliased)"
        ),
    ),
    "lsun-resize": DataSet(
        size=32,
        channels=3,
        counts={"test": 10_000},
        megabytes=22,
        terms="LSUN's: research",
        source="github.com/facebookresearch/odin",
        read=picture_set("LSUN_resize", "LSUN_resize.tar.gz", (".png", ".jpeg", ".jpg")),
        files=(
            OfficialFile(
                "LSUN_resize.tar.gz",
                f"{_ODIN}/moqh2wh8696c3yl/LSUN_resize.tar.gz?dl=1",
                "278b7b31c8cb7e804a1465a8ce03a2dc",
            ),
        ),
        folder="LSUN_resize",
        preparation=_SHRUNK,
    ),
    "isun": DataSet(
        size=32,
        channels=3,
        counts={"test": 8_925},
        megabytes=10,
        terms="research",
        source="github.com/facebookresearch/odin",
        read=picture_set("iSUN", "iSUN.tar.gz", (".png", ".jpeg", ".jpg")),
        files=(OfficialFile("iSUN.tar.gz", f"{_ODIN}/ssz7qxfqae0cca5/iSUN.tar.gz?dl=1", None),),
        folder="iSUN",
        preparation=_SHRUNK,
    ),
    "gtsrb": DataSet(
        size=32,
        channels=3,
        counts={"train": 6_402, "test": 6_228},
        megabytes=85,
        terms="research",
        source="benchmark.ini.rub.de/gtsrb_news.html",
        read=gtsrb,
        files=(
            OfficialFile(
                "GTSRB_Final_Test_Images.zip",
                f"{_ERDA}/GTSRB_Final_Test_Images.zip",
                "c7e4e6327067d32654124b0fe9e82185",
            ),
            OfficialFile(
                "GTSRB_Final_Test_GT.zip",
                f"{_ERDA}/GTSRB_Final_Test_GT.zip",
                "fe31e9c9270bbcd7b84b7f21a9d9d9e5",
            ),
        ),
        folder="GTSRB",
        preparation=(
            "the final test's signs, halved into train and test by a hash of their names; "
            f"{_SHRUNK}"
        ),
    ),
    "celeba": DataSet(
        size=32,
        channels=3,
        counts={"train": 162_770, "test": 19_962},
        megabytes=1_446,
        terms="non-commercial research",
        source="mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
        read=celeba,
        files=(
            OfficialFile("celeba/img_align_celeba.zip", None, "00d2c5bc6d35e252742224ab0c1e8fcb"),
            OfficialFile(
                "celeba/list_eval_partition.txt", None, "d32c9cbf5e040fd4025c592c306e6668"
            ),
        ),
        folder="celeba",
        preparation="the central 140x140 pixels shrunk to 32x32 (bilinear, anti-aliased)",
    ),
}
"""Every named data set that is read from files."""


def dataset(name: str) -> DataSet:
    """A data set of the catalogue; an unknown name is refused with the known ones."""
    if name not in DATASETS:
        raise SettingError(unknown("data set named", name, sorted(DATASETS)))
    return DATASETS[name]
