"""`report.html`: its parts, and that it needs nothing else and trusts no name."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from probe.predictions import Predictions
from probe.reporting import read_run, write_report
from probe.reporting.finished_runs import results_of
from probe.reporting.sections import answers_section

RunOf = Callable[[str], Path]
ReadPage = Callable[[Path], Any]
PageOf = Callable[[str], tuple[Any, Path]]

ALWAYS = {"answers", "classes", "protocol", "store"}
TRAINED = ALWAYS | {"costs", "learning"}
PARTS = {
    "plain": TRAINED,
    "one": TRAINED,
    "sweep": TRAINED | {"sweep"},
    "rates": TRAINED | {"sweep"},
    "blocks": TRAINED | {"layers"},
    "shots": TRAINED | {"images"},
    "closed": ALWAYS,
}


@pytest.mark.parametrize("kind", PARTS)
def test_a_page_has_the_parts_that_its_run_has_something_for(page_of: PageOf, kind: str) -> None:
    page, folder = page_of(kind)
    assert set(page.parts) == PARTS[kind]
    assert len(page.parts) == len(set(page.parts))
    _require_self_contained(page)
    _require_nothing_of_a_class_name_is_a_tag(page)
    pictures = [attributes["src"] for tag, attributes in page.tags if tag == "img"]
    assert len(pictures) == len(list(folder.glob("*.svg"))) == len(list(folder.glob("*.png"))) > 0
    for source in pictures:
        ElementTree.fromstring(base64.b64decode(source.partition(",")[2]))


def _require_self_contained(page: Any) -> None:
    for tag, attributes in page.tags:
        assert tag not in ("script", "link", "iframe", "object")
        assert not any(name.startswith("on") for name in attributes)
        assert (attributes.get("src") or "data:").startswith("data:")
        assert (attributes.get("href") or "#").startswith("#")


def _require_nothing_of_a_class_name_is_a_tag(page: Any) -> None:
    assert "<script>alert(1)</script>" in page.text
    assert "a�b�" in page.text  # control characters may stand in no page
    assert "\x07" not in page.text


def test_pictures_are_large_enough_to_be_read(page_of: PageOf) -> None:
    for path in page_of("plain")[1].glob("*.png"):
        assert min(Image.open(path).size) > 400


def test_several_runs_share_a_page(run_of: RunOf, read_page: ReadPage, tmp_path: Path) -> None:
    runs = [read_run(run_of(kind)) for kind in ("one", "rates", "closed")]
    page = read_page(write_report(runs, tmp_path))
    assert page.parts.count("protocol") == 3
    assert page.parts.count("answers") == 1
    assert "Protocol of rates" in page.text


def test_the_same_runs_give_the_same_page(run_of: RunOf, page_of: PageOf, tmp_path: Path) -> None:
    again = write_report([read_run(run_of("one"))], tmp_path)
    assert again.read_bytes() == (page_of("one")[1] / "report.html").read_bytes()


def test_losses_that_are_no_number_are_left_out(
    changed_run: Callable[..., Path], read_page: ReadPage, tmp_path: Path
) -> None:
    folder = changed_run("one", lambda results: None)
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    without = [line.replace('"loss"', '"gone"') for line in lines]
    (folder / "metrics.jsonl").write_text("\n".join(without))
    page = read_page(write_report([read_run(folder)], tmp_path / "out"))
    assert "learning" in page.parts


def test_a_run_without_predictions_is_told_so(
    changed_run: Callable[..., Path], read_page: ReadPage, tmp_path: Path
) -> None:
    folder = changed_run("closed", lambda results: None)
    page = read_page(write_report([read_run(folder)], tmp_path / "out"))
    assert "kept no predictions" in page.text


@pytest.mark.parametrize(("kind", "held_out"), [("one", False), ("rates", True), ("closed", True)])
def test_the_held_out_column_is_there_where_images_were_held_out(
    run_of: RunOf, kind: str, held_out: bool
) -> None:
    section = answers_section(results_of([read_run(run_of(kind))]))
    (table,) = section.tables
    assert ("held-out" in table.columns) == ("held-out" in section.words[0]) == held_out
    assert {len(row) for row in table.rows} == {len(table.columns)}


def test_a_column_that_no_answer_fills_is_left_out(run_of: RunOf) -> None:
    (table,) = answers_section(results_of([read_run(run_of("closed"))])).tables
    assert table.columns == ("probe", "held-out", "top-1", "top-5", "best")  # no parameters, no GFLOPs


def test_the_rule_of_choosing_is_in_words(page_of: PageOf) -> None:
    page, _ = page_of("sweep")
    assert "A stratified 10 % of the training images was held out." in page.text
    assert "Successive halving" in page.text
    assert "the literature's habit" in page.text


def test_many_classes_are_ranked_and_their_confusions_listed(
    run_of: RunOf, read_page: ReadPage, tmp_path: Path
) -> None:
    run = read_run(run_of("one"))
    drawn = np.random.default_rng(0)
    label, predicted = drawn.integers(0, 40, 400), drawn.integers(0, 40, (400, 5))
    names = [f"class {number}" for number in range(40)]
    many = replace(
        run,
        config={**run.config, "classes": names},
        predictions=Predictions(np.arange(400), label, ((predicted,),)),
    )
    page = read_page(write_report([many], tmp_path))
    assert "the 10 worst and 10 best classes of lp" in page.text
    assert "the most frequent confusions of lp" in page.text
    assert not (tmp_path / "confusions.png").exists()


def test_two_data_sets_have_pictures_of_their_own(
    run_of: RunOf, changed_run: Callable[..., Path], tmp_path: Path
) -> None:
    def rename(results: dict[str, Any]) -> None:
        results["config"]["evaluation"]["name"] = "plants"

    runs = [read_run(run_of("one")), read_run(changed_run("one", rename))]
    write_report(runs, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").glob("costs*.png")} == {"costs-1.png", "costs-2.png"}
