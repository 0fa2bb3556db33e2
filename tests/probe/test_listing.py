"""`probe list` and `probe describe`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from probe.names import known_names

RunProbe = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize("words", [("list",), ("--list",)])
def test_the_list_has_every_kind_of_probe_at_vit_b(run_probe: RunProbe, words: tuple[str, ...]) -> None:
    code, output, _ = run_probe(*words)
    assert code == 0
    assert all(f" {name} " in output for name in known_names())
    assert "1,383,400" in output  # ep32 at D = 768, 1000 classes


def test_the_list_of_a_store_has_its_widths_and_classes(run_probe: RunProbe, store: Path) -> None:
    code, output, _ = run_probe("list", "--cache", store)
    assert code == 0
    assert "× 12 tokens, 6 classes" in output
    assert "capi's heads" in output  # why it is impossible, in place of its cost


@pytest.mark.parametrize("words", [("describe", "aim"), ("--describe", "aim")])
def test_a_probe_is_described_by_its_parts(run_probe: RunProbe, words: tuple[str, ...]) -> None:
    code, output, _ = run_probe(*words)
    assert code == 0
    parts = [line.split()[0] for line in output.splitlines()[1:]]
    assert parts == ["query", "keys", "values", "attention", "output", "reference", "tokens"]


@pytest.mark.parametrize("name", known_names())
def test_every_probe_can_be_described(run_probe: RunProbe, name: str) -> None:
    code, output, _ = run_probe("describe", name)
    assert code == 0
    assert len(output.splitlines()) >= 1


def test_an_unknown_probe_is_refused_with_near_names(run_probe: RunProbe) -> None:
    code, _, error = run_probe("describe", "simpol")
    assert code == 2
    assert "simpool" in error
