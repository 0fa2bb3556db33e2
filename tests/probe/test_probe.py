"""The head that every probe shares."""

from __future__ import annotations

import pytest
import torch

from configs import UserError
from probe import Probe, build_probe
from probe.stacked import stack

NAMES = ["lp", "lp_mean", "ep4", "ep4_d2", "ep4+cls"]


def tokens_for(probe: Probe, batch: int) -> torch.Tensor:
    """Random tokens of width 16 in the shape that `probe` takes."""
    torch.manual_seed(3)
    return torch.randn(batch, 16) if probe.pooling is None else torch.randn(batch, 5, 16)


@pytest.mark.parametrize("name", NAMES)
def test_batch_norm_has_no_parameters_and_the_published_eps(name: str) -> None:
    norm = build_probe(name, 16, 3).batch_norm
    assert not list(norm.parameters())
    assert norm.eps == 1e-6


@pytest.mark.parametrize("name", NAMES)
def test_batch_norm_sits_between_the_pooling_and_the_classifier(name: str) -> None:
    probe = build_probe(name, 16, 3).double()
    tokens = tokens_for(probe, 8).double()
    pooled = tokens if probe.pooling is None else probe.pooling(tokens)[0]
    centred = pooled - pooled.mean(dim=0)
    normed = centred / (centred.square().mean(dim=0) + 1e-6).sqrt()
    assert probe.classifier.bias is not None
    expected = normed @ probe.classifier.weight[0].T + probe.classifier.bias[0]
    torch.testing.assert_close(probe.train()(tokens)[0], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_evaluation_uses_the_running_statistics(name: str) -> None:
    probe = build_probe(name, 16, 3)
    tokens = tokens_for(probe, 8)
    probe.train()(tokens)
    together = probe.eval()(tokens)
    alone = torch.cat([probe(tokens[i : i + 1]) for i in range(8)], dim=1)
    torch.testing.assert_close(together, alone)


@pytest.mark.parametrize("name", NAMES)
def test_logits_have_one_column_for_each_class(name: str) -> None:
    probe = build_probe(name, 16, 7)
    assert probe(tokens_for(probe, 2)).shape == (1, 2, 7)


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_counted_for_one_trial(name: str) -> None:
    alone = build_probe(name, 16, 7)
    assert alone.num_parameters == sum(parameter.numel() for parameter in alone.parameters())
    assert stack([build_probe(name, 16, 7) for _ in range(3)]).num_parameters == alone.num_parameters


def test_the_classifier_is_as_wide_as_the_divided_output() -> None:
    assert build_probe("ep4_d2", 16, 3).classifier.weight.shape == (1, 3, 8)


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_is_trained(name: str) -> None:
    probe = build_probe(name, 16, 3)
    probe.train()(tokens_for(probe, 8)).square().sum().backward()
    assert all(
        parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in probe.parameters()
    )


def test_queries_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(UserError, match="do not divide the token width 16"):
        build_probe("ep5", 16, 3)
