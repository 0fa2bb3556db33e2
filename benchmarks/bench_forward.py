"""The forward pass with `--channels-last` and `--compile`: which backbones gain on this machine's CPU.

    python benchmarks/bench_forward.py [--json FILE] [--quick]

Batches of 16 random images at 224, random weights (speed does not depend on them), normalisation included, as
`extract` computes them. Compiling is not timed; it takes up to a minute.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as `extract` does, before torch is loaded

import sys
from functools import partial

import torch
from measure import Contender, Role, Section, compare, take_turns
from pydantic import Field, PositiveInt
from report import CONSOLE, ResultOptions, keep, machine_facts, print_section, refuse_what_cannot_be_saved

from cache import Computation
from configs import parse, run_command
from extract.backbone import Amp, Backbone
from extract.computation import require_compiler
from extract.open_backbone import open_backbone

PROGRAM = "bench_forward.py"
MODELS: tuple[tuple[str, Amp], ...] = (
    ("timm:resnet50", "none"),
    ("timm:convnext_tiny", "none"),
    ("timm:vit_small_patch16_224", "none"),
    ("timm:vit_small_patch16_224", "bfloat16"),
)
QUICK_MODELS: tuple[tuple[str, Amp], ...] = (("timm:test_resnet", "none"),)
BATCH = 16
PLAIN = "plain"
WAYS = {
    PLAIN: Computation(batch_size=BATCH),
    "--channels-last": Computation(batch_size=BATCH, channels_last=True),
    "--compile": Computation(batch_size=BATCH, compiled=True),
    "--compile --channels-last": Computation(batch_size=BATCH, channels_last=True, compiled=True),
}


class ForwardOptions(ResultOptions):
    """Measure the forward pass, plain, compiled and with channels last."""

    rounds: PositiveInt = Field(default=4, description="turns of each contender, a batch each")


def measured(model: str, amp: Amp, rounds: int) -> Section:
    """Each way in turn, with a backbone of its own; those that are compiled are compiled before."""
    title = f"{model}, {'float32' if amp == 'none' else amp}"
    contenders = []
    for label, computation in WAYS.items():
        backbone = open_backbone(model, weights="none", amp=amp)
        backbone.compute_as(computation)
        images = torch.randint(0, 256, (BATCH, *backbone.transform["input_size"]), dtype=torch.uint8)
        run = partial(_forward, backbone, images)
        run()
        role: Role = "ceiling" if label == PLAIN else "other"
        contenders.append(Contender(label, run, images[0].numel(), role))
    section = compare(title, title, contenders, take_turns(contenders, rounds, title))
    torch.compiler.reset()
    return section


def _forward(backbone: Backbone, images: torch.Tensor) -> int:
    backbone(images, [len(backbone.blocks) - 1])
    return len(images)


def run(options: ForwardOptions) -> None:
    """Measure, print, save."""
    refuse_what_cannot_be_saved(options)
    require_compiler(torch.device("cpu"))
    facts = machine_facts()
    CONSOLE.print(f"{facts['cpu']}, {facts['cores']} cores; batches of {BATCH}")
    sections = []
    for model, amp in QUICK_MODELS if options.quick else MODELS:
        sections.append(measured(model, amp, 1 if options.quick else options.rounds))
        print_section(sections[-1])
    keep(options, sections, script=PROGRAM, machine=facts)


if __name__ == "__main__":
    sys.exit(run_command(PROGRAM, lambda: run(parse(ForwardOptions, prog=PROGRAM))))
