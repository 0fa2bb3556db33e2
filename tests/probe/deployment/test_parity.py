"""`probe parity`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cache import Store, create_store, open_split_writer
from extract.command import extract
from extract.options import ExtractOptions
from probe.deployment.token_differences import DifferenceSums

RunProbe = Callable[..., tuple[int, str, str]]


def _extracted(folder: Path, **changes: Any) -> Path:
    usual = {"backbone": "mae_digits", "dataset": "digits", "workers": 0, "device": "cpu", "limit": 16}
    extract(ExtractOptions(**(usual | changes), out=folder))
    return folder


def test_a_store_agrees_with_its_backbone(digits: Any, run_probe: RunProbe) -> None:
    code, out, err = run_probe("parity", "--cache", digits.store, "--images", 20, "--run", digits.run)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith(f"{digits.store}, digits/test: 20 images, computed again by mae_digits")
    assert len([line for line in lines if line.startswith("block")]) == 8
    assert "the same first class for 100.00% of images" in lines[-2]
    assert lines[-1] == f"{digits.store} agrees with mae_digits"


def test_the_figures_are_json_too(digits: Any, run_probe: RunProbe) -> None:
    words = ("--images", 20, "--run", digits.combined, "--trial", "ep4", "--split", "train", "--json")
    code, out, _ = run_probe("parity", "--cache", digits.store, *words)
    found = json.loads(out)
    assert code == 0
    assert found["agrees"] is True
    assert (found["split"], found["images"]) == ("digits/train", 20)
    patches = next(array for array in found["arrays"] if array["name"] == "block5/patches")
    assert 0 < patches["relative"] <= patches["worst_relative"] < 2.0**-11
    assert found["logits"]["loss_stored"] == pytest.approx(found["logits"]["loss_computed"], abs=1e-3)


def test_a_head_of_blocks_that_the_store_lacks_is_refused(
    digits: Any, run_probe: RunProbe, tmp_path: Path
) -> None:
    store = _extracted(tmp_path / "last", split="test")
    code, _, error = run_probe("parity", "--cache", store, "--run", digits.combined, "--trial", "ep4")
    assert code == 2
    assert "holds block 5, not block 2" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "int8"])
def test_every_dtype_is_within_its_own_tolerance(dtype: str, run_probe: RunProbe, tmp_path: Path) -> None:
    store = _extracted(tmp_path / dtype, dtype=dtype, split="test")
    code, out, _ = run_probe("parity", "--cache", store, "--json")
    arrays = json.loads(out[out.index("{") :])["arrays"]  # extract's own line is before it
    patches = next(array for array in arrays if array["name"] == "block5/patches")
    assert code == 0
    least = {"bfloat16": 1e-3, "float32": 0, "int8": 5e-3}[dtype]
    assert least <= patches["worst_relative"] <= patches["tolerance"]


def test_every_view_is_compared(run_probe: RunProbe, tmp_path: Path) -> None:
    store = _extracted(tmp_path / "views", split="train", views=2, augment="rrc_flip")
    code, out, _ = run_probe("parity", "--cache", store)
    assert code == 0
    assert "16 images in 2 views" in out


def test_beyond_the_tolerance_the_reason_is_told(digits: Any, run_probe: RunProbe) -> None:
    code, _, err = run_probe("parity", "--cache", digits.store, "--images", 4, "--tolerance", 1e-7)
    assert code == 1
    assert "block5/patches: relative error" in err
    assert "is beyond 1e-07" in err
    assert "block5/mean:" not in err


def _forged(store: Path, folder: Path) -> Path:
    """A sound store in which one test image has the patches of another."""
    real = Store(store)
    create_store(folder, real.manifest)
    assert real.final_norm is not None
    real.final_norm.save(folder)
    split = real.split("digits", "test")
    with open_split_writer(folder, split.manifest) as writer:
        for number in writer.unfinished():
            shard = writer.begin(number)
            for spec in split.manifest.arrays:
                values = split.shard(spec.name, number).copy()
                if spec.name == "block5/patches":
                    values[0] = values[1]
                shard.write(spec.name, 0, values if spec.views is None else values[np.newaxis])
            shard.commit()
    return folder


def test_one_image_with_the_tokens_of_another_is_found(
    digits: Any, run_probe: RunProbe, tmp_path: Path
) -> None:
    forged = _forged(digits.store, tmp_path / "forged")
    sample = Store(forged).split("digits", "test").whole("sample_id")[0]
    words = ("--images", 96, "--trial", "ep4", "--run", digits.run)
    code, _, err = run_probe("parity", "--cache", forged, *words)
    assert code == 1
    assert f"of digits/test[{sample}] is beyond" in err
    assert "a logit differs by" in err


def test_other_weights_are_refused(digits: Any, run_probe: RunProbe) -> None:
    code, _, err = run_probe("parity", "--cache", digits.store, "--weights", "none")
    assert code == 2
    assert "weights_sha256" in err


def test_other_images_are_refused(digits: Any, run_probe: RunProbe) -> None:
    words = ("--dataset", f"digits=folder:{digits.images}", "--split", "train")
    code, _, err = run_probe("parity", "--cache", digits.store, *words)
    assert code == 2
    assert "other images" in err


def test_a_run_on_another_backbone_is_refused(digits: Any, run_probe: RunProbe, finished_run: Any) -> None:
    code, _, err = run_probe("parity", "--cache", digits.store, "--run", finished_run.folder)
    assert code == 2
    assert "another backbone" in err


def test_the_worst_image_is_named_and_nan_never_agrees() -> None:
    computed = torch.randn(3, 4, 8, generator=torch.Generator().manual_seed(0))
    stored = computed.clone()
    stored[1] *= 1.5
    sums = DifferenceSums(2.0**-126)
    sums.add(stored, computed, [7, 8, 9])
    found = sums.result("block0/patches", "float32", 0.4)
    assert (found.worst_sample, found.agrees) == (8, False)
    assert found.worst_relative == pytest.approx(0.5)
    assert found.worst_cosine == pytest.approx(1)
    assert found.relative < found.worst_relative
    sums = DifferenceSums(2.0**-126)
    sums.add(torch.full((1, 8), float("nan")), torch.ones(1, 8), [0])
    assert not sums.result("block0/mean", "float32", 1.0).agrees


def test_tokens_too_small_for_float16_are_within_its_tolerance() -> None:
    computed = 1e-6 * torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    sums = DifferenceSums(2.0**-14)
    sums.add(computed.half().float(), computed, [0, 1, 2, 3])
    assert sums.result("block0/prefix", "float16", 5e-4).agrees
