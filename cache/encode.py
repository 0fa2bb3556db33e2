"""From a backbone's float tokens to what is stored, on the device that computed them."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from cache.arrays import TokenDtype
from configs import UserError

_TORCH: dict[str, torch.dtype] = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
}


@dataclass(frozen=True)
class Encoded:
    """Tokens in a storage dtype, with the range that the shard's record states (0-d float32)."""

    tokens: torch.Tensor
    minimum: torch.Tensor
    maximum: torch.Tensor


def encode(tokens: torch.Tensor, dtype: TokenDtype) -> Encoded:
    """Cast (…, D) tokens to `dtype`. `refuse_unless_finite` then tells whether they all fit.

    Nothing here waits for the device.
    """
    cast = tokens.to(_TORCH[dtype])
    if dtype == "bfloat16":
        return Encoded(cast.view(torch.uint16), *_range(cast))
    return Encoded(cast, *_range(cast))


def _range(tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    minimum, maximum = torch.aminmax(tokens)  # NaN and infinity show in them
    return minimum.float(), maximum.float()


def refuse_unless_finite(encoded: Encoded, tokens: torch.Tensor, name: str, dtype: TokenDtype) -> None:
    """Raise `UserError` where the stored tokens hold NaN or infinity, naming what is at fault.

    `tokens`: (…, D), what `encoded` was made from.
    """
    if bool(torch.isfinite(encoded.minimum) & torch.isfinite(encoded.maximum)):
        return
    channels = tokens.float().reshape(-1, tokens.shape[-1])
    bad = ~torch.isfinite(channels).all(dim=0)
    if bool(bad.any()):
        raise UserError(
            f"{name}: the backbone gave NaN or infinite tokens (channel {int(bad.nonzero()[0])}): "
            "check its weights, or compute in higher precision (--amp none)"
        )
    peaks = channels.abs().amax(dim=0)
    raise UserError(
        f"{name}: channel {int(peaks.argmax())} reaches {float(peaks.max()):.4g}, beyond {dtype} "
        f"(largest {torch.finfo(_TORCH[dtype]).max:.4g}): use --dtype bfloat16 or float32"
    )
