"""`probe export --to`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from cache import BackboneIdentity, BlockGeometry
from probe import build_probe
from probe.deployment.export import Exportable, write_and_compare
from probe.deployment.export_formats import FORMATS
from probe.deployment.head_description import HeadDescription
from probe.deployment.image_classifier import TokenClassifier
from probe.families import FAMILIES

RunProbe = Callable[..., tuple[int, str, str]]

DIM, GRID = 128, (4, 4)


@pytest.mark.parametrize(
    "to", [pytest.param(to, marks=pytest.mark.slow if to == "onnx" else ()) for to in FORMATS]
)
def test_backbone_and_head_are_one_file_that_gives_the_same_logits(
    digits: Any, classifier: Any, run_probe: RunProbe, tmp_path: Path, to: Any
) -> None:
    out = tmp_path / f"classifier{FORMATS[to].suffix}"
    code, said, err = run_probe("export", digits.run, "--to", to, "--trial", "ep4", "--out", out)
    assert (code, err) == (0, "")
    assert said.startswith(f"{out}: ")
    images = torch.randn(7, 3, 32, 32, generator=torch.Generator().manual_seed(9))
    with torch.no_grad():
        torch.testing.assert_close(FORMATS[to].load(out)(images), classifier(images), rtol=1e-4, atol=1e-5)
    assert sorted(path.name for path in tmp_path.iterdir()) == [out.name, f"{out.name}.json"]


def test_beside_the_file_stands_how_to_feed_it(digits: Any, run_probe: RunProbe, tmp_path: Path) -> None:
    out = tmp_path / "new" / "head.pt"
    words = ("--to", "torchscript", "--trial", "ep2+cls", "--head-only", "--out", out)
    assert run_probe("export", digits.run, *words)[0] == 0
    told = json.loads((tmp_path / "new" / "head.pt.json").read_text())
    assert told["input"] == {"name": "tokens", "shape": ["batch", 65, 96], "dtype": "float32"}
    assert told["classes"] == list("0123456789")
    assert (told["token_set"], told["tokens"], told["blocks"]) == ("all", "pre", [5])
    assert told["transform"]["input_size"] == [3, 32, 32]
    assert len(told["backbone"]["weights_sha256"]) == 64


def test_without_a_file_name_it_lies_in_the_run(digits: Any, run_probe: RunProbe) -> None:
    words = ("--to", "torchscript", "--trial", "lp_mean", "--head-only")
    assert run_probe("export", digits.combined, *words)[0] == 0
    assert (digits.combined / "export" / "lp_mean-head.pt").is_file()


def test_a_file_that_computes_something_else_is_not_left_behind(
    digits: Any, run_probe: RunProbe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    true = FORMATS["torchscript"]
    off = replace(true, load=lambda path: lambda values: true.load(path)(values) + 0.01)
    monkeypatch.setitem(FORMATS, "torchscript", off)
    words = ("--to", "torchscript", "--head-only", "--trial", "lp", "--out", tmp_path / "head.pt")
    code, said, _ = run_probe("export", digits.run, *words)
    assert code == 1
    assert "not written: its logits differ by up to 0.01" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("batches", [{1, 3, 4}, {4}])
def test_logits_that_are_not_numbers_are_not_exported(
    digits: Any, run_probe: RunProbe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batches: set[int]
) -> None:
    true = FORMATS["torchscript"]

    def load(path: Path) -> Any:
        loaded = true.load(path)
        return lambda values: loaded(values) * (float("nan") if len(values) in batches else 1)

    broken = replace(true, load=load)
    monkeypatch.setitem(FORMATS, "torchscript", broken)
    words = ("--to", "torchscript", "--head-only", "--trial", "lp", "--out", tmp_path / "head.pt")
    assert run_probe("export", digits.run, *words)[0] == 1


def test_onnx_without_its_packages_says_what_to_install(
    digits: Any, run_probe: RunProbe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    words = ("--to", "onnx", "--head-only", "--trial", "lp", "--out", tmp_path / "head.onnx")
    code, _, err = run_probe("export", digits.run, *words)
    assert code == 2
    assert "pip install 'frozen-tokens[export]'" in err


def test_what_cannot_be_exported_is_one_line(
    digits: Any, run_probe: RunProbe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("unsupported\noperator")

    monkeypatch.setitem(FORMATS, "torchscript", replace(FORMATS["torchscript"], write=refuse))
    words = ("--to", "torchscript", "--head-only", "--trial", "lp", "--out", tmp_path / "head.pt")
    code, _, err = run_probe("export", digits.run, *words)
    assert code == 2
    assert err == "probe: mae_digits and lp cannot be exported to torchscript: RuntimeError: unsupported\n"


@pytest.mark.parametrize(
    "words", [(), ("--head-only", "--save-pretrained", "x"), ("--to", "onnx", "--private")]
)
def test_options_that_do_not_go_together_are_refused(
    digits: Any, run_probe: RunProbe, words: tuple[str, ...]
) -> None:
    code, _, err = run_probe("export", digits.run, *words)
    assert code == 2
    assert len(err.splitlines()) == 1


def _head(name: str) -> Exportable:
    torch.manual_seed(0)
    probe = build_probe(name, DIM, 5, GRID).eval().requires_grad_(False)
    tokens = 16 + (probe.token_set == "all")
    described = HeadDescription(
        probe=name,
        classes=tuple("abcde"),
        token_set=probe.token_set,
        tokens="pre",
        blocks=(0,),
        combination="concat",
        dim=DIM,
        grid=GRID,
        backbone=BackboneIdentity(
            name="toy",
            source="none",
            weights_sha256="0",
            transform={},
            precision="float32",
            prefix=("cls",),
            blocks=(BlockGeometry(grid=GRID, dim=DIM),),
            final_norm=None,
        ),
    )
    shape = (DIM,) if probe.token_set in ("cls", "mean") else (tokens, DIM)
    return Exportable(TokenClassifier(probe, described).eval(), "tokens", shape, described)


SMALL = {"esimpool": "esimpool8", "ep": "ep4"}
HEADS = [SMALL.get(name, name) for name in FAMILIES]
FAST = {("lp", "onnx"), ("ep4", "torch.export"), ("cait", "torchscript"), ("cbam", "torchscript")}


@pytest.mark.parametrize(
    ("name", "to"),
    [
        pytest.param(name, to, marks=() if (name, to) in FAST else pytest.mark.slow)
        for name in ("lp", "lp_mean", *HEADS, "ep4_d2", "ep4+cls", "vit+cls")
        for to in FORMATS
    ],
)
def test_every_head_is_exported(name: str, to: Any, tmp_path: Path) -> None:
    difference, largest = write_and_compare(_head(name), to, tmp_path / f"head{FORMATS[to].suffix}")
    assert difference <= 1e-4 * largest
