"""Dense matching without weights: the bird's-eye view of a panorama laid over the tile, by normalised correlation.

The ground that a panorama shows, seen from above, looks like the tile around the camera. Three colour contrasts
(lightness, red–green, yellow–blue), each as differences of Gaussians at several scales, are compared by a weighted
normalised cross-correlation (Lewis, "Fast normalized cross-correlation", 1995) over positions of the camera, headings
and camera heights, which scale the view. Nothing is learned, so nothing is overfitted: its score complements that of a
trained descriptor.

| stage | shape |
|---|---|
| strip → bird's-eye view 48 m wide, and where it is seen | (B, 3, P, P) and (B, 1, P, P) |
| tile, 64 m | (B, 3, T, T) |
| maps, `stride` times coarser | (B, C, P / stride, P / stride) and (B, C, T / stride, T / stride) |
| correlation | (headings · heights, tiles, shifts); its maximum is the score |

A query's descriptor is its bird's-eye view, a tile's are its maps: they depend on nothing else. The shorter of the two
is padded with zeros, and both have unit length, which the correlation does not see.
"""

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from xview_demo.geometry import bird_eye_grid, inside, sample
from xview_demo.geometry.overhead import CAMERA_HEIGHT, TILE_METRES
from xview_demo.models.matching.judging import Fit, Judge

SPAN = 15.0  # degrees on either side of a first matcher's heading that are searched again
HEIGHTS = (2.0, 2.5, 3.1)  # metres of the camera above the ground that are tried: scales of 0.8 to 1.25


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


def weighted_correlation(
    query: Tensor, weight: Tensor, tiles: Tensor, shifts: list[tuple[int, int]], joint: bool = False
) -> Tensor:
    """Weighted normalised cross-correlation over shifts.

    Args:
        query: (R, C, P, P) maps of several views, or of one in several poses.
        weight: (R, P, P), or (P, P) for all, ≥ 0, how much each place counts.
        tiles: (N, C, T, T), T ≥ P.
        shifts: (rows, columns) by which the query's middle lies off the tile's, |shift| ≤ (T − P) / 2.
        joint: the channels are one long vector and share a length, so that strong ones count more; else each channel is
            normalised by itself and the mean is taken.

    Returns:
        (R, N, len(shifts)) in [-1, 1].
    """
    side, channels = query.shape[-1], query.shape[1]
    reach = max(max(abs(row), abs(column)) for row, column in shifts)
    room = (tiles.shape[-1] - side) // 2 - reach
    tiles = tiles[..., room : room + side + 2 * reach, room : room + side + 2 * reach]
    w = weight[None] if weight.dim() == 2 else weight
    w = (w / w.sum((1, 2), keepdim=True).clamp_min(1e-9))[:, None]  # (1 or R, 1, P, P)
    q = query - (query * w).sum((2, 3), keepdim=True)
    energy = (q.square() * w).sum((2, 3), keepdim=True)  # (R, C, 1, 1)
    q = q * w / (energy.sum(1, keepdim=True) if joint else energy).clamp_min(1e-12).sqrt()
    flat = tiles.flatten(0, 1)[:, None]
    mean, square = (F.conv2d(x, w).unflatten(0, (-1, channels)) for x in (flat, flat.square()))  # (N, C, R, S, S)
    variance = (square - mean.square()).clamp_min(0)
    if joint:
        found = F.conv2d(tiles, q) / variance.sum(1).clamp_min(1e-8).sqrt()
    else:
        kernels = q.transpose(0, 1).flatten(0, 1)[:, None]  # (C · R, 1, P, P)
        product = F.conv2d(tiles, kernels, groups=channels).unflatten(1, (channels, -1))
        found = (product / variance.clamp_min(1e-8).sqrt()).mean(1)
    at = torch.tensor([(row + reach) * (2 * reach + 1) + column + reach for row, column in shifts])
    return found.flatten(2)[..., at].transpose(0, 1)


