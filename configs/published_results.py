"""Published accuracies of frozen probes on ImageNet-1k, to stand beside one's own."""

from __future__ import annotations

import csv
from importlib.resources import files
from typing import Literal

from configs.schema import FrozenModel, TokenState

REFERENCE = "efficient probing, arXiv 2506.10178: top-1 on ImageNet-1k's validation images, in percent"
DATASET = "imagenet"


class PublishedRow(FrozenModel):
    """One backbone's row of the table. Accuracies in percent, of the best epoch on the validation images."""

    backbone: str
    """Its name in `configs/backbones`."""
    method: str
    architecture: str
    pretraining: str
    knn: float
    lp: float
    lp_reads: Literal["cls", "mean"]
    """The vector that the linear probe reads; of backbones without [CLS], the mean of the patch tokens."""
    ep32: float
    ep32_reads: Literal["patches", "all"]
    """The tokens that EP reads: the patches, or [CLS] too."""
    tokens: TokenState | None
    """Before or after the backbone's final norm; None where it is not known."""
    note: str
    """What else is known to differ from reading a store, or nothing."""


def published_rows() -> list[PublishedRow]:
    """Every row, in the table's order."""
    text = files("configs").joinpath("published/efficient_probing.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(text.splitlines())
    return [PublishedRow.model_validate({**row, "tokens": row["tokens"] or None}) for row in rows]


def published_row(backbone: str, dataset: str) -> PublishedRow | None:
    """The row of a backbone and a data set by their names, or None where nothing is published."""
    if dataset != DATASET:
        return None
    return next((row for row in published_rows() if row.backbone == backbone), None)
