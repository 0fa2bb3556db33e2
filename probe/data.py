"""Opening what a run reads: store, splits, block and tokens."""

from __future__ import annotations

from dataclasses import dataclass

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


def open_probe_data(options: FitOptions) -> ProbeData:
    """Open what `options` name. Raises `UserError` for what the store does not hold."""
    store = Store(options.cache)
    dataset = store.dataset(options.dataset)
    train = store.split(dataset, options.train_split)
    evaluation = store.split(dataset, options.eval_split or _evaluation_split(store, dataset))
    if train.manifest.classes != evaluation.manifest.classes:
        raise UserError(
            f"{train.name} and {evaluation.name} have different classes "
            f"({len(train.manifest.classes)} and {len(evaluation.manifest.classes)})"
        )
    backbone = store.manifest.backbone
    depth = len(backbone.blocks)
    block = max(stored_blocks(train)) if options.block is None else options.block
    if not -depth <= block < depth:
        raise UserError(f"--block {block}: the backbone has blocks 0 to {depth - 1}")
    state: TokenState = options.tokens or store.manifest.tokens
    cls = backbone.prefix.index("cls") if "cls" in backbone.prefix else None
    inputs = TokenInputs(state, store.final_norm, cls)
    return ProbeData(store, dataset, train, evaluation, block % depth, inputs)


def stored_blocks(split: SplitReader) -> list[int]:
    """The blocks that a split holds."""
    return sorted(
        int(spec.name.removesuffix("/mean").removeprefix("block"))
        for spec in split.manifest.arrays
        if spec.name.endswith("/mean")
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
