"""The verbs of this room. They import backbone libraries, which takes seconds: only when they run."""

from __future__ import annotations

from probe.deployment.options import ExportOptions, ParityOptions, PredictOptions


def predict(options: PredictOptions) -> None:
    """`probe predict`."""
    from probe.deployment.predict import predict as run

    run(options)


def export(options: ExportOptions) -> None:
    """`probe export`."""
    from probe.deployment.export import export as run

    run(options)


def parity(options: ParityOptions) -> None:
    """`probe parity`."""
    from probe.deployment.parity import parity as run

    run(options)
