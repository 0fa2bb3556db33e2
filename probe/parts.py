"""What a run trains, laid out before the first step: passes over the tokens, and the trials of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from cache import TokenArray, launch
from configs import RecipeConfig, TokenState, UserError
from probe.cost import ProbeCost, probe_cost
from probe.data import ProbeData
from probe.grid import token_states
from probe.names import probe_spec
from probe.options import FitOptions
from probe.passes import plan_passes, trial_bytes
from probe.recipe import resolved_recipe
from probe.token_inputs import TokenInputs
from probe.training_data import ImageChoice, TrainingData, open_training_data
from probe.trial_spec import TrialSpec
from probe.view_policy import view_policy


@dataclass(frozen=True)
class Part:
    """Trials that one pass over the tokens trains: on the same blocks and images, as many as memory holds."""

    specs: list[TrialSpec]
    data: TrainingData
    recipe: RecipeConfig
    inputs: Mapping[TokenState, TokenInputs]
    dim: int
    grid: tuple[int, ...]


def plan_parts(
    options: FitOptions, data: ProbeData, specs: Sequence[TrialSpec], held_out: float, memory: int
) -> list[Part]:
    """Every pass of a run through `memory` bytes for trials, in the order of the trials.

    Raises `UserError` where one trial is too large, or a batch too small for the processes.
    """
    parts = []
    states = token_states(options, data)
    asked = options.combine, options.precision, options.kernel
    inputs = {state: data.inputs(state, *asked) for state in states}
    for blocks, images in dict.fromkeys((spec.blocks, spec.images) for spec in specs):
        own = [spec for spec in specs if (spec.blocks, spec.images) == (blocks, images)]
        arrays: set[TokenArray] = set()
        for state in states:
            arrays |= inputs[state].arrays({probe_spec(spec.probe).token_set for spec in own})
        choice = ImageChoice(images, held_out, options.order_seed)
        opened = open_training_data(
            data, blocks, arrays, choice, verify=options.verify, views=view_policy(options, data)
        )
        recipe = resolved_recipe(options, len(opened.train))
        dim, grid = data.width(blocks, options.combine), data.grid(blocks)
        batch = _own_batch(recipe)
        costs = [probe_cost(spec.probe, dim, data.num_classes, grid) for spec in own]
        sizes = [trial_bytes(cost, recipe, batch) for cost in costs]
        parts += [Part(found, opened, recipe, inputs, dim, grid) for found in plan_passes(own, sizes, memory)]
    return parts


def _own_batch(recipe: RecipeConfig) -> int:
    """Images of a batch that one process gets at most. Raises `UserError` where some would get none."""
    processes: int = launch().num_processes
    if recipe.batch_size < processes:
        raise UserError(
            f"a batch of {recipe.batch_size} images has none for some of {processes} processes: "
            "give a larger --batch-size, or start fewer"
        )
    return -(-recipe.batch_size // processes)


def halves(part: Part) -> list[Part]:
    """The part as two, for a device without the memory for one. Raises `UserError` for a single trial."""
    middle = len(part.specs) // 2
    if not middle:
        raise UserError(
            f"the device has no memory for one trial of {part.specs[0].probe}: give a smaller --batch-size, "
            "or --tier host where the tokens fill it"
        )
    return [replace(part, specs=specs) for specs in (part.specs[:middle], part.specs[middle:])]


def part_cost(part: Part, spec: TrialSpec, num_classes: int) -> ProbeCost:
    """What one trial of the part costs."""
    return probe_cost(spec.probe, part.dim, num_classes, part.grid)
