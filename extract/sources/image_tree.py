"""The image files below a folder, links followed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from configs import UserError


def image_files(folder: Path, extensions: tuple[str, ...]) -> Iterator[str]:
    """Paths of all files that end so, in torchvision's order: by folder, then by name.

    A link to a folder that it lies in is not followed. Raises `UserError` for a folder that cannot be read:
    to leave its images out would be another data set.
    """
    inside = {str(folder): frozenset({_identity(str(folder))})}
    found = []
    for root, folders, files in os.walk(folder, onerror=_refuse, followlinks=True):
        above = inside.pop(root)
        for name in list(folders):
            path = os.path.join(root, name)
            own = _identity(path)
            if own in above:
                folders.remove(name)
            else:
                inside[path] = above | {own}
        found.append((root, files))
    for root, files in sorted(found):
        for name in sorted(files):
            if name.lower().endswith(extensions):
                yield os.path.join(root, name)


def _identity(folder: str) -> tuple[int, int]:
    state = os.stat(folder)
    return state.st_dev, state.st_ino


def _refuse(error: OSError) -> None:
    raise UserError(f"cannot read {error.filename} ({error.strerror})")
