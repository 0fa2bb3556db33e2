"""`probe attention`."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from configs import UserError
from probe.attention_maps.grid_picture import PictureRow, save_grid_picture
from probe.attention_maps.maps import has_maps, patch_maps
from probe.attention_maps.measure_split import measure_split
from probe.attention_maps.measures import HeadMeasures
from probe.attention_maps.options import AttentionOptions
from probe.attention_maps.report import as_json, print_measures, write_measures
from probe.attention_maps.scatter import save_scatter
from probe.attention_maps.shown_images import ShownImages, of_files, of_split
from probe.reporting.finished_runs import printable
from probe.trained_head import TrainedHead, list_heads, load_head

FOLDER = "attention"


def show_attention(options: AttentionOptions) -> None:
    """Measure, draw and print. Raises `UserError` where no head of the run has maps."""
    heads = _heads_with_maps(options)
    folder = heads[0].run / FOLDER
    with _writing(folder):
        folder.mkdir(exist_ok=True)
    shown = _shown(heads, options)  # first: an image may not be there
    measured = [] if options.pictures_only else _measure(heads, folder, options)
    if shown is not None:
        for head in heads:
            _draw(folder, head, shown, next((m for m in measured if m.trial == head.trial), None))
    _say(f"written to {folder}")


def _heads_with_maps(options: AttentionOptions) -> list[TrainedHead]:
    heads = [load_head(options.run, name) for name in _asked(options)]
    with_maps = [head for head in heads if has_maps(head.probe)]
    without = [head.trial for head in heads if not has_maps(head.probe)]
    if not with_maps:
        raise UserError(f"{options.run} holds {', '.join(without)}: linear probes have no maps")
    if without:
        _say(f"{', '.join(without)}: no maps, as linear probes have none")
    return with_maps


def _asked(options: AttentionOptions) -> list[str]:
    """The trials of --trial; a probe's name stands for its answers' first ones."""
    first = _first_of_each_answer(options.run)
    if not options.trial:
        return list(first)
    found = {}
    for name in options.trial:
        found.update(dict.fromkeys([trial for trial, probe in first.items() if probe == name] or [name]))
    return list(found)


def _first_of_each_answer(run: Path) -> dict[str, str]:
    """Trial → probe. Trials that differ in seed or draw alone are repeats of one answer."""
    heads = {name: load_head(run, name).row for name in list_heads(run)}
    first: dict[tuple[object, ...], str] = {}
    for name, row in heads.items():
        asked = ("probe", "blocks", "tokens", "shots", "fraction", "setting")
        first.setdefault(tuple(row[key] for key in asked), name)
    return {name: str(heads[name]["probe"]) for name in first.values()}


def _measure(heads: Sequence[TrainedHead], folder: Path, options: AttentionOptions) -> list[HeadMeasures]:
    store = heads[0].open_store(options.cache)
    split = heads[0].open_split(store, options.split)
    found = measure_split(heads, store, split, options)
    with _writing(folder):
        write_measures(folder, found, split.name)
        save_scatter(folder / "measures.svg", found)
    if options.json_:
        print(json.dumps(as_json(found, split.name), indent=1))
    else:
        print_measures(found, split.name)
    return found


def _shown(heads: Sequence[TrainedHead], options: AttentionOptions) -> ShownImages | None:
    """The images of the pictures; None where nobody asked for them and there are none."""
    flat = [head.trial for head in heads if len(head.grid) != 2]
    if flat:
        _say(f"{', '.join(flat)}: no pictures, as the tokens have no rows and columns")
        return None
    if options.images:
        return of_files(heads, options)
    store = heads[0].open_store(options.cache)
    try:
        return of_split(heads, store, heads[0].open_split(store, options.split), options)
    except UserError as error:
        if options.samples or options.pictures_only:
            raise
        _say(str(error))
        return None


@torch.inference_mode()
def _draw(folder: Path, head: TrainedHead, shown: ShownImages, measured: HeadMeasures | None) -> None:
    probe = head.probe.cpu()
    tokens = shown.tokens[head.trial]
    maps, _ = patch_maps(probe, tokens)
    classes = probe(tokens)[0].argmax(dim=-1).tolist()
    rows = [
        PictureRow(picture, own.unflatten(-1, head.grid).numpy(), _label(name, head.classes[found]))
        for picture, own, name, found in zip(shown.pictures, maps, shown.names, classes, strict=True)
    ]
    place = f"{head.evaluation.name}/{head.evaluation.split}"
    title = f"{head.trial} on {head.backbone.name}: top-1 {head.top1:.1f} % on {place}"
    name = re.sub(r"[^\w.+-]+", "_", head.trial).strip("_")
    with _writing(folder):
        save_grid_picture(folder / f"{name}.png", title, _columns(head, maps.shape[1], measured), rows)


def _label(name: str, found: str) -> str:
    """What the image is, and what the probe takes it for where that differs."""
    return printable(name) if name == found else f"{printable(name)}\n→ {printable(found)}"


def _columns(head: TrainedHead, count: int, measured: HeadMeasures | None) -> list[str]:
    word = "map" if count == 1 else "query" if head.name.startswith("ep") else "head"
    names = [word if count == 1 else f"{word} {number}" for number in range(1, count + 1)]
    if measured is None or measured.maps[0].delta_top1 is None:
        return names
    return [f"{name}, Δ {own.delta_top1:.1f}" for name, own in zip(names, measured.maps, strict=True)]


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Raise `UserError` where the folder or a file in it cannot be written."""
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write {folder} ({error.strerror or error})") from None


def _say(line: str) -> None:
    """To standard error, so that --json alone is on standard output."""
    print(line, file=sys.stderr)
