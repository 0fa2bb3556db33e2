"""Data sets in many files: which files a pattern means, and which split each belongs to."""

from __future__ import annotations

import glob
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

from configs import UserError

_SPLIT = re.compile(r"(?:^|[-_.])(train|val|validation|valid|test)(?=[-_.]|$)")
_BRACES = re.compile(r"\{([^{}]*)\}")


def shards_by_split(place: str, suffix: str) -> dict[str, list[Path]]:
    """Split → its files, in the order of their paths.

    `place`: a file, a folder, or a pattern with `{0000..0146}`, `{a,b}` and `*`. The split is a word of the
    file's name (`data-train-0001.tar`) or the name of a folder (`train/0001.tar`); without any, all are
    `train`. Raises `UserError`.
    """
    root = Path(place).expanduser()
    if root.is_dir():
        files = sorted(path for path in root.rglob(f"*{suffix}") if path.is_file())
        if not files:
            raise UserError(f"{root} has no *{suffix} files")
    else:
        files = [path for name in expand_braces(str(root)) for path in _matching(name)]
    found: dict[str | None, list[Path]] = {}
    for path in files:
        found.setdefault(_split_of(path, root), []).append(path)
    return _checked(found, root)


def expand_braces(pattern: str) -> Iterator[str]:
    """`a{0..2}` → a0, a1, a2 with the width of the first number; `{x,y}` → x, y."""
    pieces = _BRACES.split(pattern)
    choices = [_choices(piece) if place % 2 else [piece] for place, piece in enumerate(pieces)]
    return ("".join(chosen) for chosen in itertools.product(*choices))


def _choices(inside: str) -> list[str]:
    ends = re.fullmatch(r"(\d+)\.\.(\d+)", inside)
    if ends is None:
        return inside.split(",")
    return [f"{number:0{len(ends[1])}}" for number in range(int(ends[1]), int(ends[2]) + 1)]


def _matching(name: str) -> list[Path]:
    files = [Path(match) for match in sorted(glob.glob(name))] if "*" in name else [Path(name)]
    for path in files:
        if not path.is_file():
            raise UserError(f"no file at {path}")
    if not files:
        raise UserError(f"no file matches {name}")
    return files


def _split_of(path: Path, root: Path) -> str | None:
    word = _SPLIT.search(path.stem)
    if word is not None:
        return word[1]
    folders = path.relative_to(root).parent.parts if root.is_dir() else (path.parent.name,)
    return next((name for name in reversed(folders) if _SPLIT.fullmatch(name)), None)


def _checked(found: dict[str | None, list[Path]], root: Path) -> dict[str, list[Path]]:
    if None in found and len(found) > 1:
        lost = found[None][0].name
        raise UserError(f"which split of {root} does {lost} belong to? Other files say theirs in their names")
    for files in found.values():
        folders = sorted({str(path.parent) for path in files})
        if len(folders) > 1:
            raise UserError(f"one split lies in several folders ({', '.join(folders)}): give one of them")
    return {split or "train": files for split, files in found.items()}
