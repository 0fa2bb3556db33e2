"""A trained head is read back as it was trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from cache import BlockGeometry, FinalNorm, TokenDataset
from configs import UserError
from probe import run_fit
from probe.trained_head import TrainedHead, list_heads, load_head


def _top1(head: TrainedHead, store: Path) -> float:
    """Accuracy on the evaluation split, in percent."""
    opened = head.open_store(store)
    inputs, split = head.inputs(opened.final_norm), head.open_split(opened)
    token_set = head.probe.token_set
    datasets = [TokenDataset(split, block, inputs.arrays([token_set])) for block in head.blocks]
    batches = [dataset.__getitems__(range(len(dataset))) for dataset in datasets]
    with torch.inference_mode():
        logits = head.probe(inputs.select(batches, [token_set])[token_set])[0]
    return float((logits.argmax(dim=1) == batches[0].labels).double().mean() * 100)


def test_the_heads_of_a_run_are_listed_in_its_order(finished_run: Any) -> None:
    assert list_heads(finished_run.folder) == ("lp", "lp_mean", "ep4", "ep2_d3+cls")


@pytest.mark.parametrize("trial", ["lp", "lp_mean", "ep4", "ep2_d3+cls"])
def test_a_head_scores_what_its_run_says(finished_run: Any, store: Path, trial: str) -> None:
    head = load_head(finished_run.folder, trial)
    assert not head.probe.training
    assert _top1(head, store) == pytest.approx(head.top1)


def test_a_head_is_read_from_its_file_alone(finished_run: Any, tmp_path: Path) -> None:
    copy = tmp_path / "alone.safetensors"
    copy.write_bytes((finished_run.folder / "head.safetensors").read_bytes())
    assert load_head(copy, "ep4").name == "ep4"


def test_a_head_of_combined_normed_blocks_scores_what_its_run_says(
    make_store: Callable[..., Path], options: Callable[..., Any], tmp_path: Path
) -> None:
    store = make_store(tmp_path / "store", blocks=(2, 3))
    own = options(
        cache=store, probe=("ep4",), block=("2", "3"), combine="concat", tokens=("post",), name="combined"
    )
    run_fit(own)
    head = load_head(own.runs / "combined")
    assert (head.blocks, head.combination, head.tokens, head.dim) == ((2, 3), "concat", "post", 24)
    assert _top1(head, store) == pytest.approx(head.top1)


def test_of_several_heads_one_must_be_named(finished_run: Any) -> None:
    with pytest.raises(UserError, match=r"several heads, lp, lp_mean, ep4, .*: say which with --trial"):
        load_head(finished_run.folder)


def test_a_probe_names_its_only_trial(options: Callable[..., Any]) -> None:
    own = options(probe=("lp", "lp_mean"), seed=(0,), lr=(0.02, 0.05), name="grid")
    run_fit(own)
    assert load_head(own.runs / "grid", "lp").trial.startswith("lp[lr=")


def test_an_unknown_trial_is_refused_by_name(finished_run: Any) -> None:
    with pytest.raises(UserError, match="ep5"):
        load_head(finished_run.folder, "ep5")


def test_a_run_without_heads_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist: name a run"):
        list_heads(tmp_path / "none")
    with pytest.raises(UserError, match="holds no trained head"):
        list_heads(tmp_path)


def test_a_damaged_head_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "head.safetensors").write_bytes(b"\x08" + bytes(7) + b"not json")
    with pytest.raises(UserError, match="is damaged"):
        list_heads(tmp_path)


def test_a_store_of_another_backbone_is_refused(
    finished_run: Any, make_store: Callable[..., Path], tmp_path: Path
) -> None:
    other = make_store(tmp_path / "other", geometry=(BlockGeometry(grid=(2, 3), dim=12),) * 5)
    with pytest.raises(
        UserError, match=r"trained on tokens of another backbone than that of .*other: blocks"
    ):
        load_head(finished_run.folder, "lp").open_store(other)


def test_a_split_of_other_images_or_classes_is_refused(
    finished_run: Any, make_store: Callable[..., Path], final_norm: FinalNorm, tmp_path: Path
) -> None:
    head = load_head(finished_run.folder, "lp")
    fewer = head.open_store(make_store(tmp_path / "fewer", splits={"train": 30, "validation": 30}))
    with pytest.raises(UserError, match=r"holds other images than .* was evaluated on"):
        head.open_split(fewer)
    assert head.open_split(fewer, "validation").manifest.records == 30
    renamed = head.open_store(make_store(tmp_path / "renamed", classes=tuple("uvwxyz")))
    with pytest.raises(UserError, match=r"has other classes than .* was trained on"):
        head.open_split(renamed)
