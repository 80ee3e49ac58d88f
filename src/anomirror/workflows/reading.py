"""Images that can be read, of those that a command is given."""

from __future__ import annotations

import numpy as np

from anomirror.errors import warn
from anomirror.images import ImageSet, check_files, unreadable_error


def readable(images: ImageSet, *, skip_bad: bool) -> tuple[ImageSet, np.ndarray]:
    """Those that can be read, and their places among all, ``(m,)``.

    Raises
    ------
    ImageError : some cannot be read, unless ``skip_bad``; none can.

    Warns
    -----
    AnomirrorWarning : some are left out.
    """
    good, bad = check_files(images)
    if bad and not (skip_bad and len(good)):
        way_out = "remove them, or pass --skip-bad" if len(good) else "give images that can be read"
        raise unreadable_error(images, bad, way_out)
    if bad:
        first, reason = next(iter(bad.items()))
        warn(
            f"{len(bad)} of {len(images)} files cannot be read and are left out: "
            f"{images.names[first]}: {reason}"
        )
    return good, np.delete(np.arange(len(images)), list(bad))
