"""What a probe costs, found by running it on shapes alone (torch's meta device)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch.autograd.graph import saved_tensors_hooks

from probe.names import probe_spec
from probe.probe import Probe, build_probe


@dataclass(frozen=True)
class ProbeCost:
    """Of one trial."""

    parameters: int
    gflops: float
    """Forward pass of one more image in a batch, classifier included: 2 for each multiplication of a matrix
    product or convolution, as torch's FLOP counter counts; norms, softmax and activations are not counted."""
    activation_bytes: int
    """Of one image, that the forward pass keeps for the backward pass, in float32, tokens not included."""


@cache
def probe_cost(name: str, dim: int, num_classes: int, grid: tuple[int, ...]) -> ProbeCost:
    """Of the probe `name` for tokens of width `dim` on `grid`. Raises `UserError` as `build_probe` does."""
    with torch.device("meta"):
        probe = build_probe(name, dim, num_classes, grid)
    # differences, since a batch also has costs of its own: weights multiplied with weights
    few, more = (tokens_like(name, images, dim, grid) for images in (2, 3))
    flops = _flops(probe, more) - _flops(probe, few)
    saved = _saved_bytes(probe, more) - _saved_bytes(probe, few)
    return ProbeCost(probe.num_parameters, flops / 1e9, saved)


def tokens_like(name: str, images: int, dim: int, grid: tuple[int, ...]) -> torch.Tensor:
    """Tokens of the shape that the probe `name` reads, without values."""
    token_set = probe_spec(name).token_set
    if token_set in ("cls", "mean"):
        return torch.empty(images, dim, device="meta")
    count = torch.Size(grid).numel() + (token_set == "all")
    return torch.empty(images, count, dim, device="meta")


def _flops(probe: Probe, tokens: torch.Tensor) -> int:
    from torch.utils.flop_counter import FlopCounterMode  # brings Triton, which is slow to import

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        probe.eval()(tokens)
    return int(counter.get_total_flops())


def _saved_bytes(probe: Probe, tokens: torch.Tensor) -> int:
    """Bytes that one forward pass keeps; tensors that are views of one another count once."""
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        logits = probe.train()(tokens)
        torch.nn.functional.cross_entropy(logits[0], logits.new_zeros(len(tokens), dtype=torch.long))
    kept.pop(tokens.untyped_storage()._cdata, None)
    return sum(storage.nbytes() for storage in kept.values())
