"""Measures over a split are means over its images, however they come."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from probe.attention_maps.even_maps import predictions
from probe.attention_maps.formulas import entropy
from probe.attention_maps.head_tokens import stored_tokens
from probe.attention_maps.maps import patch_maps
from probe.attention_maps.measures import HeadMeasures, RunningMeasures
from probe.trained_head import TrainedHead, load_head


def _measured(head: TrainedHead, store: Path, batch_size: int, limit: int | None = None) -> HeadMeasures:
    opened = head.open_store(store)
    running = RunningMeasures(head)
    device = torch.device("cpu")
    for batch in stored_tokens([head], head.open_split(opened), opened.final_norm, batch_size, device, limit):
        maps = running.add(batch.tokens[head.trial], batch.labels)
        masks = torch.zeros(len(maps), 4, 6, dtype=torch.bool)
        masks[:, :2] = True
        running.add_objects(maps, masks)
    return running.result()


def _flat(found: HeadMeasures) -> list[float]:
    values = [value for own in found.maps for value in vars(own).values()]
    return [value for value in values if isinstance(value, float)]


@pytest.mark.parametrize("trial", ["ep4", "ep2_d3+cls"])
def test_batches_of_any_size_give_the_same_means(finished_run: Any, store: Path, trial: str) -> None:
    head = load_head(finished_run.folder, trial)
    whole, parts = _measured(head, store, 60), _measured(head, store, 7)
    assert whole.images == parts.images == whole.located == 60
    assert whole.top1 == pytest.approx(head.top1)
    assert _flat(parts) == pytest.approx(_flat(whole), rel=1e-5, abs=1e-6)


def test_measures_are_means_over_the_images(finished_run: Any, store: Path) -> None:
    head = load_head(finished_run.folder, "ep4")
    opened = head.open_store(store)
    device = torch.device("cpu")
    (batch,) = stored_tokens([head], head.open_split(opened), opened.final_norm, 60, device, None)
    tokens = batch.tokens["ep4"]
    found, changed = predictions(head.probe, tokens)
    maps, _ = patch_maps(head.probe, tokens)
    right, right_when_even = found == batch.labels, changed == batch.labels.unsqueeze(1)
    measured = _measured(head, store, 60)
    assert [own.query for own in measured.maps] == [1, 2, 3, 4]
    for query, own in enumerate(measured.maps):
        assert own.entropy == pytest.approx(float(entropy(maps)[:, query].mean()), rel=1e-5)
        lost = 100 * (right.double().mean() - right_when_even[:, query].double().mean())
        assert own.delta_top1 == pytest.approx(float(lost))
        assert own.mass == pytest.approx(float(maps[:, query, :3].sum(dim=1).mean()), rel=1e-5)
    assert measured.area == pytest.approx(0.5)


def test_a_limit_measures_the_first_images(finished_run: Any, store: Path) -> None:
    head = load_head(finished_run.folder, "ep4")
    assert _measured(head, store, 8, limit=20).images == 20


def test_the_share_on_the_patches_is_below_1_beside_cls(finished_run: Any, store: Path) -> None:
    beside = _measured(load_head(finished_run.folder, "ep2_d3+cls"), store, 60)
    alone = _measured(load_head(finished_run.folder, "ep4"), store, 60)
    assert all(own.patch_share < 1 for own in beside.maps)
    assert [own.patch_share for own in alone.maps] == pytest.approx([1] * 4)
