"""Tokens leave the device beside the forward pass; their memory and their bytes are waited for."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch

from cache import encode
from extract.host_copies import HostCopies

CPU = torch.device("cpu")


class Stream:
    """A stream of a device that is not there; it says what is asked of it."""

    def __init__(self, log: list[str]) -> None:
        self.log, self.device = log, CPU

    def wait_stream(self, stream: str) -> None:
        self.log.append(f"wait for {stream}")

    def record_event(self) -> Stream:
        self.log.append("event")
        return self

    def synchronize(self) -> None:
        self.log.append("event waited for")


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What happens on a CUDA device that is not there."""
    happened: list[str] = []
    copy = torch.Tensor.to

    def copied(tensor: torch.Tensor, device: str, *, non_blocking: bool) -> torch.Tensor:
        happened.append(f"copy to {device}, non_blocking={non_blocking}")
        return copy(tensor, device)

    monkeypatch.setattr(torch.cuda, "Stream", lambda device: Stream(happened))
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: "the forward pass")
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda tensor, stream: happened.append("kept"))
    monkeypatch.setattr(torch.Tensor, "to", copied)
    return happened


def test_what_is_on_the_cpu_is_there_already() -> None:
    tokens = torch.randn(2, 3, 4)
    arrays = {"patches": (encode(tokens, "float16"), tokens)}
    assert HostCopies(CPU).begin(arrays).wait() is arrays


def test_copies_follow_the_forward_pass_and_none_is_used_before_it_is_there(
    request: pytest.FixtureRequest,
) -> None:
    tokens = torch.randn(2, 3, 4)
    encoded = encode(tokens, "int8")
    log: list[str] = request.getfixturevalue("log")
    copied = HostCopies(torch.device("cuda")).begin({"patches": (encoded, tokens)})
    copies = ["copy to cpu, non_blocking=True", "kept"] * 4  # codes, scales, minimum, maximum
    assert log == ["wait for the forward pass", *copies, "event"]
    found, source = copied.wait()["patches"]
    assert log[-1] == "event waited for"
    assert source is tokens
    assert torch.equal(found.tokens, encoded.tokens)
    assert found.scales is not None
