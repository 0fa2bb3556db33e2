"""The store between the two stages: its format, its writer and its loader.

A store holds one frozen backbone's tokens. `Store` opens one, `SplitReader` maps the arrays of a split,
`TokenDataset` and `TokenLoader` give batches of them; `create_store` and `SplitWriter` make one,
`derive_store` makes one from another, `split_info` sums one up and `verify_store` looks for damage. The
format is ordinary Zarr v3 or HDF5: see docs/design.md.
Folders inside this one are stores, not code.
"""

from cache.arrays import RECORD_ARRAYS, ArraySpec, TokenDtype, array_name, scale_name, token_arrays
from cache.batch import TokenArray, TokenBatch
from cache.dataset import TokenDataset
from cache.derive import derive_store
from cache.derive_options import DeriveOptions
from cache.device import chosen_device, launch
from cache.encode import Encoded, decode, encode, refuse_unless_finite
from cache.final_norm import FinalNorm
from cache.info import split_info
from cache.loader import TokenLoader
from cache.manifest import (
    BackboneIdentity,
    BlockGeometry,
    DatasetIdentity,
    SplitManifest,
    StoreFormat,
    StoreManifest,
    differences,
)
from cache.permutation import seeded_permutation
from cache.residency import Residency, Tier, choose_residency
from cache.shard_repair import ShardRepair, ShardResult
from cache.shard_writer import ShardWriter
from cache.split_reader import SplitReader
from cache.split_writer import SplitWriter
from cache.store import Store, create_store, open_split_writer
from cache.verify import Damage, verify_split, verify_store

__all__ = [
    "RECORD_ARRAYS",
    "ArraySpec",
    "BackboneIdentity",
    "BlockGeometry",
    "Damage",
    "DatasetIdentity",
    "DeriveOptions",
    "Encoded",
    "FinalNorm",
    "Residency",
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
    "launch",
    "open_split_writer",
    "refuse_unless_finite",
    "scale_name",
    "seeded_permutation",
    "split_info",
    "token_arrays",
    "verify_split",
    "verify_store",
]
