"""Official files whose encoder has timm's own ViT names: only wrappers, prefixes and heads differ."""

from __future__ import annotations

from extract.checkpoints.layout import Layout

MAE = Layout(
    "mae",
    # mae-lite's ViT-S stands under `model.` inside its pre-training wrapper
    prefixes=("_orig_mod.", "module.", "model."),
    # the decoder is in the files of the visualisation demo
    dropped=("decoder_*", "mask_token", "ema_model.*"),
)
DINO = Layout(
    "dino",
    wrappers=("teacher", "state_dict", "model"),  # full checkpoints hold a student too
    prefixes=("module.", "backbone."),
    dropped=("head.*",),
)
IBOT = Layout(
    "ibot",
    wrappers=DINO.wrappers,
    prefixes=DINO.prefixes,
    dropped=("head.*", "masked_embed"),  # the second is the student's
)
MOCO_V3 = Layout(
    "moco_v3",
    prefixes=("module.", "base_encoder."),
    dropped=("momentum_encoder.*", "predictor.*", "head.*"),
)
# the file holds the context encoder under `encoder`, which timm takes; the paper evaluates its average
IJEPA = Layout("ijepa", wrappers=("target_encoder",), prefixes=("module.",))
