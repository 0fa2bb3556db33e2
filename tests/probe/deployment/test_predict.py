"""`probe predict`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from probe import FitOptions, run_fit
from probe.deployment.predict import Prediction
from probe.trained_head import load_head

RunProbe = Callable[..., tuple[int, str, str]]

HEADS = [
    ("run", "lp"),
    ("run", "lp_mean"),
    ("run", "ep4"),
    ("run", "ep2+cls"),
    ("combined", "lp_mean"),
    ("combined", "ep4"),
]


def _json_lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_prediction_is_one_line_whatever_the_names() -> None:
    assert Prediction("a\nb.png", (("new\nline", 0.5),)).in_words() == "a�b.png: new�line 50.0%"


@pytest.mark.parametrize(("run", "trial"), HEADS)
def test_the_accuracy_on_files_is_the_one_that_the_run_reported(
    digits: Any, run_probe: RunProbe, run: str, trial: str
) -> None:
    folder = getattr(digits, run)
    code, out, _ = run_probe(
        "predict", folder, digits.images, "--trial", trial, "--top", 1, "--json", "--as-stored"
    )
    lines = _json_lines(out)
    right = [Path(line["path"]).parent.name == line["classes"][0]["class"] for line in lines]
    assert code == 0
    assert 100 * sum(right) / len(right) == pytest.approx(load_head(folder, trial).top1)


def test_every_image_of_a_folder_has_its_classes_in_order(digits: Any, run_probe: RunProbe) -> None:
    code, out, _ = run_probe("predict", digits.run, digits.images / "3", "--top", 3, "--json")
    lines = _json_lines(out)
    assert code == 0
    assert [line["path"] for line in lines] == [str(p) for p in sorted((digits.images / "3").iterdir())]
    for line in lines:
        shares = [found["probability"] for found in line["classes"]]
        assert len(shares) == 3
        assert shares == sorted(shares, reverse=True)


def test_without_a_name_the_most_accurate_head_predicts(digits: Any, run_probe: RunProbe) -> None:
    _, out, _ = run_probe("predict", digits.run, next((digits.images / "0").iterdir()))
    heads = [load_head(digits.run, name) for name in ("lp", "lp_mean", "ep4", "ep2+cls")]
    best = max(heads, key=lambda head: head.top1)
    first, line = out.splitlines()
    assert first == f"{digits.run}: {best.trial}, {best.top1:.2f} % top-1 on digits/test"
    assert line.count("%") == 5


def test_an_unreadable_image_costs_one_line_and_exit_code_1(
    digits: Any, run_probe: RunProbe, tmp_path: Path
) -> None:
    shutil.copy(next((digits.images / "0").iterdir()), tmp_path / "b.png")
    (tmp_path / "a.jpg").write_bytes(b"no image")
    (tmp_path / "c.png").write_bytes((tmp_path / "b.png").read_bytes()[:60])
    code, out, err = run_probe("predict", digits.run, tmp_path, "--trial", "ep4")
    assert code == 1
    assert len(out.splitlines()) == 2
    assert err.splitlines() == [
        f"{tmp_path}/a.jpg: not an image, or its header is damaged",
        *[line for line in err.splitlines() if line.startswith(f"{tmp_path}/c.png: ")],
        "probe: 2 of 3 images could not be read",
    ]
    code, out, _ = run_probe("predict", digits.run, tmp_path, "--json")
    assert [sorted(line) for line in _json_lines(out)] == [
        ["error", "path"],
        ["classes", "path"],
        ["error", "path"],
    ]


def test_any_mode_and_size_of_image_is_taken(digits: Any, run_probe: RunProbe, mixed_images: Path) -> None:
    code, out, _ = run_probe("predict", digits.run, mixed_images, "--json", "--top", 1)
    assert code == 0
    assert len(_json_lines(out)) == 11


@pytest.mark.parametrize("what", ["missing.png", "empty"])
def test_nothing_to_classify_is_bad_input(
    digits: Any, run_probe: RunProbe, tmp_path: Path, what: str
) -> None:
    (tmp_path / "empty").mkdir()
    code, _, err = run_probe("predict", digits.run, tmp_path / what)
    assert code == 2
    assert str(tmp_path / what) in err
    assert len(err.splitlines()) == 1


def test_other_weights_are_refused(digits: Any, classifier: Any, run_probe: RunProbe, tmp_path: Path) -> None:
    state = dict(classifier.backbone.model.state_dict())
    state["cls_token"] = state["cls_token"] + 1e-3
    save_file({name: tensor.clone() for name, tensor in state.items()}, tmp_path / "other.safetensors")
    words = ("predict", digits.run, digits.images, "--weights", tmp_path / "other.safetensors")
    code, out, err = run_probe(*words)
    assert (code, out) == (2, "")
    assert "weights_sha256" in err
    assert "--weights FILE" in err
    assert len(err.splitlines()) == 1


def test_a_run_of_closed_form_probes_has_no_head_to_predict_with(
    options: Callable[..., FitOptions], run_probe: RunProbe, digits: Any
) -> None:
    told = options(probe=("knn",), neighbours=(5,), name="near")
    run_fit(told)
    code, _, err = run_probe("predict", told.runs / "near", digits.images)
    assert code == 2
    assert "knn and logreg leave none" in err


def test_attention_is_written_over_each_image(digits: Any, run_probe: RunProbe, tmp_path: Path) -> None:
    images = sorted((digits.images / "3").iterdir())[:2]
    words = ("--trial", "ep2+cls", "--attention", tmp_path / "maps")
    assert run_probe("predict", digits.run, *images, *words)[0] == 0
    written = sorted((tmp_path / "maps").iterdir())
    assert [path.name for path in written] == [f"{n:05}-{path.stem}.png" for n, path in enumerate(images)]
    assert Image.open(written[0]).size == (32, 32)


def test_a_linear_probe_has_no_attention_to_show(digits: Any, run_probe: RunProbe, tmp_path: Path) -> None:
    code, _, err = run_probe("predict", digits.run, digits.images, "--trial", "lp", "--attention", tmp_path)
    assert code == 2
    assert "lp has no maps" in err


def test_batches_of_any_size_give_the_same_classes(digits: Any, run_probe: RunProbe) -> None:
    shares = []
    for size in (5, 64):
        _, out, _ = run_probe(
            "predict", digits.run, digits.images / "1", "--json", "--batch-size", size, "--workers", 1
        )
        shares.append(
            torch.tensor([[c["probability"] for c in line["classes"]] for line in _json_lines(out)])
        )
    torch.testing.assert_close(*shares)
