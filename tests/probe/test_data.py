"""Opening what a run reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from cache import BlockGeometry, FinalNorm
from configs import TokenState, UserError
from probe import FitOptions
from probe.data import chosen_blocks, open_probe_data
from probe.grid import token_states
from probe.token_inputs import Combination

CPU = torch.device("cpu")
MakeOptions = Callable[..., FitOptions]
MakeStore = Callable[..., Path]


def test_the_only_data_set_needs_no_name(options: MakeOptions) -> None:
    assert open_probe_data(options(), CPU).dataset == "animals"


def test_one_of_several_data_sets_needs_its_name(
    options: MakeOptions, make_store: MakeStore, tmp_path: Path
) -> None:
    store = make_store(tmp_path / "two", dataset="animals", splits={"train": 4, "test": 4})
    make_store(store, dataset="plants", splits={"train": 6, "test": 6})
    with pytest.raises(UserError, match="holds animals, plants: say which with --dataset"):
        open_probe_data(options(cache=store), CPU)
    assert open_probe_data(options(cache=store, dataset="plants"), CPU).train.manifest.records == 6


def test_an_unknown_data_set_is_refused_with_those_there_are(options: MakeOptions) -> None:
    with pytest.raises(UserError, match="holds animals: not 'plants'"):
        open_probe_data(options(dataset="plants"), CPU)


def test_a_missing_store_is_refused_with_its_neighbours_and_how_to_make_it(
    options: MakeOptions, store: Path
) -> None:
    with pytest.raises(UserError, match=r"no store at .*/toys; .* holds toy: make one with `extract"):
        open_probe_data(options(cache=store.parent / "toys"), CPU)


@pytest.mark.parametrize(
    ("held", "chosen"),
    [
        (("test", "train", "val", "validation"), "validation"),
        (("test", "train", "val"), "val"),
        (("test", "train"), "test"),
    ],
)
def test_the_evaluation_split_is_validation_then_val_then_test(
    options: MakeOptions, make_store: MakeStore, tmp_path: Path, held: tuple[str, ...], chosen: str
) -> None:
    store = make_store(tmp_path / "some", splits=dict.fromkeys(held, 4))
    assert open_probe_data(options(cache=store), CPU).evaluation.name == f"animals/{chosen}"


def test_named_splits_are_the_ones_that_are_read(
    options: MakeOptions, make_store: MakeStore, tmp_path: Path
) -> None:
    store = make_store(tmp_path / "some", splits=dict.fromkeys(("train", "extra", "validation", "odd"), 4))
    data = open_probe_data(options(cache=store, train_split="extra", eval_split="odd"), CPU)
    assert (data.train.name, data.evaluation.name) == ("animals/extra", "animals/odd")


def test_a_store_without_an_evaluation_split_is_refused(
    options: MakeOptions, make_store: MakeStore, tmp_path: Path
) -> None:
    store = make_store(tmp_path / "some", splits={"train": 4, "odd": 4})
    with pytest.raises(
        UserError, match=r"no evaluation split of animals \(it has odd, train\).*--eval-split"
    ):
        open_probe_data(options(cache=store), CPU)


@pytest.mark.parametrize("option", ["train_split", "eval_split"])
def test_an_unknown_split_is_refused_with_those_there_are(options: MakeOptions, option: str) -> None:
    with pytest.raises(UserError, match="no split 'tests' of animals; it has train, validation"):
        open_probe_data(options(**{option: "tests"}), CPU)


def test_splits_of_different_classes_are_refused(
    options: MakeOptions, make_store: MakeStore, tmp_path: Path
) -> None:
    store = make_store(tmp_path / "some", splits={"train": 6})
    make_store(store, splits={"validation": 6}, classes=("ant", "bee"))
    message = r"animals/train and animals/validation have different classes: class \d is '.*' in one"
    with pytest.raises(UserError, match=message):
        open_probe_data(options(cache=store), CPU)


def test_the_block_is_the_last_one_stored(
    options: MakeOptions, make_store: MakeStore, tmp_path: Path
) -> None:
    store = make_store(tmp_path / "some", splits={"train": 4, "test": 4}, blocks=(0, 2))
    data = open_probe_data(options(cache=store), CPU)
    assert data.train.manifest.blocks == (0, 2)
    assert chosen_blocks(data, ()) == (2,)


def test_all_blocks_are_those_that_are_stored(
    options: MakeOptions, make_store: MakeStore, tmp_path: Path
) -> None:
    store = make_store(tmp_path / "some", splits={"train": 4, "test": 4}, blocks=(0, 2))
    assert chosen_blocks(open_probe_data(options(cache=store), CPU), ("all",)) == (0, 2)


@pytest.mark.parametrize(
    ("asked", "blocks"),
    [(("0",), (0,)), (("3",), (3,)), (("-1",), (3,)), (("-4",), (0,)), (("2", "-4"), (2, 0))],
)
def test_a_block_counts_from_either_end(
    options: MakeOptions, asked: tuple[str, ...], blocks: tuple[int, ...]
) -> None:
    assert chosen_blocks(open_probe_data(options(), CPU), asked) == blocks


@pytest.mark.parametrize("asked", ["4", "-5"])
def test_a_block_that_the_backbone_does_not_have_is_refused(options: MakeOptions, asked: str) -> None:
    with pytest.raises(UserError, match=f"--block {asked}: the backbone has blocks 0 to 3"):
        chosen_blocks(open_probe_data(options(), CPU), ("1", asked))


@pytest.mark.parametrize("asked", [("last",), ("1.5",), ("1", "all")])
def test_a_block_that_is_no_number_is_refused(options: MakeOptions, asked: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match=r"give numbers such as 5,11, or all"):
        chosen_blocks(open_probe_data(options(), CPU), asked)


def test_a_block_that_is_named_from_both_ends_is_refused(options: MakeOptions) -> None:
    with pytest.raises(UserError, match="--block 3,-1: name each block once"):
        chosen_blocks(open_probe_data(options(), CPU), ("3", "-1"))


@pytest.mark.parametrize("state", ["pre", "post"])
def test_the_store_says_which_tokens_are_read(
    options: MakeOptions, make_store: MakeStore, tmp_path: Path, state: TokenState
) -> None:
    chosen = options(cache=make_store(tmp_path / "some", splits={"train": 4, "test": 4}, tokens=state))
    assert token_states(chosen, open_probe_data(chosen, CPU)) == (state,)


@pytest.mark.parametrize("stored", ["pre", "post"])
@pytest.mark.parametrize("asked", [("pre",), ("post",), ("post", "pre")])
def test_an_option_overrules_the_store(
    options: MakeOptions, make_store: MakeStore, tmp_path: Path, stored: TokenState, asked: tuple[str, ...]
) -> None:
    store = make_store(tmp_path / "some", splits={"train": 4, "test": 4}, tokens=stored)
    chosen = options(cache=store, tokens=asked)
    assert token_states(chosen, open_probe_data(chosen, CPU)) == asked


def test_the_final_norm_comes_from_the_store(options: MakeOptions, final_norm: FinalNorm) -> None:
    found = open_probe_data(options(), CPU).inputs("post", None).norm
    assert found is not None
    assert found.description == final_norm.description


def test_post_is_refused_for_a_store_without_a_final_norm(
    options: MakeOptions, make_store: MakeStore, tmp_path: Path
) -> None:
    store = make_store(tmp_path / "some", splits={"train": 4, "test": 4}, norm=None)
    data = open_probe_data(options(cache=store), CPU)
    with pytest.raises(UserError, match="--tokens post: the backbone has no final norm"):
        data.inputs("post", None)


@pytest.mark.parametrize(
    ("prefix", "place"),
    [(("cls", "register"), 0), (("register", "cls"), 1), (("register",), None), ((), None)],
)
def test_the_store_says_where_cls_is(
    options: MakeOptions, make_store: MakeStore, tmp_path: Path, prefix: tuple[str, ...], place: int | None
) -> None:
    store = make_store(tmp_path / "some", splits={"train": 4, "test": 4}, prefix=prefix)
    assert open_probe_data(options(cache=store), CPU).inputs("pre", None).cls == place


def test_geometry_and_classes_are_the_stores(options: MakeOptions) -> None:
    data = open_probe_data(options(), CPU)
    assert (data.grid((3,)), data.width((3,), None)) == ((2, 3), 12)
    assert data.num_classes == 6


def test_blocks_side_by_side_are_as_wide_as_all_of_them(options: MakeOptions) -> None:
    data = open_probe_data(options(), CPU)
    assert data.width((0, 1, 3), "concat") == 36
    assert data.width((0, 1, 3), "mean") == 12


@pytest.fixture
def stages(make_store: MakeStore, tmp_path: Path) -> Path:
    """A store whose blocks 0 and 1 differ in width, and 1 and 2 in grid."""
    shapes = (((2, 3), 24), ((2, 3), 12), ((1, 3), 12), ((2, 3), 12))
    geometry = tuple(BlockGeometry(grid=grid, dim=dim) for grid, dim in shapes)
    return make_store(tmp_path / "stages", splits={"train": 4, "test": 4}, geometry=geometry)


def test_blocks_of_different_widths_fit_side_by_side_but_have_no_mean(
    options: MakeOptions, stages: Path
) -> None:
    data = open_probe_data(options(cache=stages), CPU)
    assert data.width((0, 1), "concat") == 36
    with pytest.raises(UserError, match="--combine: the blocks' token grids or widths differ"):
        data.width((0, 1), "mean")


@pytest.mark.parametrize("combination", ["concat", "mean"])
def test_blocks_of_different_grids_are_not_combined(
    options: MakeOptions, stages: Path, combination: Combination
) -> None:
    data = open_probe_data(options(cache=stages), CPU)
    with pytest.raises(UserError, match="--combine: the blocks' token grids or widths differ"):
        data.width((1, 2), combination)
