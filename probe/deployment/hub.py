"""`probe export --save-pretrained` and `--push-to-hub`."""

from __future__ import annotations

from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import torch

from configs import UserError
from extract.backbone import Backbone
from probe.deployment.head_description import HeadDescription
from probe.deployment.hub_classifier import HubClassifier, rebuilt_config
from probe.deployment.image_classifier import ImageClassifier
from probe.deployment.model_card import model_card
from probe.deployment.options import ExportOptions
from probe.deployment.same_backbone import open_same_backbone, same_config
from probe.trained_head import TrainedHead

EXIT_DIFFERS = 1
CHECKED_IMAGES = 2


def publish(head: TrainedHead, options: ExportOptions) -> None:
    """Write the folder, upload the repository, or both.

    Exit code 1 where the folder, loaded again, gives other logits than the module does.
    """
    whose = str(head.run)
    opened = open_same_backbone(head.backbone, whose, backbone=options.backbone, weights=options.weights)
    model = hub_classifier(head, opened, options)
    if options.save_pretrained is not None:
        _save(model, head, options.save_pretrained, opened.licence)
    if options.push_to_hub is not None:
        model.card = model_card(head, options.push_to_hub, opened.licence)
        print(_pushed(model, options.push_to_hub, private=options.private))


def hub_classifier(head: TrainedHead, opened: Backbone, options: ExportOptions) -> HubClassifier:
    """The head and the opened backbone's weights in a module that the Hub's library saves and loads."""
    described = HeadDescription.of(head)
    config = rebuilt_config(same_config(head.backbone, str(head.run), options.backbone), head.backbone)
    model = HubClassifier(backbone=config.model_dump(mode="json"), head=described.model_dump(mode="json"))
    model.load_state_dict(ImageClassifier(opened, head.probe, described).state_dict())
    model.require_own_backbone(str(head.run))
    return model.eval()


def _save(model: HubClassifier, head: TrainedHead, folder: Path, licence: str | None) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} exists and is not an empty folder: give another --save-pretrained")
    model.card = model_card(head, str(folder), licence)
    try:
        model.save_pretrained(folder)
    except OSError as error:
        raise UserError(f"cannot write {folder} ({error.strerror or error}): give another folder") from None
    with redirect_stdout(StringIO()):  # the Hub's library says where it loads from
        loaded = HubClassifier.from_pretrained(folder)
    difference = _difference(model, loaded)
    if difference:
        print(f"{folder}: loaded again, its logits differ by up to {difference:.2g} from the module's")
        raise SystemExit(EXIT_DIFFERS)
    names = ", ".join(sorted(path.name for path in folder.iterdir()))
    print(f"{folder}: {names}; loaded again, it gives the same logits")


@torch.inference_mode()
def _difference(ours: HubClassifier, theirs: HubClassifier) -> float:
    drawn = torch.Generator().manual_seed(0)
    images = torch.randn(CHECKED_IMAGES, *ours.backbone.transform["input_size"], generator=drawn)
    return float((ours(images) - theirs(images)).abs().max())


def _pushed(model: HubClassifier, repository: str, *, private: bool) -> str:
    try:
        return str(model.push_to_hub(repository, private=private or None))
    except Exception as error:  # the network, the Hub and its checks of names raise of every kind
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")
        raise UserError(
            f"cannot push to {repository}: {reason}; log in with `hf auth login`, or write a folder with "
            "--save-pretrained"
        ) from None
