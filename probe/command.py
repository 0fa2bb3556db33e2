"""The command `probe`."""

from __future__ import annotations

import sys

from configs import Verb, run_command, run_verb
from configs.command_line.completion import Commands, CompletionOptions, completion_script
from probe.attention_maps import AttentionOptions, show_attention
from probe.deployment.options import ExportOptions, ParityOptions, PredictOptions
from probe.deployment.verbs import export, parity, predict
from probe.fit import run_fit
from probe.grid import with_sweep
from probe.listing import DescribeOptions, ListOptions, describe_probe, list_probes
from probe.options import FitOptions
from probe.reporting.command import ReportOptions, report_runs


def complete(options: CompletionOptions) -> None:
    """`probe completion`: of this command and those that it stands on, which are slow to import."""
    from cache.command import verbs as cache_verbs
    from extract.options import ExtractOptions

    commands: Commands = {
        "probe": {"": FitOptions, **{name: verb.options for name, verb in VERBS.items()}},
        "cache": {name: verb.options for name, verb in cache_verbs().items()},
        "extract": {"": ExtractOptions},
    }
    print(completion_script(options.shell, commands), end="")


VERBS = {
    "fit": Verb(FitOptions, lambda options: run_fit(with_sweep(options))),
    "list": Verb(ListOptions, list_probes),
    "describe": Verb(DescribeOptions, describe_probe),
    "report": Verb(ReportOptions, report_runs),
    "completion": Verb(CompletionOptions, complete),
    "attention": Verb(AttentionOptions, show_attention),
    "predict": Verb(PredictOptions, predict),
    "export": Verb(ExportOptions, export),
    "parity": Verb(ParityOptions, parity),
}


def probe(words: list[str]) -> None:
    """Run a verb; `probe --cache …` means `probe fit --cache …`; `--list` and `--describe` are verbs too."""
    for flag in ("list", "describe"):
        if f"--{flag}" in words:
            words = [flag, *(word for word in words if word != f"--{flag}")]
    fits = words and words[0].startswith("-") and words[0] not in ("-h", "--help")
    run_verb("probe", VERBS, ["fit", *words] if fits else words)


def main() -> None:
    """Entry point."""
    sys.exit(run_command("probe", lambda: probe(sys.argv[1:])))
