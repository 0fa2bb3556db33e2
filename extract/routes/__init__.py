"""The ways from a name to an architecture: one file for each."""

from extract.routes import openclip, python_function, timm_models, torch_hub, transformers_models
from extract.routes.route import Route

ROUTES: dict[str, Route] = {
    "timm": Route(timm_models.create, "timm:NAME or timm:hf-hub:OWNER/NAME"),
    "hf": Route(transformers_models.create, "hf:OWNER/MODEL"),
    "openclip": Route(openclip.create, "openclip:MODEL/PRETRAINED"),
    "torchhub": Route(torch_hub.create, "torchhub:OWNER/REPO/ENTRY"),
    "python": Route(python_function.create, "python:MODULE.FUNCTION"),
}

__all__ = ["ROUTES", "Route"]
