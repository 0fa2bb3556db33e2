from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from configs import UserError
from extract import open_backbone
from extract.weights import load_checkpoint, weights_hash

ARCHITECTURE = "test_vit"


def _model(seed: int, num_classes: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return timm.create_model(ARCHITECTURE, num_classes=num_classes)


@pytest.mark.parametrize("wrapper", [None, "model", "state_dict"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_published_wrappers_and_prefixes_come_off(tmp_path: Path, wrapper: str | None, prefix: str) -> None:
    wanted, model = _model(1), _model(2)
    state: dict[str, object] = {prefix + name: value for name, value in wanted.state_dict().items()}
    torch.save({wrapper: state, "epoch": 3} if wrapper else state, tmp_path / "weights.pth")
    load_checkpoint(model, tmp_path / "weights.pth")
    assert weights_hash(model) == weights_hash(wanted)


def test_safetensors_load(tmp_path: Path) -> None:
    wanted, model = _model(1), _model(2)
    save_file(wanted.state_dict(), tmp_path / "weights.safetensors")
    load_checkpoint(model, tmp_path / "weights.safetensors")
    assert weights_hash(model) == weights_hash(wanted)


def test_a_classifier_is_left_out(tmp_path: Path) -> None:
    wanted, model = _model(1, num_classes=5), _model(2)
    torch.save(wanted.state_dict(), tmp_path / "weights.pth")
    load_checkpoint(model, tmp_path / "weights.pth")
    assert torch.equal(model.state_dict()["cls_token"], wanted.state_dict()["cls_token"])


def test_missing_and_unexpected_keys_are_listed(tmp_path: Path) -> None:
    state = _model(1).state_dict()
    state["decoder.weight"] = state.pop("norm.weight")
    torch.save(state, tmp_path / "weights.pth")
    with pytest.raises(UserError, match=r"missing norm\.weight; unexpected decoder\.weight"):
        load_checkpoint(_model(2), tmp_path / "weights.pth")


def test_a_wrong_shape_is_an_error(tmp_path: Path) -> None:
    state = _model(1).state_dict()
    state["norm.weight"] = torch.zeros(3)
    torch.save(state, tmp_path / "weights.pth")
    with pytest.raises(UserError, match="does not fit") as caught:
        load_checkpoint(_model(2), tmp_path / "weights.pth")
    assert "\n" not in str(caught.value)


def test_a_pickle_that_could_run_code_is_refused(tmp_path: Path) -> None:
    torch.save({"model": _model(1)}, tmp_path / "weights.pth")
    with pytest.raises(UserError, match="cannot read"):
        load_checkpoint(_model(2), tmp_path / "weights.pth")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no weights at .*nowhere\.pth"):
        open_backbone(f"timm:{ARCHITECTURE}", weights=str(tmp_path / "nowhere.pth"))


def test_the_hash_sees_one_changed_bit() -> None:
    model = _model(1)
    before = weights_hash(model)
    with torch.no_grad():
        model.get_parameter("cls_token").view(torch.int32)[0, 0, 0] ^= 1
    assert weights_hash(model) != before
