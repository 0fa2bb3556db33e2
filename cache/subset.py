"""Choosing some of a split's records: by class, by fraction of each class, by a list of samples."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from cache.checksum import crc32c
from cache.split_reader import SplitReader
from configs import UserError, unknown_name

NAMES_SHOWN = 4
"""Of a longer list, the order of a split shows the length and a checksum."""

LONGEST_SAMPLE_ID = 18
"""Digits that an int64 always holds."""


@dataclass(frozen=True)
class SubsetChoice:
    """What was asked for. Classes first, then samples, then the fraction of what is left of each class."""

    classes: tuple[str, ...] = ()
    samples: np.ndarray | None = None  # (m,) int64, values of sample_id, each once
    fraction: float | None = None

    @property
    def everything(self) -> bool:
        """Whether nothing is left away, unreadable records included."""
        return not self.classes and self.samples is None and self.fraction is None


@dataclass(frozen=True)
class Subset:
    """Records of a split in their order, and what the split that holds only these says of itself."""

    records: np.ndarray  # (n,) int64, positions in the split that they come from
    labels: np.ndarray  # (n,) int64, numbered by `classes`
    sample_id: np.ndarray  # (n,) int64
    classes: tuple[str, ...]
    order: str
    order_seed: int | None
    skipped: Mapping[int, str]  # position in the subset → why its image could not be read


def choose_subset(split: SplitReader, choice: SubsetChoice) -> Subset:
    """The records of `split` that `choice` names; without those that could not be read, unless it names all.

    Raises `UserError` where it names what the split does not hold, or nothing is left.
    """
    manifest = split.manifest
    labels, sample_id = _sound(split, "labels"), _sound(split, "sample_id")
    if choice.everything:
        return Subset(
            records=np.arange(len(labels)),
            labels=labels,
            sample_id=sample_id,
            classes=manifest.classes,
            order=manifest.order,
            order_seed=manifest.order_seed,
            skipped=_skipped(split, labels),
        )
    order, classes = [manifest.order], manifest.classes
    if choice.classes:
        labels, classes = renumber(labels, classes, choice.classes)
        order.append(_classes_in_words(classes))
    kept = labels >= 0
    if choice.samples is not None:
        kept &= listed(sample_id, choice.samples, split.name)
        checksum = crc32c(np.sort(choice.samples).astype("<i8").tobytes())
        order.append(f"{len(choice.samples):,} listed samples, crc32c {checksum:08x}")
    if choice.fraction is not None:
        kept = first_of_each_class(labels, kept, choice.fraction)
        order.append(f"fraction {choice.fraction} of each class")
    records = np.flatnonzero(kept)
    if not len(records):
        raise UserError(f"{split.name} holds no readable record of that choice: nothing would be stored")
    return Subset(
        records=records,
        labels=labels[records],
        sample_id=sample_id[records],
        classes=classes,
        order="; ".join(order),
        order_seed=None,
        skipped={},
    )


def _sound(split: SplitReader, name: str) -> np.ndarray:
    values = split.whole(name)
    split.require_sound(name, np.arange(len(values)), values)
    return values


def _skipped(split: SplitReader, labels: np.ndarray) -> dict[int, str]:
    size = split.manifest.shard_size
    shards = np.unique(np.flatnonzero(labels < 0) // size).tolist()
    return {
        shard * size + record: reason
        for shard in shards
        for record, reason in split.shard_record(shard).skipped.items()
    }


def renumber(
    labels: np.ndarray, classes: tuple[str, ...], wanted: Collection[str]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels (n,) by the `wanted` classes alone, in the order of `classes`; −1 for all others."""
    for name in wanted:
        if name not in classes:
            raise unknown_name("class", name, classes)
    chosen = [label for label, name in enumerate(classes) if name in wanted]
    numbers = np.full(len(classes) + 1, -1, dtype=np.int64)  # one more: what −1 points to
    numbers[chosen] = np.arange(len(chosen))
    return numbers[labels], tuple(classes[label] for label in chosen)


def _classes_in_words(classes: tuple[str, ...]) -> str:
    if len(classes) <= NAMES_SHOWN:
        return f"classes {', '.join(classes)}"
    return f"{len(classes):,} classes, crc32c {crc32c(chr(10).join(classes).encode()):08x}"


def listed(sample_id: np.ndarray, samples: np.ndarray, split: str) -> np.ndarray:
    """(n,) bool: which of `sample_id` are among `samples`, all of which must be there."""
    unknown = samples[~np.isin(samples, sample_id)]
    if len(unknown):
        raise UserError(
            f"--samples: {split} holds no sample {unknown[0]} ({len(unknown):,} such in the list)"
        )
    return np.isin(sample_id, samples)


def first_of_each_class(labels: np.ndarray, kept: np.ndarray, fraction: float) -> np.ndarray:
    """(n,) bool: of the `kept` records of each class, the first ceil(fraction · their number).

    Records stand in a seeded permutation, so the first ones are a random choice; a smaller fraction is
    inside a larger one.
    """
    positions = np.flatnonzero(kept)
    by_class = positions[np.argsort(labels[positions], kind="stable")]
    counts = np.bincount(labels[positions])
    rank = np.arange(len(by_class)) - np.repeat(np.cumsum(counts) - counts, counts)
    exact = Fraction(str(fraction))  # 0.1 · 30 is more than 3 in floats
    quota = np.array([math.ceil(exact * count) for count in counts.tolist()], dtype=np.int64)
    chosen = np.zeros_like(kept)
    chosen[by_class[rank < np.repeat(quota, counts)]] = True
    return chosen


def read_sample_list(path: Path) -> np.ndarray:
    """The sample_ids in `path`, one a line: (m,) int64. Raises `UserError` where one is repeated or none."""
    seen: dict[int, int] = {}
    for number, line in enumerate(_lines(path), start=1):
        if not line:
            continue
        if not line.isdecimal() or len(line) > LONGEST_SAMPLE_ID:
            raise UserError(f"{path}, line {number}: '{line}' is no sample_id (an integer)")
        sample = int(line)
        if sample in seen:
            raise UserError(
                f"{path}, line {number}: sample {sample} was listed in line {seen[sample]} already"
            )
        seen[sample] = number
    if not seen:
        raise UserError(f"{path} lists no sample")
    return np.array(list(seen), dtype=np.int64)


def read_class_list(path: Path) -> tuple[str, ...]:
    """The class names in `path`, one a line. Raises `UserError` where there are none."""
    names = tuple(line for line in _lines(path) if line)
    if not names:
        raise UserError(f"{path} names no class")
    return names


def _lines(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is no text file (UTF-8)") from None
