from __future__ import annotations

import pytest

from configs import UserError
from extract.command import chosen_blocks


@pytest.mark.parametrize(
    ("text", "blocks"),
    [("last", (5,)), ("all", (0, 1, 2, 3, 4, 5)), ("3,1", (1, 3)), ("-1,5", (5,)), ("-6", (0,))],
)
def test_blocks_are_chosen_by_name_or_number(text: str, blocks: tuple[int, ...]) -> None:
    assert chosen_blocks(text, depth=6) == blocks


@pytest.mark.parametrize("text", ["6", "-7", "first", "1,,2", ""])
def test_blocks_that_are_not_there_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="--blocks"):
        chosen_blocks(text, depth=6)
