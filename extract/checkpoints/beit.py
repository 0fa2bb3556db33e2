"""BEiTv2 and SimMIM pre-trained files: one relative position bias for all blocks, no absolute one."""

from __future__ import annotations

from extract.checkpoints.layout import Layout

_PRETRAINING = ("mask_token", "rel_pos_bias.relative_position_index")

BEITV2 = Layout(
    "beitv2",
    wrappers=("model", "module"),
    # two more blocks that BEiTv2 pre-trains on top of the encoder, never part of it
    dropped=(*_PRETRAINING, "lm_head.*", "cls_pt_layers.*"),
)
SIMMIM = Layout(
    "simmim",
    wrappers=("model",),
    prefixes=("module.", "encoder."),
    dropped=(*_PRETRAINING, "decoder.*"),
)
