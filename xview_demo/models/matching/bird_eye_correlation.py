"""Dense matching without weights: the bird's-eye view of a panorama laid over the tile, by normalised correlation.

The ground that a panorama shows, seen from above, looks like the tile around the camera. Three colour contrasts
(lightness, red–green, yellow–blue), each as differences of Gaussians at several scales, are compared by a weighted
normalised cross-correlation (Lewis, "Fast normalized cross-correlation", 1995) over shifts of the camera and headings.
Nothing is learned, so nothing is overfitted: its score complements that of a trained descriptor.

| stage | shape |
|---|---|
| strip → bird's-eye view, 0.8 m/px, 48 m | (B, 3, 60, 60) and weight (B, 1, 60, 60) |
| tile, 64 m, 0.8 m/px | (B, 3, 80, 80) |
| contrasts | (B, 3 · scales, …) |
| correlation | (headings, tiles, shifts), the maximum over shifts is the score |

A descriptor is the small picture itself, unit length; a query's is padded with zeros to the length of a tile's.
"""

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xview_demo.geometry import bird_eye_grid, inside, sample
from xview_demo.geometry.overhead import CAMERA_HEIGHT

TILE_METRES = 64.0


@lru_cache(maxsize=64)
def _gaussian(sigma: float) -> Tensor:
    reach = max(1, math.ceil(3 * sigma))
    weight = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma).square())
    return weight / weight.sum()


