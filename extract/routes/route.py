"""What a route is: a way from the name of an architecture to the model."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Protocol

from torch import nn

from configs import UserError


class Create(Protocol):
    """Builds the architecture `name`, with random weights or with those that the route downloads."""

    def __call__(self, name: str, arguments: dict[str, Any], *, pretrained: bool) -> nn.Module: ...


@dataclass(frozen=True)
class Route:
    """A way to architectures, and how it is written on the command line."""

    create: Create
    usage: str


def optional_package(package: str, route: str, extra: str) -> ModuleType:
    """Import `package`, which only `route` needs. Raises `UserError` with the command that installs it."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        if error.name and error.name.partition(".")[0] != package:
            raise
        raise UserError(f"{route} needs {package}: pip install 'frozen-tokens[{extra}]'") from None
