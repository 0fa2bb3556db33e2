"""What a published head says of itself, written from its run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from probe.names import probe_spec
from probe.reporting.finished_runs import printable
from probe.trained_head import TrainedHead, list_heads

HUB_LICENCES = ("apache-2.0", "mit", "cc-by-nc-4.0")
"""What the Hub calls licences that backbones here have; others are `other`, by name."""

SHOWN_CLASSES = 20


def model_card(head: TrainedHead, repository: str, licence: str | None) -> ModelCard:
    """The card of `head` and its backbone in `repository`: a name on the Hub, or a folder."""
    return ModelCard(
        f"---\n{_data(head, licence).to_yaml()}\n---\n\n" + "\n".join(_lines(head, repository, licence))
    )


def _data(head: TrainedHead, licence: str | None) -> ModelCardData:
    evaluation, known = head.evaluation, (licence or "").lower() in HUB_LICENCES
    measured = {"accuracy": head.top1, "top-5 accuracy": head.row["top5_last"]}
    return ModelCardData(
        library_name="frozen-tokens",
        pipeline_tag="image-classification",
        tags=["frozen-backbone", "model_hub_mixin", "probing", "pytorch_model_hub_mixin"],
        license=(licence or "").lower() if known else "other" if licence else None,
        license_name=licence.lower().replace(" ", "-") if licence and not known else None,
        model_name=f"{head.name} on {head.backbone.name}",
        eval_results=[
            EvalResult(
                task_type="image-classification",
                dataset_type=evaluation.name,
                dataset_name=evaluation.name,
                dataset_split=evaluation.split,
                metric_type="accuracy",
                metric_name=name,
                metric_value=round(value, 4),
            )
            for name, value in measured.items()
        ],
    )


def _lines(head: TrainedHead, repository: str, licence: str | None) -> Iterator[str]:
    yield f"# {head.name} on {head.backbone.name}, {head.train.name}"
    yield ""
    yield (
        f"Image classifier: the frozen backbone `{head.backbone.name}` and a probe, `{head.name}`, trained "
        f"on its tokens with Frozen Tokens. {head.row['parameters']:,} parameters were trained."
    )
    yield from _section("Use", _use(repository))
    yield from _section("Numbers", _numbers(head))
    yield from _section("Data", _data_lines(head))
    yield from _section("Protocol", _protocol(head))
    yield from _section("Probe", _probe(head))
    yield from _section("Backbone", _backbone(head, licence))


def _section(title: str, lines: Iterator[str]) -> Iterator[str]:
    yield from ("", f"## {title}", "", *lines)


def _use(repository: str) -> Iterator[str]:
    yield "```python"
    yield "from PIL import Image"
    yield "from probe.deployment import HubClassifier  # pip install frozen-tokens"
    yield ""
    yield f'model = HubClassifier.from_pretrained("{repository}")'
    yield '(probabilities,) = model.classify([Image.open("photo.jpg")])'
    yield "for name, probability in list(probabilities.items())[:5]:"
    yield '    print(f"{name}: {probability:.1%}")'
    yield "```"


def _numbers(head: TrainedHead) -> Iterator[str]:
    row, evaluation = head.row, f"{head.evaluation.name}/{head.evaluation.split}"
    yield f"| on `{evaluation}`, after the last epoch | |"
    yield "|---|---|"
    yield f"| top-1 | {row['top1_last']:.2f} % |"
    yield f"| top-5 | {row['top5_last']:.2f} % |"
    yield ""
    yield _selection(head)


def _selection(head: TrainedHead) -> str:
    """How learning rate, weight decay and this head were chosen."""
    share = head.config["held_out"]
    if share:
        rule = (
            f"{share:.0%} of the training images, drawn by class, were held out and chose the learning rate "
            f"and weight decay ({head.row['held_out_top1']:.2f} % top-1 on them); the images above "
            "chose nothing."
        )
    else:
        rule = "No images were held out: learning rate and weight decay were not chosen by accuracy."
    several = len(list_heads(head.run))
    if several > 1 and not share:
        rule += (
            f" The run holds {several} heads; if this one was picked for its number above, that number is "
            "optimistic."
        )
    return rule


def _data_lines(head: TrainedHead) -> Iterator[str]:
    for word, split in (("Trained", head.train), ("Evaluated", head.evaluation)):
        yield f"- {word} on `{split.name}/{split.split}` ({split.samples:,} samples of {split.source})"
    yield f"- {head.row['training_images']:,} training images were used"
    shown = [_as_code(name) for name in head.classes[:SHOWN_CLASSES]]
    shown += ["…"] if len(head.classes) > SHOWN_CLASSES else []
    yield f"- {len(head.classes)} classes: {', '.join(shown)}"


def _as_code(name: str) -> str:
    """A name whose characters mean nothing to Markdown."""
    return f"`{printable(name).replace('`', chr(39))}`"


def _protocol(head: TrainedHead) -> Iterator[str]:
    row, recipe = head.row, head.config["recipe"]
    yield f"- Recipe `{recipe['name']}` ({recipe['reference']})"
    if recipe["differs"]:
        yield f"- Where training from a cache differs: {recipe['differs']}"
    yield (
        f"- {recipe['optimizer']}, learning rate {row['lr']:g}, weight decay {row['weight_decay']:g}, "
        f"{row['epochs']} epochs of batches of {row['batch_size']:,}, seed {row['seed']}"
    )
    where = {"pre": "before", "post": "after"}[head.tokens]
    blocks = " and ".join(map(str, head.blocks))
    joined = f", combined by {head.combination}" if len(head.blocks) > 1 else ""
    yield (
        f"- Tokens of block {blocks} of {len(head.backbone.blocks)} (from 0){joined}, {where} the final "
        f"norm, stored as {head.config['stored_dtype']}"
    )


def _probe(head: TrainedHead) -> Iterator[str]:
    family = probe_spec(head.name).family
    if family is None:
        yield f"Batch norm and a linear classifier on one vector ({head.probe.token_set})."
        return
    for field in fields(family.description):
        yield f"- {field.name}: {getattr(family.description, field.name)}"
    yield "- then batch norm without parameters and a linear classifier"


def _backbone(head: TrainedHead, licence: str | None) -> Iterator[str]:
    backbone, transform = head.backbone, head.backbone.transform
    yield f"- {backbone.source}"
    yield f"- SHA-256 of its weights: `{backbone.weights_sha256}`; others are refused at loading"
    shown = ", ".join(f"{name} {value}" for name, value in transform.items())
    yield f"- Images: {shown}"
    yield f"- Computed in {backbone.precision}"
    yield f"- Its weights are in this repository, under their own licence: {licence or 'not known to us'}"
