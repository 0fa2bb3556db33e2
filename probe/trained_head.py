"""A trained head, read back from the run that trained it.

`head.safetensors` of a run holds every chosen trial's tensors under the trial's name, and in its metadata the
run's configuration and a row of `results.csv` for each: all that is needed to make the probe again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from cache import BackboneIdentity, DatasetIdentity, FinalNorm, SplitReader, Store, differences
from configs import TokenState, UserError, unknown_name
from probe.data import PRECISIONS
from probe.probe import Probe, build_probe
from probe.run_folder import HEAD
from probe.token_inputs import Combination, TokenInputs


@dataclass(frozen=True)
class TrainedHead:
    """One trial's probe, in eval mode on the CPU, and everything that its tokens must be."""

    run: Path
    """The run's folder."""
    trial: str
    """`ep32`, or `ep32[seed=1]` where trials differ in more than the probe."""
    name: str
    """The probe's full name: `ep32`."""
    probe: Probe
    """Of one trial: logits (1, B, C)."""
    classes: tuple[str, ...]
    blocks: tuple[int, ...]
    """Whose tokens it reads; those of several are combined."""
    combination: Combination
    tokens: TokenState
    """Before or after the backbone's final norm."""
    precision: torch.dtype
    """Of the patches that it reads."""
    dim: int
    """D of what it reads."""
    grid: tuple[int, ...]
    backbone: BackboneIdentity
    cache: Path
    """The store that it was trained from, as the run was told."""
    train: DatasetIdentity
    evaluation: DatasetIdentity
    top1: float
    """Accuracy on the evaluation split after the last epoch, in percent."""
    row: Mapping[str, Any]
    """The trial's row of `results.csv`."""
    config: Mapping[str, Any]
    """The run's configuration."""

    def inputs(self, norm: FinalNorm | None) -> TokenInputs:
        """How batches of tokens become what the probe reads; `norm`: the backbone's last, where they are."""
        return TokenInputs(self.tokens, norm, self.backbone.cls, self.combination, self.precision)

    def require_backbone(self, found: BackboneIdentity, where: str) -> None:
        """Raise `UserError` unless `found`, the backbone of `where`, gave the tokens that it learned on."""
        differing = differences(self.backbone.model_dump(mode="json"), found.model_dump(mode="json"))
        if differing:
            raise UserError(
                f"{self.run} was trained on tokens of another backbone than that of {where}: "
                f"{'; '.join(differing)}"
            )

    def open_store(self, cache: Path | None = None) -> Store:
        """The store that it was trained from, or `cache`. Raises `UserError` where another backbone's."""
        store = Store(cache or self.cache)
        self.require_backbone(store.manifest.backbone, str(store.folder))
        return store

    def open_split(self, store: Store, split: str | None = None) -> SplitReader:
        """The split that it was evaluated on, or `split` of the same data set.

        Raises `UserError` where the store lacks it, or its classes or images are others.
        """
        reader = store.split(self.evaluation.name, split or self.evaluation.split)
        if reader.manifest.classes != self.classes:
            raise UserError(
                f"{reader.name} in {store.folder} has other classes than {self.run} was trained on"
            )
        if split is None and reader.manifest.dataset != self.evaluation:
            raise UserError(
                f"{reader.name} in {store.folder} holds other images than {self.run} was evaluated on: "
                "give the --cache it was, or name the split"
            )
        return reader


def list_heads(run: Path) -> tuple[str, ...]:
    """Names of the trials whose heads `run` holds: a run's folder, or a `head.safetensors`.

    Raises `UserError` where there are none.
    """
    return tuple(_read(run)[1])


def load_head(run: Path, trial: str | None = None) -> TrainedHead:
    """The head of `trial`, by its name or its probe's; without it, the only one there is.

    Raises `UserError` where there are several such, or none.
    """
    config, rows = _read(run)
    row = rows[_chosen(run, rows, trial)]
    identity = BackboneIdentity.model_validate(config["backbone"])
    options = config["options"]
    blocks = tuple(map(int, str(row["blocks"]).split("+")))
    combination: Combination = options["combine"] or "concat"
    widths = [identity.blocks[block].dim for block in blocks]
    dim, grid = sum(widths) if combination == "concat" else widths[0], identity.blocks[blocks[0]].grid
    classes = tuple(config["classes"])
    probe = build_probe(row["probe"], dim, len(classes), grid)
    probe.load_state_dict(_tensors(head_file(run), row["trial"]))
    return TrainedHead(
        run=head_file(run).parent,
        trial=row["trial"],
        name=row["probe"],
        probe=probe.eval().requires_grad_(False),
        classes=classes,
        blocks=blocks,
        combination=combination,
        tokens=row["tokens"],
        precision=PRECISIONS[options["precision"]],
        dim=dim,
        grid=grid,
        backbone=identity,
        cache=Path(options["cache"]),
        train=DatasetIdentity.model_validate(config["train"]),
        evaluation=DatasetIdentity.model_validate(config["evaluation"]),
        top1=row["top1_last"],
        row=row,
        config=config,
    )


def best_trial(run: Path, name: str | None = None) -> str:
    """The trial with the highest accuracy, of all whose heads `run` holds, or of those of the probe `name`.

    Accuracy on the held-out images decides, where there were such, else that on the evaluation split; the
    first of equals. `name` may be a trial's own. Raises `UserError` where there is none such.
    """
    _, rows = _read(run)
    fitting = [trial for trial, row in rows.items() if name in (None, trial, row["probe"])]
    if not fitting:
        raise unknown_name(f"trial of {run}", str(name), tuple(rows))
    held_out = all(rows[trial]["held_out_top1"] is not None for trial in fitting)
    return max(fitting, key=lambda trial: rows[trial]["held_out_top1" if held_out else "top1_last"])


def head_file(run: Path) -> Path:
    """`head.safetensors` of a run's folder, which may itself be given."""
    return run / HEAD if run.is_dir() or run.suffix != ".safetensors" else run


def _read(run: Path) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The run's configuration, and the rows of the trials whose heads it holds, by name."""
    path = head_file(run)
    if not path.exists():
        what = "holds no trained head: knn and logreg leave none, and an unfinished run none yet"
        raise UserError(f"{path.parent} {what if path.parent.is_dir() else 'does not exist: name a run'}")
    try:
        with safe_open(path, framework="pt") as file:
            held = file.metadata() or {}
        return json.loads(held["config"]), {row["trial"]: row for row in json.loads(held["trials"])}
    except (OSError, SafetensorError, KeyError, ValueError):
        raise UserError(f"{path} is damaged, or no head that `probe` of this version wrote") from None


def _chosen(run: Path, rows: Mapping[str, Mapping[str, Any]], trial: str | None) -> str:
    if trial in rows:
        return str(trial)
    fitting = [name for name, row in rows.items() if trial in (None, row["probe"])]
    if not fitting:
        raise unknown_name(f"trial of {run}", str(trial), tuple(rows))
    if len(fitting) > 1:
        raise UserError(f"{run} holds several heads, {', '.join(fitting)}: say which with --trial")
    return fitting[0]


def _tensors(path: Path, trial: str) -> dict[str, torch.Tensor]:
    """The trial's tensors by their names in the probe, with the trial axis."""
    with safe_open(path, framework="pt") as file:
        own = [key for key in file.keys() if key.rpartition("/")[0] == trial]  # noqa: SIM118
        return {key.rpartition("/")[2]: file.get_tensor(key).unsqueeze(0) for key in own}
