"""Where an image's own class stands among the classes that were scored."""

from __future__ import annotations

import torch


def label_place(scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Classes that stand before each image's own: scores (…, B, C) and labels (B,) → (…, B) int64.

    Those with a higher score, and of an equal score those with a lower number: 0 is a top-1 hit, below 5 a
    top-5 hit, whatever the device. A score that is no number comes after all classes.
    """
    own = scores.gather(-1, labels.expand(scores.shape[:-1]).unsqueeze(-1))
    lower = torch.arange(scores.shape[-1], device=scores.device) < labels.unsqueeze(-1)
    place = torch.where(lower, scores >= own, scores > own).sum(-1)
    return place.masked_fill(own.squeeze(-1).isnan(), scores.shape[-1])


def first_classes(scores: torch.Tensor, count: int) -> torch.Tensor:
    """The classes that stand first in that order: scores (…, B, C) → (…, B, `count`) int64.

    −1 where the score is no number.
    """
    lowest = scores.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
    order = lowest.argsort(dim=-1, descending=True, stable=True)[..., :count]
    return order.masked_fill(scores.gather(-1, order).isnan(), -1)
