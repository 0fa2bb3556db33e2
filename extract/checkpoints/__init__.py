"""The layouts of published checkpoint files: one file for each family."""

from extract.checkpoints.aimv2 import AIMV2
from extract.checkpoints.beit import BEITV2, SIMMIM
from extract.checkpoints.byol import BYOL_DEEPMIND, BYOL_MM
from extract.checkpoints.capi import CAPI
from extract.checkpoints.clip import CLIP
from extract.checkpoints.dinov2 import DINOV2, FRANCA
from extract.checkpoints.dinov3 import DINOV3
from extract.checkpoints.dit import DIT
from extract.checkpoints.layout import Layout
from extract.checkpoints.plain import PLAIN
from extract.checkpoints.vit import DINO, IBOT, IJEPA, MAE, MOCO_V3

LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        PLAIN, MAE, BEITV2, SIMMIM, CAPI, BYOL_MM, BYOL_DEEPMIND, DINO, IBOT, MOCO_V3, IJEPA, DINOV2, FRANCA,
        DINOV3, CLIP, AIMV2, DIT,
    )
}  # fmt: skip

__all__ = ["LAYOUTS", "Layout"]
