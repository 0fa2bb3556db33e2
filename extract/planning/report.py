"""A plan as tables."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from configs import in_bytes, in_time
from extract.planning.plan import BlockChoice, DtypePlan, Plan

NO = "✗ "
ONLY_PART = "1/1"
RATE_NAMES = {
    "backbone_images_per_second": "backbone",
    "decode_images_per_second": "decoding",
    "extract_images_per_second": "both at once",
    "probe_images_per_second": "probe",
    "disk_write_bytes_per_second": "disk, writing",
    "disk_read_bytes_per_second": "disk, reading",
    "host_bytes_per_second": "host, reading",
    "device_bytes_per_second": "device, reading",
    "disk_free_bytes": "disk, free",
    "host_memory_bytes": "host memory, free",
    "device_memory_bytes": "device memory, free",
}


def print_plan(plan: Plan) -> None:
    """What is planned, then the machine, the store and the probes; and what there is instead."""
    console = Console()
    for part in (*_head(plan), *_machine(plan), *_store(plan), *_probes(plan)):
        console.print(part, highlight=False, markup=False)
    console.print(
        f"\nThe backbone in every epoch instead: {_time(plan.online_epoch_seconds)} an epoch, "
        f"{_time(plan.online_total_seconds)} for {plan.probe_epochs}.",
        highlight=False,
    )


def _head(plan: Plan) -> Iterator[str]:
    splits = " + ".join(
        f"{split} {count:,}" + (f" × {plan.views[split]} views" if plan.views[split] > 1 else "")
        for split, count in plan.images.items()
    )
    grid = "×".join(map(str, plan.grid))
    prefix = f" and {', '.join(plan.prefix)}" if plan.prefix else ""
    yield f"plan: {plan.backbone} over {plan.dataset}, {splits} images"
    yield (
        f"block {_numbers(plan.blocks['asked'])}, {grid} tokens of {plan.dim:,}{prefix}; "
        f"{plan.dtype} → {plan.store}"
    )


def _numbers(blocks: tuple[int, ...]) -> str:
    return ", ".join(map(str, blocks)) if len(blocks) < 4 else f"{blocks[0]} … {blocks[-1]}"


def _machine(plan: Plan) -> Iterator[str | Table]:
    yield "\nThe machine"
    table = Table("part")
    table.add_column("rate or size", justify="right", no_wrap=True)
    table.add_column("where from")
    for name, value in plan.rates:
        table.add_row(RATE_NAMES[name], _quantity(name, value), Text(plan.origins[name]))
    yield table


def _quantity(name: str, value: float | None) -> str:
    if value is None:
        return "–"
    if name.endswith("images_per_second"):
        return f"{value:,.{0 if value >= 100 else 1}f} images/s"
    return in_bytes(value) + ("/s" if name.endswith("per_second") else "")


def _store(plan: Plan) -> Iterator[str | Table]:
    held = f", and {in_bytes(plan.stored_bytes)} are stored already" if plan.stored_bytes else ""
    free = in_bytes(plan.rates.disk_free_bytes or 0)
    yield f"\nThe store, {sum(plan.images.values()):,} images: {free} are free on the disk{held}"
    choices = _choices(plan)
    table = Table("dtype")
    for title in choices.values():
        table.add_column(title, justify="right", no_wrap=True)
    part = "" if plan.part == ONLY_PART else f", part {plan.part}"
    table.add_column(f"extracting block {_numbers(plan.blocks['asked'])}{part}", justify="right")
    table.add_column("slowest part")
    for dtype, found in plan.dtypes.items():
        sizes = [_marked(in_bytes(found.bytes[choice]), found.fits_disk[choice]) for choice in choices]
        table.add_row(dtype, *sizes, _time(found.extract_seconds), found.slowest, style=_style(plan, dtype))
    yield table
    if not all(found.fits_disk[choice] for found in plan.dtypes.values() for choice in choices):
        yield f"{NO}more than the disk can hold"


def _choices(plan: Plan) -> dict[BlockChoice, str]:
    """The choices that differ, with their titles."""
    depth = len(plan.blocks["all"])
    titles: dict[BlockChoice, str] = {"last": "last block", "all": f"all {depth} blocks"}
    if plan.blocks["asked"] not in (plan.blocks["last"], plan.blocks["all"]):
        titles = {"asked": f"block {_numbers(plan.blocks['asked'])}", **titles}
    return titles


def _probes(plan: Plan) -> Iterator[str | Table]:
    yield (
        f"\nAn epoch of a probe on the patches of block {plan.blocks['asked'][-1]}: "
        f"{plan.images[plan.train_split]:,} images of {plan.train_split}"
    )
    table = Table("dtype")
    for title in ("reads", "device", "host", "stream", "break-even", f"{plan.probe_epochs} epochs"):
        table.add_column(title, justify="right", no_wrap=True)
    for dtype, found in plan.dtypes.items():
        even = found.break_even_epochs
        table.add_row(
            dtype,
            in_bytes(found.probe_bytes),
            *_epochs(found),
            "never" if even is None else f"{even:,}",
            _time(found.total_seconds),
            style=_style(plan, dtype),
        )
    yield table
    yield from _notes(plan)


def _epochs(found: DtypePlan) -> Iterator[str | Text]:
    for tier in ("device", "host", "stream"):
        if tier in found.tiers:
            held = found.tiers[tier]
            yield _marked(_time(held.epoch_seconds), held.fits)
        else:
            yield "–"


def _notes(plan: Plan) -> Iterator[str]:
    if not all(tier.fits for found in plan.dtypes.values() for tier in found.tiers.values()):
        yield f"{NO}more than fits there"
    yield (
        "Break-even: from so many epochs on, extracting first is no slower than the backbone in every epoch. "
        f"It and the {plan.probe_epochs} epochs count the extraction, and the first of device, host and "
        "stream that fits."
    )
    steps = plan.rates.probe_images_per_second
    if steps is None:
        yield "An epoch is its reading alone: a probe's own steps are not known, and left out here and below."
    else:
        yield f"No epoch is shorter than a probe's own steps, {_time(plan.images[plan.train_split] / steps)}."


def _marked(text: str, fits: bool) -> str | Text:
    return text if fits else Text.assemble((NO, "red"), text)


def _time(seconds: float) -> str:
    """Nobody plans with less than a hundredth of a second."""
    return in_time(seconds) if seconds >= 0.01 else "< 0.01 s"


def _style(plan: Plan, dtype: str) -> str:
    return "bold" if dtype == plan.dtype else ""
