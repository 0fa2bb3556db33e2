"""Augmented views, by the commands: extracted, shown, and drawn by a probe."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

Run = Callable[..., subprocess.CompletedProcess[str]]


def test_views_are_extracted_and_probed(tmp_path: Path, run: Run) -> None:
    words = ["--backbone", "mae_digits", "--dataset", "digits", "--limit", "64", "--workers", "1"]
    extracted = run("extract", *words, "--views", "3", "--augment", "rrc_flip", cwd=tmp_path)
    assert extracted.returncode == 0, extracted.stderr
    train, test = extracted.stdout.splitlines()
    assert "64 images in 3 views" in train
    assert "64 images, " in test
    shown = run("cache", "info", "cache/mae_digits", "--json", cwd=tmp_path)
    splits = json.loads(shown.stdout)["splits"]
    assert (splits["digits/train"]["views"], splits["digits/test"]["views"]) == (3, 1)
    words = ["--cache", "cache/mae_digits", "--probe", "lp", "--recipe", "fast", "--epochs", "2"]
    for policy in ([], ["--view-policy", "all"], ["--view-policy", "plain"]):
        probed = run("probe", *words, *policy, cwd=tmp_path)
        assert probed.returncode == 0, probed.stderr
