"""BYOL's ResNet-50: OpenMMLab's file, and DeepMind's in Haiku's names."""

from __future__ import annotations

import re

import torch
from torch import nn

from extract.checkpoints.layout import Layout, State

BYOL_MM = Layout(
    "byol_mm",
    wrappers=("state_dict",),
    prefixes=("module.", "backbone."),  # `backbone` is the online network
    dropped=("neck.*", "head.*", "target_net.*", "data_preprocessor.*"),
)

_PARAMETERS = {
    "w": "weight",
    "scale": "weight",
    "offset": "bias",
    "mean_ema/average": "running_mean",
    "var_ema/average": "running_var",
}
_HAIKU = re.compile(
    r"(?:.*?/)?(?:block_group_(?P<group>\d)/~/block_(?P<block>\d)/~/)?"
    r"(?P<part>initial_|shortcut_)?(?P<kind>conv|batchnorm)(?:_(?P<number>\d))?/(?:~/)?(?P<rest>\w.*)"
)


def _from_haiku(state: State, model: nn.Module) -> State:
    converted: State = {}
    for name, tensor in state.items():
        found = _HAIKU.fullmatch(name)
        if found is None or found["rest"] not in _PARAMETERS:
            converted[name] = tensor
            continue
        module, parameter = _torch_module(found), _PARAMETERS[found["rest"]]
        is_kernel = found["rest"] == "w"
        converted[f"{module}.{parameter}"] = tensor.permute(3, 2, 0, 1) if is_kernel else tensor.flatten()
        if parameter == "running_mean":
            converted[f"{module}.num_batches_tracked"] = torch.tensor(0)
    return converted


def _torch_module(found: re.Match[str]) -> str:
    """`res_net50/~/block_group_0/~/block_1/~/conv_2/w` → `layer1.1.conv3`."""
    kind = "conv" if found["kind"] == "conv" else "bn"
    module = f"{kind}{int(found['number'] or 0) + 1}"
    if found["part"] == "shortcut_":
        module = "downsample.0" if kind == "conv" else "downsample.1"
    if found["group"] is None:
        return module
    return f"layer{int(found['group']) + 1}.{found['block']}.{module}"


# the file is a pickle of JAX arrays: configs/backbones/byol_rn50_deepmind.yaml says what to make of it
BYOL_DEEPMIND = Layout(
    "byol_deepmind",
    convert=_from_haiku,
    dropped=("*/hidden", "*/counter", "*projector/*", "*predictor/*", "*classifier/*"),
)
