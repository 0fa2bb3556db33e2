"""CAPI's official files: the network under `backbone.`, encoder and decoder."""

from __future__ import annotations

from torch import nn

from extract.checkpoints.layout import Layout, State

_RENAMED = {
    ".residual1.fn.": ".attn.",
    ".residual1.norm.": ".norm1.",
    ".residual2.fn.": ".mlp.",
    ".residual2.norm.": ".norm2.",
    "encoder.blocks.": "blocks.",
}


def _convert(state: State, model: nn.Module) -> State:
    converted: State = {}
    for name, tensor in state.items():
        for old, new in _RENAMED.items():
            name = name.replace(old, new)
        converted[name] = tensor
    return converted


CAPI = Layout(
    "capi",
    only="backbone.",
    convert=_convert,
    # the decoder's first block gives the global representation, the others nothing
    dropped=("decoder.blocks.*",),
)
