"""Every kind of source through `extract`, on small data in its own layout."""

from __future__ import annotations

import http.server
import io
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from cache import Store

Run = Callable[..., subprocess.CompletedProcess[str]]
LABELS = [0, 1, 1, 0, 1, 0]
CLASSES = ("cat", "dog")
WORDS = ("--backbone", "timm:test_vit", "--weights", "none", "--dtype", "float32", "--batch-size", "3")


def _images() -> list[bytes]:
    """Six files of noise, of which the first has another size."""
    files = []
    for number in range(len(LABELS)):
        noise = np.random.default_rng(number).integers(0, 256, (40, 60 if number else 30, 3), dtype=np.uint8)
        stream = io.BytesIO()
        Image.fromarray(noise).save(stream, "PNG")
        files.append(stream.getvalue())
    return files


def _folder(root: Path) -> str:
    for number, (image, label) in enumerate(zip(_images(), LABELS, strict=True)):
        path = root / "train" / CLASSES[label] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image)
    return f"folder:{root}"


def _csv(root: Path) -> str:
    lines = ["path,label"]
    for number, (image, label) in enumerate(zip(_images(), LABELS, strict=True)):
        (root / f"{number}.png").write_bytes(image)
        lines.append(f"{number}.png,{CLASSES[label]}")
    (root / "list.csv").write_text("\n".join(lines))
    return f"csv:{root}/list.csv"


def _webdataset(root: Path) -> str:
    for shard in range(2):
        with tarfile.open(root / f"train-{shard}.tar", "w") as tar:
            for number in range(shard * 3, shard * 3 + 3):
                label = CLASSES[LABELS[number]].encode()
                for name, content in ((f"{number}.png", _images()[number]), (f"{number}.cls", label)):
                    member = tarfile.TarInfo(name)
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
    return f"webdataset:{root}/train-{{0..1}}.tar"


def _parquet(root: Path) -> str:
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=list(CLASSES))}
    )
    images = [{"bytes": image, "path": None} for image in _images()]
    table = datasets.Dataset.from_dict({"image": images, "label": LABELS}, features=features)
    table.to_parquet(str(root / "train-00000-of-00001.parquet"), batch_size=2)
    return f"parquet:{root}"


LAYOUTS = {"folder": _folder, "csv": _csv, "webdataset": _webdataset, "parquet": _parquet}


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory, run: Run) -> dict[str, Store]:
    """The same images out of each layout."""
    stores = {}
    for name, layout in LAYOUTS.items():
        folder = tmp_path_factory.mktemp(name)
        (folder / "data").mkdir()
        finished = run("extract", *WORDS, "--dataset", layout(folder / "data"), "--out", "store", cwd=folder)
        assert finished.returncode == 0, finished.stderr
        assert finished.stderr == ""
        stores[name] = Store(folder / "store")
    return stores


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_gives_the_same_tokens(stores: dict[str, Store], name: str) -> None:
    ((dataset, _),) = stores[name].splits().items()
    split = stores[name].split(dataset, "train")
    assert split.manifest.classes == CLASSES
    assert split.manifest.dataset.fingerprint
    sample_id, labels = split.whole("sample_id"), split.whole("labels")
    # a folder orders its samples by class, the others as they are listed
    order = np.argsort(LABELS, kind="stable") if name == "folder" else np.arange(len(LABELS))
    assert labels.tolist() == [LABELS[order[sample]] for sample in sample_id]
    expected = _tokens(stores["csv"])
    assert _tokens(stores[name]).shape == expected.shape
    np.testing.assert_allclose(_tokens(stores[name]), expected[order], rtol=1e-5, atol=1e-5)


def _tokens(store: Store) -> np.ndarray:
    """(n, N, D) patches of the last block, in the order of the source."""
    ((dataset, _),) = store.splits().items()
    split = store.split(dataset, "train")
    name = next(spec.name for spec in split.manifest.arrays if spec.name.endswith("/patches"))
    return np.asarray(split.shard(name, 0))[np.argsort(split.whole("sample_id"))]


BAD = {
    "csv:nothing.csv": "no CSV file at nothing.csv",
    "parquet:nothing.parquet": "no file at nothing.parquet",
    "webdataset:https://host/a.tar": "reads files on this machine: download https://host/a.tar first",
    "inat21": "no folder at inat2021: unpack train.tar.gz and val.tar.gz of",
    "cub200=folder:nothing": "no folder at nothing: unpack CUB_200_2011.tgz",
}


@pytest.mark.parametrize("spec", BAD)
def test_bad_places_get_one_line_and_exit_code_two(tmp_path: Path, run: Run, spec: str) -> None:
    finished = run("extract", *WORDS, "--dataset", spec, cwd=tmp_path)
    assert finished.returncode == 2
    assert BAD[spec] in finished.stderr
    assert finished.stderr.count("\n") == 1, finished.stderr


class _Gate(http.server.BaseHTTPRequestHandler):
    """What the Hub answers for gated data sets when nobody is logged in."""

    def do_GET(self) -> None:
        self.send_response(401)
        self.send_header("X-Error-Code", "GatedRepo")
        self.send_header("X-Error-Message", "Access is restricted. Please log in.")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def gate() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Gate) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_gated_data_set_says_how_to_log_in(
    tmp_path: Path, run_installed: Run, gate: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"HF_ENDPOINT": gate, "HF_HOME": str(tmp_path), "NO_PROXY": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    finished = run_installed("extract", *WORDS, "--dataset", "imagenet", cwd=tmp_path)
    assert finished.returncode == 2
    assert "accept its terms on https://huggingface.co/datasets/ILSVRC/imagenet-1k" in finished.stderr
    assert "run `hf auth login`" in finished.stderr
    assert finished.stderr.count("\n") == 1, finished.stderr
