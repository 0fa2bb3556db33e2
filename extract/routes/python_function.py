"""`python:module.function`: one's own model, and the architectures of `extract.models`."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

from torch import nn

from configs import UserError
from extract.routes.get_layers import as_token_model


def create(name: str, arguments: dict[str, Any], *, pretrained: bool) -> nn.Module:
    """What `module.function(**arguments)` gives; it loads weights itself, or leaves that to `--weights`."""
    module_name, _, function_name = name.rpartition(".")
    if not module_name:
        raise UserError(f"python:{name}: give python:MODULE.FUNCTION")
    if os.getcwd() not in sys.path:  # a command does not look where it was started, unlike `python`
        sys.path.append(os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise UserError(f"python:{name}: {error}; it must be installed, or lie in this folder") from None
    function = getattr(module, function_name, None)
    if not callable(function):
        raise UserError(f"python:{name}: {module_name} has no function {function_name}")
    model = function(**arguments)
    if not isinstance(model, nn.Module):
        raise UserError(f"python:{name} gave a {type(model).__name__}, not a torch module")
    return as_token_model(model, f"python:{name}")
