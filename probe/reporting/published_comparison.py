"""A run's accuracies beside the published ones, and what is known to differ between the two protocols."""

from __future__ import annotations

from dataclasses import dataclass

from configs.published_results import PublishedRow, published_row
from probe.reporting.finished_runs import Result

SAMPLES = 1_281_167
"""ImageNet-1k's training images."""

PATCH_PROBE, KNN, LINEAR = "ep32", "knn", "lp"


@dataclass(frozen=True)
class Comparison:
    """One answer, and the published accuracy that is nearest to it, in percent."""

    result: Result
    row: PublishedRow
    column: str
    """`k-NN`, `LP` or `EP32`."""
    published: float
    differences: tuple[str, ...]
    """Known ones between the protocols, in words."""


def compared(result: Result) -> Comparison | None:
    """None where nothing comparable is published: another backbone, data set or probe, or fewer images."""
    config, answer = result.run.config, result.answer
    row = published_row(config["backbone"]["name"], config["evaluation"]["name"])
    alone = len(answer["blocks"]) == 1 and answer["blocks"][0] == len(config["backbone"]["blocks"]) - 1
    if row is None or not alone or answer["shots"] is not None or answer["fraction"] is not None:
        return None
    base, column, published = _column(result.probe, row)
    if column == "":
        return None
    return Comparison(result, row, column, published, tuple(_differences(result, row, base)))


def _column(probe: str, row: PublishedRow) -> tuple[str, str, float]:
    base = probe.removesuffix("+cls").partition("_")[0]
    if base == KNN:
        return KNN, "k-NN", row.knn
    if base == LINEAR:
        return LINEAR, "LP", row.lp
    return (PATCH_PROBE, "EP32", row.ep32) if base == PATCH_PROBE and "_" not in probe else ("", "", 0)


def _differences(result: Result, row: PublishedRow, base: str) -> list[str]:
    found = _of_tokens(result, row, base) + _of_training(result, base)
    if row.note:
        found.append(row.note)
    if result.run.config["train"]["samples"] != SAMPLES:
        found.append(
            f"trained on a source of {result.run.config['train']['samples']:,} images, not {SAMPLES:,}"
        )
    return found


def _of_tokens(result: Result, row: PublishedRow, base: str) -> list[str]:
    probe, found = result.probe, []
    if base == PATCH_PROBE and (row.ep32_reads == "all") != probe.endswith("+cls"):
        theirs = "[CLS] and the patches" if row.ep32_reads == "all" else "the patches alone"
        found.append(f"the published probe reads {theirs}")
    reads = "mean" if probe.endswith("_mean") else "both" if probe.endswith("_both") else "cls"
    if base == LINEAR and row.lp_reads != reads:
        theirs = "the mean patch token" if row.lp_reads == "mean" else "[CLS]"
        found.append(f"the published linear probe reads {theirs}")
    if base == KNN and reads != "cls":
        found.append("the published k-NN reads one vector, [CLS] where there is one")
    if base != KNN and row.tokens is not None and row.tokens != result.answer["tokens"]:
        where = "before" if row.tokens == "pre" else "after"
        found.append(f"the published row reads tokens {where} the final norm")
    return found


def _of_training(result: Result, base: str) -> list[str]:
    if base == KNN:
        return [
            "published k-NN accuracies were computed on parts of the training set in several processes "
            "without bringing them together, and are low",
            "published: k from 5 to 200; here k is chosen on held-out training images",
        ]
    config = result.run.config
    recipe, (policy, views) = config["recipe"], config["views"]
    found = [
        "published: the best epoch on the validation images, as “best” is here"
        if _measured_every_epoch(result)
        else "published: the best epoch on the validation images; here only the last epoch was measured",
        "published batch norm sees 256 images on each GPU, here the whole batch",
    ]
    if policy == "plain" or views == 1:
        found.append("published: random resized crops and flips; here one fixed view of each image")
    else:
        found.append(f"published: a new crop and flip every time; here {views} stored views of each image")
    if recipe["name"] != "paper" or recipe["epochs"] != 90 or recipe["batch_size"] != 4096:
        found.append(
            f"published: LARS, 90 epochs, batch 4096; here recipe {recipe['name']}, {recipe['epochs']} "
            f"epochs, batch {recipe['batch_size']:,}"
        )
    return found


def _measured_every_epoch(result: Result) -> bool:
    return bool(result.run.options["every_epoch"]) or not result.run.config["held_out"]
