"""VGG encoders of pictures, as the fusion networks use them: torchvision's layers, ImageNet normalisation inside."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from xview_demo.errors import ModelError
from xview_demo.models.blocks import IMAGENET_MEAN, IMAGENET_STD

VGG16: tuple[int | str, ...] = (
    64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M",
)  # fmt: skip


class VGGEncoder(nn.Module):
    """(B, 3, H, W) in [0, 1] → (B, C, H / 2^M, W / 2^M), M the number of poolings.

    Args:
        layers: channels of 3×3 convolutions, and "M" for 2×2 maximum pooling.
        batch_norm: after each convolution (VGG16 has none; a small one that starts from nothing needs it).
    """

    mean: Tensor
    std: Tensor

    def __init__(self, layers: Sequence[int | str] = VGG16, batch_norm: bool = False) -> None:
        super().__init__()
        from torchvision.models.vgg import make_layers

        self.features = make_layers(list(layers), batch_norm)
        self.channels = [int(layer) for layer in layers if layer != "M"][-1]
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)
        for module in self.features:
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, image: Tensor) -> Tensor:
        """Feature map of a picture."""
        image = (image - self.mean) / self.std
        return self.features(image.contiguous(memory_format=torch.channels_last))  # trains up to twice as fast


def start_from_imagenet(*encoders: VGGEncoder) -> None:
    """Give encoders torchvision's ImageNet weights of VGG16 (IMAGENET1K_V1), for a training run; fetched once for all.

    Raises:
        ModelError: the encoders have other layers, or the weights are neither in the local cache nor within reach.
    """
    from torchvision import models

    try:
        found = models.get_model("vgg16", weights="IMAGENET1K_V1").features.state_dict()
    except OSError as error:
        raise ModelError(
            "The ImageNet weights of vgg16 are not in the local cache and cannot be fetched "
            f"({type(error).__name__}): connect to the network once, or start without them."
        ) from error
    try:
        for encoder in encoders:
            encoder.features.load_state_dict(found)
    except RuntimeError as error:
        raise ModelError(
            "ImageNet's VGG16 does not fit the encoders: give them its layers without batch norm, or start without it."
        ) from error
