"""Trainings by the kernels, on tokens that are read where they lie, against gathered and decoded ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch

from cache import FinalNorm, ResidentBatch, TokenArray, TokenBatch
from cache.int8 import quantize
from configs import TokenState
from probe import FedStack, TokenInputs, TrainingSetting, TrialStack, evaluate, train_epoch
from probe.fused import check, choice
from probe.token_inputs import Kernel

MakeSetting = Callable[..., TrainingSetting]
IMAGES, TOKENS, DIM, CLASSES, BATCH, EPOCHS = 24, 6, 32, 3, 12, 2


@pytest.fixture(autouse=True)
def _device(monkeypatch: pytest.MonkeyPatch, device: torch.device) -> None:
    """As if the device had what a Hopper GPU has."""
    monkeypatch.setattr("probe.token_inputs.DEVICES", (device.type,))
    monkeypatch.setattr(choice, "_suitable", lambda _: True)
    check.computes.cache_clear()


def stored(dtype: torch.dtype, device: torch.device) -> dict[TokenArray, torch.Tensor]:
    """Tokens of classes that differ in a few of them."""
    drawn = torch.Generator().manual_seed(0)
    tokens = torch.randn(IMAGES, TOKENS, DIM, generator=drawn)
    labels = torch.arange(IMAGES) % CLASSES
    tokens[:, 3] += 2 * torch.randn(CLASSES, DIM, generator=drawn)[labels]
    if dtype == torch.float16:
        return {"patches": tokens.half().to(device)}
    codes, scales = quantize(tokens.to(device))
    return {"patches": codes, "patches_scale": scales}


def trained(
    batches: Sequence[tuple[TokenBatch]], settings: Sequence[TrainingSetting], inputs: TokenInputs
) -> tuple[list[list[float]], list[float]]:
    """Each epoch's losses of the trials, and their accuracies."""
    device = batches[0][0].labels.device
    fed = [FedStack(TrialStack("ep4", DIM, CLASSES, settings, device, grid=(2, 3)), inputs)]
    losses = [train_epoch(fed, batches).losses[0] for _ in range(EPOCHS)]
    return losses, [accuracy.top1 for accuracy in evaluate(fed, batches)[0]]


@pytest.mark.parametrize(
    ("dtype", "state", "precision"),
    [
        (torch.float16, "pre", torch.float32),
        (torch.int8, "post", torch.float32),
        (torch.float16, "post", torch.bfloat16),
    ],
    ids=str,
)
def test_a_training_by_the_kernels_is_that_by_matrix_products(
    dtype: torch.dtype,
    state: TokenState,
    precision: torch.dtype,
    setting: MakeSetting,
    device: torch.device,
) -> None:
    held = stored(dtype, device)
    labels = torch.arange(IMAGES, device=device) % CLASSES
    order = torch.randperm(IMAGES, generator=torch.Generator().manual_seed(1)).to(device).split(BATCH)
    drawn = torch.Generator().manual_seed(2)
    weight, bias = torch.rand(2, DIM, generator=drawn).to(device)
    norm = FinalNorm("layer_norm", 1e-6, weight, bias)
    settings = [
        setting(lr=lr, steps_per_epoch=len(order), epochs=EPOCHS, warmup_epochs=0.0) for lr in (0.02, 0.1)
    ]

    def batches_of(*, kept: bool) -> list[tuple[TokenBatch]]:
        if kept:
            shared: dict[str, torch.Tensor] = {}
            return [(ResidentBatch(labels[items], items, held, items, shared),) for items in order]
        return [
            (TokenBatch(labels[items], items, **{name: array[items] for name, array in held.items()}),)
            for items in order
        ]

    def run(kernel: Kernel, *, kept: bool, exactly: bool = False) -> tuple[list[list[float]], list[float]]:
        asked = torch.float32 if exactly else precision
        batches = batches_of(kept=kept)
        found = trained(batches, settings, TokenInputs(state, norm, None, precision=asked, kernel=kernel))
        assert not (kept and kernel == "auto") or "patches" not in vars(batches[0][0])
        return found

    wanted = run("plain", kept=False, exactly=True)
    for kept in (True, False):
        found = run("auto", kept=kept)
        if precision == torch.float32:
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
        else:
            torch.testing.assert_close(found[0], wanted[0], rtol=5e-2, atol=5e-2)
    assert wanted[0][-1][0] < 0.8 * wanted[0][0][0]
