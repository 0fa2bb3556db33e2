"""`probe attention` on digits."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cache import BlockGeometry
from extract.sources.digits import DigitsSource
from probe import run_fit


def _measures(run: Path) -> dict[str, dict[str, Any]]:
    found = json.loads((run / "attention" / "measures.json").read_text())
    return {head["trial"]: head for head in found["probes"]}


def test_measures_and_pictures_are_written(
    digits_run: Path, attention: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert attention(digits_run) == 0
    said = capsys.readouterr()
    assert "attention on digits/test, 60 images" in said.out
    assert "lp[seed=0]: no maps, as linear probes have none" in said.err
    found = _measures(digits_run)
    assert list(found) == ["ep4[seed=0]", "cbam[seed=0]"]
    assert [own["query"] for own in found["ep4[seed=0]"]["maps"]] == [1, 2, 3, 4]
    assert found["cbam[seed=0]"]["maps"][0]["delta_top1"] is None
    rows = list(csv.DictReader((digits_run / "attention" / "measures.csv").open()))
    assert [row["trial"] for row in rows] == ["ep4[seed=0]"] * 4 + ["cbam[seed=0]"]
    assert (digits_run / "attention" / "measures.svg").exists()
    with Image.open(digits_run / "attention" / "ep4_seed_0.png") as picture:
        assert picture.width > 500


def test_the_accuracy_is_that_of_the_run(digits_run: Path, attention: Callable[..., int]) -> None:
    assert attention(digits_run, "--trial", "ep4[seed=1]") == 0
    rows = csv.DictReader((digits_run / "results.csv").open())
    wanted = {row["trial"]: float(row["top1_last"]) for row in rows}
    assert _measures(digits_run)["ep4[seed=1]"]["top1"] == pytest.approx(wanted["ep4[seed=1]"])


def test_a_probe_s_name_stands_for_the_first_of_its_seeds(
    digits_run: Path, attention: Callable[..., int]
) -> None:
    assert attention(digits_run, "--trial", "cbam,ep4", "--limit", 16) == 0
    assert list(_measures(digits_run)) == ["cbam[seed=0]", "ep4[seed=0]"]


@pytest.mark.parametrize("blocked", ["", "measures.csv", "ep4_seed_0.png"])
def test_a_folder_that_cannot_be_written_is_refused_in_one_line(
    digits_run: Path, attention: Callable[..., int], tmp_path: Path, blocked: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    run = shutil.copytree(digits_run, tmp_path / "run", ignore=shutil.ignore_patterns("attention"))
    if blocked:
        (run / "attention" / blocked).mkdir(parents=True)  # a folder where the file should go
    else:
        (run / "attention").write_text("")
    assert attention(run, "--trial", "ep4", "--limit", 16) == 2
    assert f"probe: cannot write {run / 'attention'} (" in capsys.readouterr().err


def test_json_is_all_of_standard_output(
    digits_run: Path, attention: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert attention(digits_run, "--json", "--limit", 16) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["split"] == "digits/test"
    assert [head["images"] for head in found["probes"]] == [16, 16]


def test_files_of_ones_own_are_shown(digits_run: Path, attention: Callable[..., int], tmp_path: Path) -> None:
    DigitsSource("test").load(3).resize((30, 50)).save(tmp_path / "mine.png")
    picture = digits_run / "attention" / "ep4_seed_0.png"
    picture.unlink(missing_ok=True)
    assert attention(digits_run, "--images", tmp_path / "mine.png", "--pictures-only") == 0
    assert picture.exists()


def test_boxes_measure_what_is_on_the_object(
    digits_run: Path, attention: Callable[..., int], tmp_path: Path
) -> None:
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("sample_id,x0,y0,x1,y1\n" + "".join(f"{n},0,0,4,8\n" for n in range(360)))
    assert attention(digits_run, "--boxes", boxes) == 0
    found = _measures(digits_run)["ep4[seed=0]"]
    assert found["located"] == 60
    assert found["area"] == pytest.approx(0.5)
    assert all(0 < own["mass"] < 1 for own in found["maps"])


def test_without_thumbnails_the_data_set_is_opened_again(
    digits_run: Path, digits: Path, extract_digits: Callable[..., Path], attention: Callable[..., int],
    tmp_path: Path,
) -> None:  # fmt: skip
    plain = extract_digits(tmp_path / "plain")
    assert attention(digits_run, "--cache", plain, "--samples", 2, "--pictures-only") == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--trial", "ep5"], "unknown trial of"),
        (["--trial", "lp[seed=0]"], "linear probes have no maps"),
        (["--images", "none.png", "--pictures-only"], "cannot read none.png"),
        (["--images", "a.png", "--samples", "2"], "both say what is shown: give one"),
        (["--pictures-only", "--limit", "2"], "--pictures-only measures nothing"),
        (["--boxes", "none.csv"], "there is no such file or folder"),
        (["--split", "validation"], "has no split 'validation'"),
        (["--cache", "none"], "no store at none"),
        (["--dataset", "cifar", "--samples", "2"], "cannot be opened again: unknown dataset"),
    ],
)
def test_bad_input_is_refused_in_one_line(
    digits_run: Path, attention: Callable[..., int], capsys: pytest.CaptureFixture[str],
    words: list[str], said: str,
) -> None:  # fmt: skip
    assert attention(digits_run, *words) == 2
    assert said in capsys.readouterr().err


def test_boxes_of_other_images_are_refused(
    digits_run: Path, attention: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "boxes.csv").write_text("path,x0,y0,x1,y1\ncat.jpg,0,0,1,1\n")
    assert attention(digits_run, "--boxes", tmp_path / "boxes.csv") == 2
    assert "it names none of the 60 images of digits/test, such as digits/test[0]" in capsys.readouterr().err


def test_measures_do_without_pictures_where_there_are_none(
    finished_run: Any, tmp_path: Path, attention: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(finished_run.folder, tmp_path / "run")
    assert attention(run) == 0
    assert "no pictures of animals/validation: it holds no thumbnails" in capsys.readouterr().err
    assert list(_measures(run)) == ["ep4", "ep2_d3+cls"]
    assert attention(run, "--samples", 3) == 2
    assert "no pictures of animals/validation" in capsys.readouterr().err


def test_tokens_without_rows_and_columns_are_measured_and_not_drawn(
    make_store: Callable[..., Path], options: Callable[..., Any], attention: Callable[..., int],
    capsys: pytest.CaptureFixture[str], tmp_path: Path,
) -> None:  # fmt: skip
    store = make_store(tmp_path / "line", geometry=(BlockGeometry(grid=(6,), dim=12),) * 4)
    run_fit(options(cache=store, probe=("ep2",), name="line"))
    run = tmp_path / "runs" / "line"
    assert attention(run) == 0
    assert "ep2: no pictures, as the tokens have no rows and columns" in capsys.readouterr().err
    assert len(_measures(run)["ep2"]["maps"]) == 2
    assert attention(run, "--boxes", "any.csv") == 2


def test_heads_of_several_blocks_and_precisions_are_read_in_one_pass(
    make_store: Callable[..., Path], options: Callable[..., Any], attention: Callable[..., int],
    tmp_path: Path,
) -> None:  # fmt: skip
    store = make_store(tmp_path / "blocks", blocks=(2, 3))
    run_fit(
        options(
            cache=store, probe=("ep2", "mhca2", "ep2+cls"), block=("2", "3"), tokens=("pre", "post"),
            precision="bfloat16", name="blocks",
        )
    )  # fmt: skip
    run = tmp_path / "runs" / "blocks"
    assert attention(run) == 0
    found = _measures(run)
    assert len(found) == 12
    rows = {row["trial"]: row for row in csv.DictReader((run / "results.csv").open())}
    for trial, head in found.items():
        assert head["top1"] == pytest.approx(float(rows[trial]["top1_last"]), abs=2)
