"""`mst`: land cover and position by a multi-scale transformer, after CVSegGuide.

| stage | published | small, trained on the world |
|---|---|---|
| tile | (B, 3, 256, 256) | (B, 3, 128, 128), 64 m |
| encoder (CrossFormer), strides 4, 8, 16, 32 | 96, 192, 384, 768 | 48, 96, 192, 384 |
| decoder, strides 16, 8, 4, 2, 1 | 384 + skip, 192 + skip, 96, 96, 4 classes | 192 + skip, 96 + skip, 48, 48, 4 |
| detail (ours), strides 4, 2, 1: beside the decoder | – | 48, 32, 16 |
| street | CrossFormer, mean of stride 32: 768 | overhead features 16 × 49 × 49, vector 64 |
| heat map | cosines at strides 32, 16, 8, merged upward, land cover → 10 → 1 | and the cell-by-cell cosine, → 2 |
| output | 256 × 256 | 64 × 64 cells of 1 m |
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xview_demo.models.position.crossformer import CrossFormer
from xview_demo.models.position.heatmap import Placement, PositionModel, Pyramid
from xview_demo.models.position.street import cosine_map


class Detail(nn.Module):
    """The picture at strides 1, 2 and 4 by plain convolutions, which find roofs and edges long before attention does.

    Args:
        channels: at stride 1; twice as many at stride 2.
        outputs: channels at stride 4.
    """

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        widths = (3, channels, 2 * channels, outputs)
        self.stages = nn.ModuleList(
            nn.Sequential(_layer(i, o, stride), _layer(o, o))
            for i, o, stride in zip(widths[:-1], widths[1:], (1, 2, 2), strict=True)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, 3, H, W) → (B, channels, H, W), (B, 2·channels, H/2, W/2), (B, outputs, H/4, W/4)."""
        found: list[Tensor] = []
        for stage in self.stages:
            found.append(stage(found[-1] if found else x))
        return found


class MST(PositionModel):
    """CrossFormer encoder, decoder with skips, heat-map pyramid.

    Args:
        size, metres, classes: of the tile.
        embed, depths, heads, group, drop_path: of the CrossFormer.
        overhead, rings, vector: see `PositionModel`; 0 gives the published street branch.
        detail: channels of `Detail`, in which the decoder meets the picture itself once more (ours); 0 leaves it out.
        stride: pixels of the tile along a cell of the heat map.
    """

    def __init__(
        self,
        size: int = 256,
        metres: float = 64.0,
        classes: int = 4,
        embed: int = 96,
        depths: tuple[int, ...] = (2, 2, 6, 2),
        heads: tuple[int, ...] = (3, 6, 12, 24),
        group: int = 8,
        drop_path: float = 0.1,
        overhead: int = 0,
        rings: int = 24,
        vector: int = 64,
        detail: int = 0,
        stride: int = 1,
    ) -> None:
        super().__init__(size, metres, classes, overhead, rings, vector)
        if size % 32 or stride not in (1, 2):
            raise ValueError(f"size is {size} and stride {stride}: use a multiple of 32, and 1 or 2.")
        trunk = {"embed": embed, "depths": depths, "heads": heads, "group": group, "drop_path": drop_path}
        self.stride = stride
        self.aerial = CrossFormer(3, **trunk)  # type: ignore[arg-type]
        self.street = None if overhead else CrossFormer(3, **trunk)  # type: ignore[arg-type]
        e = embed
        self.up16, self.up8, self.up4 = _layer(8 * e, 4 * e), _layer(4 * e, 2 * e), _layer(2 * e, e)
        self.detail = Detail(detail, e) if detail else None
        self.up2 = _layer(e + 2 * detail, e)
        self.up1 = nn.Conv2d(e + detail, classes, 3, padding=1)
        self.pyramid = Pyramid(vector if overhead else 8 * e, (8 * e, 4 * e, 2 * e))
        self.cells = nn.Conv2d(e, overhead, 1) if overhead else None

    def forward(self, strip: Tensor, tile: Tensor, mask: Tensor | None = None) -> Placement:
        """Strip (B, 3, 128, 512), tile (B, 3, size, size), mask (B, 1, 128, 512) or None, all in [0, 1]."""
        image = self.normalise(tile)
        _, f8, f16, f32 = self.aerial(image)
        d16 = self.up16(_double(f32)) + f16
        d8 = self.up8(_double(d16)) + f8
        d4 = self.up4(_double(d8))
        full, half = [], []  # what the decoder sees beside its own features
        if self.detail is not None:
            *fine, quarter = self.detail(image)
            full, half, d4 = fine[:1], fine[1:], d4 + quarter
        d2 = self.up2(torch.cat([_double(d4), *half], 1))
        landcover = self.up1(torch.cat([_double(d2), *full], 1))
        if self.street is None:
            overhead, vector = self.surroundings(strip, mask)
        else:
            overhead, vector = None, self.street(self.normalise(strip) * _like(mask, strip))[-1].mean((2, 3))
        coarse = self.pyramid(vector, [f32, d16, d8])
        coarse = F.interpolate(coarse, scale_factor=8 // self.stride, mode="bilinear", align_corners=False)
        cosine = None
        if overhead is not None and self.cells is not None:
            cosine = cosine_map(overhead, self.cells(d2))
            if self.stride == 1:
                cosine = _double(cosine[:, None])[:, 0]
        return self.read(coarse, landcover, cosine)


def _layer(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def _like(mask: Tensor | None, strip: Tensor) -> Tensor:
    return torch.ones_like(strip[:, :1]) if mask is None else mask
