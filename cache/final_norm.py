"""The backbone's last norm, kept beside tokens that are stored before it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from cache import atomic
from cache.checksum import crc32c
from configs import UserError

FINAL_NORM = "final_norm.safetensors"

NormKind: TypeAlias = Literal["layer_norm", "rms_norm"]


@dataclass(frozen=True)
class FinalNorm:
    """LayerNorm (Ba et al. 2016) or RMSNorm (Zhang & Sennrich 2019) over channels, in float32."""

    kind: NormKind
    eps: float
    weight: torch.Tensor | None
    bias: torch.Tensor | None

    @property
    def description(self) -> str:
        """Kind, eps and checksum of the parameters, for the backbone's identity."""
        parameters = [t.float().cpu().numpy() for t in (self.weight, self.bias) if t is not None]
        checksum = crc32c(b"".join(values.tobytes() for values in parameters))
        return f"{self.kind} eps {self.eps:g} crc32c {checksum:08x}"

    def to(self, device: torch.device) -> FinalNorm:
        """The same norm on `device`."""
        weight = None if self.weight is None else self.weight.to(device)
        bias = None if self.bias is None else self.bias.to(device)
        return FinalNorm(self.kind, self.eps, weight, bias)

    def __call__(self, tokens: torch.Tensor) -> torch.Tensor:
        """(…, D) float32 → the same shape."""
        width = (tokens.shape[-1],)
        if self.kind == "layer_norm":
            return F.layer_norm(tokens, width, self.weight, self.bias, self.eps)
        return F.rms_norm(tokens, width, self.weight, self.eps)

    def save(self, folder: Path) -> None:
        """Write `final_norm.safetensors` into the store `folder`."""
        tensors = {"weight": self.weight, "bias": self.bias}
        content = save(
            {name: t.float().cpu().contiguous() for name, t in tensors.items() if t is not None},
            metadata={"final_norm": json.dumps({"kind": self.kind, "eps": self.eps})},
        )
        atomic.write_bytes(folder / FINAL_NORM, content)


def load_final_norm(folder: Path, expected: str) -> FinalNorm:
    """The norm of the store in `folder`, whose description must be `expected`. Raises `UserError`."""
    path = folder / FINAL_NORM
    try:
        with safe_open(path, framework="pt") as file:
            settings = json.loads(file.metadata()["final_norm"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        norm = FinalNorm(settings["kind"], settings["eps"], tensors.get("weight"), tensors.get("bias"))
        found = norm.description
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is missing or damaged: {error}") from None
    if found != expected:
        raise UserError(f"{path} is damaged: it holds {found}, not {expected}")
    return norm
