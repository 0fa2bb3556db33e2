"""A tiny separable data set, in memory and as a store, and short runs on it.

Images of a class share one direction. [CLS] and every patch hold it under noise; the register holds noise
alone. Width 12, a 2 × 3 grid, 6 classes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cache import (
    RECORD_ARRAYS,
    BackboneIdentity,
    BlockGeometry,
    DatasetIdentity,
    FinalNorm,
    SplitManifest,
    StoreManifest,
    TokenBatch,
    create_store,
    open_split_writer,
    token_arrays,
)
from configs import RecipeConfig
from probe import (
    FedStack,
    FitOptions,
    TokenInputs,
    TrainingSetting,
    TrialStack,
    evaluate,
    run_fit,
    train_epoch,
)
from probe.command import main
from probe.selection import Answer
from probe.training import Accuracy

DIM, GRID, DEPTH = 12, (2, 3), 4
GEOMETRY = (BlockGeometry(grid=GRID, dim=DIM),) * DEPTH
CLASSES = ("ant", "bee", "cat", "dog", "elk", "fox")
SPLITS = {"train": 120, "validation": 60}


def _tokens(
    labels: torch.Tensor, num_prefix: int, seed: int, noise: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Patches (B, 6, 12) and prefix (B, P, 12) of images with `labels`, float32."""
    directions = torch.randn(len(CLASSES), DIM, generator=torch.Generator().manual_seed(1))
    drawn = torch.Generator().manual_seed(seed)
    patches = noise * torch.randn(len(labels), 6, DIM, generator=drawn) + directions[labels].unsqueeze(1)
    prefix = noise * torch.randn(len(labels), num_prefix, DIM, generator=drawn)
    if num_prefix:
        prefix[:, 0] += directions[labels]
    return patches, prefix


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Tensors this small are slower on several threads, the more so beside other test processes."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session", autouse=True)
def _freed_memory_is_given_back() -> Iterator[None]:
    """A test process that kept what runs have freed would grow to gigabytes."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("probe.fit.keep_freed_memory", lambda: None)
        yield


@pytest.fixture(scope="session")
def final_norm() -> FinalNorm:
    """A LayerNorm whose weight and bias matter."""
    drawn = torch.Generator().manual_seed(2)
    weight, bias = torch.rand(DIM, generator=drawn) + 0.5, torch.randn(DIM, generator=drawn)
    return FinalNorm("layer_norm", 1e-6, weight, bias)


@pytest.fixture(scope="session")
def make_store(final_norm: FinalNorm) -> Callable[..., Path]:
    """Make a store in a folder, or add splits to it."""

    def make(
        folder: Path,
        *,
        dataset: str = "animals",
        splits: dict[str, int] = SPLITS,
        classes: tuple[str, ...] = CLASSES,
        prefix: tuple[str, ...] = ("cls", "register"),
        norm: FinalNorm | None = final_norm,
        geometry: tuple[BlockGeometry, ...] = GEOMETRY,
        blocks: tuple[int, ...] = (3,),
        tokens: str = "pre",
        dtype: str = "float16",
    ) -> Path:
        backbone = BackboneIdentity(
            name="toy",
            source="made by hand",
            weights_sha256="0" * 64,
            transform={},
            precision="float32",
            prefix=prefix,
            blocks=geometry,
            final_norm=None if norm is None else norm.description,
        )
        create_store(
            folder, StoreManifest(backbone=backbone, dtype=dtype, tokens=tokens, licence=None, versions={})
        )
        if norm is not None:
            norm.save(folder)
        for seed, (split, records) in enumerate(splits.items()):
            _write_split(folder, dataset, split, records, classes, len(prefix), norm, blocks, dtype, seed)
        return folder

    return make


def _write_split(
    folder: Path,
    dataset: str,
    split: str,
    records: int,
    classes: tuple[str, ...],
    num_prefix: int,
    norm: FinalNorm | None,
    blocks: tuple[int, ...],
    dtype: str,
    seed: int,
) -> None:
    specs = [
        spec
        for block in blocks
        for spec in token_arrays(
            block,
            num_tokens=6,
            num_prefix=num_prefix,
            dim=DIM,
            dtype=dtype,
            views=1,
            normed_mean=norm is not None,
        )
    ]
    labels = torch.arange(records) % len(classes)
    values: dict[str, np.ndarray] = {"labels": labels.numpy(), "sample_id": np.arange(records)}
    for block in blocks:
        patches, prefix = _tokens(labels, num_prefix, seed=100 + 10 * block + seed, noise=1.6)
        patches, prefix = (tokens.to(getattr(torch, dtype)) for tokens in (patches, prefix))
        stored = torch.uint16 if dtype == "bfloat16" else patches.dtype  # NumPy has no bfloat16
        found = {"patches": patches.view(stored), "prefix": prefix.view(stored)}
        found["mean"] = patches.float().mean(dim=1)
        if norm is not None:
            found["mean_normed"] = norm(patches.float()).mean(dim=1)
        values |= {f"block{block}/{kind}": tokens.unsqueeze(0).numpy() for kind, tokens in found.items()}
    manifest = SplitManifest(
        dataset=DatasetIdentity(
            name=dataset, split=split, source="made by hand", fingerprint=f"seed {seed}", samples=records
        ),
        classes=classes,
        records=records,
        views=1,
        order="as drawn",
        format="zarr",
        shard_size=64,
        arrays=(*specs, *RECORD_ARRAYS),
    )
    with open_split_writer(folder, manifest) as writer:
        for number in writer.unfinished():
            shard = writer.begin(number)
            chosen = slice(shard.first, shard.first + shard.records)
            for spec in manifest.arrays:
                whole = values[spec.name]
                shard.write(spec.name, 0, whole[chosen] if spec.views is None else whole[:, chosen])
            shard.commit()


@pytest.fixture(scope="session")
def store(make_store: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store that most tests only read: 120 training and 60 validation images of 6 classes."""
    return make_store(tmp_path_factory.mktemp("stores") / "toy")


