"""Lines of the learning curves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from probe.reporting import read_run
from probe.reporting.learning_curves import draw_learning_curves

Drawn = Callable[[str], Figure]


@pytest.fixture
def drawn(run_of: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Drawn:
    """The figure of a run of one of `KINDS`: loss, then accuracy."""

    def draw(kind: str) -> Figure:
        found: list[Figure] = []
        monkeypatch.setattr(
            "probe.reporting.learning_curves.save", lambda figure, *words: found.append(figure)
        )
        draw_learning_curves(read_run(run_of(kind)), tmp_path, "learning")
        return found[0]

    return draw


def test_seeds_of_a_probe_share_its_colour_in_thin_lines(drawn: Drawn) -> None:
    for axes in drawn("plain").axes:
        lines = axes.lines
        assert sorted(Counter(line.get_color() for line in lines).values()) == [2, 2]  # of lp and ep4
        assert {line.get_linewidth() for line in lines} == {0.8}


def test_the_legend_names_a_probe_once(drawn: Drawn) -> None:
    legend = drawn("plain").axes[1].get_legend()
    assert legend is not None
    assert sorted(text.get_text() for text in legend.get_texts()) == ["ep4", "lp"]


def test_settings_that_are_answers_have_colours_and_names_of_their_own(drawn: Drawn) -> None:
    axes = drawn("blocks").axes[1]
    legend = axes.get_legend()
    assert legend is not None
    names = {text.get_text() for text in legend.get_texts()}
    assert names == {f"{probe}, block {block}" for probe in ("lp", "ep4") for block in (1, 3)}
    assert len({line.get_color() for line in axes.lines}) == len(axes.lines) == 4


def test_what_was_not_chosen_is_grey(drawn: Drawn) -> None:
    axes = drawn("rates").axes[0]
    assert [line.get_color() for line in axes.lines].count("#8A8A8A") == 1
    assert len(axes.lines) == 2
