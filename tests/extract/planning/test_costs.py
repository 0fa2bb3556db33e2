"""Every formula, with numbers worked out by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from extract.planning.costs import Costs, break_even
from extract.planning.measure import Machine
from extract.planning.work import Work

TRAIN, ALL = 1_281_167, 1_331_167

# a ViT-L/16 keeps of an image 14 × 14 = 196 patch tokens and one [CLS] of 1,024 channels, the patches' mean
# before and after the final norm in float32, and two int64
RECORD = {
    "float16": 401_408 + 2_048 + 4_096 + 4_096 + 16,
    "bfloat16": 401_408 + 2_048 + 4_096 + 4_096 + 16,
    "float32": 802_816 + 4_096 + 4_096 + 4_096 + 16,
    # a byte for each value; scales of two bytes for 196 tokens and 1,024 channels; [CLS] in float16
    "int8": 200_704 + 2_440 + 2_048 + 4_096 + 4_096 + 16,
}
PATCHES = {"float16": 401_408, "bfloat16": 401_408, "float32": 802_816, "int8": 203_144}

WorkOf = Callable[..., Work]
MachineOf = Callable[..., Machine]


@pytest.mark.parametrize("dtype", RECORD)
def test_the_store_holds_every_record_of_all_splits(
    vit_large: WorkOf, machine: MachineOf, dtype: str
) -> None:
    costs = Costs(vit_large(), machine())
    assert costs.store_bytes([23], dtype) == ALL * RECORD[dtype]
    assert costs.store_bytes(range(24), dtype) == ALL * (24 * (RECORD[dtype] - 16) + 16)


def test_a_float16_store_of_imagenet_is_548_gigabytes(vit_large: WorkOf, machine: MachineOf) -> None:
    assert Costs(vit_large(), machine()).store_bytes([23], "float16") == 547_993_531_888


@pytest.mark.parametrize("dtype", PATCHES)
def test_an_epoch_reads_the_patches_of_the_training_split(
    vit_large: WorkOf, machine: MachineOf, dtype: str
) -> None:
    assert Costs(vit_large(), machine()).probe_bytes(dtype) == TRAIN * PATCHES[dtype]


def test_several_blocks_are_stored_and_the_last_of_them_is_read(
    vit_large: WorkOf, machine: MachineOf
) -> None:
    costs = Costs(vit_large(blocks="5,11"), machine())
    assert costs.store_bytes(costs.work.blocks, "float16") == ALL * (2 * 411_648 + 16)
    assert costs.probe_bytes("float16") == TRAIN * 401_408


def test_views_multiply_the_tokens_of_the_training_split(vit_large: WorkOf, machine: MachineOf) -> None:
    costs = Costs(vit_large(views=4), machine())
    assert costs.store_bytes([23], "float16") == TRAIN * (4 * 411_648 + 16) + 50_000 * 411_664
    assert costs.probe_bytes("float16") == TRAIN * 401_408  # an epoch reads one view of each image
    assert costs.online_epoch() == Costs(vit_large(), machine()).online_epoch()


def test_each_view_is_a_pass_of_an_image_that_is_decoded_once(vit_large: WorkOf, machine: MachineOf) -> None:
    passes = 4 * TRAIN + 50_000
    fast = machine(disk_write_bytes_per_second=1e12)
    seconds = pytest.approx(passes / 1000)
    assert Costs(vit_large(views=4), fast).extraction("float16") == (seconds, "backbone")
    slow_decoding = machine(disk_write_bytes_per_second=1e12, decode_images_per_second=200)
    seconds = pytest.approx(ALL / 200)
    assert Costs(vit_large(views=4), slow_decoding).extraction("float16") == (seconds, "decoding")
    at_once = machine(disk_write_bytes_per_second=1e12, extract_images_per_second=800)
    seconds = pytest.approx(ALL / 800 + (passes - ALL) / 1000)
    assert Costs(vit_large(views=4), at_once).extraction("float16") == (seconds, "backbone")


def test_a_tier_must_hold_every_view(vit_large: WorkOf, machine: MachineOf) -> None:
    memory = machine(host_memory_bytes=800e9)
    assert Costs(vit_large(), memory).fits("host", "float16")
    assert not Costs(vit_large(views=2), memory).fits("host", "float16")


@pytest.mark.parametrize("rates", [{}, {"disk_write_bytes_per_second": 1e6}], ids=["backbone", "disk"])
def test_a_part_takes_its_share_of_the_seconds_and_the_store_stays_whole(
    vit_large: WorkOf, machine: MachineOf, rates: dict[str, float]
) -> None:
    whole, part = (Costs(vit_large(part=text), machine(**rates)) for text in ("1/1", "3/16"))
    assert part.extraction("float16")[0] == pytest.approx(whole.extraction("float16")[0] / 16)
    assert part.store_bytes([23], "float16") == whole.store_bytes([23], "float16")


@pytest.mark.parametrize(
    ("rates", "seconds", "slowest"),
    [
        ({}, 1_331.167, "backbone"),
        ({"decode_images_per_second": 100}, 13_311.67, "decoding"),
        ({"disk_write_bytes_per_second": 100e6}, 5_479.93531888, "disk"),
    ],
)
def test_extraction_takes_as_long_as_its_slowest_part(
    vit_large: WorkOf, machine: MachineOf, rates: dict[str, float], seconds: float, slowest: str
) -> None:
    assert Costs(vit_large(), machine(**rates)).extraction("float16") == (pytest.approx(seconds), slowest)


def test_what_was_measured_at_once_counts_more_than_each_alone(vit_large: WorkOf, machine: MachineOf) -> None:
    costs = Costs(vit_large(), machine(extract_images_per_second=100))
    assert costs.extraction("float16") == (pytest.approx(13_311.67), "backbone")
    assert costs.online_epoch() == pytest.approx(12_811.67)
    with_probe = machine(extract_images_per_second=800, probe_images_per_second=500)
    assert Costs(vit_large(), with_probe).online_epoch() == pytest.approx(1_281.167 + 2_562.334)


def test_an_epoch_takes_as_long_as_reading_its_tokens(vit_large: WorkOf, machine: MachineOf) -> None:
    costs = Costs(vit_large(), machine())
    size = 514_270_683_136  # 1,281,167 × 401,408
    assert costs.epoch("device", "float16") == pytest.approx(size / 1000e9)
    assert costs.epoch("host", "float16") == pytest.approx(size / 10e9)
    assert costs.epoch("stream", "float16") == pytest.approx(size / 2e9)


def test_what_is_streamed_passes_through_memory(vit_large: WorkOf, machine: MachineOf) -> None:
    costs = Costs(vit_large(), machine(disk_read_bytes_per_second=50e9))
    assert costs.epoch("stream", "float16") == costs.epoch("host", "float16")


def test_an_epoch_is_never_faster_than_its_training_steps(vit_large: WorkOf, machine: MachineOf) -> None:
    costs = Costs(vit_large(), machine(probe_images_per_second=10_000))
    assert costs.epoch("device", "float16") == pytest.approx(128.1167)
    assert costs.epoch("host", "float16") == pytest.approx(128.1167)
    assert costs.epoch("stream", "float16") == pytest.approx(514_270_683_136 / 2e9)


def test_an_online_epoch_decodes_beside_backbone_and_probe(vit_large: WorkOf, machine: MachineOf) -> None:
    assert Costs(vit_large(), machine()).online_epoch() == pytest.approx(1_281.167)
    with_probe = machine(probe_images_per_second=4_000)
    assert Costs(vit_large(), with_probe).online_epoch() == pytest.approx(1_281.167 + 320.29175)
    slow_decoding = machine(probe_images_per_second=4_000, decode_images_per_second=100)
    assert Costs(vit_large(), slow_decoding).online_epoch() == pytest.approx(12_811.67)


def test_a_device_without_memory_of_its_own_is_no_tier(vit_large: WorkOf, machine: MachineOf) -> None:
    costs = Costs(vit_large(), machine(device_bytes_per_second=None))
    assert costs.epoch("device", "float16") is None


@pytest.mark.parametrize(
    ("memory", "dtype", "fits"),
    [
        # patches of all splits: 534.3 GB in float16, 270.4 GB in int8; seven tenths of memory are for them
        (763.4e9, "float16", True),
        (763.3e9, "float16", False),
        (386.4e9, "int8", True),
        (386.2e9, "int8", False),
        (None, "int8", False),
    ],
)
def test_a_tier_holds_tokens_that_take_up_seven_tenths_of_it(
    vit_large: WorkOf, machine: MachineOf, memory: float | None, dtype: str, fits: bool
) -> None:
    costs = Costs(vit_large(), machine(host_memory_bytes=memory, device_memory_bytes=memory))
    assert costs.fits("host", dtype) is fits
    assert costs.fits("device", dtype) is fits
    assert costs.fits("stream", dtype)


def test_probes_train_on_the_only_split_where_there_is_no_train(
    vit_large: WorkOf, machine: MachineOf
) -> None:
    costs = Costs(vit_large(split="validation"), machine())
    assert costs.train_split == "validation"
    assert costs.probe_bytes("float16") == 50_000 * 401_408


@pytest.mark.parametrize(
    ("extraction", "epoch", "online", "epochs"),
    [(100, 1, 11, 10), (101, 1, 11, 11), (1, 1, 11, 1), (1, 5, 5, None), (1, 6, 5, None)],
)
def test_extracting_pays_from_the_epoch_that_has_saved_its_time(
    extraction: float, epoch: float, online: float, epochs: int | None
) -> None:
    assert break_even(extraction, epoch, online) == epochs
