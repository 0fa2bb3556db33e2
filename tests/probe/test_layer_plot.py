"""The picture of every block's accuracy."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from probe.layer_plot import save_layer_plot
from probe.selection import Answer


def _answer(probe: str, *blocks: int) -> Answer:
    return Answer(
        probe=probe,
        blocks=blocks,
        tokens="pre",
        shots=None,
        fraction=None,
        setting="lr=0.1",
        lr=0.1,
        weight_decay=0,
        repeats=1,
        held_out_top1=None,
        top1=50 + sum(blocks),
        top1_deviation=None,
        top5=90,
        best_top1=60,
        best_top1_deviation=None,
        trials=(),
    )


def test_several_blocks_are_drawn(tmp_path: Path) -> None:
    answers = [_answer(probe, block) for probe in ("lp", "ep4") for block in (1, 3)]
    assert save_layer_plot(tmp_path / "layers.png", answers, "validation")
    assert min(Image.open(tmp_path / "layers.png").size) > 400


@pytest.mark.parametrize("answers", [[_answer("lp", 3)], [_answer("lp", 1, 3)], []])
def test_one_block_or_combined_ones_are_not(tmp_path: Path, answers: list[Answer]) -> None:
    assert not save_layer_plot(tmp_path / "layers.png", answers, "validation")
    assert not (tmp_path / "layers.png").exists()
