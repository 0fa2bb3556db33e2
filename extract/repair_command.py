"""`cache repair`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import tyro
from pydantic import Field, NonNegativeInt, PositiveInt

from cache import (
    Computation,
    Damage,
    ShardResult,
    SplitReader,
    Store,
    array_name,
    chosen_device,
    differences,
    open_split_writer,
    verify_split,
)
from configs import FrozenModel, UserError, Verb, optional
from extract.backbone import Amp, Backbone
from extract.computation import require_compiler
from extract.device_decoding import require_decoding
from extract.open_backbone import open_backbone
from extract.options import BackboneName, DatasetName, Device, HubColumn, decoding_processes
from extract.repair import Extraction, repair_shards
from extract.sources import Dataset, ImageSource, open_dataset

PRECISIONS: dict[str, Amp] = {"bfloat16 autocast": "bfloat16", "float16 autocast": "float16"}
"""The precision in a backbone's identity → the option that gives it; float32: none."""

EXIT_DAMAGED = 1
THREADS = os.cpu_count() or 1


class RepairOptions(FrozenModel):
    """Mend a damaged store: its damaged records are extracted again, and nothing else is.

    Give the data set and the backbone that it was made from. On the same machine, with the same
    batch size, the same bytes come back; where others do, it says so. Exit code 1 when damage is left.

    Example: cache repair cache/mae_digits --backbone mae_digits --dataset digits
    """

    path: Annotated[Path, tyro.conf.Positional] = Field(description="the store")
    backbone: BackboneName = Field(description="as for extract")
    dataset: DatasetName = Field(description="as for extract; the damage in its splits is repaired")
    weights: Annotated[str | None, optional("FILE|none")] = Field(default=None, description="as for extract")
    batch_size: Annotated[PositiveInt | None, optional("INT")] = Field(
        default=None, description="that of the extraction, where the store does not say it (64)"
    )
    workers: Annotated[NonNegativeInt | None, optional("INT")] = Field(
        default=None, description="image-decoding processes, as for extract"
    )
    device: Device = None
    image_column: HubColumn = None
    label_column: HubColumn = None


def repair(options: RepairOptions) -> None:
    """Repair the splits of the data set, say what was done, and what is left."""
    store = Store(options.path)
    dataset = open_dataset(
        options.dataset, image_column=options.image_column, label_column=options.label_column
    )
    held = store.splits().get(dataset.name)
    if held is None:
        raise UserError(f"{store.folder} holds {', '.join(store.splits())}, not {dataset.name}")
    backbone = _backbone_of(store, options)
    if backbone.final_norm is not None:
        backbone.final_norm.save(store.folder)
    left = [damage for name in held for damage in _repair_split(store, dataset, name, backbone, options)]
    for damage in left:
        print(f"{damage.path}: {damage.what}")
    print(f"{store.folder}: {f'{len(left)} damaged file(s) left' if left else f'{dataset.name} is sound'}")
    if left:
        raise SystemExit(EXIT_DAMAGED)


def _backbone_of(store: Store, options: RepairOptions) -> Backbone:
    """The backbone that `options` name, which must be the store's."""
    stored = store.manifest.backbone
    amp = PRECISIONS.get(stored.precision, "none")
    backbone = open_backbone(options.backbone, weights=options.weights, amp=amp)
    backbone.decode_as(stored.transform)
    found = differences(stored.model_dump(mode="json"), backbone.identity().model_dump(mode="json"))
    if found:
        raise UserError(f"{store.folder} was extracted by another backbone: {'; '.join(found)}")
    device = chosen_device(options.device)
    require_decoding(backbone.transform, device)
    backbone.place_on(device)
    return backbone


def _repair_split(
    store: Store, dataset: Dataset, name: str, backbone: Backbone, options: RepairOptions
) -> list[Damage]:
    """Repair one split; the damage that is left."""
    try:
        split = store.split(dataset.name, name)
    except UserError as error:
        command = f"{store.manifest.maker} command"
        advice = f"move it away and give the {command} again, which keeps every whole shard"
        return [Damage(store.folder / dataset.name / name, f"{error}; {advice}")]
    damages = list(verify_split(split, THREADS, lambda _: None))
    if not damages:
        return []
    for damage in damages:
        print(f"{damage.path}: {damage.what}")
    _refuse_derived(store, split)
    shards = sorted({damage.shard for damage in damages if damage.shard is not None})
    computation = _computation(split, options.batch_size)
    if computation.compiled:
        require_compiler(chosen_device(options.device))
    extraction = Extraction(
        backbone,
        _same_source(split, dataset, name),
        chosen_device(options.device),
        computation,
        decoding_processes(options.workers),
    )
    with open_split_writer(store.folder, split.manifest) as writer:  # writes what describes the format anew
        for result in repair_shards(split, writer, shards, extraction):
            print(f"{split.name}: {_in_words(result)}")
    return list(verify_split(SplitReader(split.folder), THREADS, lambda _: None, shards))


def _computation(split: SplitReader, batch_size: int | None) -> Computation:
    """How the split's batches were computed."""
    recorded = split.manifest.computation
    if recorded is None:
        return Computation(batch_size=batch_size or 64)
    if batch_size not in (None, recorded.batch_size):
        raise UserError(
            f"{split.name} was extracted in batches of {recorded.batch_size}, not {batch_size}: leave "
            "--batch-size out"
        )
    return recorded


def _refuse_derived(store: Store, split: SplitReader) -> None:
    """A backbone gives the tokens of an extracted store only, with all the arrays of a block."""
    blocks = {name for block in split.manifest.blocks for name in (array_name(block, "patches"),)}
    whole = blocks <= {spec.name for spec in split.manifest.arrays}
    if store.manifest.derived or split.manifest.order_seed is None or not whole:
        raise UserError(
            f"{split.folder} was derived from another store: remove it with `cache rm`, and derive it again"
        )


def _same_source(split: SplitReader, dataset: Dataset, name: str) -> ImageSource:
    source = dataset.open(name)
    if source.fingerprint != split.manifest.dataset.fingerprint:
        raise UserError(
            f"{split.name} was extracted from other images than {dataset.source} holds now: "
            "give the data set as it was"
        )
    return source


def _in_words(result: ShardResult) -> str:
    """What was done to a shard."""
    if not result.replaced:
        return f"shard {result.shard} written anew, no record was lost"
    done = f"shard {result.shard}: {result.replaced} record(s) extracted again"
    if result.changed is None:
        return f"{done}; whether they are the bytes that were lost cannot be known"
    if not result.changed:
        return f"{done}, the very bytes that were lost"
    return f"{done}; {result.changed} differ from what was lost (other machine, versions or batch size)"


REPAIR = Verb(RepairOptions, repair)
