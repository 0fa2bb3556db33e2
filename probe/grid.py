"""From options to the trials that they span."""

from __future__ import annotations

from itertools import product

from configs import RecipeConfig, TokenState, UserError, load_sweep
from probe.data import ProbeData, chosen_blocks
from probe.names import CLOSED_FORM
from probe.options import FitOptions
from probe.trial_spec import TrainingImages, TrialSpec


def with_sweep(options: FitOptions) -> FitOptions:
    """`options` with the grid of the sweep that they name; what was given beside it stays as given."""
    if options.sweep is None:
        return options
    sweep = load_sweep(options.sweep).model_dump(exclude={"name", "description"}, exclude_none=True)
    given = {name for name in sweep if getattr(options, name) != FitOptions.model_fields[name].default}
    return FitOptions(**{**options.model_dump(), **{n: sweep[n] for n in sweep if n not in given}})


def trained_probes(options: FitOptions) -> tuple[str, ...]:
    """The probes that are trained in steps."""
    return tuple(name for name in options.probe if name not in CLOSED_FORM)


def block_sets(options: FitOptions, data: ProbeData) -> list[tuple[int, ...]]:
    """The blocks of each trial: one, or all of them combined."""
    blocks = chosen_blocks(data, options.block)
    return [blocks] if options.combine else [(block,) for block in blocks]


def token_states(options: FitOptions, data: ProbeData) -> tuple[TokenState, ...]:
    """Before the final norm, after it, or both."""
    chosen: tuple[TokenState, ...] = options.tokens  # type: ignore[assignment]
    return chosen or (data.store.manifest.tokens,)


def training_images(options: FitOptions) -> list[TrainingImages]:
    """All of them, or every part and draw that was asked for."""
    if options.draws > 1 and not (options.shots or options.fraction):
        raise UserError("--draws counts random draws of --shots or --fraction: give one of them")
    draws = range(options.draws)
    parts = [TrainingImages(shots=shots, draw=draw) for shots in options.shots for draw in draws]
    parts += [TrainingImages(fraction=share, draw=draw) for share in options.fraction for draw in draws]
    return parts or [TrainingImages()]


def trial_grid(options: FitOptions, recipe: RecipeConfig, data: ProbeData) -> list[TrialSpec]:
    """Every trial, in the order of the options."""
    return [
        TrialSpec(probe, blocks, state, images, lr, decay, seed)
        for blocks, images, probe, state, lr, decay, seed in product(
            block_sets(options, data),
            training_images(options),
            trained_probes(options),
            token_states(options, data),
            options.lr or recipe.lr,
            options.weight_decay or recipe.weight_decay,
            options.seed,
        )
    ]


HELD_OUT = 0.1
"""Share of the training images that choose, unless another is given."""


def held_out_share(options: FitOptions) -> float:
    """Of the training images, where there is something to choose."""
    return HELD_OUT if options.held_out is None else options.held_out


def something_to_choose(specs: list[TrialSpec]) -> bool:
    """Whether any question has several learning rates or weight decays."""
    return len({spec.choice for spec in specs}) > 1
