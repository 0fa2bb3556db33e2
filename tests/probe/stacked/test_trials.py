"""Joining trials into one module, and taking them out again."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from probe.stacked import BatchNorm, Linear, num_trials, select, stack, trial_state


class Head(nn.Module):
    """Parameters and buffers, at the top and inside."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.randn(1, 4))
        self.norm = BatchNorm(4, 1e-5)
        self.linear = Linear(4, 3, bias=False)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.linear(self.norm(values * self.scale.unsqueeze(1)))
        return found


@pytest.fixture
def heads() -> list[Head]:
    """Three of one architecture, with values and running statistics of their own."""
    made = []
    for seed in range(3):
        torch.manual_seed(seed)
        head = Head()
        head(torch.randn(1, 8, 4))
        made.append(head)
    return made


def test_a_stack_counts_its_trials(heads: list[Head]) -> None:
    assert num_trials(stack(heads)) == 3


def test_a_stack_computes_what_each_trial_computes(heads: list[Head]) -> None:
    values = torch.randn(3, 5, 4)
    wanted = [head.eval()(values[k : k + 1])[0] for k, head in enumerate(heads)]
    torch.testing.assert_close(stack(heads).eval()(values), torch.stack(wanted))


def test_a_trials_state_is_what_it_brought_into_the_stack(heads: list[Head]) -> None:
    together = stack(heads)
    for trial, head in enumerate(heads):
        found = trial_state(together, trial)
        assert set(found) == set(head.state_dict()) == {
            "scale", "norm.running_mean", "norm.running_var", "linear.weight",
        }  # fmt: skip
        assert all(torch.equal(found[name], value[0]) for name, value in head.state_dict().items())


def test_selected_trials_keep_their_values_in_the_order_asked_for(heads: list[Head]) -> None:
    chosen = select(stack(heads), [2, 0])
    assert num_trials(chosen) == 2
    for place, trial in enumerate((2, 0)):
        wanted = heads[trial].state_dict()
        assert all(torch.equal(value, wanted[name][0]) for name, value in trial_state(chosen, place).items())


def test_a_stack_shares_no_memory_with_what_it_was_made_of(heads: list[Head]) -> None:
    before = [trial_state(head, 0)["scale"].clone() for head in heads]
    together = stack(heads)
    chosen = select(together, [1])
    with torch.no_grad():
        together.scale.zero_()
        chosen.norm.running_mean.fill_(7)
    assert all(torch.equal(head.scale[0], value) for head, value in zip(heads, before, strict=True))
    assert not (together.norm.running_mean == 7).any()


def test_parameters_of_a_stack_are_trained_and_buffers_are_not(heads: list[Head]) -> None:
    together = select(stack(heads), [0, 1])
    assert {name for name, _ in together.named_parameters()} == {"scale", "linear.weight"}
    assert all(parameter.requires_grad and parameter.is_leaf for parameter in together.parameters())
