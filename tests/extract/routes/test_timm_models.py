from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from timm.models import save_for_hf

from configs import UserError
from extract import open_backbone


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A folder with what timm pushes to the Hub for a model."""
    torch.manual_seed(3)
    save_for_hf(timm.create_model("test_vit"), tmp_path)
    return tmp_path


def test_a_model_in_timms_layout_for_the_hub_opens_with_its_weights(published: Path) -> None:
    torch.manual_seed(3)
    wanted = timm.create_model("test_vit").patch_embed.proj.weight
    backbone = open_backbone(f"timm:local-dir:{published}")
    assert torch.equal(backbone.model.patch_embed.proj.weight, wanted)
    assert len(backbone.blocks) == 6


def test_a_model_that_is_not_on_the_hub_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*arguments: object, **options: object) -> None:
        raise OSError("no route to the hub\nsecond line")

    monkeypatch.setattr("timm.models._factory.load_model_config_from_hf", offline)
    with pytest.raises(UserError, match=r"cannot create hf-hub:somebody/model: no route to the hub; "):
        open_backbone("timm:hf-hub:somebody/model")
