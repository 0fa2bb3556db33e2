"""A store of digits with thumbnails, and a short run on it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from configs import parse
from extract import ExtractOptions
from extract.command import extract
from probe import FitOptions, run_fit
from probe.command import main


@pytest.fixture(scope="session")
def extract_digits() -> Callable[..., Path]:
    """Extract some digits into a store, with more options."""

    def run(folder: Path, *words: str) -> Path:
        usual = "--backbone mae_digits --dataset digits --limit 60 --workers 0 --device cpu --shard-size 32"
        extract(parse(ExtractOptions, prog="extract", argv=[*usual.split(), "--out", str(folder), *words]))
        return folder

    return run


@pytest.fixture(scope="session")
def digits(extract_digits: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 digits of each split, with thumbnails of 24 pixels."""
    return extract_digits(tmp_path_factory.mktemp("digits") / "store", "--thumbnails", "24")


@pytest.fixture(scope="session")
def digits_run(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Linear probe, EP with two seeds, and CBAM, for a few epochs."""
    runs = tmp_path_factory.mktemp("runs")
    run_fit(
        FitOptions(
            cache=digits, probe=("lp", "ep4", "cbam"), recipe="fast", epochs=3, seed=(0, 1), lr=(0.5,),
            device="cpu", runs=runs, name="digits", report=False,
        )
    )  # fmt: skip
    return runs / "digits"


@pytest.fixture
def attention(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run `probe attention` in this process; its exit code."""

    def run(*words: object) -> int:
        monkeypatch.setattr(sys, "argv", ["probe", "attention", *map(str, words), "--device", "cpu"])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0)

    return run
