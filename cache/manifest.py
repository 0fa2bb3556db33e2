"""The two manifests of a store: whose tokens these are, and what a split holds."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import JsonValue, PositiveInt, SerializerFunctionWrapHandler, model_serializer

from cache import atomic
from cache.arrays import ArraySpec, TokenDtype
from cache.checksum import crc32c
from configs import FrozenModel, TokenState, UserError

FORMAT_VERSION: Literal[1] = 1
MANIFEST = "manifest.json"
CHECKSUM = "crc32c"

ManifestT = TypeVar("ManifestT", bound=FrozenModel)

StoreFormat = Literal["zarr", "hdf5"]


class BlockGeometry(FrozenModel):
    """What one block of the backbone gives: a grid of tokens of any rank, and their width D."""

    grid: tuple[int, ...]
    dim: int

    @property
    def num_tokens(self) -> int:
        """N, the number of patch tokens."""
        return math.prod(self.grid)


class BackboneIdentity(FrozenModel):
    """Everything that decides a token's value. A store never mixes two of these."""

    name: str
    source: str
    weights_sha256: str
    transform: dict[str, JsonValue]
    precision: str
    prefix: tuple[str, ...]
    blocks: tuple[BlockGeometry, ...]
    final_norm: str | None
    """Its kind, eps, and the CRC-32C of its parameters."""

    @property
    def cls(self) -> int | None:
        """The place of [CLS] among the prefix tokens; None where there is none."""
        return self.prefix.index("cls") if "cls" in self.prefix else None


class StoreManifest(FrozenModel):
    """`manifest.json` of a store."""

    format_version: Literal[1] = FORMAT_VERSION
    backbone: BackboneIdentity
    dtype: TokenDtype
    tokens: TokenState
    """What a probe reads unless it is told otherwise (`--tokens`)."""
    licence: str | None
    versions: dict[str, str]
    derived: tuple[str, ...] = ()
    """How `cache derive` changed the tokens since extraction, step by step; the grids are those of now."""

    @property
    def maker(self) -> str:
        """The command that goes on with the store. Tokens that extraction gives too may be of either."""
        return "`cache derive`" if self.derived else "extract (or `cache derive`)"


class DatasetIdentity(FrozenModel):
    """Which samples, in which order: decides what record i is."""

    name: str
    split: str
    source: str
    fingerprint: str
    samples: int
    """Samples in the source; a split may hold fewer (`--limit`)."""


class Augmentation(FrozenModel):
    """What made the views after the first, which is the plain image."""

    name: str
    seed: int


class Computation(FrozenModel):
    """How the backbone computed the batches: decides the last bits of tokens, which rounding leaves open.

    `channels_last`: images and convolutions lie in memory with the channels last. `compiled`: by
    `torch.compile`, with every batch filled up to `batch_size`.
    """

    batch_size: PositiveInt
    channels_last: bool = False
    compiled: bool = False


