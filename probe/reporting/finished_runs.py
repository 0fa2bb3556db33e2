"""Reading back what finished runs left behind."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from configs import UserError
from probe.predictions import Predictions, read_predictions
from probe.run_folder import METRICS, RESULTS


@dataclass(frozen=True)
class FinishedRun:
    """A run's files. `epochs` are the rows of metrics.jsonl; losses that are no number are absent there."""

    folder: Path
    config: Mapping[str, Any]
    answers: tuple[Mapping[str, Any], ...]
    trials: tuple[Mapping[str, Any], ...]
    epochs: tuple[Mapping[str, Any], ...]
    predictions: Predictions | None
    """None where the run is older than the file."""

    @property
    def name(self) -> str:
        """The folder's."""
        return printable(self.folder.resolve().name)

    @property
    def options(self) -> Mapping[str, Any]:
        """What the run was told."""
        options: Mapping[str, Any] = self.config["options"]
        return options

    @property
    def classes(self) -> list[str]:
        """Names of the classes, fit to be shown."""
        return [printable(name) for name in self.config["classes"]]

    @property
    def evaluation(self) -> str:
        """`dataset/split`."""
        identity = self.config["evaluation"]
        return printable(f"{identity['name']}/{identity['split']}")

    @cached_property
    def trial_by_name(self) -> dict[str, Mapping[str, Any]]:
        """The rows of trained trials."""
        return {row["trial"]: row for row in self.trials if row["parameters"] is not None}


def read_run(folder: Path) -> FinishedRun:
    """Read a finished run. Raises `UserError` where there is none, or its files are damaged."""
    try:
        results = json.loads((folder / RESULTS).read_text())
    except OSError:
        raise UserError(f"{folder} holds no finished run ({RESULTS} is missing)") from None
    except ValueError:
        raise UserError(f"{folder / RESULTS} is damaged: run the same `probe fit` command again") from None
    return FinishedRun(
        folder,
        results["config"],
        tuple(results["answers"]),
        tuple(results["trials"]),
        _read_epochs(folder / METRICS),
        read_predictions(folder),
    )


def _read_epochs(metrics: Path) -> tuple[Mapping[str, Any], ...]:
    lines = metrics.read_text().splitlines() if metrics.exists() else []
    try:
        return tuple(json.loads(line) for line in lines)
    except ValueError:
        raise UserError(f"{metrics} is damaged: take it away, and learning curves are left out") from None


def printable(text: str) -> str:
    """`text` without control characters and halves of characters, which no page and no picture may hold."""
    return "".join(character if character.isprintable() else "�" for character in text)


@dataclass(frozen=True)
class Result:
    """One answer of one run."""

    run: FinishedRun
    number: int
    """Which of the run's answers."""

    @property
    def answer(self) -> Mapping[str, Any]:
        """As results.json has it."""
        return self.run.answers[self.number]

    @property
    def probe(self) -> str:
        """Its name."""
        return str(self.answer["probe"])

    @property
    def top1(self) -> float:
        """On the evaluation split after the last epoch, in percent."""
        return float(self.answer["top1"])

    @property
    def deviation(self) -> float | None:
        """Of `top1` over seeds and draws."""
        found: float | None = self.answer["top1_deviation"]
        return found

    @property
    def trials(self) -> list[Mapping[str, Any]]:
        """The rows of its chosen trials; none where it was computed in closed form."""
        return [self.run.trial_by_name[name] for name in self.answer["trials"]]

    @property
    def cost(self) -> tuple[int, float] | None:
        """Trainable parameters, and GFLOPs per image; None where it was computed in closed form."""
        return (self.trials[0]["parameters"], self.trials[0]["gflops"]) if self.trials else None

    def field(self, name: str) -> str:
        """One of `FIELDS` as it is shown; empty where it does not apply."""
        options = self.run.options
        own = {
            "run": self.run.name,
            "store": printable(Path(options["cache"]).name),
            "recipe": options["recipe"],
        }
        return shown(own[name] if name in own else self.answer[name])


FIELDS = ("run", "store", "recipe", "blocks", "tokens", "shots", "fraction", "setting")
"""What tells answers of one probe apart."""


def results_of(runs: Sequence[FinishedRun]) -> list[Result]:
    """Every answer of every run."""
    return [Result(run, number) for run in runs for number in range(len(run.answers))]


def shown(value: Any) -> str:
    """A field's value in a table."""
    if isinstance(value, list):
        return "+".join(map(str, value))
    if isinstance(value, float):
        return f"{value:g}"
    return "" if value is None else str(value)


def varied_fields(results: Sequence[Result], *, without: Sequence[str] = ()) -> list[str]:
    """The fields in which answers of one probe differ, but for those on an axis or averaged over.

    The run is named only where nothing else tells two answers apart.
    """
    fields = [
        name
        for name in FIELDS
        if name not in {"run", "setting", *without} and len({r.field(name) for r in results}) > 1
    ]
    for name in ("run", "setting"):
        keys = [(r.probe, *(r.field(f) for f in (*fields, *without))) for r in results]
        if len(set(keys)) < len(keys) and len({r.field(name) for r in results}) > 1 and name not in without:
            fields.append(name)
    return fields


def result_names(results: Sequence[Result], *, without: Sequence[str] = ()) -> list[str]:
    """A name for each answer: its probe, and what `varied_fields` says."""
    fields = varied_fields(results, without=without)
    titles = {"blocks": "block ", "shots": "shots ", "fraction": "share ", "setting": "", "tokens": ""}
    return [
        ", ".join([r.probe, *(titles.get(f, "") + r.field(f) for f in fields if r.field(f))]) for r in results
    ]


def comparable(results: Sequence[Result]) -> list[list[Result]]:
    """Answers in groups that were measured on the same images."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(json.dumps(result.run.config["evaluation"], sort_keys=True), []).append(result)
    return list(groups.values())


def best_of_each_probe(results: Sequence[Result]) -> list[Result]:
    """Of each probe the answer with the highest top-1, best first."""
    best: dict[str, Result] = {}
    for result in sorted(results, key=lambda result: -result.top1):
        best.setdefault(result.probe, result)
    return list(best.values())
