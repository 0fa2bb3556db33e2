"""`probe export --save-pretrained` and `--push-to-hub`, without a network."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from configs import UserError
from probe.deployment import HubClassifier
from probe.trained_head import load_head

RunProbe = Callable[..., tuple[int, str, str]]


@pytest.fixture
def saved(digits: Any, run_probe: RunProbe, tmp_path: Path) -> Path:
    """The head `ep4` and its backbone as a folder."""
    words = ("export", digits.run, "--trial", "ep4", "--save-pretrained", tmp_path / "saved")
    code, out, _ = run_probe(*words)
    assert code == 0
    assert out.endswith("README.md, config.json, model.safetensors; loaded again, it gives the same logits\n")
    return tmp_path / "saved"


def test_what_was_saved_gives_equal_logits(saved: Path, classifier: Any) -> None:
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(HubClassifier.from_pretrained(saved)(images), classifier(images))


def test_the_lines_of_the_model_card_run(
    saved: Path, digits: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    image = next((digits.images / "4").iterdir())
    Image.open(image).save(tmp_path / "photo.jpg", quality=100)
    (code,) = re.findall(r"```python\n(.*?)```", (saved / "README.md").read_text(), flags=re.S)
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if re.fullmatch(r"\d: \d+\.\d%", line)]) == 5


def test_the_model_card_tells_the_run(saved: Path, digits: Any) -> None:
    card, head = (saved / "README.md").read_text(), load_head(digits.run, "ep4")
    for told in (
        f"| top-1 | {head.top1:.2f} % |",
        "Trained on `digits/train`",
        "Recipe `fast`",
        "adamw, learning rate 0.01",
        "No images were held out",
        "The run holds 4 heads",
        head.backbone.weights_sha256,
        "Tokens of block 5 of 6 (from 0), before the final norm, stored as float16",
        "license: apache-2.0",
        "10 classes: `0`, `1`, `2`,",
    ):
        assert told in card


def test_other_weights_in_the_repository_are_refused(saved: Path) -> None:
    state = load_file(saved / "model.safetensors")
    state["backbone.model.cls_token"] += 1
    save_file(state, saved / "model.safetensors")
    with pytest.raises(UserError, match="weights_sha256"):
        HubClassifier.from_pretrained(saved)


def test_a_repository_does_not_run_code_that_it_names(saved: Path) -> None:
    config = json.loads((saved / "config.json").read_text())
    config["backbone"]["source"] = "python:os.getcwd"
    (saved / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="nothing from the Hub runs here"):
        HubClassifier.from_pretrained(saved)


def test_a_folder_that_holds_something_is_left_alone(
    digits: Any, run_probe: RunProbe, tmp_path: Path
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    code, _, err = run_probe("export", digits.run, "--save-pretrained", tmp_path)
    assert code == 2
    assert "not an empty folder" in err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


class _FakeHub:
    """Stands for `huggingface_hub.HfApi`: keeps what is uploaded."""

    created: dict[str, Any]
    files: dict[str, bytes]

    def __init__(self, **_: Any) -> None:
        pass

    def create_repo(self, **told: Any) -> Any:
        _FakeHub.created = told
        return type("Repository", (), {"repo_id": told["repo_id"]})

    def upload_folder(self, *, folder_path: Path, **_: Any) -> str:
        _FakeHub.files = {path.name: path.read_bytes() for path in folder_path.iterdir()}
        return "https://hub/commit"


def test_the_hub_gets_weights_configuration_and_card(
    digits: Any, run_probe: RunProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", _FakeHub)
    words = ("--trial", "lp", "--push-to-hub", "me/my-digits", "--private")
    code, out, _ = run_probe("export", digits.run, *words)
    assert (code, out) == (0, "https://hub/commit\n")
    assert _FakeHub.created["repo_id"] == "me/my-digits"
    assert _FakeHub.created["private"] is True
    assert sorted(_FakeHub.files) == ["README.md", "config.json", "model.safetensors"]
    assert b'HubClassifier.from_pretrained("me/my-digits")' in _FakeHub.files["README.md"]


def test_a_push_that_fails_is_one_line(
    digits: Any, run_probe: RunProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ConnectionError("no network\nat all")

    monkeypatch.setattr(_FakeHub, "create_repo", refuse)
    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", _FakeHub)
    code, _, err = run_probe("export", digits.run, "--push-to-hub", "me/my-digits")
    assert code == 2
    assert err.startswith("probe: cannot push to me/my-digits: no network; log in with `hf auth login`")
    assert len(err.splitlines()) == 1
