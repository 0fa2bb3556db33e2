"""Poolings: tokens (B, N, D) → one vector per image and trial (K, B, D_o), one file each.

A pooling states its width as `out_dim`, its parts as `description` and, where it has maps, gives them by
`attention(tokens)` → (K, B, M, N). Those whose queries or heads pool tokens by such maps are `QueryPooling`s.
The first axis of every parameter is the trial (see `probe.stacked`). To add one, add its file here and its
family to `probe/families.py`.
"""

from probe.poolings.abmilp import ABMILPPooling, LinearABMILPPooling
from probe.poolings.aim import AIMPooling
from probe.poolings.cae import CAEPooling
from probe.poolings.cait import CaiTPooling
from probe.poolings.capi import CAPIPooling
from probe.poolings.cbam import CBAMPooling
from probe.poolings.clip import CLIPPooling
from probe.poolings.coca import CoCaPooling
from probe.poolings.delf import DELFPooling
from probe.poolings.efficient import EfficientPooling
from probe.poolings.esimpool import ESimPool
from probe.poolings.multi_head import MultiHeadPooling
from probe.poolings.query_pooling import QueryPooling
from probe.poolings.siglip import SigLIPPooling
from probe.poolings.simpool import SimPool
from probe.poolings.vit import ViTPooling
from probe.poolings.vjepa import VJEPAPooling
from probe.poolings.vjepa2 import VJEPA2Pooling

__all__ = [
    "ABMILPPooling",
    "AIMPooling",
    "CAEPooling",
    "CAPIPooling",
    "CBAMPooling",
    "CLIPPooling",
    "CaiTPooling",
    "CoCaPooling",
    "DELFPooling",
    "ESimPool",
    "EfficientPooling",
    "LinearABMILPPooling",
    "MultiHeadPooling",
    "QueryPooling",
    "SigLIPPooling",
    "SimPool",
    "VJEPA2Pooling",
    "VJEPAPooling",
    "ViTPooling",
]
