"""From a backbone's float tokens to what is stored, on the device that computed them."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from cache.arrays import TokenDtype
from cache.int8 import LARGEST_FACTOR, dequantize, quantize
from configs import UserError

_TORCH: dict[str, torch.dtype] = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
}


@dataclass(frozen=True)
class Encoded:
    """Tokens as they are stored, on the device that encoded them.

    tokens: (…, D) in the storage dtype; scales: (…, N + D) float16 beside int8 codes, else None;
    minimum and maximum: 0-d float32, the range that the shard's record states.
    """

    tokens: torch.Tensor
    minimum: torch.Tensor
    maximum: torch.Tensor
    scales: torch.Tensor | None = None

    def finite(self) -> bool:
        """Whether neither NaN nor infinity is stored."""
        ends = [self.minimum, self.maximum]
        if self.scales is not None:
            ends.append(self.scales.max())
        return bool(torch.isfinite(torch.stack([end.float() for end in ends])).all())


def encode(tokens: torch.Tensor, dtype: TokenDtype) -> Encoded:
    """Encode (…, D) tokens, for int8 (…, N, D), in `dtype`.

    `refuse_unless_finite` then tells whether they all fit. Nothing here waits for the device.
    """
    if dtype == "int8":
        codes, scales = quantize(tokens)
        return Encoded(codes, *_range(tokens), scales)
    cast = tokens.to(_TORCH[dtype])
    stored = cast.view(torch.uint16) if dtype == "bfloat16" else cast
    return Encoded(stored, *_range(cast))


def decode(stored: torch.Tensor, scales: torch.Tensor | None) -> torch.Tensor:
    """Stored tokens (…, D), bfloat16 as itself, with their scales where they have some → float32."""
    return stored.float() if scales is None else dequantize(stored, scales)


def _range(tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    minimum, maximum = torch.aminmax(tokens)  # NaN and infinity show in them
    return minimum.float(), maximum.float()


def refuse_unless_finite(encoded: Encoded, tokens: torch.Tensor, name: str, dtype: TokenDtype) -> None:
    """Raise `UserError` where the stored tokens hold NaN or infinity, naming what is at fault.

    `tokens`: (…, D), what `encoded` was made from.
    """
    if encoded.finite():
        return
    channels = tokens.float().reshape(-1, tokens.shape[-1])
    bad = ~torch.isfinite(channels).all(dim=0)
    if bool(bad.any()):
        raise UserError(
            f"{name}: the backbone gave NaN or infinite tokens (channel {int(bad.nonzero()[0])}): "
            "check its weights, or compute in higher precision (--amp none)"
        )
    peaks = channels.abs().amax(dim=0)
    largest = LARGEST_FACTOR if dtype == "int8" else torch.finfo(_TORCH[dtype]).max
    raise UserError(
        f"{name}: channel {int(peaks.argmax())} reaches {float(peaks.max()):.4g}, beyond {dtype} "
        f"(largest {largest:.4g}): use --dtype bfloat16 or float32"
    )
