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
from cache.int8 import LARGEST_FACTOR, dequantize, quantize

SHAPES = [(1, 1), (1, 65), (3, 2), (7, 64), (16, 130)]
"""Tokens and channels of an image."""


def _rounded_up(exact: float) -> np.float16:
    nearest = np.float16(exact)
    return nearest if nearest >= exact else np.nextafter(nearest, np.float16(np.inf))


def _reference(image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes, scales and the tokens that they stand for, of one image (N, D), in float64, one by one."""
    num_tokens, dim = image.shape
    factors = np.array([np.float16(max(2**-14, np.sqrt(np.mean(image[:, d] ** 2)))) for d in range(dim)])
    relative = image / factors.astype(np.float64)
    steps = np.array([_rounded_up(np.abs(relative[n]).max() / 127) for n in range(num_tokens)])
    codes = np.zeros(image.shape, np.int8)
    for n in range(num_tokens):
        if steps[n]:
            codes[n] = np.rint(relative[n] / np.float64(steps[n]))
    decoded = codes * steps.astype(np.float64)[:, None] * factors.astype(np.float64)
    return codes, np.concatenate([steps, factors]), decoded


def _heavy_tailed(shape: tuple[int, int], seed: int = 0) -> torch.Tensor:
    """(2, N, D) values whose channels differ by orders of magnitude."""
    drawn = np.random.default_rng(seed)
    values = drawn.standard_normal((2, *shape)) * 10 ** drawn.uniform(-3, 3, shape[1])
    return torch.from_numpy(values.astype(np.float32))


@st.composite
def images(draw: st.DrawFn) -> torch.Tensor:
    """(3, N, D) float32 of any size that fits, zeros and subnormals among them."""
    shape = draw(st.sampled_from(SHAPES))
    values = st.floats(-65472, 65472, width=32) | st.floats(-(2**-14), 2**-14, width=32)
    return torch.from_numpy(draw(hnp.arrays(np.float32, (3, *shape), elements=values)))


def _steps(scales: torch.Tensor, num_tokens: int) -> np.ndarray:
    """What a code of one stands for, (…, N, D) float64."""
    values = scales.double().numpy()
    return np.asarray(values[..., :num_tokens, None] * values[..., None, num_tokens:])


@pytest.mark.parametrize("shape", SHAPES)
def test_codes_and_scales_are_those_of_the_formula(shape: tuple[int, int]) -> None:
    tokens = _heavy_tailed(shape)
    codes, scales = quantize(tokens)
    assert (codes.dtype, scales.dtype) == (torch.int8, torch.float16)
    for image, found_codes, found_scales in zip(tokens, codes, scales, strict=True):
        expected_codes, expected_scales, _ = _reference(image.double().numpy())
        np.testing.assert_array_equal(found_codes.numpy(), expected_codes)
        np.testing.assert_array_equal(found_scales.numpy(), expected_scales)


@pytest.mark.parametrize("shape", SHAPES)
def test_decoded_tokens_are_codes_times_both_scales(shape: tuple[int, int]) -> None:
    tokens = _heavy_tailed(shape)
    decoded = dequantize(*quantize(tokens))
    assert decoded.dtype == torch.float32
    for image, found in zip(tokens, decoded, strict=True):
        np.testing.assert_allclose(found.numpy(), _reference(image.double().numpy())[2], rtol=1e-6)


@given(tokens=images())
@settings(max_examples=200, deadline=None)
def test_an_error_is_at_most_half_a_step(tokens: torch.Tensor) -> None:
    codes, scales = quantize(tokens)
    error = np.abs(dequantize(codes, scales).double().numpy() - tokens.double().numpy())
    assert (error <= _steps(scales, tokens.shape[-2]) / 2 * (1 + 1e-4) + 2**-40).all()


@given(tokens=images())
@settings(max_examples=200, deadline=None)
def test_no_code_is_beyond_127(tokens: torch.Tensor) -> None:
    codes, _ = quantize(tokens)
    assert codes.min() >= -127
    assert codes.max() <= 127


@given(tokens=images())
@settings(max_examples=200, deadline=None)
def test_scales_are_finite_and_reach_the_largest_value(tokens: torch.Tensor) -> None:
    _, scales = quantize(tokens)
    assert torch.isfinite(scales).all()
    reached = _steps(scales, tokens.shape[-2]) * 127 * (1 + 2**-20)  # the divisions' own rounding
    assert (reached + 2**-40 >= tokens.abs().double().numpy()).all()


@given(tokens=images(), data=st.data())
@settings(max_examples=100, deadline=None)
def test_zeros_stay_zero(tokens: torch.Tensor, data: st.DataObject) -> None:
    zeros = data.draw(hnp.arrays(bool, tuple(tokens.shape)))
    tokens[torch.from_numpy(zeros)] = 0
    assert not dequantize(*quantize(tokens))[torch.from_numpy(zeros)].any()


@given(tokens=images())
@settings(max_examples=100, deadline=None)
def test_an_image_has_the_same_codes_in_any_batch(tokens: torch.Tensor) -> None:
    codes, scales = quantize(tokens)
    for image in range(len(tokens)):
        alone = quantize(tokens[image])
        assert torch.equal(codes[image], alone[0])
        assert torch.equal(scales[image], alone[1])


def test_an_image_of_zeros_has_codes_of_zero() -> None:
    codes, scales = quantize(torch.zeros(2, 7, 70))
    assert not codes.any()
    assert not scales[:, :7].any()
    assert (scales[:, 7:] == 2**-14).all()


def test_the_largest_channel_has_a_finite_factor_and_the_next_has_not() -> None:
    assert quantize(torch.full((2, 1), LARGEST_FACTOR))[1][-1] == 65504
    assert quantize(torch.full((2, 1), 65520.0))[1][-1].isinf()


def test_an_outlier_channel_leaves_the_others_as_precise_as_they_were() -> None:
    tokens = torch.randn(5, 16, 192, generator=torch.Generator().manual_seed(0))
    before = (dequantize(*quantize(tokens)) - tokens).abs()
    tokens[..., 70] += 500.0
    after = (dequantize(*quantize(tokens)) - tokens).abs()
    others = torch.arange(192) != 70
    assert after[..., others].max() <= 1.01 * before[..., others].max()


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


def test_an_int8_block_holds_codes_their_scales_and_a_float16_prefix() -> None:
    specs = token_arrays(3, num_tokens=7, num_prefix=2, dim=130, dtype="int8", views=1, normed_mean=False)
    found = {spec.name: (spec.dtype, spec.record_shape) for spec in specs}
    assert found == {
        "block3/patches": ("int8", (7, 130)),
        "block3/patches_scale": ("float16", (7 + 130,)),
        "block3/prefix": ("float16", (2, 130)),
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
    tokens = torch.ones(3, 5, 65)  # every channel's factor is 1
    tokens[0, :, 0] = -1
    tokens[0, :, 2] = 0
    reader, _ = _written(store, int8_split, tokens)
    extent = reader.engine.extents(0)["block3/patches", 0]
    spec: ArraySpec = int8_split.array("block3/patches")
    record = extent.path.read_bytes()[extent.offset :][: spec.record_bytes]
    assert record == (b"\x81\x7f\x00" + b"\x7f" * 62) * 5
