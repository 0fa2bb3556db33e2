"""OpenAI's CLIP: the image tower under `visual.`, with the names of its own transformer."""

from __future__ import annotations

from torch import nn

from extract.checkpoints.layout import Layout, State, renamed

_RENAMED = {
    "conv1.": "patch_embed.proj.",
    "class_embedding": "cls_token",
    "positional_embedding": "pos_embed",
    "transformer.resblocks.": "blocks.",
    "ln_pre.": "norm_pre.",
    "ln_post.": "norm.",
    "ln_1.": "norm1.",
    "ln_2.": "norm2.",
    "in_proj_": "qkv.",
    "out_proj.": "proj.",
    "mlp.c_fc.": "mlp.fc1.",
    "mlp.c_proj.": "mlp.fc2.",
}


def _convert(state: State, model: nn.Module) -> State:
    converted = renamed(state, _RENAMED)
    converted["cls_token"] = converted["cls_token"][None, None]
    converted["pos_embed"] = converted["pos_embed"][None]
    return converted


# `proj` maps the pooled class token to the space it shares with text
CLIP = Layout("clip", only="visual.", convert=_convert, dropped=("proj",))
