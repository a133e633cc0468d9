"""How unlike two pictures look to a network: distances between its features, after Zhang et al., CVPR 2018.

Ours are called `perceptual` wherever they are printed; LPIPS is the published metric with its own weights (`Lpips`).
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from xview_demo.errors import ModelError


def unit_distance(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """(B,) mean squared distance of unit-length features (B, C, H, W), summed over a network's stages."""
    stages = [
        (F.normalize(x.float(), dim=1) - F.normalize(y.float(), dim=1)).square().sum(1).mean((1, 2))
        for x, y in zip(a, b, strict=True)
    ]
    return torch.stack(stages).sum(0)


def autoencoder_features(vae: Any, image: Tensor) -> list[Tensor]:
    """What the encoder of a diffusers `AutoencoderKL` makes of pictures (B, 3, H, W) in [0, 1], stage by stage."""
    x, features = vae.encoder.conv_in(image * 2 - 1), []
    for block in vae.encoder.down_blocks:
        x = block(x)
        features.append(x)
    return features


class Lpips:
    """LPIPS (v0.1) with the published linear heads, which torchmetrics ships, and a torchvision backbone from a file.

    Args:
        weights: state dict of torchvision's `alexnet` or `vgg16` (`.pth` or `.safetensors`), ImageNet weights.

    Raises:
        ModelError: the file is neither.
    """

    def __init__(self, weights: str | os.PathLike[str]) -> None:
        from torchmetrics.functional.image.lpips import _LPIPS

        state = _state_of(Path(weights))
        first = state.get("features.0.weight", torch.empty(0))
        layers = sum(key.startswith("features.") and key.endswith(".weight") for key in state)
        name = {(11, 5): "alex", (3, 13): "vgg"}.get((first.shape[-1], layers))
        if name is None:
            raise ModelError(f"{weights} holds neither torchvision's alexnet nor its vgg16: LPIPS is defined on those.")
        self.net = _LPIPS(pretrained=True, net=name, pnet_rand=True).eval().requires_grad_(False)
        wanted = self.net.net.state_dict()
        self.net.net.load_state_dict({key: state["features." + key.split(".", 1)[1]] for key in wanted}, strict=True)

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """(B,) distances of pictures (B, 3, H, W) in [0, 1]; gradients pass."""
        return self.net(a * 2 - 1, b * 2 - 1).flatten()


def _state_of(path: Path) -> dict[str, Tensor]:
    """The tensors in a file, without running anything that it may hold."""
    if not path.is_file():
        raise ModelError(f"There is no file {path}: give a state dict of torchvision's alexnet or vgg16.")
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)
