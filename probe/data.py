"""Opening what a run reads: store, splits, blocks and tokens."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import zip_longest

import torch

from cache import BlockGeometry, SplitReader, Store
from configs import TokenState, UserError
from probe.options import FitOptions
from probe.token_inputs import Combination, Kernel, TokenInputs

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
EVALUATION_SPLITS = ("validation", "val", "test")


@dataclass(frozen=True)
class ProbeData:
    """A store's train and evaluation split, on the device that reads them."""

    store: Store
    dataset: str
    train: SplitReader
    evaluation: SplitReader
    device: torch.device

    @property
    def num_classes(self) -> int:
        """C."""
        return len(self.train.manifest.classes)

    def width(self, blocks: tuple[int, ...], combination: Combination | None) -> int:
        """D of the tokens of `blocks`, combined. Raises `UserError` where they do not fit together."""
        widths = {self._geometry(block).dim for block in blocks}
        if len({self._geometry(block).grid for block in blocks}) > 1 or (
            combination == "mean" and len(widths) > 1
        ):
            raise UserError("--combine: the blocks' token grids or widths differ; name blocks of one stage")
        return sum(self._geometry(b).dim for b in blocks) if combination == "concat" else widths.pop()

    def grid(self, blocks: tuple[int, ...]) -> tuple[int, ...]:
        """The token grid of `blocks`."""
        return self._geometry(blocks[0]).grid

    def _geometry(self, block: int) -> BlockGeometry:
        return self.store.manifest.backbone.blocks[block]

    def inputs(
        self,
        state: TokenState,
        combination: Combination | None,
        precision: str = "float32",
        kernel: Kernel = "plain",
    ) -> TokenInputs:
        """How batches become token sets. Raises `UserError` where there is no norm for `post`."""
        cls = self.store.manifest.backbone.cls
        norm = self.store.final_norm.to(self.device) if self.store.final_norm else None
        return TokenInputs(state, norm, cls, combination or "concat", PRECISIONS[precision], kernel)


def open_probe_data(options: FitOptions, device: torch.device) -> ProbeData:
    """Open what `options` name, to be read on `device`. Raises `UserError` where the store lacks it."""
    store = Store(options.cache)
    dataset = store.dataset(options.dataset)
    train = store.split(dataset, options.train_split)
    evaluation = store.split(dataset, options.eval_split or _evaluation_split(store, dataset))
    if train.name == evaluation.name:
        raise UserError(f"{train.name} is both trained and evaluated on: name another --eval-split")
    _require_same_classes(train, evaluation)
    return ProbeData(store, dataset, train, evaluation, device)


def chosen_blocks(data: ProbeData, words: tuple[str, ...]) -> tuple[int, ...]:
    """The blocks that --block names, counted from the end where negative; without it the last one stored."""
    held, depth = data.train.manifest.blocks, len(data.store.manifest.backbone.blocks)
    if not words:
        return held[-1:]
    if words == ("all",):
        return held
    blocks = []
    for word in words:
        try:
            number = int(word)
        except ValueError:
            raise UserError(f"--block {','.join(words)}: give numbers such as 5,11, or all") from None
        if not -depth <= number < depth:
            raise UserError(f"--block {number}: the backbone has blocks 0 to {depth - 1}")
        blocks.append(number % depth)
    if len(set(blocks)) < len(blocks):
        raise UserError(f"--block {','.join(words)}: name each block once")
    return tuple(blocks)


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
