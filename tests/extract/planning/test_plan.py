"""From costs to a plan, and from a plan to what is printed."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from extract.planning.costs import Costs
from extract.planning.measure import Machine
from extract.planning.plan import Plan, make_plan
from extract.planning.report import print_plan
from extract.planning.work import Work

PlanOf = Callable[..., Plan]


@pytest.fixture
def plan(vit_large: Callable[..., Work], machine: Callable[..., Machine]) -> PlanOf:
    """A plan of ImageNet on ViT-L/16, for a machine with changed rates."""

    def made(
        *, epochs: int = 90, stored: int = 0, options: dict[str, object] | None = None, **rates: object
    ) -> Plan:
        costs = Costs(vit_large(**(options or {})), machine(**rates))
        return make_plan(costs, probe_epochs=epochs, stored_bytes=stored)

    return made


def test_every_choice_of_blocks_has_its_bytes(plan: PlanOf) -> None:
    found = plan(options={"blocks": "5,11"})
    assert found.blocks["asked"] == (5, 11)
    assert found.dtypes["float16"].bytes == {
        "last": 1_331_167 * 411_664,
        "asked": 1_331_167 * (2 * 411_648 + 16),
        "all": 1_331_167 * (24 * 411_648 + 16),
    }


def test_what_does_not_fit_the_disk_is_marked(plan: PlanOf) -> None:
    found = plan(disk_free_bytes=600e9).dtypes
    assert found["float16"].fits_disk == {"last": True, "asked": True, "all": False}
    assert found["float32"].fits_disk == {"last": False, "asked": False, "all": False}


def test_what_is_stored_already_takes_up_room_of_its_own(plan: PlanOf) -> None:
    found = plan(disk_free_bytes=100e9, stored=500_000_000_000)
    assert found.dtypes["float16"].fits_disk["asked"]
    assert found.missing_bytes == 47_993_531_888


def test_the_fastest_tier_that_holds_the_tokens_counts(plan: PlanOf) -> None:
    assert plan().dtypes["float16"].tier == "stream"
    assert plan(host_memory_bytes=1e12).dtypes["float16"].tier == "host"
    assert plan(host_memory_bytes=1e12, device_memory_bytes=1e12).dtypes["float16"].tier == "device"
    without = plan(host_memory_bytes=1e12, device_memory_bytes=1e12, device_bytes_per_second=None)
    assert without.dtypes["float16"].tier == "host"
    assert set(without.dtypes["float16"].tiers) == {"host", "stream"}


def test_extraction_and_all_epochs_are_compared_with_the_backbone_in_every_epoch(plan: PlanOf) -> None:
    found = plan(epochs=50)
    # extraction 1,331.167 s; an epoch streams 514.270683136 GB at 2 GB/s, 257.135 s; online 1,281.167 s
    half = found.dtypes["float16"]
    assert half.extract_seconds == pytest.approx(1_331.167)
    assert half.total_seconds == pytest.approx(1_331.167 + 50 * 257.135341568)
    assert found.online_total_seconds == pytest.approx(50 * 1_281.167)
    assert half.break_even_epochs == 2  # 1,331.167 / 1,024.03 = 1.3


def test_reading_that_is_slower_than_the_backbone_never_pays(plan: PlanOf) -> None:
    found = plan(disk_read_bytes_per_second=100e6)
    assert found.dtypes["float32"].break_even_epochs is None


def test_a_plan_can_be_read_back_from_its_json(plan: PlanOf) -> None:
    found = plan()
    assert Plan.model_validate(json.loads(found.model_dump_json())) == found


@pytest.fixture
def printed(
    plan: PlanOf, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., str]:
    """What a plan prints in a terminal; single spaces between words."""

    def text(*, columns: int = 100, **changes: object) -> str:
        monkeypatch.setenv("COLUMNS", str(columns))
        print_plan(plan(**changes))
        lines = capsys.readouterr().out.splitlines()
        assert max(map(len, lines)) <= columns
        return "\n".join(" ".join(line.split()) for line in lines)

    return text


def test_the_first_lines_say_what_is_planned(printed: Callable[..., str]) -> None:
    assert " ".join(printed().split()).startswith(
        "plan: mae_vitl over imagenet, train 1,281,167 + validation 50,000 images "
        "block 23, 14×14 tokens of 1,024 and cls; float16 → cache/mae_vitl "
    )


def test_every_dtype_has_a_line_in_both_tables(printed: Callable[..., str]) -> None:
    assert [line for line in printed().splitlines() if line.startswith("│ float16 ")] == [
        "│ float16 │ 548.0 GB │ ✗ 13.15 TB │ 22.2 min │ backbone │",
        "│ float16 │ 514.3 GB │ ✗ 0.51 s │ ✗ 51.4 s │ 4.3 min │ 2 │ 6.8 h │",
    ]


def test_blocks_that_were_asked_for_have_a_column(printed: Callable[..., str]) -> None:
    assert "┃ dtype ┃ block 5, 11 ┃ last block ┃ all 24 blocks ┃" in printed(options={"blocks": "5,11"})
    assert "block 0 … 23, 14×14 tokens" in printed(options={"blocks": "all"})


def test_a_cross_is_explained_where_there_is_one(printed: Callable[..., str]) -> None:
    text = printed()
    assert "✗ more than the disk can hold" in text
    assert "✗ more than fits there" in text
    roomy = dict.fromkeys(("disk_free_bytes", "host_memory_bytes", "device_memory_bytes"), 1e14)
    assert "✗" not in printed(**roomy)


def test_what_a_probe_itself_takes_is_said(printed: Callable[..., str]) -> None:
    assert "a probe's own steps are not known, and left out" in printed()
    text = printed(probe_images_per_second=10_000)
    assert "No epoch is shorter than a probe's own steps, 2.1 min." in text
    assert "not known" not in text


def test_what_is_not_known_is_a_dash(printed: Callable[..., str]) -> None:
    text = printed(device_bytes_per_second=None, device_memory_bytes=None)
    assert "│ device memory, free │ – │" in text
    assert "│ 514.3 GB │ – │ ✗ 51.4 s │" in text


def test_the_other_way_closes_the_plan(printed: Callable[..., str]) -> None:
    last = printed().splitlines()[-1]
    assert last == "The backbone in every epoch instead: 21.4 min an epoch, 32.0 h for 90."


def test_eighty_columns_hold_every_row(printed: Callable[..., str]) -> None:
    rows = [line for line in printed(columns=80).splitlines() if line.startswith("│ float32 ")]
    assert rows == [
        "│ float32 │ ✗ 1.09 TB │ ✗ 26.04 TB │ 22.2 min │ backbone │",
        "│ float32 │ 1.03 TB │ ✗ 1.0 s │ ✗ 102.9 s │ 8.6 min │ 2 │ 13.2 h │",
    ]


def test_milliseconds_are_not_planned(printed: Callable[..., str]) -> None:
    assert "│ 514.3 GB │ ✗ < 0.01 s │ ✗ 51.4 s │" in printed(device_bytes_per_second=1e15)
