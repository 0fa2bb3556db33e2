"""Which tier is chosen, from what is free."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from cache import SplitManifest, SplitReader, TokenDataset, choose_residency
from cache.free_memory import free_host_memory
from cache.page_cache import prefetch

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def dataset(
    store: Path,
    engine: str,
    split_manifest: Callable[..., SplitManifest],
    write_split: Callable[..., Path],
) -> TokenDataset:
    manifest = split_manifest(format=engine, records=100, shard_size=8, num_tokens=5, dim=64)
    return TokenDataset(SplitReader(write_split(store, manifest)), 3, ["patches"])


NEEDED = 100 * 5 * 64 * 2

Free = Callable[..., None]


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Free:
    """`free(host=…, device=…)`: so many bytes are free from now on."""

    def set_free(*, host: int, device: int = 0) -> None:
        monkeypatch.setattr("cache.residency.free_host_memory", lambda: host)
        monkeypatch.setattr("cache.residency.free_device_memory", lambda _: device)

    return set_free


@pytest.mark.parametrize(
    ("host", "device", "tier"),
    [
        (10 * NEEDED, 10 * NEEDED, "device"),
        (10 * NEEDED, NEEDED, "host"),
        (NEEDED, 0, "stream"),
        (NEEDED, 2 * NEEDED, "device"),
    ],
)
def test_the_first_tier_that_holds_the_tokens_is_chosen(
    dataset: TokenDataset, free: Free, host: int, device: int, tier: str
) -> None:
    free(host=host, device=device)
    assert choose_residency([dataset], CUDA).tier == tier


def test_all_data_sets_of_a_run_must_fit(dataset: TokenDataset, free: Free) -> None:
    free(host=2 * NEEDED)
    assert choose_residency([dataset], CPU).tier == "host"
    assert choose_residency([dataset, dataset], CPU).tier == "stream"


def test_the_cpu_has_no_memory_of_its_own(dataset: TokenDataset) -> None:
    assert choose_residency([dataset], CPU).tier == "host"


@pytest.mark.parametrize("tier", ["device", "host", "stream"])
def test_a_tier_can_be_forced(dataset: TokenDataset, free: Free, tier: str) -> None:
    free(host=NEEDED)
    assert choose_residency([dataset], CPU, tier=tier).tier == tier


def test_streaming_uses_a_power_of_two_below_a_quarter_of_what_is_free(
    dataset: TokenDataset, free: Free
) -> None:
    free(host=10_000)
    assert choose_residency([dataset], CPU).memory == 2048


def test_processes_of_a_machine_share_the_memory_for_streaming(
    dataset: TokenDataset, free: Free, monkeypatch: pytest.MonkeyPatch
) -> None:
    free(host=10_000)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert choose_residency([dataset], CPU).memory == 512


def test_memory_for_streaming_can_be_stated(dataset: TokenDataset) -> None:
    assert choose_residency([dataset], CPU, tier="stream", memory=12345).memory == 12345


def _group(folder: Path, limit: str, used: int, cached: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\nactive_file {cached}\ninactive_file 0\n")


def test_the_tightest_control_group_limits_what_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _group(tmp_path, "max", 10**6, 0)
    _group(tmp_path / "job", "5000", 4000, 1500)
    _group(tmp_path / "job" / "step", "9000", 1000, 0)
    monkeypatch.setattr("cache.free_memory.CGROUPS", tmp_path)
    monkeypatch.setattr("cache.free_memory._own_group", lambda: "job/step")
    assert free_host_memory() == 5000 - 4000 + 1500


def test_without_control_groups_the_machines_memory_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cache.free_memory.CGROUPS", tmp_path)
    assert 2**20 < free_host_memory() < 2**50


def test_prefetching_asks_for_the_bytes_of_every_record_that_is_read(
    dataset: TokenDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr("os.posix_fadvise", lambda file, offset, length, advice: asked.append(length))
    prefetch(dataset)
    assert sum(asked) == NEEDED
    assert len(asked) == 13
