"""How a split's batches are computed: as its store records it, or else as the options say."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass, replace

import torch

from cache import Computation, stored_split
from configs import UserError
from extract.backbone import Backbone
from extract.batch_size import LARGEST, fastest_batch_size, seconds_on
from extract.encoding import encode_batch
from extract.split_plan import SplitPlan


@dataclass(frozen=True)
class SettledPlan:
    """A plan whose manifest says how batches are computed, unless its store is older than such records."""

    plan: SplitPlan
    computation: Computation


def settle(plan: SplitPlan, backbone: Backbone, device: torch.device) -> SettledPlan:
    """Decide how the batches of `plan` are computed, and have `backbone`, on `device`, do so.

    `--batch-size auto` takes the size that the split has, or else tries some. Other differences from the
    split are refused where it is opened.
    """
    options = plan.options
    if options.compile:
        require_compiler(device)
    stored = stored_split(plan.manifest.folder(plan.store))
    recorded = stored.computation if stored else None
    size = options.batch_size
    if size == "auto":
        size = recorded.batch_size if recorded else found_batch_size(plan, backbone, device)
    computation = Computation(batch_size=size, channels_last=options.channels_last, compiled=options.compile)
    backbone.compute_as(computation)
    is_older = stored is not None and recorded is None
    manifest = plan.manifest.model_copy(update={"computation": None if is_older else computation})
    return SettledPlan(replace(plan, manifest=manifest), computation)


def found_batch_size(plan: SplitPlan, backbone: Backbone, device: torch.device) -> int:
    """The batch size at which `backbone`, not compiled, is fastest on `device`."""
    manifest, options = plan.manifest, plan.options
    backbone.compute_as(Computation(batch_size=1, channels_last=options.channels_last))
    seconds = seconds_on(
        device,
        lambda batch: encode_batch(batch, backbone, manifest, device),
        tuple(backbone.transform["input_size"]),
    )
    found = fastest_batch_size(seconds, min(LARGEST, manifest.shard_size))
    if not options.quiet:
        print(f"{manifest.dataset.name}/{manifest.dataset.split}: batches of {found} images", file=sys.stderr)
    return found


def require_compiler(device: torch.device) -> None:
    """Raise `UserError` where `torch.compile` would not find what it needs."""
    if device.type == "cpu":
        names = [os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")]
    else:
        names = [os.environ["CC"]] if "CC" in os.environ else ["gcc", "clang", "cc"]
    if not any(map(shutil.which, names)):
        raise UserError(
            f"--compile needs a compiler ({' or '.join(names)}), and there is none: install it, or leave "
            "--compile out"
        )
