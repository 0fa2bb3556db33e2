"""Settings of every test and of the commands that tests start; running these; images of every kind."""

from __future__ import annotations

import os

# Test workers use all cores already: more threads in each would only wait for one another. Libraries look
# at it when they are imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Triton's interpreter runs its kernels on a CPU; TRITON_INTERPRET=0 tests them compiled, on a CUDA device.
os.environ.setdefault("TRITON_INTERPRET", "1")
# A process has one device for all that name none: where there is a GPU, the first test would choose it.
os.environ.setdefault("ACCELERATE_TORCH_DEVICE", "cpu")

import errno
import importlib
import multiprocessing
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Run = Callable[..., subprocess.CompletedProcess[str]]

COMMANDS = ["extract.command", "probe.command", "cache.command"]

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell's background job and its children do
    signal.signal(signal.SIGINT, signal.default_int_handler)

ORIENTATION = 0x0112
ROTATED_270 = 6


def _gradient(width: int, height: int) -> np.ndarray:
    """(height, width) uint8, dark left to bright right: its orientation shows."""
    return np.tile(np.linspace(0, 255, width).astype(np.uint8), (height, 1))


@pytest.fixture
def closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that may be neither searched nor written. Its mode would not do: tests may run as root."""
    folder = tmp_path / "closed"
    folder.mkdir()

    def refusing(call: Callable[..., object]) -> Callable[..., object]:
        def refuse(path: object, *arguments: object, **named: object) -> object:
            if isinstance(path, (str, os.PathLike)) and folder in Path(path).parents:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return call(path, *arguments, **named)

        return refuse

    for name in ("stat", "mkdir", "open"):
        monkeypatch.setattr(os, name, refusing(getattr(os, name)))
    return folder


@pytest.fixture(scope="session")
def mixed_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ImageFolder tree of two classes with mixed sizes and modes. Do not change it."""
    root = tmp_path_factory.mktemp("mixed")
    for folder in ("bird", "fish"):
        (root / folder).mkdir()
    color = np.stack([_gradient(90, 60), 255 - _gradient(90, 60), _gradient(90, 60) // 2], axis=-1)
    rgb = Image.fromarray(color)
    rgb.save(root / "bird" / "plain.jpg")
    rgb.convert("L").save(root / "bird" / "grey.jpg")
    rgb.convert("CMYK").save(root / "bird" / "cmyk.jpg")
    exif = Image.Exif()
    exif[ORIENTATION] = ROTATED_270
    rgb.rotate(90, expand=True).save(root / "bird" / "rotated.jpg", exif=exif)
    rgb.quantize(256).save(root / "fish" / "palette.png")
    sixteen = _gradient(40, 300).astype(np.uint16) * 257
    Image.fromarray(sixteen).save(root / "fish" / "sixteen.png")
    rgb.convert("RGBA").save(root / "fish" / "alpha.png")
    rgb.convert("1").resize((10, 7)).save(root / "fish" / "bilevel.png")
    transparent = rgb.convert("P")
    transparent.save(root / "fish" / "transparent.png", transparency=bytes(range(256)))
    rgb.convert("LA").save(root / "fish" / "grey_alpha.png")
    rgb.resize((500, 31)).save(root / "fish" / "wide.webp")
    return root


def _in_child(command: str, words: list[str], cwd: Path, output: Path) -> None:
    os.chdir(cwd)
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(output / name, os.O_WRONLY | os.O_CREAT), descriptor)
    # data workers are forked, as they are in a process of its own; this child would start a server for them
    multiprocessing.set_start_method("fork", force=True)
    sys.argv = [command, *words]
    importlib.import_module(f"{command}.command").main()


@pytest.fixture(scope="session")
def run() -> Run:
    """As `run_installed`, in a process forked from one that has imported the commands: no start-up time."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(COMMANDS)

    def finished(command: str, *words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
        arguments = [str(word) for word in words]
        with tempfile.TemporaryDirectory() as output:
            process = context.Process(target=_in_child, args=(command, arguments, cwd, Path(output)))
            process.start()
            process.join(300)
            assert process.exitcode is not None, f"{command} {arguments} did not end"
            texts = [(Path(output) / name).read_text() for name in ("stdout", "stderr")]
        return subprocess.CompletedProcess(arguments, process.exitcode, *texts)

    return finished
