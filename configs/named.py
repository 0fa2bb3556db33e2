"""Reading the named YAML files that are shipped inside this package."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import TypeVar

import yaml

from configs.errors import UserError, unknown_name
from configs.schema import BackboneConfig, DatasetConfig, FrozenModel, RecipeConfig, SweepConfig

T = TypeVar("T", bound=FrozenModel)


def _folder(kind: str) -> Traversable:
    return files("configs").joinpath(kind)


def names(kind: str) -> list[str]:
    """Names of the shipped configurations of a kind (`backbones`, `datasets`, `recipes`, `sweeps`)."""
    return sorted(f.name.removesuffix(".yaml") for f in _folder(kind).iterdir() if f.name.endswith(".yaml"))


def _load(kind: str, name: str, schema: type[T]) -> T:
    if name not in names(kind):
        raise unknown_name(kind.removesuffix("s"), name, names(kind))
    text = _folder(kind).joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    try:
        return schema.model_validate({"name": name, **yaml.safe_load(text)})
    except UserError as error:
        raise UserError(f"configs/{kind}/{name}.yaml: {error}") from None


def load_backbone(name: str) -> BackboneConfig:
    """The shipped backbone `name`. Raises `UserError` when there is none."""
    return _load("backbones", name, BackboneConfig)


def load_dataset(name: str) -> DatasetConfig:
    """The shipped data set `name`. Raises `UserError` when there is none."""
    return _load("datasets", name, DatasetConfig)


def load_recipe(name: str) -> RecipeConfig:
    """The shipped recipe `name`. Raises `UserError` when there is none."""
    return _load("recipes", name, RecipeConfig)


def load_sweep(name: str) -> SweepConfig:
    """The shipped sweep `name`. Raises `UserError` when there is none."""
    return _load("sweeps", name, SweepConfig)