def blur(image: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of (B, C, H, W) with a standard deviation of `sigma` pixels; edges repeat the last pixel."""
    kernel = _gaussian(sigma).to(image)
    reach, channels = len(kernel) // 2, image.shape[1]
    across, down = kernel.view(1, 1, 1, -1), kernel.view(1, 1, -1, 1)
    image = F.pad(image, (reach, reach, reach, reach), mode="replicate")
    image = F.conv2d(image, across.expand(channels, 1, 1, -1), groups=channels)
    return F.conv2d(image, down.expand(channels, 1, -1, 1), groups=channels)


def contrasts(image: Tensor, scales: tuple[float, ...]) -> Tensor:
    """Colour (B, 3, H, W) → contrasts (B, 3 · len(scales), H, W): what is finer than 4σ and coarser than σ pixels."""
    red, green, blue = image.unbind(1)
    opponents = torch.stack((image.mean(1), red - green, 0.5 * (red + green) - blue), 1)
    return torch.cat([blur(opponents, s) - blur(opponents, 4 * s) for s in scales], 1)


def weighted_correlation(query: Tensor, weight: Tensor, tiles: Tensor, shifts: list[tuple[int, int]]) -> Tensor:
    """Weighted normalised cross-correlation, the mean over channels.

    Args:
        query: (R, C, P, P) maps, usually one view at R headings.
        weight: (R, P, P) or (P, P), ≥ 0, how much each place counts.
        tiles: (N, C, T, T), T ≥ P.
        shifts: (rows, columns) by which the query's middle lies off the tile's, |shift| ≤ (T − P) / 2.

    Returns:
        (R, N, len(shifts)) in [-1, 1].
    """
    side, room = query.shape[-1], (tiles.shape[-1] - query.shape[-1]) // 2
    shared = weight.dim() == 2
    w = (weight[None] if shared else weight).flatten(1)
    w = w / w.sum(1, keepdim=True).clamp_min(1e-9)  # (1 or R, P²)
    q = query.flatten(2)
    q = q - (q * w[:, None]).sum(2, keepdim=True)
    energy = (q.square() * w[:, None]).sum(2)  # (R, C)
    q = q * w[:, None] / energy.clamp_min(1e-12).sqrt()[..., None]
    found = []
    for row, column in shifts:
        top, left = room + row, room + column
        patch = tiles[..., top : top + side, left : left + side].flatten(2)
        mean = torch.einsum("ncp,rp->rnc", patch, w)
        variance = torch.einsum("ncp,rp->rnc", patch.square(), w) - mean.square()
        product = torch.bmm(q.transpose(0, 1), patch.permute(1, 2, 0)).permute(1, 2, 0)  # (R, N, C)
        found.append((product / variance.clamp_min(1e-8).sqrt()).mean(2))
    return torch.stack(found, 2)


class BirdEyeCorrelation(nn.Module):
    """Compares views with tiles by what the ground looks like from above.

    Args:
        metres: width of the bird's-eye view.
        resolution: metres per pixel of both pictures.
        reach: metres by which the camera may be off the tile's centre along each axis.
        step: metres between the shifts that are tried.
        camera_height: metres above the ground.
        surface: of the projection, "flat" or "curved".
        spread: metres, σ of the Gaussian by which near ground counts more.
        hole: metres around the camera that do not count (the car, the blind disc).
        scales: σ of the contrasts in metres.
        headings: number of headings that are tried when it is unknown.
        calibration: temperatures that turn scores into probabilities, heading known and unknown.
    """

    def __init__(
        self,
        metres: float = 48.0,
        resolution: float = 0.8,
        reach: float = 3.2,
        step: float = 0.8,
        camera_height: float = CAMERA_HEIGHT,
        surface: str = "flat",
        spread: float = 14.0,
        hole: float = 3.5,
        scales: tuple[float, ...] = (0.8, 1.6, 3.2),
        headings: int = 72,
        calibration: tuple[float, float] = (0.05, 0.05),
    ) -> None:
        super().__init__()
        self.pixels, self.tile_pixels = round(metres / resolution), round(TILE_METRES / resolution)
        self.metres, self.resolution, self.headings = metres, resolution, headings
        self.camera_height, self.surface = camera_height, surface
        self.calibration = tuple(calibration)
        self.scales = tuple(s / resolution for s in scales)
        limit = min(round(reach / resolution), (self.tile_pixels - self.pixels) // 2)
        every = max(1, round(step / resolution))
        offsets = sorted({*range(0, limit + 1, every), *range(0, -limit - 1, -every)})
        self.shifts = [(row, column) for row in offsets for column in offsets]
        place = (torch.arange(self.pixels) + 0.5) * resolution - metres / 2
        distance = torch.hypot(place[:, None], place[None])
        self.register_buffer(
            "near", torch.exp(-0.5 * (distance / spread).square()) * (distance > hole), persistent=False
        )

    near: Tensor

    @property
    def dimension(self) -> int:
        """Length of a descriptor."""
        return max(3 * self.tile_pixels**2, 4 * self.pixels**2)

    def features(self, image: Tensor, view: str) -> Tensor:
        """Maps (B, C, P, P) of a picture seen from above (B, 3, P, P); `view` is "ground" or "aerial"."""
        return contrasts(image, self.scales)

    def encode_ground(self, strip: Tensor, mask: Tensor | None = None) -> Tensor:
        """Strip (B, 3, H, W) in [0, 1], mask (B, 1, H, W) → descriptors (B, D): bird's-eye view and weight."""
        grid = bird_eye_grid(
            self.pixels, self.metres, surface=self.surface, camera_height=self.camera_height, vfov=90.0
        ).to(strip)
        seen = inside(grid).to(strip).expand(len(strip), 1, -1, -1)
        if mask is not None:
            seen = seen * sample(mask.to(strip), grid, padding="wrap")
        whole = torch.cat((sample(strip, grid, padding="wrap"), seen * self.near), 1).flatten(1)
        return F.normalize(F.pad(whole, (0, self.dimension - whole.shape[1])), dim=1)

    def encode_aerial(self, tile: Tensor) -> Tensor:
        """Tile (B, 3, P, P) in [0, 1], 64 m wide, north up → descriptors (B, D)."""
        side = self.tile_pixels
        tile = F.interpolate(tile, (side, side), mode="bilinear", antialias=True)
        return F.normalize(F.pad(tile.flatten(1), (0, self.dimension - tile[0].numel())), dim=1)

    def _view(self, descriptor: Tensor) -> tuple[Tensor, Tensor]:
        """Bird's-eye view (3, P, P) and weight (P, P) of a query's descriptor (D,)."""
        picture = descriptor[: 4 * self.pixels**2].view(4, self.pixels, self.pixels)
        return picture[:3] / picture[:3].amax().clamp_min(1e-9), picture[3]

    def _tiles(self, descriptors: Tensor) -> Tensor:
        side = self.tile_pixels
        pictures = descriptors[:, : 3 * side**2].view(-1, 3, side, side)
        return self.features(pictures / pictures.amax((1, 2, 3), keepdim=True).clamp_min(1e-9), "aerial")

    def _turned(self, picture: Tensor, weight: Tensor, headings: Tensor) -> tuple[Tensor, Tensor]:
        """Maps (R, C, P, P) and weights (R, P, P) of a view whose centre column looks along each heading (R,)."""
        angle = headings.to(picture) * (math.pi / 180)
        zero = torch.zeros_like(angle)
        theta = torch.stack((angle.cos(), angle.sin(), zero, -angle.sin(), angle.cos(), zero), 1).view(-1, 2, 3)
        grid = F.affine_grid(theta, [len(angle), 4, self.pixels, self.pixels], align_corners=False)
        both = torch.cat((picture, weight[None])).expand(len(angle), -1, -1, -1)
        picture = F.grid_sample(both[:, :3], grid, padding_mode="border", align_corners=False)
        weight = F.grid_sample(both[:, 3:], grid, padding_mode="zeros", align_corners=False)
        return self.features(picture, "ground"), weight[:, 0]

    def volume(self, query: Tensor, reference: Tensor, headings: Tensor, chunk: int = 64) -> Tensor:
        """Correlation of one query (D,) with references (N, D) at headings (R,) degrees: (R, N, shifts)."""
        maps, weight = self._turned(*self._view(query), headings)
        parts = [weighted_correlation(maps, weight, self._tiles(part), self.shifts) for part in reference.split(chunk)]
        return torch.cat(parts, 1)

    @torch.no_grad()
    def aligned(self, query: Tensor, reference: Tensor) -> Tensor:
        """Scores (Q, N) of queries whose centre column looks north."""
        north = torch.zeros(1)
        return torch.stack([self.volume(one, reference, north)[0].amax(1) for one in query])

    @torch.no_grad()
    def score(self, query: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
        """Best scores (Q, N) over headings and shifts, and the headings (Q, N) in degrees clockwise from north."""
        headings = torch.arange(self.headings) * (360.0 / self.headings)
        scores, best = zip(*(self.volume(one, reference, headings).amax(2).max(0) for one in query), strict=True)
        return torch.stack(scores), headings[torch.stack(best)]

    @torch.no_grad()
    def offsets(self, query: Tensor, reference: Tensor, heading: float = 0.0) -> Tensor:
        """(N, 2) metres east and north of each tile's centre where a query (D,) with this heading fits best."""
        best = self.volume(query, reference, torch.tensor([heading]))[0].argmax(1)
        shifts = torch.tensor(self.shifts, dtype=torch.float32)[best] * self.resolution
        return torch.stack((shifts[:, 1], -shifts[:, 0]), 1)
