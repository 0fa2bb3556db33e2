"""Opening what a run reads: store, splits, block and tokens."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import zip_longest

import torch

from cache import BlockGeometry, SplitReader, Store
from configs import TokenState, UserError
from probe.options import FitOptions
from probe.token_inputs import TokenInputs

EVALUATION_SPLITS = ("validation", "val", "test")


@dataclass(frozen=True)
class ProbeData:
    """A store's train and evaluation split, one block of them, and how its tokens are read."""

    store: Store
    dataset: str
    train: SplitReader
    evaluation: SplitReader
    block: int
    inputs: TokenInputs

    @property
    def geometry(self) -> BlockGeometry:
        """Grid and width of the block's tokens."""
        return self.store.manifest.backbone.blocks[self.block]

    @property
    def num_classes(self) -> int:
        """C."""
        return len(self.train.manifest.classes)


def open_probe_data(options: FitOptions, device: torch.device) -> ProbeData:
    """Open what `options` name, to be read on `device`. Raises `UserError` where the store lacks it."""
    store = Store(options.cache)
    dataset = store.dataset(options.dataset)
    train = store.split(dataset, options.train_split)
    evaluation = store.split(dataset, options.eval_split or _evaluation_split(store, dataset))
    if train.name == evaluation.name:
        raise UserError(f"{train.name} is both trained and evaluated on: name another --eval-split")
    _require_same_classes(train, evaluation)
    backbone = store.manifest.backbone
    depth = len(backbone.blocks)
    block = train.manifest.blocks[-1] if options.block is None else options.block
    if not -depth <= block < depth:
        raise UserError(f"--block {block}: the backbone has blocks 0 to {depth - 1}")
    state: TokenState = options.tokens or store.manifest.tokens
    cls = backbone.prefix.index("cls") if "cls" in backbone.prefix else None
    norm = store.final_norm.to(device) if store.final_norm else None
    inputs = TokenInputs(state, norm, cls)
    return ProbeData(store, dataset, train, evaluation, block % depth, inputs)


def _require_same_classes(train: SplitReader, evaluation: SplitReader) -> None:
    pairs = zip_longest(train.manifest.classes, evaluation.manifest.classes, fillvalue="none")
    for number, (ours, theirs) in enumerate(pairs):
        if ours != theirs:
            raise UserError(
                f"{train.name} and {evaluation.name} have different classes: "
                f"class {number} is '{ours}' in one, '{theirs}' in the other"
            )


def _evaluation_split(store: Store, dataset: str) -> str:
    held = store.splits()[dataset]
    for name in EVALUATION_SPLITS:
        if name in held:
            return name
    raise UserError(
        f"{store.folder} holds no evaluation split of {dataset} (it has {', '.join(held)}): "
        "name one with --eval-split"
    )
