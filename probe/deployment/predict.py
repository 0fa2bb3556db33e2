"""`probe predict`: from image files to classes, with the backbone and a trained head."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from cache import chosen_device
from extract.image_loader import load_images
from extract.image_views import plain_view
from extract.sources import ImageSource
from probe.attention_maps.maps import patch_maps
from probe.deployment.given_images import given_images
from probe.deployment.head_description import HeadDescription
from probe.deployment.image_classifier import ImageClassifier
from probe.deployment.options import PredictOptions
from probe.deployment.overlays import Overlays
from probe.deployment.same_backbone import open_same_backbone
from probe.fused import decoded
from probe.reporting.finished_runs import printable
from probe.trained_head import TrainedHead, best_trial, load_head

EXIT_UNREADABLE = 1


@dataclass(frozen=True)
class Prediction:
    """An image's classes, most probable first, or why it could not be read."""

    path: str
    classes: tuple[tuple[str, float], ...] = ()
    error: str | None = None

    def in_words(self) -> str:
        """One line."""
        if self.error is not None:
            return printable(f"{self.path}: {self.error}")
        return printable(f"{self.path}: " + ", ".join(f"{name} {share:.1%}" for name, share in self.classes))

    def in_json(self) -> str:
        """One line of JSON."""
        if self.error is not None:
            return json.dumps({"path": self.path, "error": self.error})
        classes = [{"class": name, "probability": share} for name, share in self.classes]
        return json.dumps({"path": self.path, "classes": classes}, ensure_ascii=False)


def predict(options: PredictOptions) -> None:
    """Print a line for each image. Exit code 1 when some could not be read."""
    source = given_images(options.images)
    head = load_head(options.run, best_trial(options.run, options.trial))
    classifier = open_classifier(head, options)
    if not options.json_:
        print(f"{head.run}: {head.trial}, {head.top1:.2f} % top-1 on {_evaluated(head)}", flush=True)
    unreadable = 0
    for prediction in predictions(classifier, source, options):
        unreadable += prediction.error is not None
        if options.json_:
            print(prediction.in_json(), flush=True)
        else:
            print(prediction.in_words(), file=sys.stderr if prediction.error else sys.stdout, flush=True)
    if unreadable:
        print(f"probe: {unreadable} of {len(source)} images could not be read", file=sys.stderr)
        raise SystemExit(EXIT_UNREADABLE)


def open_classifier(head: TrainedHead, options: PredictOptions) -> ImageClassifier:
    """Backbone and head on the device. Raises `UserError` where the backbone is another."""
    backbone = open_same_backbone(
        head.backbone, str(head.run), backbone=options.backbone, weights=options.weights
    )
    as_trained = {"rounding": head.config["stored_dtype"], "precision": head.precision}
    classifier = ImageClassifier(
        backbone, head.probe, HeadDescription.of(head), **(as_trained if options.as_stored else {})
    )
    return classifier.to(chosen_device(options.device)).eval()


def predictions(
    classifier: ImageClassifier, source: ImageSource, options: PredictOptions
) -> Iterator[Prediction]:
    """Of every image of `source`, in order."""
    numbers = range(len(source))
    batches = [numbers[start : start + options.batch_size] for start in numbers[:: options.batch_size]]
    device = next(classifier.parameters()).device
    overlays = None if options.attention is None else Overlays(options.attention, classifier)
    for batch in load_images(
        source,
        np.arange(len(source)),
        batches,
        plain_view(classifier.backbone.transform),
        workers=options.workers if len(batches) > 1 else 0,
        device=device,
    ):
        probabilities, maps = _computed(classifier, batch.images.to(device, non_blocking=True), overlays)
        for row, number in enumerate(batch.records):
            path = source.describe(number)
            if overlays is not None and row not in batch.failures:
                overlays.write(number, path, batch.images[row].cpu(), maps[row])
            if row in batch.failures:
                yield Prediction(path, error=batch.failures[row].removeprefix(f"{path}: "))
            else:
                yield Prediction(path, _first(probabilities[row], classifier.head.classes, options.top))


@torch.inference_mode()
def _computed(
    classifier: ImageClassifier, images: torch.Tensor, overlays: Overlays | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Of (B, 3, H, W) uint8: probabilities (B, C), and the mean map (B, N), or nothing, (B, 0)."""
    tokens = classifier.tokens(classifier.backbone.normalize(images))
    probabilities = classifier.classified(tokens).softmax(dim=-1).cpu()
    if overlays is None:
        return probabilities, torch.empty(len(images), 0)
    return probabilities, patch_maps(classifier.probe, decoded(tokens))[0].mean(dim=1).cpu()


def _first(probabilities: torch.Tensor, classes: tuple[str, ...], top: int) -> tuple[tuple[str, float], ...]:
    shares, numbers = probabilities.topk(min(top, len(classes)))
    return tuple(
        (classes[number], share) for number, share in zip(numbers.tolist(), shares.tolist(), strict=True)
    )


def _evaluated(head: TrainedHead) -> str:
    return f"{head.evaluation.name}/{head.evaluation.split}"
