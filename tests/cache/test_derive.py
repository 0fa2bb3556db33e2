"""A store made from another one: what changes, what stays byte for byte, and what is refused."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import torch
import zarr

from cache import (
    RECORD_ARRAYS,
    ArraySpec,
    BlockGeometry,
    DeriveOptions,
    FinalNorm,
    SplitManifest,
    SplitReader,
    Store,
    StoreFormat,
    StoreManifest,
    TokenDtype,
    array_name,
    create_store,
    decode,
    derive_store,
    encode,
    open_split_writer,
    scale_name,
    token_arrays,
    verify_store,
)
from cache.derived_tokens import write_tokens
from configs import UserError

Contents = Callable[[Path], dict[str, bytes]]
MakeStore = Callable[..., Path]

GRID, DIM, BLOCKS = (4, 4), 6, (1, 3)
NORM = FinalNorm("layer_norm", 1e-6, torch.linspace(0.5, 1.5, DIM), torch.linspace(-1, 1, DIM))


def _block_values(block: int, records: int, views: int, left_out: list[int]) -> dict[str, torch.Tensor]:
    """What extraction computes of a block, in float32: (V, records, …), zeros where images were left out."""
    generator = torch.Generator().manual_seed(block)
    tokens = torch.randn((views, records, 17, DIM), generator=generator) * 3
    patches = tokens[:, :, 1:]
    means = {"mean": patches.mean(dim=-2), "mean_normed": NORM(patches).mean(dim=-2)}
    values = {"patches": patches, "prefix": tokens[:, :, :1], **means}
    for found in values.values():
        found[:, left_out] = 0
    return values


@pytest.fixture
def tmp_path(quick_folder: Path) -> Iterator[Path]:
    """In memory: flushing every small file to a disk would take nine tenths of the time."""
    with tempfile.TemporaryDirectory(dir=quick_folder) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def make_store(
    store_manifest: Callable[..., StoreManifest], split_manifest: Callable[..., SplitManifest]
) -> MakeStore:
    """`make_store(folder)`: a store as extraction writes it, of ten records of cat and dog in three shards.

    Blocks 1 and 3 hold 4×4 tokens; block 0, which is not stored, 7×7.
    """

    def made(
        folder: Path,
        *,
        dtype: TokenDtype = "float32",
        format: StoreFormat = "zarr",
        splits: Collection[str] = ("train",),
        views: int = 1,
        left_out: Collection[int] = (),
        shards: int | None = None,
    ) -> Path:
        manifest = store_manifest(dtype=dtype)
        blocks = (BlockGeometry(grid=(7, 7), dim=DIM), *[BlockGeometry(grid=GRID, dim=DIM)] * 3)
        backbone = {"blocks": blocks, "final_norm": NORM.description}
        backbone = manifest.backbone.model_copy(update=backbone)
        create_store(folder, manifest.model_copy(update={"backbone": backbone}))
        NORM.save(folder)
        arrays: list[ArraySpec] = []
        for block in BLOCKS:
            arrays += token_arrays(
                block, num_tokens=16, num_prefix=1, dim=DIM, dtype=dtype, views=views, normed_mean=True
            )
        for split in splits:
            layout = {"arrays": (*arrays, *RECORD_ARRAYS), "order_seed": 0, "views": views}
            layout = split_manifest(format=format, split=split).model_copy(update=layout)
            _write(folder, layout, list(left_out), shards)
        return folder

    return made


def _write(store: Path, layout: SplitManifest, left_out: list[int], shards: int | None) -> None:
    labels = np.arange(layout.records) % 2
    labels[left_out] = -1
    values = {
        array_name(block, kind): tokens
        for block in BLOCKS
        for kind, tokens in _block_values(block, layout.records, layout.views, left_out).items()
    }
    with open_split_writer(store, layout) as split:
        for number in split.unfinished()[:shards]:
            shard = split.begin(number)
            taken = slice(shard.first, shard.first + shard.records)
            for name, tokens in values.items():
                encoded = encode(tokens[:, taken], layout.array(name).dtype)
                ends = {"minimum": encoded.minimum.item(), "maximum": encoded.maximum.item()}
                shard.write(name, 0, encoded.tokens.numpy(), **ends)
                if encoded.scales is not None:
                    shard.write(scale_name(name), 0, encoded.scales.numpy())
            shard.write("labels", 0, labels[taken])
            shard.write("sample_id", 0, np.arange(100, 100 + layout.records)[taken])
            for record in set(left_out) & set(range(taken.start, taken.stop)):
                shard.skip(record - shard.first, f"{record}.jpg: truncated")
            shard.commit()


@pytest.fixture
def source(tmp_path: Path, make_store: MakeStore) -> Path:
    """A float32 store in Zarr."""
    return make_store(tmp_path / "source")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def derive(source: Path, out: Path, **options: object) -> SplitReader:
    """Derive; the split `train` of the new store."""
    derive_store(DeriveOptions(source=source, out=out, **options))
    return Store(out).split("digits", "train")


def damages(store: Path) -> list[object]:
    return list(verify_store(Store(store), 2, lambda _: None))


def values_of(split: SplitReader, name: str) -> np.ndarray:
    """An array of the split's only view, tokens in float32."""
    spec = split.manifest.array(name)
    stored = spec.as_tensor(split.whole(name))
    if "/" not in name:
        return stored.numpy()
    scales = torch.from_numpy(split.whole(scale_name(name))) if spec.dtype == "int8" else None
    return decode(stored, scales).numpy()


