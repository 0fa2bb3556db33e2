"""Which part of a data set a job extracts, where several without a launcher share a folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro
from pydantic import BeforeValidator

from configs import UserError


@dataclass(frozen=True)
class Part:
    """One of several jobs that extract a data set together; `number` counts from 1."""

    number: int
    count: int

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def process(self, index: int, processes: int) -> tuple[int, int]:
        """The place, and number, of this job's process `index` of `processes` among all jobs' processes."""
        return (self.number - 1) * processes + index, self.count * processes


def _part(value: object) -> object:
    if not isinstance(value, str):
        return value
    number, slash, count = value.partition("/")
    if slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count):
        return Part(int(number), int(count))
    raise UserError(f"--part {value}: give this job's number and how many there are, from 1/16 to 16/16")


PartOption = Annotated[
    Part,
    BeforeValidator(_part),
    tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="I/N",
        instance_from_str=lambda words: words[0],
        is_instance=lambda value: isinstance(value, Part),
        str_from_instance=lambda value: [str(value)],
    ),
]
"""An option that takes a part, such as 3/16."""
