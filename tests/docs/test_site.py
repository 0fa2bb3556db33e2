"""The documentation's site."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOADED = re.compile(
    r'<(?:script|img|iframe)[^>]*\ssrc="(https?:[^"]+)|<link[^>]*rel="(?:stylesheet|preload)"[^>]*href="(https?:[^"]+)'
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; a link to nowhere, or a page that the navigation leaves out, is an error."""
    folder = tmp_path_factory.mktemp("site")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    built = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


@pytest.mark.slow
def test_every_page_is_in_the_site(site: Path) -> None:
    pages = [path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")]
    missing = [page for page in pages if page.stem != "index" and not (site / page.with_suffix("")).is_dir()]
    assert not missing


@pytest.mark.slow
def test_reading_the_site_needs_no_network(site: Path) -> None:
    loaded = {
        match for path in site.rglob("*.html") for match in LOADED.findall(path.read_text(encoding="utf-8"))
    }
    assert not loaded


@pytest.mark.slow
def test_formulas_are_mathml(site: Path) -> None:
    page = (site / "probes" / "index.html").read_text(encoding="utf-8")
    assert page.count("<math") > 40
    assert "\\(" not in page
    assert "merror" not in page
