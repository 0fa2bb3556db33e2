"""`probe parity`: a store's tokens against the same images' tokens, computed again."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass

import numpy as np
from rich.console import Console
from rich.table import Table

from cache import SplitReader, Store, TokenDataset, chosen_device, seeded_permutation
from configs import UserError
from extract.backbone import Backbone
from extract.sources import ImageSource, open_dataset
from probe.attention_maps.originals import open_originals
from probe.data import EVALUATION_SPLITS
from probe.deployment.compared_batches import ComparedBatches
from probe.deployment.logit_differences import LogitDifferences, LogitSums
from probe.deployment.options import ParityOptions
from probe.deployment.same_backbone import open_same_backbone
from probe.deployment.token_differences import ArrayDifferences, DifferenceSums
from probe.deployment.tolerances import SMALLEST_NORMAL, tolerance
from probe.trained_head import TrainedHead, best_trial, load_head

EXIT_DIFFERS = 1


@dataclass(frozen=True)
class ParityResult:
    """What was compared, and how far it differs."""

    store: str
    split: str
    images: int
    views: int
    backbone: str
    precision: str
    device: str
    arrays: tuple[ArrayDifferences, ...]
    logits: LogitDifferences | None = None
    head: str | None = None


def parity(options: ParityOptions) -> None:
    """Print the differences. Exit code 1 where they are beyond the tolerance, with the reason."""
    store = Store(options.cache)
    source, split = _opened(store, options)
    head = _head(store, split, options)
    backbone = open_same_backbone(
        store.manifest.backbone, str(store.folder), backbone=options.backbone, weights=options.weights
    )
    backbone.place_on(chosen_device(options.device))
    result = compare(store, split, source, backbone, head, options)
    reasons = _reasons(result, source)
    if options.json_:
        print(json.dumps(asdict(result) | {"agrees": not reasons}, indent=1, ensure_ascii=False))
    else:
        _show(result)
    for reason in reasons:
        print(f"probe: {reason}", file=sys.stderr)
    if reasons:
        raise SystemExit(EXIT_DIFFERS)
    if not options.json_:
        print(f"{store.folder} agrees with {result.backbone}")


def compare(
    store: Store,
    split: SplitReader,
    source: ImageSource,
    backbone: Backbone,
    head: TrainedHead | None,
    options: ParityOptions,
) -> ParityResult:
    """Compute the tokens of the drawn images again, and compare every stored array of every view."""
    records = drawn_records(split, options)
    batches = ComparedBatches(
        split, source, backbone, records, batch_size=options.batch_size, workers=options.workers
    )
    sums = {spec.name: DifferenceSums(SMALLEST_NORMAL[spec.dtype]) for spec in batches.arrays}
    logits = None if head is None else LogitSums(head, store.final_norm, backbone.final_norm)
    for batch in batches:
        for name, sum_ in sums.items():
            sum_.add(batch.stored[name], batch.computed[name], batch.samples)
        if logits is not None and batch.view == 0:
            logits.add(batch)
    precision = store.manifest.backbone.precision
    return ParityResult(
        store=str(store.folder),
        split=split.name,
        images=len(records),
        views=split.manifest.views,
        backbone=backbone.name,
        precision=precision,
        device=str(next(backbone.parameters()).device),
        arrays=tuple(
            sums[spec.name].result(spec.name, spec.dtype, options.tolerance or tolerance(spec, precision))
            for spec in batches.arrays
        ),
        logits=None if logits is None else logits.result(options.logit_tolerance),
        head=None if head is None else f"{head.run}: {head.trial}",
    )


def drawn_records(split: SplitReader, options: ParityOptions) -> np.ndarray:
    """(n,) positions in the split, ascending, of readable images that the seed draws."""
    readable = np.flatnonzero(split.whole("labels") >= 0)
    if not len(readable):
        raise UserError(f"{split.name} holds no readable image")
    drawn = seeded_permutation(len(readable), options.seed)[: options.images]
    return np.sort(readable[drawn])


def _opened(store: Store, options: ParityOptions) -> tuple[ImageSource, SplitReader]:
    """The images and their stored split. Raises `UserError` where they are not those that were extracted."""
    held, columns = store.splits(), options.model_dump(include={"image_column", "label_column"})
    spec = None if options.dataset in held else options.dataset
    name = store.dataset(options.dataset if spec is None else open_dataset(spec, **columns).name)
    evaluation = next((split for split in EVALUATION_SPLITS if split in held[name]), held[name][0])
    split = store.split(name, options.split or evaluation)
    split.require_complete()
    return open_originals(split, spec, **columns), split


def _head(store: Store, split: SplitReader, options: ParityOptions) -> TrainedHead | None:
    if options.run is None:
        return None
    head = load_head(options.run, best_trial(options.run, options.trial))
    head.require_backbone(store.manifest.backbone, str(store.folder))
    if head.classes != split.manifest.classes:
        raise UserError(f"{split.name} in {store.folder} has other classes than {head.run} was trained on")
    needed = head.inputs(store.final_norm).arrays([head.probe.token_set])
    for block in head.blocks:
        TokenDataset(split, block, needed)  # refuses what the store does not hold
    return head


def _show(result: ParityResult) -> None:
    views = f" in {result.views} views" if result.views > 1 else ""
    print(
        f"{result.store}, {result.split}: {result.images} images{views}, computed again by {result.backbone} "
        f"({result.precision}, {result.device})"
    )
    table = Table("array", "dtype", box=None, pad_edge=False, header_style="bold")
    for column in ("largest", "mean", "relative", "worst image", "worst cosine", "tolerance"):
        table.add_column(column, justify="right", no_wrap=True)
    for found in result.arrays:
        numbers = (found.largest, found.mean, found.relative, found.worst_relative)
        table.add_row(
            found.name,
            found.dtype,
            *(f"{number:.2g}" for number in numbers),
            f"{found.worst_cosine:.6f}",
            f"{found.tolerance:.2g}",
        )
    terminal = Console()
    (terminal if terminal.is_terminal else Console(width=110)).print(table)
    if result.logits is not None:
        logits = result.logits
        print(
            f"{result.head}: logits differ by at most {logits.largest:.2g}, {logits.mean:.2g} on average "
            f"(their standard deviation {logits.deviation:.3g})"
        )
        print(
            f"loss {logits.loss_stored:.5f} from the store, {logits.loss_computed:.5f} computed; the same "
            f"first class for {logits.same_class:.2%} of images"
        )


def _reasons(result: ParityResult, source: ImageSource) -> list[str]:
    """Why store and backbone do not agree, a line each."""
    reasons = [
        f"{found.name}: relative error {found.worst_relative:.2g} of {source.describe(found.worst_sample)} "
        f"is beyond {found.tolerance:.2g}"
        for found in result.arrays
        if not found.agrees
    ]
    if result.logits is not None and not result.logits.agrees:
        reasons.append(
            f"{result.head}: a logit differs by {result.logits.largest:.2g}, beyond "
            f"{result.logits.tolerance:g} of the standard deviation of logits, {result.logits.deviation:.3g}"
        )
    return reasons
