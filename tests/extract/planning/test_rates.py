from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from configs import UserError
from extract.planning.options import PlanOptions
from extract.planning.rates import Rates, read_rates


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rates.yaml"


def test_rates_that_are_not_stated_stay_open(path: Path) -> None:
    path.write_text("backbone_images_per_second: 900\ndisk_read_bytes_per_second: 3e9\n")
    assert read_rates(path) == Rates(backbone_images_per_second=900, disk_read_bytes_per_second=3e9)


def test_an_empty_file_states_nothing(path: Path) -> None:
    path.write_text("# nothing yet\n")
    assert read_rates(path) == Rates()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "backbone_images_per_secnd: 900",
            "unknown rate 'backbone_images_per_secnd'; did you mean backbone_images_per_second",
        ),
        ("900: 900", "unknown rate '900'; known: backbone_images_per_second, decode_"),
        (
            "backbone_images_per_second: -1",
            r"backbone_images_per_second: Input should be greater than 0 \(given: -1\)$",
        ),
        ("backbone_images_per_second: 0", "greater than 0"),
        ("backbone_images_per_second: .nan", "backbone_images_per_second: "),
        ("backbone_images_per_second: .inf", "finite number"),
        ("backbone_images_per_second: fast", "valid number"),
        ("[900]", "give a rate on each line, such as `backbone_images_per_second: 900`"),
        ("fast", "give a rate on each line"),
        ("a: b: c", "is not YAML"),
        (
            "{backbone_images_per_second: 9, extract_images_per_second: 9}",
            "is the backbone and decoding at once: state the rate of each, too",
        ),
    ],
)
def test_nonsense_is_refused_in_one_line_that_names_the_file(path: Path, text: str, message: str) -> None:
    path.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        read_rates(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_the_file_in_the_help_states_every_rate(path: Path) -> None:
    lines = inspect.cleandoc(PlanOptions.__doc__ or "").splitlines()
    path.write_text("\n".join(line for line in lines if re.match(r"  \w+: ", line)))
    assert None not in dict(read_rates(path)).values()


def test_a_missing_file_is_named(path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read .*rates\.yaml: No such file"):
        read_rates(path)
