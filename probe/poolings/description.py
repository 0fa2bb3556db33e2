"""What a pooling is made of, in the words of the EP paper's table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Description:
    """Each field one short phrase; a dash where a pooling has no such part."""

    query: str
    """Where the query comes from."""
    keys: str
    values: str
    attention: str
    """How weights are made from queries and keys."""
    output: str
    """From what was pooled to the vector that the classifier sees."""
    reference: str
    """Paper, and its official file where there is one."""
