"""What a store holds, in words and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from cache.split_reader import SplitReader
from cache.store import Store


def split_info(split: SplitReader) -> dict[str, Any]:
    """A split's size, shards, arrays and classes. Class counts cover the shards that are stored.

    Classes may share a name, as two of ImageNet's are called crane: each has an entry of its own.
    """
    manifest = split.manifest
    stored = split.stored_shards()
    labels = [split.shard("labels", shard) for shard in stored]
    held, counts = np.unique(np.concatenate([*labels, np.empty(0, np.int64)]), return_counts=True)
    skipped = sum(len(split.shard_record(shard).skipped) for shard in stored)
    return {
        "records": manifest.records,
        "left_out": skipped,
        "source": manifest.dataset.source,
        "fingerprint": manifest.dataset.fingerprint,
        "format": manifest.format,
        "order": manifest.order,
        "views": manifest.views,
        "augmentation": manifest.augmentation and manifest.augmentation.model_dump(),
        "shards": manifest.shards,
        "shards_stored": len(stored),
        "shard_size": manifest.shard_size,
        "bytes": sum(path.stat().st_size for path in split.folder.rglob("*") if path.is_file()),
        "arrays": {
            spec.name: {"dtype": spec.dtype, "shape": spec.shape(manifest.records)}
            for spec in manifest.arrays
        },
        "images_per_class": [
            {"class": label, "name": manifest.classes[label], "images": count}
            for label, count in zip(held.tolist(), counts.tolist(), strict=True)
            if label >= 0
        ],
    }


def store_info(store: Store) -> dict[str, Any]:
    """The store's manifest, and `split_info` of every split by `dataset/split`."""
    return {
        "path": str(store.folder),
        **store.manifest.model_dump(mode="json"),
        "splits": {
            f"{dataset}/{split}": split_info(store.split(dataset, split))
            for dataset, splits in store.splits().items()
            for split in splits
        },
    }


def _views(info: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Of each split of several views: how many, and what made those after the plain one."""
    for name, split in info["splits"].items():
        if split["augmentation"]:
            made = split["augmentation"]
            yield (
                f"views of {name}",
                f"{split['views']}: the plain one, then {made['name']}, seed {made['seed']}",
            )


def print_info(info: dict[str, Any]) -> None:
    """Show `store_info` as tables."""
    backbone = info["backbone"]
    identity = Table(title=f"store {info['path']}", show_header=False)
    last = backbone["blocks"][-1]
    grid = "×".join(map(str, last["grid"]))
    for name, value in (
        ("backbone", f"{backbone['name']} ({backbone['source']})"),
        ("weights sha256", backbone["weights_sha256"]),
        ("blocks", f"{len(backbone['blocks'])}; the last gives {grid} tokens of {last['dim']}"),
        ("prefix tokens", ", ".join(backbone["prefix"]) or "none"),
        ("final norm", backbone["final_norm"] or "none"),
        ("computed in", backbone["precision"]),
        ("stored as", info["dtype"]),
        *(("derived", step) for step in info["derived"]),
        ("probes read", f"tokens {info['tokens']} the final norm, unless told otherwise"),
        ("transform", ", ".join(f"{k} {v}" for k, v in backbone["transform"].items())),
        ("licence", info["licence"] or "not stated"),
        *_views(info),
    ):
        identity.add_row(name, str(value))
    splits = Table(title="splits")
    splits.add_column("split")
    for column in ("records", "left out", "classes × images", "shards", "MB", "format"):
        splits.add_column(column, justify="right")
    for name, split in info["splits"].items():
        counts = [held["images"] for held in split["images_per_class"]]
        spread = f"{len(counts)} × {min(counts)}–{max(counts)}" if counts else "–"
        splits.add_row(
            name,
            f"{split['records']:,}",
            str(split["left_out"]),
            spread,
            f"{split['shards_stored']}/{split['shards']}",
            f"{split['bytes'] / 1e6:,.1f}",
            split["format"],
        )
    arrays = Table("split", "array", "dtype", "shape", title="arrays")
    for name, split in info["splits"].items():
        for array, held in split["arrays"].items():
            arrays.add_row(name, array, held["dtype"], "×".join(map(str, held["shape"])))
    console = Console()
    for table in (identity, splits, arrays):
        console.print(table)
