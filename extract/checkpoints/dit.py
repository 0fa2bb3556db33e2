"""DiT's official file, beside which the encoder of Stable Diffusion's VAE is needed."""

from __future__ import annotations

import safetensors.torch
from huggingface_hub import hf_hub_download
from torch import nn

from configs import UserError
from extract.checkpoints.layout import Layout, State, renamed

VAE = "stabilityai/sd-vae-ft-mse"

_RENAMED = {
    "x_embedder.proj.": "x_embedder.",
    "t_embedder.mlp.": "t_embedder.",
    "y_embedder.embedding_table.": "y_embedder.",
    ".attn.": ".",
    ".mlp.": ".",
    ".adaLN_modulation.1.": ".modulation.",
}
_OLD_ATTENTION = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}


def _convert(state: State, model: nn.Module) -> State:
    if "x_embedder.proj.weight" not in state or not hasattr(model, "vae"):
        raise ValueError("no DiT")  # before anything is downloaded
    vae = {name: tensor for name, tensor in state.items() if name.startswith("vae.")}
    own = {name: tensor for name, tensor in state.items() if name not in vae}
    return (vae or _vae_encoder()) | renamed(own, _RENAMED)


def _vae_encoder() -> State:
    """The VAE's encoder from the Hub. Raises `UserError` without a connection."""
    try:
        path = hf_hub_download(VAE, "diffusion_pytorch_model.safetensors")
    except OSError as error:
        raise UserError(
            f"DiT needs the VAE {VAE} from the Hugging Face Hub: {str(error).splitlines()[0]}"
        ) from None
    return vae_encoder(safetensors.torch.load_file(path))


def vae_encoder(state: State) -> State:
    """The encoder's tensors of a VAE in diffusers' names, old and new, under `vae.`."""
    converted: State = {}
    for name, tensor in renamed(state, _OLD_ATTENTION).items():
        if not name.startswith(("encoder.", "quant_conv.")):
            continue
        is_convolution = ".attentions." in name and tensor.ndim == 4  # old files have 1 × 1 convolutions
        converted[f"vae.{name}"] = tensor[:, :, 0, 0] if is_convolution else tensor
    return converted


DIT = Layout(
    "dit",
    wrappers=("ema", "state_dict", "model"),
    convert=_convert,
    # the last layer turns tokens into predicted noise
    dropped=("final_layer.*",),
)
