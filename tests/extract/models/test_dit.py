from __future__ import annotations

import pytest
import torch

from extract.models.dit import Dit, dit_xl2
from extract.models.latents import LatentEncoder
from extract.weights import weights_hash

SMALL = {"dim": 64, "depth": 2, "num_heads": 4, "latent_size": 8}


@pytest.fixture(autouse=True)
def _narrow_vae(monkeypatch: pytest.MonkeyPatch) -> None:
    """A VAE of a few channels: the real one takes seconds on one core."""
    monkeypatch.setattr("extract.models.latents.WIDTHS", (32, 32, 32, 32))


def model(**arguments: int) -> Dit:
    torch.manual_seed(0)
    return dit_xl2(**SMALL, **arguments).eval()


@torch.inference_mode()
def last(dit: Dit, images: torch.Tensor) -> torch.Tensor:
    return dit.block_states(images, [1])[0]


def test_an_image_gives_a_token_for_16_pixels_by_16() -> None:
    assert last(model(), torch.rand(1, 3, 64, 64)).shape == (1, 16, 64)


def test_the_same_image_gives_the_same_tokens_alone_and_among_others_with_noise_too() -> None:
    dit, images = model(timestep=50, noise_seed=0), torch.rand(3, 3, 64, 64)
    assert torch.allclose(last(dit, images)[2:], last(dit, images[2:]), atol=1e-5)


@pytest.mark.parametrize(
    "other", [{"timestep": 50}, {"timestep": 50, "label": 3}, {"timestep": 50, "noise_seed": 0}]
)
def test_the_step_the_class_and_the_noise_each_matter(other: dict[str, int]) -> None:
    images, first = torch.rand(1, 3, 64, 64), dict(list(other.items())[:-1])
    assert not torch.allclose(last(model(**first), images), last(model(**other), images), atol=1e-4)


def test_noise_at_the_first_step_is_little_and_at_the_last_all() -> None:
    latents = torch.zeros(1, 4, 8, 8)
    little, most = (model(timestep=t, noise_seed=0)._noised(latents) for t in (0, 999))
    assert float(little.std()) < 0.02
    assert torch.allclose(most, little / little.std() * most.std(), atol=1e-5)
    assert 0.8 < float(most.std()) < 1.2


@torch.inference_mode()
def test_the_vae_encoder_is_that_of_diffusers() -> None:
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    reference = diffusers.AutoencoderKL(
        block_out_channels=(32, 32, 32, 32),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=4,
    ).eval()
    ours = LatentEncoder().eval()
    own = {name: t for name, t in reference.state_dict().items() if name in ours.state_dict()}
    ours.load_state_dict(own)
    images = torch.rand(2, 3, 64, 64) * 2 - 1
    wanted = reference.encode(images).latent_dist.mean * 0.18215
    assert torch.allclose(ours(images), wanted, atol=1e-5)


def test_the_noise_is_that_of_its_seed_drawn_once_and_no_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    dit, latents = model(timestep=999, noise_seed=7), torch.zeros(2, 4, 8, 8)
    drawn = torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(7))
    monkeypatch.setattr(torch, "randn", lambda *_, **__: pytest.fail("drawn again"))
    noised = dit._noised(latents)
    assert torch.allclose(noised / noised.std() * drawn.expand(2, -1, -1, -1).std(), drawn, atol=1e-5)
    assert weights_hash(dit) == weights_hash(model(timestep=999))
