"""AIMv2's official files: preprocessor and trunk."""

from __future__ import annotations

from torch import nn

from extract.checkpoints.layout import Layout, State, renamed

_RENAMED = {
    "preprocessor.patchifier.": "patch_embed.",
    "preprocessor.": "",
    "trunk.post_trunk_norm.": "norm.",
    "trunk.": "",
    ".norm_1.": ".norm1.",
    ".norm_2.": ".norm2.",
    ".mlp.fc1.": ".mlp.fc1_g.",  # the gate
    ".mlp.fc3.": ".mlp.fc1_x.",
}


def _convert(state: State, model: nn.Module) -> State:
    return renamed(state, _RENAMED)


AIMV2 = Layout("aimv2", convert=_convert)
