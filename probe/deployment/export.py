"""`probe export`: backbone and head, or the head alone, as a file that other programs run."""

from __future__ import annotations

import json
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from configs import UserError, in_bytes
from probe.deployment.export_formats import FORMATS
from probe.deployment.head_description import HeadDescription
from probe.deployment.hub import publish
from probe.deployment.image_classifier import ImageClassifier, TokenClassifier
from probe.deployment.options import ExportName, ExportOptions
from probe.deployment.same_backbone import open_same_backbone
from probe.trained_head import TrainedHead, best_trial, load_head

EXIT_DIFFERS = 1

TRACED_BATCH = 3
"""A number that no shape of a model is likely to have, so that none is taken for the batch's."""
CHECKED_BATCHES = (1, TRACED_BATCH, 4)


@dataclass(frozen=True)
class Exportable:
    """A module in eval mode, and what it takes: the name and the shape, without the batch, of its input."""

    module: nn.Module
    input_name: str
    input_shape: tuple[int, ...]
    head: HeadDescription

    def seeded_input(self, batch: int) -> torch.Tensor:
        """(batch, …) float32, the same every time."""
        drawn = torch.Generator().manual_seed(batch)
        return torch.randn(batch, *self.input_shape, generator=drawn)


def export(options: ExportOptions) -> None:
    """Write what is asked for. Exit code 1 where a file does not compute what the module does."""
    head = load_head(options.run, best_trial(options.run, options.trial))
    if options.to is not None:
        exportable = head_alone(head) if options.head_only else with_backbone(head, options)
        _export_to(exportable, head, options.to, options)
    if options.save_pretrained is not None or options.push_to_hub is not None:
        publish(head, options)


def head_alone(head: TrainedHead) -> Exportable:
    """The head: its input is the tokens that it reads."""
    described = HeadDescription.of(head)
    tokens = {"cls": (), "mean": (), "patches": (_count(head),), "all": (1 + _count(head),)}
    shape = (*tokens[described.token_set], head.dim)
    return Exportable(TokenClassifier(head.probe, described).eval(), "tokens", shape, described)


def _count(head: TrainedHead) -> int:
    return head.backbone.blocks[head.blocks[0]].num_tokens


def with_backbone(head: TrainedHead, options: ExportOptions) -> Exportable:
    """Backbone and head: the input is normalised images."""
    backbone = open_same_backbone(
        head.backbone, str(head.run), backbone=options.backbone, weights=options.weights, amp="none"
    )
    described = HeadDescription.of(head)
    module = ImageClassifier(backbone, head.probe, described).eval()
    return Exportable(module, "images", tuple(backbone.transform["input_size"]), described)


def _export_to(exportable: Exportable, head: TrainedHead, to: ExportName, options: ExportOptions) -> None:
    out = options.out or _default_path(head, to, head_only=options.head_only)
    if to == "torch.export" and out.suffix != FORMATS[to].suffix:  # torch opens no other
        raise UserError(f"--out {out}: a file for torch.export ends in {FORMATS[to].suffix}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".export-") as temporary:
            written = Path(temporary) / out.name
            difference, largest = write_and_compare(exportable, to, written)
            if not difference <= options.tolerance * largest:
                print(
                    f"{out}: not written: its logits differ by up to {difference:.2g} from the module's, of "
                    f"which the largest is {largest:.3g} (tolerance {options.tolerance:g} of that)"
                )
                raise SystemExit(EXIT_DIFFERS)
            described = json.dumps(_described(exportable, to), indent=1, ensure_ascii=False)
            written.with_name(f"{out.name}.json").write_text(described + "\n")
            size = sum(path.stat().st_size for path in Path(temporary).iterdir())
            for path in sorted(Path(temporary).iterdir()):  # weights over 2 GB lie beside an ONNX file
                os.replace(path, out.parent / path.name)
    except OSError as error:
        raise UserError(f"cannot write {out} ({error.strerror or error}): give another --out") from None
    print(
        f"{out}: {in_bytes(size)}; logits differ by at most {difference:.2g} from the module's "
        f"(largest {largest:.3g}; batches of {', '.join(map(str, CHECKED_BATCHES))} seeded inputs)"
    )
    print(f"{out}.json: classes, transform, input and backbone")


def _default_path(head: TrainedHead, to: ExportName, *, head_only: bool) -> Path:
    name = re.sub(r"[^\w.+-]+", "_", head.trial).strip("_") + ("-head" if head_only else "")
    return head.run / "export" / f"{name}{FORMATS[to].suffix}"


@torch.no_grad()
def write_and_compare(exportable: Exportable, to: ExportName, path: Path) -> tuple[float, float]:
    """Write the file and load it again: how much its logits differ from the module's at most, and the largest
    logit, over `CHECKED_BATCHES`.

    Raises `UserError` where the format cannot say what the module does.
    """
    chosen = FORMATS[to]
    try:
        chosen.write(exportable.module, exportable.seeded_input(TRACED_BATCH), exportable.input_name, path)
        loaded = chosen.load(path)
        pairs = [
            (exportable.module(values), loaded(values))
            for values in map(exportable.seeded_input, CHECKED_BATCHES)
        ]
    except (UserError, OSError):
        raise
    except Exception as error:  # exporters and runtimes raise of every kind
        reason = next(iter(str(error).strip().splitlines()), "")
        raise UserError(
            f"{exportable.head.backbone.name} and {exportable.head.probe} cannot be exported to {to}: "
            f"{type(error).__name__}: {reason[:200]}"
        ) from None
    differences = torch.cat([(ours - theirs).abs() for ours, theirs in pairs])
    return float(differences.max()), float(torch.cat([ours.abs() for ours, _ in pairs]).max())


def _described(exportable: Exportable, to: ExportName) -> dict[str, Any]:
    """What a program needs to feed the file and to read its answer."""
    fields = exportable.head.model_dump(mode="json")
    return {
        "format": to,
        "input": {
            "name": exportable.input_name,
            "shape": ["batch", *exportable.input_shape],
            "dtype": "float32",
        },
        "output": {"name": "logits", "shape": ["batch", len(exportable.head.classes)], "dtype": "float32"},
        "transform": fields["backbone"]["transform"],
        "normalisation": "(RGB / 255 - mean) / std, after resizing and cropping",
        "torch": torch.__version__,
        **fields,
    }
