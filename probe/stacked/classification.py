"""A linear classifier and its cross-entropy in one step, a chunk of images at a time.

The logits of all trials, (K, B, C), can be the largest tensor of a step, and everything about them but their
matrix products is memory traffic. Here a chunk of them is made, turned into losses and into gradients, and
dropped while it is still in the cache.

    p = softmax(W x + b),   loss = −log p_label,   ∂loss/∂logits = p − 1_label
"""

from __future__ import annotations

from typing import Any

import torch

CHUNK_BYTES = {"cpu": 32 * 2**20, "cuda": 512 * 2**20}
"""Of logits: few enough to stay in a CPU's last cache, many enough for large products."""


def classification_losses(
    rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, labels: torch.Tensor, images: int
) -> torch.Tensor:
    """rows (K, B, W), weight (K, C, W), bias (K, C), labels (B,) → (K,) sums of losses divided by `images`.

    Rows that all trials share are (1, B, W), and get no gradient.
    """
    losses: torch.Tensor = _Losses.apply(rows, weight, bias, labels, images)
    return losses


class _Losses(torch.autograd.Function):
    """Makes the gradients with the losses, since the logits are there only then."""

    @staticmethod
    def forward(
        ctx: Any,
        rows: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        labels: torch.Tensor,
        images: int,
    ) -> torch.Tensor:
        trials, classes, _ = weight.shape
        losses = weight.new_zeros(trials)
        of_rows = torch.empty_like(rows) if ctx.needs_input_grad[0] else None
        assert of_rows is None or len(rows) == trials
        of_weight, of_bias = torch.empty_like(weight), torch.zeros_like(bias)
        chunk = max(1, CHUNK_BYTES.get(rows.device.type, 2**26) // (4 * trials * classes))
        for first in range(0, len(labels), chunk):
            part = slice(first, first + chunk)
            x = rows[:, part].expand(trials, -1, -1)
            logits = torch.baddbmm(bias.unsqueeze(1), x, weight.mT)
            found = torch.softmax(logits, dim=-1)
            own = labels[part].view(1, -1, 1).expand(trials, -1, 1)
            # log Σ exp from the largest: log p_label itself may be of a p that is 0 in float32
            normaliser = logits.amax(2, keepdim=True) - found.amax(2, keepdim=True).log()
            losses += (normaliser - logits.gather(2, own)).sum((1, 2))
            found.scatter_add_(2, own, found.new_full((1, 1, 1), -1.0).expand_as(own))
            of_weight.baddbmm_(found.mT, x, beta=min(first, 1), alpha=1 / images)
            of_bias.add_(found.sum(1), alpha=1 / images)
            if of_rows is not None:
                of_rows[:, part] = torch.bmm(found, weight).div_(images)
        ctx.save_for_backward(of_rows, of_weight, of_bias)
        return losses / images

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (upstream,) = gradients
        scale = upstream.view(-1, 1, 1)
        of_rows, of_weight, of_bias = ctx.saved_tensors  # in place: a second backward is an error
        return (
            of_rows if of_rows is None else of_rows.mul_(scale),
            of_weight.mul_(scale),
            of_bias.mul_(scale[:, 0]),
            None,
            None,
        )
