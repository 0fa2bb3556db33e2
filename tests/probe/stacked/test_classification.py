"""Losses and gradients of the classifier against PyTorch's own, image by image."""

from __future__ import annotations

import importlib

import pytest
import torch
import torch.nn.functional as F

from probe.stacked import classification_losses

module = importlib.import_module("probe.stacked.classification")

TRIALS, IMAGES, WIDTH, CLASSES = 3, 37, 11, 7


def _parameters(rows_of: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = ((rows_of, IMAGES, WIDTH), (TRIALS, CLASSES, WIDTH), (TRIALS, CLASSES))
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


def _plain(
    rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    every = rows.expand(TRIALS, -1, -1)
    losses = [
        F.cross_entropy(x @ w.T + b, labels, reduction="sum") / 50
        for x, w, b in zip(every, weight, bias, strict=True)
    ]
    return torch.stack(losses)


@pytest.fixture(params=[1, 5, IMAGES, 1000], ids="chunks of {}".format)
def chunks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many images at a time."""
    monkeypatch.setitem(module.CHUNK_BYTES, "cpu", 4 * TRIALS * CLASSES * request.param)


@pytest.mark.usefixtures("chunks")
@pytest.mark.parametrize("shared", [False, True])
def test_losses_and_gradients_are_those_of_cross_entropy(shared: bool) -> None:
    rows, weight, bias = _parameters(1 if shared else TRIALS)
    labels = torch.arange(IMAGES) % CLASSES
    sources = [weight, bias] if shared else [rows, weight, bias]
    for source in sources:
        source.requires_grad_()
    found = classification_losses(rows, weight, bias, labels, images=50)
    expected = _plain(rows, weight, bias, labels)
    torch.testing.assert_close(found, expected)
    upstream = torch.tensor([1.0, 2.0, -0.5], dtype=torch.float64)
    gradients = torch.autograd.grad((found * upstream).sum(), sources)
    wanted = torch.autograd.grad((expected * upstream).sum(), sources)
    for gradient, reference in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(gradient, reference)


def test_a_hopeless_label_has_its_exact_loss() -> None:
    rows, weight = torch.ones(1, 1, 1), torch.tensor([[[1000.0], [-1000.0]]])
    found = classification_losses(rows, weight, torch.zeros(1, 2), torch.tensor([1]), images=1)
    assert found.item() == 2000
