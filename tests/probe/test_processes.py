"""Two processes that train together: the numbers of one, and one voice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from configs import UserError
from probe import FitOptions, parts, run_fit
from probe.predictions import read_predictions
from probe.processes import decided, first_process, summed, summed_count, together
from probe.stacked.statistics import batch_statistics

TRAINED, MEASURED, BATCH = 121, 61, 15
"""An odd number of images to train on; batches that two processes share as 8 and 7 images, of which the last
to be measured has one image."""

WORDS = [
    *["--probe", "lp,ep4,aim4+cls,vjepa4", "--recipe", "dinov2", "--lr", "0.2,0.5", "--seed", "0,1"],
    *["--epochs", "3", "--batch-size", str(BATCH), "--every-epoch", "--device", "cpu", "--name", "run"],
]

Launch = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def launch() -> Launch:
    """Start two processes of a program on the CPU, and wait for them."""

    def finished(*words: object) -> subprocess.CompletedProcess[str]:
        start = [Path(sys.executable).with_name("torchrun"), "--standalone", "--nproc_per_node", "2"]
        hidden = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
        return subprocess.run(
            [*start, *map(str, words)], env=hidden, capture_output=True, text=True, timeout=240, check=False
        )

    return finished


@pytest.fixture(scope="module")
def store(make_store: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stores") / "odd"
    return make_store(folder, splits={"train": TRAINED, "validation": MEASURED})


@pytest.fixture(scope="module")
def two(
    store: Path, launch: Launch, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A run of two processes: its folder, and what they printed."""
    runs = tmp_path_factory.mktemp("two")
    ended = launch("-m", "probe", "--cache", store, "--runs", runs, *WORDS)
    assert ended.returncode == 0, ended.stderr
    return runs / "run", ended


