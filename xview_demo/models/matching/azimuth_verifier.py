"""Verification: a panorama and a tile seen together, pixel by pixel, by one network that says whether they belong.

A descriptor says of a view what may matter for any tile; what lies at a certain bearing and distance in both pictures
can only be compared with both at hand. So the first tiles of a search are unrolled around the place and the heading
that `AzimuthMatcher` found, laid upon the panorama's own polar pictures, and judged by a network that sees all of it
(early fusion, as Siamese against two-channel networks in Zagoruyko & Komodakis, CVPR 2015,
https://arxiv.org/abs/1504.03641; its place after a global descriptor is ours).

| stage | shape |
|---|---|
| strip, ±45°: rows dense near the horizon, colour and mask | (4, 64, W) |
| the same strip as flat ground, rows 32 … 0 m, colour and mask | (4, 64, W) |
| tile around the place, rows 32 … 0 m, at the heading | (3, 64, W) |
| trunk on the 11 channels | (256, W / 4) |
| evidence for each bin of bearing; the sum over the bins that the view shows is the score | (W / 4,) |

W is 256 for a full turn; of a narrower view only the columns that it shows and a margin are looked at.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xview_demo.geometry import polar_grid, sample
from xview_demo.geometry.overhead import CAMERA_HEIGHT, TILE_METRES
from xview_demo.models.blocks import pad_azimuth, standardise
from xview_demo.models.matching.azimuth import AzimuthTrunk, polar_pictures
from xview_demo.models.matching.judging import Fit, Judge

MARGIN = 2  # bins beside what a narrow view shows
UNSEEN = -1.0  # what stands in a query's descriptor where it shows nothing


class AzimuthVerifier(Judge):
    """Judges pairs; `rerank` is what it is for, `aligned` and `score` compare everything, which is slow.

    Descriptors are the pictures themselves, so that references do not depend on a query: a strip of 128 × 256, a tile
    of 128 × 128.

    Args:
        columns: columns of a full turn; a quarter of it is the number of bins.
        rows: rows of the polar pictures.
        widths: channels of the trunk's stages.
        squeezed: channels of its result in each of rows / 8 rows.
        hidden: channels between that and the evidence.
        headings: number of headings that `score` tries.
        calibration: temperatures that turn its own scores into probabilities, heading known and unknown: 1, as it was
            trained.
        fusion: as `BirdEyeCorrelation`: the weights of the first matcher's score beside its own, heading known and
            unknown, and the temperatures of the two sums. The weights are those of a full turn: that score is a mean
            over the bearings that a view shows, the evidence a sum.
    """

    searches = False  # the place is what the first matcher says
    strip = (128, 256)  # pixels of a query in its descriptor
    tile = 128  # pixels of a tile

    def __init__(
        self,
        columns: int = 256,
        rows: int = 64,
        widths: tuple[int, ...] = (32, 48, 96, 128),
        squeezed: int = 32,
        hidden: int = 96,
        headings: int = 32,
        calibration: tuple[float, float] = (1.0, 1.0),
        fusion: tuple[float, float, float, float] = (10.0, 10.0, 1.0, 1.0),
    ) -> None:
        super().__init__()
        self.columns, self.rows, self.bins, self.headings = columns, rows, columns // 4, headings
        self.calibration, self.fusion = tuple(map(float, calibration)), tuple(map(float, fusion))
        self.trunk = AzimuthTrunk(11, tuple(widths), rows, squeezed)
        self.context = nn.Conv1d(self.trunk.outputs, hidden, 3)
        self.evidence = nn.Conv1d(hidden, 1, 1)

    @property
    def dimension(self) -> int:
        """Length of a descriptor."""
        return 3 * self.strip[0] * self.strip[1]

    def encode_ground(self, strip: Tensor, mask: Tensor | None = None) -> Tensor:
        """Strip (B, 3, H, W) in [0, 1], mask (B, 1, H, W) → (B, D) halves: a strip, -1 where nothing is seen."""
        valid = torch.ones_like(strip[:, :1]) if mask is None else mask.to(strip)
        small = F.interpolate(torch.cat((strip * valid, valid), 1), self.strip, mode="area")
        colour, weight = small[:, :3], small[:, 3:]
        return torch.where(weight > 0.5, colour / weight.clamp_min(1e-3), UNSEEN).flatten(1).half()

    def encode_aerial(self, tile: Tensor) -> Tensor:
        """Tile (B, 3, P, P) in [0, 1], 64 m wide, north up → (B, D) halves: a smaller tile, then zeros."""
        small = F.interpolate(tile, (self.tile, self.tile), mode="bilinear", antialias=True).flatten(1).half()
        return F.pad(small, (0, self.dimension - small.shape[1]))

    def verify(self, strip: Tensor, mask: Tensor, tiles: Tensor, headings: Tensor, places: Tensor) -> Tensor:
        """How well each of some tiles fits the query.

        Args:
            strip: (Q, 3, H, W) in [0, 1], ±45°.
            mask: (Q, 1, H, W), the same columns for all: those around the middle, or all.
            tiles: (Q, K, 3, P, P) in [0, 1], 64 m wide, north up.
            headings: (Q, K) degrees clockwise from north of the strips' centre columns.
            places: (Q, K, 2) metres east and north of the cameras from the tiles' centres.

        Returns:
            (Q, K) sums of the evidence, higher is better.
        """
        q, k = headings.shape
        window = self._window(mask)
        bins = slice(window.start // 4, window.stop // 4)
        seen = self._seen(mask)[:, bins].repeat_interleave(k, 0)
        ground = torch.cat(polar_pictures(strip, mask, self.rows, self.columns), 1)[..., window]
        aerial = self._unrolled(tiles.flatten(0, 1), headings.flatten(), places.flatten(0, 1), window)
        found = self.trunk(torch.cat((ground.repeat_interleave(k, 0), aerial.to(ground)), 1))
        evidence = self.evidence(F.relu(self.context(pad_azimuth(found, 1))))
        return (evidence[:, 0].float() * seen).sum(1).view(q, k) / math.sqrt(self.bins)

    def _seen(self, mask: Tensor) -> Tensor:
        """(Q, bins) 1 where a mask (Q, 1, H, W) shows something of a bin."""
        return (F.adaptive_max_pool2d(mask, (1, self.bins)).flatten(1) > 0.5).float()

    def _window(self, mask: Tensor) -> slice:
        """The columns around the middle that masks show, and a margin."""
        seen = self._seen(mask).amax(0).nonzero()[:, 0]
        half = self.bins // 2
        reach = int(torch.maximum(half - seen, seen - half + 1).amax()) if len(seen) else half
        reach = half if reach == half else min(half, reach + MARGIN)
        return slice(4 * (half - reach), 4 * (half + reach))

    def _unrolled(self, tiles: Tensor, headings: Tensor, places: Tensor, window: slice) -> Tensor:
        """Tiles (B, 3, P, P) around places (B, 2) at headings (B,) → polar pictures (B, 3, rows, window)."""
        grid = polar_grid(self.rows, self.columns)[:, window].to(tiles)
        angle = headings.to(tiles) * (math.pi / 180)
        turn = torch.stack((angle.cos(), -angle.sin(), angle.sin(), angle.cos()), 1).view(-1, 2, 2)
        grid = torch.einsum("bij,hwj->bhwi", turn, grid)
        middle = torch.stack((places[:, 0], -places[:, 1]), 1).to(tiles) / (TILE_METRES / 2)
        return sample(standardise(tiles), grid + middle[:, None, None])

    def forward(self, strip: Tensor, tile: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Descriptors of both views, each (B, D)."""
        return self.encode_ground(strip, mask), self.encode_aerial(tile)

    def _query(self, descriptor: Tensor) -> tuple[Tensor, Tensor, float]:
        """Strip (1, 3, H, W) and mask of a descriptor (D,), what it shows turned into the middle, and by how much."""
        image = descriptor.view(1, 3, *self.strip).float()
        mask = (image[:, :1] > UNSEEN / 2).float()
        bearing = (torch.arange(self.strip[1]) + 0.5) * (2 * math.pi / self.strip[1]) - math.pi
        weight = mask.amax((0, 1, 2))
        middle = 0.0
        if not bool((weight > 0).all()):
            middle = math.atan2(float((weight * bearing.sin()).sum()), float((weight * bearing.cos()).sum()))
        columns = round(middle / (2 * math.pi) * self.strip[1])
        degrees = columns * 360.0 / self.strip[1]
        return image.clamp_min(0).roll(-columns, -1), mask.roll(-columns, -1), degrees

    def _tiles(self, descriptors: Tensor) -> Tensor:
        """Tiles (N, 3, P, P) of descriptors (N, D)."""
        return descriptors[:, : 3 * self.tile**2].float().view(-1, 3, self.tile, self.tile)

    @torch.no_grad()
    def judge(
        self, query: Tensor, reference: Tensor, headings: Tensor, places: Tensor | None = None, chunk: int = 64
    ) -> Tensor:
        """Scores (K,) of one query (D,) on tiles (K, D), each at its heading (K,) degrees and place (K, 2) metres."""
        strip, mask, turned = self._query(query)
        places = torch.zeros(len(reference), 2) if places is None else places
        parts = zip(reference.split(chunk), headings.split(chunk), places.split(chunk), strict=True)
        found = [self.verify(strip, mask, self._tiles(r)[None], h[None] + turned, p[None])[0] for r, h, p in parts]
        return torch.cat(found)

    @torch.no_grad()
    def aligned(self, query: Tensor, reference: Tensor) -> Tensor:
        """Scores (Q, N) of queries whose centre column looks north."""
        return torch.stack([self.judge(one, reference, torch.zeros(len(reference))) for one in query])

    @torch.no_grad()
    def score(self, query: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
        """Best scores (Q, N) over headings, and the headings (Q, N) in degrees."""
        tried = torch.arange(self.headings) * (360.0 / self.headings)
        scores, headings = [], []
        for one in query:
            found = torch.stack([self.judge(one, reference, angle.expand(len(reference))) for angle in tried])
            best, at = found.max(0)
            scores.append(best)
            headings.append(tried[at])
        return torch.stack(scores), torch.stack(headings)

    def lay(self, query: Tensor, reference: Tensor, headings: Tensor | None, places: Tensor | None) -> Fit:
        """Judge a query on each candidate, at the heading and the place that were found."""
        angles = torch.zeros(len(reference)) if headings is None else headings
        spots = torch.zeros(len(reference), 2) if places is None else places
        heights = torch.full((len(reference),), CAMERA_HEIGHT)
        return Fit(self.judge(query, reference, angles, spots), angles, heights, spots)

    def share(self, query: Tensor) -> float:
        """The share of a full turn that a query (D,) shows."""
        return float(self._seen(self._query(query)[1]).mean())
