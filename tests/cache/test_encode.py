from __future__ import annotations

import numpy as np
import pytest
import torch

from cache import TokenDtype, decode, encode, refuse_unless_finite
from configs import UserError


def _tokens() -> torch.Tensor:
    return torch.randn(4, 3, 6, generator=torch.Generator().manual_seed(0))


def _refuse(tokens: torch.Tensor, dtype: TokenDtype) -> None:
    refuse_unless_finite(encode(tokens, dtype), tokens, "block3/patches", dtype)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_floats_are_cast_as_numpy_casts(dtype: TokenDtype) -> None:
    found = encode(_tokens(), dtype).tokens.numpy()
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, _tokens().numpy().astype(dtype))


def test_bfloat16_is_stored_as_the_bits_of_torch() -> None:
    found = encode(_tokens(), "bfloat16").tokens
    assert found.dtype == torch.uint16
    assert torch.equal(found.view(torch.bfloat16), _tokens().to(torch.bfloat16))


def test_bfloat16_rounds_to_nearest_even() -> None:
    halfway = torch.tensor([[1 + 2**-8, 1 + 3 * 2**-8, -1.0]])
    assert encode(halfway, "bfloat16").tokens.tolist() == [[0x3F80, 0x3F82, 0xBF80]]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_range_is_that_of_the_stored_tokens(dtype: TokenDtype) -> None:
    encoded = encode(_tokens(), dtype)
    stored = _tokens().to(getattr(torch, dtype)).float()
    assert (encoded.minimum, encoded.maximum) == (stored.min(), stored.max())
    assert encoded.minimum.dtype == torch.float32


@pytest.mark.parametrize("sign", [1, -1])
def test_overflow_of_float16_names_array_and_channel(sign: int) -> None:
    tokens = _tokens()
    tokens[2, 1, 4] = sign * 7e4
    with pytest.raises(
        UserError, match=r"block3/patches: channel 4 reaches 7e\+04, beyond float16"
    ) as raised:
        _refuse(tokens, "float16")
    assert "--dtype bfloat16 or float32" in str(raised.value)


def test_largest_float16_is_no_overflow() -> None:
    tokens = _tokens()
    tokens[0, 0, 0] = 65504
    _refuse(tokens, "float16")
    assert encode(tokens, "float16").maximum == 65504


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_what_overflows_float16_fits_the_wider_dtypes(dtype: TokenDtype) -> None:
    tokens = _tokens()
    tokens[0, 0, 0] = 7e4
    _refuse(tokens, dtype)
    assert encode(tokens, dtype).maximum == pytest.approx(7e4, rel=1e-2)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "int8"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_tokens_that_are_not_finite_are_refused_by_channel(value: float, dtype: TokenDtype) -> None:
    tokens = _tokens()
    tokens[3, 2, 5] = value
    with pytest.raises(UserError, match=r"block3/patches: .*NaN or infinite tokens \(channel 5\)"):
        _refuse(tokens, dtype)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_floats_decode_to_float32(dtype: TokenDtype) -> None:
    stored = _tokens().to(getattr(torch, dtype))
    decoded = decode(stored, None)
    assert decoded.dtype == torch.float32
    assert torch.equal(decoded, stored.float())


def test_int8_gives_codes_with_a_scale_for_each_token_and_channel() -> None:
    tokens = torch.randn(2, 3, 130, generator=torch.Generator().manual_seed(0))
    encoded = encode(tokens, "int8")
    assert (encoded.tokens.dtype, encoded.tokens.shape) == (torch.int8, (2, 3, 130))
    assert encoded.scales is not None
    assert (encoded.scales.dtype, encoded.scales.shape) == (torch.float16, (2, 3 + 130))
    torch.testing.assert_close(decode(encoded.tokens, encoded.scales), tokens, rtol=0, atol=0.02)


def test_only_int8_has_scales() -> None:
    assert all(encode(_tokens(), dtype).scales is None for dtype in ("float16", "bfloat16", "float32"))


def test_range_of_int8_is_that_of_the_tokens() -> None:
    encoded = encode(_tokens(), "int8")
    assert (encoded.minimum, encoded.maximum) == (_tokens().min(), _tokens().max())


@pytest.mark.parametrize("sign", [1, -1])
def test_values_too_large_for_the_scales_of_int8_are_refused_by_channel(sign: int) -> None:
    tokens = _tokens()
    tokens[2, :, 4] = sign * 7e4
    with pytest.raises(
        UserError, match=r"block3/patches: channel 4 reaches 7e\+04, beyond int8 \(largest 6\.55e\+04\)"
    ):
        _refuse(tokens, "int8")


def test_int8_keeps_a_channel_as_large_as_float16_reaches() -> None:
    tokens = _tokens()
    tokens[2, :, 4] = -65504
    _refuse(tokens, "int8")
    encoded = encode(tokens, "int8")
    torch.testing.assert_close(
        decode(encoded.tokens, encoded.scales)[2, :, 4], tokens[2, :, 4], rtol=5e-3, atol=0
    )


def test_not_finite_is_told_before_overflow() -> None:
    tokens = _tokens()
    tokens[0, 0, 1] = 7e4
    tokens[0, 0, 2] = float("nan")
    with pytest.raises(UserError, match=r"\(channel 2\)"):
        _refuse(tokens, "float16")
