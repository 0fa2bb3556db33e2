"""The YAML files beside the code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pydantic
import pytest

import configs
from configs import FrozenModel, UserError, load_backbone, load_dataset, load_recipe, load_sweep, names

LOADERS: dict[str, Callable[[str], FrozenModel]] = {
    "backbones": load_backbone,
    "datasets": load_dataset,
    "recipes": load_recipe,
    "sweeps": load_sweep,
}
SHIPPED = [(path.parent.name, path.stem) for path in sorted(Path(configs.__file__).parent.glob("*/*.yaml"))]

RECIPE = """
reference: none
optimizer: adamw
lr: 0.1
lr_per_256: false
batch_size: 8
epochs: 2
warmup_epochs: 0
weight_decay: 0
"""


@pytest.fixture
def shipped_as(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str, str, str], None]:
    """Ship one more file instead of all."""

    def ship(kind: str, name: str, text: str) -> None:
        (tmp_path / kind).mkdir()
        (tmp_path / kind / f"{name}.yaml").write_text(text)
        monkeypatch.setattr("configs.named.files", lambda package: tmp_path)

    return ship


@pytest.mark.parametrize(("kind", "name"), SHIPPED)
def test_every_shipped_file_loads_under_its_name(kind: str, name: str) -> None:
    assert LOADERS[kind](name).model_dump()["name"] == name


@pytest.mark.parametrize("kind", LOADERS)
def test_names_are_those_of_the_files(kind: str) -> None:
    assert names(kind) == [name for found, name in SHIPPED if found == kind] != []


def test_the_paper_recipe_is_the_published_protocol() -> None:
    recipe = load_recipe("paper").model_dump(
        exclude={"name", "reference", "differs", "betas", "decay_vectors"}
    )
    assert recipe == {
        "optimizer": "lars",
        "lr": (0.1,),
        "lr_per_256": True,
        "batch_size": 4096,
        "epochs": 90,
        "warmup_epochs": 10,
        "weight_decay": (0,),
        "momentum": 0.9,
        "clip_norm": None,
        "classifier_std": None,
    }


@pytest.mark.parametrize("name", [name for kind, name in SHIPPED if kind == "recipes" and name != "fast"])
def test_every_published_recipe_says_where_a_cache_must_differ(name: str) -> None:
    assert load_recipe(name).differs


@pytest.mark.parametrize("name", [name for kind, name in SHIPPED if kind in ("backbones", "datasets")])
def test_every_backbone_and_data_set_states_its_licence(name: str) -> None:
    kind = next(kind for kind, shipped in SHIPPED if shipped == name)
    assert LOADERS[kind](name).model_dump()["licence"]


def test_published_mae_probes_read_the_tokens_before_the_norm() -> None:
    assert {load_backbone(name).tokens for name in names("backbones") if name.startswith("mae")} == {"pre"}


@pytest.mark.parametrize(
    ("load", "name", "message"),
    [
        (
            load_backbone,
            "mae_vit",
            "unknown backbone 'mae_vit'; did you mean mae_vit. or mae_vit. or mae_vit.",
        ),
        (load_backbone, "zzz", "unknown backbone 'zzz'; known: aimv2_vitl, beitv2_vitb, .*"),
        (load_dataset, "imagenet1k", "unknown dataset 'imagenet1k'; did you mean imagenet"),
        (load_recipe, "slow", "unknown recipe 'slow'; known: capi, dinov2, fast"),
        (load_recipe, "../recipes/fast", "unknown recipe '../recipes/fast'; .*"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_ones(
    load: Callable[[str], FrozenModel], name: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        load(name)


def test_a_file_that_is_whole_loads(shipped_as: Callable[[str, str, str], None]) -> None:
    shipped_as("recipes", "mine", RECIPE)
    assert load_recipe("mine").momentum == 0.9


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ("learning_rate: 3", "learning_rate"),
        ("lr: fast", "lr"),
        ("lr: 0", "lr"),
        ("epochs: 1.5", "epochs"),
        ("batch_size: -8", "batch_size"),
        ("optimizer: adam", "optimizer"),
        ("momentum: 1", "momentum"),
        ("warmup_epochs: [1, 2]", "warmup_epochs"),
        ("reference: {a: 1}", "reference"),
    ],
)
def test_a_bad_field_of_a_recipe_is_one_line_that_names_file_and_field(
    shipped_as: Callable[[str, str, str], None], change: str, field: str
) -> None:
    kept = [line for line in RECIPE.splitlines() if not line.startswith(f"{field}:")]
    shipped_as("recipes", "mine", "\n".join([*kept, change]))
    with pytest.raises(UserError) as refused:
        load_recipe("mine")
    assert str(refused.value).startswith(f"configs/recipes/mine.yaml: {field}")
    assert "\n" not in str(refused.value)


def test_a_missing_field_is_named(shipped_as: Callable[[str, str, str], None]) -> None:
    shipped_as("recipes", "mine", RECIPE.replace("epochs: 2\n", "", 1))
    with pytest.raises(UserError, match=r"configs/recipes/mine.yaml: epochs: Field required"):
        load_recipe("mine")


def test_all_bad_fields_are_in_the_one_line(shipped_as: Callable[[str, str, str], None]) -> None:
    shipped_as("recipes", "mine", RECIPE.replace("lr: 0.1", "lr: -1").replace("epochs: 2", "epochs: no"))
    with pytest.raises(UserError) as refused:
        load_recipe("mine")
    assert "lr.0: " in str(refused.value)
    assert "epochs: " in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("transform", "field"),
    [("{crop_pct: -1}", "crop_pct"), ("{crop: 1}", "crop"), ("{mean: [1, 2]}", "mean.2")],
)
def test_a_bad_field_of_a_transform_names_file_and_field(
    shipped_as: Callable[[str, str, str], None], transform: str, field: str
) -> None:
    shipped_as("backbones", "mine", f"source: timm:vit_tiny_patch16_224\ntransform: {transform}\n")
    with pytest.raises(UserError, match=f"^configs/backbones/mine.yaml: transform\\.{field}: "):
        load_backbone("mine")


def test_a_bad_field_of_a_transform_is_named_with_its_parent(
    shipped_as: Callable[[str, str, str], None],
) -> None:
    shipped_as("backbones", "mine", "source: timm:vit_tiny_patch16_224\ntransform: {crop_pct: -1}\n")
    with pytest.raises(UserError, match=r"transform\.crop_pct: "):
        load_backbone("mine")


def test_a_configuration_cannot_be_changed() -> None:
    recipe = load_recipe("fast")
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        recipe.lr = 1.0  # type: ignore[misc]
