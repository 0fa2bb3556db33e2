"""CBAM against its published form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from configs import UserError
from probe.poolings.cbam import CBAMPooling

DIM = 24


def published_on(grid: tuple[int, int], *, training: bool = True) -> Callable[..., Any]:
    """The gates one after the other on the whole map of channels, residual, ReLU, average."""

    def form(tokens: torch.Tensor, w: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        image = tokens.mT.unflatten(-1, grid)

        def excited(pooled: torch.Tensor) -> torch.Tensor:
            return F.linear(F.relu(F.linear(pooled, w["squeeze.weight"])), w["excite.weight"])

        gate = torch.sigmoid(excited(image.mean(dim=(2, 3))) + excited(image.amax(dim=(2, 3))))
        gated = image * gate[:, :, None, None]
        planes = torch.cat([gated.mean(dim=1, keepdim=True), gated.amax(dim=1, keepdim=True)], dim=1)
        norm = [w[f"batch_norm.{name}"].clone() for name in ("running_mean", "running_var", "weight", "bias")]
        scores = F.batch_norm(F.conv2d(planes, w["kernel"], padding=3), *norm, training=training)
        place_gate = torch.sigmoid(scores)
        found = F.relu(gated * place_gate + image).mean(dim=(2, 3))
        return found, place_gate.flatten(2)

    return form


@pytest.mark.parametrize(
    ("batch", "grid"), [(3, (14, 14)), (2, (16, 16)), (1, (14, 14)), (4, (2, 3)), (2, (1, 1))]
)
def test_pooling_first_is_the_published_form(
    batch: int, grid: tuple[int, int], draw_tokens: Any, disturbed: Any, check_published: Any
) -> None:
    tokens = draw_tokens(batch, grid[0] * grid[1], DIM)
    check_published(disturbed(CBAMPooling(DIM, grid, cls=False)), tokens, published_on(grid))


def test_one_image_is_evaluated_by_the_running_statistics(
    draw_tokens: Any, disturbed: Any, check_published: Any
) -> None:
    pooling = disturbed(CBAMPooling(DIM, (5, 2), cls=False))
    for batch in (3, 4):
        pooling(draw_tokens(batch, 10, DIM))
    check_published(pooling.eval(), draw_tokens(1, 10, DIM), published_on((5, 2), training=False))


def test_gates_lie_between_zero_and_one(draw_tokens: Any, disturbed: Any) -> None:
    maps = disturbed(CBAMPooling(DIM, (2, 3), cls=False)).attention(draw_tokens(2, 6, DIM))
    assert maps.shape == (1, 2, 1, 6)
    assert bool(((maps > 0) & (maps < 1)).all())


def test_stacked_trials_are_those_of_each_alone(draw_tokens: Any, disturbed: Any, check_trials: Any) -> None:
    alone = [disturbed(CBAMPooling(DIM, (2, 3), cls=False), seed) for seed in range(3)]
    check_trials(alone, draw_tokens(2, 6, DIM))


@pytest.mark.parametrize(("dim", "published"), [(384, 403_532), (768, 842_828), (1024, 1_156_172)])
def test_it_has_the_published_parameters(dim: int, published: int, count_with_head: Any) -> None:
    assert count_with_head(lambda: CBAMPooling(dim, (14, 14), cls=False)) == published


@pytest.mark.parametrize(("dim", "reduced"), [(4, 1), (24, 2), (40, 3), (768, 48)])
def test_the_reduced_width_is_rounded_as_published(dim: int, reduced: int) -> None:
    assert CBAMPooling(dim, (2, 3), cls=False).squeeze.weight.shape == (1, reduced, dim)


def test_layers_start_as_pytorchs_do() -> None:
    torch.manual_seed(0)
    pooling = CBAMPooling(768, (14, 14), cls=False)
    for weight, inputs in ((pooling.squeeze.weight, 768), (pooling.excite.weight, 48), (pooling.kernel, 98)):
        assert weight.abs().max().item() == pytest.approx(inputs**-0.5, rel=0.05)
        assert weight.std().item() == pytest.approx((3 * inputs) ** -0.5, rel=0.15)


def test_cls_is_refused() -> None:
    with pytest.raises(UserError, match=r"where \[CLS\] has no place: leave \+cls out"):
        CBAMPooling(DIM, (14, 14), cls=True)


@pytest.mark.parametrize(("grid", "shown"), [((8, 14, 14), "8×14×14"), ((49,), "49")])
def test_a_grid_that_is_not_rows_and_columns_is_refused(grid: tuple[int, ...], shown: str) -> None:
    with pytest.raises(UserError, match=f"the token grid is {shown}"):
        CBAMPooling(DIM, grid, cls=False)
