"""Eight-bit tokens: the formula, its bounds, and what a store of them holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cache import (
    RECORD_ARRAYS,
    ArraySpec,
    SplitManifest,
    SplitReader,
    StoreFormat,
    encode,
    open_split_writer,
    token_arrays,
)
from cache.int8 import CHANNELS_PER_SCALE, LARGEST_VALUE, dequantize, num_groups, quantize

WIDTHS = [1, 2, 63, 64, 65, 100, 130, 192]
UNDERFLOW = 127 * 2.0**-149
"""Below this, a 127th of a value is zero in float32, and so is its scale."""


def _reference(tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes, scales and the tokens that they stand for, in float64, one token and group after another."""
    dim = tokens.shape[-1]
    groups = -(-dim // 64)
    width = -(-dim // groups)
    codes = np.zeros(tokens.shape, np.int8)
    scales = np.zeros((*tokens.shape[:-1], groups), np.float16)
    decoded = np.zeros(tokens.shape, np.float64)
    for place in np.ndindex(*tokens.shape[:-1]):
        for group in range(groups):
            channels = slice(group * width, (group + 1) * width)
            values = tokens[place][channels].astype(np.float64)
            exact = np.abs(values).max() / 127
            scale = np.float16(exact)
            if scale < exact:
                scale = np.nextafter(scale, np.float16(np.inf))
            scales[(*place, group)] = scale
            if scale:
                codes[place][channels] = np.rint(values / np.float64(scale))
            decoded[place][channels] = codes[place][channels] * np.float64(scale)
    return codes, scales, decoded


def _heavy_tailed(dim: int, seed: int = 0) -> torch.Tensor:
    """(2, 3, D) values whose channels differ by orders of magnitude."""
    drawn = np.random.default_rng(seed)
    values = drawn.standard_normal((2, 3, dim)) * 10 ** drawn.uniform(-3, 3, dim)
    return torch.from_numpy(values.astype(np.float32))


@st.composite
def token_tensors(draw: st.DrawFn) -> torch.Tensor:
    """(T, D) float32 of any size that fits, zeros and subnormals among them."""
    dim = draw(st.sampled_from(WIDTHS))
    values = st.floats(-8e6, 8e6, width=32) | st.floats(-(2**-14), 2**-14, width=32)
    return torch.from_numpy(draw(hnp.arrays(np.float32, (3, dim), elements=values)))


def _spread(scales: torch.Tensor, dim: int) -> np.ndarray:
    """Scales (T, G) → the scale of each channel (T, D), float64."""
    width = -(-dim // scales.shape[-1])
    return scales.double().numpy().repeat(width, axis=-1)[..., :dim]


@pytest.mark.parametrize("dim", WIDTHS)
def test_codes_and_scales_are_those_of_the_formula(dim: int) -> None:
    tokens = _heavy_tailed(dim)
    codes, scales = quantize(tokens)
    expected_codes, expected_scales, _ = _reference(tokens.numpy())
    np.testing.assert_array_equal(codes.numpy(), expected_codes)
    np.testing.assert_array_equal(scales.numpy(), expected_scales)
    assert (codes.dtype, scales.dtype) == (torch.int8, torch.float16)


@pytest.mark.parametrize("dim", WIDTHS)
def test_decoded_tokens_are_codes_times_scales(dim: int) -> None:
    tokens = _heavy_tailed(dim)
    decoded = dequantize(*quantize(tokens))
    assert decoded.dtype == torch.float32
    np.testing.assert_array_equal(decoded.numpy(), _reference(tokens.numpy())[2].astype(np.float32))


@given(tokens=token_tensors())
@settings(max_examples=200, deadline=None)
def test_an_error_is_at_most_half_a_scale(tokens: torch.Tensor) -> None:
    codes, scales = quantize(tokens)
    error = np.abs(dequantize(codes, scales).double().numpy() - tokens.double().numpy())
    assert (error <= _spread(scales, tokens.shape[-1]) / 2 * (1 + 1e-4) + UNDERFLOW).all()


@given(tokens=token_tensors())
@settings(max_examples=200, deadline=None)
def test_no_code_is_beyond_127(tokens: torch.Tensor) -> None:
    codes, _ = quantize(tokens)
    assert codes.min() >= -127
    assert codes.max() <= 127


@given(tokens=token_tensors())
@settings(max_examples=200, deadline=None)
def test_no_scale_is_smaller_than_its_largest_value_asks_for(tokens: torch.Tensor) -> None:
    dim = tokens.shape[-1]
    _, scales = quantize(tokens)
    assert torch.isfinite(scales).all()
    held = _spread(scales, dim) * 127 * (1 + 2**-23)  # the division's own rounding
    assert (held + UNDERFLOW >= tokens.abs().double().numpy()).all()


@given(tokens=token_tensors(), data=st.data())
@settings(max_examples=100, deadline=None)
def test_zeros_stay_zero(tokens: torch.Tensor, data: st.DataObject) -> None:
    zeros = data.draw(hnp.arrays(bool, tuple(tokens.shape)))
    tokens[torch.from_numpy(zeros)] = 0
    assert not dequantize(*quantize(tokens))[torch.from_numpy(zeros)].any()


@given(tokens=token_tensors())
@settings(max_examples=100, deadline=None)
def test_a_token_has_the_same_codes_in_any_batch(tokens: torch.Tensor) -> None:
    codes, scales = quantize(tokens)
    for row in range(len(tokens)):
        alone = quantize(tokens[row])
        assert torch.equal(codes[row], alone[0])
        assert torch.equal(scales[row], alone[1])


def test_a_token_of_zeros_has_scales_of_zero() -> None:
    codes, scales = quantize(torch.zeros(2, 70))
    assert not codes.any()
    assert not scales.any()


def test_the_largest_value_has_a_finite_scale_and_the_next_has_not() -> None:
    largest = torch.tensor([[LARGEST_VALUE]])
    assert quantize(largest)[1].item() == 65504
    assert quantize(torch.nextafter(largest, torch.tensor(torch.inf)))[1].isinf()


@pytest.mark.parametrize("dim", [1, 63, 64, 65, 128, 130, 768, 1000, 4097, 6401])
def test_groups_are_even_and_hold_every_channel(dim: int) -> None:
    groups = num_groups(dim)
    width = -(-dim // groups)
    assert width <= CHANNELS_PER_SCALE
    assert (groups - 1) * width < dim <= groups * width
    assert quantize(torch.ones(1, dim))[1].shape == (1, groups)


def test_an_outlier_touches_the_codes_of_its_own_group_alone() -> None:
    tokens = torch.randn(5, 192, generator=torch.Generator().manual_seed(0))
    before, _ = quantize(tokens)
    tokens[:, 70] = 500.0
    after, _ = quantize(tokens)
    changed = (before != after).any(dim=0)
    assert changed[64:128].any()
    assert not changed[:64].any()
    assert not changed[128:].any()


def _bytes(num_tokens: int, dim: int, num_prefix: int, dtype: str) -> int:
    """Bytes of all token arrays of one sample, means included."""
    specs = token_arrays(
        0, num_tokens=num_tokens, num_prefix=num_prefix, dim=dim, dtype=dtype, views=1, normed_mean=True
    )
    return sum(spec.runs * spec.record_bytes for spec in specs)


@pytest.mark.parametrize("dim", [768, 1024], ids=["ViT-B/16", "ViT-L/16"])
@pytest.mark.parametrize("num_prefix", [1, 5])
def test_a_sample_takes_little_more_than_half_the_bytes_of_float16(dim: int, num_prefix: int) -> None:
    ratio = _bytes(196, dim, num_prefix, "int8") / _bytes(196, dim, num_prefix, "float16")
    assert 0.51 <= ratio <= 0.53


def test_scales_are_arrays_beside_the_codes() -> None:
    specs = token_arrays(3, num_tokens=7, num_prefix=2, dim=130, dtype="int8", views=1, normed_mean=False)
    found = {spec.name: (spec.dtype, spec.record_shape) for spec in specs}
    assert found == {
        "block3/patches": ("int8", (7, 130)),
        "block3/patches_scale": ("float16", (7, 3)),
        "block3/prefix": ("int8", (2, 130)),
        "block3/prefix_scale": ("float16", (2, 3)),
        "block3/mean": ("float32", (130,)),
    }


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_other_dtypes_have_no_scales(dtype: str) -> None:
    specs = token_arrays(3, num_tokens=7, num_prefix=2, dim=130, dtype=dtype, views=1, normed_mean=False)
    assert [spec.name for spec in specs] == ["block3/patches", "block3/prefix", "block3/mean"]


@pytest.fixture
def int8_split(split_manifest: Callable[..., SplitManifest], engine: StoreFormat) -> SplitManifest:
    """Three records of 5 patches, 65 channels wide, and labels alone beside them."""
    manifest = split_manifest(
        format=engine, dtype="int8", records=3, shard_size=3, num_tokens=5, num_prefix=0, dim=65
    )
    patches = tuple(a for a in manifest.arrays if "patches" in a.name)
    return manifest.model_copy(update={"arrays": patches + RECORD_ARRAYS})


def _written(store: Path, manifest: SplitManifest, tokens: torch.Tensor) -> tuple[SplitReader, int]:
    """Encode and write `tokens` in batches of two records; the split, and the bytes that were told."""
    told = 0
    with open_split_writer(store, manifest) as split:
        shard = split.begin(0)
        for first in range(0, len(tokens), 2):
            told += shard.write_encoded("block3/patches", first, encode(tokens[first : first + 2], "int8"))
        for spec in RECORD_ARRAYS:
            shard.write(spec.name, 0, np.zeros(len(tokens), dtype=np.int64))
        shard.commit()
    return SplitReader(split.folder), told


def test_written_tokens_are_stored_with_their_scales(store: Path, int8_split: SplitManifest) -> None:
    tokens = torch.randn(3, 5, 65, generator=torch.Generator().manual_seed(0))
    reader, told = _written(store, int8_split, tokens)
    codes, scales = quantize(tokens)
    np.testing.assert_array_equal(reader.whole("block3/patches"), codes.numpy())
    np.testing.assert_array_equal(reader.whole("block3/patches_scale"), scales.numpy())
    assert told == codes.numel() + 2 * scales.numel()


def test_the_recorded_range_is_that_of_the_tokens(store: Path, int8_split: SplitManifest) -> None:
    tokens = torch.randn(3, 5, 65, generator=torch.Generator().manual_seed(0))
    reader, _ = _written(store, int8_split, tokens)
    arrays = reader.shard_record(0).arrays
    held = arrays["block3/patches"]
    assert (held.minimum, held.maximum) == (tokens.min().item(), tokens.max().item())
    assert arrays["block3/patches_scale"].maximum == quantize(tokens)[1].max().item()


def test_the_bytes_of_a_record_are_its_codes(store: Path, int8_split: SplitManifest) -> None:
    tokens = torch.zeros(3, 5, 65)
    tokens[0, 0, :3] = torch.tensor([-127.0, 64.0, 1.0])
    reader, _ = _written(store, int8_split, tokens)
    extent = reader.engine.extents(0)["block3/patches", 0]
    spec: ArraySpec = int8_split.array("block3/patches")
    record = extent.path.read_bytes()[extent.offset :][: spec.record_bytes]
    assert record == bytes([0x81, 0x40, 0x01]) + bytes(5 * 65 - 3)
