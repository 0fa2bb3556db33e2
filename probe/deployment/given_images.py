"""Images that somebody names: files, and folders of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import repeat
from pathlib import Path

from configs import UserError
from extract.sources.files import FileSource
from extract.sources.folder import EXTENSIONS

NO_CLASS = -1


def given_images(paths: Iterable[Path]) -> FileSource:
    """The files among `paths`, and the images anywhere below the folders among them, in sorted order.

    A file that is named is taken whatever it is called; in folders the ending decides. Raises `UserError`
    where nothing is there.
    """
    names = [str(file) for path in paths for file in _files(path)]
    if not names:
        raise UserError("name one image or more, or a folder of images")
    return FileSource(Path(), names, repeat(NO_CLASS, len(names)), ())


def _files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        if not path.exists():
            raise UserError(f"no image or folder at {path}")
        yield path
        return
    found = False
    for folder, below, files in os.walk(path, onerror=_refuse):
        below.sort()
        for name in sorted(files):
            if name.lower().endswith(EXTENSIONS):
                found = True
                yield Path(folder, name)
    if not found:
        raise UserError(f"{path} holds no images ({', '.join(EXTENSIONS)})")


def _refuse(error: OSError) -> None:
    raise UserError(f"cannot read {error.filename}: {error.strerror}")
