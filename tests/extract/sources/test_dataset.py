from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from configs import UserError
from extract.sources import Dataset, open_dataset
from extract.sources.folder import FolderSource


def test_a_data_set_with_another_number_of_classes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "owl").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "owl" / "1.png")
    dataset = Dataset("birds", "hf:someone/birds", 3, {"train": lambda: FolderSource(tmp_path)})
    with pytest.raises(UserError, match=r"birds should have 3 classes; train has 1"):
        dataset.open("train")


def test_a_generic_source_is_named_after_its_last_part(tmp_path: Path) -> None:
    (tmp_path / "my birds!").mkdir()
    assert open_dataset(f"folder:{tmp_path / 'my birds!'}").name == "my_birds_"
