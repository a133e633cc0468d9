"""X-Seq: two generators in sequence, the first draws the other view, the second segments what the first drew.

Regmi & Borji, CVPR 2018 (https://arxiv.org/abs/1803.03396), section 3.3. The second generator's loss reaches the first
through its picture, scaled by 0.1. Each is judged by a conditional PatchGAN together with what it was made from.

| stage | published (size 512, width 64) | bundled (size 128, width 32, bird's eye) |
|---|---|---|
| input | (B, 3, 256, 1024) strip | (B, 3, 64, 256) strip, (B, 4, 128, 128) bird's eye and mask |
| first, an X-Fork generator with the image alone | (B, 3, 512, 512) | (B, 3, 128, 128) |
| second, one with the segmentation alone | (B, 3, 512, 512) | (B, 8, 128, 128) logits |

With `bird_eye` the second generator also sees its picture at full resolution, as the hint that it needs [ours].
"""

from typing import Any

import torch
from torch import Tensor

from xview_demo.models.hub import HubModel
from xview_demo.models.synthesis.interface import AERIAL, GROUND, Drawn, Query, Sampling
from xview_demo.models.synthesis.layers import Painter, scale_gradient
from xview_demo.models.synthesis.xfork import XForkGenerator


class XSeqGenerator(HubModel):
    """One view → the other view → its segmentation.

    Args:
        size, width, dropout, bird_eye, classes, metres, reads, draws: as `XForkGenerator`'s.
        rays, trunk: as `XForkGenerator`'s, of the first generator.
        painted, grain, strength: a painter paints over the first generator's picture, upon the second's classes, as in
            `XForkGenerator` [ours].
        gradient: factor of the second generator's gradient in the first (0.1 published).

    Raises:
        ValueError: as `XForkGenerator`, or painted=True without classes.
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
        gradient: float = 0.1,
        rays: int = 0,
        trunk: bool = False,
        painted: bool = False,
        grain: float = 1.0,
        strength: float = 1.0,
    ) -> None:
        super().__init__()
        self.size, self.bird_eye, self.classes, self.metres = size, bird_eye, classes, metres
        self.reads, self.draws, self.gradient = reads, draws, gradient
        also: dict[str, Any] = {"heads": ("image",), "rays": rays, "trunk": trunk}
        self.first = XForkGenerator(size, width, dropout, bird_eye, None, metres, reads, draws, **also)
        self.second = XForkGenerator(size, width, dropout, bird_eye, classes, metres, draws, draws, heads=("labels",))
        if painted and not classes:
            raise ValueError("painted=True needs the number of classes.")
        self.painter = Painter(classes or 0, width, grain, strength) if painted else None

    def hint(self, query: Query) -> Tensor | None:
        """The second input of the first generator, or None."""
        return self.first.hint(query)

    def forward(self, view: Tensor, hint: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """As `XForkGenerator`'s."""
        image, labels = self.sketch(view, hint)
        return image if self.painter is None else self.painter(image, labels.argmax(1)), labels

    def sketch(self, view: Tensor, hint: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """What the two generators draw: as `forward`, before it is painted."""
        image, _ = self.first(view, hint)
        seen = scale_gradient(image, self.gradient)
        whole = torch.cat((seen, torch.ones_like(seen[:, :1])), 1) if self.bird_eye else None
        return image, self.second(seen, whole)[1]

    def draw(self, query: Query, sampling: Sampling | None = None) -> Drawn:
        """The other view of each picture, and its logits where this generator has them; nothing is random."""
        image, labels = self(query.image, self.hint(query))
        return Drawn(image, labels if self.classes else None)
