"""DINOv3's official files: storage tokens, a bias whose key part is masked, periods of the rotation."""

from __future__ import annotations

from typing import Any

from extract.checkpoints.layout import Layout, State, renamed

_RENAMED = {".ls1.gamma": ".gamma_1", ".ls2.gamma": ".gamma_2", "storage_tokens": "reg_token"}


def _convert(state: State, model: Any) -> State:
    converted: State = {}
    for name, tensor in renamed(state, _RENAMED).items():
        if name.endswith(".attn.qkv.bias"):  # bias_mask holds the key's third at zero
            block = name.removesuffix("qkv.bias")
            converted[f"{block}q_bias"], _, converted[f"{block}v_bias"] = tensor.chunk(3)
        else:
            converted[name] = tensor
    periods = converted.pop("rope_embed.periods")
    # the official files hold them rounded to bfloat16; timm computes its own, and does not store them
    model.rope.periods.copy_(periods)
    return converted


DINOV3 = Layout(
    "dinov3",
    wrappers=("teacher", "model"),
    prefixes=("module.", "backbone."),
    convert=_convert,
    dropped=("*.bias_mask", "mask_token", "local_cls_norm.*", "dino_head.*", "ibot_head.*"),
)
