"""The rows of `results.csv`: one for each trial, and for each setting of a closed-form probe."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from probe.closed_form_run import ClosedFormResult
from probe.cost import ProbeCost
from probe.outcome import Outcome


def trial_rows(
    outcomes: Sequence[Outcome], costs: Sequence[ProbeCost], chosen: Collection[str]
) -> list[dict[str, Any]]:
    """Of trained probes; `chosen` are the names of the trials that were."""
    rows = []
    for outcome, cost in zip(outcomes, costs, strict=True):
        spec, last = outcome.spec, outcome.last
        measured = [row for row in outcome.epochs if row.top1 is not None]
        best = max(measured, key=lambda row: row.top1 or 0.0, default=None)
        rows.append(
            {
                "trial": outcome.name,
                "probe": spec.probe,
                "setting": spec.setting,
                "chosen": outcome.name in chosen,
                "parameters": cost.parameters,
                "gflops": cost.gflops,
                "held_out_top1": last.held_out_top1,
                "top1_last": last.top1,
                "top5_last": last.top5,
                "top1_best": None if best is None else best.top1,
                "best_epoch": None if best is None else best.epoch,
                "loss": last.loss,
                "seconds": outcome.seconds,
                "lr": outcome.lr,
                "lr_given": spec.lr,
                "weight_decay": spec.weight_decay,
                "seed": spec.seed,
                "blocks": "+".join(map(str, spec.blocks)),
                "tokens": spec.tokens,
                "shots": spec.images.shots,
                "fraction": spec.images.fraction,
                "draw": spec.images.draw,
                "training_images": outcome.training_images,
                "batch_size": outcome.batch_size,
                "epochs": last.epoch,
                "pruned": outcome.pruned,
            }
        )
    return rows


COLUMNS = (
    "trial", "probe", "setting", "chosen", "parameters", "gflops", "held_out_top1", "top1_last",
    "top5_last", "top1_best", "best_epoch", "loss", "seconds", "lr", "lr_given", "weight_decay", "seed",
    "blocks", "tokens", "shots", "fraction", "draw", "training_images", "batch_size", "epochs", "pruned",
)  # fmt: skip


def closed_form_rows(result: ClosedFormResult) -> list[dict[str, Any]]:
    """Of every setting and draw that was measured on the evaluation images."""
    answer = result.answer
    known: dict[str, Any] = dict.fromkeys(COLUMNS) | {
        "trial": answer.probe,
        "probe": answer.probe,
        "seconds": result.seconds,
        "blocks": "+".join(map(str, answer.blocks)),
        "tokens": answer.tokens,
        "shots": answer.shots,
        "fraction": answer.fraction,
    }
    return [
        known
        | {
            "setting": setting,
            "chosen": setting == answer.setting,
            "held_out_top1": result.held_out.get(setting),
            "top1_last": top1,
            "top5_last": top5,
            "draw": draw,
        }
        for draw, found in enumerate(result.evaluation)
        for setting, (top1, top5) in found.items()
    ]