class SplitManifest(FrozenModel):
    """`manifest.json` of a split."""

    format_version: Literal[1] = FORMAT_VERSION
    dataset: DatasetIdentity
    classes: tuple[str, ...]
    records: PositiveInt
    views: PositiveInt
    augmentation: Augmentation | None = None
    """None, and absent from the file, where there is one view."""
    order: str
    """How `sample_id` was drawn, in words; the array itself is stored."""
    order_seed: int | None = None
    """`sample_id` is the beginning of `seeded_permutation(samples, order_seed)`; None: it is not."""
    format: StoreFormat
    shard_size: PositiveInt
    arrays: tuple[ArraySpec, ...]
    computation: Computation | None = None
    """None, and absent from the file, where it was not recorded: in older stores."""

    @model_serializer(mode="wrap")
    def _without_what_is_absent(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields: dict[str, Any] = serialize(self)
        for name in ("augmentation", "computation"):
            if getattr(self, name) is None:
                fields.pop(name, None)  # a split without it has the bytes that it always had
        return fields

    @property
    def shards(self) -> int:
        """Number of shards."""
        return -(-self.records // self.shard_size)

    def shard_records(self, shard: int) -> int:
        """Records in `shard`; the last one may hold fewer than `shard_size`."""
        return min(self.shard_size, self.records - shard * self.shard_size)

    @property
    def record_bytes(self) -> int:
        """Bytes of one record in all arrays and views."""
        return sum(array.record_bytes * array.runs for array in self.arrays)

    def folder(self, store: Path) -> Path:
        """Where the split stands in `store`. Raises `UserError` for names that lead elsewhere."""
        for name in (self.dataset.name, self.dataset.split):
            if name in ("", ".", "..") or "/" in name:
                raise UserError(f"{name!r} cannot be the name of a folder in {store}")
        return store / self.dataset.name / self.dataset.split

    @property
    def blocks(self) -> tuple[int, ...]:
        """The blocks of the backbone whose tokens it holds, ascending."""
        folders = {spec.name.split("/")[0] for spec in self.arrays if "/" in spec.name}
        return tuple(sorted(int(folder.removeprefix("block")) for folder in folders))

    def array(self, name: str) -> ArraySpec:
        """The array `name`. Raises `UserError` when the split has none such."""
        for spec in self.arrays:
            if spec.name == name:
                return spec
        held = ", ".join(spec.name for spec in self.arrays)
        raise UserError(f"{self.dataset.name}/{self.dataset.split} holds no array '{name}'; it holds {held}")


def write_manifest(path: Path, manifest: FrozenModel) -> None:
    """Write `manifest` as JSON with its own CRC-32C in the last field; the same one gives the same bytes."""
    atomic.write_bytes(path, _with_checksum(manifest.model_dump(mode="json")))


def manifest_checksum(manifest: FrozenModel) -> int:
    """The CRC-32C that `write_manifest` puts into the last field."""
    return _checksum(manifest.model_dump(mode="json"))


def _checksum(fields: dict[str, Any]) -> int:
    return crc32c(json.dumps(fields, ensure_ascii=False).encode())


def _with_checksum(fields: dict[str, Any]) -> bytes:
    return (json.dumps({**fields, CHECKSUM: _checksum(fields)}, ensure_ascii=False) + "\n").encode()


def read_manifest(path: Path, schema: type[ManifestT]) -> ManifestT:
    """Read what `write_manifest` wrote. Raises `UserError` when it is not that, to the last bit."""
    try:
        content = path.read_bytes()
        fields = json.loads(content)
        if not isinstance(fields, dict):
            raise UserError("it holds no fields")
        fields.pop(CHECKSUM, None)
        if _with_checksum(fields) != content:
            raise UserError("its checksum does not fit (it was damaged, or edited)")
        return schema.model_validate(fields)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except (UserError, ValueError) as error:  # the fields, or the JSON itself
        raise UserError(f"{path} is damaged, or not of format {FORMAT_VERSION}: {error}") from None


def stored_split(folder: Path) -> SplitManifest | None:
    """The manifest of the split in `folder`; None where there is no split yet."""
    path = folder / MANIFEST
    return read_manifest(path, SplitManifest) if path.exists() else None


def differences(stored: Any, given: Any, path: str = "") -> list[str]:
    """Every field in which two manifests, as JSON, differ, in words."""
    if isinstance(stored, dict) and isinstance(given, dict):
        keys = list(dict.fromkeys([*stored, *given]))
        return [
            line
            for key in keys
            for line in differences(stored.get(key), given.get(key), f"{path}.{key}".lstrip("."))
        ]
    return [] if stored == given else [f"{path} ({_short(stored)} there, {_short(given)} here)"]


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def claim_manifest(path: Path, given: FrozenModel, ignore: tuple[str, ...] = ()) -> None:
    """Write `given` to `path`, or make sure that what stands there says the same.

    Fields in `ignore` are recorded but not compared. Raises `UserError` naming the fields that differ.
    """
    if not path.exists():
        write_manifest(path, given)
        return
    stored = read_manifest(path, type(given))
    excluded = set(ignore)
    found = differences(
        stored.model_dump(mode="json", exclude=excluded),
        given.model_dump(mode="json", exclude=excluded),
    )
    if found:
        raise UserError(
            f"{path.parent} was stored with another {'; another '.join(found)}: "
            "give another folder, or the options it was stored with"
        )
