"""What probes read of a batch of stored tokens."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from cache import FinalNorm, TokenArray, TokenBatch
from configs import TokenState, UserError
from probe import TokenInputs, TokenSet


@pytest.fixture
def batch(final_norm: FinalNorm) -> TokenBatch:
    """Three images in bfloat16 with two prefix tokens and six patches."""
    torch.manual_seed(4)
    patches, prefix = torch.randn(3, 6, 12).bfloat16(), torch.randn(3, 2, 12).bfloat16()
    return TokenBatch(
        labels=torch.arange(3),
        index=torch.arange(3),
        patches=patches,
        prefix=prefix,
        mean=patches.float().mean(dim=1),
        mean_normed=final_norm(patches.float()).mean(dim=1),
    )


def layer_norm(tokens: torch.Tensor, norm: FinalNorm) -> torch.Tensor:
    """LayerNorm by its formula."""
    assert norm.weight is not None
    assert norm.bias is not None
    centred = tokens - tokens.mean(dim=-1, keepdim=True)
    scaled = centred / (centred.square().mean(dim=-1, keepdim=True) + norm.eps).sqrt()
    return scaled * norm.weight + norm.bias


@pytest.mark.parametrize(
    ("state", "token_set", "arrays"),
    [
        ("pre", "cls", {"prefix"}),
        ("pre", "mean", {"mean"}),
        ("post", "mean", {"mean_normed"}),
        ("post", "cls", {"prefix"}),
        ("pre", "patches", {"patches"}),
        ("post", "patches", {"patches"}),
        ("pre", "all", {"prefix", "patches"}),
    ],
)
def test_a_token_set_needs_only_its_own_arrays(
    final_norm: FinalNorm, state: TokenState, token_set: TokenSet, arrays: set[TokenArray]
) -> None:
    assert TokenInputs(state, final_norm, 0).arrays({token_set}) == arrays


def test_linear_probes_together_never_need_the_patches(final_norm: FinalNorm) -> None:
    assert TokenInputs("pre", final_norm, 0).arrays({"cls", "mean"}) == {"prefix", "mean"}


def test_several_token_sets_need_the_arrays_of_each(final_norm: FinalNorm) -> None:
    found = TokenInputs("pre", final_norm, 0).arrays({"all", "patches", "mean"})
    assert found == {"prefix", "patches", "mean"}


@pytest.mark.parametrize("token_set", ["cls", "all"])
def test_cls_is_refused_where_the_backbone_has_none(token_set: TokenSet) -> None:
    with pytest.raises(UserError, match=r"no \[CLS\] token: use lp_mean"):
        TokenInputs("pre", None, None).arrays({token_set})


def test_patches_and_mean_need_no_cls() -> None:
    assert TokenInputs("pre", None, None).arrays({"patches", "mean"}) == {"patches", "mean"}


def test_post_is_refused_where_the_backbone_has_no_final_norm() -> None:
    with pytest.raises(UserError, match="--tokens post: the backbone has no final norm; use --tokens pre"):
        TokenInputs("post", None, 0)


@pytest.mark.parametrize("cls", [0, 1])
def test_cls_is_the_prefix_token_at_its_place(batch: TokenBatch, cls: int) -> None:
    assert batch.prefix is not None
    found = TokenInputs("pre", None, cls).select([batch], {"cls"})["cls"]
    assert torch.equal(found, batch.prefix[:, cls].float())


def test_all_is_cls_and_the_patches_without_the_registers(batch: TokenBatch) -> None:
    assert batch.prefix is not None
    assert batch.patches is not None
    found = TokenInputs("pre", None, 1).select([batch], {"all"})["all"]
    assert found.shape == (3, 1 + 6, 12)
    assert torch.equal(found[:, 0], batch.prefix[:, 1].float())
    assert torch.equal(found[:, 1:], batch.patches.float())


def test_pre_leaves_the_stored_patches_as_they_are(batch: TokenBatch, final_norm: FinalNorm) -> None:
    assert batch.patches is not None
    found = TokenInputs("pre", final_norm, 0).select([batch], {"patches"})["patches"]
    assert torch.equal(found, batch.patches.float())


def test_post_is_the_layer_norm_of_the_stored_patches(batch: TokenBatch, final_norm: FinalNorm) -> None:
    assert batch.patches is not None
    found = TokenInputs("post", final_norm, 0).select([batch], {"patches"})["patches"]
    torch.testing.assert_close(found, layer_norm(batch.patches.float(), final_norm))


def test_post_is_the_layer_norm_of_the_stored_cls(batch: TokenBatch, final_norm: FinalNorm) -> None:
    assert batch.prefix is not None
    found = TokenInputs("post", final_norm, 0).select([batch], {"cls"})["cls"]
    torch.testing.assert_close(found, layer_norm(batch.prefix[:, 0].float(), final_norm))


def test_post_is_the_rms_norm_where_the_backbone_has_that(batch: TokenBatch) -> None:
    assert batch.patches is not None
    weight = torch.linspace(0.5, 2, 12)
    found = TokenInputs("post", FinalNorm("rms_norm", 1e-6, weight, None), 0).select([batch], {"patches"})
    torch.testing.assert_close(found["patches"], F.rms_norm(batch.patches.float(), (12,), weight, 1e-6))


def test_the_mean_before_the_norm_is_the_stored_mean(batch: TokenBatch, final_norm: FinalNorm) -> None:
    assert batch.mean is not None
    assert torch.equal(TokenInputs("pre", final_norm, 0).select([batch], {"mean"})["mean"], batch.mean)


def test_the_mean_after_the_norm_is_that_of_the_normed_tokens(
    batch: TokenBatch, final_norm: FinalNorm
) -> None:
    assert batch.patches is not None
    found = TokenInputs("post", final_norm, 0).select([batch], {"mean"})["mean"]
    torch.testing.assert_close(found, layer_norm(batch.patches.float(), final_norm).mean(dim=1))


@pytest.mark.parametrize("state", ["pre", "post"])
def test_every_token_set_is_float32(batch: TokenBatch, final_norm: FinalNorm, state: TokenState) -> None:
    found = TokenInputs(state, final_norm, 0).select([batch], {"cls", "mean", "patches", "all"})
    assert {name: tokens.dtype for name, tokens in found.items()} == dict.fromkeys(
        ("cls", "mean", "patches", "all"), torch.float32
    )


def test_only_the_token_sets_that_are_asked_for_come_back(batch: TokenBatch) -> None:
    assert set(TokenInputs("pre", None, 0).select([batch], {"cls", "patches"})) == {"cls", "patches"}


def _shifted(batch: TokenBatch) -> TokenBatch:
    """The same images' tokens of another block."""
    assert batch.patches is not None
    return dataclasses.replace(batch, patches=batch.patches + 1)


def test_blocks_are_combined_channel_beside_channel(batch: TokenBatch) -> None:
    assert batch.patches is not None
    found = TokenInputs("pre", None, 0, "concat").select([batch, _shifted(batch)], {"patches"})["patches"]
    assert found.shape == (3, 6, 24)
    assert torch.equal(found[..., :12], batch.patches.float())
    assert torch.equal(found[..., 12:], (batch.patches + 1).float())


def test_blocks_are_combined_by_their_mean(batch: TokenBatch) -> None:
    assert batch.patches is not None
    found = TokenInputs("pre", None, 0, "mean").select([batch, _shifted(batch)], {"patches"})["patches"]
    torch.testing.assert_close(found, (batch.patches.float() + (batch.patches + 1).float()) / 2)


def test_each_block_is_normed_before_they_are_combined(batch: TokenBatch, final_norm: FinalNorm) -> None:
    assert batch.patches is not None
    found = TokenInputs("post", final_norm, 0, "mean").select([batch, _shifted(batch)], {"patches"})
    each = [layer_norm(tokens.float(), final_norm) for tokens in (batch.patches, batch.patches + 1)]
    torch.testing.assert_close(found["patches"], torch.stack(each).mean(dim=0))