def differing(first: dict[str, bytes], second: dict[str, bytes]) -> list[str]:
    return [name for name in {**first, **second} if first.get(name) != second.get(name)]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "int8"])
@pytest.mark.parametrize("views", [1, 2])
def test_a_store_cast_from_float32_has_the_bytes_of_one_extracted_so(
    tmp_path: Path,
    out: Path,
    engine: StoreFormat,
    dtype: TokenDtype,
    views: int,
    make_store: MakeStore,
    contents: Contents,
) -> None:
    source = make_store(tmp_path / "source", views=views, left_out=[2, 9])
    derive(source, out, dtype=dtype, format=engine)
    direct = make_store(tmp_path / "direct", dtype=dtype, format=engine, views=views, left_out=[2, 9])
    assert differing(contents(out), contents(direct)) == []


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_another_format_and_shard_size_hold_the_same_bytes_and_ranges(
    tmp_path: Path,
    out: Path,
    engine: StoreFormat,
    dtype: TokenDtype,
    make_store: MakeStore,
    contents: Contents,
) -> None:
    other = "hdf5" if engine == "zarr" else "zarr"
    source = make_store(tmp_path / "source", dtype=dtype, format=other)
    derive(source, tmp_path / "between", shard_size=3)
    derive(tmp_path / "between", out, format=engine, shard_size=4)
    direct = make_store(tmp_path / "direct", dtype=dtype, format=engine)
    assert differing(contents(out), contents(direct)) == []


def test_int8_is_copied_without_being_encoded_again(tmp_path: Path, out: Path, make_store: MakeStore) -> None:
    source = make_store(tmp_path / "source", dtype="int8")
    split, before = derive(source, out, shard_size=3), Store(source).split("digits", "train")
    for spec in split.manifest.arrays:
        assert np.array_equal(split.whole(spec.name), before.whole(spec.name)), spec.name
    held, tokens = split.shard_record(0).arrays["block3/patches"], values_of(split, "block3/patches")[:3]
    assert (held.minimum, held.maximum) == (tokens.min(), tokens.max())


@pytest.mark.parametrize(
    ("options", "kinds"),
    [
        ({"blocks": "3"}, {"3": ["patches", "prefix", "mean", "mean_normed"]}),
        ({"blocks": "-1", "keep": ("prefix",)}, {"3": ["prefix"]}),
        ({"keep": ("mean",)}, {"1": ["mean", "mean_normed"], "3": ["mean", "mean_normed"]}),
        ({"keep": ("prefix", "patches"), "blocks": "3,1"}, {key: ["patches", "prefix"] for key in "13"}),
        ({"keep": ("prefix",), "blocks": "1", "dtype": "int8"}, {"1": ["prefix"]}),
    ],
)
def test_only_chosen_arrays_are_kept(
    source: Path, out: Path, options: dict[str, object], kinds: dict[str, list[str]]
) -> None:
    split, before = derive(source, out, **options), Store(source).split("digits", "train")
    expected = [f"block{block}/{kind}" for block, held in kinds.items() for kind in held]
    assert [spec.name for spec in split.manifest.arrays] == [*expected, "labels", "sample_id"]
    if "dtype" not in options:
        for name in expected:
            assert np.array_equal(split.whole(name), before.whole(name)), name


