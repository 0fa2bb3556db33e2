"""From what `--backbone` and `--weights` say to a backbone."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from configs import BackboneConfig, UserError, load_backbone, names, unknown_name
from extract.backbone import Amp, Backbone
from extract.geometry import Geometry, measure_geometry
from extract.transform import transform_settings
from extract.weights import load_checkpoint

RANDOM_SEED = 0
"""`--weights none` gives the same random weights every time, so that a run can be resumed."""


def backbone_config(spec: str) -> BackboneConfig:
    """The backbone that `spec` names: a name in configs/backbones, or `timm:NAME`.

    Raises `UserError` with the nearest names.
    """
    if spec.startswith("timm:"):
        model = spec.removeprefix("timm:")
        return BackboneConfig(name=model.replace("/", "_"), timm=model)
    if spec not in names("backbones"):
        error = unknown_name("backbone", spec, names("backbones"))
        raise UserError(f"{error}, or give timm:NAME for any timm model")
    return load_backbone(spec)


def open_backbone(spec: str, *, weights: str | None = None, amp: Amp = "none") -> Backbone:
    """Build the backbone `spec` and load its weights; `weights` (a file, or `none`) overrides which."""
    config = backbone_config(spec)
    chosen = weights or config.weights
    torch.manual_seed(RANDOM_SEED)
    model = _create(config, pretrained=chosen == "hub")
    if chosen.startswith("bundled:"):
        with as_file(files("extract.bundled").joinpath(chosen.removeprefix("bundled:"))) as path:
            load_checkpoint(model, path)
    elif chosen not in ("hub", "none"):
        load_checkpoint(model, Path(chosen).expanduser())
    return Backbone(
        model,
        name=config.name,
        source=_source(config),
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


def open_architecture(spec: str) -> Architecture:
    """The architecture of the backbone `spec`, in next to no memory and without the network."""
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
    return Architecture(config.name, _source(config), transform, geometry)


def _source(config: BackboneConfig) -> str:
    options = "".join(f" {name}={value}" for name, value in config.arguments.items())
    return f"timm:{config.timm}{options}"


def _create(config: BackboneConfig, *, pretrained: bool) -> nn.Module:
    name, arguments = config.timm, {**config.arguments, "num_classes": 0}
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        raise unknown_name("timm model", architecture, timm.list_models())
    if tag and name not in timm.list_pretrained(architecture):
        tags = [known.partition(".")[2] for known in timm.list_pretrained(architecture)]
        raise unknown_name(f"pre-training tag of {architecture}", tag, tags)
    try:
        model: nn.Module = timm.create_model(name, pretrained=pretrained, **arguments)
    except (OSError, RuntimeError, TypeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        advice = "give --weights FILE, or none for random weights" if pretrained else "see timm"
        raise UserError(f"cannot create {name}: {reason}; {advice}") from None
    if not hasattr(model, "forward_intermediates"):
        raise UserError(f"timm's {name} does not give its blocks' tokens (forward_intermediates)")
    return model
