"""Opening the backbone that a head needs."""

from __future__ import annotations

from typing import Any

import pytest

from cache import BackboneIdentity, BlockGeometry, Store
from configs import UserError
from probe.deployment.same_backbone import open_same_backbone


@pytest.fixture
def identity(digits: Any) -> BackboneIdentity:
    return Store(digits.store).manifest.backbone


def test_a_named_backbone_is_opened_by_its_identity(identity: BackboneIdentity) -> None:
    assert open_same_backbone(identity, "it").identity() == identity


def test_code_that_an_identity_names_does_not_run_unasked(identity: BackboneIdentity) -> None:
    foreign = identity.model_copy(update={"name": "mine", "source": "python:mine.make"})
    with pytest.raises(UserError, match="give --backbone, as for extract"):
        open_same_backbone(foreign, "it")


def test_another_transform_is_another_backbone(identity: BackboneIdentity) -> None:
    cropped = identity.model_copy(update={"transform": {**identity.transform, "crop_pct": 0.5}})
    with pytest.raises(UserError, match=r"transform.crop_pct \(0.5 there, 1.0 here\)"):
        open_same_backbone(cropped, "it")


def test_tokens_of_a_derived_store_come_from_no_backbone(identity: BackboneIdentity) -> None:
    blocks = (BlockGeometry(grid=(4, 4), dim=96),) * 6
    with pytest.raises(UserError, match="no backbone gives such tokens"):
        open_same_backbone(identity.model_copy(update={"blocks": blocks}), "it")


def test_what_a_store_calls_its_backbone_does_not_matter(identity: BackboneIdentity) -> None:
    renamed = identity.model_copy(update={"name": "renamed"})
    assert open_same_backbone(renamed, "it", backbone="mae_digits").name == "mae_digits"