class BirdEyeCorrelation(Judge):
    """Compares views with tiles by what the ground looks like from above.

    Args:
        metres: width of the bird's-eye view.
        resolution: metres per pixel of both pictures.
        stride: pixels per cell of the maps.
        reach: metres by which the camera may be off the tile's centre along each axis.
        step: metres between the shifts that are tried.
        heights: camera heights in metres that are tried.
        surface: of the projection, "flat" or "curved".
        spread: metres, σ of the Gaussian by which near ground counts more.
        hole: metres around the camera that do not count (the car, the blind disc).
        scales: σ of the contrasts in metres.
        headings: number of headings that are tried when it is unknown.
        calibration: temperatures that turn its own scores into probabilities, heading known and unknown: a guess, as it
            is meant to re-rank.
        fusion: when it re-ranks, the weights of the first matcher's score beside its own, heading known and unknown
            (a first matcher that has found the heading deserves more trust), and the temperatures of the two sums.
            The default weights were chosen on the fifteen real pairs, alone and among 1,000 tiles of worlds.
    """

    joint = False  # see `weighted_correlation`
    searches = True  # finds the camera's place on a tile by itself

    def __init__(
        self,
        metres: float = 48.0,
        resolution: float = 0.8,
        stride: int = 1,
        reach: float = 3.2,
        step: float = 0.8,
        heights: tuple[float, ...] = HEIGHTS,
        surface: str = "flat",
        spread: float = 14.0,
        hole: float = 3.5,
        scales: tuple[float, ...] = (0.8, 1.6, 3.2),
        headings: int = 72,
        calibration: tuple[float, float] = (0.03, 0.03),
        fusion: tuple[float, float, float, float] = (3.0, 8.0, 0.03, 0.03),
    ) -> None:
        super().__init__()
        self.pixels, self.tile_pixels = round(metres / resolution), round(TILE_METRES / resolution)
        self.cells, self.tile_cells = self.pixels // stride, self.tile_pixels // stride
        self.metres, self.headings, self.cell = metres, headings, resolution * stride
        self.heights, self.surface = tuple(heights), surface
        self.calibration, self.fusion = tuple(map(float, calibration)), tuple(map(float, fusion))
        self.scales = tuple(s / resolution for s in scales)
        limit = min(round(reach / self.cell), (self.tile_cells - self.cells) // 2)
        every = max(1, round(step / self.cell))
        offsets = sorted({*range(0, limit + 1, every), *range(0, -limit - 1, -every)})
        self.shifts = [(row, column) for row in offsets for column in offsets]
        place = (torch.arange(self.cells) + 0.5) * self.cell - metres / 2
        distance = torch.hypot(place[:, None], place[None])
        near = torch.exp(-0.5 * (distance / spread).square()) * (distance > hole)
        self.register_buffer("near", near, persistent=False)

    near: Tensor

    @property
    def channels(self) -> int:
        """Number of maps."""
        return 3 * len(self.scales)

    @property
    def dimension(self) -> int:
        """Length of a descriptor."""
        return max(self.channels * self.tile_cells**2, 4 * self.pixels**2)

    def features(self, image: Tensor, view: str) -> Tensor:
        """Maps (B, C, P / stride, P / stride) of a picture from above (B, 3, P, P); `view` is "ground" or "aerial"."""
        return contrasts(image, self.scales)

    def above(self, strip: Tensor, mask: Tensor | None = None) -> Tensor:
        """Strip (B, 3, H, W) in [0, 1], mask (B, 1, H, W) → bird's-eye view and where it is seen (B, 4, P, P)."""
        grid = bird_eye_grid(self.pixels, self.metres, surface=self.surface, vfov=90.0).to(strip)
        seen = inside(grid).to(strip).expand(len(strip), 1, -1, -1)
        if mask is not None:
            seen = seen * sample(mask.to(strip), grid, padding="wrap")
        return torch.cat((sample(strip, grid, padding="wrap"), seen), 1)

    def encode_ground(self, strip: Tensor, mask: Tensor | None = None) -> Tensor:
        """Strip (B, 3, H, W) in [0, 1], mask (B, 1, H, W) → descriptors (B, D): bird's-eye view and what is seen."""
        return self._packed(self.above(strip, mask))

    def encode_aerial(self, tile: Tensor) -> Tensor:
        """Tile (B, 3, P, P) in [0, 1], 64 m wide, north up → descriptors (B, D): its maps."""
        size = (self.tile_pixels, self.tile_pixels)
        return self._packed(self.features(F.interpolate(tile, size, mode="bilinear", antialias=True), "aerial"))

    def _packed(self, maps: Tensor) -> Tensor:
        flat = maps.flatten(1).float()
        return F.normalize(F.pad(flat, (0, self.dimension - flat.shape[1])), dim=1)

    def _pictures(self, descriptors: Tensor) -> Tensor:
        """Bird's-eye views and what they see (B, 4, P, P) of queries' descriptors (B, D)."""
        pictures = descriptors[:, : 4 * self.pixels**2].view(-1, 4, self.pixels, self.pixels)
        return pictures / pictures[:, 3:].amax((1, 2, 3), keepdim=True).clamp_min(1e-9)

    def _maps(self, descriptors: Tensor) -> Tensor:
        """Maps (N, C, T, T) of tiles' descriptors (N, D)."""
        used = self.channels * self.tile_cells**2
        return descriptors[:, :used].view(-1, self.channels, self.tile_cells, self.tile_cells)

    def posed(self, pictures: Tensor, headings: Tensor, heights: Tensor) -> tuple[Tensor, Tensor]:
        """Maps (R, C, P, P) and weights (R, P, P) of views in given poses.

        Args:
            pictures: (R, 4, P, P) what `above` gives, or (1, 4, P, P) for all poses.
            headings: (R,) degrees clockwise from north of the centre column.
            heights: (R,) metres of the camera above the ground: a higher one sees the same ground steeper down, so its
                view is that of the usual height, enlarged.
        """
        angle = headings.to(pictures) * (math.pi / 180)
        zoom = CAMERA_HEIGHT / heights.to(pictures)
        cos, sin, zero = angle.cos() * zoom, angle.sin() * zoom, torch.zeros_like(angle)
        theta = torch.stack((cos, sin, zero, -sin, cos, zero), 1).view(-1, 2, 3)
        grid = F.affine_grid(theta, [len(angle), 4, self.pixels, self.pixels], align_corners=False)
        pictures = pictures.expand(len(angle), -1, -1, -1)
        colour = F.grid_sample(pictures[:, :3], grid, padding_mode="border", align_corners=False)
        seen = F.grid_sample(pictures[:, 3:], grid, padding_mode="zeros", align_corners=False)
        seen = F.adaptive_avg_pool2d(seen, (self.cells, self.cells))[:, 0]
        return self.features(colour, "ground"), seen * self.near

    def correlate(self, maps: Tensor, weight: Tensor, tiles: Tensor) -> Tensor:
        """Correlation (R, N, shifts) of views' maps (R, C, P, P), weights (R, P, P), with tiles' maps (N, C, T, T)."""
        same = bool((weight == weight[:1]).all())
        return weighted_correlation(maps, weight[0] if same else weight, tiles, self.shifts, self.joint)

    def _posed(self, query: Tensor, headings: Tensor) -> tuple[Tensor, Tensor]:
        """`posed` for a query (D,) at each heading (R,) with each height, heights fastest."""
        turns = headings.repeat_interleave(len(self.heights))
        heights = torch.tensor(self.heights).repeat(len(headings))
        return self.posed(self._pictures(query[None]), turns, heights)

    def volume(self, query: Tensor, reference: Tensor, headings: Tensor, chunk: int = 64) -> Tensor:
        """Correlation of one query (D,) with references (N, D) at headings (R,) degrees: (R, N, heights, shifts)."""
        maps, weight = self._posed(query, headings)
        parts = [self.correlate(maps, weight, self._maps(part)) for part in reference.split(chunk)]
        return torch.cat(parts, 1).unflatten(0, (len(headings), -1)).transpose(1, 2)

    def calibrate_fusion(self, known: float, unknown: float) -> None:
        """Set the temperatures of re-ranking and keep them in the configuration."""
        self.keep(fusion=(*self.fusion[:2], known, unknown))

    @torch.no_grad()
    def aligned(self, query: Tensor, reference: Tensor, chunk: int = 32) -> Tensor:
        """Scores (Q, N) of queries whose centre column looks north."""
        found = []
        for part in query.split(chunk):
            pictures, north = self._pictures(part), torch.zeros(len(part))
            posed = [self.posed(pictures, north, torch.full_like(north, height)) for height in self.heights]
            scores = []
            for tiles in reference.split(chunk):
                maps = self._maps(tiles)
                best = [self.correlate(*view, maps).amax(2) for view in posed]
                scores.append(torch.stack(best).amax(0))
            found.append(torch.cat(scores, 1))
        return torch.cat(found)

    @torch.no_grad()
    def score(self, query: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
        """Best scores (Q, N) over headings, heights and shifts, and the headings (Q, N) in degrees."""
        headings = torch.arange(self.headings) * (360.0 / self.headings)
        found = (self.volume(one, reference, headings).amax((2, 3)).max(0) for one in query)
        scores, best = zip(*found, strict=True)
        return torch.stack(scores), headings[torch.stack(best)]

    @torch.no_grad()
    def overlay(self, query: Tensor, reference: Tensor, headings: Tensor, span: float = 0.0) -> Fit:
        """Lay one query (D,) over tiles (K, D), each at its own heading (K,), and search ± `span` degrees around it.

        The headings that are searched are the `headings` steps of a turn; with no span each tile's own is taken.
        """
        step = 360.0 / self.headings
        tried = torch.arange(self.headings) * step if span else headings.unique()
        away = ((tried[:, None] - headings[None] + 180) % 360 - 180).abs()  # (R, K)
        allowed = away <= (max(span, step / 2) if span else 1e-6)
        used = allowed.any(1)
        tried, allowed, each = tried[used], allowed[used], len(self.heights)
        maps, weight = self._posed(query, tried)
        tiles = self._maps(reference)
        volume = torch.full((len(tried), len(tiles), each, len(self.shifts)), -torch.inf)
        for n, rows in enumerate(allowed):  # a tile is compared at the headings near its own only
            one = slice(n * each, (n + 1) * each)
            volume[n, rows] = self.correlate(maps[one], weight[one], tiles[rows]).transpose(0, 1)
        score, best = volume.transpose(0, 1).flatten(1).max(1)
        turn, height, shift = torch.unravel_index(best, (len(tried), each, len(self.shifts)))
        moved = torch.tensor(self.shifts, dtype=torch.float32)[shift] * self.cell
        place = torch.stack((moved[:, 1], -moved[:, 0]), 1)
        return Fit(score, tried[turn], torch.tensor(self.heights)[height], place)

    def lay(self, query: Tensor, reference: Tensor, headings: Tensor | None, places: Tensor | None) -> Fit:
        """Lay a query over each candidate; the places are not needed, as every shift is tried."""
        found = torch.zeros(len(reference)) if headings is None else headings
        return self.overlay(query, reference, found, 0.0 if headings is None else SPAN)
