"""Measurements give numbers and leave nothing behind. What the numbers are is the machine's affair."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from configs import UserError
from extract.backbone import Backbone
from extract.encoding import encode_batch
from extract.options import TokenOptions
from extract.planning.byte_rates import device_rates, disk_rates, host_rate
from extract.planning.image_rates import image_rates
from extract.planning.measure import Machine, measure_missing
from extract.planning.rates import Measured, Rates
from extract.planning.work import Work, plan_work


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("image_rates", "byte_rates"):
        monkeypatch.setattr(f"extract.planning.{module}.SECONDS", 0.05)
    monkeypatch.setattr("extract.planning.byte_rates.LARGEST_FILE", 2 * 2**20)
    monkeypatch.setattr("extract.planning.byte_rates.TOKENS_IN_MEMORY", 2**20)


@pytest.fixture
def work(tmp_path: Path) -> Callable[..., Work]:
    """Digits through the bundled backbone on the CPU, with changed options."""

    def planned(**options: object) -> Work:
        words = {"backbone": "mae_digits", "dataset": "digits", "workers": 0, "device": "cpu"}
        return plan_work(TokenOptions(**{**words, "out": tmp_path / "out" / "store", **options}))

    return planned


def only(measured: tuple[Measured]) -> Measured:
    assert measured[0].value is not None
    assert measured[0].value > 0
    return measured[0]


@pytest.fixture
def alone(work: Callable[..., Work]) -> Callable[..., Measured]:
    """The backbone, or decoding, where the other one is stated."""

    def measured(part: str, **options: object) -> Measured:
        names = {f"{name}_images_per_second" for name in ("backbone", "decode")}
        wanted = f"{part}_images_per_second"
        found = image_rates(work(**options), Rates(**dict.fromkeys(names - {wanted}, 9.0)))
        assert found.keys() == {wanted, "extract_images_per_second"}
        assert found["extract_images_per_second"].value is None
        return only((found[wanted],))

    return measured


def test_the_backbone_is_measured_with_random_weights(alone: Callable[..., Measured]) -> None:
    assert alone("backbone", batch_size=2).how == "measured on cpu, batches of 2, random weights"


def test_a_slow_machine_is_measured_with_small_batches(
    alone: Callable[..., Measured], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("extract.planning.image_rates.SECONDS", 0)
    assert alone("backbone", batch_size=64).how == "measured on cpu, batches of 1, random weights"


def test_a_batch_that_does_not_fit_is_said_so(
    alone: Callable[..., Measured], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(Backbone, "forward", full)
    with pytest.raises(UserError, match=r"^a batch of 1 images does not fit on cpu: use a smaller --batch-s"):
        alone("backbone")


def test_a_checkpoint_for_the_measurement_is_loaded(tmp_path: Path, alone: Callable[..., Measured]) -> None:
    with pytest.raises(UserError, match="no weights at"):
        alone("backbone", weights=str(tmp_path / "nothing.pth"))


@pytest.mark.parametrize("workers", [0, 1])
def test_images_of_the_data_set_are_decoded(alone: Callable[..., Measured], workers: int) -> None:
    how = alone("decode", workers=workers).how
    assert how == f"measured, {workers} worker processes, images of digits"


def test_images_that_cannot_be_read_do_not_end_a_plan(tmp_path: Path, alone: Callable[..., Measured]) -> None:
    (tmp_path / "photos" / "cat").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "photos" / "cat" / "1.png")
    (tmp_path / "photos" / "cat" / "2.png").write_bytes(b"no image")
    alone("decode", dataset=f"folder:{tmp_path}/photos")


def test_images_that_are_elsewhere_are_made_up_and_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alone: Callable[..., Measured]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    how = alone("decode", dataset="imagenet").how
    assert how == "measured, 0 worker processes, synthetic JPEGs of 500×375"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("workers", [0, 1])
def test_decoding_and_the_backbone_are_measured_at_once(work: Callable[..., Work], workers: int) -> None:
    found = image_rates(work(workers=workers), Rates())
    assert {only((rate,)).how.partition(",")[0] for rate in found.values()} == {"measured", "measured on cpu"}
    assert list(found) == [f"{part}_images_per_second" for part in ("backbone", "decode", "extract")]


def test_measuring_both_at_once_encodes_what_the_store_would_hold(
    work: Callable[..., Work], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: set[tuple[str, bool]] = set()

    def observed(*arguments: Any) -> object:
        found = encode_batch(*arguments)
        encoded.update((name, values.scales is not None) for name, (values, _) in found.items())
        return found

    monkeypatch.setattr("extract.planning.image_rates.encode_batch", observed)
    image_rates(work(dtype="int8", blocks="2,5"), Rates())
    kinds = (("patches", True), ("prefix", False), ("mean", False), ("mean_normed", False))
    assert encoded == {(f"block{block}/{kind}", scaled) for block in (2, 5) for kind, scaled in kinds}


def test_the_disk_is_measured_where_the_store_would_stand(tmp_path: Path, work: Callable[..., Work]) -> None:
    write, read = disk_rates(work())
    assert (only((write,)).how, only((read,)).how) == (
        f"measured, 2.10 MB in {tmp_path}, flushed",
        f"measured, 2.10 MB in {tmp_path}, uncached",
    )
    assert list(tmp_path.iterdir()) == []


def test_a_disk_error_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: Callable[..., Work]
) -> None:
    def broken(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("os.fsync", broken)
    with pytest.raises(UserError, match=r"cannot measure the disk in .*: Input/output error; choose"):
        disk_rates(work())
    assert list(tmp_path.iterdir()) == []


def test_a_measurement_takes_up_a_tenth_of_what_is_free(
    monkeypatch: pytest.MonkeyPatch, work: Callable[..., Work]
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(0, 0, 15 * 2**20))
    assert disk_rates(work())[0].how.startswith("measured, 1.57 MB in ")


def test_a_disk_that_is_too_full_to_be_measured_is_said_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: Callable[..., Work]
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(0, 0, 9 * 2**20))
    with pytest.raises(UserError, match="too little space left to measure its speed: choose another --out"):
        disk_rates(work())


def test_memory_is_measured(work: Callable[..., Work]) -> None:
    assert only(host_rate(work())).how == "measured, records at random from memory to cpu"


def test_the_cpu_has_no_memory_of_its_own(work: Callable[..., Work]) -> None:
    assert [found.value for found in device_rates(work())] == [None, None]


def test_what_is_stated_is_not_measured(work: Callable[..., Work], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> Any:
        raise AssertionError("it is stated")

    monkeypatch.setattr("extract.planning.measure.MEASUREMENTS", {tuple(Rates.model_fields): refuse})
    for opened in ("open_backbone", "sample_images"):
        monkeypatch.setattr(f"extract.planning.image_rates.{opened}", refuse)
    stated = Rates(**dict.fromkeys(Rates.model_fields, 7.0))
    machine = measure_missing(stated, "fast.yaml", work())
    assert machine == Machine(stated, dict.fromkeys(Rates.model_fields, "stated in fast.yaml"))


def test_a_stated_rate_stands_beside_measured_ones(work: Callable[..., Work]) -> None:
    machine = measure_missing(Rates(disk_write_bytes_per_second=123), "slow.yaml", work())
    assert machine.rates.disk_write_bytes_per_second == 123
    assert machine.origins["disk_write_bytes_per_second"] == "stated in slow.yaml"
    assert machine.origins["disk_read_bytes_per_second"].startswith("measured")
    unknown = {name for name, value in machine.rates if value is None}
    assert unknown == {"probe_images_per_second", "device_bytes_per_second", "device_memory_bytes"}
