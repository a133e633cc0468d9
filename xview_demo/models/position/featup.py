"""`featup`: land cover and position from a backbone's features, upsampled under the picture's guidance; CVSegGuide.

| stage | published | small, trained on the world |
|---|---|---|
| tile | (B, 3, 256, 256) | the same, 64 m; halved for the backbone |
| backbone | DINO ViT-S/16, frozen: (B, 384, 16, 16) | ResNet-10, trained: (B, 128, 16, 16) at stride 8 → 32 |
| joint bilateral upsampler | × 16: (B, 384, 256, 256) | × 4: (B, 32, 64, 64) |
| land cover | 1 × 1: 384 → 1024, norm, GELU, → 4 | 32 → 96 → 4 |
| detail (ours): U-Net, ResNet-18, at full resolution | – | 4 classes and 16 features, added |
| street | the backbone, mean: 384 | overhead features 16 × 49 × 49, vector 64 |
| heat map | cosine with each pixel, land cover → 10 → 1 | and the cell-by-cell cosine, → 2 |
"""

from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xview_demo.models.position.heatmap import Placement, PositionModel, Pyramid
from xview_demo.models.position.street import cosine_map
from xview_demo.models.position.upsampler import UpsamplerStack

DINO = "vit_small_patch16_224.dino"


class FeatUp(PositionModel):
    """A timm backbone, an upsampler, and two heads.

    Args:
        size, metres, classes: of the tile.
        backbone: any name of timm that gives feature maps; its weights start random (see `with_pretrained_backbone`).
        index: which of its feature maps.
        frozen: keep the backbone as it is in training.
        channels: to which the features are reduced before they are upsampled; 0 = not.
        factor: of the upsampling, a power of two.
        key, radius: channels of the upsampler's guide and pixels of its neighbourhood.
        hidden: channels of the land-cover head.
        overhead, rings, vector: see `PositionModel`; 0 gives the published street branch.
        detail, halved: see `PositionModel`.
    """

    def __init__(
        self,
        size: int = 256,
        metres: float = 64.0,
        classes: int = 4,
        backbone: str = DINO,
        index: int = -1,
        frozen: bool = True,
        channels: int = 0,
        factor: int = 16,
        key: int = 32,
        radius: int = 3,
        hidden: int = 1024,
        overhead: int = 0,
        rings: int = 24,
        vector: int = 64,
        detail: tuple[int, ...] = (),
        halved: bool = False,
    ) -> None:
        super().__init__(size, metres, classes, overhead, rings, vector, detail, halved)
        self.name, self.index, self.frozen = backbone, index, frozen
        self.backbone = _backbone(backbone, index, pretrained=False)
        width = int(self.backbone.feature_info.channels()[-1])
        self.reduce = nn.Conv2d(width, channels, 1) if channels else nn.Identity()
        width = channels or width
        self.upsampler = UpsamplerStack(width, factor, key, radius)
        self.squeeze = nn.Conv2d(width, hidden, 1)
        self.norm = nn.LayerNorm(hidden)
        self.classify = nn.Conv2d(hidden, classes, 1)
        self.pyramid = Pyramid(vector if overhead else width, (width,))
        self.cells = nn.Conv2d(width, overhead, 1) if overhead else None
        if frozen:
            self.backbone.requires_grad_(False)

    @classmethod
    def with_pretrained_backbone(cls, **keywords: Any) -> Self:
        """The model with timm's weights in its backbone, fetched from the Hub or its cache; the rest is random."""
        model = cls(**keywords)
        model.backbone.load_state_dict(_backbone(model.name, model.index, pretrained=True).state_dict())
        return model

    def train(self, mode: bool = True) -> Self:
        """Training mode; a frozen backbone stays in evaluation mode."""
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self

    def forward(self, strip: Tensor, tile: Tensor, mask: Tensor | None = None) -> Placement:
        """Strip (B, 3, 128, 512), tile (B, 3, size, size), mask (B, 1, 128, 512) or None, all in [0, 1]."""
        image = self.overview(tile)
        features = self.upsampler(self._features(image), image)
        x = self.norm(self.squeeze(features).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        landcover = self.classify(F.gelu(x))
        if landcover.shape[-1] != tile.shape[-1]:
            landcover = F.interpolate(landcover, tile.shape[-2:], mode="bilinear", align_corners=False)
        landcover, cells = self.with_detail(tile, landcover, self.cells(features) if self.cells is not None else None)
        if cells is None:
            seen = self.normalise(strip) if mask is None else self.normalise(strip) * mask
            return self.read(self.pyramid(self._features(seen).mean((2, 3)), [features]), landcover, None)
        overhead, vector = self.surroundings(strip, mask)
        return self.read(self.pyramid(vector, [features]), landcover, cosine_map(overhead, cells))

    def _features(self, image: Tensor) -> Tensor:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            features = self.backbone(image)[-1]
        return self.reduce(features)


def _backbone(name: str, index: int, pretrained: bool) -> Any:
    import timm

    options: dict[str, Any] = {"dynamic_img_size": True} if name.startswith("vit") else {}
    return timm.create_model(name, pretrained=pretrained, features_only=True, out_indices=(index,), **options)
