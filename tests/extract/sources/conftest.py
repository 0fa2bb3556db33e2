"""Small images to make layouts of."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from PIL import Image


@pytest.fixture
def png() -> Callable[[int], bytes]:
    """`png(7)`: a file of one colour whose red is 7, and whose width tells it from others: 4 + 7."""

    def made(value: int) -> bytes:
        stream = io.BytesIO()
        Image.new("RGB", (4 + value, 3), (value, 0, 0)).save(stream, "PNG")
        return stream.getvalue()

    return made
