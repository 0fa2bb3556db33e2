from __future__ import annotations

import pytest

from configs import UserError, parse
from extract.options import ExtractOptions
from extract.part import Part

WORDS = ["--backbone", "mae_digits", "--dataset", "digits"]


def test_a_part_is_read_from_the_command_line() -> None:
    assert parse(ExtractOptions, prog="extract", argv=[*WORDS, "--part", "3/16"]).part == Part(3, 16)


def test_without_the_option_one_job_does_it_all() -> None:
    assert parse(ExtractOptions, prog="extract", argv=WORDS).part == Part(1, 1)


@pytest.mark.parametrize("text", ["0/4", "5/4", "3", "3/", "/4", "-1/4", "a/b", "1/2/3"])
def test_a_part_that_does_not_exist_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=f"--part {text}: give this job's number"):
        parse(ExtractOptions, prog="extract", argv=[*WORDS, f"--part={text}"])


def test_processes_of_all_parts_have_places_of_their_own() -> None:
    places = [Part(number, 3).process(index, 2) for number in (1, 2, 3) for index in (0, 1)]
    assert places == [(place, 6) for place in range(6)]
