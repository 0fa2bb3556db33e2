from __future__ import annotations

import sys
import uuid
from pathlib import Path

import pytest

from configs import UserError
from extract import open_backbone

MODULE = """
import timm

def own():
    return timm.create_model("test_vit", num_classes=0)

def number():
    return 3

constant = 3
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module in the current folder."""
    name = f"mine_{uuid.uuid4().hex}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return name


def test_a_function_of_the_current_folder_gives_the_model(module: str) -> None:
    backbone = open_backbone(f"python:{module}.own")
    assert (backbone.name, backbone.source) == (f"{module}.own", f"python:{module}.own")
    assert len(backbone.blocks) == 6


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("own", r"give python:MODULE\.FUNCTION"),
        (
            "nowhere_at_all.own",
            "No module named 'nowhere_at_all'; it must be installed, or lie in this folder",
        ),
        ("{module}.other", "has no function other"),
        ("{module}.constant", "has no function constant"),
        ("{module}.number", "gave a int, not a torch module"),
    ],
)
def test_what_gives_no_model_is_refused(module: str, name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_backbone(f"python:{name.format(module=module)}")
