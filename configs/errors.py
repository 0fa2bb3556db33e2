"""The one kind of error that is the user's to mend."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Bad input. The message is one line: what is wrong, and what to do. Commands exit with 2."""


def nearest(name: str, choices: Iterable[str]) -> list[str]:
    """The three names at most that are most like `name`, and about as like it as the best of them."""
    near = difflib.get_close_matches(name, list(choices), n=3, cutoff=0.5)
    likeness = [difflib.SequenceMatcher(None, choice, name).ratio() for choice in near]
    return [choice for choice, ratio in zip(near, likeness, strict=True) if ratio > likeness[0] - 0.2]


def unknown_name(kind: str, name: str, choices: Iterable[str]) -> UserError:
    """An error for a name that does not exist, with the nearest existing ones."""
    known = sorted(choices)
    near = nearest(name, known)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"
    return UserError(f"unknown {kind} '{name}'; {hint}")
