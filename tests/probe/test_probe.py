"""The head that every probe shares."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from configs import UserError
from probe import Probe, build_probe

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
    pooled = tokens if probe.pooling is None else probe.pooling(tokens)
    centred = pooled - pooled.mean(dim=0)
    normed = centred / (centred.square().mean(dim=0) + 1e-6).sqrt()
    expected = normed @ probe.classifier.weight.T + probe.classifier.bias
    torch.testing.assert_close(probe.train()(tokens), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_evaluation_uses_the_running_statistics(name: str) -> None:
    probe = build_probe(name, 16, 3)
    tokens = tokens_for(probe, 8)
    probe.train()(tokens)
    together = probe.eval()(tokens)
    alone = torch.cat([probe(tokens[i : i + 1]) for i in range(8)])
    torch.testing.assert_close(together, alone)


@pytest.mark.parametrize("name", NAMES)
def test_logits_have_one_column_for_each_class(name: str) -> None:
    probe = build_probe(name, 16, 7)
    assert probe(tokens_for(probe, 2)).shape == (2, 7)


def test_the_classifier_is_as_wide_as_the_divided_output() -> None:
    probe = build_probe("ep4_d2", 16, 3)
    assert isinstance(probe.classifier, nn.Linear)
    assert probe.classifier.in_features == 8


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
