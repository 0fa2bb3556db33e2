"""What Triton's compiler makes of the fused kernels for a Hopper GPU: no GPU is needed.

    python benchmarks/bench_compilation.py [--json FILE]

For EP32 on tokens of several widths, before the final norm or seen through it (LayerNorm), as
`probe.fused.blocks` cuts the work: bytes of shared memory (a
multiprocessor has 227 KB), registers of a thread (255 at most), bytes that a thread spills from registers to
memory, and how many matrix instructions and asynchronous copies the machine code has. `--quick` compiles one
width. Needs Triton, which comes with PyTorch on Linux.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from pydantic import Field
from report import CONSOLE, JsonFile, machine_facts, save
from rich.table import Table

from cache import FinalNorm
from configs import FrozenModel, UserError, parse, run_command
from probe.fused.blocks import Blocks, blocks_for
from probe.fused.choice import PARTS

PROGRAM = "bench_compilation.py"
QUERIES = 32
WIDTHS = (192, 384, 768, 1024, 1280, 1536, 2048, 4096)
NORMED_WIDTHS = (384, 1024)
DTYPES = (torch.float16, torch.bfloat16, torch.int8)
HOPPER = 90
INTEGERS = (
    *("images", "count", "num_queries"),
    *("scale_stride", "factor_stride", "norm_stride", "image_stride", "query_stride"),
)
LAUNCH_OPTIONS = {"enable_fp_fusion", "num_warps", "num_stages"}
POINTERS = {torch.float16: "*fp16", torch.bfloat16: "*bf16", torch.int8: "*i8", torch.float32: "*fp32"}


class CompilationOptions(FrozenModel):
    """Compile the fused kernels for a Hopper GPU, and say what the compiler made of them."""

    quick: bool = Field(default=False, description="one width, one dtype")
    json_: JsonFile = None


@dataclass(frozen=True)
class Compiled:
    """One kernel's machine code."""

    kernel: str
    dim: int
    dtype: str
    normed: bool
    parts: int
    blocks: Blocks
    shared_bytes: int
    registers: int
    spilled_bytes: int
    matrix_instructions: int
    asynchronous_copies: int


def variants(quick: bool) -> Iterator[tuple[int, torch.dtype, FinalNorm | None, int, Blocks]]:
    """Width, dtype, norm, parts, cut: rounded operands, and those with float32's precision."""
    widths, dtypes = (NORMED_WIDTHS[:1], DTYPES[:1]) if quick else (WIDTHS, DTYPES)
    for dim, dtype, norm in product(widths, dtypes, (None, FinalNorm("layer_norm", 1e-6, None, None))):
        if norm is not None and dim not in NORMED_WIDTHS:
            continue
        for parts in (1, PARTS[dtype]):
            blocks = blocks_for(dim, QUERIES, parts, dtype)
            if blocks is not None:
                yield dim, dtype, norm, parts, blocks


def compiled(
    kernel: Any, dim: int, dtype: torch.dtype, norm: FinalNorm | None, parts: int, blocks: Blocks
) -> Compiled:
    """Compile `kernel` as `probe.fused.launch` would, for 1,024 images of 196 tokens."""
    import triton
    from triton.backends.compiler import GPUTarget

    from probe.fused.launch import kernel_constants

    constants = kernel_constants(dim, dtype, norm, blocks, parts)
    constants |= {"KEEP_SCORES": True, "HAS_ITEMS": True, "HAS_REST": parts == 1}
    options = {name: constants.pop(name) for name in LAUNCH_OPTIONS}
    pooled = torch.bfloat16 if parts == 1 else torch.float32
    signature = signature_of(kernel, dtype, "*fp32" if norm else "*fp16", pooled)
    aligned = {
        (place,): [["tt.divisibility", 16]]
        for place, (name, kind) in enumerate(signature.items())
        if kind.startswith("*") or name in ("num_queries", "image_stride", "query_stride")
    }
    used = {name: constants[name] for name, kind in signature.items() if kind == "constexpr"}
    source = triton.compiler.ASTSource(fn=kernel, signature=signature, constexprs=used, attrs=aligned)
    found = triton.compile(source, target=GPUTarget("cuda", HOPPER, 32), options=options)
    resources, code = disassembled(found.asm["cubin"])
    registers, stack = re.findall(r"REG:(\d+) STACK:(\d+)", resources)[0]
    return Compiled(
        kernel.__name__,
        dim,
        str(dtype).removeprefix("torch."),
        norm is not None,
        parts,
        blocks,
        found.metadata.shared,
        int(registers),
        int(stack),
        len(re.findall(r"\bHG?MMA\b", code)),
        code.count("LDGSTS"),
    )


