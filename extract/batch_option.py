"""`--batch-size`: a number, or auto."""

from __future__ import annotations

from typing import Annotated, Literal

import tyro
from pydantic import BeforeValidator


def _batch_size(value: object) -> int | Literal["auto"]:
    if value == "auto":
        return "auto"
    number = str(value)
    if not number.isdecimal() or int(number) < 1:
        raise ValueError("give a number of images from 1 on, or auto")
    return int(number)


BatchSize = Annotated[
    int | Literal["auto"],
    BeforeValidator(_batch_size),
    tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="INT|auto",
        instance_from_str=lambda words: words[0],
        is_instance=lambda value: isinstance(value, int | str),
        str_from_instance=lambda value: [str(value)],
    ),
]
"""An option that takes how many images a forward pass has."""
