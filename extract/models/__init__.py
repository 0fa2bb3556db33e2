"""Architectures that timm does not have, read as timm's are."""
