"""CAPI's official files: the network under `backbone.`, with a decoder that only its pre-training uses."""

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
    prefixes=("module.", "backbone."),
    convert=_convert,
    # blocks of the decoder after its first, which alone gives the global representation; clustering heads
    dropped=("decoder.blocks.*", "head.*", "*_head.*", "teacher_head.*", "student_head.*"),
)
