"""What augmented views give a probe: accuracy by their number, against fresh ones in every epoch.

    python benchmarks/bench_views.py [--json FILE] [--chart FILE.svg] [--views 1,4,16] [--epochs INT]

Digits on the bundled backbone. For each augmentation, stores are extracted by `extract --views K --augment
NAME`, and LP and EP with 16 queries learn from them by recipe `fast`: with a view drawn for each image and
epoch (`--view-policy random`), and from all views of all images (`all`). Against them stands training on the
fly: in every epoch each image is cropped anew by the same augmentation, and the backbone computes its tokens
when the batch is due. All take the same number of steps under the same schedule, and all are measured on the
plain test images, of which there are few (one is 0.28 points).

A mirrored digit is another sign than its label says, and a crop of 8 % of one is none: `rrc_flip` is a hard
case here. `rrc_mild` keeps half of the image or more, and its sides.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from io import StringIO
from pathlib import Path
from typing import Annotated, Literal, get_args

import torch
from pydantic import Field, PositiveInt
from report import CONSOLE, ResultOptions, machine_facts, refuse_what_cannot_be_saved, save
from view_chart import ViewRow, draw_views
from view_training import PROBES, FreshViews, Training, open_training

from configs import Integers, optional, parse, run_command
from extract.command import extract
from extract.options import AugmentationName, ExtractOptions
from probe.options import ViewPolicy

PROGRAM = "bench_views.py"
BACKBONE, DATASET = "mae_digits", "digits"


class ViewsOptions(ResultOptions):
    """What augmented views give a probe, against fresh ones in every epoch.

    Example: python benchmarks/bench_views.py --json views.json --chart views.svg
    """

    views: Integers = Field(default=(1, 4, 16), description="numbers of stored views to compare")
    seed: Integers = Field(default=(0, 1, 2), description="of the probes")
    epochs: Annotated[PositiveInt | None, optional("INT")] = Field(
        default=None, description="instead of the recipe's"
    )


@dataclass(frozen=True)
class Measured:
    """Training sets of one augmentation, opened one after another."""

    options: ViewsOptions
    folder: Path

    def training(self, views: int, augment: AugmentationName | None) -> Training:
        """Extract `views` views."""
        store = self.folder / f"{augment}-{views}"
        asked = ExtractOptions(
            backbone=BACKBONE,
            dataset=DATASET,
            out=store,
            views=views,
            augment=augment,
            workers=1,
            limit=256 if self.options.quick else None,
        )
        with redirect_stdout(StringIO()):
            extract(asked)
        return open_training(store, self.options.seed, self.options.epochs)

    def rows(self) -> Iterator[ViewRow]:
        """Of every contender, as it is measured."""
        plain = self.training(1, None)
        yield self._stored(plain, None, "plain")
        for augment in get_args(AugmentationName):
            for views in self.options.views:
                if views > 1:
                    several = self.training(views, augment)
                    yield self._stored(several, augment, "random")
                    yield self._stored(several, augment, "all")
            fresh = FreshViews(plain, BACKBONE, DATASET, augment)
            yield _row(augment, "fresh", None, None, plain.top1(fresh.epoch))

    def _stored(self, training: Training, augment: AugmentationName | None, policy: ViewPolicy) -> ViewRow:
        manifest = training.data.train.manifest
        found = training.top1(training.stored(policy))
        return _row(augment, policy, manifest.views, manifest.record_bytes, found)


def _row(
    augment: AugmentationName | None,
    policy: ViewPolicy | Literal["fresh"],
    views: int | None,
    size: int | None,
    top1: dict[str, list[float]],
) -> ViewRow:
    means = {name: statistics.fmean(found) for name, found in top1.items()}
    deviations = {name: statistics.stdev(found) if len(found) > 1 else 0.0 for name, found in top1.items()}
    row = ViewRow(augment, policy, views, size, top1, means, deviations)
    shown = ", ".join(f"{name} {means[name]:.2f} ± {deviations[name]:.2f}" for name in PROBES)
    taken = f", {size:,} bytes an image" if size else ""
    CONSOLE.print(f"{row.label}: {shown}{taken}", highlight=False)
    return row


def bench(options: ViewsOptions) -> None:
    """Measure every contender, print a line for each, save and draw."""
    refuse_what_cannot_be_saved(options)
    if options.quick:
        options = options.model_copy(update={"views": (1, 2), "seed": (0,), "epochs": 1})
    facts = machine_facts() | {"threads": torch.get_num_threads()}
    with tempfile.TemporaryDirectory() as folder:
        rows = list(Measured(options, Path(folder)).rows())
    if options.json_ is not None:
        settings = {"recipe": "fast", "epochs": options.epochs, "seeds": options.seed}
        save(
            options.json_,
            script=PROGRAM,
            quick=options.quick,
            machine=facts,
            settings=settings,
            rows=[asdict(row) for row in rows],
        )
    if options.chart is not None:
        draw_views(rows, PROBES, options.chart)


if __name__ == "__main__":
    sys.exit(run_command(PROGRAM, lambda: bench(parse(ViewsOptions, prog=PROGRAM))))
