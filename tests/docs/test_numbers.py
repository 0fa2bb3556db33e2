"""Numbers in the documentation are those of the code and of the measurements."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from cache import RECORD_ARRAYS, SplitManifest, StoreManifest, token_arrays
from cache.shard_record import ShardRecord
from configs import FrozenModel, UserError, load_recipe, names
from probe import build_probe
from probe.cost import probe_cost
from probe.names import CLOSED_FORM, known_names

DOCS = Path(__file__).parents[2] / "docs"
PARAMETERS = re.compile(r"^\| `([\w+]+)` \| (.+) \| (.+) \| (.+) \| (.+) \|$", re.MULTILINE)
FIGURE = re.compile(
    r"^\| (.*) \| \*\*(-?[\d.]+)\*\*[^|]* \| `(\w+\.py)` \| `(\w+\.json): (.+)` \|$", re.MULTILINE
)


def _text(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


def _parameters(name: str, dim: int) -> str:
    try:
        with torch.device("meta"):
            return f"{build_probe(name, dim, 1000).num_parameters:,}"
    except UserError:
        return "—"


@pytest.mark.parametrize("row", PARAMETERS.findall(_text("probes.md")), ids=lambda row: row[0])
def test_the_page_of_the_probes_has_their_parameters_and_gflops(row: tuple[str, ...]) -> None:
    name, *parameters, gflops = row
    assert parameters == [_parameters(name, dim) for dim in (384, 768, 1024)]
    assert gflops == f"{probe_cost(name, 768, 1000, (14, 14)).gflops:.3g}"


def test_every_kind_of_probe_is_in_the_table() -> None:
    listed = {row[0] for row in PARAMETERS.findall(_text("probes.md"))}
    assert set(known_names()) - set(CLOSED_FORM) <= listed


def _picked(value: Any, selector: str) -> Any:
    """The item of a list: by its number, or the one of which these are fields (`a & b`: both)."""
    if selector.isdecimal():
        return value[int(selector)]
    wanted = set(selector.split(" & "))
    (found,) = [item for item in value if wanted <= {v for v in item.values() if isinstance(v, str)}]
    return found


def _field(value: Any, path: str) -> float:
    """What stands at `sections[warm].rows[numpy memmap].share`; selectors may hold dots, fields do not."""
    for field, selector in re.findall(r"([^.\[\]]+)(?:\[([^\]]+)\])?", path):
        value = value[field]
        if selector:
            value = _picked(value, selector)
    return float(value)


@pytest.mark.parametrize("figure", FIGURE.findall(_text("benchmarks.md")), ids=lambda figure: figure[0])
def test_a_figure_is_what_its_script_measured(figure: tuple[str, ...]) -> None:
    _, shown, script, file, path = figure
    assert (DOCS.parent / "benchmarks" / script).is_file()
    measured = _field(json.loads((DOCS / "benchmarks" / file).read_text()), path)
    decimals = len(shown.partition(".")[2])
    assert float(shown) == pytest.approx(measured, abs=0.5 * 10**-decimals + 1e-9)


def test_every_row_of_the_benchmarks_names_its_script() -> None:
    rows = [line for line in _text("benchmarks.md").splitlines() if "**" in line and line.startswith("|")]
    assert len(rows) == len(FIGURE.findall(_text("benchmarks.md"))) > 20


def test_the_table_of_recipes_is_that_of_the_files() -> None:
    rows = dict(re.findall(r"^\| `(\w+)`[^|]*\| (.*) \|$", _text("protocols.md"), re.MULTILINE))
    for name in names("recipes"):
        recipe = load_recipe(name)
        cells = rows[name].split(" | ")
        assert cells[0].lower().startswith(recipe.optimizer)
        assert cells[2] == str(recipe.batch_size)
        assert cells[3] == f"{recipe.epochs} ({recipe.warmup_epochs:g})"


@pytest.mark.parametrize("schema", [StoreManifest, SplitManifest, ShardRecord])
def test_the_page_of_the_format_has_every_field(schema: type[FrozenModel]) -> None:
    page = _text("store_format.md")
    missing = [field for field in schema.model_fields if not re.search(rf"`[^`]*\b{field}\b[^`]*`", page)]
    assert not missing


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_the_page_of_the_format_has_every_array(dtype: Any) -> None:
    arrays = token_arrays(0, num_tokens=4, num_prefix=1, dim=8, dtype=dtype, views=1, normed_mean=True)
    page = _text("store_format.md")
    for array in (*arrays, *RECORD_ARRAYS):
        assert f"`{array.name.replace('block0', 'blockB')}`" in page
