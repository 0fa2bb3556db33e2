"""How every picture of a report looks."""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, NullFormatter

from cache.atomic import write_bytes

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31")
"""Okabe and Ito's, which are told apart by the colour-blind; yellow, too faint on white, is brown here."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*", "h")
"""Eleven, so that with eight colours no pair comes again before the 88th line."""

GREY = "#8A8A8A"
SEQUENTIAL = "cividis"
"""Colours of heat maps: as light as they are large, for the colour-blind too."""

SHARES = "Blues"
"""Colours of shares: white is none."""

_SETTINGS: Any = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.labelsize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "text.parse_math": False,  # a class named $x$ is no formula
    "svg.hashsalt": "frozen-tokens",  # the same picture gives the same bytes
    "figure.facecolor": "white",
}
_LONGEST_LABEL = 28


@dataclass(frozen=True)
class Picture:
    """A picture that was drawn and saved, with what it shows in words."""

    name: str
    """Of its files, without ending."""
    svg: bytes
    caption: str

    @property
    def source(self) -> str:
        """The picture itself as an address, so that a page needs no other file."""
        return "data:image/svg+xml;base64," + base64.b64encode(self.svg).decode()


@contextmanager
def styled() -> Iterator[None]:
    """Figures are made, drawn on and saved in here."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        # a font without some script draws boxes; the tables beside the pictures have the names
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        matplotlib.rcParams.update(_SETTINGS)
        yield


def new_figure(width: float, height: float) -> Figure:
    """In inches; parts keep clear of one another."""
    return Figure(figsize=(width, height), layout="constrained")


def save(figure: Figure, folder: Path, name: str, caption: str) -> Picture:
    """Write `name`.png and `name`.svg."""
    svg, png = io.BytesIO(), io.BytesIO()
    figure.savefig(svg, format="svg", metadata={"Date": None})
    figure.set_layout_engine("none")  # its work is done
    figure.savefig(png, format="png", dpi=150)
    write_bytes(folder / f"{name}.svg", svg.getvalue())
    write_bytes(folder / f"{name}.png", png.getvalue())
    return Picture(name, svg.getvalue(), caption)


def looks(count: int) -> list[dict[str, Any]]:
    """Colour and marker of each of `count` lines."""
    pairs = zip(cycle(COLORS), cycle(MARKERS), strict=False)
    return [{"color": color, "marker": marker} for color, marker in islice(pairs, count)]


def short(text: str, longest: int = _LONGEST_LABEL) -> str:
    """A label that leaves room for the picture."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def log_axis(axis: Axis, values: Sequence[float], *, engineering: bool = False) -> None:
    """A logarithmic axis over `values`, > 0, with ticks to be read: also 2, 5 or 3 where it is short."""
    axes = axis.axes
    scale, limits = (
        (axes.set_xscale, axes.set_xlim) if axis is axes.xaxis else (axes.set_yscale, axes.set_ylim)
    )
    scale("log")
    least, most = min(values), max(values)
    room = max((most / least) ** 0.08, 1.15) if most > 1.5 * least else 3.0
    limits(least / room, most * room)
    subs = (1.0, 2.0, 5.0) if most / least < 30 else (1.0, 3.0) if most / least < 3000 else (1.0,)
    axis.set_major_locator(LogLocator(subs=subs, numticks=12))
    if engineering:
        axis.set_major_formatter(EngFormatter(sep=""))
    else:
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_formatter(NullFormatter())


def legend_beside(axes: Axes, count: int) -> None:
    """A legend at the right of the axes, or none for a single line."""
    if count > 1:
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), borderaxespad=0)
