"""Pictures of where a probe looks, of images that are predicted."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image

from configs import UserError
from probe.attention_maps.maps import has_maps
from probe.attention_maps.overlay import overlay
from probe.deployment.image_classifier import ImageClassifier


class Overlays:
    """Writes pictures into `folder`. Raises `UserError` where that cannot be, or there are no maps."""

    def __init__(self, folder: Path, classifier: ImageClassifier) -> None:
        head = classifier.head
        if not has_maps(classifier.probe) or len(head.grid) != 2:
            raise UserError(
                f"--attention: {head.probe} has no maps over an image; choose an attentive --trial"
            )
        self._folder, self._grid = folder, head.grid
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot make {folder} ({error.strerror}): give another --attention") from None

    def write(self, number: int, path: str, image: torch.Tensor, weights: torch.Tensor) -> None:
        """`NUMBER-STEM.png`, as images may share a name. image (3, H, W) uint8, weights (N,)."""
        picture = overlay(image.permute(1, 2, 0).numpy(), weights.reshape(self._grid).numpy())
        target = self._folder / f"{number:05}-{Path(path).stem}.png"
        try:
            Image.fromarray(picture).save(target)
        except OSError as error:
            raise UserError(f"cannot write {target} ({error.strerror or error})") from None
