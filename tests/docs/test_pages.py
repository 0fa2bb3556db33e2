"""Every command and snippet of the documentation is run, page by page, as a new user would.

A page's blocks run in its order, in one empty folder:

- ```console: `$` lines are run; `# exit code 2` below one states how it ends, otherwise it must succeed. What
  is shown below must be what is printed, with or without what goes to stderr, where `…` on a line of its own
  stands for any lines.
- ```python runs; a ```text block after it is what it prints. With a title it is a file of that name, as any
  other block with a title is.
- ```bash has what cannot run here: every option of our commands is parsed.

Numbers differ from machine to machine: see `same_line`.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cache.command import verbs
from configs import UserError, parse
from extract.options import ExtractOptions
from probe.command import VERBS

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
SLOW = {"tutorial.md", "attention.md"}

OURS = ("extract", "probe", "cache")
OTHERS = {"pip", "hf", "make", "sbatch", "git", "cd", "export", "python", "jupyter"}
"""Programs that ```bash blocks may name beside ours; what they are told is not checked."""

FENCE = re.compile(r"^( *)```(\w*)([^\n]*)\n(.*?)^\1```\s*$", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?")
MEASURED = re.compile(rf"{NUMBER.pattern}(?= ?(?:images/s|s|ms|seconds|minutes|hours|h|[MGT]B/s)\b)")
"""Times and rates: this machine's, and any other's are as good."""

Run = Callable[..., subprocess.CompletedProcess[str]]


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    language: str
    title: str | None
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        indent, language, rest, body = match.groups()
        title = re.search(r'title="([^"]+)"', rest)
        content = "".join(line.removeprefix(indent) for line in body.splitlines(keepends=True))
        found.append(Block(language, title and title[1], content, 1 + text.count("\n", 0, match.start())))
    return found


def _number(text: str) -> float:
    return float(text.replace(",", ""))


def same_number(shown: str, printed: str) -> bool:
    """Whole numbers are equal; others differ by 3 or a tenth at most: they follow from training."""
    if "." not in shown + printed:
        return shown == printed
    difference = abs(_number(shown) - _number(printed))
    return difference <= max(3, 0.1 * abs(_number(shown)))


def same_line(shown: str, printed: str) -> bool:
    """Equal but for spaces, times and rates, what `same_number` allows, and what follows a last `…`."""
    pair = [" ".join(MEASURED.sub("#", line).split()) for line in (shown, printed)]
    texts = [NUMBER.sub("#", line) for line in pair]
    numbers = [NUMBER.findall(line) for line in pair]
    is_cut = texts[0].endswith("…") and texts[1].startswith(texts[0].removesuffix("…"))
    return (is_cut or texts[0] == texts[1]) and all(map(same_number, *numbers))


def _content(text: str) -> list[str]:
    """Lines without the frames of tables; frames alone and empty lines are left out."""
    lines = (re.sub(r"[─━│┃┏┓┗┛┡┩┳┻╇┼└┘┴┌┐┬├┤╭╮╰╯]", " ", line).strip() for line in text.splitlines())
    return [line for line in lines if line]


def differs(shown: str, printed: str) -> str | None:
    """What is wrong with `shown`, where `…` stands for any lines, if this is `printed`; None: nothing."""
    wanted, found = _content(shown), _content(printed)
    at, skipping = 0, False
    for line in wanted:
        if line == "…":
            skipping = True
            continue
        while skipping and at < len(found) and not same_line(line, found[at]):
            at += 1
        if at == len(found) or not same_line(line, found[at]):
            return f"not printed there: {line}"
        at, skipping = at + 1, False
    return None if skipping or at == len(found) else f"left out at the end: {found[at]}"


def require_shown(shown: str, printed: str, place: str) -> None:
    """Fail unless `shown` is what was `printed`."""
    wrong = differs(shown, printed)
    if wrong:
        pytest.fail(f"{place}\n{wrong}\n\nprinted:\n{printed}", pytrace=False)


@dataclass(frozen=True)
class Command:
    """A `$` line, what is shown below it, and how it ends."""

    line: str
    shown: str
    code: int


def commands(console: str) -> Iterator[Command]:
    """The commands of a ```console block."""
    for part in re.split(r"^\$ ", console, flags=re.MULTILINE)[1:]:
        line, _, rest = part.replace("\\\n", " ").partition("\n")
        code = re.match(r"# exit code (\d+)\n?", rest)
        yield Command(line.strip(), rest[code.end() :] if code else rest, int(code[1]) if code else 0)


def _finished(line: str, folder: Path, run: Run) -> subprocess.CompletedProcess[str]:
    program, *words = shlex.split(line)
    if program in OURS and not re.search(r"[|>*$;&]", line):
        return run(program, *words, cwd=folder)
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    return subprocess.run(
        ["bash", "-c", line], cwd=folder, env={"PATH": path}, capture_output=True, text=True, check=False
    )


def run_console(block: Block, folder: Path, page: str, run: Run) -> None:
    """Run the `$` lines of a block, and compare what they print with what is shown."""
    for command in commands(block.text):
        place = f"{page}, line {block.line}: $ {command.line}"
        ended = _finished(command.line, folder, run)
        everything = ended.stderr + ended.stdout
        assert ended.returncode == command.code, f"{place}\n{everything}"
        if command.shown.strip() and differs(command.shown, ended.stdout):
            require_shown(command.shown, everything, place)


def run_python(block: Block, names: dict[str, Any], page: str) -> str:
    """Run a snippet after those before it in the page; what it prints."""
    printed = io.StringIO()
    code = compile("\n" * block.line + block.text, page, "exec")
    with contextlib.redirect_stdout(printed):
        exec(code, names)
    return printed.getvalue()


def run_page(page: Path, folder: Path, run: Run) -> None:
    """Run a page's blocks in `folder`, which is the current one."""
    names: dict[str, Any] = {"__name__": "page"}
    printed = None
    for block in blocks(page):
        if block.title is not None:
            (folder / block.title).write_text(block.text)
        elif block.language == "console":
            run_console(block, folder, page.name, run)
        elif block.language == "text" and printed is not None:
            require_shown(block.text, printed, f"{page.name}, line {block.line}")
        printed = run_python(block, names, page.name) if _runs(block) else None


