"""What an accelerator has for this process."""

from __future__ import annotations

import pytest
import torch

from cache import free_device_memory, give_back_device_memory

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 1)


def test_what_torch_keeps_of_freed_tensors_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", {CUDA: (50, 100)}.__getitem__)
    monkeypatch.setattr(torch.cuda, "memory_reserved", {CUDA: 40}.__getitem__)
    monkeypatch.setattr(torch.cuda, "memory_allocated", {CUDA: 15}.__getitem__)
    assert free_device_memory(CUDA) == 50 + 40 - 15


def test_a_cpu_has_no_memory_beside_the_hosts() -> None:
    assert free_device_memory(CPU) == 0


def test_what_only_refers_to_itself_is_freed_before_memory_is_given_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    freed: list[str] = []

    class Circle:
        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            freed.append("circle")

    Circle()
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: freed.append("cache"))
    give_back_device_memory()
    assert freed == ["circle", "cache"]
