"""A store as large as wanted, of tokens that nobody computed, and training epochs on it."""

from __future__ import annotations

import gc
import math
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from files import drop_from_cache
from own_store import open_store, write_store
from workload import Workload

from cache import Residency, Tier, TokenDtype, give_back_device_memory
from configs import RecipeConfig
from probe import FedStack, TokenInputs, TrainingSetting, TrialStack, train_epoch
from probe.cost import probe_cost
from probe.freed_memory import keep_freed_memory
from probe.passes import plan_passes, training_memory, trial_bytes
from probe.split_batches import SplitBatches

NAME, CLASSES = "ep32", 1000


@dataclass(frozen=True)
class Generated(Workload):
    """Every shard holds the same tokens, so that memory for one is enough: no speed depends on them."""

    def shard_patches(self, shard: int) -> np.ndarray:
        """(shard, N, D) float16."""
        return self._patches

    @cached_property
    def _patches(self) -> np.ndarray:
        random = np.random.default_rng(0)
        return random.random((self.shard, *self.record_shape), dtype=np.float32).astype(np.float16)


def generate(folder: Path, workload: Generated, dtype: TokenDtype) -> int:
    """Write the store; bytes of a record."""
    write_store(folder, workload, "zarr", dtype)
    return open_store(folder).record_bytes


def recipe_of(batch: int) -> RecipeConfig:
    """LARS on the benchmark's batch, as recipe `paper` has it."""
    return RecipeConfig(
        name="benchmark",
        reference="none",
        optimizer="lars",
        lr=(0.1,),
        lr_per_256=True,
        batch_size=batch,
        epochs=90,
        warmup_epochs=10,
        weight_decay=(0.0,),
    )


def trial_stack(workload: Generated, trials: int, steps: int, device: torch.device) -> TrialStack:
    """So many learning rates of EP32, with so many steps in an epoch."""
    recipe = recipe_of(workload.batch)
    settings = [TrainingSetting(recipe, 0.01 * 1.1**k, 0.0, k, steps) for k in range(trials)]
    side = math.isqrt(workload.tokens)
    return TrialStack(NAME, workload.dim, CLASSES, settings, device, grid=(side, side))


def seconds_of_an_image(
    folder: Path, workload: Generated, tier: Tier, trials: int, device: torch.device
) -> float:
    """A training epoch of so many EP32, in as many passes as memory needs, divided by its images.

    One pass is measured, its second epoch (the first fills the tier, and tunes libraries), and counted as
    often as there are passes. Streaming begins with files that the system has forgotten.
    """
    if device.type == "cpu":
        keep_freed_memory()
    give_back_device_memory()  # of the tier before
    dataset = open_store(folder)
    recipe = recipe_of(workload.batch)
    side = math.isqrt(workload.tokens)
    cost = probe_cost(NAME, workload.dim, CLASSES, (side, side))
    held = len(dataset) * dataset.record_bytes if tier == "device" else 0
    size = trial_bytes(cost, recipe, workload.batch)
    passes = plan_passes(range(trials), [size] * trials, training_memory(device, held))
    steps = len(dataset) // workload.batch
    inputs = TokenInputs("pre", None, None, kernel="auto")  # as `probe` has it
    fed = FedStack(trial_stack(workload, len(passes[0]), steps, device), inputs)
    residency = Residency(tier, 16 * workload.batch * dataset.record_bytes)
    batches = SplitBatches([dataset], workload.batch, residency=residency, device=device, training=True)
    seconds = 0.0
    for epoch in range(2):
        if tier == "stream":
            gc.collect()
            drop_from_cache(folder)
        began = time.perf_counter()
        images = train_epoch([fed], batches.epoch(epoch)).images
        seconds = time.perf_counter() - began
    return len(passes) * seconds / images
