"""Whatever is damaged is found, and comes back byte for byte; what is sound is never computed again."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cache import DeriveOptions, Store, derive_store, verify_store
from configs import UserError
from extract import repair as repairing
from extract.command import extract
from extract.options import ExtractOptions
from extract.repair_command import RepairOptions, repair

Damaging = Callable[[Path, random.Random], object]
FORMATS = ["zarr", "hdf5"]


@pytest.fixture(scope="module", params=[("zarr", "float16"), ("hdf5", "int8")], ids="-".join)
def sound(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """100 digits of each split in shards of 40. Do not change it."""
    store = tmp_path_factory.mktemp("sound") / "store"
    _extract(store, format=request.param[0], dtype=request.param[1])
    return store


def _extract(store: Path, **changes: object) -> None:
    settings = {"backbone": "mae_digits", "dataset": "digits", "limit": 100, "shard_size": 40, "workers": 0}
    extract(ExtractOptions(**{**settings, "batch_size": 16, "out": store, **changes}))


def _repair(store: Path, **changes: object) -> None:
    settings = {"backbone": "mae_digits", "dataset": "digits", "workers": 0, "batch_size": 16}
    repair(RepairOptions(**{**settings, "path": store, **changes}))


@pytest.fixture
def store(sound: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return shutil.copytree(sound, tmp_path / "store")


def _bytes(store: Path) -> dict[str, bytes]:
    files = [path for path in sorted(store.rglob("*")) if path.is_file()]
    return {path.relative_to(store).as_posix(): path.read_bytes() for path in files}


def _repairable(store: Path) -> list[Path]:
    """Every file but the manifests, whose loss is told and not repaired."""
    files = [path for path in sorted(store.rglob("*")) if path.is_file()]
    return [path for path in files if path.name not in ("manifest.json", ".lock")]


def _flip(store: Path, draw: random.Random) -> None:
    path = draw.choice(_repairable(store))
    content = bytearray(path.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)


def _truncate(store: Path, draw: random.Random) -> None:
    path = draw.choice(_repairable(store))
    path.write_bytes(path.read_bytes()[: draw.randrange(path.stat().st_size)])


def _delete(store: Path, draw: random.Random) -> None:
    files = [path for path in _repairable(store) if path.parent.name != "shards" or path.suffix != ".json"]
    draw.choice(files).unlink()


def _swap(store: Path, draw: random.Random) -> None:
    kind = draw.choice(["shards/0000{}.json", "labels/c/{}", "block5/patches/c/0/{}/0/0", "shards/0000{}.h5"])
    first, second = (store / "digits/train" / kind.format(shard) for shard in (0, 1))
    if first.exists():
        content = first.read_bytes()
        first.write_bytes(second.read_bytes())
        second.write_bytes(content)
    else:
        _swap(store, draw)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("damage", [_flip, _truncate, _delete, _swap])
def test_damage_is_found_and_the_bytes_come_back(
    store: Path, sound: Path, damage: Damaging, seed: int
) -> None:
    draw = random.Random(seed)
    for _ in range(3):
        damage(store, draw)
    assert _bytes(store) != _bytes(sound)
    assert list(verify_store(Store(store), 1, lambda _: None)) != []
    _repair(store)
    assert _bytes(store) == _bytes(sound)


def test_a_sound_store_is_left_alone(
    store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repairing, "encode_batch", None)
    before = {path: path.stat().st_mtime_ns for path in _repairable(store)}
    _repair(store)
    assert {path: path.stat().st_mtime_ns for path in _repairable(store)} == before
    assert capsys.readouterr().out == f"{store}: digits is sound\n"


def _patches(store: Path) -> Path:
    files = [store / "digits/train" / name for name in ("block5/patches/c/0/1/0/0", "shards/00001.h5")]
    return next(path for path in files if path.exists())


def _damage_records(store: Path, places: list[int]) -> None:
    """Flip a bit in the patches of these records of shard 1."""
    split = Store(store).split("digits", "train")
    spec = split.manifest.array("block5/patches")
    extent = split.extent(spec.name, 1)
    content = bytearray(extent.path.read_bytes())
    for place in places:
        content[extent.offset + place * spec.record_bytes + 100] ^= 1
    extent.path.write_bytes(content)


def test_images_are_decoded_in_as_many_processes_as_extraction_uses(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _damage_records(store, [3])
    load_images, asked = repairing.load_images, []

    def load_here(*arguments: Any, workers: int, **named: Any) -> Any:
        asked.append(workers)
        return load_images(*arguments, workers=0, **named)

    monkeypatch.setattr(repairing, "load_images", load_here)
    _repair(store, workers=None)
    assert asked == [ExtractOptions(backbone="mae_digits", dataset="digits").decoding_processes]


def test_only_the_batches_of_damaged_records_are_computed(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _damage_records(store, [3, 5, 39])
    computed: list[tuple[int, ...]] = []
    encode = repairing.encode_batch
    monkeypatch.setattr(
        repairing,
        "encode_batch",
        lambda batch, *rest: (computed.append(batch.records), encode(batch, *rest))[1],
    )
    _repair(store)
    assert computed == [tuple(range(16)), tuple(range(32, 40))]
    assert "digits/train: shard 1: 3 record(s) extracted again, the very bytes" in capsys.readouterr().out


def test_damage_to_a_header_or_index_computes_nothing(
    store: Path, sound: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repairing, "encode_batch", None)
    path = _patches(store)
    content = bytearray(path.read_bytes())
    place = 3 if path.suffix == ".h5" else len(content) - 3
    content[place] ^= 8
    path.write_bytes(content)
    _repair(store)
    assert _bytes(store) == _bytes(sound)


def test_sound_records_keep_their_bytes_when_others_come_back_different(
    store: Path, sound: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    encode = repairing.encode_batch

    def otherwise(*given: object) -> object:
        return {
            name: (type(found)(found.tokens + 1, found.minimum, found.maximum, found.scales), tokens)
            for name, (found, tokens) in encode(*given).items()
        }

    monkeypatch.setattr(repairing, "encode_batch", otherwise)
    _damage_records(store, [7])
    _repair(store)
    assert "1 record(s) extracted again; 1 differ from what was lost" in capsys.readouterr().out
    before, after = (
        Store(folder).split("digits", "train").shard("block5/patches", 1) for folder in (sound, store)
    )
    differing = np.flatnonzero((before != after).any(axis=(1, 2)))
    assert differing.tolist() == [7]
    assert list(verify_store(Store(store), 1, lambda _: None)) == []


def test_another_backbone_is_refused_by_what_differs(store: Path) -> None:
    with pytest.raises(UserError, match="extracted by another backbone: weights_sha256"):
        _repair(store, weights="none")


def test_other_images_are_refused(tmp_path: Path, mixed_images: Path) -> None:
    images = shutil.copytree(mixed_images, tmp_path / "photos")
    _extract(tmp_path / "store", dataset=f"folder:{images}", limit=None, shard_size=4)
    Image.new("RGB", (8, 8)).save(images / "bird" / "another.png")
    (tmp_path / "store/photos/train/block5/mean/c/0/0/0").unlink()
    with pytest.raises(UserError, match="extracted from other images"):
        _repair(tmp_path / "store", dataset=f"folder:{images}")


def test_a_data_set_that_the_store_does_not_hold_is_refused(store: Path, mixed_images: Path) -> None:
    with pytest.raises(UserError, match="holds digits, not mixed"):
        _repair(store, dataset=f"folder:{mixed_images}")


def test_a_damaged_manifest_is_told_with_what_to_do(
    store: Path, sound: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = store / "digits/train/manifest.json"
    manifest.write_text(manifest.read_text().replace("digits", "digit5", 1))
    with pytest.raises(SystemExit) as ended:
        _repair(store)
    assert ended.value.code == 1
    assert "move it away and give the extract (or `cache derive`) command again" in capsys.readouterr().out
    manifest.rename(store / "damaged.json")
    spec = Store(sound).split("digits", "train").manifest
    _extract(store, format=spec.format, dtype=spec.arrays[0].dtype)
    (store / "damaged.json").unlink()
    assert _bytes(store) == _bytes(sound)


def test_records_that_were_left_out_stay_left_out(tmp_path: Path, mixed_images: Path) -> None:
    images = shutil.copytree(mixed_images, tmp_path / "photos")
    (images / "bird" / "broken.png").write_bytes(b"no image")
    settings = {"dataset": f"folder:{images}", "limit": None}
    _extract(tmp_path / "store", **settings, on_error="skip", shard_size=20)
    before = _bytes(tmp_path / "store")
    for lost in ("labels/c/0", "block5/patches/c/0/0/0/0"):
        (tmp_path / "store/photos/train" / lost).unlink()
    _repair(tmp_path / "store", dataset=settings["dataset"])
    assert _bytes(tmp_path / "store") == before


def test_an_image_that_can_no_longer_be_read_is_named(tmp_path: Path, mixed_images: Path) -> None:
    images = shutil.copytree(mixed_images, tmp_path / "photos")
    _extract(tmp_path / "store", dataset=f"folder:{images}", limit=None, shard_size=20)
    (tmp_path / "store/photos/train/block5/patches/c/0/0/0/0").unlink()
    plain = images / "bird" / "plain.jpg"
    plain.write_bytes(bytes(plain.stat().st_size))  # as large as before: the fingerprint does not tell
    with pytest.raises(UserError, match=r"cannot read .*plain\.jpg.*: mend it"):
        _repair(tmp_path / "store", dataset=f"folder:{images}")


def test_a_failed_repair_leaves_what_was_there(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _damage_records(store, [7])
    before = _bytes(store)

    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(repairing, "encode_batch", fail)
    with pytest.raises(MemoryError):
        _repair(store)
    assert _bytes(store) == before


@pytest.mark.parametrize("choice", [{"classes": ("3", "7")}, {"keep": ("mean",)}, {"dtype": "bfloat16"}])
def test_a_derived_store_is_not_repaired_with_extracted_tokens(
    sound: Path, tmp_path: Path, choice: dict[str, object]
) -> None:
    derive_store(DeriveOptions(source=sound, out=tmp_path / "derived", **choice))
    split = Store(tmp_path / "derived").split("digits", "train")
    extent = split.extent("labels", 0)
    content = bytearray(extent.path.read_bytes())
    content[extent.offset] ^= 1
    extent.path.write_bytes(content)
    before = _bytes(tmp_path / "derived")
    with pytest.raises(UserError, match="was derived from another store"):
        _repair(tmp_path / "derived")
    assert _bytes(tmp_path / "derived") == before
