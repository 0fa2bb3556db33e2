"""Pretrain the bundled backbone: a masked autoencoder on the train part of the digits.

The method is He et al., "Masked Autoencoders Are Scalable Vision Learners" (2022, arXiv
2111.06377): hide 75 % of the patches, encode [CLS] and the visible rest, let a light decoder paint
the hidden ones, take the squared error there. Labels and test images are never read.

    python -m extract.bundled.pretrain_mae_digits

About 2 minutes on 2 CPU cores (122 s measured). Probes on the frozen tokens of the last block
before the final norm (AdamW, learning rate 1e-3, 100 epochs, batches of 128) reach on the 360
test images, as a mean over seeds 0–4: 94.9 % from [CLS], 94.0 % from the mean patch token,
98.5 % from attentive pooling with 16 queries. The gap depends on the probe's schedule: at
learning rate 1e-2 and 50 epochs they reach 96.9 %, 97.1 % and 98.9 %.

Shape suffixes: B images, C channels, H and W pixels, N patches, V visible patches, T tokens
([CLS] first), D encoder width, E decoder width, P pixel values of one patch.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as TF

from extract.sources.digits import DigitsSource

WEIGHTS = Path(__file__).with_name("mae_digits.safetensors")
IMAGE_SIZE, PATCH_SIZE, CHANNELS = 32, 4, 3
GRID = IMAGE_SIZE // PATCH_SIZE
PATCHES = GRID * GRID
WIDTH, DEPTH, HEADS, MLP_RATIO = 96, 6, 6, 2.0
DECODER_WIDTH, DECODER_DEPTH, DECODER_HEADS = 64, 2, 4
MASK_RATIO = 0.75
BATCH_SIZE, LEARNING_RATE, WEIGHT_DECAY, BETAS = 128, 1.5e-3, 0.05, (0.9, 0.95)
WARM_UP_SHARE = 0.1
MAX_DEGREES, MAX_SHIFT, MAX_ZOOM = 10.0, 3.0, 0.1
"""Augmentation: rotation in degrees, shift in pixels of the scaled image, relative zoom."""
THREADS = 2


def build_encoder() -> VisionTransformer:
    """The ViT whose state dict ships: 459,936 parameters, 64 patch tokens of width 96."""
    encoder = timm.create_model(
        "vit_tiny_patch16_224",
        pretrained=False,
        num_classes=0,
        img_size=IMAGE_SIZE,
        patch_size=PATCH_SIZE,
        embed_dim=WIDTH,
        depth=DEPTH,
        num_heads=HEADS,
        mlp_ratio=MLP_RATIO,
    )
    assert isinstance(encoder, VisionTransformer)
    return encoder


def load_images() -> Tensor:
    """Every train image as timm's evaluation transform would give it: BCHW in [−1, 1]."""
    source = DigitsSource("train")
    size = [IMAGE_SIZE, IMAGE_SIZE]
    images = [source.load(index).convert("RGB") for index in range(len(source))]
    resized = [TF.resize(image, size, InterpolationMode.BICUBIC) for image in images]
    return torch.stack([TF.to_tensor(image) for image in resized]) * 2 - 1


def augment(x_BCHW: Tensor) -> Tensor:
    """Rotate, zoom and shift every image a little, each by its own random amount; BCHW."""
    angle_B, zoom_B, right_B, down_B = torch.rand(4, len(x_BCHW)) * 2 - 1
    angle_B = angle_B * math.radians(MAX_DEGREES)
    zoom_B = 1 + zoom_B * MAX_ZOOM
    # affine_grid counts in half image sides
    right_B, down_B = (shift_B * 2 * MAX_SHIFT / IMAGE_SIZE for shift_B in (right_B, down_B))
    cos_B, sin_B = zoom_B * angle_B.cos(), zoom_B * angle_B.sin()
    matrix_B23 = torch.stack([cos_B, -sin_B, right_B, sin_B, cos_B, down_B], 1).view(-1, 2, 3)
    grid_BHW2 = F.affine_grid(matrix_B23, list(x_BCHW.shape), align_corners=False)
    # black is −1, but grid_sample pads with 0
    return F.grid_sample(x_BCHW + 1, grid_BHW2, align_corners=False) - 1


def patchify(x_BCHW: Tensor) -> Tensor:
    """Cut images into patches, row by row; BNP."""
    x_BPN = F.unfold(x_BCHW, PATCH_SIZE, stride=PATCH_SIZE)
    return x_BPN.transpose(1, 2)


