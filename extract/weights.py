"""Loading a checkpoint file into a timm model, strictly, and naming weights by their hash."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import timm.models
import torch
from torch import nn

from configs import UserError


def load_checkpoint(model: Any, path: Path) -> None:
    """Load `path` (safetensors, or a checkpoint that `torch.load(weights_only=True)` accepts).

    Wrappers such as `model` or `state_dict` and the prefix `module.` are taken off, and the
    architecture's own timm filter renames and resizes. Only the classifier may be left over: any other
    missing or unexpected key, or wrong shape, raises a `UserError` that lists them.
    """
    if not path.is_file():
        raise UserError(f"no weights at {path}: give a checkpoint file, or none for random weights")
    try:
        state = timm.models.load_state_dict(str(path), use_ema=False, weights_only=True)
    except Exception as error:  # every unpickling and safetensors error means the same to the user
        reason = str(error).splitlines()[0]
        raise UserError(f"cannot read {path} as safetensors or a torch checkpoint: {reason}") from None
    rename = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    try:
        state = rename(state, model) if rename else state
        result = model.load_state_dict(_without_classifier(model, state), strict=False)
    except (RuntimeError, KeyError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} does not fit {type(model).__name__}: {reason}") from None
    problems = [
        f"{word} {', '.join(keys[:8])}{' …' if len(keys) > 8 else ''}"
        for word, keys in (("missing", result.missing_keys), ("unexpected", result.unexpected_keys))
        if keys
    ]
    if problems:
        raise UserError(f"{path} does not fit {type(model).__name__}: {'; '.join(problems)}")


def _without_classifier(model: Any, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """`state` less the classification head, which a backbone built with num_classes=0 has not."""
    names = model.pretrained_cfg.get("classifier") or ()
    prefixes = tuple(f"{n}." for n in ((names,) if isinstance(names, str) else names))
    own = model.state_dict().keys()
    return {k: v for k, v in state.items() if k in own or not k.startswith(prefixes or ("\0",))}


def weights_hash(model: nn.Module) -> str:
    """SHA-256 over names, shapes, dtypes and bytes of all parameters and buffers, in order of name."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
