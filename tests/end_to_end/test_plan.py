"""Planning as a user does: this machine measured, and a far larger run on a laptop."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]

SERVER = """
backbone_images_per_second: 900
decode_images_per_second: 4000
probe_images_per_second: 20000
disk_write_bytes_per_second: 2.0e+9
disk_read_bytes_per_second: 3.0e+9
host_bytes_per_second: 20.0e+9
device_bytes_per_second: 2.0e+12
host_memory_bytes: 1.0e+12
device_memory_bytes: 80.0e+9
disk_free_bytes: 4.0e+12
"""

OFFLINE = """
import socket, sys
def refuse(*_):
    raise AssertionError("a plan needs no network")
socket.socket.connect = socket.getaddrinfo = refuse
from cache.command import main
try:
    main()
finally:
    # of this program alone: `ru_maxrss` begins with the peak of the process that started it
    status = open("/proc/self/status").read()
    print(int(status.partition("VmHWM:")[2].split()[0]) * 1024, file=sys.stderr)
"""


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """A plan of ImageNet on ViT-L/16 for a stated server, in a process that the network is cut off from."""
    folder = tmp_path_factory.mktemp("imagenet")
    (folder / "server.yaml").write_text(SERVER)
    words = ["plan", "--backbone", "mae_vitl", "--dataset", "imagenet", "--rates", "server.yaml", "--json"]
    finished = subprocess.run(
        [sys.executable, "-c", OFFLINE, *words], cwd=folder, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    assert [path.name for path in folder.iterdir()] == ["server.yaml"]
    return finished


def test_imagenet_on_vit_large_is_planned_on_a_laptop(imagenet: subprocess.CompletedProcess[str]) -> None:
    plan = json.loads(imagenet.stdout)
    assert plan["images"] == {"train": 1_281_167, "validation": 50_000}
    half = plan["dtypes"]["float16"]
    # 196 × 1,024 patches, 1,024 of [CLS], two bytes each; two means of 1,024 × 4 bytes; two int64
    assert half["bytes"]["last"] == half["bytes"]["asked"] == 1_331_167 * 411_664
    assert half["bytes"]["all"] == 1_331_167 * (24 * 411_648 + 16)
    assert half["fits_disk"] == {"last": True, "asked": True, "all": False}
    assert half["extract_seconds"] == pytest.approx(1_331_167 / 900)
    assert half["slowest"] == "backbone"
    assert half["probe_bytes"] == 1_281_167 * 401_408
    training = 1_281_167 / 20_000
    assert half["tiers"]["device"] == {"fits": False, "epoch_seconds": pytest.approx(training)}
    assert half["tiers"]["host"] == {"fits": True, "epoch_seconds": pytest.approx(training)}
    stream = pytest.approx(1_281_167 * 401_408 / 3e9)
    assert half["tiers"]["stream"] == {"fits": True, "epoch_seconds": stream}
    assert plan["online_epoch_seconds"] == pytest.approx(1_281_167 / 900 + training)
    assert half["break_even_epochs"] == 2  # 1,479 s of extraction; each epoch saves 1,424 s
    assert half["total_seconds"] == pytest.approx(1_331_167 / 900 + 90 * training)


def test_a_plan_for_another_machine_takes_little_memory(imagenet: subprocess.CompletedProcess[str]) -> None:
    assert int(imagenet.stderr) < 2 * 2**30


DIGITS = ("--backbone", "mae_digits", "--dataset", "digits", "--limit", "300", "--workers", "0")


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, run: Run) -> dict[str, Any]:
    """The plan of some digits with nothing stated, and the folder that it was made in."""
    folder = tmp_path_factory.mktemp("measured")
    finished = run("cache", "plan", *DIGITS, "--json", cwd=folder)
    assert finished.returncode == 0, finished.stderr
    return {"folder": folder, **json.loads(finished.stdout)}


@pytest.mark.slow
def test_everything_that_this_machine_has_is_measured(measured: dict[str, Any]) -> None:
    known = {name for name, value in measured["rates"].items() if value is not None}
    assert known >= {
        "backbone_images_per_second",
        "decode_images_per_second",
        "extract_images_per_second",
        "disk_write_bytes_per_second",
        "disk_read_bytes_per_second",
        "host_bytes_per_second",
        "disk_free_bytes",
        "host_memory_bytes",
    }
    assert measured["origins"]["backbone_images_per_second"].endswith("random weights")


@pytest.mark.slow
def test_a_measurement_leaves_nothing_behind(measured: dict[str, Any]) -> None:
    assert list(measured["folder"].iterdir()) == []


@pytest.mark.slow
def test_the_bytes_that_were_planned_are_stored(measured: dict[str, Any], run: Run) -> None:
    extracted = run("extract", *DIGITS, cwd=measured["folder"])
    assert extracted.returncode == 0, extracted.stderr
    store = measured["folder"] / "cache" / "mae_digits"
    stored = sum(path.stat().st_size for path in store.rglob("*") if path.is_file())
    planned = measured["dtypes"]["float16"]["bytes"]["asked"]
    assert planned < stored < 1.02 * planned  # manifests, indices and checksums are not in the plan
