"""Azimuth-structured descriptors: a panorama and a tile are compared over all headings at once.

Both views become 64 columns of bearing with 24 channels each. Turning the camera rolls the descriptor, so the heading
is the argument of the maximum of a circular correlation (as in DSM: Shi et al., "Where am I looking at?", CVPR 2020,
https://arxiv.org/abs/2005.03860), and with a known heading the comparison is a plain dot product.

| stage | ground | aerial |
|---|---|---|
| input | (B, 3, 128, 512) strip, ±45° | (B, 3, P, P) tile, 64 m, north up |
| resampled | (B, 4, 64, 256), rows dense near the horizon; and | (B, 3, 64, 256) polar, rows 32 … 0 m, |
| | (B, 4, 64, 256) polar bird's eye, rows 32 … 0 m | around seven places |
| trunks | (B, 160, 8, 64) and (B, 80, 8, 64) | (B, 160, 8, 64) |
| columns | (B, 24, 64) | (B, 7, 24, 64) |
| descriptor | (B, 10752), the columns seven times, unit length | (B, 10752), unit length |

Bin a of A lies at the bearing ((a + ½)/A − ½)·360° from the centre column, which looks along the heading (ground)
or north (aerial). The bird's-eye branch reads the ground, taken to be flat, in the frame of the tile's polar picture.
What stands near a camera is seen at quite another bearing from a few metres beside it, so a tile is described from its
centre and from places around it, and the best of them counts [both ours].
"""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xview_demo.geometry import polar_grid, sample
from xview_demo.geometry.overhead import CAMERA_HEIGHT, TILE_METRES
from xview_demo.models.blocks import AzimuthBlock, pad_azimuth, standardise
from xview_demo.models.matching.calibrated import FULL, Calibrated


@lru_cache(maxsize=16)
def focused_rows(height: int, rows: int, power: float = 1.5, above: float = 0.375) -> Tensor:
    """Matrix (rows, height) that resamples a strip so that rows lie densest at the horizon, with a triangle filter.

    Args:
        height: rows of the strip; the horizon is its middle.
        rows: rows of the result, a share `above` of them for the sky side.
        power: distance from the horizon grows as (row distance)^power.
    """
    up = round(rows * above)
    t_up = (torch.arange(up, 0, -1) - 0.5) / up
    t_down = (torch.arange(rows - up) + 0.5) / (rows - up)
    offset = torch.cat((-(t_up**power), t_down**power)) * height / 2
    step = torch.cat((t_up ** (power - 1) / up, t_down ** (power - 1) / (rows - up))) * power * height / 2
    return _triangles(offset + height / 2 - 0.5, step, height)


@lru_cache(maxsize=16)
def ground_rows(height: int, rows: int, far: float, camera_height: float = CAMERA_HEIGHT) -> Tensor:
    """Matrix (rows, height) that resamples a strip, ±45°, to flat ground: the rows of `geometry.polar_grid`.

    Args:
        height: rows of the strip; the horizon is its middle.
        rows: rows of the result, from `far` metres (top) to 0; rows nearer than the strip shows are 0.
        far: metres.
        camera_height: metres above the ground.
    """
    distance = far * (1 - (torch.arange(rows) + 0.5) / rows)
    fall = torch.atan2(torch.tensor(camera_height), distance) / (math.pi / 2)  # 0.5 at the lower edge
    step = fall.diff(prepend=fall[:1]) * height
    return _triangles((fall + 0.5) * height - 0.5, step, height) * (fall < 0.5)[:, None]


def _triangles(centre: Tensor, step: Tensor, height: int) -> Tensor:
    """Matrix (rows, height) of triangle filters around `centre`, as wide as the `step` to the next row, or a pixel."""
    distance = (torch.arange(height)[None] - centre[:, None]).abs()
    weight = (1 - distance / step.clamp_min(1.0)[:, None]).clamp_min(0)
    return weight / weight.sum(1, keepdim=True).clamp_min(1e-6)


