"""The kinds of option that commands share: lists, sizes, switches."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, TypeVar

import tyro
from pydantic import AfterValidator, ByteSize, Field

Item = TypeVar("Item", str, float, int)

_COMMA = re.compile(r",(?![^\[\]]*\])")
"""Between values; commas in brackets are part of one: `ep8[lr=0.1,seed=0]`."""


def _comma_list(
    item: type[Item], metavar: str
) -> tyro.constructors.PrimitiveConstructorSpec[tuple[Item, ...]]:
    """Several values in one option: `--probe lp,ep32`, or `--probe lp ep32`."""
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs="*",
        metavar=f"{metavar}[,{metavar}…]",
        instance_from_str=lambda words: tuple(
            item(part) for word in words for part in _COMMA.split(word) if part
        ),
        is_instance=lambda value: isinstance(value, tuple),
        str_from_instance=lambda values: [",".join(map(str, values)) or "none"],
    )


def optional(metavar: str) -> object:
    """Marks an option that may be absent; its description says what happens then."""
    return tyro.conf.arg(metavar=metavar, help_behavior_hint="")


@dataclass(frozen=True)
class Known:
    """Marks an option that takes names: those that a shell can complete."""

    names: Callable[[], Iterable[str]]


Names = Annotated[tuple[str, ...], _comma_list(str, "NAME")]
"""An option that takes several names."""


Floats = Annotated[tuple[float, ...], _comma_list(float, "NUMBER")]
"""An option that takes several numbers."""

Integers = Annotated[tuple[int, ...], _comma_list(int, "INT")]
"""An option that takes several whole numbers."""


Size = Annotated[
    ByteSize,
    AfterValidator(int),  # a plain number, which every file format can write
    tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="SIZE",
        instance_from_str=lambda words: words[0],  # pydantic reads it, and says what is wrong with it
        is_instance=lambda value: isinstance(value, int),
        str_from_instance=lambda value: [str(int(value))],
    ),
]
"""An option that takes a number of bytes, such as 8GiB."""

Json = Annotated[
    bool,
    tyro.conf.arg(name="json"),
    Field(description="print the results as JSON, and nothing else on standard output"),
]
"""`--json`; the field is called `json_`, since pydantic has a method of that name."""

Quiet = Annotated[bool, Field(description="print results and errors only")]
"""`--quiet`."""
