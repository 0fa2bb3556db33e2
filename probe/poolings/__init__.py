"""Poolings: tokens (B, N, D) → one vector per image, one file each.

A pooling states its width as `out_dim` and, where it has maps, `attention(tokens)` → (B, M, N). To add one,
add its file here and its family to `probe/names.py`.
"""

from probe.poolings.efficient import EfficientPooling

__all__ = ["EfficientPooling"]
