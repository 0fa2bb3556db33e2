"""How processes that a launcher started talk: a program alone in its group says by way of what."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

PROGRAM = """
import json, sys
from pathlib import Path
from unittest import mock
import torch
from cache import chosen_device, launch, leaving_in_order

with leaving_in_order(), mock.patch("torch.cuda.is_available", return_value=True), \\
        mock.patch("torch.accelerator.is_available", return_value=True):
    device = chosen_device("cpu")
    place = launch()
    group = torch.distributed.distributed_c10d._get_default_group()
    wait = group._get_backend(torch.device("cpu")).options._timeout.total_seconds()
    del group  # or it would outlive its end
    found = {"backend": torch.distributed.get_backend(), "device": place.device.type, "wait": wait}
threads = [path.read_text() for path in Path("/proc/self/task").glob("*/comm")]
print(json.dumps(found | {"talking": [name for name in threads if "gloo" in name]}))
"""


REFUSED = """
import sys
from unittest import mock
import torch
from cache import chosen_device, leaving_in_order
from configs import UserError, run_command

@leaving_in_order()
def refused():
    chosen_device("cpu")
    print("begun")
    raise UserError("no such store")

def destroyed():
    raise SystemError("waits for the others for ever")

with mock.patch("torch.distributed.get_backend", return_value="nccl"), \\
        mock.patch("torch.distributed.destroy_process_group", destroyed):
    sys.exit(run_command("probe", refused))
"""


CAUGHT = (
    REFUSED[: REFUSED.index("    sys.exit(")]
    + """
    try:
        refused()
    except UserError as error:
        print("caught:", error)
"""
)


def launched(program: str) -> subprocess.CompletedProcess[str]:
    """A program as torchrun would have started it, as the only process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **place, **where},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """Of a process with `--device cpu` on a machine that has CUDA."""
    ended = launched(PROGRAM)
    assert ended.returncode == 0, ended.stderr
    answers: dict[str, Any] = json.loads(ended.stdout)
    return answers


def test_processes_on_the_cpu_of_a_machine_with_cuda_talk_by_gloo(found: dict[str, Any]) -> None:
    assert (found["backend"], found["device"]) == ("gloo", "cpu")


def test_a_process_waits_for_another_longer_than_any_run_takes(found: dict[str, Any]) -> None:
    assert found["wait"] >= timedelta(days=7).total_seconds()


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux")
def test_no_thread_that_talks_is_left_in_the_end(found: dict[str, Any]) -> None:
    assert found["talking"] == []


def test_a_refusal_does_not_wait_for_what_others_do_by_nccl() -> None:
    ended = launched(REFUSED)
    assert (ended.returncode, ended.stdout) == (2, "begun\n")
    assert ended.stderr == "probe: no such store\n"


def test_a_program_that_catches_the_refusal_ends_as_it_likes() -> None:
    ended = launched(CAUGHT)
    assert (ended.returncode, ended.stdout) == (0, "begun\ncaught: no such store\n"), ended.stderr
