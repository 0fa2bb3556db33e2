"""A hook of MkDocs: formulas become MathML, which browsers show by themselves: pages need no network."""

from __future__ import annotations

import html
import re
from typing import Any

from latex2mathml.converter import convert

FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)
"""What `pymdownx.arithmatex` makes of $…$ and $$…$$."""


def on_page_content(content: str, **_: Any) -> str:
    """The page's HTML with its formulas converted."""
    return FORMULA.sub(_formula, content)


def _formula(match: re.Match[str]) -> str:
    tag, bracket, latex = match.groups()
    display = "block" if bracket == "[" else "inline"
    # what stands apart in a formula may be broken into lines by stylesheets/extra.css
    parts = [convert(part, display=display) for part in html.unescape(latex).split(r"\qquad")]
    return f'<{tag} class="arithmatex">{"".join(parts)}</{tag}>'