class AzimuthTrunk(nn.Module):
    """(B, C, rows, columns) picture over bearing → (B, outputs, columns / 4) features; circular in bearing."""

    def __init__(self, inputs: int, widths: tuple[int, ...], rows: int, squeezed: int) -> None:
        super().__init__()
        stem, first, second, third = widths
        self.stem = nn.Conv2d(inputs, stem, 4, 2, padding=(1, 0), bias=False)
        self.norm = nn.GroupNorm(8, stem)
        self.blocks = nn.Sequential(
            AzimuthBlock(stem, first, 2),
            AzimuthBlock(first, first),
            AzimuthBlock(first, second, (2, 1)),
            AzimuthBlock(second, second),
            AzimuthBlock(second, third, (1, 1)),
        )
        self.squeeze = nn.Conv2d(third, squeezed, 1)
        self.outputs = squeezed * (rows // 8)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, rows, columns) → (B, outputs, columns / 4)."""
        x = F.relu(self.norm(self.stem(pad_azimuth(x.contiguous(memory_format=torch.channels_last), 1))), inplace=True)
        return self.squeeze(self.blocks(x)).flatten(1, 2)


class AzimuthEncoder(nn.Module):
    """Pictures over the same bearings, each with its trunk → (B, channels, bins) columns."""

    def __init__(self, trunks: Sequence[AzimuthTrunk], channels: int) -> None:
        super().__init__()
        self.trunks = nn.ModuleList(trunks)
        self.context = nn.Conv1d(sum(trunk.outputs for trunk in trunks), 256, 5)
        self.context_norm = nn.GroupNorm(8, 256)
        self.head = nn.Conv1d(256, channels, 1)

    def forward(self, *pictures: Tensor) -> Tensor:
        """(B, C, rows, columns) each → (B, channels, columns / 4)."""
        seen = torch.cat([trunk(x) for trunk, x in zip(self.trunks, pictures, strict=True)], 1)
        return self.head(F.relu(self.context_norm(self.context(pad_azimuth(seen, 2))))).float()


class AzimuthMatcher(Calibrated):
    """Two encoders with their own weights; `encode_ground`, `encode_aerial`, `score`.

    Args:
        channels: descriptor channels per bearing bin.
        columns: columns of the encoders' input; a quarter of it is the number of bins.
        rows: rows of the encoders' input.
        widths: channels of the trunks' stages; the bird's-eye branch has half of them.
        around: places around a tile's centre from which it is described as well.
        reach: metres from the centre to those places.
        temperature: start value of the learned temperature of the training loss.
        calibration: temperatures that turn scores into probabilities with a known and with an unknown heading
            (fitted on validation seeds).
        narrow: the same for views of less than a full turn: (degrees, known, unknown) each.
    """

    fields = (FULL, 180.0, 90.0, 70.0)

    def __init__(
        self,
        channels: int = 24,
        columns: int = 256,
        rows: int = 64,
        widths: tuple[int, ...] = (32, 64, 128, 160),
        around: int = 6,
        reach: float = 2.4,
        temperature: float = 0.07,
        calibration: tuple[float, float] = (0.05, 0.05),
        narrow: Sequence[Sequence[float]] = (),
    ) -> None:
        super().__init__()
        self.channels, self.columns, self.rows, self.bins = channels, columns, rows, columns // 4
        self.calibration = tuple(float(t) for t in calibration)
        self.narrow = tuple(tuple(map(float, row)) for row in narrow)
        angles = [2 * math.pi * k / around for k in range(around)]
        self.centres = [(0.0, 0.0), *((reach * math.sin(a), reach * math.cos(a)) for a in angles)]
        halves = tuple(max(8, width // 2) for width in widths)
        strip, near = AzimuthTrunk(4, tuple(widths), rows, 48), AzimuthTrunk(4, halves, rows, 24)
        self.ground = AzimuthEncoder([strip, near], channels)
        self.aerial = AzimuthEncoder([AzimuthTrunk(3, tuple(widths), rows, 48)], channels)
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)))

    @property
    def dimension(self) -> int:
        """Length of a descriptor."""
        return len(self.centres) * self.channels * self.bins

    def ground_columns(self, strip: Tensor, mask: Tensor | None = None) -> Tensor:
        """Strip (B, 3, H, W) in [0, 1], mask (B, 1, H, W) → columns (B, channels, bins), unit length as a whole."""
        valid = torch.ones_like(strip[:, :1]) if mask is None else mask.to(strip)
        columns = self.ground(*polar_pictures(strip, valid, self.rows, self.columns))
        seen = F.adaptive_max_pool2d(valid, (1, self.bins)).flatten(1, 2) > 0.5
        return F.normalize((columns * seen).flatten(1), dim=1).view_as(columns)

    def aerial_columns(self, tile: Tensor, east: float = 0.0, north: float = 0.0) -> Tensor:
        """Tile (B, 3, P, P) in [0, 1], 64 m wide, north up → columns (B, channels, bins), unit length as a whole.

        `east` and `north` are metres from the tile's centre to where it is described from.
        """
        side = 2 * self.rows
        tile = F.interpolate(tile, (side, side), mode="area") if tile.shape[-1] > side else tile
        grid = polar_grid(self.rows, self.columns) + torch.tensor((east, -north)) / (TILE_METRES / 2)
        columns = self.aerial(sample(standardise(tile), grid.to(tile)))
        return F.normalize(columns.flatten(1), dim=1).view_as(columns)

    def encode_ground(self, strip: Tensor, mask: Tensor | None = None) -> Tensor:
        """Strip (B, 3, H, W) in [0, 1] → descriptors (B, D); bins outside the mask are 0."""
        return self._joined([self.ground_columns(strip, mask)] * len(self.centres))

    def encode_aerial(self, tile: Tensor) -> Tensor:
        """Tile (B, 3, P, P) in [0, 1] → descriptors (B, D)."""
        return self._joined([self.aerial_columns(tile, *centre) for centre in self.centres])

    def _joined(self, columns: Sequence[Tensor]) -> Tensor:
        """Columns (B, channels, bins) for each centre → (B, D), unit length."""
        return torch.stack(list(columns), 1).flatten(1) / math.sqrt(len(self.centres))

    def columns_of(self, descriptors: Tensor) -> Tensor:
        """Descriptors (N, D) → columns (N, centres, channels, bins), each of unit length."""
        shape = (len(descriptors), len(self.centres), self.channels, self.bins)
        return descriptors.reshape(shape).float() * math.sqrt(len(self.centres))

    def forward(self, strip: Tensor, tile: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Descriptors of both views, each (B, D)."""
        return self.encode_ground(strip, mask), self.encode_aerial(tile)

    def correlation(self, query: Tensor, reference: Tensor) -> Tensor:
        """Normalised circular correlation of columns: (Q, channels, bins) with (N, channels, bins) → (Q, N, bins).

        Entry k compares at heading k·360/bins. A query whose outer bins are 0 (limited field of view) is compared with
        the same bins of the reference, whose length is taken there.
        """
        fq, fr = torch.fft.rfft(query), torch.fft.rfft(reference)
        volume = torch.fft.irfft(torch.einsum("qca,nca->qna", fq.conj(), fr), n=self.bins)
        seen = (query != 0).any(1).float()
        if bool((seen > 0).all()):
            return volume
        masks, which = seen.unique(dim=0, return_inverse=True)  # often one for all queries
        power = torch.fft.rfft(reference.square().sum(1))
        energy = torch.einsum("ma,na->mna", torch.fft.rfft(masks).conj(), power)
        length = torch.fft.irfft(energy, n=self.bins).clamp_min(1e-4).sqrt()
        return volume / (length[which] if len(masks) > 1 else length)

    @torch.no_grad()
    def invariants(self, descriptors: Tensor) -> Tensor | None:
        """What no turn of the camera changes: the magnitudes of each channel's spectrum over bearing.

        They tell which tiles of a large gallery are worth comparing over all headings; tiles as seen from their centre.

        Args:
            descriptors: (N, D).

        Returns:
            (N, channels·(bins / 2 + 1)), unit length; None where a view shows less than a full turn, whose magnitudes
            are not those of the whole.
        """
        columns = self.columns_of(descriptors)[:, 0]
        return self.spectra(columns) if bool((columns != 0).any(1).all()) else None

    @torch.no_grad()
    def spectra(self, columns: Tensor) -> Tensor:
        """`invariants` of columns (N, channels, bins) that are known to hold the full turn, as those of tiles do."""
        return F.normalize(torch.fft.rfft(columns).abs().flatten(1), dim=1)

    def calibrate(self, fitted: Mapping[float, tuple[float, float]]) -> None:
        """Set the temperatures and keep them in the configuration; narrow views have their own."""
        narrow = sorted(((fov, *pair) for fov, pair in fitted.items() if fov < FULL), reverse=True)
        self.keep(calibration=fitted[FULL], narrow=narrow)

    def temperature(self, query: Tensor, known: bool) -> Tensor:
        """Temperatures (Q,), between those of the fitted fields of view for as many bins as a query sees.

        A narrow view has fewer bins to be alike in, and many more headings at which a wrong tile can be.
        """
        table = np.array(sorted((*self.narrow, (FULL, *self.calibration))))
        seen = (self.columns_of(query)[:, 0] != 0).any(1).double().mean(1) * FULL
        logs = np.interp(seen.cpu().numpy(), table[:, 0], np.log(table[:, 1 if known else 2]))
        return torch.from_numpy(np.exp(logs))

    @torch.no_grad()
    def poses(self, query: Tensor, reference: Tensor, known: bool = False) -> tuple[Tensor, Tensor]:
        """From where, and looking where, one query (D,) is most like each of some tiles (K, D).

        Args:
            query: descriptor; of a view that looks north where the heading is `known`.
            reference: descriptors.
            known: look no further than heading 0.

        Returns:
            (K,) headings in degrees, whole bins; (K, 2) metres east and north of the tiles' centres.
        """
        tiles = self.columns_of(reference)
        volume = self.correlation(self.columns_of(query[None])[:, 0], tiles.flatten(0, 1))[0]
        volume = volume[:, :1] if known else volume
        best = volume.unflatten(0, tiles.shape[:2]).flatten(1).argmax(1)
        place, turn = best // volume.shape[-1], best % volume.shape[-1]
        return turn * (360.0 / self.bins), torch.tensor(self.centres)[place]

    @torch.no_grad()
    def aligned(self, query: Tensor, reference: Tensor) -> Tensor:
        """Scores (Q, N) of queries whose centre column looks north: the dot product, over the bins the query sees."""
        q, r = self.columns_of(query)[:, 0], self.columns_of(reference).flatten(0, 1)
        scores, seen = q.flatten(1) @ r.flatten(1).T, (q != 0).any(1).float()
        if not bool((seen > 0).all()):
            scores = scores / (seen @ r.square().sum(1).T).clamp_min(1e-4).sqrt()
        return scores.unflatten(1, (-1, len(self.centres))).amax(2)

    @torch.no_grad()
    def score(self, query: Tensor, reference: Tensor, chunk: int = 64) -> tuple[Tensor, Tensor]:
        """Best score and its heading for every pair.

        Args:
            query: (Q, D) ground descriptors in the camera's own orientation.
            reference: (N, D) aerial descriptors, north up.
            chunk: queries at a time.

        Returns:
            scores (Q, N) in [-1, 1]; headings (Q, N) in degrees clockwise from north, refined by a parabola.
        """
        scores, headings = [], []
        tiles, several = self.columns_of(reference).flatten(0, 1), (-1, len(self.centres))
        chunk = max(1, min(chunk, int(2e8 / max(1, reference.numel()) * self.channels)))
        for part in self.columns_of(query)[:, 0].split(chunk):
            volume = self.correlation(part, tiles)
            best, k = volume.max(-1)
            left = volume.gather(-1, ((k - 1) % self.bins)[..., None])[..., 0]
            right = volume.gather(-1, ((k + 1) % self.bins)[..., None])[..., 0]
            shift = 0.5 * (left - right) / (left - 2 * best + right).clamp_max(-1e-6)
            turned = (k + shift.clamp(-0.5, 0.5)) * (360.0 / self.bins) % 360.0
            score, place = best.unflatten(1, several).max(2)
            scores.append(score)
            headings.append(turned.unflatten(1, several).gather(2, place[..., None])[..., 0])
        return torch.cat(scores), torch.cat(headings)


def polar_pictures(strip: Tensor, mask: Tensor, rows: int, columns: int) -> tuple[Tensor, Tensor]:
    """What the encoders see of strips, as colour and mask (B, 4, rows, columns): dense at the horizon, and the ground.

    Args:
        strip: (B, 3, H, W) in [0, 1], ±45°.
        mask: (B, 1, H, W), 1 where the strip shows something.
        rows, columns: of the results (see `focused_rows` and `ground_rows`).
    """
    x = torch.cat((strip * mask, mask), 1)
    if x.shape[-1] != columns:
        x = F.interpolate(x, (x.shape[-2], columns), mode="area")
    near, far = focused_rows(x.shape[-2], rows), ground_rows(x.shape[-2], rows, TILE_METRES / 2)
    return _resampled(x, near.to(x)), _resampled(x, far.to(x))


def _resampled(x: Tensor, matrix: Tensor) -> Tensor:
    """Colour and mask (B, 4, H, W) with other rows: standardised colour, and the share of each pixel that is seen."""
    x = torch.matmul(matrix, x)
    colour, weight = x[:, :3], x[:, 3:]
    return torch.cat((standardise(colour / weight.clamp_min(1e-3), (weight > 0.5).to(x)), weight), 1)
