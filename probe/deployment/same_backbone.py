"""Opening the backbone that a head or a store needs, and no other."""

from __future__ import annotations

from typing import Any

from cache import BackboneIdentity, differences
from configs import BackboneConfig, UserError, load_backbone, names
from extract.backbone import Amp, Backbone
from extract.open_backbone import backbone_config, build_backbone, source_with_arguments
from extract.repair_command import PRECISIONS

KNOWN_ROUTES = ("timm", "hf", "openclip")
"""Routes whose architectures are code that is installed here. The others run code that they name."""

_NOT_COMPARED = {"name", "precision"}
"""What a store calls the backbone decides no value; the precision is opened as asked for."""


def open_same_backbone(
    identity: BackboneIdentity,
    whose: str,
    *,
    backbone: str | None = None,
    weights: str | None = None,
    amp: Amp | None = None,
) -> Backbone:
    """The backbone of `identity`, which `whose` tokens are of, on the CPU.

    `backbone` and `weights` are what --backbone and --weights say; without them it is opened by the
    identity, and its weights are fetched as `extract` does. `amp`: the precision of the forward pass;
    without it, that of the identity. Raises `UserError` where another backbone is found.
    """
    config = same_config(identity, whose, backbone)
    opened = build_backbone(config, weights=weights, amp=amp or precision_of(identity))
    opened.decode_as(identity.transform)
    require_same(identity, opened, whose)
    return opened


def same_config(identity: BackboneIdentity, whose: str, backbone: str | None) -> BackboneConfig:
    """How the backbone is built that `backbone` names, or else `identity`."""
    return backbone_config(backbone or _spec(identity, whose))


def precision_of(identity: BackboneIdentity) -> Amp:
    """The precision of the forward pass that gave the tokens."""
    return PRECISIONS.get(identity.precision, "none")


def require_same(identity: BackboneIdentity, opened: Backbone, whose: str) -> None:
    """Raise `UserError` unless `opened` gives the tokens of `identity`."""
    expected, found = _compared(identity), _compared(opened.identity())
    differing = differences(expected, found)
    if not differing:
        return
    remedy = "give --backbone NAME"
    if expected["weights_sha256"] != found["weights_sha256"]:
        remedy = "give --weights FILE with those that it was extracted with"
    elif [name for name in expected if expected[name] != found[name]] == ["blocks"]:
        remedy = "the store was derived (`cache derive --pool`), and no backbone gives such tokens"
    raise UserError(f"{whose} is of another backbone than {opened.name}: {'; '.join(differing)}: {remedy}")


def _compared(identity: BackboneIdentity) -> dict[str, Any]:
    """What must be the same; the arguments that the source is built with, in any order."""
    fields = identity.model_dump(mode="json", exclude=_NOT_COMPARED)
    return fields | {"source": " ".join(sorted(identity.source.split()))}


def _spec(identity: BackboneIdentity, whose: str) -> str:
    """What --backbone says for the backbone of `identity`."""
    name, source = identity.name, identity.source
    if name in names("backbones") and source_with_arguments(load_backbone(name)) == source:
        return name
    if source.partition(":")[0] in KNOWN_ROUTES and " " not in source:
        return source
    raise UserError(
        f"{whose} is of the backbone {name} ({source}): give --backbone, as for extract "
        "(the code of torchhub: and python: runs here)"
    )
