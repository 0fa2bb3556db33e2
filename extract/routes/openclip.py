"""`openclip:MODEL` and `openclip:MODEL/PRETRAINED`: image towers of OpenCLIP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from configs import UserError, unknown_name
from extract.models.token_model import TokenModel
from extract.routes.route import optional_package


def create(name: str, arguments: dict[str, Any], *, pretrained: bool) -> nn.Module:
    """The image tower of MODEL with the weights PRETRAINED. Raises `UserError` for unknown names."""
    open_clip = optional_package("open_clip", f"openclip:{name}", "openclip")
    architecture, _, tag = name.partition("/")
    if architecture not in open_clip.list_models():
        raise unknown_name("OpenCLIP model", architecture, open_clip.list_models())
    if pretrained and tag not in open_clip.list_pretrained_tags_by_model(architecture):
        tags = open_clip.list_pretrained_tags_by_model(architecture)
        raise unknown_name(f"pre-training tag of {architecture}", tag, tags)
    if pretrained:
        _check_activation(open_clip, architecture, tag)
    try:
        model = open_clip.create_model(
            architecture,
            pretrained=tag if pretrained else None,
            device=torch.get_default_device(),  # `meta` where only the geometry is asked for
            **arguments,
        )
    except Exception as error:  # the network, the Hub and the model's own checks raise of every kind
        raise UserError(f"cannot open openclip:{name}: {' '.join(str(error).split())}") from None
    return _tower(model.visual, name)


def _check_activation(open_clip: Any, architecture: str, tag: str) -> None:
    """Raises `UserError` where OpenCLIP would run weights with another GELU than they were trained with."""
    trained = bool(open_clip.get_pretrained_cfg(architecture, tag).get("quick_gelu"))
    built = bool(open_clip.get_model_config(architecture).get("quick_gelu"))
    if trained and not built:
        raise UserError(
            f"openclip:{architecture}/{tag}: these weights were trained with QuickGELU, and {architecture} "
            f"has GELU; give openclip:{architecture}-quickgelu/{tag}"
        )


def _tower(visual: Any, name: str) -> nn.Module:
    settings = visual.preprocess_cfg
    size = settings["size"]
    height, width = (size, size) if isinstance(size, int) else size
    transform = {
        "input_size": (3, height, width),
        "mean": settings["mean"],
        "std": settings["std"],
        "interpolation": settings["interpolation"],
        "crop_pct": 1.0,
        "crop_mode": "squash" if settings["resize_mode"] == "squash" else "center",
    }
    if hasattr(visual, "trunk"):  # a timm model
        visual.trunk.pretrained_cfg = transform
        trunk: nn.Module = visual.trunk
        return trunk
    if not hasattr(visual, "ln_post"):
        raise UserError(
            f"openclip:{name}: only its vision transformers give tokens, not {type(visual).__name__}"
        )
    return OpenClipModel(visual, transform)


class OpenClipModel(TokenModel):
    """OpenCLIP's own vision transformer: [CLS] and patches."""

    prefix_roles = ("cls",)

    def __init__(self, visual: Any, transform: dict[str, Any]) -> None:
        super().__init__(len(visual.transformer.resblocks), transform)
        self.visual = visual
        self.norm = visual.ln_post

    def block_states(self, images: torch.Tensor, blocks: Sequence[int]) -> list[torch.Tensor]:
        found = self.visual.forward_intermediates(
            images,
            indices=list(blocks),
            normalize_intermediates=False,
            intermediates_only=True,
            output_fmt="NLC",
            output_extra_tokens=True,
        )
        pairs = zip(found["image_intermediates_prefix"], found["image_intermediates"], strict=True)
        return [torch.cat(pair, dim=1) for pair in pairs]
