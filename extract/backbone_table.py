"""`extract --list`: every backbone by name, what it gives, and how far it has been shown to be right."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from configs import BackboneConfig, load_backbone, names
from extract.open_backbone import open_architecture

COLUMNS = (
    "backbone", "tokens", "prefix", "D", "blocks", "norm", "read", "input", "weights", "licence", "proof"
)  # fmt: skip

WIDTH = 200

LEGEND = """\
tokens   patch tokens N of the last block, and their grid
prefix   tokens before them: [CLS], r registers
norm     the final norm, whose parameters are stored beside tokens from before it
read     what published probes read: before (pre) or after (post) the final norm
input    side in pixels: crop, its share of the resized image; squash: resized without a crop
weights  hub or address: downloaded; file: no program may fetch them, give --weights FILE
licence  *: its publisher asks for an acceptance first
proof    real    run with its real weights
         golden  made-up weights in the official file's layout, through our loader, give the tokens of the
                 official code within 2e-4 (small configurations; names, shapes and parameters at full size)
         timm    tokens are those of timm's model, which is believed
Not proven of any but mae_digits: that the real weights, which were not at hand, give published accuracies.
There are no official weights of MAE ViT-S."""


def show_backbones(*, as_json: bool = False) -> None:
    """Print the table and what its columns mean, or its rows as JSON."""
    if as_json:
        rows = [
            dict(zip(COLUMNS, backbone_row(load_backbone(name)), strict=True)) for name in names("backbones")
        ]
        print(json.dumps(rows, indent=1, ensure_ascii=False))
        return
    table = Table(*COLUMNS, box=None, pad_edge=False, header_style="bold")
    for name in names("backbones"):
        table.add_row(*backbone_row(load_backbone(name)))
    Console(width=WIDTH, soft_wrap=True).print(table)  # no column is cut, whatever the terminal
    print(f"\n{LEGEND}")


def backbone_row(config: BackboneConfig) -> tuple[str, ...]:
    """The row of one backbone, measured on its architecture."""
    architecture = open_architecture(config.name)
    geometry = architecture.geometry
    last = geometry.blocks[-1]
    return (
        config.name,
        f"{last.num_tokens} ({'×'.join(map(str, last.grid))})",
        _prefix(geometry.prefix),
        str(last.dim),
        str(len(geometry.blocks)),
        architecture.final_norm or "none",
        config.tokens or "",
        _input(architecture.transform),
        _weights(config.weights),
        f"{config.licence}{'*' if config.gated else ''}",
        config.proof,
    )


def _prefix(roles: Sequence[str]) -> str:
    """`cls + 4 r`."""
    registers = roles.count("register")
    parts = [role for role in roles if role != "register"] + [f"{registers} r"] * (registers > 0)
    return " + ".join(parts) or "none"


def _input(transform: dict[str, Any]) -> str:
    """`224 crop 0.875`, `256 squash`."""
    squash = transform["crop_mode"] == "squash"
    return f"{transform['input_size'][1]} " + ("squash" if squash else f"crop {transform['crop_pct']:g}")


def _weights(weights: str) -> str:
    return "address" if weights.startswith("https://") else weights.partition(":")[0]
