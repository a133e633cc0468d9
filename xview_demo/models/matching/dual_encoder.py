"""One backbone for both views: the modern baseline (Deuser, Habel & Oswald, "Sample4Geo", ICCV 2023, arXiv:2303.11851).

| stage | shape |
|---|---|
| strip, resized | (B, 3, 140, 768) |
| tile, resized | (B, 3, 384, 384) |
| timm backbone, pooled | (B, D); D = 1024 for ConvNeXt-B |

It is trained at one heading and compares at one; an unknown heading is searched by describing the query `turns` times.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from xview_demo.models.blocks import IMAGENET_MEAN, IMAGENET_STD
from xview_demo.models.matching.aligned import AlignedMatcher, resized


class DualEncoder(AlignedMatcher):
    """Describes both views with a timm backbone.

    Args:
        backbone: any name of `timm.list_models()`.
        shared: one set of weights for both views, as published, or one for each.
        aerial_size: side in pixels of a tile.
        ground_size: rows and columns of a strip.
        options: keywords for timm, such as `{"dynamic_img_size": True}` for a ViT.
        temperature: start value of the learned temperature of the training loss.
        turns: headings that are tried when the query's is unknown.
        calibration: temperatures of the confidence, heading known and unknown.

    Raises:
        ValueError: timm knows no such backbone.
    """

    def __init__(
        self,
        backbone: str = "convnext_base.fb_in22k_ft_in1k_384",
        shared: bool = True,
        aerial_size: int = 384,
        ground_size: Sequence[int] = (140, 768),
        options: dict[str, Any] | None = None,
        temperature: float = 0.07,
        turns: int = 12,
        calibration: Sequence[float] = (0.05, 0.05),
    ) -> None:
        super().__init__(turns, calibration)
        import timm

        if not timm.is_model(backbone):
            raise ValueError(f"timm knows no backbone {backbone!r}: choose one of timm.list_models().")
        self.backbone, self.options = backbone, dict(options or {})
        self.aerial_size, self.ground_size = aerial_size, tuple(ground_size)
        self.encoder = timm.create_model(backbone, pretrained=False, num_classes=0, **self.options)
        own = None if shared else timm.create_model(backbone, pretrained=False, num_classes=0, **self.options)
        self.aerial: nn.Module | None = own
        self.log_scale = nn.Parameter(-torch.tensor(temperature).log())
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)

    mean: Tensor
    std: Tensor

    def start_from_pretrained(self) -> None:
        """Load timm's weights of the backbone (from its cache or the Hub) into every encoder."""
        import timm

        found = timm.create_model(self.backbone, pretrained=True, num_classes=0, **self.options).state_dict()
        self.encoder.load_state_dict(found)
        if self.aerial is not None:
            self.aerial.load_state_dict(found)

    def spare_memory(self) -> None:
        """Compute activations again in the backward pass instead of keeping them (gradient checkpointing)."""
        nets: list[Any] = [self.encoder, self.aerial]
        for net in filter(None, nets):
            net.set_grad_checkpointing(True)

    def describe_query(self, strip: Tensor, **made: Tensor) -> Tensor:
        """Strip (B, 3, H, W) → (B, D)."""
        return self.encoder((resized(strip, *self.ground_size) - self.mean) / self.std)

    def describe_reference(self, tile: Tensor) -> Tensor:
        """Tile (B, 3, P, P) → (B, D)."""
        net = self.encoder if self.aerial is None else self.aerial
        return net((resized(tile, self.aerial_size, self.aerial_size) - self.mean) / self.std)
