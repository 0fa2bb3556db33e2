"""What a run did, in sentences: how it trained, how it chose, and whose tokens it read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from probe.reporting.finished_runs import FinishedRun, printable, shown

OPTIMIZERS = {"lars": "LARS", "sgd": "SGD", "adamw": "AdamW"}


def protocol(run: FinishedRun) -> list[str]:
    """How the probes were trained."""
    config, options, recipe = run.config, run.options, run.config["recipe"]
    found = []
    if recipe is not None:
        found += [_recipe(recipe), _batches(run, recipe)]
        seeds = ", ".join(map(str, options["seed"]))
        found.append(
            f"Seeds of the probes' start: {seeds}. Seed of the batches' order: {options['order_seed']}."
        )
    closed = [name for name in options["probe"] if name.partition("_")[0] in ("knn", "logreg")]
    if closed:
        found.append(f"In closed form, without training steps: {', '.join(closed)}.")
    found.append(_tokens(run))
    if options["shots"] or options["fraction"]:
        found.append(_parts(options))
    if config["processes"] > 1:
        found.append(f"{config['processes']} processes shared each batch.")
    if recipe is not None and options["precision"] != "float32":
        found.append(f"Products with the tokens were computed in {options['precision']}.")
    return found


def _recipe(recipe: Mapping[str, Any]) -> str:
    rates = ", ".join(f"{rate:g}" for rate in recipe["lr"])
    decays = ", ".join(f"{decay:g}" for decay in recipe["weight_decay"])
    scaled = " × batch / 256" if recipe["lr_per_256"] else ""
    text = (
        f"Recipe {recipe['name']} ({recipe['reference']}): {OPTIMIZERS[recipe['optimizer']]}, learning "
        f"rate {rates}{scaled}, weight decay {decays}, {recipe['epochs']} epochs, "
        f"{recipe['warmup_epochs']:g} of them linear warm-up, then half a cosine to 0, step by step"
    )
    if recipe["clip_norm"] is not None:
        text += f"; gradients clipped at norm {recipe['clip_norm']:g}"
    text += "."
    if recipe["differs"]:
        text += f" It differs from the published protocol: {recipe['differs']}."
    return text


def _batches(run: FinishedRun, recipe: Mapping[str, Any]) -> str:
    counts = sorted({row["training_images"] for row in run.trial_by_name.values()})
    images = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"
    sizes = sorted({row["batch_size"] for row in run.trial_by_name.values()})
    batch = f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,}"
    policy, views = run.config["views"]
    seen = {
        "plain": "each in its evaluation view",
        "random": f"each in one of {views} stored views, drawn anew in every epoch",
        "all": f"each in all of {views} stored views in every epoch",
    }[policy]
    return f"Trained on {images} images in batches of {batch}, {seen}."


def _tokens(run: FinishedRun) -> str:
    states = {"pre": "before the backbone's final norm", "post": "after the backbone's final norm"}
    read = " and ".join(states[state] for state in run.config["tokens"])
    blocks = [shown(block) for block in run.config["blocks"]]
    combined = run.options["combine"]
    text = f"Tokens of block {', '.join(blocks)}, {read}"
    return text + (f", combined by {combined}." if combined else ".")


def _parts(options: Mapping[str, Any]) -> str:
    parts = [f"{count} images of each class" for count in options["shots"]]
    parts += [f"{share:g} of each class's images" for share in options["fraction"]]
    draws = "one random draw" if options["draws"] == 1 else f"{options['draws']} random draws"
    return f"Low-shot: {', '.join(parts)}, {draws} of each."


def selection(run: FinishedRun) -> list[str]:
    """How settings were chosen, and what the accuracies mean."""
    share, options = run.config["held_out"], run.options
    closed = any(answer["lr"] is None for answer in run.answers)
    trained = run.config["recipe"] is not None
    found = []
    if trained and share:
        found.append(
            f"A stratified {100 * share:g} % of the training images was held out. For each probe, "
            "block, token state and number of images, the learning rate and weight decay with the "
            "highest mean held-out accuracy after the last epoch were taken. The evaluation images had "
            "no part in this."
        )
    elif trained:
        found.append(
            "Nothing was chosen: every setting is an answer of its own, and no training image was held out."
        )
    if options["prune"]:
        found.append(
            "Successive halving: after 1/8, 1/4 and 1/2 of the epochs the half of the settings with "
            "the lower held-out accuracy was dropped."
        )
    if closed:
        found.append(
            "k, T and C of the classifiers in closed form were chosen on held-out training images; the "
            "final classifier learns from these too, unless a part of the images was asked for."
        )
    found.append("“top-1” and “top-5” are measured on the evaluation images after the last epoch.")
    found.append(
        "“best” is the literature's habit: the highest accuracy over epochs and settings on the "
        "evaluation images themselves. It is optimistic, and no estimate of the accuracy on new images."
    )
    if trained and share and not options["every_epoch"]:
        found.append("Here only the last epoch was measured (--every-epoch measures all).")
    return found


def identity(run: FinishedRun) -> list[tuple[str, str]]:
    """The store that was read: names and values."""
    config, backbone = run.config, run.config["backbone"]
    train, evaluation = config["train"], config["evaluation"]
    last = backbone["blocks"][-1]
    grid = " × ".join(map(str, last["grid"]))
    rows = [
        ("store", str(Path(run.options["cache"]))),
        ("backbone", f"{backbone['name']} ({backbone['source']})"),
        ("weights, SHA-256", backbone["weights_sha256"]),
        ("transform", ", ".join(f"{key} {_value(value)}" for key, value in backbone["transform"].items())),
        ("computed in", backbone["precision"]),
        ("tokens", f"{grid} patches of width {last['dim']} in the last of {len(backbone['blocks'])} blocks"),
        ("before the patches", ", ".join(backbone["prefix"]) or "nothing"),
        ("final norm", backbone["final_norm"] or "none"),
        ("stored as", config["stored_dtype"]),
    ]
    for title, part in (("training images", train), ("evaluation images", evaluation)):
        rows.append(
            (title, f"{part['name']}/{part['split']} of {part['source']}, {part['samples']:,} in the source")
        )
        rows.append((f"{title}, fingerprint", part["fingerprint"]))
    return [(name, printable(value)) for name, value in rows]


def _value(value: Any) -> str:
    return " × ".join(map(str, value)) if isinstance(value, list) else str(value)