def test_pooling_averages_windows_and_computes_the_means_from_them(source: Path, out: Path) -> None:
    split, before = derive(source, out, pool=2), Store(source).split("digits", "train")
    windows = values_of(before, "block3/patches").reshape(10, 2, 2, 2, 2, DIM)
    patches = windows.mean(axis=(2, 4)).reshape(10, 4, DIM)
    normed = NORM(torch.from_numpy(patches)).mean(dim=1).numpy()
    found = {kind: values_of(split, f"block3/{kind}") for kind in ("patches", "mean", "mean_normed")}
    np.testing.assert_allclose(found["patches"], patches, atol=1e-6)
    np.testing.assert_allclose(found["mean"], patches.mean(axis=1), atol=1e-6)
    np.testing.assert_allclose(found["mean_normed"], normed, atol=1e-6)
    assert np.array_equal(split.whole("block3/prefix"), before.whole("block3/prefix"))


def test_pooling_changes_the_grids_that_the_manifest_states(source: Path, out: Path) -> None:
    derive(source, out, pool=2)
    grids = [block.grid for block in Store(out).manifest.backbone.blocks]
    assert grids == [(7, 7), (2, 2), (2, 2), (2, 2)]  # block 0 cannot be pooled, and is not stored


def test_means_alone_may_be_kept_of_pooled_patches(source: Path, out: Path) -> None:
    split = derive(source, out, pool=2, keep=("mean",), blocks="3")
    assert [spec.name for spec in split.manifest.arrays][:2] == ["block3/mean", "block3/mean_normed"]
    assert damages(out) == []


def test_pooling_leaves_zeros_where_an_image_could_not_be_read(
    tmp_path: Path, out: Path, make_store: MakeStore
) -> None:
    source = make_store(tmp_path / "source", left_out=[2, 9])
    split = derive(source, out, pool=2)
    assert split.whole("labels")[[2, 9]].tolist() == [-1, -1]
    assert not values_of(split, "block3/mean_normed")[[2, 9]].any()
    assert values_of(split, "block3/mean_normed")[[1, 3]].all()
    assert [split.shard_record(shard).skipped for shard in range(3)] == [
        {2: "2.jpg: truncated"},
        {},
        {1: "9.jpg: truncated"},
    ]


def test_pooling_and_then_casting_gives_the_bytes_of_both_at_once(
    tmp_path: Path, source: Path, out: Path, contents: Contents
) -> None:
    derive(source, tmp_path / "pooled", pool=2)
    derive(tmp_path / "pooled", tmp_path / "both", dtype="int8")
    derive(source, out, pool=2, dtype="int8")
    assert differing(contents(out), contents(tmp_path / "both")) == []


@pytest.mark.parametrize(
    ("dtype", "options", "derived"),
    [
        ("float32", {"dtype": "int8"}, ()),
        ("float32", {"pool": 2, "dtype": "int8"}, ("grid pooled by 2",)),
        ("float16", {"keep": ("mean",), "fraction": 0.5}, ()),
        ("float16", {"dtype": "float16"}, ()),
        ("float16", {"dtype": "int8"}, ("cast float16 → int8",)),
        ("float16", {"dtype": "float32"}, ("cast float16 → float32",)),
        ("int8", {"pool": 4, "dtype": "float16"}, ("grid pooled by 4 from int8",)),
    ],
)
def test_the_store_says_how_its_tokens_were_changed(
    tmp_path: Path,
    out: Path,
    make_store: MakeStore,
    dtype: TokenDtype,
    options: dict[str, object],
    derived: tuple[str, ...],
) -> None:
    derive(make_store(tmp_path / "source", dtype=dtype), out, **options)
    assert Store(out).manifest.derived == derived


def test_changes_are_told_step_by_step(tmp_path: Path, out: Path, make_store: MakeStore) -> None:
    source = make_store(tmp_path / "source", dtype="float16")
    derive(source, tmp_path / "first", pool=2)
    derive(tmp_path / "first", tmp_path / "second", dtype="int8")
    derive(tmp_path / "second", out, pool=2)
    steps = ("grid pooled by 2 from float16", "cast float16 → int8", "grid pooled by 2 from int8")
    assert Store(out).manifest.derived == steps


