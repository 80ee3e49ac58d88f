"""Data sets by name: official ones, read from their files below a data directory, and generated.

Folders and proxy anomalies are read and made here as well.

>>> sorted(DATASETS)[:3]
['celeba', 'cifar10', 'cifar100']
"""

from anomirror.data.catalogue import DATASETS, DataSet
from anomirror.data.generated import GENERATED
from anomirror.data.readers import Split
from anomirror.data.sets import (
    FOLDER_SIZE,
    Images,
    canonical,
    data_directory,
    images_of,
    is_folder,
    load_dataset,
    natural_form,
)

__all__ = [
    "DATASETS",
    "FOLDER_SIZE",
    "GENERATED",
    "DataSet",
    "Images",
    "Split",
    "canonical",
    "data_directory",
    "images_of",
    "is_folder",
    "load_dataset",
    "natural_form",
]
