"""From what `--backbone` and `--weights` say to a backbone."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import torch
from torch import nn

from configs import BackboneConfig, UserError, load_backbone, names, unknown_name
from extract.backbone import Amp, Backbone
from extract.download import downloaded
from extract.geometry import Geometry, measure_geometry
from extract.routes import ROUTES
from extract.transform import transform_settings
from extract.weights import load_checkpoint

RANDOM_SEED = 0
"""`--weights none` gives the same random weights every time, so that a run can be resumed."""


def backbone_config(spec: str) -> BackboneConfig:
    """The backbone that `spec` names: a name in configs/backbones, or ROUTE:NAME.

    Raises `UserError` with the nearest names.
    """
    route, _, name = spec.partition(":")
    if name and route in ROUTES:
        return BackboneConfig(name=_as_folder(name), source=spec)
    if spec not in names("backbones"):
        unknown = ("kind of backbone", route, ROUTES) if name else ("backbone", spec, names("backbones"))
        error = unknown_name(*unknown)
        usages = ", ".join(way.usage for way in ROUTES.values())
        raise UserError(f"{error}, or give one of {usages}")
    return load_backbone(spec)


def _as_folder(name: str) -> str:
    """What a store of a model without a name of ours is called: no path, nothing hidden."""
    return name.strip("/.~").replace("/", "_").replace(":", "_")


def open_backbone(spec: str, *, weights: str | None = None, amp: Amp = "none") -> Backbone:
    """Build the backbone `spec` and load its weights; `weights` (a file, or `none`) overrides which."""
    return build_backbone(backbone_config(spec), weights=weights, amp=amp)


def build_backbone(config: BackboneConfig, *, weights: str | None = None, amp: Amp = "none") -> Backbone:
    """The backbone that `config` describes, with its weights or those of `weights`."""
    chosen = weights or config.weights
    if chosen == "file":
        raise UserError(f"{config.name} has no weights to download: give --weights FILE; {config.notes}")
    torch.manual_seed(RANDOM_SEED)
    model = _create(config, pretrained=chosen == "hub")
    if chosen.startswith("bundled:"):
        with as_file(files("extract.bundled").joinpath(chosen.removeprefix("bundled:"))) as path:
            load_checkpoint(model, path, config.layout)
    elif chosen not in ("hub", "none"):
        is_address = chosen.startswith("https://")
        path = downloaded(chosen) if is_address else Path(chosen).expanduser()
        load_checkpoint(model, path, config.layout)
    return Backbone(
        model,
        name=config.name,
        source=source_with_arguments(config),
        transform=transform_settings(model, config.transform),
        tokens=config.tokens,
        licence=config.licence,
        amp=amp,
    )


@dataclass(frozen=True)
class Architecture:
    """A backbone without its weights: what it is called, how it is fed and what it gives."""

    name: str
    source: str
    transform: dict[str, Any]
    geometry: Geometry
    final_norm: str | None
    """Kind and eps of the norm after the last block."""


def open_architecture(spec: str) -> Architecture:
    """The architecture of the backbone `spec`, in next to no memory; a name of ours needs no network."""
    config = backbone_config(spec)
    try:
        return _architecture(config, torch.device("meta"))
    except RuntimeError:  # a few models look at values, which tensors on `meta` have not
        return _architecture(config, torch.device("cpu"))


def _architecture(config: BackboneConfig, device: torch.device) -> Architecture:
    with device:
        model = _create(config, pretrained=False).eval()
    transform = transform_settings(model, config.transform)
    geometry = measure_geometry(model, torch.zeros(1, *transform["input_size"], device=device))
    norm = _norm_name(model) if geometry.final_norm else None
    return Architecture(config.name, source_with_arguments(config), transform, geometry, norm)


def _norm_name(model: Any) -> str:
    return f"{type(model.norm).__name__} {model.norm.eps:g}"


def source_with_arguments(config: BackboneConfig) -> str:
    """What an identity calls the source: the architecture, and the arguments it is built with."""
    options = "".join(f" {name}={value}" for name, value in config.arguments.items())
    return f"{config.source}{options}"


def _create(config: BackboneConfig, *, pretrained: bool) -> nn.Module:
    route, _, name = config.source.partition(":")
    return ROUTES[route].create(name, config.arguments, pretrained=pretrained)
