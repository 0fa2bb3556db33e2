"""`hf:OWNER/MODEL`, or a folder: vision encoders of the transformers library."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from configs import UserError
from extract.models.token_model import WRAP_IT, TokenModel
from extract.routes.route import optional_package

INTERPOLATIONS = {2: "bilinear", 3: "bicubic", 1: "lanczos"}
"""Pillow's numbers of them, which processors keep."""


def create(name: str, arguments: dict[str, Any], *, pretrained: bool) -> nn.Module:
    """The vision encoder of `name` on the Hub. Raises `UserError` for what is not there, or is none."""
    transformers = optional_package("transformers", f"hf:{name}", "transformers")
    try:
        config = transformers.AutoConfig.from_pretrained(name, **arguments)
        if pretrained:
            model = transformers.AutoModel.from_pretrained(name, config=config, dtype=torch.float32)
        else:
            model = transformers.AutoModel.from_config(config, dtype=torch.float32)
    except (OSError, ValueError, ImportError) as error:
        raise UserError(f"cannot open hf:{name}: {' '.join(str(error).split())}") from None
    encoder = getattr(model, "vision_model", model)  # CLIP and its kin are two towers
    if encoder.main_input_name != "pixel_values":
        raise UserError(f"hf:{name}: {type(model).__name__} takes no images")
    if encoder.config.model_type == "vit_mae":
        raise UserError(
            f"hf:{name}: transformers' {type(model).__name__} leaves out and shuffles patches; give "
            "mae_vitb, mae_vitl or mae_vith, with --weights FILE for weights of your own"
        )
    return TransformersModel(encoder, name, _transform(transformers, name, encoder.config))


def _transform(transformers: Any, name: str, config: Any) -> dict[str, Any]:
    """The transform of the model's image processor in timm's terms; without one, timm's defaults."""
    side = getattr(config, "image_size", None) or 224
    side = side[0] if isinstance(side, list | tuple) else side
    try:
        processor = transformers.AutoImageProcessor.from_pretrained(name)
    except (OSError, ValueError, ImportError):
        return {"input_size": (3, side, side)}
    settings: dict[str, Any] = {
        "mean": tuple(processor.image_mean),
        "std": tuple(processor.image_std),
        "interpolation": INTERPOLATIONS.get(int(processor.resample), "bicubic"),
    }
    size, crop = dict(processor.size or {}), dict(getattr(processor, "crop_size", None) or {})
    if getattr(processor, "do_center_crop", False) and crop and "shortest_edge" in size:
        return settings | {
            "input_size": (3, crop["height"], crop["width"]),
            "crop_pct": crop["height"] / size["shortest_edge"],
        }
    height, width = size.get("height", side), size.get("width", side)
    return settings | {"input_size": (3, height, width), "crop_pct": 1.0, "crop_mode": "squash"}


class TransformersModel(TokenModel):
    """An encoder of transformers, read by its hidden states."""

    def __init__(self, model: Any, name: str, transform: dict[str, Any]) -> None:
        config = model.config
        depth = getattr(config, "num_hidden_layers", None) or len(getattr(config, "depths", ()))
        if not depth:
            raise UserError(
                f"hf:{name}: transformers does not say how many blocks {type(model).__name__} has"
            )
        super().__init__(depth, transform)
        self.name = name
        self.model = model
        self.norm = _final_norm(model)
        self.prefix_roles = _prefix_roles(model)

    def block_states(self, images: torch.Tensor, blocks: Sequence[int]) -> list[torch.Tensor]:
        states = self.model(pixel_values=images, output_hidden_states=True).hidden_states
        states = states[len(states) - len(self.feature_info) :]  # what comes first is the embedding
        self._check_tokens(states[-1], images)
        return [states[block] for block in blocks]

    def _check_tokens(self, state: torch.Tensor, images: torch.Tensor) -> None:
        """Raises `UserError` where there are prefix tokens that we do not know of."""
        patch, is_plain = (
            getattr(self.model.config, "patch_size", None),
            not hasattr(self.model.config, "depths"),
        )
        if state.ndim != 3 or not is_plain or not isinstance(patch, int):
            return
        patches = (images.shape[-2] // patch) * (images.shape[-1] // patch)
        if state.shape[1] != patches + len(self.prefix_roles):
            raise UserError(
                f"hf:{self.name} gives {state.shape[1]} tokens for {patches} patches, and its prefix "
                f"tokens are not known: {WRAP_IT}"
            )

    def forward_features(self, images: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.model(pixel_values=images).last_hidden_state
        return features


def _final_norm(model: Any) -> nn.Module | None:
    names = ("layernorm", "layer_norm", "post_layernorm", "norm", "layernorm_after")
    return next((norm for name in names if isinstance(norm := getattr(model, name, None), nn.Module)), None)


def _prefix_roles(model: Any) -> tuple[str, ...]:
    """From the parameters of the embedding: transformers has no word for prefix tokens."""
    embeddings = getattr(model, "embeddings", model)
    names = {name.rpartition(".")[2]: parameter for name, parameter in embeddings.named_parameters()}
    roles = [
        role
        for role, known in (
            ("cls", ("cls_token", "class_embedding")),
            ("dist", ("distillation_token",)),
        )
        if any(name in names for name in known)
    ]
    registers = names.get("register_tokens")
    return (*roles, *["register"] * (0 if registers is None else registers.shape[1]))
