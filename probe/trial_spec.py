"""One trial of a run: which probe, on which tokens, trained how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

from configs import TokenState


@dataclass(frozen=True)
class TrainingImages:
    """Which of the training split's images: all, so many of each class, or a fraction of each class."""

    shots: int | None = None
    fraction: float | None = None
    draw: int = 0
    """Number of the random draw of a part."""

    @property
    def asked(self) -> str:
        """The options that ask for a part; nothing where all are taken."""
        given = {"--shots": self.shots, "--fraction": self.fraction}
        return ", ".join(f"{option} {value:g}" for option, value in given.items() if value is not None)

    @property
    def all(self) -> bool:
        """Whether nothing is left out."""
        return self.shots is None and self.fraction in (None, 1)


@dataclass(frozen=True)
class TrialSpec:
    """A point of the grid that a run trains."""

    probe: str
    blocks: tuple[int, ...]
    """More than one where their tokens are combined."""
    tokens: TokenState
    images: TrainingImages
    lr: float
    """As the recipe gives it: per 256 images where that one is."""
    weight_decay: float
    seed: int

    @property
    def question(self) -> tuple[object, ...]:
        """What a row of results answers; learning rate and weight decay are chosen for it."""
        return self.probe, self.blocks, self.tokens, self.images.shots, self.images.fraction

    @property
    def choice(self) -> tuple[float, float]:
        """What is chosen: learning rate and weight decay."""
        return self.lr, self.weight_decay

    @property
    def setting(self) -> str:
        """The choice, in short."""
        return f"lr={self.lr:g}" + (f",wd={self.weight_decay:g}" if self.weight_decay else "")

    @property
    def repeat(self) -> tuple[int, int]:
        """What is averaged over: seed and draw."""
        return self.seed, self.images.draw


def varied(specs: Sequence[TrialSpec]) -> tuple[str, ...]:
    """The fields in which `specs` differ, the probe left out."""
    rows = [_flat(spec) for spec in specs]
    names = rows[0] if rows else ()
    return tuple(name for name in names if name != "probe" and len({row[name] for row in rows}) > 1)


def label(spec: TrialSpec, names: Sequence[str]) -> str:
    """The trial's name in a run whose trials differ in `names`: `ep32` or `ep32[lr=0.1,seed=1]`."""
    row = _flat(spec)
    shown = ",".join(f"{name}={_short(row[name])}" for name in names if row[name] is not None)
    return f"{spec.probe}[{shown}]" if shown else spec.probe


def _flat(spec: TrialSpec) -> dict[str, object]:
    own = {field.name: getattr(spec, field.name) for field in fields(spec) if field.name != "images"}
    return own | asdict(spec.images)


def _short(value: object) -> str:
    if isinstance(value, tuple):
        return "+".join(map(str, value))
    if isinstance(value, float) and float(f"{value:g}") == value:
        return f"{value:g}"
    return str(value)
