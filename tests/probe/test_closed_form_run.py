"""k-NN and logistic regression as probes of a run."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from cache import SplitReader, TokenDataset
from configs import UserError
from probe import FitOptions, run_fit
from probe.selection import Answer

MakeOptions = Callable[..., FitOptions]


@pytest.fixture
def answered(
    options: MakeOptions, tmp_path: Path
) -> Callable[..., tuple[list[Answer], list[dict[str, str]]]]:
    """Run with changed options; the answers, and the rows of `results.csv`."""

    def run(**changes: Any) -> tuple[list[Answer], list[dict[str, str]]]:
        found = run_fit(options(**changes, name="closed"))
        with (tmp_path / "runs" / "closed" / "results.csv").open(newline="") as file:
            return found, list(csv.DictReader(file))

    return run


Answered = Callable[..., tuple[list[Answer], list[dict[str, str]]]]


@pytest.mark.parametrize("probe", ["knn", "knn_mean", "knn_both", "logreg", "logreg_mean", "logreg_both"])
def test_every_closed_form_probe_tells_the_toys_classes_apart(answered: Answered, probe: str) -> None:
    (answer,), _ = answered(probe=(probe,), neighbours=(5, 10))
    assert answer.probe == probe
    assert answer.top1 > 40  # chance: 17
    assert answer.held_out_top1 is not None


def test_knn_with_one_setting_is_scikit_learns(answered: Answered, store: Path) -> None:
    (answer,), _ = answered(probe=("knn_mean",), neighbours=(1,))
    splits = {}
    for split in ("train", "validation"):
        dataset = TokenDataset(SplitReader(store / "animals" / split), 3, ("mean",))
        batch = dataset.__getitems__(range(len(dataset)))
        assert batch.mean is not None
        splits[split] = torch.nn.functional.normalize(batch.mean).numpy(), batch.labels.numpy()
    model = KNeighborsClassifier(1).fit(*splits["train"])
    assert answer.top1 == pytest.approx(100 * model.score(*splits["validation"]))


def test_the_setting_is_the_best_on_the_held_out_images(answered: Answered) -> None:
    (answer,), rows = answered(probe=("knn",), neighbours=(1, 5, 60), temperature=(0.07, 0.5))
    held_out = {row["setting"]: float(row["held_out_top1"]) for row in rows}
    assert len(held_out) == 6
    assert held_out[answer.setting] == max(held_out.values()) == answer.held_out_top1
    assert [row["setting"] for row in rows if row["chosen"] == "True"] == [answer.setting]


def test_trained_and_closed_form_probes_stand_side_by_side(answered: Answered, tmp_path: Path) -> None:
    answers, rows = answered(probe=("lp", "knn"), neighbours=(5,))
    assert [answer.probe for answer in answers] == ["lp", "knn"]
    assert {row["probe"] for row in rows} == {"lp", "knn"}
    stored = json.loads((tmp_path / "runs" / "closed" / "results.json").read_text())
    assert [answer["probe"] for answer in stored["answers"]] == ["lp", "knn"]


def test_shots_limit_what_is_learnt_from(answered: Answered) -> None:
    answers, rows = answered(probe=("knn",), shots=(1, 4), draws=2, neighbours=(1,))
    assert [(answer.shots, answer.repeats) for answer in answers] == [(1, 2), (4, 2)]
    assert answers[0].top1 < answers[1].top1
    assert {row["draw"] for row in rows} == {"0", "1"}


def test_retrieval_is_reported_where_it_is_asked_for(
    answered: Answered, capsys: pytest.CaptureFixture[str]
) -> None:
    (answer,), _ = answered(probe=("knn",), neighbours=(5,), retrieval=True)
    assert answer.retrieval is not None
    assert list(answer.retrieval) == ["R@1", "R@5", "mAP"]
    assert 0 < answer.retrieval["R@1"] <= answer.retrieval["R@5"] <= 100
    assert f"R@1 {answer.retrieval['R@1']:.2f}" in capsys.readouterr().out


def test_more_neighbours_than_images_are_refused(options: MakeOptions) -> None:
    with pytest.raises(UserError, match="--neighbours: all are more than the"):
        run_fit(options(probe=("knn",), neighbours=(10_000,)))


def test_too_few_images_are_refused_before_anything_is_trained(options: MakeOptions, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="of --shots 1; add a smaller one"):
        run_fit(options(probe=("lp", "knn"), shots=(1,), neighbours=(5_000,)))
    assert not (tmp_path / "runs").exists()


def test_retrieval_is_the_mean_of_all_draws(answered: Answered, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter([10.0, 20.0])
    monkeypatch.setattr("probe.closed_form_run._retrieval", lambda *_: {"R@1": next(drawn)})
    (answer,), _ = answered(probe=("knn",), shots=(4,), draws=2, neighbours=(1,), retrieval=True)
    assert answer.retrieval == {"R@1": 15.0}


def test_a_fraction_of_one_is_all_images(options: MakeOptions) -> None:
    (part,) = run_fit(options(probe=("knn",), fraction=(1.0,), neighbours=(5,), name="part"))
    (whole,) = run_fit(options(probe=("knn",), neighbours=(5,), name="whole"))
    assert (part.top1, part.held_out_top1) == (whole.top1, whole.held_out_top1)


def test_without_held_out_images_nothing_can_be_chosen(options: MakeOptions) -> None:
    with pytest.raises(UserError, match="--held-out 0: knn and logreg choose"):
        run_fit(options(probe=("lp", "knn"), held_out=0))
