"""From a batch of images to the arrays of their records, encoded on the device."""

from __future__ import annotations

import torch

from cache import THUMBNAILS, Encoded, SplitManifest, array_name, encode
from extract.backbone import Backbone, BlockTokens
from extract.image_loader import ImageBatch
from extract.thumbnails import thumbnails


def shard_batches(manifest: SplitManifest, shard: int, batch_size: int) -> list[list[int]]:
    """The records of `shard` in batches. None crosses a shard, so that these are always the same batches."""
    first, records = shard * manifest.shard_size, manifest.shard_records(shard)
    starts = range(first, first + records, batch_size)
    return [list(range(start, min(start + batch_size, first + records))) for start in starts]


def encode_batch(
    batch: ImageBatch, backbone: Backbone, manifest: SplitManifest, device: torch.device
) -> dict[str, tuple[Encoded, torch.Tensor]]:
    """Array name → its values for the batch, encoded, and what they were encoded from; both (B, …)."""
    images = batch.images.to(device, non_blocking=True)
    tokens = backbone(images, manifest.blocks)
    encoded = {}
    for block, found in tokens.items():
        for kind, values in _arrays_of(found, backbone, list(batch.failures)).items():
            name = array_name(block, kind)
            dtype = manifest.array(name).dtype
            assert dtype != "int64"
            assert dtype != "uint8"
            encoded[name] = encode(values, dtype), values
    for spec in manifest.arrays:
        if spec.name == THUMBNAILS and batch.view == 0:
            small = thumbnails(images, spec)
            encoded[spec.name] = Encoded(small, *torch.aminmax(small)), small
    return encoded


@torch.inference_mode()
def _arrays_of(tokens: BlockTokens, backbone: Backbone, failed: list[int]) -> dict[str, torch.Tensor]:
    """The arrays of a block, by kind. Rows of images that could not be read are zeros."""
    patches = tokens.patches.float()
    found = {"patches": patches, "mean": patches.mean(dim=1)}
    if tokens.prefix is not None:
        found["prefix"] = tokens.prefix.float()
    norm = backbone.final_norm
    if norm is not None and patches.shape[-1] == backbone.blocks[-1].dim:
        found["mean_normed"] = norm(patches).mean(dim=1)
    if failed:
        for values in found.values():
            values[failed] = 0
    return found
