"""`torchhub:OWNER/REPO[:BRANCH]/ENTRY`, or a folder with a hubconf.py in place of the repository."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from configs import UserError
from extract.routes.get_layers import as_token_model


def create(name: str, arguments: dict[str, Any], *, pretrained: bool) -> nn.Module:
    """What the entry point gives. Its repository's code runs here: give only those you trust."""
    repository, _, entry = name.rpartition("/")
    if not repository:
        raise UserError(f"torchhub:{name}: give torchhub:OWNER/REPO/ENTRY")
    where: dict[str, Any] = {"source": "local"} if Path(repository).is_dir() else {"trust_repo": True}
    try:
        model = torch.hub.load(repository, entry, **where, **{"pretrained": pretrained, **arguments})
    except Exception as error:  # an entry point is somebody's code
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"cannot open torchhub:{name}: {reason}") from None
    return as_token_model(model, f"torchhub:{name}")
