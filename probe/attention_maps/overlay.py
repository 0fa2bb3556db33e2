"""A map of tokens, laid on the picture that they are of."""

from __future__ import annotations

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F

COLOURS = "turbo"
BRIGHTEST = 0.92
"""Of the colours' range: turbo's last ones are dark."""

OPACITY = 0.65
"""Of the map where it is highest; where it is zero, the picture is seen as it is, in grey."""

FULL_COLOUR = 4
"""Times the mean weight, at least: a uniform map is pale, and not in full colour everywhere."""


def overlay(picture: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """picture (H, W, 3) uint8 and weights (h, w) ≥ 0 → (H, W, 3) uint8.

    Full colour is the largest weight, or four times the mean where that is more. Between the middles of the
    tokens' cells the map is interpolated (bilinear).
    """
    height, width = picture.shape[:2]
    full = max(float(weights.max()), FULL_COLOUR * float(weights.mean()), 1e-30)
    scaled = torch.from_numpy(weights).float() / full
    shown = F.interpolate(scaled[None, None], (height, width), mode="bilinear")[0, 0].numpy()
    colours = matplotlib.colormaps[COLOURS](BRIGHTEST * shown)[..., :3]
    grey = picture.mean(axis=2, keepdims=True).repeat(3, axis=2) / 255
    opacity = OPACITY * shown[..., np.newaxis] ** 0.5
    mixed: np.ndarray = np.rint(255 * ((1 - opacity) * grey + opacity * colours)).astype(np.uint8)
    return mixed
