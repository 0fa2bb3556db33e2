"""Which path takes stored tokens: the fused kernels, or matrix products."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch

from cache import FinalNorm, NormKind, ResidentBatch, TokenArray, TokenBatch
from configs import TokenState
from probe import TokenInputs, build_probe
from probe.fused import StoredTokens, check, choice, fused_attention_fits
from probe.stacked import attend

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
VIT_L = (1024, 196, 1024)

AsStored = Callable[..., StoredTokens]


@pytest.fixture
def _hopper(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As if any device had what a Hopper GPU has."""
    monkeypatch.setattr(choice, "_suitable", lambda device: True)
    check.computes.cache_clear()
    yield
    check.computes.cache_clear()


def drawn(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_a_cpu_has_the_plain_path_alone() -> None:
    assert fused_attention_fits(CPU, torch.float16, VIT_L, 32, 1) is None


@pytest.mark.usefixtures("_hopper")
@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize(
    ("dim", "most_blocks"), [(192, 1), (384, 1), (768, 2), (1024, 2), (1280, 4), (1536, 4), (2048, 4)]
)
def test_ep32_of_a_vision_transformer_is_fused(dim: int, most_blocks: int, parts: int) -> None:
    blocks = fused_attention_fits(CUDA, torch.float16, (1024, 196, dim), 32, parts)
    assert blocks is not None
    assert blocks.channels * blocks.chunks == dim
    assert -(-32 // blocks.queries) <= most_blocks


@pytest.mark.usefixtures("_hopper")
@pytest.mark.parametrize(
    ("dtype", "shape", "queries", "parts"),
    [
        (torch.float32, VIT_L, 32, 1),
        (torch.float16, VIT_L, 16 * 32, 1),
        (torch.float16, (8, 196, 8192), 8, 1),
        (torch.float16, (8, 196, 4096), 64, 1),
        (torch.int8, (8, 196, 4096), 8, 1),
        (torch.float16, (8, 196, 1001), 32, 1),
        (torch.float16, (0, 196, 1024), 32, 1),
    ],
    ids=[
        "float32",
        "many queries",
        "too wide",
        "many queries of wide",
        "wide int8",
        "odd width",
        "no images",
    ],
)
def test_what_does_not_fit_takes_the_plain_path(
    dtype: torch.dtype, shape: tuple[int, ...], queries: int, parts: int
) -> None:
    assert fused_attention_fits(CUDA, dtype, shape, queries, parts) is None


@pytest.mark.usefixtures("_hopper")
@pytest.mark.parametrize("dtype", [torch.float16, torch.int8, torch.bfloat16], ids=str)
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", [None, "layer_norm", "rms_norm"])
def test_attention_to_stored_tokens_is_that_to_decoded_ones(
    dtype: torch.dtype, precision: torch.dtype, kind: NormKind | None, as_stored: AsStored
) -> None:
    held = as_stored(drawn(3, 20, 64, seed=0), dtype, precision)
    weight, bias = drawn(2, 64, seed=3).to(held.values.device)
    norm = None if kind is None else FinalNorm(kind, 1e-6, weight, bias if kind == "layer_norm" else None)
    tokens = replace(held, norm=norm)
    found = []
    for given in (tokens, replace(tokens, precision=torch.float32).decoded):
        queries = (drawn(2, 5, 64, seed=1) / 8).to(given_device(given)).requires_grad_()
        pooled = attend(given, queries)
        (gradient,) = torch.autograd.grad(pooled.square().sum(), queries)
        found.append((pooled.detach(), gradient))
    assert "decoded" not in vars(tokens)
    tolerance = 1e-5 if precision == torch.float32 else 3e-2
    for ours, plain in zip(*found, strict=True):
        assert ours.shape == plain.shape
        assert (ours - plain).norm() < tolerance * plain.norm()


def given_device(tokens: StoredTokens | torch.Tensor) -> torch.device:
    return tokens.device if isinstance(tokens, torch.Tensor) else tokens.values.device


@pytest.mark.usefixtures("_hopper")
@pytest.mark.parametrize("name", ["ep4", "mhca4", "capi", "coca4"])
def test_probes_of_learned_queries_never_decode(name: str, as_stored: AsStored) -> None:
    torch.manual_seed(0)
    tokens = as_stored(drawn(4, 9, 64, seed=0), torch.float16)
    probe = build_probe(name, 64, 5, grid=(3, 3)).to(tokens.values.device).eval()
    found = probe(tokens)
    assert "decoded" not in vars(tokens)
    torch.testing.assert_close(found, probe(tokens.decoded), rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("_hopper")
@pytest.mark.parametrize("name", ["simpool", "siglip8", "vit4"])
def test_probes_that_norm_the_tokens_decode_them(name: str, as_stored: AsStored) -> None:
    tokens = as_stored(drawn(4, 9, 64, seed=0), torch.float16)
    probe = build_probe(name, 64, 5, grid=(3, 3)).to(tokens.values.device).eval()
    assert torch.equal(probe(tokens), probe(tokens.decoded))


@pytest.mark.usefixtures("_hopper")
@pytest.mark.parametrize("fault", ["raises", "wrong"])
def test_kernels_that_fail_or_compute_wrongly_are_not_used_and_said_so_once(
    fault: str, as_stored: AsStored, monkeypatch: pytest.MonkeyPatch
) -> None:
    def faulty(tokens: StoredTokens, queries: torch.Tensor, *rest: object) -> torch.Tensor:
        if fault == "raises":
            raise RuntimeError("out of resource: shared memory")
        return torch.zeros(len(tokens), *queries.shape).to(queries) * queries

    monkeypatch.setattr("probe.fused.pooling.fused_pool", faulty)
    tokens = as_stored(drawn(3, 20, 64, seed=0), torch.float16)
    queries = (drawn(1, 5, 64, seed=1) / 8).to(tokens.values.device)
    with pytest.warns(UserWarning, match="shared memory" if fault == "raises" else "relative error is 1"):
        found = attend(tokens, queries)
    assert torch.equal(found, attend(tokens.decoded, queries))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        attend(tokens, queries)


def test_on_a_cpu_batches_are_decoded_whatever_the_kernel() -> None:
    batch = TokenBatch(torch.zeros(2), torch.zeros(2), patches=drawn(2, 6, 8, seed=0).half())
    assert TokenInputs("pre", None, None, kernel="auto").stored([batch], "patches") is None


@pytest.mark.parametrize(
    ("changed", "stored"),
    [
        ({}, True),
        ({"kernel": "plain"}, False),
        ({"token_set": "all"}, False),
        ({"blocks": 2}, False),
        ({"dtype": torch.float32}, False),
    ],
    ids=str,
)
def test_patches_of_one_block_on_a_device_are_taken_as_stored(
    changed: dict[str, object], stored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("probe.token_inputs.DEVICES", ("meta",))
    dtype = changed.get("dtype", torch.float16)
    labels = torch.empty(2, device="meta")
    batch = TokenBatch(labels, labels, patches=torch.empty(2, 6, 8, dtype=dtype, device="meta"))
    inputs = TokenInputs("pre", None, 0, kernel=changed.get("kernel", "auto"))
    found = inputs.stored([batch] * changed.get("blocks", 1), changed.get("token_set", "patches"))
    assert (found is not None) == stored


@pytest.mark.parametrize("state", ["pre", "post"])
def test_patches_of_a_split_on_the_device_are_taken_from_where_they_are(
    state: TokenState, monkeypatch: pytest.MonkeyPatch
) -> None:
    norm = FinalNorm("layer_norm", 1e-6, None, None)
    monkeypatch.setattr("probe.token_inputs.DEVICES", ("cpu",))
    held: dict[TokenArray, torch.Tensor] = {
        "patches": torch.zeros(7, 6, 8, dtype=torch.int8),
        "patches_scale": torch.ones(7, 14).half(),
    }
    items = torch.tensor([5, 2])
    batch = ResidentBatch(torch.zeros(2), torch.zeros(2), held, items, {})
    found = TokenInputs(state, norm, None, kernel="auto").stored([batch], "patches")
    assert found is not None
    assert found.norm is (norm if state == "post" else None)
    assert found.kept is batch.kept
    assert found.values is held["patches"]
    assert found.scales is held["patches_scale"]
    assert found.items is items
    assert "patches" not in vars(batch)