@pytest.fixture(scope="module")
def one(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the same run of one process."""
    runs = tmp_path_factory.mktemp("one")
    options = FitOptions(
        cache=store,
        probe=("lp", "ep4", "aim4+cls", "vjepa4"),
        recipe="dinov2",
        lr=(0.2, 0.5),
        seed=(0, 1),
        epochs=3,
        batch_size=BATCH,
        every_epoch=True,
        device="cpu",
        runs=runs,
        name="run",
        report=False,
    )
    run_fit(options)
    return runs / "run"


def _epochs(folder: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return sorted(rows, key=lambda row: (row["trial"], row["epoch"]))


@pytest.mark.slow
def test_losses_are_those_of_one_process(two: tuple[Path, object], one: Path) -> None:
    found, wanted = _epochs(two[0]), _epochs(one)
    assert [(row["trial"], row["epoch"]) for row in found] == [(row["trial"], row["epoch"]) for row in wanted]
    assert [row["loss"] for row in found] == pytest.approx([row["loss"] for row in wanted], rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["held_out_top1", "top1", "top5"])
def test_accuracies_are_those_of_one_process(two: tuple[Path, object], one: Path, name: str) -> None:
    found, wanted = ([row[name] for row in _epochs(folder)] for folder in (two[0], one))
    one_image = 100 / (12 if name == "held_out_top1" else MEASURED)
    assert found == pytest.approx(wanted, abs=1.01 * one_image)
    assert sum(map(abs, map(float.__sub__, found, wanted))) < 3 * one_image  # rounding turns hardly any


@pytest.mark.slow
def test_every_image_is_measured_once(two: tuple[Path, object]) -> None:
    counts = [row["top1"] / 100 * MEASURED for row in _epochs(two[0])]
    assert counts == pytest.approx([round(count) for count in counts])


@pytest.mark.slow
def test_heads_and_running_statistics_are_those_of_one_process(two: tuple[Path, object], one: Path) -> None:
    found, wanted = (load_file(folder / "head.safetensors") for folder in (two[0], one))
    assert found.keys() == wanted.keys()
    assert any(key.endswith("running_var") for key in wanted)
    for key, tensor in wanted.items():
        torch.testing.assert_close(
            found[key], tensor, rtol=1e-3, atol=5e-5, msg=lambda text, k=key: f"{k}: {text}"
        )


@pytest.mark.slow
def test_predictions_of_both_are_kept(two: tuple[Path, object]) -> None:
    kept = read_predictions(two[0])
    assert kept is not None
    answers = json.loads((two[0] / "results.json").read_text())["answers"]
    for answer, trials in zip(answers, kept.answers, strict=True):
        found = [100 * (classes[:, 0] == kept.label).mean() for classes in trials]
        assert sum(found) / len(found) == pytest.approx(answer["top1"])
        assert min(classes.min() for classes in trials) >= 0  # every image, by one process or the other
    assert (two[0] / "report.html").exists()


@pytest.mark.slow
def test_one_process_prints_and_keeps_the_run(two: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, ended = two
    assert [path.name for path in folder.parent.iterdir()] == ["run"]
    assert len(list(folder.glob("events.out.tfevents*"))) == 1
    assert ended.stderr.count("epoch   3/3") == 4  # the best trial of each probe
    assert ended.stdout.count("results:") == 1


@pytest.mark.slow
def test_a_refusal_ends_both_processes_and_is_said_once(
    two: tuple[Path, object], store: Path, launch: Launch
) -> None:
    folder = two[0]
    ended = launch("-m", "probe", "--cache", store, "--runs", folder.parent, *WORDS)
    assert ended.returncode != 0
    assert ended.stderr.count("probe: ") == 1
    assert f"{folder} holds a finished run" in ended.stderr


TOGETHER = """
    import sys, torch
    from pathlib import Path
    from cache import launch
    from probe.cost import probe_cost
    from probe.processes import decided, first_process, speaking_as_one, summed, summed_count, together
    from probe.stacked.statistics import batch_statistics

    rank = launch().process_index
    assert together() and first_process() == (rank == 0)
    values = torch.load(sys.argv[1], weights_only=True)
    own = values[:, rank::2].clone().requires_grad_()
    mean, variance, count = batch_statistics(own)
    loss = ((own - mean) * torch.rsqrt(variance)).pow(3).sum()
    loss.backward()
    found = {
        "mean": mean.detach(),
        "variance": variance.detach(),
        "count": count,
        "gradient": own.grad,
        "sum": summed(torch.tensor([1.0 + rank])),
        "images": summed_count(3 + rank, torch.device("cpu")),
        "decided": decided(lambda: ["of process", rank]),
        "ended": False,
    }
    torch.save(found, f"{sys.argv[2]}/{rank}.pt")

    def refuse():
        raise ValueError("process 0 alone")

    try:
        decided(refuse)
    except (SystemExit, ValueError) as error:
        found["ended"] = type(error).__name__
    probe_cost("lp", 12, 6, (2, 3))  # makes torch import what may hold on to the process group
    with speaking_as_one():
        print("said by", rank)
    threads = [path.read_text() for path in Path("/proc/self/task").glob("*/comm")]
    found["talking"] = [name for name in threads if "gloo" in name]
    torch.save(found, f"{sys.argv[2]}/{rank}.pt")
"""


@pytest.fixture(scope="module")
def values() -> torch.Tensor:
    """(K, B, W), an odd number of images."""
    return 2 + 3 * torch.randn(2, 7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def shares(
    launch: Launch, values: torch.Tensor, tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, Any]]:
    """What each of two processes found."""
    folder = tmp_path_factory.mktemp("shares")
    (folder / "together.py").write_text(textwrap.dedent(TOGETHER))
    torch.save(values, folder / "values.pt")
    ended = launch(folder / "together.py", folder / "values.pt", folder)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "said by 0\n"
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.slow
def test_statistics_are_those_of_the_whole_batch_in_both(
    shares: list[dict[str, Any]], values: torch.Tensor
) -> None:
    variance, mean = torch.var_mean(values, dim=(1,), correction=0, keepdim=True)
    for share in shares:
        torch.testing.assert_close((share["mean"], share["variance"]), (mean, variance))
        assert share["count"] == 7


@pytest.mark.slow
def test_gradients_flow_through_the_statistics_to_both(
    shares: list[dict[str, Any]], values: torch.Tensor
) -> None:
    values = values.clone().requires_grad_()
    variance, mean = torch.var_mean(values, dim=(1,), correction=0, keepdim=True)
    ((values - mean) * torch.rsqrt(variance)).pow(3).sum().backward()
    assert values.grad is not None
    for rank, share in enumerate(shares):
        torch.testing.assert_close(share["gradient"], values.grad[:, rank::2])


@pytest.mark.slow
def test_sums_and_counts_are_of_both(shares: list[dict[str, Any]]) -> None:
    assert [(share["sum"].item(), share["images"]) for share in shares] == [(3.0, 7)] * 2


@pytest.mark.slow
def test_the_first_process_decides_for_both(shares: list[dict[str, Any]]) -> None:
    assert [share["decided"] for share in shares] == [["of process", 0]] * 2


@pytest.mark.slow
def test_where_the_first_fails_to_decide_the_other_ends(shares: list[dict[str, Any]]) -> None:
    assert [share["ended"] for share in shares] == ["ValueError", "SystemExit"]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux")
def test_no_thread_that_talks_to_others_is_left_to_abort_the_end(shares: list[dict[str, Any]]) -> None:
    assert [share["talking"] for share in shares] == [[], []]


def test_a_batch_that_leaves_a_process_without_images_is_refused(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = type("Place", (), {"process_index": 0, "num_processes": 9})
    monkeypatch.setattr(parts, "launch", lambda: many)
    with pytest.raises(UserError, match="a batch of 8 images has none for some of 9 processes"):
        run_fit(FitOptions(cache=store, probe=("lp",), batch_size=8, device="cpu", runs=tmp_path))


@pytest.fixture
def whole_batch() -> torch.Tensor:
    return torch.randn(2, 5, 3, dtype=torch.float64)


def test_alone_everything_is_the_only_processes(whole_batch: torch.Tensor) -> None:
    assert first_process()
    assert not together()
    assert decided(lambda: "mine") == "mine"
    assert summed_count(3, torch.device("cpu")) == 3
    assert torch.equal(summed(whole_batch.clone()), whole_batch)


def test_alone_statistics_are_the_batchs(whole_batch: torch.Tensor) -> None:
    mean, variance, count = batch_statistics(whole_batch)
    torch.testing.assert_close(mean, whole_batch.mean(dim=1, keepdim=True))
    torch.testing.assert_close(variance, whole_batch.var(dim=1, keepdim=True, correction=0))
    assert count == 5
