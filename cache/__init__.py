"""The store between the two stages: its format, its writer and its loader.

A store holds one frozen backbone's tokens, in ordinary Zarr v3 or HDF5: see docs/design.md. Folders inside
this one are stores, not code. The rooms:

- opening: `store`; `manifest` and `shard_record` (the JSON files), `arrays` (names, dtypes, shapes),
  `thumbnails` (small pictures beside the tokens),
  `final_norm`, `permutation` (orders that stay the same for ever)
- file formats: `engine` (the contract), `engines` (by name), `zarr_engine`, `hdf5_engine`, `hdf5_files`
- values: `encode` (to the stored dtype and back), `int8`, `checksum`
- writing: `split_writer` → `shard_writer`; `lock` (one writer), `atomic` (files whole or absent),
  `disk_space` (before), `write_errors` (what is said when it fails)
- reading: `split_reader` (maps, checks), `record_file` (reads without a map), `dataset` (a block of a split),
  `batch` (what a probe gets)
- batches: `loader` → `residency` (device, host or stream), `resident` and `streamed` (its two sources),
  `stream_plan`, `epoch_order`, `batching` (which items make a batch), `read_ahead` and `page_cache` (before
  they are needed), `batch_buffers`, `rows` (copying), `device_copies`, `free_memory`, `out_of_memory`
- `cache info`, `verify`, `rm`: `info`, `verify`, `remove`; `cache repair` (in extract): `shard_repair`
- `cache derive`: `derive_options` → `derive_plan` (with `derived_arrays`, `subset`, `grid`) → `derive` (with
  `derived_tokens`)
- `command` has the verbs; `device` says which device a command uses, and which of several processes it is
"""

from cache.arrays import RECORD_ARRAYS, ArraySpec, TokenDtype, array_name, scale_name, token_arrays
from cache.batch import TokenArray, TokenBatch
from cache.dataset import TokenDataset
from cache.derive import derive_store
from cache.derive_options import DeriveOptions
from cache.device import chosen_device, launch, leaving_in_order
from cache.disk_space import free_bytes, missing_bytes
from cache.encode import Encoded, decode, encode, refuse_unless_finite
from cache.final_norm import FinalNorm, NormKind
from cache.free_memory import free_device_memory, free_host_memory, give_back_device_memory
from cache.info import split_info
from cache.loader import TokenLoader
from cache.manifest import (
    Augmentation,
    BackboneIdentity,
    BlockGeometry,
    Computation,
    DatasetIdentity,
    SplitManifest,
    StoreFormat,
    StoreManifest,
    differences,
    stored_split,
)
from cache.out_of_memory import is_out_of_memory
from cache.permutation import random_bits, seeded_permutation
from cache.residency import Residency, Tier, choose_residency
from cache.resident import ResidentBatch
from cache.shard_repair import ShardRepair, ShardResult
from cache.shard_writer import ShardWriter
from cache.split_reader import SplitReader
from cache.split_writer import SplitWriter
from cache.store import Store, create_store, open_split_writer
from cache.thumbnails import THUMBNAILS, thumbnail_array
from cache.verify import Damage, verify_split, verify_store
from cache.write_errors import INTERRUPTED

__all__ = [
    "INTERRUPTED",
    "RECORD_ARRAYS",
    "THUMBNAILS",
    "ArraySpec",
    "Augmentation",
    "BackboneIdentity",
    "BlockGeometry",
    "Computation",
    "Damage",
    "DatasetIdentity",
    "DeriveOptions",
    "Encoded",
    "FinalNorm",
    "NormKind",
    "Residency",
    "ResidentBatch",
    "ShardRepair",
    "ShardResult",
    "ShardWriter",
    "SplitManifest",
    "SplitReader",
    "SplitWriter",
    "Store",
    "StoreFormat",
    "StoreManifest",
    "Tier",
    "TokenArray",
    "TokenBatch",
    "TokenDataset",
    "TokenDtype",
    "TokenLoader",
    "array_name",
    "choose_residency",
    "chosen_device",
    "create_store",
    "decode",
    "derive_store",
    "differences",
    "encode",
    "free_bytes",
    "free_device_memory",
    "free_host_memory",
    "give_back_device_memory",
    "is_out_of_memory",
    "launch",
    "leaving_in_order",
    "missing_bytes",
    "open_split_writer",
    "random_bits",
    "refuse_unless_finite",
    "scale_name",
    "seeded_permutation",
    "split_info",
    "stored_split",
    "thumbnail_array",
    "token_arrays",
    "verify_split",
    "verify_store",
]
