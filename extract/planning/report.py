"""A plan as tables."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from extract.planning.plan import BlockChoice, DtypePlan, Plan
from extract.units import in_bytes, in_time

NO = "[red]✗[/red] "
RATE_NAMES = {
    "backbone_images_per_second": "backbone",
    "decode_images_per_second": "decoding",
    "probe_images_per_second": "probe",
    "disk_write_bytes_per_second": "disk, writing",
    "disk_read_bytes_per_second": "disk, reading",
    "host_bytes_per_second": "host memory, reading",
    "device_bytes_per_second": "device memory, reading",
    "disk_free_bytes": "disk, free",
    "host_memory_bytes": "host memory, free",
    "device_memory_bytes": "device memory, free",
}


def print_plan(plan: Plan) -> None:
    """What is planned, then the rates, the store and the probes."""
    console = Console()
    splits = " + ".join(f"{split} {count:,}" for split, count in plan.images.items())
    grid = "×".join(map(str, plan.grid))
    prefix = f" and {', '.join(plan.prefix)}" if plan.prefix else ""
    console.print(
        f"plan: {plan.backbone} over {plan.dataset}, {splits} images; "
        f"block {_numbers(plan.blocks['asked'])}, {grid} tokens of {plan.dim}{prefix}; "
        f"{plan.dtype} → {plan.store}",
        highlight=False,
        markup=False,
    )
    for table in (_rates(plan), _store(plan), _probes(plan)):
        console.print(table)
    console.print(
        f"the backbone in every epoch instead: {in_time(plan.online_epoch_seconds)} an epoch, "
        f"{in_time(plan.online_total_seconds)} for {plan.probe_epochs}",
        highlight=False,
    )


def _numbers(blocks: tuple[int, ...]) -> str:
    return ", ".join(map(str, blocks)) if len(blocks) < 4 else f"{blocks[0]} … {blocks[-1]}"


def _rates(plan: Plan) -> Table:
    shared = "decoding and the backbone share the processor: their times add up"
    table = Table(
        title="rates",
        title_justify="left",
        caption=shared if plan.shared_processor else None,
        caption_justify="left",
    )
    table.add_column("of what")
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("where from")
    for name, value in plan.rates:
        table.add_row(RATE_NAMES[name], _quantity(name, value), escape(plan.origins[name]))
    return table


def _quantity(name: str, value: float | None) -> str:
    if value is None:
        return "–"
    if name.endswith("images_per_second"):
        return f"{value:,.{0 if value >= 100 else 1}f} images/s"
    return in_bytes(value) + ("/s" if name.endswith("per_second") else "")


def _store(plan: Plan) -> Table:
    free = in_bytes(plan.rates.disk_free_bytes or 0)
    held = f", and {in_bytes(plan.stored_bytes)} are stored already" if plan.stored_bytes else ""
    table = Table(
        title=f"the store, {sum(plan.images.values()):,} images",
        title_justify="left",
        caption=f"{NO}more than the disk has: {free} are free{held}",
        caption_justify="left",
    )
    choices = _choices(plan)
    table.add_column("dtype")
    for title in choices.values():
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column(f"extracting block {_numbers(plan.blocks['asked'])}", justify="right")
    table.add_column("slowest part")
    for dtype, found in plan.dtypes.items():
        sizes = [("" if found.fits_disk[c] else NO) + in_bytes(found.bytes[c]) for c in choices]
        table.add_row(dtype, *sizes, in_time(found.extract_seconds), found.slowest, style=_style(plan, dtype))
    return table


def _choices(plan: Plan) -> dict[BlockChoice, str]:
    """The choices that differ, with their titles."""
    depth = len(plan.blocks["all"])
    titles: dict[BlockChoice, str] = {"last": "last block", "all": f"all {depth} blocks"}
    if plan.blocks["asked"] not in (plan.blocks["last"], plan.blocks["all"]):
        titles = {"asked": f"block {_numbers(plan.blocks['asked'])}", **titles}
    return titles


def _style(plan: Plan, dtype: str) -> str:
    return "bold" if dtype == plan.dtype else ""


def _probes(plan: Plan) -> Table:
    epochs = plan.probe_epochs
    table = Table(
        title=f"a probe that reads all patches of block {plan.blocks['asked'][-1]}, "
        f"{plan.images[plan.train_split]:,} images of {plan.train_split} in an epoch",
        title_justify="left",
        caption=f"{NO}more than fits there; the first without it counts, and extraction is in the total. "
        "Break-even: from so many epochs on, extracting is no slower than the backbone in every epoch",
        caption_justify="left",
    )
    table.add_column("tokens from")
    for title in ("read", "epoch: device", "host", "stream", "break-even", f"total, {epochs} epochs"):
        table.add_column(title, justify="right")
    for dtype, found in plan.dtypes.items():
        even = found.break_even_epochs
        table.add_row(
            dtype,
            in_bytes(found.probe_bytes),
            *_epochs(found),
            "never" if even is None else f"{even:,}",
            in_time(found.total_seconds),
            style=_style(plan, dtype),
        )
    return table


def _epochs(found: DtypePlan) -> Iterator[str]:
    for tier in ("device", "host", "stream"):
        if tier in found.tiers:
            held = found.tiers[tier]
            yield ("" if held.fits else NO) + in_time(held.epoch_seconds)
        else:
            yield "–"
