"""Files that name tensors as the model does, or as timm's own filter for it reads them."""

from __future__ import annotations

import sys
from typing import Any

from extract.checkpoints.layout import Layout, State


def _as_timm_reads_them(state: State, model: Any) -> State:
    rename = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    renamed: State = rename(state, model) if rename else state
    return _without_classifier(renamed, model)


def _without_classifier(state: State, model: Any) -> State:
    """`state` less the classification head, which a backbone built with num_classes=0 has not."""
    names = getattr(model, "pretrained_cfg", {}).get("classifier") or ()
    prefixes = tuple(f"{n}." for n in ((names,) if isinstance(names, str) else names))
    own = model.state_dict().keys()
    return {k: v for k, v in state.items() if k in own or not k.startswith(prefixes or ("\0",))}


PLAIN = Layout("plain", convert=_as_timm_reads_them)
