"""RGBDS: a Swin transformer reads a panorama's colour, depth and classes; a decoder of deconvolutions draws the tile.

The generator of the CV_project system: RGB panorama, depth map and segmentation, pretrained Swin encoder (Liu et al.
2021, https://arxiv.org/abs/2103.14030, by timm), transposed convolutions; the tile is segmented by a U-Net of its own.

| stage | published (size 512, Swin-T) | bundled (size 128, bird's eye) |
|---|---|---|
| strip: RGB, 1 / (1 + depth / 10 m), one-hot classes | (B, 12, 256, 1024) | (B, 12, 64, 256) |
| Swin, stride 32 | 768×8×32 | 384×2×8 |
| reshape | 768×16×16 | 384×4×4 |
| hint: bird's eye and mask | | (B, 4, 128, 128) |
| plan: pixels set down, columns along rays | | (B, 12, 64, 64), (B, 16, 64, 64) |
| ResNet-18 over both, strides 2 … 16 | | 64, 64, 128, 256 |
| decoder, k4 s2 | 512, 256, 128, 64 | 256, 128, 64, 32, each joined by those features |
| out, k4 s2, tanh | (B, 3, 512, 512) | 16, joined by the hint's, k3: image (B, 3, 128, 128) and logits of classes |

Hint and plan are ours: the bird's-eye view of the picture; its pixels (colour and class) set down where their depth
says they stand, which shows walls, trunks and kerbs in their true places, and what a network reads in each of its
columns (`models.rays`). So are the classes that are drawn beside the picture, and the painter, as in `xfork`.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xview_demo.models.blocks import IMAGENET_MEAN, IMAGENET_STD
from xview_demo.models.hub import HubModel
from xview_demo.models.rays import RayProjector
from xview_demo.models.synthesis.bird_eye import BirdEye
from xview_demo.models.synthesis.interface import AERIAL, GROUND, Drawn, Query, Sampling, frame
from xview_demo.models.synthesis.layers import Painter, PlanEncoder, convolved, initialise, up

NEAR = 10.0  # metres, the depth at which the depth channel is one half
STRIDE = 32  # of a Swin transformer's last stage


def lift(values: Tensor, depth: Tensor, weight: Tensor, pixels: int, metres: float, vfov: float = 90.0) -> Tensor:
    """Set the pixels of level strips down on the ground plan, each where its depth says it stands.

    Args:
        values: (B, C, H, W).
        depth: (B, H, W) metres along the ray; pixels at infinity stand nowhere.
        weight: (B, 1, H, W), 0 leaves a pixel out.
        pixels: P, side of the plan.
        metres: width of the plan; the camera stands over its middle.
        vfov: degrees from top to bottom of the strips, half above the horizon.

    Returns:
        (B, C + 1, P, P): mean of the values in each cell (0 where none stands), and 1 where one stands. The upper edge
        lies in the direction of the strips' centre column.
    """
    b, channels, height, width = values.shape
    rows, columns = torch.arange(height, device=depth.device), torch.arange(width, device=depth.device)
    elevation = (0.5 - (rows + 0.5) / height) * math.radians(vfov)
    bearing = ((columns + 0.5) / width - 0.5) * 2 * math.pi
    away = torch.where(depth.isfinite(), depth, 1e6) * elevation.cos()[:, None] / metres * pixels
    column = (away * bearing.sin() + pixels / 2).floor()
    row = (pixels / 2 - away * bearing.cos()).floor()
    on = (column >= 0) & (column < pixels) & (row >= 0) & (row < pixels)
    index = torch.where(on, row * pixels + column, 0).long().flatten(1)
    share = (weight[:, 0] * on).flatten(1)[:, None]
    laid = torch.cat((values.flatten(2), torch.ones_like(share)), 1) * share
    plan = torch.zeros(b, channels + 1, pixels * pixels, dtype=laid.dtype, device=laid.device)
    plan.scatter_add_(2, index[:, None].expand_as(laid), laid)
    count = plan[:, -1:]
    mean = plan[:, :-1] / count.clamp_min(1e-6)
    return torch.cat((mean * (count > 0), (count > 0).to(mean)), 1).view(b, channels + 1, pixels, pixels)


class RGBDSGenerator(HubModel):
    """Panorama, depth and classes → aerial view.

    Args:
        size: side of the tile in pixels, a power of two from 64; the strip is (size / 2, 2·size).
        encoder: name of a Swin transformer in timm; its weights start random (see `start_from_imagenet`).
        swin: keywords of that transformer other than its own (`embed_dim`, `depths`, `num_heads`, `window_size`).
        width: channels of the decoder's last layer but one (64 published).
        classes: number of classes of the segmentation.
        bird_eye: give the decoder hint and plan, and let it draw the tile's classes beside its picture [ours].
        metres: width of the tile.
        rays: channels of features that are read from each column and written along its ray, a part of the plan [ours].
        painted: a small network paints the picture, over the decoder's own as a sketch, upon those classes [ours].
        grain, strength: how rough and how strongly it paints, 1 as in training.

    Raises:
        ValueError: a size that cannot be, or rays or a painter without `bird_eye`.
    """

    reads, draws, samples = GROUND, AERIAL, False
    needs: tuple[str, ...] = ("depth", "labels")
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        size: int = 512,
        encoder: str = "swin_tiny_patch4_window7_224",
        swin: dict[str, Any] | None = None,
        width: int = 64,
        classes: int = 8,
        bird_eye: bool = False,
        metres: float = 64.0,
        rays: int = 0,
        painted: bool = False,
        grain: float = 1.0,
        strength: float = 1.0,
    ) -> None:
        super().__init__()
        if size < 64 or size & (size - 1):
            raise ValueError(f"size is {size}: use 64, 128, 256 or 512.")
        if (rays or painted) and not bird_eye:
            raise ValueError("rays and painted need bird_eye=True.")
        self.size, self.bird_eye, self.classes, self.metres = size, bird_eye, classes, metres
        self.name, self.swin_options = encoder, dict(swin or {})
        self.encoder = self._swin(3 + 1 + classes)
        levels = int(math.log2(STRIDE)) - 1  # of the decoder, the last layer aside
        decoder = [width * 2**n for n in reversed(range(levels))]
        fine = max(8, width // 2)
        self.overhead = PlanEncoder(4, 3 + classes + 1 + rays, fine, levels) if bird_eye else None
        joined = self.overhead.channels if self.overhead else [0] * levels
        wide = [self.encoder.feature_info.channels()[-1], *(d + j for d, j in zip(decoder, joined, strict=True))]
        self.decoder = nn.ModuleList(up(i, o) for i, o in zip(wide[:-1], decoder, strict=True))
        self.out: nn.Module = nn.ConvTranspose2d(wide[-1], 3, 4, 2, 1)
        self.enlarge = None
        if bird_eye:
            self.enlarge = up(wide[-1], fine)
            self.out = nn.Sequential(convolved(2 * fine, fine), nn.Conv2d(fine, 3 + classes, 3, padding=1))
            self.enlarge.apply(initialise)
        for part in (self.decoder, self.out):
            part.apply(initialise)
        self.painter = Painter(classes, width, grain, strength, (1, 2, 4, 8)) if painted else None
        self.rays = RayProjector.over_tile(size // 2, metres, rays) if rays else None
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)

    def _swin(self, channels: int, pretrained: bool = False) -> Any:
        import timm

        return timm.create_model(
            self.name, pretrained=pretrained, features_only=True, out_indices=(3,), in_chans=channels,
            img_size=frame(GROUND, self.size), **self.swin_options,
        )  # fmt: skip

    def start_from_imagenet(self) -> None:
        """Fetch the encoder's ImageNet weights through timm, for a training run; nothing of this is stored."""
        self.adopt(self._swin(3, pretrained=True).state_dict())

    def adopt(self, state: dict[str, Tensor]) -> None:
        """Take over the weights of an encoder that reads RGB; depth and classes start without influence."""
        state = dict(state)
        patches = torch.zeros_like(self.encoder.state_dict()["patch_embed.proj.weight"])
        patches[:, :3] = state["patch_embed.proj.weight"]
        state["patch_embed.proj.weight"] = patches
        self.encoder.load_state_dict(state, strict=True)

    def stack(self, query: Query) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor]:
        """What `forward` takes of a query: the strip's channels; hint and plan, or None; the picture for the rays.

        Raises:
            ValueError: the query has no depth or no classes.
        """
        if query.depth is None or query.labels is None:
            raise ValueError("RGBDS draws from colour, depth and classes: give the query's depth and labels.")
        shape = frame(GROUND, self.size)
        image = F.interpolate(query.image, shape, mode="area")
        depth = F.interpolate(query.depth[:, None].float(), shape, mode="nearest")
        labels = F.interpolate(query.labels[:, None].float(), shape, mode="nearest")[:, 0].long()
        kinds = F.one_hot(labels, self.classes).permute(0, 3, 1, 2).to(image)
        strip = torch.cat((image, 1 / (1 + depth / NEAR), kinds), 1)
        if not self.bird_eye:
            return strip, None, None, query.image
        weight = torch.ones_like(depth) if query.mask is None else F.interpolate(query.mask, shape, mode="nearest")
        plan = lift(torch.cat((image, kinds), 1), depth[:, 0], weight, self.size // 2, self.metres)
        project = BirdEye(pixels=self.size, metres=self.metres)
        return strip, torch.cat(project(query.image, query.mask, query.camera_height), 1), plan, query.image

    def forward(
        self, strip: Tensor, hint: Tensor | None = None, plan: Tensor | None = None, image: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Draw the tile.

        Args:
            strip: (B, 4 + classes, size / 2, 2·size) colour in [0, 1], depth channel, one-hot classes, from `stack`.
            hint: (B, 4, size, size) bird's-eye view and mask, from `stack`; needed with `bird_eye`, as is the next.
            plan: (B, 4 + classes, size / 2, size / 2) the pixels set down where their depth says, from `stack`.
            image: (B, 3, H, W) in [0, 1], of which rays are read; the strip's own colour when left out.

        Returns:
            (B, 3, size, size) in [0, 1], and with `bird_eye` logits (B, classes, size, size), else None. The upper
            edge lies in the direction of the strip's centre column.

        Raises:
            ValueError: the hint or the plan is missing.
        """
        drawn, labels = self.sketch(strip, hint, plan, image)
        if self.painter is None or labels is None:
            return drawn, labels
        return self.painter(drawn, labels.argmax(1)), labels

    def sketch(
        self, strip: Tensor, hint: Tensor | None = None, plan: Tensor | None = None, image: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """What the decoder draws: as `forward`, before it is painted."""
        if self.bird_eye and (hint is None or plan is None):
            raise ValueError("This generator has bird_eye=True: pass the hint and the plan that `stack` gives.")
        x = torch.cat(((strip[:, :3] - self.mean) / self.std, strip[:, 3:] * 2 - 1), 1)
        x = self.encoder(x)[-1].permute(0, 3, 1, 2)
        x = x.reshape(len(x), -1, self.size // STRIDE, self.size // STRIDE)
        if hint is None or plan is None or self.overhead is None or self.enlarge is None:
            for layer in self.decoder:
                x = layer(x)
            return self.out(x).float().tanh() * 0.5 + 0.5, None
        if self.rays is not None:
            plan = torch.cat((plan, self.rays(strip[:, :3] if image is None else image)), 1)
        *skips, fine = self.overhead(hint, plan)
        for layer, skip in zip(self.decoder, skips, strict=True):
            x = torch.cat((layer(x), skip), 1)
        x = self.out(torch.cat((self.enlarge(x), fine), 1)).float()
        return x[:, :3].tanh() * 0.5 + 0.5, x[:, 3:]

    def draw(self, query: Query, sampling: Sampling | None = None) -> Drawn:
        """The tile of each strip and its classes; nothing is drawn at random."""
        return Drawn(*self(*self.stack(query)))