def test_extracted_and_derived_tokens_do_not_mix(tmp_path: Path, out: Path, make_store: MakeStore) -> None:
    derive(make_store(tmp_path / "half", dtype="float16"), out, dtype="int8")
    with pytest.raises(UserError, match=r"another derived \("):
        make_store(out, dtype="int8", splits=("test",))


def test_a_subset_holds_the_tokens_of_its_records(source: Path, out: Path, tmp_path: Path) -> None:
    split, before = (
        derive(source, out, classes=("dog",), shard_size=2),
        Store(source).split("digits", "train"),
    )
    records = [1, 3, 5, 7, 9]
    assert split.whole("labels").tolist() == [0] * 5
    assert split.manifest.classes == ("dog",)
    assert split.whole("sample_id").tolist() == [100 + record for record in records]
    for name in ("block1/patches", "block3/prefix", "block3/mean_normed"):
        assert np.array_equal(split.whole(name), before.whole(name)[records])
    assert split.manifest.dataset == before.manifest.dataset
    assert (split.manifest.order, split.manifest.order_seed) == ("permuted; classes dog", None)


def test_a_subset_drops_records_that_were_left_out(tmp_path: Path, out: Path, make_store: MakeStore) -> None:
    source = make_store(tmp_path / "source", left_out=[2, 9])
    split = derive(source, out, fraction=1.0)
    assert split.whole("sample_id").tolist() == [100, 101, 103, 104, 105, 106, 107, 108]
    assert [split.shard_record(shard).skipped for shard in range(2)] == [{}, {}]


def test_listed_samples_are_kept_in_record_order(source: Path, out: Path, tmp_path: Path) -> None:
    (tmp_path / "list").write_text("107\n101\n")
    assert derive(source, out, samples=tmp_path / "list").whole("sample_id").tolist() == [101, 107]


def test_classes_are_read_from_a_file(source: Path, out: Path, tmp_path: Path) -> None:
    (tmp_path / "list").write_text("cat\n")
    assert derive(source, out, classes_file=tmp_path / "list").manifest.classes == ("cat",)


def test_splits_of_one_store_may_be_derived_by_several_commands(
    tmp_path: Path, out: Path, make_store: MakeStore
) -> None:
    source = make_store(tmp_path / "source", splits=("train", "test"))
    derive(source, out, split="train", fraction=0.1)
    derive(source, out, dataset="digits", split="test")
    records = [Store(out).split("digits", split).manifest.records for split in ("train", "test")]
    assert records == [2, 10]


def test_every_split_is_derived_unless_one_is_named(
    tmp_path: Path, out: Path, make_store: MakeStore, capsys: pytest.CaptureFixture[str]
) -> None:
    derive(make_store(tmp_path / "source", splits=("train", "test")), out, dtype="float16")
    assert Store(out).splits() == {"digits": ["test", "train"]}
    test, train = capsys.readouterr().out.splitlines()
    assert test.startswith(f"{out}/digits/test: 10 records, block1/patches 16×6 float16, block3/patches 16×6")
    assert train.endswith(" MB/s")


def test_batches_of_any_size_end_in_the_same_bytes(
    tmp_path: Path, source: Path, out: Path, monkeypatch: pytest.MonkeyPatch, contents: Contents
) -> None:
    options = {"dtype": "int8", "pool": 2, "shard_size": 5}
    derive(source, out, **options)
    monkeypatch.setattr("cache.derive.BATCH_BYTES", 2 * 16 * DIM * 4)
    derive(source, tmp_path / "small", **options)
    assert differing(contents(out), contents(tmp_path / "small")) == []


