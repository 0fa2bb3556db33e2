"""`timm:NAME` and `timm:hf-hub:OWNER/NAME`."""

from __future__ import annotations

from typing import Any

import timm
from torch import nn

from configs import UserError, unknown_name

HUB = ("hf-hub:", "hf_hub:", "local-dir:")


def create(name: str, arguments: dict[str, Any], *, pretrained: bool) -> nn.Module:
    """The timm model `name`, without its classifier."""
    if not name.startswith(HUB):
        _check_name(name)
    try:
        model: nn.Module = timm.create_model(name, pretrained=pretrained, **{**arguments, "num_classes": 0})
    except Exception as error:  # the network, the Hub and the model's own checks raise of every kind
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        advice = "give --weights FILE, or none for random weights" if pretrained else "see timm"
        raise UserError(f"cannot create {name}: {reason}; {advice}") from None
    if not hasattr(model, "forward_intermediates"):
        raise UserError(f"timm's {name} does not give its blocks' tokens (forward_intermediates)")
    return model


def _check_name(name: str) -> None:
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        raise unknown_name("timm model", architecture, timm.list_models())
    if tag and name not in timm.list_pretrained(architecture):
        tags = [known.partition(".")[2] for known in timm.list_pretrained(architecture)]
        raise unknown_name(f"pre-training tag of {architecture}", tag, tags)
