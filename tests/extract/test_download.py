from __future__ import annotations

from pathlib import Path
from urllib.error import URLError

import pytest
import torch

from configs import UserError, load_backbone, names
from extract.download import downloaded


@pytest.fixture
def fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Addresses that were downloaded; each file holds its own address."""
    addresses: list[str] = []

    def download(address: str, path: str) -> None:
        addresses.append(address)
        Path(path).write_text(address)

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    return addresses


def test_a_file_is_downloaded_once(fetched: list[str]) -> None:
    address = "https://example.org/a/weights.pth"
    assert downloaded(address) == downloaded(address)
    assert fetched == [address]


def test_every_address_of_ours_has_a_file_of_its_own(fetched: list[str]) -> None:
    weights = {load_backbone(name).weights for name in names("backbones")}
    addresses = sorted(address for address in weights if address.startswith("https://"))
    assert [downloaded(address).read_text() for address in addresses] == addresses


def test_an_address_out_of_reach_is_one_line_that_names_it(
    fetched: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(address: str, path: str) -> None:
        raise URLError("no route")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    with pytest.raises(UserError, match=r"cannot download https://example.org/x.pth: .*no route"):
        downloaded("https://example.org/x.pth")
