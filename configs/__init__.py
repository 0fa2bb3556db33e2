"""Named configurations and the rules that every command shares.

The YAML files beside this module name backbones, data sets and training recipes; `schema` says what
they may contain, `named` reads them. `errors` holds the one exception that means "bad input", and
`command_line` turns typed options into a command.
"""

from configs.command_line import Names, Size, Verb, optional, parse, run_command, run_verb
from configs.errors import UserError, unknown_name
from configs.named import load_backbone, load_dataset, load_recipe, names
from configs.schema import (
    BackboneConfig,
    DatasetConfig,
    FrozenModel,
    RecipeConfig,
    TokenState,
    TransformConfig,
)

__all__ = [
    "BackboneConfig",
    "DatasetConfig",
    "FrozenModel",
    "Names",
    "RecipeConfig",
    "Size",
    "TokenState",
    "TransformConfig",
    "UserError",
    "Verb",
    "load_backbone",
    "load_dataset",
    "load_recipe",
    "names",
    "optional",
    "parse",
    "run_command",
    "run_verb",
    "unknown_name",
]
