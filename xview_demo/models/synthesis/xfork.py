"""X-Fork: a conditional GAN that draws one view and its segmentation from the other; pix2pix has no fork.

Regmi & Borji, "Cross-view image synthesis using conditional GANs", CVPR 2018 (https://arxiv.org/abs/1803.03396), as
used in Regmi & Shah, "Bridging the domain gap", ICCV 2019 (https://arxiv.org/abs/1904.11045).

| stage | published (size 512, width 64) | bundled (size 128, width 32, bird's eye) |
|---|---|---|
| input | (B, 3, 256, 1024) strip | (B, 3, 64, 256) strip, (B, 4, 128, 128) bird's eye and mask |
| columns along their rays (`models.rays`) | | (B, 16, 64, 64), enlarged and joined to the bird's eye |
| encoder, k4 s2 | 64, 128, 256, 512, 512, 512, 512 → 512×2×8 | 32, 64, 128, 256, 256 → 256×2×8 |
| reshape | 512×4×4 | 256×4×4 |
| shared decoder, k4 s2 | 512, 512, 512, 256, 128 | 256, 128, 64, each joined by bird's-eye features |
| two branches | 64 → 3 (tanh): image; 64 → 3 (tanh): segmentation | 32 → 3 (tanh): image; 32 → 8 logits |

Reading tiles and drawing strips, 512×4×4 is reshaped to 512×2×8 instead. The edge variant takes Canny edges (50/100)
as a fourth channel. The bird's-eye input (for strips: the street's view of the tile), the rays, which say where what
stands upright stands, the ResNet that may read both, the class logits and the painter are ours: the source has none.
Without class logits, the painter begins with the sketch and the bird's eye's fine detail. Images are [0, 1] outside,
[-1, 1] inside.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from xview_demo.models.hub import HubModel
from xview_demo.models.rays import RayProjector
from xview_demo.models.synthesis.bird_eye import BirdEye, fine_detail
from xview_demo.models.synthesis.interface import AERIAL, GROUND, Drawn, Query, Sampling, frame
from xview_demo.models.synthesis.layers import Painter, PlanEncoder, Pyramid, canny, down, initialise, up
from xview_demo.models.synthesis.street_eye import StreetEye

ENCODER = (1, 2, 4, 8, 8, 8, 8)  # channels of each layer in units of `width`
DECODER = (8, 8, 8, 4, 2)
HEADS = ("image", "labels")


class XForkGenerator(HubModel):
    """One view → the other view and its segmentation.

    Args:
        size: side of a tile in pixels, a power of two from 32 to 512; a strip is (size / 2, 2·size).
        width: channels of the first layer (64 published).
        dropout: rate in the decoder's layers of 8·width channels (0.5 published).
        bird_eye: take the projection of the picture into the other view, and its mask, as a second input [ours].
        classes: None for the published segmentation picture (3 channels, tanh); a number for logits of classes [ours].
        metres: width of the tile.
        reads, draws: "ground" or "aerial".
        edges: take Canny edges as a fourth channel.
        heads: what is drawn, of "image" and "labels"; the image alone is pix2pix.
        rays: channels of features that are read from each column of a panorama and written along its ray [ours].
        painted: a second, small network paints the picture, over the branch's own as a sketch, upon the classes that
            the other branch has decided on; where there is none, upon the features that the sketch comes from, which
            a trunk gives, and with the bird's eye's fine detail laid over the sketch first [ours].
        grain, strength: how rough and how strongly it paints, 1 as in training.
        trunk: a ResNet-18 reads the bird's eye and the rays, in the place of plain convolutions [ours].
        detail: metres from the camera to which that detail is laid; beyond, the bird's eye shows smears.

    Raises:
        ValueError: a size, view or head that cannot be.
    """

    needs: tuple[str, ...] = ()
    samples = False

    def __init__(
        self,
        size: int = 512,
        width: int = 64,
        dropout: float = 0.5,
        bird_eye: bool = False,
        classes: int | None = None,
        metres: float = 64.0,
        reads: str = GROUND,
        draws: str = AERIAL,
        edges: bool = False,
        heads: Sequence[str] = HEADS,
        rays: int = 0,
        painted: bool = False,
        grain: float = 1.0,
        strength: float = 1.0,
        trunk: bool = False,
        detail: float = 28.0,
    ) -> None:
        super().__init__()
        levels = int(math.log2(size)) - 2
        if 2 ** (levels + 2) != size or not 3 <= levels <= 7:
            raise ValueError(f"size is {size}: use 32, 64, 128, 256 or 512.")
        if not heads or not set(heads) <= set(HEADS):
            raise ValueError(f"heads is {heads}: name one or both of {' and '.join(HEADS)}.")
        paints, labels = "image" in heads, "labels" in heads
        if painted and not (paints and (classes if labels else trunk)):
            raise ValueError("painted=True needs the image's head, and the labels' with their number or a trunk.")
        if rays and (reads, draws) != (GROUND, AERIAL):
            raise ValueError("rays run from a panorama into a tile: leave them out for other views.")
        if trunk and not (bird_eye and rays and size <= 128):
            raise ValueError("trunk=True needs bird_eye=True, rays, and a size of 128 at most.")
        self.size, self.bird_eye, self.classes, self.metres = size, bird_eye, classes, metres
        self.reads, self.draws, self.edges, self.detail = reads, draws, edges, detail
        self.input_shape, (rows, columns) = frame(reads, size), frame(draws, size)
        self.start = (rows >> levels, columns >> levels)
        encoder = [width * m for m in ENCODER[:levels]]
        decoder = [width * m for m in DECODER[len(DECODER) - (levels - 2) :]]
        steps = list(zip([4 if edges else 3, *encoder[:-1]], encoder, strict=True))
        self.encoder = nn.Sequential(*(down(i, o, norm=n > 0) for n, (i, o) in enumerate(steps)))
        beside = (4 if bird_eye else 0) + rays  # channels that join the decoder in the frame that is drawn
        overhead = [min(width * 4, width * 2**n) for n in range(levels - 1)] if beside else []
        self.overhead: nn.Module = PlanEncoder(4, rays, width, levels - 1) if trunk else Pyramid(beside, overhead)
        # from twice the start to half the size, as the decoder meets them
        skips = self.overhead.channels if isinstance(self.overhead, PlanEncoder) else overhead[::-1]
        wide = [encoder[-1], *(c + (skips[n] if beside else 0) for n, c in enumerate(decoder))]
        rates = [dropout if c == 8 * width else 0.0 for c in decoder]
        self.decoder = nn.ModuleList(up(i, o, r) for i, o, r in zip(wide[:-1], decoder, rates, strict=True))
        half = width + (skips[-1] if beside else 0)
        self.image_up = up(wide[-1], width) if paints else None
        self.image_out = self._out(half, 3, width, trunk) if paints else None
        self.label_up = up(wide[-1], width) if labels else None
        self.label_out = self._out(half, classes or 3, width, trunk) if labels else None
        for part in self.children():
            if not isinstance(part, PlanEncoder):
                part.apply(initialise)
        self.painter = None
        if painted and labels:
            self.painter = Painter(classes or 0, width, grain, strength)
        elif painted:
            self.painter = Painter(0, width, grain, strength, features=2 * width + 3)
        self.rays = RayProjector.over_tile(size // 2, metres, rays) if rays else None

    def hint(self, query: Query) -> Tensor | None:
        """The second input that this generator takes: (B, 4, …) projection and mask of the size it draws, or None."""
        if not self.bird_eye:
            return None
        if self.reads == GROUND:
            project = BirdEye(pixels=self.size, metres=self.metres)
            return torch.cat(project(query.image, query.mask, query.camera_height), 1)
        rows, columns = frame(GROUND, self.size)
        return torch.cat(StreetEye(rows, columns, self.metres)(query.image, query.camera_height), 1)

    def forward(self, view: Tensor, hint: Tensor | None = None) -> tuple[Tensor | None, Tensor | None]:
        """Draw the other view.

        Args:
            view: (B, 3, H, W) in [0, 1], a full panorama, ±45°, or a tile, resized to the input's size if need be.
            hint: (B, 4, rows, columns) what `hint` gives, in the frame that is drawn; needed with `bird_eye`.

        Returns:
            image (B, 3, rows, columns) in [0, 1]; segmentation (B, 3, …) in [0, 1] or logits (B, classes, …). None
            for a head that this generator does not have. The upper edge of a tile, and the centre column of a strip,
            lie in the direction of the input's.

        Raises:
            ValueError: the hint is missing.
        """
        image, labels, told = self.draft(view, hint)
        return image if self.painter is None else self.painter(image, told), labels

    def sketch(self, view: Tensor, hint: Tensor | None = None) -> tuple[Tensor | None, Tensor | None]:
        """What the two branches draw: as `forward`, before it is painted."""
        return self.draft(view, hint)[:2]

    def draft(self, view: Tensor, hint: Tensor | None = None) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """As `sketch`, and what a painter is told: classes (B, rows, columns), or features and detail (B, C, …)."""
        if self.bird_eye and hint is None:
            raise ValueError("This generator has bird_eye=True: pass the bird's-eye projection and its mask.")
        skips, fine = self._overhead(view, hint if self.bird_eye else None)
        if view.shape[-2:] != self.input_shape:
            view = nn.functional.interpolate(view, self.input_shape, mode="area")
        x = view * 2 - 1
        if self.edges:
            x = torch.cat((x, canny(view)), 1)
        x = self.encoder(x.contiguous(memory_format=torch.channels_last))
        x = x.reshape(len(x), -1, *self.start)
        for n, layer in enumerate(self.decoder):
            x = layer(x)
            x = torch.cat((x, skips[n]), 1) if skips else x
        image, features = self._head(self.image_up, self.image_out, x, skips, fine)
        labels, _ = self._head(self.label_up, self.label_out, x, skips, fine)
        if labels is not None and self.classes is None:
            labels = labels.tanh() * 0.5 + 0.5
        told = None if labels is None else labels.argmax(1)
        if labels is None and features is not None and hint is not None:
            told = torch.cat((features, fine_detail(hint, self.metres, self.detail)), 1)
        return None if image is None else image.tanh() * 0.5 + 0.5, labels, told

    def _overhead(self, view: Tensor, hint: Tensor | None) -> tuple[list[Tensor], Tensor | None]:
        """Features of what is known in the frame that is drawn: coarsest first, and a trunk's of full resolution."""
        flat = [] if hint is None else [hint[:, :3] * 2 - 1, hint[:, 3:]]
        rays = [] if self.rays is None else [self.rays(view)]
        if isinstance(self.overhead, PlanEncoder):
            *skips, fine = self.overhead(torch.cat(flat, 1), rays[0])
            return skips, fine
        beside = flat + [nn.functional.interpolate(x, scale_factor=2.0, mode="bilinear") for x in rays]
        if not beside:
            return [], None
        return self.overhead(torch.cat(beside, 1).contiguous(memory_format=torch.channels_last)), None

    @staticmethod
    def _out(inputs: int, outputs: int, width: int, trunk: bool) -> nn.Module:
        """The last layer of a branch; a trunk's features of full resolution join before it."""
        if not trunk:
            return nn.ConvTranspose2d(inputs, outputs, 4, 2, 1)
        return nn.ModuleList([up(inputs, width), nn.Conv2d(2 * width, outputs, 3, padding=1)])

    @staticmethod
    def _head(
        enlarge: nn.Module | None, out: nn.Module | None, x: Tensor, skips: list[Tensor], fine: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None]:
        """What a branch gives, and with a trunk the features of full resolution that it comes from."""
        if enlarge is None or out is None:
            return None, None
        x = enlarge(x)
        x = torch.cat((x, skips[-1]), 1) if skips else x
        if fine is None or not isinstance(out, nn.ModuleList):
            return out(x).float(), None
        x = torch.cat((out[0](x), fine), 1)
        return out[1](x).float(), x

    def draw(self, query: Query, sampling: Sampling | None = None) -> Drawn:
        """The other view of each picture, and its logits where this generator has them; nothing is random."""
        image, labels = self(query.image, self.hint(query))
        return Drawn(image, labels if self.classes else None)
