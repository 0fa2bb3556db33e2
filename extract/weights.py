"""Loading a checkpoint file into a model, strictly, and naming weights by their hash."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from configs import UserError
from extract.checkpoints import LAYOUTS, Layout

SHOWN = 8
"""Names of tensors that an error lists of each kind of problem."""


def load_checkpoint(model: nn.Module, path: Path, layout: str | None = None) -> None:
    """Load `path` (safetensors, TorchScript, or what `torch.load(weights_only=True)` accepts) into `model`.

    The file is read in `layout`, or else with the names of the model itself; without a layout, in any that
    fits. Tensors that are missing, of another shape or not numbers, and those that neither the model
    nor the layout knows, raise a `UserError` that lists them.
    """
    if not path.is_file():
        raise UserError(f"no weights at {path}: give a checkpoint file, or none for random weights")
    content = _read(path)
    tried = list(dict.fromkeys((layout, "plain"))) if layout else list(LAYOUTS)
    misfits = []
    for name in tried:
        misfit = _load(model, content, LAYOUTS[name])
        if misfit is None:
            return
        misfits.append(misfit)
    nearest = min(range(len(misfits)), key=lambda number: misfits[number].missing)
    raise UserError(
        f"{path} does not fit {type(model).__name__} (layouts tried: {', '.join(tried)}); "
        f"as {tried[nearest]}: {misfits[nearest].reason}"
    )


def _read(path: Path) -> Mapping[str, Any]:
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        # a Namespace holds the options of a training run, and does nothing by itself
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = _torch_content(path)
    except Exception as error:  # every unpickling and safetensors error means the same to the user
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"cannot read {path} as safetensors or a torch checkpoint: {reason}") from None
    if not isinstance(content, Mapping):
        raise UserError(f"{path} holds a {type(content).__name__}, not tensors by name")
    return content


def _torch_content(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except RuntimeError as error:
        if "TorchScript" not in str(error):
            raise
        return torch.jit.load(path, map_location="cpu").state_dict()


@dataclass(frozen=True)
class _Misfit:
    """Why a file is not of a layout, and how many of the model's tensors it does not give."""

    reason: str
    missing: float


def _load(model: nn.Module, content: Mapping[str, Any], layout: Layout) -> _Misfit | None:
    own = model.state_dict()
    try:
        state = layout.convert(layout.unwrap(content), model)
    except UserError:
        raise
    except Exception as error:  # a conversion may meet any content
        return _Misfit(f"it cannot be converted ({type(error).__name__}: {error})", float("inf"))
    problems = {
        "missing": [name for name in own if name not in state],
        "unexpected": [name for name in state if name not in own and not layout.may_drop(name)],
        "of another shape": [name for name in own if name in state and not _fits(state[name], own[name])],
    }
    if not any(problems.values()):
        problems["with NaN"] = [name for name in own if state[name].isnan().any()]
    found = {word: names for word, names in problems.items() if names}
    if not found:
        model.load_state_dict({name: state[name] for name in own})
        return None
    reason = "; ".join(f"{word} {_listed(names)}" for word, names in found.items())
    return _Misfit(reason, sum(len(names) for word, names in found.items() if word != "unexpected"))


def _fits(given: Any, wanted: torch.Tensor) -> bool:
    return isinstance(given, torch.Tensor) and given.shape == wanted.shape


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def weights_hash(model: nn.Module) -> str:
    """SHA-256 over names, shapes, dtypes and bytes of all parameters and buffers, in order of name."""
    digest = hashlib.sha256()
    for name, tensor in sorted(chain(model.named_parameters(), model.named_buffers())):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
