"""Official checkpoint files from their addresses, downloaded once."""

from __future__ import annotations

from pathlib import Path
from urllib.error import URLError

import torch

from configs import UserError


def downloaded(address: str) -> Path:
    """The file at `address`, in torch's own cache of checkpoints. Raises `UserError` with the address."""
    # the whole address: publishers give files of several sizes the same last part
    name = address.removeprefix("https://").replace("/", "_")
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:  # it writes beside the file and renames
            torch.hub.download_url_to_file(address, str(path))
        except (URLError, OSError) as error:
            raise UserError(
                f"cannot download {address}: {error}; download it elsewhere and give --weights FILE, or "
                "none for random weights"
            ) from None
    return path
