from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from cache import chosen_device, device, launch
from cache.device import same_device
from cache.read_ahead import MOST_COPIERS, copying_threads
from configs import UserError


def test_named_device_is_taken() -> None:
    assert chosen_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["abacus", "cuda:4096"])
def test_device_that_cannot_be_used_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(UserError, match=f"--device {name}: ") as raised:
        chosen_device(name)
    assert "\n" not in str(raised.value)


def test_a_gpu_beyond_the_last_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UserError, match="--device cuda:256: the GPUs here are cuda:0 to cuda:1"):
        chosen_device("cuda:256")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("cuda", "cuda:0", True),
        ("cuda:1", "cuda", True),
        ("cuda:1", "cuda:1", True),
        ("cuda:1", "cuda:0", False),
        ("cpu", "cuda:0", False),
        ("cpu", "cpu", True),
    ],
)
def test_devices_are_compared_by_kind_and_number(one: str, other: str, same: bool) -> None:
    assert same_device(torch.device(one), torch.device(other)) == same


@pytest.mark.parametrize(
    ("kind", "cores", "processes", "threads"),
    [("cpu", 64, 1, 1), ("cuda", 64, 1, MOST_COPIERS), ("cuda", 64, 8, 4), ("cuda", 2, 4, 1)],
)
def test_copying_for_a_gpu_takes_half_of_the_cores(
    monkeypatch: pytest.MonkeyPatch, kind: str, cores: int, processes: int, threads: int
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(cores)))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    assert copying_threads(torch.device(kind)) == threads


def test_process_of_its_own_is_the_first_of_one() -> None:
    assert (launch().process_index, launch().num_processes) == (0, 1)


@pytest.fixture
def happened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is done on a machine with two CUDA devices, of which a launcher gives this process the second."""
    log: list[str] = []

    def launched(name: str | None = None) -> SimpleNamespace:
        log.append("launched")
        return SimpleNamespace(device=torch.device("cuda", 1))

    def tensor(*_: Any, device: str) -> torch.Tensor:
        log.append(f"tensor on {device}")
        return torch.tensor(1.0)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", lambda chosen: log.append(f"current is {chosen}"))
    monkeypatch.setattr(torch, "ones", tensor)
    monkeypatch.setattr(device, "launch", launched)
    return log


def test_a_device_with_a_number_becomes_the_current_one(happened: list[str]) -> None:
    assert chosen_device("cuda:0") == torch.device("cuda", 0)
    assert happened[-1] == "current is cuda:0"


def test_processes_take_their_own_device_before_they_compute(
    happened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert chosen_device("cuda") == torch.device("cuda", 1)
    assert happened[:2] == ["launched", "tensor on cuda"]


def test_one_device_for_several_processes_is_refused_before_they_talk(
    happened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(
        UserError, match=r"^--device cuda:1 names one device for 2 processes: give --device c"
    ):
        chosen_device("cuda:1")
    assert happened == []


@pytest.mark.filterwarnings("ignore")  # some versions of torch have new names for these settings
@pytest.mark.parametrize("name", ["cpu", None])
def test_float32_is_not_rounded_to_tf32(name: str | None) -> None:
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cuda.matmul.allow_tf32 = True
    chosen_device(name)
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32
