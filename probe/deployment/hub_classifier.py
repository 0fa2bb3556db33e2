"""A backbone with a trained head that is loaded from the Hugging Face Hub, or from a folder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from huggingface_hub import ModelCard, PyTorchModelHubMixin
from PIL import Image

from cache import BackboneIdentity, FinalNorm
from configs import BackboneConfig, TransformConfig, UserError
from extract.images import to_rgb
from extract.open_backbone import build_backbone
from extract.transform import DECODING, image_transform, least_side
from probe.deployment.head_description import HeadDescription
from probe.deployment.image_classifier import ImageClassifier
from probe.deployment.same_backbone import KNOWN_ROUTES, precision_of, require_same


class HubClassifier(
    ImageClassifier,
    PyTorchModelHubMixin,
    library_name="frozen-tokens",
    pipeline_tag="image-classification",
    tags=["probing", "frozen-backbone"],
):
    """Normalised images (B, 3, H, W) float32 → logits (B, C).

    `backbone` and `head` are a `BackboneConfig` and a `HeadDescription` as JSON, as `config.json` of the
    repository holds them. All weights are the repository's own, and must be those that the head was trained
    on.
    """

    card: ModelCard | None = None
    """Written beside the weights."""

    def __init__(self, backbone: dict[str, Any], head: dict[str, Any]) -> None:
        described, config = HeadDescription.model_validate(head), BackboneConfig.model_validate(backbone)
        if config.source.partition(":")[0] not in KNOWN_ROUTES:
            raise UserError(
                f"{config.name} is built by code that {config.source} names: nothing from the Hub runs here"
            )
        opened = build_backbone(config, weights="none", amp=precision_of(described.backbone))
        opened.decode_as(described.backbone.transform)
        super().__init__(opened, described.new_probe(), described)

    @classmethod
    def _from_pretrained(cls, **options: Any) -> HubClassifier:
        model: HubClassifier = super()._from_pretrained(**{**options, "strict": True})
        model.require_own_backbone(options["model_id"])
        return model.eval()

    def require_own_backbone(self, where: str) -> None:
        """Raise `UserError` unless the weights, now loaded, are those that the head was trained on."""
        norm = self.backbone.final_norm
        if norm is not None:
            self.backbone.final_norm = FinalNorm(norm.kind, norm.eps, self.norm_weight, self.norm_bias)
        require_same(self.head.backbone, self.backbone, where)

    def classify(self, images: Sequence[Image.Image]) -> list[dict[str, float]]:
        """Class → probability for each image of any size and mode, the most probable first."""
        settings = self.backbone.transform
        transform, least = image_transform(settings), least_side(settings)
        pixels = np.stack([transform(to_rgb(image, least)) for image in images])
        device = next(self.parameters()).device
        probabilities = self.probabilities(torch.from_numpy(pixels).to(device)).float().cpu()
        found = []
        for shares in probabilities:
            order = shares.argsort(descending=True, stable=True).tolist()
            found.append({self.head.classes[number]: float(shares[number]) for number in order})
        return found

    def generate_model_card(self, *arguments: Any, **options: Any) -> ModelCard:
        """The run's card, or, where there is none, that of the Hub's own template."""
        if self.card is not None:
            return self.card
        return super().generate_model_card(*arguments, **options)


def rebuilt_config(config: BackboneConfig, identity: BackboneIdentity) -> BackboneConfig:
    """`config` without weights, with the transform as it was found: what builds the architecture again."""
    found = {name: value for name, value in identity.transform.items() if name not in DECODING}
    transform = TransformConfig.model_validate(found)
    return config.model_copy(update={"weights": "none", "transform": transform})
