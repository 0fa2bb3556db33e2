"""SigLIP's attention pooling against its published formula, and timm's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from timm.layers import AttentionPoolLatent

from configs import UserError
from probe.poolings.siglip import SigLIPPooling

DIM, MAPS = 24, 8


@pytest.fixture
def published(naive_heads: Callable[..., Any]) -> Callable[..., Any]:
    """Keys and values of all tokens, head by head; output projection; residual MLP without a norm."""

    def form(tokens: torch.Tensor, w: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        q = F.linear(w["latent_K1D"], w["cross_attention.query.weight"], w["cross_attention.query.bias"])
        kv = F.linear(tokens, w["cross_attention.keys_values.weight"], w["cross_attention.keys_values.bias"])
        pooled, maps = naive_heads(q, *kv.chunk(2, -1), MAPS)
        attended = F.linear(pooled, w["cross_attention.output.weight"], w["cross_attention.output.bias"])
        hidden = F.gelu(F.linear(attended, w["mlp.inner.weight"], w["mlp.inner.bias"]))
        mlp = F.linear(hidden, w["mlp.outer.weight"], w["mlp.outer.bias"])
        return attended + mlp, maps

    return form


def test_pooling_first_is_the_published_form(
    published: Callable[..., Any], token_shape: Any, draw_tokens: Any, disturbed: Any, check_published: Any
) -> None:
    tokens = draw_tokens(token_shape.batch, token_shape.count, DIM)
    check_published(disturbed(SigLIPPooling(DIM)), tokens, published)


def test_attention_rows_sum_to_one(
    token_shape: Any, draw_tokens: Any, disturbed: Any, check_attention_rows: Any
) -> None:
    tokens = draw_tokens(token_shape.batch, token_shape.count, DIM)
    check_attention_rows(disturbed(SigLIPPooling(DIM)), tokens, MAPS)


def test_stacked_trials_are_those_of_each_alone(draw_tokens: Any, disturbed: Any, check_trials: Any) -> None:
    check_trials([disturbed(SigLIPPooling(DIM), seed) for seed in range(3)], draw_tokens(2, 7, DIM))


@pytest.mark.parametrize(("dim", "published"), [(384, 2_158_312), (768, 7_854_568), (1024, 13_618_152)])
def test_it_has_the_published_parameters(dim: int, published: int, count_with_head: Any) -> None:
    assert count_with_head(lambda: SigLIPPooling(dim)) == published


def test_it_computes_what_timm_computes(draw_tokens: Any, disturbed: Any) -> None:
    pooling, tokens = disturbed(SigLIPPooling(DIM)), draw_tokens(2, 7, DIM)
    ours = {name: tensor[0] for name, tensor in pooling.state_dict().items()}
    theirs = AttentionPoolLatent(DIM, num_heads=8, mlp_ratio=4.0).double()
    renamed = {
        "latent": ours.pop("latent_K1D").unsqueeze(0),
        **{_timm_name(name): tensor for name, tensor in ours.items()},
    }
    theirs.load_state_dict(renamed)
    torch.testing.assert_close(pooling(tokens)[0], theirs(tokens), rtol=1e-9, atol=1e-10)


def _timm_name(name: str) -> str:
    names = {
        "cross_attention.query": "q",
        "cross_attention.keys_values": "kv",
        "cross_attention.output": "proj",
        "mlp.inner": "mlp.fc1",
        "mlp.outer": "mlp.fc2",
    }
    layer, kind = name.rsplit(".", 1)
    return f"{names[layer]}.{kind}"


def test_the_latent_starts_as_normal_noise_of_one_by_root_width_cut_at_two_deviations() -> None:
    torch.manual_seed(0)
    latent = SigLIPPooling(1024).latent_K1D.detach()
    assert latent.std().item() == pytest.approx(0.88 / 32, rel=0.1)  # 0.88: of a normal cut at ±2
    assert latent.abs().max().item() <= 2 / 32


def test_heads_that_do_not_divide_the_width_are_refused_with_numbers_that_do() -> None:
    with pytest.raises(UserError, match="8 heads do not divide the token width 100: use 4, 5, 10 heads"):
        SigLIPPooling(100, 8)
