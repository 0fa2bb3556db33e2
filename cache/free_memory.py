"""How much memory this process may still use."""

from __future__ import annotations

import gc
from pathlib import Path

import psutil
import torch

CGROUPS = Path("/sys/fs/cgroup")


def free_host_memory() -> int:
    """Bytes that can be used without swapping; the page cache, which gives way, counts as free.

    In a container or a batch job it is the least that a control group above this process leaves (cgroup v2).
    """
    return min([int(psutil.virtual_memory().available), *_free_in_groups(CGROUPS, _own_group())])


def _own_group() -> str:
    """This process's control group, as a path below the root of them."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return ""
    return next((line.removeprefix("0::/") for line in lines if line.startswith("0::")), "")


def _free_in_groups(root: Path, group: str) -> list[int]:
    folders = [root / group, *(root / group).parents]
    found = [_free_in_group(folder) for folder in folders if folder.is_relative_to(root)]
    return [free for free in found if free is not None]


def _free_in_group(folder: Path) -> int | None:
    """What a group may still use; None where it has no limit."""
    try:
        limit = (folder / "memory.max").read_text().strip()
        used = int((folder / "memory.current").read_text())
        lines = (folder / "memory.stat").read_text().splitlines()
    except OSError:
        return None
    if limit == "max":
        return None
    statistics = dict(line.split() for line in lines)
    page_cache = int(statistics["active_file"]) + int(statistics["inactive_file"])
    return max(0, int(limit) - used + page_cache)


def free_device_memory(device: torch.device) -> int:
    """Bytes that this process may still use on an accelerator; 0 for the CPU, whose memory is the host's.

    That is what is free there, and what torch keeps of freed tensors for the next ones
    (`memory_reserved` − `memory_allocated`).
    """
    if device.type != "cuda":
        return 0
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0]) + kept


def give_back_device_memory() -> None:
    """What torch keeps of freed tensors, in pieces that a larger tensor may not fit."""
    gc.collect()  # modules and optimisers refer to one another
    torch.cuda.empty_cache()
