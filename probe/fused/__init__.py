"""Attention of learned queries to tokens as they are stored, by Triton kernels that read each token once.

Importing this imports no Triton: `pooling` does, once a device takes the kernels.
"""

from probe.fused.choice import chosen_blocks, fused_attention_fits
from probe.fused.stored_tokens import StoredTokens, Tokens, decoded, in_precision

__all__ = ["StoredTokens", "Tokens", "chosen_blocks", "decoded", "fused_attention_fits", "in_precision"]
