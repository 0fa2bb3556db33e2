"""The command `probe`: exit codes and messages."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import tyro

from configs import UserError
from configs.command_line.arguments import arguments
from probe import FitOptions
from probe.command import VERBS

RunProbe = Callable[..., tuple[int, str, str]]
MakeStore = Callable[..., Path]


@pytest.fixture
def stores(make_store: MakeStore, store: Path, tmp_path: Path) -> Callable[[str], Path]:
    """The path of a store by what is the matter with it."""

    def find(name: str) -> Path:
        folder = tmp_path / name
        few = {"train": 24, "validation": 12}
        if name == "missing":
            return folder
        if name == "without_norm":
            return make_store(folder, splits=few, norm=None)
        if name == "without_prefix":
            return make_store(folder, splits=few, prefix=())
        if name == "only_train":
            return make_store(folder, splits={"train": 24})
        if name == "other_classes":
            make_store(folder, splits={"train": 24})
            return make_store(folder, splits={"validation": 12}, classes=("ant", "bee"))
        return store

    return find


@pytest.mark.parametrize(
    ("held", "words", "said"),
    [
        ("missing", "", ("no store at", "make one with `extract")),
        ("good", "--dataset plants", ("holds animals", "not 'plants'")),
        ("good", "--train-split trian", ("no split 'trian'", "it has train, validation")),
        ("good", "--eval-split test", ("no split 'test'", "it has train, validation")),
        ("good", "--block 7", ("--block 7", "blocks 0 to 3")),
        ("good", "--block last", ("--block last", "5,11, or all")),
        ("good", "--block 1", ("holds block 3, not block 1", "--blocks")),
        ("good", "--block -2", ("holds block 3, not block 2", "--blocks")),
        ("other_classes", "", ("different classes: class ",)),
        ("only_train", "", ("no evaluation split", "it has train", "--eval-split")),
        ("without_norm", "--tokens post", ("no final norm", "--tokens pre")),
        ("without_prefix", "--probe lp", ("no [CLS] token", "lp_mean")),
        ("without_prefix", "--probe ep4+cls", ("no [CLS] token", "+cls")),
        ("good", "--probe ep32", ("32 queries", "token width 12", "use 4, 6, 12 queries")),
        ("good", "--probe ep4x", ("unknown probe 'ep4x'", "did you mean ep32")),
        ("good", "--probe lp,lp", ("probe: ", "name each once")),
        ("good", "--probe ,", ("probe: ", "name one or more")),
        ("good", "--recipe papre", ("unknown recipe 'papre'", "did you mean paper")),
        ("good", "--batch-size 1", ("batch norm needs two images", "120")),
        ("good", "--batch-size 0", ("batch_size", "greater than 0")),
        ("good", "--lr -1", ("lr: -1 is not between",)),
        ("good", "--lr 0.1,0.1", ("lr: name each once",)),
        ("good", "--weight-decay -1", ("weight_decay: -1 is not between 0",)),
        ("good", "--seed -1", ("seed: -1 is not between 0",)),
        ("good", "--shots 0", ("shots: 0 is not between 1",)),
        ("good", "--fraction 1.5", ("fraction: 1.5 is not between",)),
        ("good", "--draws 3", ("--draws", "--shots or --fraction")),
        ("good", "--held-out 0.6", ("held_out", "0.5")),
        ("good", "--tokens middle", ("unknown token state 'middle'", "known: post, pre")),
        ("good", "--track wandd", ("unknown tracker 'wandd'", "did you mean wandb")),
        ("good", "--name runs/mine", ("name: ", "not a path")),
        ("good", "--training-memory 1KiB", ("one trial needs", "--training-memory")),
        ("good", "--device nowhere", ("--device nowhere",)),
    ],
)
def test_bad_input_is_one_line_on_stderr_and_exit_code_2(
    run_probe: RunProbe,
    stores: Callable[[str], Path],
    tmp_path: Path,
    held: str,
    words: str,
    said: tuple[str, ...],
) -> None:
    usual = {"--cache": stores(held), "--probe": "ep4", "--device": "cpu", "--runs": tmp_path / "runs"}
    changed = dict([words.split()]) if words else {}
    code, _, errors = run_probe(*(word for option in (usual | changed).items() for word in option))
    assert code == 2
    assert errors.startswith("probe: ")
    assert errors.count("\n") == 1
    assert [part for part in said if part not in errors] == []
    assert not (tmp_path / "runs").exists()


def test_an_unknown_verb_is_refused(run_probe: RunProbe) -> None:
    code, _, errors = run_probe("fitt", "--cache", "any")
    assert (code, errors) == (2, "probe: unknown verb of probe 'fitt'; did you mean fit?\n")


def test_no_words_at_all_are_answered_with_the_verbs(run_probe: RunProbe) -> None:
    code, _, errors = run_probe()
    assert code == 2
    assert errors.startswith("probe: say what to do: fit, list, ")
    assert errors.endswith("; see `probe --help`\n")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("--cache any --lr high", "--lr"),
        ("--cache any --tier tape", "--tier"),
        ("--cache any --batch-size many", "--batch-size"),
        ("--cache any --caches other", "--caches"),
        ("--cache any surplus", "surplus"),
        ("--probe lp", "--cache"),
    ],
)
def test_words_that_cannot_be_read_end_with_exit_code_2_and_are_named(
    run_probe: RunProbe, words: str, named: str
) -> None:
    code, _, errors = run_probe(*words.split())
    assert code == 2
    assert named in errors


@pytest.mark.parametrize("verb", [(), ("fit",)])
def test_the_verb_may_be_left_out(
    run_probe: RunProbe, monkeypatch: pytest.MonkeyPatch, verb: tuple[str, ...]
) -> None:
    given: list[FitOptions] = []
    monkeypatch.setattr("probe.command.run_fit", given.append)
    code, _, _ = run_probe(*verb, "--cache", "any", "--probe", "lp,ep16", "--seed", "3,4", "--block", "-1")
    assert code == 0
    assert given == [FitOptions(cache=Path("any"), probe=("lp", "ep16"), seed=(3, 4), block=("-1",))]


def test_a_run_that_succeeds_ends_with_exit_code_0(run_probe: RunProbe, store: Path, tmp_path: Path) -> None:
    words = f"--cache {store} --probe lp --recipe fast --epochs 1 --device cpu --runs {tmp_path / 'runs'}"
    code, printed, errors = run_probe(*words.split())
    assert code == 0
    assert "top-1 on animals/validation" in printed
    assert errors.splitlines()[-1].startswith("epoch   1/1")


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("probe.fit.open_probe_data", "interrupted"),
        ("probe.fit.RunFolder", "interrupted: there is no checkpoint yet, the same command begins again"),
        ("probe.fit.TrialRun.go", "interrupted: there is no checkpoint yet, the same command begins again"),
        ("probe.fit.closed_form_results", "interrupted: the same command goes on from the last checkpoint"),
        ("probe.fit.write_report", "interrupted: the run is finished, its results are in {run}"),
    ],
)
def test_an_interruption_says_what_becomes_of_the_run(
    run_probe: RunProbe, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, said: str
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(where, interrupted)
    words = f"--cache {store} --probe lp --epochs 1 --device cpu --runs {tmp_path} --name cut --quiet"
    code, _, errors = run_probe(*words.split())
    assert (code, errors) == (130, f"probe: {said.format(run=tmp_path / 'cut')}\n")


@pytest.mark.parametrize("words", ["list", "describe ep16"])
def test_list_and_describe_may_be_written_as_options(run_probe: RunProbe, words: str) -> None:
    as_verb = run_probe(*words.split())
    assert as_verb[0] == 0
    assert run_probe(*f"--{words}".split()) == as_verb


def test_help_names_every_option(run_probe: RunProbe) -> None:
    code, printed, _ = run_probe("fit", "--help")
    assert code == 0
    assert len(arguments(FitOptions)) == len(FitOptions.model_fields)
    assert [
        argument.flag for argument in arguments(FitOptions) if f"\n  {argument.flag}" not in printed
    ] == []


def test_help_names_every_verb(run_probe: RunProbe) -> None:
    code, printed, _ = run_probe("--help")
    assert code == 0
    assert [verb for verb in VERBS if f"\n  {verb} " not in printed] == []


def test_an_option_takes_several_values_with_commas_or_spaces(
    run_probe: RunProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[FitOptions] = []
    monkeypatch.setattr("probe.command.run_fit", given.append)
    for words in ("--lr 0.1,1 --block 0,-2", "--lr 0.1 1 --block 0 -2"):
        assert run_probe("--cache", "any", *words.split())[0] == 0
    assert given == [FitOptions(cache=Path("any"), lr=(0.1, 1.0), block=("0", "-2"))] * 2


def test_the_default_probes_are_the_papers_pair() -> None:
    assert FitOptions(cache=Path("any")).probe == ("lp", "ep32")


@pytest.mark.parametrize("probes", [(), ("lp", "lp")])
def test_probes_are_named_once_each(probes: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match=f"probe: name {'each once' if probes else 'one or more'}"):
        FitOptions(cache=Path("any"), probe=probes)


SHORT = "--probe lp,knn --recipe fast --epochs 1 --device cpu"


def test_quiet_leaves_the_results_alone_and_json_makes_them_data(
    run_probe: RunProbe, store: Path, tmp_path: Path
) -> None:
    words = f"--cache {store} {SHORT} --runs {tmp_path / 'runs'} --name mine --quiet --json"
    code, printed, errors = run_probe(*words.split())
    assert (code, errors) == (0, "")
    found = json.loads(printed)
    assert found["run"] == str(tmp_path / "runs" / "mine")
    assert [answer["probe"] for answer in found["answers"]] == ["lp", "knn"]
    assert found["answers"][1]["parameters"] is None
    code, printed, errors = run_probe("report", tmp_path / "runs" / "mine", "--json")
    assert (code, errors) == (0, "")
    assert {answer["probe"] for answer in json.loads(printed)["answers"]} == {"lp", "knn"}


def test_what_happens_meanwhile_goes_to_standard_error(
    run_probe: RunProbe, store: Path, tmp_path: Path
) -> None:
    _, printed, said = run_probe("--cache", store, *SHORT.split(), "--runs", tmp_path / "runs")
    assert [line.split()[0] for line in said.splitlines() if line.startswith(("epoch", "knn"))] == [
        "epoch",
        "knn",
    ]
    assert "epoch   1/1" not in printed


def test_lists_and_descriptions_are_data_too(run_probe: RunProbe) -> None:
    rows = json.loads(run_probe("list", "--json")[1])["probes"]
    assert {"probe": "lp", "parameters": 769000}.items() <= rows[0].items()
    assert json.loads(run_probe("describe", "ep16", "--json")[1])["probe"] == "ep16"


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_the_parser_has_the_options_that_help_and_completion_show(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options = VERBS[verb].options
    with pytest.raises(SystemExit):
        tyro.cli(options, args=["--help"], config=(tyro.conf.FlagCreatePairsOff,))
    # an option stands one column behind the frame, which may be blank
    parsed = re.findall(r"^[ │] (--[a-z]+[a-z-]*)", capsys.readouterr().out, re.MULTILINE)
    assert set(parsed) == {argument.flag for argument in arguments(options) if argument.flag}


def test_bash_completes_probes_and_backbones(run_probe: RunProbe) -> None:
    code, script, errors = run_probe("completion", "bash")
    assert (code, errors) == (0, "")
    assert "complete -o default -F _frozen_tokens probe cache extract" in script
    for name in ("ep32", "mae_digits", "imagenet", "paper", "--shard-size", "verify"):
        assert name in script
