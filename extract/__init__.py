"""Stage 1: images → frozen backbone → tokens in a store.

`open_backbone` and `sources.open_dataset` turn names into a backbone and a data set; `plan_split` lays out a
split of a store and `extract_split` fills it.
"""

import os

# Threads of a CPU's forward pass wait asleep, not in a loop: data workers need the cores. It is read once,
# when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from extract.backbone import Backbone, BlockTokens
from extract.open_backbone import open_backbone
from extract.options import ExtractOptions
from extract.pipeline import extract_split
from extract.split_plan import plan_split

__all__ = [
    "Backbone",
    "BlockTokens",
    "ExtractOptions",
    "extract_split",
    "open_backbone",
    "plan_split",
]