def sine_positions(width: int) -> Tensor:
    """Sine and cosine of row and column, a quarter of `width` each, zeros for [CLS]; (1, T, width).

    Fixed, as in the paper: 1,437 images are few to learn positions from.
    """
    frequency_F = 10000 ** -(torch.arange(width // 4) / (width // 4))
    angle_GF = torch.arange(GRID)[:, None] * frequency_F
    axis_GF = torch.cat([angle_GF.sin(), angle_GF.cos()], dim=1)
    rows_NF = axis_GF.repeat_interleave(GRID, dim=0)
    columns_NF = axis_GF.repeat(GRID, 1)
    positions_ND = torch.cat([rows_NF, columns_NF], dim=1)
    return torch.cat([torch.zeros(1, width), positions_ND])[None]


class MaskedAutoencoder(nn.Module):
    """The encoder, and the decoder that is thrown away after pretraining."""

    decoder_positions: Tensor

    def __init__(self, encoder: VisionTransformer) -> None:
        super().__init__()
        self.encoder = encoder
        self.encoder.pos_embed = nn.Parameter(sine_positions(WIDTH), requires_grad=False)
        self.to_decoder = nn.Linear(WIDTH, DECODER_WIDTH)
        self.mask_token = nn.Parameter(0.02 * torch.randn(1, 1, DECODER_WIDTH))
        self.register_buffer("decoder_positions", sine_positions(DECODER_WIDTH))
        blocks = [Block(DECODER_WIDTH, DECODER_HEADS, MLP_RATIO, qkv_bias=True) for _ in range(DECODER_DEPTH)]
        self.decoder = nn.Sequential(*blocks, nn.LayerNorm(DECODER_WIDTH))
        self.to_pixels = nn.Linear(DECODER_WIDTH, PATCH_SIZE * PATCH_SIZE * CHANNELS)

    def encode(self, x_BCHW: Tensor, visible_BV: Tensor) -> Tensor:
        """Tokens of [CLS] and the visible patches, after the final norm; (B, 1 + V, D)."""
        encoder = self.encoder
        positions_1TD = encoder.get_parameter("pos_embed")
        patches_BND = encoder.patch_embed(x_BCHW) + positions_1TD[:, 1:]
        visible_BVD = patches_BND.gather(1, visible_BV[..., None].expand(-1, -1, WIDTH))
        cls_11D = encoder.get_parameter("cls_token") + positions_1TD[:, :1]
        tokens_BTD = torch.cat([cls_11D.expand(len(x_BCHW), -1, -1), visible_BVD], dim=1)
        encoded_BTD: Tensor = encoder.norm(encoder.blocks(tokens_BTD))
        return encoded_BTD

    def decode(self, tokens_BTD: Tensor, visible_BV: Tensor) -> Tensor:
        """Pixels of all patches, from the tokens of the visible ones; BNP."""
        tokens_BTE = self.to_decoder(tokens_BTD)
        place_BVE = visible_BV[..., None].expand(-1, -1, DECODER_WIDTH)
        masked_BNE = self.mask_token.expand(len(tokens_BTE), PATCHES, -1)
        patches_BNE = masked_BNE.scatter(1, place_BVE, tokens_BTE[:, 1:])
        all_BTE = torch.cat([tokens_BTE[:, :1], patches_BNE], dim=1) + self.decoder_positions
        pixels_BNP: Tensor = self.to_pixels(self.decoder(all_BTE)[:, 1:])
        return pixels_BNP

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Mean squared error over the masked patches' pixels; a scalar."""
        order_BN = torch.rand(len(x_BCHW), PATCHES).argsort(dim=1)
        visible_BV = order_BN[:, : round(PATCHES * (1 - MASK_RATIO))]
        error_BNP = self.decode(self.encode(x_BCHW, visible_BV), visible_BV) - patchify(x_BCHW)
        masked_BN = torch.ones(order_BN.shape).scatter(1, visible_BV, 0.0)
        return (error_BNP.square().mean(dim=2) * masked_BN).sum() / masked_BN.sum()


def build_optimizer(model: nn.Module) -> torch.optim.AdamW:
    """AdamW that decays matrices only, not biases and norms."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": WEIGHT_DECAY},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=BETAS)


def schedule(step: int, steps: int) -> float:
    """Share of the peak learning rate: linear warm-up, then half a cosine down to 0."""
    warm_up = max(1, round(WARM_UP_SHARE * steps))
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / (steps - warm_up)))


def pretrain(images_BCHW: Tensor, epochs: int, seed: int) -> VisionTransformer:
    """Train a masked autoencoder on `images_BCHW` and return its encoder."""
    torch.manual_seed(seed)
    model = MaskedAutoencoder(build_encoder()).train()
    optimizer = build_optimizer(model)
    steps = epochs * math.ceil(len(images_BCHW) / BATCH_SIZE)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: schedule(step, steps))
    for epoch in range(1, epochs + 1):
        total = 0.0
        for index_B in torch.split(torch.randperm(len(images_BCHW)), BATCH_SIZE):
            loss = model(augment(images_BCHW[index_B]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            total += loss.item() * len(index_B)
        if epoch % 10 == 0 or epoch == epochs:
            print(f"epoch {epoch}/{epochs}  loss {total / len(images_BCHW):.4f}", flush=True)
    return model.encoder


def save(encoder: VisionTransformer, path: Path) -> None:
    """Write the state dict as float16: half the bytes, and the probes see no difference."""
    state = {name: value.half().contiguous() for name, value in encoder.state_dict().items()}
    save_file(state, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="file to write")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(THREADS)
    start = time.perf_counter()
    encoder = pretrain(load_images(), arguments.epochs, arguments.seed)
    save(encoder, arguments.out)
    size = arguments.out.stat().st_size
    print(f"{arguments.out}: {size:,} bytes, {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
