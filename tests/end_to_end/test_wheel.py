"""The wheel holds what a user needs, and no store."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Names in a wheel built from a checkout that holds a store."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("configs", "cache", "extract", "probe"):
        # from a checkout that people work in: its own stores stay behind
        shutil.copytree(ROOT / name, folder / name, ignore=_stores if name == "cache" else None)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / name)
    store = folder / "cache" / "mae_digits"
    (store / "digits").mkdir(parents=True)
    (store / "manifest.json").write_text("{}")
    (store / "module.py").write_text("")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", "out"], cwd=folder, check=True
    )
    (built,) = (folder / "out").glob("*.whl")
    return zipfile.ZipFile(built).namelist()


def _stores(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if (Path(folder) / name).is_dir()]


@pytest.mark.parametrize(
    "name",
    [
        "configs/backbones/mae_digits.yaml",
        "configs/datasets/digits.yaml",
        "configs/recipes/paper.yaml",
        "extract/bundled/mae_digits.safetensors",
        "cache/zarr_engine.py",
        "probe/poolings/efficient.py",
        "configs/published/efficient_probing.csv",
        "probe/reporting/templates/report.html.jinja",
    ],
)
def test_the_wheel_has(wheel: list[str], name: str) -> None:
    assert name in wheel


def test_the_wheel_has_every_module_of_the_checkout(wheel: list[str]) -> None:
    modules = [
        p.relative_to(ROOT) for name in ("configs", "extract", "probe") for p in (ROOT / name).rglob("*.py")
    ]
    modules += [p.relative_to(ROOT) for p in (ROOT / "cache").glob("*.py")]
    assert {path.as_posix() for path in modules} <= set(wheel)


def test_the_wheel_has_no_store_and_no_tests(wheel: list[str]) -> None:
    assert [name for name in wheel if name.startswith(("cache/mae_digits", "tests", "benchmarks"))] == []
