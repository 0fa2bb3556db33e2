"""Checkpoints in their official layouts, made up: names and shapes, filled by a rule for every machine.

The golden values are what the official repositories' code gave for them, on the CPU in float32.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from configs import BackboneConfig, load_backbone
from extract import Backbone
from extract.open_backbone import build_backbone

Shapes = dict[str, tuple[int, ...]]
State = dict[str, torch.Tensor]

EMBEDDINGS = (
    "pos_embed", "token", "registers", "class_embedding", "positional_embedding",
    "relative_position_bias_table", "embedding_table",
)  # fmt: skip


def noise(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Uniform in [−1, 1), float64."""
    i = torch.arange(math.prod(shape), dtype=torch.float64)
    y = torch.sin(i * 12.9898 + zlib.crc32(name.encode()) % 10007) * 43758.5453
    return ((y - torch.floor(y)) * 2 - 1).reshape(shape)


def fill(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """The tensor that stands under the official name `name`, less wrappers and prefixes."""
    if name.endswith("num_batches_tracked"):
        return torch.tensor(0)
    base, last = noise(name, shape), name.split(".")[-1]
    if last == "running_var":
        value = 1 + 0.5 * base
    elif last in ("gamma", "gamma_1", "gamma_2"):
        value = 0.5 + 0.1 * base
    elif any(word in name for word in EMBEDDINGS):
        value = 0.2 * base
    elif len(shape) == 1 and last == "weight":
        value = 1 + 0.1 * base
    elif len(shape) == 1:
        value = 0.1 * base
    else:
        value = base * math.sqrt(3 / math.prod(shape[1:]))
    return value.float()


def _affine(name: str, dim: int) -> Shapes:
    return {f"{name}.weight": (dim,), f"{name}.bias": (dim,)}


def _linear(name: str, out: int, inside: int, *, bias: bool = True) -> Shapes:
    return {f"{name}.weight": (out, inside)} | ({f"{name}.bias": (out,)} if bias else {})


def _vit_block(name: str, d: int) -> Shapes:
    return {
        **_affine(f"{name}.norm1", d),
        **_linear(f"{name}.attn.qkv", 3 * d, d),
        **_linear(f"{name}.attn.proj", d, d),
        **_affine(f"{name}.norm2", d),
        **_linear(f"{name}.mlp.fc1", 4 * d, d),
        **_linear(f"{name}.mlp.fc2", d, 4 * d),
    }


def _patches(name: str, d: int, patch: int) -> Shapes:
    return {f"{name}.weight": (d, 3, patch, patch), f"{name}.bias": (d,)}


def vit(d: int, depth: int, patch: int = 16, grid: int = 14, cls: bool = True) -> Shapes:
    """MAE, DINO, iBOT, MoCo v3; without `cls`, I-JEPA."""
    shapes: Shapes = {"cls_token": (1, 1, d)} if cls else {}
    shapes |= {"pos_embed": (1, grid**2 + cls, d), **_patches("patch_embed.proj", d, patch)}
    for number in range(depth):
        shapes |= _vit_block(f"blocks.{number}", d)
    return shapes | _affine("norm", d)


def beit(d: int, depth: int, heads: int) -> Shapes:
    """BEiTv2 and SimMIM: the encoder."""
    shapes: Shapes = {
        "cls_token": (1, 1, d),
        "mask_token": (1, 1, d),
        **_patches("patch_embed.proj", d, 16),
        "rel_pos_bias.relative_position_bias_table": (732, heads),
        "rel_pos_bias.relative_position_index": (197, 197),
    }
    for number in range(depth):
        shapes |= _beit_block(f"blocks.{number}", d)
    return shapes | _affine("norm", d)


def _beit_block(name: str, d: int) -> Shapes:
    block = _vit_block(name, d)
    del block[f"{name}.attn.qkv.bias"]
    vectors = ("gamma_1", "gamma_2", "attn.q_bias", "attn.v_bias")
    return block | {f"{name}.{vector}": (d,) for vector in vectors}


def beitv2(d: int, depth: int, heads: int, vocabulary: int) -> Shapes:
    """With its two pre-training blocks and its head."""
    extra = _beit_block("cls_pt_layers.0", d) | _beit_block("cls_pt_layers.1", d)
    return beit(d, depth, heads) | extra | _linear("lm_head", vocabulary, d)


def dinov2(
    d: int, depth: int, registers: int = 0, swiglu: int = 0, chunks: int = 0, grid: int = 37
) -> Shapes:
    """DINOv2; with `swiglu`, that hidden width; with `chunks`, Franca's names."""
    shapes = {"cls_token": (1, 1, d), "pos_embed": (1, grid**2 + 1, d), "mask_token": (1, d)}
    if registers:
        shapes["register_tokens"] = (1, registers, d)
    shapes |= _patches("patch_embed.proj", d, 14)
    for number in range(depth):
        name = f"blocks.{number // (depth // chunks)}.{number}" if chunks else f"blocks.{number}"
        block = _vit_block(name, d) | {f"{name}.ls1.gamma": (d,), f"{name}.ls2.gamma": (d,)}
        if swiglu:
            block = {key: shape for key, shape in block.items() if ".mlp." not in key}
            block |= _linear(f"{name}.mlp.w12", 2 * swiglu, d) | _linear(f"{name}.mlp.w3", d, swiglu)
        shapes |= block
    return shapes | _affine("norm", d)


def dinov3(d: int, depth: int) -> Shapes:
    """The flat file of a distilled model."""
    shapes = {"cls_token": (1, 1, d), "storage_tokens": (1, 4, d), "mask_token": (1, d)}
    shapes |= _patches("patch_embed.proj", d, 16) | {"rope_embed.periods": (16,)}
    for number in range(depth):
        name = f"blocks.{number}"
        shapes |= _vit_block(name, d) | {f"{name}.attn.qkv.bias_mask": (3 * d,)}
        shapes |= {f"{name}.ls1.gamma": (d,), f"{name}.ls2.gamma": (d,)}
    return shapes | _affine("norm", d)


def clip(d: int, depth: int, patch: int, out: int) -> Shapes:
    """The image tower, less `visual.`."""
    shapes = {"class_embedding": (d,), "positional_embedding": ((224 // patch) ** 2 + 1, d)}
    shapes |= {"proj": (d, out), "conv1.weight": (d, 3, patch, patch), **_affine("ln_pre", d)}
    for number in range(depth):
        name = f"transformer.resblocks.{number}"
        shapes |= {f"{name}.attn.in_proj_weight": (3 * d, d), f"{name}.attn.in_proj_bias": (3 * d,)}
        shapes |= _linear(f"{name}.attn.out_proj", d, d) | _affine(f"{name}.ln_1", d)
        shapes |= _linear(f"{name}.mlp.c_fc", 4 * d, d) | _linear(f"{name}.mlp.c_proj", d, 4 * d)
        shapes |= _affine(f"{name}.ln_2", d)
    return shapes | _affine("ln_post", d)


def aimv2(d: int, depth: int, hidden: int) -> Shapes:
    """No [CLS], no biases after the patches."""
    shapes = {"preprocessor.pos_embed": (1, 256, d), **_patches("preprocessor.patchifier.proj", d, 14)}
    shapes["preprocessor.patchifier.norm.weight"] = (d,)
    for number in range(depth):
        name = f"trunk.blocks.{number}"
        shapes |= {
            f"{name}.norm_1.weight": (d,),
            f"{name}.attn.qkv.weight": (3 * d, d),
            f"{name}.attn.proj.weight": (d, d),
            f"{name}.norm_2.weight": (d,),
            f"{name}.mlp.fc1.weight": (hidden, d),
            f"{name}.mlp.fc2.weight": (d, hidden),
            f"{name}.mlp.fc3.weight": (hidden, d),
        }
    return shapes | {"trunk.post_trunk_norm.weight": (d,)}


def capi(d: int, depth: int, decoder_depth: int, heads: int) -> Shapes:
    """Encoder and decoder, less `backbone.`."""
    shapes = {"mask_token": (1, d), "registers": (1, 16, d), **_patches("patch_embed", d, 14)}
    names = [f"encoder.blocks.{number}" for number in range(depth)]
    for name in names + [f"decoder.blocks.{number}" for number in range(decoder_depth)]:
        shapes |= {f"{name}.residual1.norm.weight": (d,), f"{name}.residual2.norm.weight": (d,)}
        for part in ("q_proj", "k_proj", "v_proj", "proj"):
            shapes[f"{name}.residual1.fn.{part}.weight"] = (d, d)
        shapes[f"{name}.residual1.fn.rope.freqs"] = (2, d // heads)
        shapes[f"{name}.residual2.fn.fc1.weight"] = (4 * d, d)
        shapes[f"{name}.residual2.fn.fc2.weight"] = (d, 4 * d)
    return shapes


def dit(c: int, depth: int) -> Shapes:
    """Patches of 2 × 2 latents of 4 channels, 32 × 32 of them."""
    shapes = {"pos_embed": (1, 256, c), "x_embedder.proj.weight": (c, 4, 2, 2), "x_embedder.proj.bias": (c,)}
    shapes |= _linear("t_embedder.mlp.0", c, 256) | _linear("t_embedder.mlp.2", c, c)
    shapes["y_embedder.embedding_table.weight"] = (1001, c)
    for number in range(depth):
        name = f"blocks.{number}"
        shapes |= _linear(f"{name}.attn.qkv", 3 * c, c) | _linear(f"{name}.attn.proj", c, c)
        shapes |= _linear(f"{name}.mlp.fc1", 4 * c, c) | _linear(f"{name}.mlp.fc2", c, 4 * c)
        shapes |= _linear(f"{name}.adaLN_modulation.1", 6 * c, c)
    last = _linear("final_layer.linear", 32, c) | _linear("final_layer.adaLN_modulation.1", 2 * c, c)
    return shapes | last


def resnet50() -> Shapes:
    """torchvision's names, without the classifier."""
    shapes: Shapes = {"conv1.weight": (64, 3, 7, 7), **_batch_norm("bn1", 64)}
    inside = 64
    for layer, (blocks, width) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512)), start=1):
        for block in range(blocks):
            name = f"layer{layer}.{block}"
            kernels = ((width, inside, 1, 1), (width, width, 3, 3), (4 * width, width, 1, 1))
            for number, kernel in enumerate(kernels, start=1):
                shapes |= {
                    f"{name}.conv{number}.weight": kernel,
                    **_batch_norm(f"{name}.bn{number}", kernel[0]),
                }
            if block == 0:
                shapes[f"{name}.downsample.0.weight"] = (4 * width, inside, 1, 1)
                shapes |= _batch_norm(f"{name}.downsample.1", 4 * width)
            inside = 4 * width
    return shapes


def _batch_norm(name: str, width: int) -> Shapes:
    vectors = {f"{name}.{key}": (width,) for key in ("weight", "bias", "running_mean", "running_var")}
    return {**vectors, f"{name}.num_batches_tracked": ()}


FAMILIES: dict[str, Callable[..., Shapes]] = {
    function.__name__: function
    for function in (vit, beit, beitv2, dinov2, dinov3, clip, aimv2, capi, dit, resnet50)
}


def capi_frequencies(head: int) -> torch.Tensor:
    """(2, head): what the official code starts from."""
    f = 7 * (7 / 7e-4) ** torch.linspace(0, -1, head // 4)
    f, nothing = torch.cat([f, f]), torch.zeros(head // 2)
    return 2 * math.pi * torch.stack([torch.cat([f, nothing]), torch.cat([nothing, f])])


def constant(name: str, shape: tuple[int, ...]) -> torch.Tensor | None:
    """The tensors that have a defined value."""
    if name.endswith("relative_position_index"):
        return torch.zeros(shape, dtype=torch.int64)  # no layout uses it
    if name.endswith("rope.freqs"):
        return capi_frequencies(shape[1])
    if name.endswith("rope_embed.periods"):
        return torch.tensor(100.0) ** (2 * torch.arange(16) / 32)
    if name.endswith("bias_mask"):
        return torch.cat([torch.ones(shape[0] // 3), torch.zeros(shape[0] // 3), torch.ones(shape[0] // 3)])
    return None


@pytest.fixture(scope="session")
def official_shapes() -> Callable[..., Shapes]:
    """(family, sizes) → names and shapes of its official file."""
    return lambda family, **sizes: FAMILIES[family](**sizes)


@pytest.fixture(scope="session")
def official_state(official_shapes: Callable[..., Shapes]) -> Callable[..., State]:
    """(family, sizes) → its tensors, filled."""

    def filled(family: str, **sizes: Any) -> State:
        state = {}
        for name, shape in official_shapes(family, **sizes).items():
            value = constant(name, shape)
            state[name] = fill(name, shape) if value is None else value
        return state

    return filled


@pytest.fixture(scope="session")
def made_up() -> Callable[[str, tuple[int, ...]], torch.Tensor]:
    """(name, shape) → noise in [−1, 1), float32."""
    return lambda name, shape: noise(name, shape).float()


@pytest.fixture
def opened(tmp_path: Path) -> Callable[..., Backbone]:
    """(name, arguments, file content) → the named backbone at another size, with weights from such a file."""

    def build(name: str, arguments: Mapping[str, Any], content: object, **changes: Any) -> Backbone:
        config: BackboneConfig = load_backbone(name)
        changes["arguments"] = {**config.arguments, **arguments}
        torch.save(content, tmp_path / "official.pth")
        return build_backbone(config.model_copy(update=changes), weights=str(tmp_path / "official.pth"))

    return build


@pytest.fixture
def all_tokens(
    made_up: Callable[[str, tuple[int, ...]], torch.Tensor],
) -> Callable[..., dict[str, torch.Tensor]]:
    """A backbone's tokens of the golden input, prefix first, before (pre) and after (post) its final norm."""

    @torch.inference_mode()
    def read(backbone: Backbone, side: int = 224) -> dict[str, torch.Tensor]:
        images = made_up("input", (2, 3, side, side))
        (last,) = backbone.read(images, [len(backbone.blocks) - 1])
        pre = last.patches if last.prefix is None else torch.cat([last.prefix, last.patches], dim=1)
        return {"pre": pre, "post": pre if backbone.final_norm is None else backbone.final_norm(pre)}

    return read


@pytest.fixture(scope="session")
def golden() -> dict[str, dict[str, Any]]:
    """Case → what the official code gave."""
    text = Path(__file__).with_name("golden.yaml").read_text(encoding="utf-8")
    return {case: {**row, "shape": tuple(row["shape"])} for case, row in yaml.safe_load(text).items()}


@pytest.fixture(scope="session")
def differs() -> Callable[[torch.Tensor, Mapping[str, Any]], bool]:
    """Whether tokens are another thing than a golden record says, at 2e-4."""

    def compare(tokens: torch.Tensor, golden: Mapping[str, Any]) -> bool:
        found = [
            tokens.mean()[None], tokens.std(correction=0)[None], tokens[0, 0, :4], tokens[1, -1, -4:],
        ]  # fmt: skip
        wanted = torch.tensor([golden["mean"], golden["std"], *golden["first"], *golden["last"]])
        return tuple(tokens.shape) != golden["shape"] or not torch.allclose(
            torch.cat(found), wanted, rtol=0, atol=2e-4
        )

    return compare
