from __future__ import annotations

import pytest
import torch

from cache import chosen_device, launch
from configs import UserError


def test_named_device_is_taken() -> None:
    assert chosen_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["abacus", "cuda:4096"])
def test_device_that_cannot_be_used_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(UserError, match=f"--device {name}: ") as raised:
        chosen_device(name)
    assert "\n" not in str(raised.value)


def test_process_of_its_own_is_the_first_of_one() -> None:
    assert (launch().process_index, launch().num_processes) == (0, 1)
