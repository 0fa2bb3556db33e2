"""`probe list` and `probe describe`: what can be trained, and what it costs."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Annotated

import tyro
from pydantic import Field
from rich.console import Console
from rich.table import Table

from cache import Store
from configs import FrozenModel, UserError, optional
from probe.cost import probe_cost
from probe.names import CLOSED_FORM, LINEAR, known_names, probe_spec

VIT_B, IMAGENET_CLASSES = (768, (14, 14)), 1000


class ListOptions(FrozenModel):
    """Show every kind of probe with its parameters and GFLOPs per image.

    Parameters and GFLOPs are those of the store's tokens and classes, or of ViT-B/16 on ImageNet (196 tokens
    of width 768, 1000 classes). GFLOPs: forward pass of an image, 2 for each multiplication of a matrix
    product. `probe describe NAME` shows what a probe is made of.
    """

    cache: Annotated[Path | None, optional("PATH")] = Field(default=None, description="a store")


class DescribeOptions(FrozenModel):
    """Show what a probe is made of: query, keys, values, attention, output, and where it is published."""

    name: tyro.conf.Positional[str] = Field(description="a probe, as --probe takes it")


def list_probes(options: ListOptions) -> None:
    """Print the table."""
    dim, grid, classes, shown = _shapes(options.cache)
    table = Table(title=f"probes at {shown}")
    table.add_column("probe")
    for column in ("parameters", "GFLOPs"):
        table.add_column(column, justify="right")
    table.add_column("what it is")
    for name in known_names():
        if name in CLOSED_FORM:
            table.add_row(name, "", "", _CLOSED_FORM[name])
            continue
        try:
            cost = probe_cost(name, dim, classes, grid)
        except UserError as error:
            table.add_row(name, "", "", str(error), style="dim")
            continue
        table.add_row(name, f"{cost.parameters:,}", f"{cost.gflops:.3g}", _in_short(name))
    Console().print(table)
    print("a number after a family's name sets its queries or heads (ep64, mhca12); ep32_d4 divides the")
    print("output width; ep32+cls adds [CLS] to the patches")


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
    if options.name in CLOSED_FORM:
        print(f"{options.name}: {_CLOSED_FORM[options.name]}")
        return
    spec = probe_spec(options.name)
    print(spec.name)
    if spec.family is None:
        print(f"  {_in_short(spec.name)}")
        return
    for field in fields(spec.family.description):
        print(f"  {field.name:<10} {getattr(spec.family.description, field.name)}")
    print(f"  {'tokens':<10} {'[CLS] and patches' if spec.token_set == 'all' else 'patches'}")