def signature_of(kernel: Any, dtype: torch.dtype, scales: str, pooled: torch.dtype) -> dict[str, str]:
    """The kind of every argument."""
    kinds = {"tokens": POINTERS[dtype], "scales": scales, "factors": "*fp16", "items": "*i64"}
    kinds |= dict.fromkeys(("pooled", "of_pooled"), POINTERS[pooled]) | {"rest": "*i8"}
    kinds |= dict.fromkeys(INTEGERS, "i32")
    kinds |= {parameter.name: "constexpr" for parameter in kernel.params if parameter.is_constexpr}
    return {name: kinds.get(name, "*fp32") for name in kernel.arg_names}


def disassembled(binary: bytes) -> tuple[str, str]:
    """What `cuobjdump`, which Triton brings, says of resources, and the instructions."""
    from triton import knobs

    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary)
        file.flush()
        resources, code = (
            subprocess.run(
                [knobs.nvidia.cuobjdump.path, form, file.name], capture_output=True, text=True, check=True
            ).stdout
            for form in ("-res-usage", "-sass")
        )
    return resources, code


def show(rows: list[Compiled]) -> None:
    """One line for each variant: forward / backward."""
    table = Table(
        title=f"EP{QUERIES}, compute capability 9.0; forward / backward",
        title_justify="left",
        caption="cut: tokens × queries of a block",
        caption_justify="left",
    )
    for column in (
        "D",
        "tokens",
        "norm",
        "parts",
        "cut",
        "shared KB",
        "registers",
        "spilled",
        "MMA",
        "copies",
    ):
        table.add_column(column, justify="right", no_wrap=True)
    for forward, backward in zip(rows[::2], rows[1::2], strict=True):
        pairs = (
            (round(forward.shared_bytes / 1024), round(backward.shared_bytes / 1024)),
            (forward.registers, backward.registers),
            (forward.spilled_bytes, backward.spilled_bytes),
            (forward.matrix_instructions, backward.matrix_instructions),
            (forward.asynchronous_copies, backward.asynchronous_copies),
        )
        cut = f"{forward.blocks.tokens} × {forward.blocks.queries}"
        cells = ("/".join(map(str, pair)) for pair in pairs)
        norm = "yes" if forward.normed else ""
        table.add_row(str(forward.dim), forward.dtype, norm, str(forward.parts), cut, *cells)
    CONSOLE.print(table)


def run(options: CompilationOptions) -> None:
    """Compile, print, save."""
    if importlib.util.find_spec("triton") is None:
        raise UserError("Triton is not installed here: PyTorch brings it on Linux")
    from probe.fused.kernels import pool_backward, pool_forward

    rows = [
        compiled(kernel, *variant)
        for variant in variants(options.quick)
        for kernel in (pool_forward, pool_backward)
    ]
    show(rows)
    if options.json_ is not None:
        import triton

        facts = machine_facts() | {"triton": triton.__version__}
        save(options.json_, script=PROGRAM, quick=options.quick, machine=facts, kernels=rows)


if __name__ == "__main__":
    sys.exit(run_command(PROGRAM, lambda: run(parse(CompilationOptions, prog=PROGRAM))))
