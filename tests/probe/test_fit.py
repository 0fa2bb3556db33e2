"""A whole run, from options to its folder."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cache import SplitReader, TokenDataset
from configs import UserError, load_recipe, names
from probe import FitOptions, TokenInputs, build_probe, run_fit
from probe.selection import Answer

MakeOptions = Callable[..., FitOptions]
MakeStore = Callable[..., Path]
Rows = list[dict[str, Any]]

PROBES = ("lp", "lp_mean", "ep4", "ep2_d3+cls")


class FinishedRun(Protocol):
    options: FitOptions
    answers: list[Answer]
    folder: Path


def lines(folder: Path) -> Rows:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def results(folder: Path) -> Rows:
    """The rows of all trials."""
    found: Rows = json.loads((folder / "results.json").read_text())["trials"]
    return found


@pytest.fixture
def fit(options: MakeOptions, tmp_path: Path) -> Callable[..., Rows]:
    """Run with changed options; the rows of all trials."""
    numbers = count()

    def run(**changes: Any) -> Rows:
        name = f"run{next(numbers)}"
        run_fit(options(**changes, name=name))
        return results(tmp_path / "runs" / name)

    return run


def test_every_probe_learns_from_the_store(finished_run: FinishedRun) -> None:
    assert [answer.probe for answer in finished_run.answers] == list(PROBES)
    assert min(answer.top1 for answer in finished_run.answers) > 2 * 100 / 6


def test_a_run_leaves_its_files_and_nothing_else(finished_run: FinishedRun) -> None:
    found = {path.name for path in finished_run.folder.iterdir() if "tfevents" not in path.name}
    files = {"config.yaml", "metrics.jsonl", "results.csv", "results.json"}
    assert found == files | {"head.safetensors", "predictions.safetensors", ".lock"}


def test_metrics_have_one_line_for_each_epoch_and_trial(finished_run: FinishedRun) -> None:
    assert [(line["epoch"], line["trial"]) for line in lines(finished_run.folder)] == [
        (epoch, probe) for epoch in (1, 2, 3, 4) for probe in PROBES
    ]


def test_the_rows_are_those_of_the_metrics_last_and_best_epochs(finished_run: FinishedRun) -> None:
    for row in results(finished_run.folder):
        own = [line for line in lines(finished_run.folder) if line["trial"] == row["trial"]]
        assert row["top1_last"] == own[-1]["top1"]
        assert row["top5_last"] == own[-1]["top5"]
        assert row["loss"] == own[-1]["loss"]
        assert row["top1_best"] == max(line["top1"] for line in own)
        assert own[row["best_epoch"] - 1]["top1"] == row["top1_best"]


def test_an_answer_without_a_choice_is_its_trials_row(finished_run: FinishedRun) -> None:
    for answer, row in zip(finished_run.answers, results(finished_run.folder), strict=True):
        assert answer.trials == (row["trial"],)
        assert (answer.top1, answer.top5) == (row["top1_last"], row["top5_last"])
        assert answer.best_top1 == row["top1_best"]
        assert (answer.held_out_top1, row["held_out_top1"]) == (None, None)


def test_results_csv_holds_the_rows_of_results_json(finished_run: FinishedRun) -> None:
    with (finished_run.folder / "results.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    expected = results(finished_run.folder)
    assert found == [{key: "" if v is None else str(v) for key, v in row.items()} for row in expected]


def test_results_json_holds_the_answers_and_the_configuration(finished_run: FinishedRun) -> None:
    found = json.loads((finished_run.folder / "results.json").read_text())
    assert [answer["top1"] for answer in found["answers"]] == [a.top1 for a in finished_run.answers]
    assert found["config"] == yaml.safe_load((finished_run.folder / "config.yaml").read_text())


def test_the_rows_state_what_decided_them(finished_run: FinishedRun) -> None:
    for row in results(finished_run.folder):
        assert row["parameters"] == build_probe(row["probe"], 12, 6, (2, 3)).num_parameters
        assert (row["lr"], row["weight_decay"], row["batch_size"]) == (0.02, 0, 8)
        assert (row["epochs"], row["seed"], row["blocks"], row["tokens"]) == (4, 0, "3", "pre")
        assert (row["training_images"], row["chosen"], row["pruned"]) == (120, True, False)


def test_the_configuration_states_what_was_resolved(finished_run: FinishedRun) -> None:
    config = yaml.safe_load((finished_run.folder / "config.yaml").read_text())
    assert config["options"]["probe"] == list(PROBES)
    fast = load_recipe("fast")
    assert config["recipe"]["batch_size"] == 8  # more in the recipe: 120 images allow no more
    assert config["recipe"]["warmup_epochs"] == pytest.approx(fast.warmup_epochs * 4 / fast.epochs)
    assert config["recipe"]["lr"] == [0.02]
    assert (config["blocks"], config["tokens"], config["stored_dtype"]) == ([[3]], ["pre"], "float16")
    assert config["held_out"] == 0
    assert config["classes"] == ["ant", "bee", "cat", "dog", "elk", "fox"]
    assert config["backbone"]["name"] == "toy"
    assert (config["train"]["split"], config["evaluation"]["split"]) == ("train", "validation")


def test_tensorboard_shows_every_epoch_of_a_probe(finished_run: FinishedRun) -> None:
    events = EventAccumulator(str(finished_run.folder)).Reload()
    expected = [line["top1"] for line in lines(finished_run.folder) if line["trial"] == "ep4"]
    assert [event.value for event in events.Scalars("top1/ep4")] == pytest.approx(expected)


def test_heads_have_the_tensors_of_their_probes(finished_run: FinishedRun) -> None:
    head = ("classifier.weight", "classifier.bias", "batch_norm.running_mean", "batch_norm.running_var")
    pooling = ("pooling.queries_KMD", "pooling.values.weight")
    assert set(load_file(finished_run.folder / "head.safetensors")) == {
        *(f"{probe}/{key}" for probe in PROBES for key in head),
        *(f"{probe}/{key}" for probe in ("ep4", "ep2_d3+cls") for key in pooling),
    }


@pytest.mark.parametrize("number", range(len(PROBES)))
def test_a_reloaded_head_reproduces_the_reported_accuracy(
    finished_run: FinishedRun, store: Path, number: int
) -> None:
    name = PROBES[number]
    probe = build_probe(name, 12, 6, (2, 3))
    untrained = {key: value.clone() for key, value in probe.state_dict().items()}
    tensors = load_file(finished_run.folder / "head.safetensors")
    own = {key.removeprefix(f"{name}/"): t for key, t in tensors.items() if key.startswith(f"{name}/")}
    validation = TokenDataset(SplitReader(store / "animals" / "validation"), 3, ("patches", "prefix", "mean"))
    batch = validation.__getitems__(range(60))
    tokens = TokenInputs("pre", None, 0).select([batch], {probe.token_set})[probe.token_set]

    def accuracy(state: dict[str, torch.Tensor]) -> float:
        probe.load_state_dict(state)
        return 100 * float((probe.eval()(tokens)[0].argmax(dim=1) == batch.labels).float().mean())

    reported = finished_run.answers[number].top1
    assert accuracy({key: tensor.unsqueeze(0) for key, tensor in own.items()}) == pytest.approx(reported)
    assert accuracy(untrained) != pytest.approx(reported)


def test_a_probe_gives_the_same_numbers_alone_as_beside_others(
    finished_run: FinishedRun, fit: Callable[..., Rows]
) -> None:
    (alone,) = fit(probe=("ep4",), epochs=4)
    beside = results(finished_run.folder)[2]
    timed = {"seconds"}
    assert {k: v for k, v in alone.items() if k not in timed} == {
        k: v for k, v in beside.items() if k not in timed
    }


def test_another_seed_gives_other_numbers(finished_run: FinishedRun, fit: Callable[..., Rows]) -> None:
    (other,) = fit(probe=("ep4",), epochs=4, seed=(1,))
    assert other["loss"] != results(finished_run.folder)[2]["loss"]


@pytest.fixture
def gathered(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[int]]]:
    """What is read of the training split, as it is read: arrays and records."""
    found: list[tuple[str, list[int]]] = []
    gather = SplitReader.gather

    def noted(self: SplitReader, name: str, records: np.ndarray, out: np.ndarray, view: int = 0) -> None:
        if self.name == "animals/train":
            found.append((name, records.tolist()))
        gather(self, name, records, out, view)

    monkeypatch.setattr(SplitReader, "gather", noted)
    return found


def test_every_epoch_and_order_seed_draws_batches_of_its_own_and_the_probes_seed_none(
    fit: Callable[..., Rows], gathered: list[tuple[str, list[int]]]
) -> None:
    runs = []
    for order_seed, seed in ((0, 0), (1, 0), (0, 1)):
        gathered.clear()
        fit(epochs=2, order_seed=order_seed, seed=(seed,))
        batches = [tuple(records) for _, records in gathered]
        middle = len(batches) // 2
        # two threads gather: neighbours may change places on their way
        runs.append([set(batches[:middle]), set(batches[middle:])])
    for first, second in runs:
        for epoch in (first, second):
            assert sorted(record for batch in epoch for record in batch) == list(range(120))
        assert not first & second
    assert runs[0] != runs[1]
    assert runs[0] == runs[2]


@pytest.mark.parametrize(
    ("tokens", "probes", "read"),
    [
        ("pre", ("lp",), {"block3/prefix"}),
        ("post", ("lp",), {"block3/prefix"}),
        ("pre", ("lp_mean",), {"block3/mean"}),
        ("post", ("lp_mean",), {"block3/mean_normed"}),
        ("pre", ("ep4",), {"block3/patches"}),
        ("pre", ("lp", "ep4+cls"), {"block3/prefix", "block3/patches"}),
    ],
)
def test_a_run_reads_only_the_arrays_of_its_probes(
    fit: Callable[..., Rows],
    gathered: list[tuple[str, list[int]]],
    tokens: str,
    probes: tuple[str, ...],
    read: set[str],
) -> None:
    fit(probe=probes, tokens=(tokens,), epochs=1)
    assert {name for name, _ in gathered} == read


def test_a_run_of_another_block_reads_that_block(
    fit: Callable[..., Rows], make_store: MakeStore, tmp_path: Path
) -> None:
    # blocks 1 and 2 hold different tokens: a probe of one is not that of the other
    store = make_store(tmp_path / "some", splits={"train": 60, "test": 30}, blocks=(1, 2))
    rows = [fit(cache=store, block=(block,))[0] for block in ("1", "2", "-3")]
    assert [row["blocks"] for row in rows] == ["1", "2", "1"]
    assert rows[0]["loss"] == rows[2]["loss"] != rows[1]["loss"]


def test_tokens_after_the_norm_train_another_probe(fit: Callable[..., Rows]) -> None:
    (pre,), (post,) = (fit(tokens=(tokens,)) for tokens in ("pre", "post"))
    assert (pre["tokens"], post["tokens"]) == ("pre", "post")
    assert pre["loss"] != post["loss"]


def test_bfloat16_tokens_can_be_probed(
    fit: Callable[..., Rows], make_store: MakeStore, tmp_path: Path
) -> None:
    rows = [
        fit(cache=make_store(tmp_path / dtype, dtype=dtype), probe=("ep4",))[0]
        for dtype in ("float32", "bfloat16")
    ]
    assert rows[1]["loss"] == pytest.approx(rows[0]["loss"], rel=0.01)


def test_a_second_run_gets_a_folder_of_its_own(options: MakeOptions, tmp_path: Path) -> None:
    run_fit(options(epochs=1))
    first = (tmp_path / "runs" / "toy-animals-lp-fast" / "metrics.jsonl").read_bytes()
    run_fit(options(epochs=1))
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {
        "toy-animals-lp-fast",
        "toy-animals-lp-fast-2",
    }
    assert (tmp_path / "runs" / "toy-animals-lp-fast" / "metrics.jsonl").read_bytes() == first


def test_a_name_in_use_is_refused_and_its_run_kept(finished_run: FinishedRun) -> None:
    before = {path: path.read_bytes() for path in finished_run.folder.iterdir()}
    with pytest.raises(UserError, match="first holds a finished run: give another --name, or none"):
        run_fit(finished_run.options)
    assert {path: path.read_bytes() for path in finished_run.folder.iterdir()} == before


def test_many_probes_are_counted_in_the_runs_name(options: MakeOptions, tmp_path: Path) -> None:
    run_fit(options(probe=("lp", "lp_mean", "ep2", "ep4"), epochs=1))
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["toy-animals-4-probes-fast"]


def test_a_cut_batch_is_said(options: MakeOptions, capsys: pytest.CaptureFixture[str]) -> None:
    run_fit(options(epochs=1))
    wanted = load_recipe("fast").batch_size
    expected = f"batch size 8 instead of {wanted:,}: there are 120 training images"
    assert expected in capsys.readouterr().err


def test_a_run_prints_one_line_an_epoch_and_names_its_folder(
    options: MakeOptions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_fit(options(epochs=2))
    printed, said = (text.splitlines() for text in capsys.readouterr())
    assert [line.split()[1] for line in said if line.startswith("epoch")] == ["1/2", "2/2"]
    assert printed[-1] == f"results: {tmp_path / 'runs' / 'toy-animals-lp-fast'}"


@pytest.mark.parametrize("recipe", names("recipes"))
def test_every_recipe_runs(fit: Callable[..., Rows], recipe: str) -> None:
    rows = fit(recipe=recipe, lr=(), epochs=1)
    named = load_recipe(recipe)
    factor = rows[0]["batch_size"] / 256 if named.lr_per_256 else 1
    grid = [(lr * factor, decay) for lr in named.lr for decay in named.weight_decay]
    assert [row["lr"] for row in rows] == pytest.approx([lr for lr, _ in grid])
    assert [row["weight_decay"] for row in rows] == [decay for _, decay in grid]


@pytest.mark.parametrize("probes", [("ep5",), ("lp", "eppp"), ("ep4", "ep5_d2")])
def test_a_refused_run_leaves_no_folder(
    options: MakeOptions, tmp_path: Path, probes: tuple[str, ...]
) -> None:
    with pytest.raises(UserError):
        run_fit(options(probe=probes))
    assert not (tmp_path / "runs").exists()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("tokens", ["pre", "post"])
def test_a_run_on_a_gpu_agrees_with_one_on_the_cpu(fit: Callable[..., Rows], tokens: str) -> None:
    on_cpu, on_gpu = (fit(probe=PROBES, tokens=(tokens,), device=device) for device in ("cpu", "cuda"))
    losses = [row["loss"] for row in on_cpu]
    assert [row["loss"] for row in on_gpu] == pytest.approx(losses, rel=1e-3)