def _runs(block: Block) -> bool:
    return block.language == "python" and block.title is None


def _executed(page: Path) -> bool:
    return any(block.language == "console" or _runs(block) for block in blocks(page))


def _name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=_name(page), marks=[pytest.mark.slow] if page.name in SLOW else [])
        for page in PAGES
        if _executed(page)
    ],
)
def test_a_page_does_what_it_shows(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    monkeypatch.chdir(tmp_path)
    run_page(page, tmp_path, run)


def test_the_readme_s_snippets_run_on_the_digits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    monkeypatch.chdir(tmp_path)
    extracted = run(
        "extract", "--backbone", "mae_digits", "--dataset", "digits", "--limit", "300", cwd=tmp_path
    )
    assert extracted.returncode == 0, extracted.stderr
    run_page(README, tmp_path, run)


def parse_words(words: Sequence[str]) -> None:
    """Parse the options of one of our commands. Raises `UserError`."""
    program, *rest = words
    if program == "extract":
        if rest != ["--list"]:
            parse(ExtractOptions, prog=program, argv=rest)
        return
    known = VERBS if program == "probe" else verbs()
    verb, *options = ["fit", *rest] if rest[0].startswith("-") else rest
    parse(known[verb].options, prog=f"{program} {verb}", argv=options)


def command_words(line: str) -> list[str]:
    """The words of one of our commands, of its variables made numbers; none where it is another program."""
    words = shlex.split(re.sub(r"\$\{?\w+\}?", "1", line), comments=True)
    while words and (re.match(r"\w+=", words[0]) or words[0] == "nice"):
        words = words[1:]
    if not words or words[0] in OTHERS:
        return []
    if words[0] in OURS:
        return words
    # accelerate launch …, srun …, torchrun …
    start = next((at for at, word in enumerate(words) if word in OURS), None)
    assert start is not None, f"neither one of our commands nor a known one: {line}"
    return words[start:]


def shell_lines() -> Iterator[tuple[str, str]]:
    """(place, line) of every line of ```bash blocks, and of the README's blocks that name no language."""
    for page in [README, *PAGES]:
        for block in blocks(page):
            if block.language == "bash" or (page == README and not block.language):
                for line in block.text.replace("\\\n", " ").splitlines():
                    yield f"{_name(page)}, line {block.line}", line


@pytest.mark.parametrize(("place", "line"), list(shell_lines()))
def test_a_command_that_cannot_run_here_has_options_that_exist(place: str, line: str) -> None:
    words = command_words(line)
    if words:
        parse_words(words)


@pytest.mark.parametrize(
    "line",
    [
        "extract --bakbone x --dataset y",
        "accelerate launch -m probe --cache x --prob ep32",
        "cache inform x",
        "ectract",
    ],
)
def test_a_misspelt_command_is_found(line: str) -> None:
    with pytest.raises((UserError, KeyError, AssertionError)):
        parse_words(command_words(line))


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("│ lp │ 970 │ 81.39 │", "│ lp   │ 970 │ 82.01 │"),
        ("19.2 MB of zarr, 173 images/s", "19.2 MB of zarr, 9,173 images/s"),
        ("first\n…\nlast", "first\none\ntwo\nlast"),
        ("300 images, …", "300 images, 7 MB"),
        ("first\n…", "first\nlast"),
    ],
)
def test_what_is_shown_may_differ_in_measured_numbers(shown: str, printed: str) -> None:
    assert not differs(shown, printed)


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("│ lp │ 970 │ 81.39 │", "│ lp │ 971 │ 81.39 │"),
        ("top-1 81.39", "top-1 71.39"),
        ("first\nlast", "first\none\nlast"),
        ("first", "first\nlast"),
        ("records", "images"),
        ("first\nlast", "first"),
        ("300 images, …", "400 images, 7 MB"),
    ],
)
def test_what_is_not_printed_may_not_be_shown(shown: str, printed: str) -> None:
    assert differs(shown, printed)
