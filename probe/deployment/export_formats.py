"""The formats that a module is exported to: how each is written, and how it is loaded again."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from extract.routes.route import optional_package
from probe.deployment.options import ExportName

Loaded = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class ExportFormat:
    """A format. The batch may be of any size in what is written."""

    suffix: str
    write: Callable[[nn.Module, torch.Tensor, str, Path], None]
    """(module in eval mode, an example input (B, …), what the input is called, file)"""
    load: Callable[[Path], Loaded]


def _write_torchscript(module: nn.Module, example: torch.Tensor, name: str, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what a trace may miss: the file is compared with the module
        torch.jit.trace(module, example, check_trace=False).save(str(path))


def _load_torchscript(path: Path) -> Loaded:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        loaded: Loaded = torch.jit.load(str(path))
    return loaded


def _any_batch() -> tuple[dict[int, Any]]:
    return ({0: torch.export.Dim("batch")},)


def _write_exported_program(module: nn.Module, example: torch.Tensor, name: str, path: Path) -> None:
    torch.export.save(torch.export.export(module, (example,), dynamic_shapes=_any_batch()), path)


def _load_exported_program(path: Path) -> Loaded:
    loaded: Loaded = torch.export.load(path).module()
    return loaded


def _write_onnx(module: nn.Module, example: torch.Tensor, name: str, path: Path) -> None:
    for package in ("onnx", "onnxscript"):
        optional_package(package, "--to onnx", "export")
    program = torch.onnx.export(
        module,
        (example,),
        dynamo=True,
        dynamic_shapes=_any_batch(),
        input_names=[name],
        output_names=["logits"],
        verbose=False,
    )
    assert program is not None
    program.save(path)


def _load_onnx(path: Path) -> Loaded:
    runtime: Any = optional_package("onnxruntime", "--to onnx", "export")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    return lambda values: torch.from_numpy(session.run(None, {given.name: values.numpy()})[0])


FORMATS: dict[ExportName, ExportFormat] = {
    "torchscript": ExportFormat(".pt", _write_torchscript, _load_torchscript),
    "onnx": ExportFormat(".onnx", _write_onnx, _load_onnx),
    "torch.export": ExportFormat(".pt2", _write_exported_program, _load_exported_program),
}
