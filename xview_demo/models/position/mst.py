"""`mst`: land cover and position by a multi-scale transformer, after CVSegGuide.

| stage | published | small, trained on the world |
|---|---|---|
| tile | (B, 3, 256, 256) | the same, 64 m; halved for the transformer |
| encoder (CrossFormer), strides 4, 8, 16, 32 | 96, 192, 384, 768 | 48, 96, 192, 384 |
| decoder, strides 16, 8, 4, 2, 1 | 384 + skip, 192 + skip, 96, 96, 4 classes | 192 + skip, 96 + skip, 48, 48, 4 |
| detail (ours): U-Net, ResNet-18, at full resolution | – | 4 classes and 16 features, added |
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


class MST(PositionModel):
    """CrossFormer encoder, decoder with skips, heat-map pyramid.

    Args:
        size, metres, classes: of the tile.
        embed, depths, heads, group, drop_path: of the CrossFormer.
        overhead, rings, vector: see `PositionModel`; 0 gives the published street branch.
        detail, halved: see `PositionModel`; a cell of the heat map is 4 pixels wide where the tile is halved, else one.
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
        detail: tuple[int, ...] = (),
        halved: bool = False,
    ) -> None:
        super().__init__(size, metres, classes, overhead, rings, vector, detail, halved)
        if size % (64 if halved else 32):
            raise ValueError(f"size is {size}: use a multiple of {64 if halved else 32}.")
        trunk = {"embed": embed, "depths": depths, "heads": heads, "group": group, "drop_path": drop_path}
        self.aerial = CrossFormer(3, **trunk)  # type: ignore[arg-type]
        self.street = None if overhead else CrossFormer(3, **trunk)  # type: ignore[arg-type]
        e = embed
        self.up16, self.up8, self.up4 = _layer(8 * e, 4 * e), _layer(4 * e, 2 * e), _layer(2 * e, e)
        self.up2, self.up1 = _layer(e, e), nn.Conv2d(e, classes, 3, padding=1)
        self.pyramid = Pyramid(vector if overhead else 8 * e, (8 * e, 4 * e, 2 * e))
        self.cells = nn.Conv2d(e, overhead, 1) if overhead else None

    def forward(self, strip: Tensor, tile: Tensor, mask: Tensor | None = None) -> Placement:
        """Strip (B, 3, 128, 512), tile (B, 3, size, size), mask (B, 1, 128, 512) or None, all in [0, 1]."""
        _, f8, f16, f32 = self.aerial(self.overview(tile))
        d16 = self.up16(_double(f32)) + f16
        d8 = self.up8(_double(d16)) + f8
        d2 = self.up2(_double(self.up4(_double(d8))))
        landcover = self.up1(_double(d2))
        landcover = _double(landcover) if self.halved else landcover
        landcover, cells = self.with_detail(tile, landcover, self.cells(d2) if self.cells is not None else None)
        if self.street is None:
            overhead, vector = self.surroundings(strip, mask)
        else:
            overhead, vector = None, self.street(self.normalise(strip) * _like(mask, strip))[-1].mean((2, 3))
        coarse = self.pyramid(vector, [f32, d16, d8])
        coarse = F.interpolate(coarse, scale_factor=4 if self.halved else 8, mode="bilinear", align_corners=False)
        cosine = None
        if overhead is not None and cells is not None:
            cosine = cosine_map(overhead, cells)
            if not self.halved:
                cosine = _double(cosine[:, None])[:, 0]
        return self.read(coarse, landcover, cosine)


def _layer(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def _like(mask: Tensor | None, strip: Tensor) -> Tensor:
    return torch.ones_like(strip[:, :1]) if mask is None else mask
