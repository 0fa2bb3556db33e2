"""What a checkpoint layout is: how a published file names the tensors of an architecture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

State = dict[str, torch.Tensor]


def _unchanged(state: State, model: nn.Module) -> State:
    return state


def renamed(state: State, names: Mapping[str, str]) -> State:
    """`state` with every part of a name that is in `names` replaced, one after another."""
    found: State = {}
    for name, tensor in state.items():
        for old, new in names.items():
            name = name.replace(old, new)
        found[name] = tensor
    return found


@dataclass(frozen=True)
class Layout:
    """From a file's content to the model's own names, and which tensors may be left over."""

    name: str
    wrappers: tuple[str, ...] = ("state_dict", "model")
    """Keys of the file that may hold the weights; the first one present is taken."""
    prefixes: tuple[str, ...] = ("_orig_mod.", "module.")
    """Beginnings of names that are taken off, as often as they occur."""
    only: str = ""
    """What the encoder's names then begin with; it is taken off, and all other names are dropped."""
    convert: Callable[[State, nn.Module], State] = _unchanged
    """Renames, splits and resizes: the file's tensors under the model's names."""
    dropped: tuple[str, ...] = ()
    """Patterns of names that the model has no use for. Every other left-over name is an error."""

    def unwrap(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """The tensors of a file, without wrapper and prefixes. Raises `ValueError` for a name twice."""
        wrapper = next((key for key in self.wrappers if isinstance(content.get(key), Mapping)), None)
        content = content if wrapper is None else content[wrapper]
        named = [(self._bare(name), value) for name, value in content.items()]
        kept = [(name.removeprefix(self.only), value) for name, value in named if name.startswith(self.only)]
        state = dict(kept)
        if len(state) != len(kept):
            raise ValueError("two tensors have one name once their prefixes are taken off")
        return state

    def _bare(self, name: str) -> str:
        while prefix := next((p for p in self.prefixes if name.startswith(p)), ""):
            name = name.removeprefix(prefix)
        return name

    def may_drop(self, name: str) -> bool:
        """Whether a tensor that the model does not have may be left out."""
        return any(fnmatchcase(name, pattern) for pattern in self.dropped)
