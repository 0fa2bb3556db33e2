"""A trained head at work: on images (`predict`), elsewhere (`export`), and against its store (`parity`).

`image_classifier` joins backbone, norm and head; `same_backbone` opens the one backbone that a head accepts;
`export_formats` and `hub` take it elsewhere. `HubClassifier.from_pretrained` loads what was published.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from probe.deployment.hub_classifier import HubClassifier

__all__ = ["HubClassifier"]


def __getattr__(name: str) -> Any:
    """`HubClassifier` when it is asked for: it imports every backbone library, and most verbs need none."""
    if name == "HubClassifier":
        from probe.deployment.hub_classifier import HubClassifier

        return HubClassifier
    raise AttributeError(name)
