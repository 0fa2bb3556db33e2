"""How a class of options is written on the command line: for help, completion and misspelt words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import tyro
from pydantic.fields import FieldInfo

from configs.command_line.option_types import Known
from configs.errors import UserError, nearest, unknown_name
from configs.schema import FrozenModel

Headings = Mapping[str, tuple[str, ...]]
"""Heading → the fields below it in the help: what a class of options may keep as `HEADINGS`."""

PLACES, OTHER = "arguments", "options"
"""Headings of what is known by its place, and of what no heading names."""

METAVARS = {str: "TEXT", int: "INT", float: "NUMBER", Path: "PATH"}

# tyro's marks have no public classes; these are what its public names make
_ARG = type(tyro.conf.arg())
_POSITIONAL = get_args(tyro.conf.Positional[int])[1]


@dataclass(frozen=True)
class Argument:
    """One option, as it is written."""

    field: str
    flag: str
    """`--batch-size`; empty for one that is known by its place."""
    metavar: str
    """What follows the flag; empty for a switch."""
    description: str
    default: str
    """As it is written; empty where the description says what happens without the option."""
    required: bool
    values: tuple[str, ...]
    """All that may follow, or where it is not `closed`, what is known to be good."""
    closed: bool
    several: bool

    @property
    def shown(self) -> str:
        """`--batch-size INT`."""
        return " ".join(part for part in (self.flag, self.metavar) if part)

    @property
    def name(self) -> str:
        """`--batch-size`, or `PATH`."""
        return self.flag or self.metavar


def arguments(options: type[FrozenModel]) -> list[Argument]:
    """Of every field, in their order."""
    return [_argument(name, field) for name, field in options.model_fields.items()]


def by_heading(options: type[FrozenModel]) -> dict[str, list[Argument]]:
    """Heading → arguments. What is known by its place comes first, what no heading names last."""
    known = {argument.field: argument for argument in arguments(options)}
    places = tuple(name for name, argument in known.items() if not argument.flag)
    headings: Headings = {PLACES: places, **getattr(options, "HEADINGS", {})}
    found = {
        heading: [known.pop(name) for name in names if name in known] for heading, names in headings.items()
    }
    groups = {**found, OTHER: list(known.values())}
    return {heading: held for heading, held in groups.items() if held}


def check_words(known: Sequence[Argument], words: Sequence[str]) -> None:
    """Raise `UserError` for an option, or a value of a closed choice, that does not exist."""
    flags = {argument.flag: argument for argument in known if argument.flag} | {"--help": None}
    for position, word in enumerate(words):
        if not word.startswith("--") or word == "--":
            continue
        name, joined, value = word.partition("=")
        flag = name.replace("_", "-")
        if flag not in flags:
            near = nearest(flag.removeprefix("--"), [known_flag.removeprefix("--") for known_flag in flags])
            hint = f"; did you mean {' or '.join(f'--{one}' for one in near)}?" if near else ""
            raise UserError(f"unknown option '{name}'{hint}")
        argument = flags[flag]
        following = value if joined else next(iter(words[position + 1 :]), None)
        if argument is not None and argument.closed and following is not None:
            _check_value(argument, following)


def _check_value(argument: Argument, given: str) -> None:
    values = given.split(",") if argument.several else [given]
    for value in values:
        if value not in argument.values:
            raise unknown_name(f"value of {argument.flag}", value, argument.values)


def missing(known: Sequence[Argument], words: Sequence[str]) -> UserError | None:
    """An error that names every required option that is not among `words`; None where none is missing."""
    given = {word.partition("=")[0].replace("_", "-") for word in words}
    absent = [argument.flag for argument in known if argument.required and argument.flag]
    absent = [flag for flag in absent if flag not in given]
    return UserError(f"{_listed(absent)} missing") if absent else None


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names)} {'is' if len(names) == 1 else 'are'}"


def _argument(name: str, field: FieldInfo) -> Argument:
    marks = [mark for mark in field.metadata if isinstance(mark, _ARG)]
    spec = _last(tyro.constructors.PrimitiveConstructorSpec, field.metadata)
    kinds = list(_kinds(field.annotation))
    choices = tuple(str(value) for kind in kinds if get_origin(kind) is Literal for value in get_args(kind))
    known = _last(Known, field.metadata)
    switch = kinds == [bool]
    positional = _POSITIONAL in field.metadata
    several = spec is not None and spec.nargs == "*"
    written = (_marked(marks, "name") or name).replace("_", "-")
    off = switch and field.default is True  # the only thing to say is that it is not wanted
    plain = spec.metavar if spec is not None else "|".join(_metavars(kinds))
    if positional and not choices:
        plain = written.upper()  # as tyro's PositionalMetavarFromFieldName has it
    required = field.is_required()
    said = "" if required else _default(field.get_default(call_default_factory=True))
    return Argument(
        field=name,
        flag="" if positional else f"--no-{written}" if off else f"--{written}",
        metavar="" if switch else _marked(marks, "metavar") or plain,
        description=f"do not {field.description}" if off else field.description or "",
        default=said,
        required=required,
        values=tuple(known.names()) if known is not None else choices,
        closed=known is None and bool(choices) and all(get_origin(kind) is Literal for kind in kinds),
        several=several,
    )


MarkT = TypeVar("MarkT")


def _last(kind: type[MarkT], metadata: Iterable[object]) -> MarkT | None:
    found = [mark for mark in metadata if isinstance(mark, kind)]
    return found[-1] if found else None


def _marked(marks: Sequence[object], name: str) -> str | None:
    found = [getattr(mark, name) for mark in marks if getattr(mark, name) is not None]
    return found[-1] if found else None


def _kinds(annotation: Any) -> Iterable[Any]:
    """The types that a union is made of, without None; of a tuple, its items' type."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _kinds(get_args(annotation)[0])
    elif origin in (Union, UnionType):
        for part in get_args(annotation):
            yield from _kinds(part)
    elif origin is tuple:
        yield from _kinds(get_args(annotation)[0])
    elif annotation is not NoneType:
        yield annotation


def _metavars(kinds: Sequence[Any]) -> Iterable[str]:
    for kind in kinds:
        if get_origin(kind) is Literal:
            yield from map(str, get_args(kind))
        else:
            yield METAVARS.get(kind, "TEXT")


def _default(value: object) -> str:
    if value is None or isinstance(value, bool) or value == ():
        return ""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
