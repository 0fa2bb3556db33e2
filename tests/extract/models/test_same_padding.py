from __future__ import annotations

import torch

from extract.models.same_padding import resnet50


@torch.inference_mode()
def test_the_names_and_the_grid_are_those_of_timms_resnet() -> None:
    import timm

    model = resnet50().eval()
    assert model.state_dict().keys() == timm.create_model("resnet50", num_classes=0).state_dict().keys()
    assert model.forward_features(torch.rand(1, 3, 64, 96)).shape == (1, 2048, 2, 3)


@torch.inference_mode()
def test_nothing_is_padded_at_the_top_and_left_of_a_strided_layer() -> None:
    conv = resnet50().layer2[0].conv2
    image = torch.zeros(1, 128, 4, 4)
    image[..., 0, 0] = 1  # the first output sees it under the kernel's own corner
    assert torch.allclose(conv(image)[0, :, 0, 0], conv.weight[..., 0, 0].sum(1), atol=1e-6)
