"""The cache changes nothing: probes trained from it equal probes trained with the backbone in the loop."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from cache import SplitReader, Store, TokenBatch, TokenDataset, TokenLoader
from configs import RecipeConfig, TokenState, load_recipe
from extract import Backbone, open_backbone
from extract.command import extract
from extract.images import to_rgb
from extract.options import ExtractOptions
from extract.sources import ImageSource, open_dataset
from extract.transform import image_transform
from probe import TokenInputs, TrainingSetting, TrialStack

EPOCHS, BATCH = 3, 32
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("online") / "store"
    words = {"backbone": "mae_digits", "dataset": "digits", "split": "train", "limit": 200}
    extract(ExtractOptions(**words, dtype="float32", workers=0, out=folder, shard_size=64))
    return Store(folder)


class OnlineLoader:
    """The batches of a `TokenLoader`, with tokens that the backbone computes each time anew."""

    def __init__(self, cached: TokenLoader, backbone: Backbone, source: ImageSource, split: SplitReader):
        self.cached = cached
        self.backbone = backbone
        self.source = source
        self.sample_id = split.whole("sample_id")
        self.transform = image_transform(backbone.transform)

    def __iter__(self) -> Iterator[TokenBatch]:
        for batch in self.cached:
            samples = self.sample_id[batch.index.numpy()]
            images = [torch.from_numpy(self.transform(to_rgb(self.source.load(i)))) for i in samples]
            tokens = self.backbone(torch.stack(images), [5])[5]
            assert tokens.prefix is not None
            assert self.backbone.final_norm is not None
            yield TokenBatch(
                labels=torch.from_numpy(self.source.labels[samples]),
                index=batch.index,
                patches=tokens.patches.clone(),
                prefix=tokens.prefix.clone(),
                mean=tokens.patches.mean(dim=1),
                mean_normed=self.backbone.final_norm(tokens.patches).mean(dim=1),
            )


@pytest.mark.parametrize("optimizer", ["lars", "adamw"])
@pytest.mark.parametrize("state", ["pre", "post"])
def test_losses_are_equal_step_for_step(store: Store, state: TokenState, optimizer: str) -> None:
    split = store.split("digits", "train")
    dataset = TokenDataset(split, 5, ["patches", "prefix", "mean", "mean_normed"])
    cached = TokenLoader(dataset, BATCH, shuffle=True, drop_last=True, seed=3)
    online = OnlineLoader(cached, open_backbone("mae_digits"), open_dataset("digits").open("train"), split)
    inputs = TokenInputs(state, store.final_norm, cls=0)
    lr = 1.0 if optimizer == "lars" else 1e-3
    changes = {"optimizer": optimizer, "epochs": EPOCHS, "warmup_epochs": 1, "batch_size": BATCH}
    recipe = RecipeConfig(**{**load_recipe("fast").model_dump(), **changes})
    setting = TrainingSetting(recipe, lr, weight_decay=0.0, seed=0, steps_per_epoch=len(cached))
    losses: list[list[float]] = []
    for loader in (cached, online):
        names = ("lp", "lp_mean", "ep16", "ep8+cls")
        stacks = [TrialStack(name, 96, 10, [setting], CPU, grid=(8, 8)) for name in names]
        seen = []
        for epoch in range(EPOCHS):
            cached.set_epoch(epoch)
            for batch in loader:
                sets = inputs.select([batch], {stack.probe.token_set for stack in stacks})
                seen += [float(s.step(sets[s.probe.token_set], batch.labels)) for s in stacks]
        losses.append(seen)
    assert len(losses[0]) == EPOCHS * len(cached) * 4
    torch.testing.assert_close(torch.tensor(losses[0]), torch.tensor(losses[1]), rtol=1e-4, atol=1e-5)
