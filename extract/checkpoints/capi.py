"""CAPI's official files: the network under `backbone.`, encoder and decoder."""

from __future__ import annotations

from torch import nn

from extract.checkpoints.layout import Layout, State, renamed

_RENAMED = {
    ".residual1.fn.": ".attn.",
    ".residual1.norm.": ".norm1.",
    ".residual2.fn.": ".mlp.",
    ".residual2.norm.": ".norm2.",
    "encoder.blocks.": "blocks.",
}


def _convert(state: State, model: nn.Module) -> State:
    return renamed(state, _RENAMED)


CAPI = Layout(
    "capi",
    only="backbone.",
    convert=_convert,
    # the decoder's first block gives the global representation, the others nothing
    dropped=("decoder.blocks.*",),
)
