"""Which views of its training images a run reads."""

from __future__ import annotations

from configs import UserError
from probe.data import ProbeData
from probe.options import FitOptions, ViewPolicy


def view_policy(options: FitOptions, data: ProbeData) -> ViewPolicy:
    """What `--view-policy` says; without it, random where there are several views.

    Raises `UserError` where there is one view, and several are asked for.
    """
    views = data.train.manifest.views
    chosen = options.view_policy
    if views == 1 and chosen not in (None, "plain"):
        raise UserError(
            f"--view-policy {chosen}: {data.train.name} holds one view of its images: extract it with --views"
        )
    return chosen or ("plain" if views == 1 else "random")
