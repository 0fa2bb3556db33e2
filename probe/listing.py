"""`probe list` and `probe describe`: what can be trained, and what it costs."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import tyro
from pydantic import Field
from rich.console import Console
from rich.table import Table

from cache import Store
from configs import FrozenModel, Json, Known, UserError, optional
from probe.cost import probe_cost
from probe.names import CLOSED_FORM, LINEAR, known_names, probe_spec

VIT_B, IMAGENET_CLASSES = (768, (14, 14)), 1000


class ListOptions(FrozenModel):
    """Show every kind of probe with its parameters and GFLOPs per image.

    Parameters and GFLOPs are those of the store's tokens and classes, or of ViT-B/16 on ImageNet (196 tokens
    of width 768, 1000 classes). GFLOPs: forward pass of an image, 2 for each multiplication of a matrix
    product. `probe describe NAME` shows what a probe is made of.

    Examples:
      probe list
      probe list --cache cache/mae_digits --json
    """

    cache: Annotated[Path | None, optional("PATH")] = Field(
        default=None, description="the store whose tokens and classes are counted with"
    )
    json_: Json = False


class DescribeOptions(FrozenModel):
    """Show what a probe is made of: query, keys, values, attention, output, and where it is published.

    Examples:
      probe describe ep32
      probe describe aim+cls
    """

    name: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="NAME"), Known(known_names)] = Field(
        description="a probe, as --probe takes it"
    )
    json_: Json = False


def list_probes(options: ListOptions) -> None:
    """Print the table, or its rows as JSON, where `refused` says why a probe cannot be."""
    dim, grid, classes, shown = _shapes(options.cache)
    rows = [_row(name, dim, classes, grid) for name in known_names()]
    if options.json_:
        print(json.dumps({"shapes": shown, "probes": rows}, indent=1, ensure_ascii=False))
        return
    table = Table(title=f"probes at {shown}")
    table.add_column("probe")
    for column in ("parameters", "GFLOPs"):
        table.add_column(column, justify="right")
    table.add_column("what it is")
    for row in rows:
        counted = row["parameters"] is not None
        costs = (f"{row['parameters']:,}", f"{row['gflops']:.3g}") if counted else ("", "")
        refused = row["refused"]
        table.add_row(row["probe"], *costs, refused or row["what"], style="dim" if refused else None)
    Console().print(table)
    print("a number after a family's name sets its queries or heads (ep64, mhca12); ep32_d4 divides the")
    print("output width; ep32+cls adds [CLS] to the patches")


def _row(name: str, dim: int, classes: int, grid: tuple[int, ...]) -> dict[str, Any]:
    row: dict[str, Any] = {"probe": name, "parameters": None, "gflops": None, "what": "", "refused": None}
    if name in CLOSED_FORM:
        return row | {"what": _CLOSED_FORM[name]}
    try:
        cost = probe_cost(name, dim, classes, grid)
    except UserError as error:
        return row | {"what": _in_short(name), "refused": str(error)}
    return row | {"parameters": cost.parameters, "gflops": cost.gflops, "what": _in_short(name)}


def _shapes(cache: Path | None) -> tuple[int, tuple[int, ...], int, str]:
    if cache is None:
        dim, grid = VIT_B
        return dim, grid, IMAGENET_CLASSES, "ViT-B/16, 1000 classes (give --cache for a store's)"
    store = Store(cache)
    dataset = store.dataset(None)
    split = store.split(dataset, store.splits()[dataset][0])
    block = store.manifest.backbone.blocks[split.manifest.blocks[-1]]
    classes = len(split.manifest.classes)
    return block.dim, block.grid, classes, f"{block.num_tokens} × {block.dim} tokens, {classes} classes"


def _in_short(name: str) -> str:
    family = probe_spec(name).family
    if family is not None:
        return family.description.reference
    vector = {"cls": "[CLS]", "mean": "the mean patch token"}[LINEAR[name]]
    return f"batch norm and a linear classifier on {vector}"


_CLOSED_FORM = {
    "knn": "weighted nearest neighbours by cosine on [CLS]",
    "knn_mean": "the same on the mean patch token",
    "knn_both": "the same on both, side by side",
    "logreg": "logistic regression (L-BFGS, C chosen) on [CLS]",
    "logreg_mean": "the same on the mean patch token",
    "logreg_both": "the same on both, side by side",
}


def describe_probe(options: DescribeOptions) -> None:
    """Print the parts of one probe."""
    name, parts = _described(options.name)
    if options.json_:
        print(json.dumps({"probe": name, **parts}, indent=1, ensure_ascii=False))
        return
    print(name)
    for part, text in parts.items():
        print(f"  {part:<10} {text}")


def _described(name: str) -> tuple[str, dict[str, str]]:
    """The full name, and part → what it is."""
    if name in CLOSED_FORM:
        return name, {"what": _CLOSED_FORM[name]}
    spec = probe_spec(name)
    if spec.family is None:
        return spec.name, {"what": _in_short(spec.name)}
    parts = {f.name: str(getattr(spec.family.description, f.name)) for f in fields(spec.family.description)}
    return spec.name, parts | {"tokens": "[CLS] and patches" if spec.token_set == "all" else "patches"}