@pytest.fixture
def options(store: Path, tmp_path: Path) -> Callable[..., FitOptions]:
    """Options of a short run into `tmp_path/runs`, with changes."""

    def make(**changes: Any) -> FitOptions:
        usual: dict[str, Any] = {
            "cache": store,
            "recipe": "fast",
            "epochs": 2,
            "lr": (0.02,),
            "probe": ("lp",),
            "device": "cpu",
            "runs": tmp_path / "runs",
            "report": False,
        }
        return FitOptions(**{**usual, **changes})

    return make


@dataclass(frozen=True)
class FinishedRun:
    """What a run was told, gave back and left behind."""

    options: FitOptions
    answers: list[Answer]
    """One for each probe, in their order."""
    folder: Path


@pytest.fixture(scope="session")
def finished_run(store: Path, tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """Four probes, four epochs, `--name first`."""
    options = FitOptions(
        cache=store,
        probe=("lp", "lp_mean", "ep4", "ep2_d3+cls"),
        recipe="fast",
        epochs=4,
        lr=(0.02,),
        device="cpu",
        runs=tmp_path_factory.mktemp("runs"),
        name="first",
        report=False,
    )
    return FinishedRun(options, run_fit(options), options.runs / "first")


@pytest.fixture
def run_probe(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run the command `probe` with words; its exit code, stdout and stderr."""

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["probe", *map(str, words)])
        with pytest.raises(SystemExit) as exited:
            main()
        captured = capsys.readouterr()
        assert isinstance(exited.value.code, int)
        return exited.value.code, captured.out, captured.err

    return run


@pytest.fixture(scope="session")
def toy_batches() -> Callable[..., list[tuple[TokenBatch, ...]]]:
    """Batches of the separable toy, one block, little noise: the same for the same seed."""

    def make(seed: int, number: int = 6, size: int = 20) -> list[tuple[TokenBatch, ...]]:
        labels = torch.arange(number * size) % len(CLASSES)
        patches, prefix = _tokens(labels, 2, seed, noise=0.5)
        parts = (labels, torch.arange(len(labels)), patches, prefix, patches.mean(dim=1))
        split = zip(*(part.split(size) for part in parts), strict=True)
        return [(TokenBatch(*batch),) for batch in split]

    return make


@pytest.fixture(scope="session")
def recipe() -> Callable[..., RecipeConfig]:
    """A recipe of five epochs without weight decay, with changes."""

    def make(**changes: Any) -> RecipeConfig:
        usual: dict[str, Any] = {
            "name": "toy",
            "reference": "none",
            "optimizer": "adamw",
            "lr": 0.02,
            "lr_per_256": False,
            "batch_size": 20,
            "epochs": 5,
            "warmup_epochs": 0.5,
            "weight_decay": 0.0,
        }
        return RecipeConfig(**{**usual, **changes})

    return make


@pytest.fixture(scope="session")
def setting(recipe: Callable[..., RecipeConfig]) -> Callable[..., TrainingSetting]:
    """A trial's training setting for six batches an epoch, with changes of its own or of its recipe's."""

    def make(
        *,
        lr: float = 0.02,
        weight_decay: float = 0.0,
        seed: int = 0,
        steps_per_epoch: int = 6,
        **changes: Any,
    ) -> TrainingSetting:
        return TrainingSetting(recipe(**changes), lr, weight_decay, seed, steps_per_epoch)

    return make


@pytest.fixture(scope="session")
def toy_stacks() -> Callable[..., list[FedStack]]:
    """Fresh stacks of the named probes on the toy, a trial of each for every setting; all share inputs."""

    def make(settings: Sequence[TrainingSetting], *names: str) -> list[FedStack]:
        inputs = TokenInputs("pre", None, 0)
        stacks = [
            TrialStack(name, DIM, len(CLASSES), settings, torch.device("cpu"), grid=GRID) for name in names
        ]
        return [FedStack(stack, inputs) for stack in stacks]

    return make


@dataclass(frozen=True)
class ToyEpoch:
    """What an epoch gave: for each stack, its trials' losses and accuracies."""

    losses: list[list[float]]
    accuracies: list[list[Accuracy]]


@pytest.fixture(scope="session")
def train_on_toy(
    toy_batches: Callable[..., list[tuple[TokenBatch, ...]]], toy_stacks: Callable[..., list[FedStack]]
) -> Callable[..., tuple[list[FedStack], list[ToyEpoch]]]:
    """Train the named probes on the toy, a trial for every setting; the stacks and every epoch."""

    def train(settings: Sequence[TrainingSetting], *names: str) -> tuple[list[FedStack], list[ToyEpoch]]:
        stacks = toy_stacks(settings, *names)
        history = []
        for epoch in range(settings[0].recipe.epochs):
            trained = train_epoch(stacks, toy_batches(seed=10 + epoch))
            history.append(ToyEpoch(trained.losses, evaluate(stacks, toy_batches(seed=5))))
        return stacks, history

    return train
