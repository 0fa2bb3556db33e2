"""What `probe attention` leaves behind and prints."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from cache.atomic import write_bytes
from probe.attention_maps.measures import HeadMeasures, MapMeasures


def as_json(found: Sequence[HeadMeasures], split: str) -> dict[str, Any]:
    """The measures, as `measures.json` holds them."""
    return {"split": split, "probes": [asdict(head) for head in found]}


def write_measures(folder: Path, found: Sequence[HeadMeasures], split: str) -> None:
    """Write `measures.json`, and `measures.csv` with a row for each map."""
    write_bytes(folder / "measures.json", (json.dumps(as_json(found, split), indent=1) + "\n").encode())
    with (folder / "measures.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(MapMeasures)])
        writer.writeheader()
        writer.writerows(asdict(measures) for head in found for measures in head.maps)


def print_measures(found: Sequence[HeadMeasures], split: str) -> None:
    """A table with a row for each probe, means over its maps; another one where objects are known."""
    title = f"attention on {split}, {found[0].images:,} images"
    columns = ("maps", "entropy", "similarity", "highest", "Δ top-1", "largest Δ")
    _print(title, columns, [(head.trial, *_cells(head)) for head in found])
    if found[0].located:
        title = f"on the object, {found[0].located:,} images"
        _print(
            title,
            ("mass", "mass if uniform", "centroid", "peak"),
            [(head.trial, *_object_cells(head)) for head in found],
        )


def _print(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table("probe", title=title)
    for column in columns:
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def _cells(head: HeadMeasures) -> tuple[str, ...]:
    deltas = [m.delta_top1 for m in head.maps if m.delta_top1 is not None]
    return (
        str(len(head.maps)),
        _mean([m.entropy for m in head.maps]),
        _mean([m.similarity for m in head.maps]),
        _mean([m.highest_similarity for m in head.maps]),
        _mean(deltas, ".2f"),
        f"{max(deltas):.2f}" if deltas else "–",
    )


def _object_cells(head: HeadMeasures) -> tuple[str, ...]:
    return (
        _mean([m.mass for m in head.maps]),
        _mean([head.area]),
        _mean([m.centroid for m in head.maps]),
        _mean([m.peak for m in head.maps]),
    )


def _mean(values: Sequence[float | None], shape: str = ".3f") -> str:
    known = [value for value in values if value is not None]
    return format(sum(known) / len(known), shape) if known else "–"
