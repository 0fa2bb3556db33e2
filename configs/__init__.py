"""Named configurations and the rules that every command shares.

The YAML files beside this module name backbones, data sets and training recipes; `schema` says what
they may contain, `named` reads them. `errors` holds the one exception that means "bad input",
`command_line` turns typed options into a command, and `units` writes numbers as people read them.
"""

from configs.command_line import (
    Floats,
    Headings,
    Integers,
    Json,
    Known,
    Names,
    Quiet,
    Size,
    Verb,
    optional,
    parse,
    run_command,
    run_verb,
)
from configs.errors import UserError, unknown_name
from configs.named import load_backbone, load_dataset, load_recipe, load_sweep, names
from configs.schema import (
    BackboneConfig,
    DatasetConfig,
    FrozenModel,
    RecipeConfig,
    SweepConfig,
    TokenState,
    TransformConfig,
)
from configs.units import in_bytes, in_time

__all__ = [
    "BackboneConfig",
    "DatasetConfig",
    "Floats",
    "FrozenModel",
    "Headings",
    "Integers",
    "Json",
    "Known",
    "Names",
    "Quiet",
    "RecipeConfig",
    "Size",
    "SweepConfig",
    "TokenState",
    "TransformConfig",
    "UserError",
    "Verb",
    "in_bytes",
    "in_time",
    "load_backbone",
    "load_dataset",
    "load_recipe",
    "load_sweep",
    "names",
    "optional",
    "parse",
    "run_command",
    "run_verb",
    "unknown_name",
]