@pytest.mark.parametrize("format", ["zarr", "hdf5"])
def test_an_interrupted_run_goes_on_and_ends_in_the_same_bytes(
    tmp_path: Path,
    source: Path,
    out: Path,
    format: StoreFormat,
    monkeypatch: pytest.MonkeyPatch,
    contents: Contents,
) -> None:
    options = {"dtype": "int8", "pool": 2, "format": format, "fraction": 0.9}
    derive(source, tmp_path / "whole", **options)
    begun = []

    def killed(*arguments: object) -> None:
        begun.append(arguments)
        if len(begun) == 2:
            raise KeyboardInterrupt
        write_tokens(*arguments)

    monkeypatch.setattr("cache.derive.write_tokens", killed)
    with pytest.raises(KeyboardInterrupt):
        derive(source, out, **options)
    assert SplitReader(out / "digits/train").stored_shards() == [0]
    assert not [name for name in contents(out) if name.endswith(".tmp")]
    monkeypatch.undo()
    derive(source, out, **options)
    assert differing(contents(out), contents(tmp_path / "whole")) == []


def test_a_complete_split_is_left_as_it_is(
    source: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    derive(source, out, dtype="int8")
    before = {path: path.stat().st_ino for path in out.rglob("*")}
    derive(source, out, dtype="int8")
    assert {path: path.stat().st_ino for path in out.rglob("*")} == before
    assert capsys.readouterr().out.splitlines()[-1].endswith("was complete")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"dtype": "float16"}, "dtype"),
        ({"pool": 2}, "derived"),
        ({"fraction": 0.5}, "order"),
        ({"keep": ("mean",), "dtype": None}, "arrays"),
        ({"shard_size": 3}, "shard_size"),
    ],
)
def test_other_options_are_refused_by_the_name_of_the_field(
    source: Path, out: Path, contents: Contents, change: dict[str, object], field: str
) -> None:
    options = {"dtype": None if field == "arrays" else "int8"}
    derive(source, out, **options)
    before = contents(out)
    with pytest.raises(UserError, match=rf"another {field} \("):
        derive(source, out, **options | change)
    assert differing(contents(out), before) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pool": 3}, "windows of 3 do not divide the token grid 4×4"),
        ({"pool": 2, "keep": ("prefix",)}, "--pool 2 changes patches and means, of which nothing is kept"),
        ({"dtype": "int8", "keep": ("mean",)}, "--dtype is for patches and prefix, of which nothing is kept"),
        ({"blocks": "2"}, "digits/train holds block 1, 3, not block 2"),
        ({"blocks": "-5"}, "digits/train holds block 1, 3, not block -5"),
        ({"blocks": "1-3"}, "give numbers such as 5,11"),
        ({"keep": ("thumbnails",)}, "thumbnails are kept beside tokens: name patches, prefix or mean"),
        ({"keep": ("cls",)}, "unknown array 'cls'; known: mean, patches, prefix"),
        ({"classes": ("bird",)}, "unknown class 'bird'; known: cat, dog"),
        ({"classes": ("cat",), "classes_file": "list"}, "give --classes or --classes-file, not both"),
        ({"fraction": 0.0}, "fraction: Input should be greater than 0"),
        ({"dataset": "digit"}, "holds digits: not 'digit'"),
        ({"split": "val"}, "holds digits/train, and no split 'val'"),
    ],
)
def test_what_cannot_be_derived_is_refused_before_anything_is_written(
    source: Path, out: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        derive(source, out, **options)
    assert not out.exists()


def test_arrays_that_an_earlier_derivation_dropped_are_missed_by_name(
    tmp_path: Path, source: Path, out: Path
) -> None:
    derive(source, out, keep=("prefix", "mean"))
    with pytest.raises(UserError, match="--pool 2: digits/train holds no patches of block 1 to pool"):
        derive(out, tmp_path / "next", pool=2)
    with pytest.raises(UserError, match="digits/train holds mean, prefix of block 1, no patches"):
        derive(out, tmp_path / "next", keep=("patches",))


def test_samples_of_several_splits_are_refused(tmp_path: Path, out: Path, make_store: MakeStore) -> None:
    source = make_store(tmp_path / "source", splits=("train", "test"))
    (tmp_path / "list").write_text("101\n")
    with pytest.raises(UserError, match="not of digits/test, digits/train: add --dataset and --split"):
        derive(source, out, samples=tmp_path / "list")


@pytest.mark.parametrize("place", [".", "inside", "digits/train"])
def test_a_store_is_not_derived_into_itself(source: Path, place: str, contents: Contents) -> None:
    before = contents(source)
    with pytest.raises(UserError, match="give the new store a folder of its own"):
        derive(source, source / place, dtype="int8")
    assert differing(contents(source), before) == []


def test_a_folder_that_is_no_store_is_refused(source: Path, out: Path) -> None:
    out.mkdir()
    (out / "notes.txt").touch()
    with pytest.raises(UserError, match="exists and is not a store"):
        derive(source, out)


def test_a_folder_that_may_not_be_written_is_refused_in_a_line(source: Path, closed: Path) -> None:
    with pytest.raises(UserError, match=r"cannot write .*closed/out \(Permission denied\): give a folder"):
        derive(source, closed / "out")


def test_an_incomplete_split_is_refused(tmp_path: Path, out: Path, make_store: MakeStore) -> None:
    source = make_store(tmp_path / "source", shards=2)
    with pytest.raises(UserError, match="is incomplete, 2 of 3 shards"):
        derive(source, out)
    assert not out.exists()


@pytest.mark.parametrize("name", ["block3/patches", "block3/mean", "labels", "sample_id"])
def test_damage_does_not_spread(source: Path, out: Path, engine: StoreFormat, name: str) -> None:
    derive(source, out, format=engine)  # a copy to damage
    split = SplitReader(out / "digits/train")
    extent = split.engine.extents(1)[name, 0]
    content = bytearray(extent.path.read_bytes())
    content[extent.offset + split.manifest.array(name).record_bytes] ^= 1
    extent.path.write_bytes(content)
    copy = out.with_name("copy")
    with pytest.raises(UserError, match=f"record 5 of {name} is damaged"):
        derive(out, copy)
    assert not copy.exists() or SplitReader(copy / "digits/train").stored_shards() == [0]


def test_tokens_beyond_the_new_dtype_are_refused_by_channel(
    source: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cache.derived_tokens.decode", lambda stored, _: stored.float() * 1e6)
    with pytest.raises(UserError, match=r"block1/prefix: channel \d reaches .* beyond float16"):
        derive(source, out, dtype="float16")
    assert SplitReader(out / "digits/train").stored_shards() == []


def _with_free(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))


def test_a_disk_that_is_too_small_is_refused_before_anything_is_written(
    source: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _with_free(monkeypatch, 1000)
    with pytest.raises(UserError, match=r"out needs .* KB more, and 1\.00 KB are free there: free some, or"):
        derive(source, out)
    assert not out.exists()


def test_only_what_is_missing_has_to_fit_on_the_disk(
    source: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    derive(source, out)
    (out / "digits/train/shards/00001.json").unlink()
    manifest = SplitReader(out / "digits/train").manifest
    shard_bytes = 4 * sum(array.record_bytes for array in manifest.arrays)
    _with_free(monkeypatch, shard_bytes - 1)
    with pytest.raises(UserError, match="are free there"):
        derive(source, out)
    _with_free(monkeypatch, shard_bytes)
    assert derive(source, out).stored_shards() == [0, 1, 2]


MANY_WAYS: list[dict[str, object]] = [
    {"dtype": "int8"},
    {"dtype": "bfloat16", "pool": 2},
    {"keep": ("mean",)},
    {"keep": ("prefix",), "dtype": "float16"},
    {"blocks": "3", "classes": ("dog",), "shard_size": 3},
    {"fraction": 0.1, "pool": 4, "dtype": "int8"},
    {"shard_size": 1},
]


@pytest.mark.parametrize("options", MANY_WAYS, ids=str)
@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_stock_libraries_read_what_was_derived_and_it_has_no_damage(
    tmp_path: Path,
    out: Path,
    engine: StoreFormat,
    dtype: TokenDtype,
    options: dict[str, object],
    make_store: MakeStore,
) -> None:
    source = make_store(tmp_path / "source", dtype=dtype, left_out=[2])
    split = derive(source, out, format=engine, **options)
    assert damages(out) == []
    opened = zarr.open_group(out, mode="r")["digits/train"] if engine == "zarr" else None
    with h5py.File(split.folder / "split.h5") if opened is None else opened.store as file:
        stock = file if opened is None else opened
        for spec in split.manifest.arrays:
            found = stock[spec.name][:] if spec.views is None else stock[spec.name][0]
            assert np.array_equal(found, split.whole(spec.name)), spec.name


def test_the_final_norm_comes_along(source: Path, out: Path) -> None:
    derive(source, out, keep=("prefix",))
    norm = Store(out).final_norm
    assert norm is not None
    assert norm.description == NORM.description
