from __future__ import annotations

import pytest
import torch

from cache import TokenBatch, encode


def _batch() -> TokenBatch:
    return TokenBatch(labels=torch.tensor([1, 0]), index=torch.tensor([5, 6]), patches=torch.ones(2, 3, 4))


def test_length_is_the_number_of_records() -> None:
    assert len(_batch()) == 2


def test_moving_a_batch_moves_every_array_it_holds() -> None:
    moved = _batch().to(torch.device("meta"))
    assert {moved.labels.device.type, moved.index.device.type, moved.patches.device.type} == {"meta"}


def test_moving_a_batch_keeps_absent_arrays_absent() -> None:
    moved = _batch().to(torch.device("meta"))
    assert (moved.prefix, moved.mean, moved.mean_normed) == (None, None, None)


def _int8_batch() -> tuple[TokenBatch, torch.Tensor]:
    """Two records of 3 patches and one prefix token, 130 channels wide; and what was encoded (2, 4, 130)."""
    tokens = torch.randn(2, 4, 130, generator=torch.Generator().manual_seed(0))
    prefix, patches = encode(tokens[:, :1], "float16"), encode(tokens[:, 1:], "int8")
    batch = TokenBatch(
        labels=torch.tensor([1, 0]),
        index=torch.tensor([5, 6]),
        patches=patches.tokens,
        patches_scale=patches.scales,
        prefix=prefix.tokens,
    )
    return batch, tokens


def test_codes_are_decoded_with_their_own_scales() -> None:
    batch, tokens = _int8_batch()
    prefix, patches = batch.decoded("prefix"), batch.decoded("patches")
    assert prefix is not None
    assert patches is not None
    torch.testing.assert_close(prefix, tokens[:, :1], rtol=0, atol=0.02)
    torch.testing.assert_close(patches, tokens[:, 1:], rtol=0, atol=0.02)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_floats_are_decoded_to_float32(dtype: torch.dtype) -> None:
    patches = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0)).to(dtype)
    batch = TokenBatch(labels=torch.tensor([1, 0]), index=torch.tensor([5, 6]), patches=patches)
    decoded = batch.decoded("patches")
    assert decoded is not None
    assert decoded.dtype == torch.float32
    assert torch.equal(decoded, patches.float())


def test_absent_tokens_decode_to_nothing() -> None:
    assert _batch().decoded("prefix") is None


def test_moving_a_batch_moves_its_scales() -> None:
    moved = _int8_batch()[0].to(torch.device("meta"))
    assert moved.patches_scale is not None
    assert moved.patches_scale.device.type == "meta"
    decoded = moved.decoded("patches")
    assert decoded is not None
    assert decoded.device.type == "meta"
