"""A whole run, from options to its folder."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cache import SplitReader, TokenDataset
from configs import UserError, load_recipe
from probe import FitOptions, TokenInputs, build_probe, run_fit
from probe.run_folder import TrialSummary

MakeOptions = Callable[..., FitOptions]
MakeStore = Callable[..., Path]

PROBES = ("lp", "lp_mean", "ep4", "ep2_d3+cls")


class FinishedRun(Protocol):
    options: FitOptions
    summaries: list[TrialSummary]
    folder: Path


def lines(run: FinishedRun) -> list[dict[str, object]]:
    return [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]


def numbers(summary: TrialSummary) -> tuple[float, ...]:
    return summary.loss, summary.top1_last, summary.top5_last, summary.top1_best, summary.best_epoch


def test_every_probe_learns_from_the_store(finished_run: FinishedRun) -> None:
    assert [summary.probe for summary in finished_run.summaries] == list(PROBES)
    assert min(summary.top1_last for summary in finished_run.summaries) > 2 * 100 / 6


def test_a_run_leaves_its_files_and_nothing_else(finished_run: FinishedRun) -> None:
    found = {path.name for path in finished_run.folder.iterdir() if "tfevents" not in path.name}
    assert found == {"config.yaml", "metrics.jsonl", "results.csv", "results.json", "head.safetensors"}


def test_metrics_have_one_line_for_each_epoch_and_probe(finished_run: FinishedRun) -> None:
    assert [(line["epoch"], line["probe"]) for line in lines(finished_run)] == [
        (epoch, probe) for epoch in (1, 2, 3, 4) for probe in PROBES
    ]


def test_the_rows_are_those_of_the_metrics_last_and_best_epochs(finished_run: FinishedRun) -> None:
    for summary in finished_run.summaries:
        own = [line for line in lines(finished_run) if line["probe"] == summary.probe]
        assert summary.top1_last == own[-1]["top1"]
        assert summary.top5_last == own[-1]["top5"]
        assert summary.loss == own[-1]["loss"]
        assert summary.top1_best == max(line["top1"] for line in own)
        assert own[summary.best_epoch - 1]["top1"] == summary.top1_best


def test_results_csv_holds_the_returned_rows(finished_run: FinishedRun) -> None:
    with (finished_run.folder / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows == [{key: str(value) for key, value in vars(s).items()} for s in finished_run.summaries]


def test_results_json_holds_the_returned_rows_and_the_configuration(finished_run: FinishedRun) -> None:
    found = json.loads((finished_run.folder / "results.json").read_text())
    assert found["trials"] == [vars(summary) for summary in finished_run.summaries]
    assert found["config"] == yaml.safe_load((finished_run.folder / "config.yaml").read_text())


def test_the_rows_state_what_decided_them(finished_run: FinishedRun) -> None:
    for summary in finished_run.summaries:
        assert summary.parameters == build_probe(summary.probe, 12, 6).num_parameters
        assert (summary.lr, summary.weight_decay, summary.batch_size) == (0.02, 0, 8)
        assert (summary.epochs, summary.seed, summary.block, summary.tokens) == (4, 0, 3, "pre")


def test_the_configuration_states_what_was_resolved(finished_run: FinishedRun) -> None:
    config = yaml.safe_load((finished_run.folder / "config.yaml").read_text())
    assert config["options"]["probe"] == list(PROBES)
    fast = load_recipe("fast")
    assert config["recipe"]["batch_size"] == 8  # more in the recipe: 120 images allow no more
    assert config["recipe"]["warmup_epochs"] == pytest.approx(fast.warmup_epochs * 4 / fast.epochs)
    assert (config["block"], config["tokens"], config["stored_dtype"]) == (3, "pre", "float16")
    assert config["classes"] == ["ant", "bee", "cat", "dog", "elk", "fox"]
    assert config["backbone"]["name"] == "toy"
    assert (config["train"]["split"], config["evaluation"]["split"]) == ("train", "validation")


def test_tensorboard_shows_every_epoch_of_a_probe(finished_run: FinishedRun) -> None:
    events = EventAccumulator(str(finished_run.folder)).Reload()
    expected = [line["top1"] for line in lines(finished_run) if line["probe"] == "ep4"]
    assert [event.value for event in events.Scalars("top1/ep4")] == pytest.approx(expected)


def test_heads_have_the_tensors_of_their_probes(finished_run: FinishedRun) -> None:
    norm = ("batch_norm.running_mean", "batch_norm.running_var", "batch_norm.num_batches_tracked")
    head = ("classifier.weight", "classifier.bias", *norm)
    pooling = ("pooling.queries_MD", "pooling.values_MOD")
    assert set(load_file(finished_run.folder / "head.safetensors")) == {
        *(f"{probe}.{key}" for probe in PROBES for key in head),
        *(f"{probe}.{key}" for probe in ("ep4", "ep2_d3+cls") for key in pooling),
    }


@pytest.mark.parametrize("number", range(len(PROBES)))
def test_a_reloaded_head_reproduces_the_reported_accuracy(
    finished_run: FinishedRun, store: Path, number: int
) -> None:
    name = PROBES[number]
    probe = build_probe(name, 12, 6)
    untrained = {key: value.clone() for key, value in probe.state_dict().items()}
    tensors = load_file(finished_run.folder / "head.safetensors")
    own = {key.removeprefix(f"{name}."): t for key, t in tensors.items() if key.startswith(f"{name}.")}
    validation = TokenDataset(SplitReader(store / "animals" / "validation"), 3, ("patches", "prefix", "mean"))
    batch = validation.__getitems__(range(60))
    tokens = TokenInputs("pre", None, 0).select(batch, {probe.token_set})[probe.token_set]

    def accuracy(state: dict[str, torch.Tensor]) -> float:
        probe.load_state_dict(state)
        return 100 * float((probe.eval()(tokens).argmax(dim=1) == batch.labels).float().mean())

    assert accuracy(own) == pytest.approx(finished_run.summaries[number].top1_last)
    assert accuracy(untrained) != pytest.approx(finished_run.summaries[number].top1_last)


def test_a_probe_gives_the_same_numbers_alone_as_beside_others(
    finished_run: FinishedRun, options: MakeOptions
) -> None:
    (alone,) = run_fit(options(probe=("ep4",), epochs=4))
    assert numbers(alone) == numbers(finished_run.summaries[2])


def test_another_seed_gives_other_numbers(finished_run: FinishedRun, options: MakeOptions) -> None:
    (other,) = run_fit(options(probe=("ep4",), epochs=4, seed=1))
    assert other.loss != finished_run.summaries[2].loss


def test_another_seed_draws_other_batches(options: MakeOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    orders: list[list[int]] = []
    gather = SplitReader.gather

    def noted(self: SplitReader, name: str, records: np.ndarray, out: np.ndarray, view: int = 0) -> None:
        if self.name == "animals/train":
            orders.append(records.tolist())
        gather(self, name, records, out, view)

    monkeypatch.setattr(SplitReader, "gather", noted)
    run_fit(options(epochs=2, seed=0))
    run_fit(options(epochs=1, seed=1))
    first, second, other = ([i for o in orders[at : at + 15] for i in o] for at in (0, 15, 30))
    assert sorted(first) == sorted(second) == sorted(other) == list(range(120))
    assert first != second
    assert first != other


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
    options: MakeOptions,
    monkeypatch: pytest.MonkeyPatch,
    tokens: str,
    probes: tuple[str, ...],
    read: set[str],
) -> None:
    found: set[str] = set()
    gather = SplitReader.gather

    def noted(self: SplitReader, name: str, records: np.ndarray, out: np.ndarray, view: int = 0) -> None:
        found.add(name)
        gather(self, name, records, out, view)

    monkeypatch.setattr(SplitReader, "gather", noted)
    run_fit(options(probe=probes, tokens=tokens, epochs=1))
    assert found == read


def test_a_run_of_another_block_reads_that_block(
    options: MakeOptions, make_store: MakeStore, tmp_path: Path
) -> None:
    # blocks 1 and 2 hold different tokens: a probe of one is not that of the other
    store = make_store(tmp_path / "some", splits={"train": 60, "test": 30}, blocks=(1, 2))
    rows = [run_fit(options(cache=store, block=block))[0] for block in (1, 2, -3)]
    assert [row.block for row in rows] == [1, 2, 1]
    assert rows[0].loss == rows[2].loss != rows[1].loss


def test_tokens_after_the_norm_train_another_probe(options: MakeOptions) -> None:
    (pre,), (post,) = (run_fit(options(tokens=tokens)) for tokens in ("pre", "post"))
    assert (pre.tokens, post.tokens) == ("pre", "post")
    assert pre.loss != post.loss


def test_bfloat16_tokens_can_be_probed(options: MakeOptions, make_store: MakeStore, tmp_path: Path) -> None:
    rows = [
        run_fit(options(cache=make_store(tmp_path / dtype, dtype=dtype), probe=("ep4",)))[0]
        for dtype in ("float32", "bfloat16")
    ]
    assert rows[1].loss == pytest.approx(rows[0].loss, rel=0.01)


def test_a_second_run_gets_a_folder_of_its_own(options: MakeOptions, tmp_path: Path) -> None:
    run_fit(options(epochs=1))
    first = (tmp_path / "runs" / "toy-animals-lp-fast" / "metrics.jsonl").read_bytes()
    run_fit(options(epochs=2))
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {
        "toy-animals-lp-fast",
        "toy-animals-lp-fast-2",
    }
    assert (tmp_path / "runs" / "toy-animals-lp-fast" / "metrics.jsonl").read_bytes() == first


def test_a_name_in_use_is_refused_and_its_run_kept(finished_run: FinishedRun) -> None:
    before = {path: path.read_bytes() for path in finished_run.folder.iterdir()}
    with pytest.raises(UserError, match="first exists: give another --name, or none"):
        run_fit(finished_run.options)
    assert {path: path.read_bytes() for path in finished_run.folder.iterdir()} == before


def test_many_probes_are_counted_in_the_runs_name(options: MakeOptions, tmp_path: Path) -> None:
    run_fit(options(probe=("lp", "lp_mean", "ep2", "ep4"), epochs=1))
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["toy-animals-4-probes-fast"]


def test_a_cut_batch_is_said(options: MakeOptions, capsys: pytest.CaptureFixture[str]) -> None:
    run_fit(options(epochs=1))
    wanted = load_recipe("fast").batch_size
    expected = f"batch size 8 instead of {wanted:,}: the training split holds 120 images"
    assert expected in capsys.readouterr().out


def test_a_run_prints_one_line_an_epoch_and_names_its_folder(
    options: MakeOptions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_fit(options(epochs=2))
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in printed if line.startswith("epoch")] == ["1/2", "2/2"]
    assert printed[-1] == f"results: {tmp_path / 'runs' / 'toy-animals-lp-fast'}"


@pytest.mark.parametrize("recipe", ["paper", "fast"])
def test_every_recipe_runs(options: MakeOptions, recipe: str) -> None:
    (row,) = run_fit(options(recipe=recipe, lr=None, epochs=1))
    named = load_recipe(recipe)
    assert row.lr == pytest.approx(named.lr * (8 / 256 if named.lr_per_256 else 1))


@pytest.mark.parametrize("probes", [("ep5",), ("lp", "eppp"), ("ep4", "ep5_d2")])
def test_a_refused_run_leaves_no_folder(
    options: MakeOptions, tmp_path: Path, probes: tuple[str, ...]
) -> None:
    with pytest.raises(UserError):
        run_fit(options(probe=probes))
    assert not (tmp_path / "runs").exists()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("tokens", ["pre", "post"])
def test_a_run_on_a_gpu_agrees_with_one_on_the_cpu(options: MakeOptions, tokens: str) -> None:
    chosen = [options(probe=PROBES, tokens=tokens, device=device) for device in ("cpu", "cuda")]
    on_cpu, on_gpu = (run_fit(each) for each in chosen)
    assert [row.loss for row in on_gpu] == pytest.approx([row.loss for row in on_cpu], rel=1e-3)
