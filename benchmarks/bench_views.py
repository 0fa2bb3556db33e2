"""What augmented views give a probe: accuracy on digits with 1, 4, 16 stored views of each training image.

    python benchmarks/bench_views.py FOLDER [--json FILE] [--views 1,4,16] [--epochs INT]

Each store is extracted by `extract --views K --augment rrc_flip` from the bundled backbone, and LP and EP
with 16 queries (recipe `fast`) learn from it, with a view drawn for each image and epoch. All read the plain
view of the test images. The digits' test part is small (one image is 0.28 points), and a mirrored digit is
another sign than its label says: this data set is a hard case for the augmentation.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro
from pydantic import Field, PositiveInt

from cache import Store
from configs import FrozenModel, Integers, optional, parse, run_command
from extract.command import extract
from extract.options import ExtractOptions
from probe.fit import run_fit
from probe.options import FitOptions

PROBES = ("lp", "ep16")


class ViewsOptions(FrozenModel):
    """What augmented views give a probe."""

    folder: Annotated[Path, tyro.conf.Positional] = Field(description="for stores and runs")
    views: Integers = Field(default=(1, 4, 16), description="numbers of views to compare")
    seed: Integers = Field(default=(0, 1, 2), description="of the probes")
    epochs: Annotated[PositiveInt | None, optional("INT")] = Field(
        default=None, description="instead of the recipe's"
    )
    json_: Annotated[Path | None, tyro.conf.arg(name="json"), optional("FILE")] = Field(
        default=None, description="save the figures; not by default"
    )


def measure(options: ViewsOptions, views: int) -> dict[str, Any]:
    """Extract `views` views and train: what one image takes in the store, and each probe's accuracy."""
    store = options.folder / f"views{views}"
    augment: Literal["rrc_flip"] | None = "rrc_flip" if views > 1 else None
    extract(
        ExtractOptions(
            backbone="mae_digits", dataset="digits", out=store, views=views, augment=augment, workers=1
        )
    )
    answers = run_fit(
        FitOptions(
            cache=store,
            probe=PROBES,
            recipe="fast",
            seed=options.seed,
            epochs=options.epochs,
            runs=options.folder / "runs",
            name=f"views{views}",
        )
    )
    return {
        "views": views,
        "bytes_per_image": Store(store).split("digits", "train").manifest.record_bytes,
        "top1": {
            answer.probe: {"mean": answer.top1, "deviation": answer.top1_deviation} for answer in answers
        },
    }


def bench(options: ViewsOptions) -> None:
    """Measure each number of views, print a line for each, and write the JSON that is asked for."""
    found = [measure(options, views) for views in options.views]
    for row in found:
        shown = [
            f"{name} {top1['mean']:.2f} ± {top1['deviation'] or 0:.2f}" for name, top1 in row["top1"].items()
        ]
        print(f"{row['views']:3} views: {', '.join(shown)}, {row['bytes_per_image']:,} bytes an image")
    if options.json_ is not None:
        facts = {"machine": platform.machine(), "cores": os.cpu_count(), "torch": torch.__version__}
        settings = {"recipe": "fast", "epochs": options.epochs, "seeds": options.seed, "policy": "random"}
        options.json_.write_text(json.dumps({**facts, **settings, "results": found}, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(run_command("bench_views", lambda: bench(parse(ViewsOptions, prog="bench_views"))))
