"""Position inside a tile and land cover: test worlds with the camera off the tile's centre, and real pairs.

Positions are (column, row) in cells of the heat map, north up; the heading is known.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from xview_demo import metrics
from xview_demo.classes import LANDCOVER, LANDCOVER_OF_CLASSES, LANDCOVER_PALETTE, label_colours
from xview_demo.errors import XViewError
from xview_demo.evaluation.protocol import VALIDATION, Progress, Protocol, model_of, spread
from xview_demo.evaluation.sheets import SHOWN, painted, write_sheet
from xview_demo.geometry import density
from xview_demo.geometry.sightline import sightline_maps
from xview_demo.images import read_image
from xview_demo.views import AerialView, GroundView

REACH = 20.0  # metres from the tile's centre to the camera, at most; uniform over the disc
REGION_MASS, REGIONS = 0.9, (1, 3)
RENDERED = 256  # pixels of a rendered tile, halved down to what the model takes
INFERNO: dict[tuple[int, int, int], int] = {
    (0, 0, 3): 0, (120, 28, 109): 1, (237, 104, 37): 2, (252, 254, 164): 3,
}  # fmt: skip
"""Colour of a land-cover picture of CVSegGuide → class of `LANDCOVER`."""


@dataclass
class Found:
    """What a position model says of one tile, and the truth."""

    probability: np.ndarray  # (h, w), sums to 1
    camera: tuple[float, float]  # (column, row) in cells
    cell: float  # metres


@dataclass
class Sums:
    """Everything that is counted over the tiles."""

    error: list[float] = field(default_factory=list)  # metres from the most probable place to the truth
    centre: list[float] = field(default_factory=list)  # metres from the tile's centre to the truth
    expected: list[float] = field(default_factory=list)  # metres, what the heat map promises
    entropy: list[float] = field(default_factory=list)  # bits
    at_truth: list[float] = field(default_factory=list)  # probability of the true cell times the number of cells
    share: list[float] = field(default_factory=list)  # of the tile that the 90 % set covers
    held: dict[float, list[bool]] = field(default_factory=lambda: {mass: [] for mass in density.MASSES})
    stated: dict[float, list[float]] = field(default_factory=lambda: {mass: [] for mass in density.MASSES})
    regions: dict[int, list[bool]] = field(default_factory=lambda: {k: [] for k in REGIONS})

    def add(self, found: Found) -> None:
        """Count one tile."""
        p, camera = density.normalised(found.probability), found.camera
        best = density.peak(p)
        self.error.append(float(np.hypot(best[0] - camera[0], best[1] - camera[1])) * found.cell)
        middle = (p.shape[1] / 2, p.shape[0] / 2)
        self.centre.append(float(np.hypot(middle[0] - camera[0], middle[1] - camera[1])) * found.cell)
        self.expected.append(density.expected_distance(p, best) * found.cell)
        self.entropy.append(density.entropy_bits(p))
        row, column = (min(int(camera[n]), p.shape[1 - n] - 1) for n in (1, 0))
        self.at_truth.append(float(p[row, column]) * p.size)
        for mass, held in self.held.items():
            cells = density.smallest_set(p, mass)
            held.append(density.holds(cells, camera))
            self.stated[mass].append(float(p[cells].sum()))  # whole cells hold a little more than was asked for
        parts = density.parts(p, REGION_MASS)
        self.share.append(sum(part.share for part in parts))
        for k, hits in self.regions.items():
            hits.append(any(density.holds(part.cells, camera) for part in parts[:k]))

    def result(self) -> dict[str, Any]:
        """The numbers that `--json` prints."""
        error = np.array(self.error)
        found: dict[str, Any] = {"n": len(error), **metrics.metre_errors(error)}
        found["interval"] = list(metrics.bootstrap_interval(error))
        found |= {f"region_r@{k}": 100.0 * float(np.mean(hits)) for k, hits in self.regions.items()}
        found["region_share"] = float(np.mean(self.share))
        found["coverage"] = {f"{mass:g}": 100.0 * float(np.mean(held)) for mass, held in self.held.items()}
        found["stated"] = {f"{mass:g}": 100.0 * float(np.mean(stated)) for mass, stated in self.stated.items()}
        found["expected_error_m"] = float(np.mean(self.expected))
        found["entropy_bits"] = float(np.mean(self.entropy))
        found["gain_at_truth"] = float(np.median(self.at_truth))
        found["chance"] = metrics.metre_errors(np.array(self.centre))
        return found


@torch.inference_mode()
def evaluate_position(
    model: Any = "mst-world", *, n: int = 500, reach: float = REACH, protocol: Protocol | None = None,
    progress: Progress | None = None, world: Any = None, sheet: str | Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Metre errors, regions and coverage in tiles of test worlds, and the IoU of their land cover.

    Args:
        model: name, folder or repository, or the model itself.
        n: number of tiles.
        reach: metres from the tile's centre to the camera at most; `chance` always guesses the centre.
        protocol: other worlds.
        progress: called with (worlds done, worlds in all).
        world: stand-in for `World`.
        sheet: a picture of the first tiles of each world is written there: tile, true and found land cover, heat map.
    """
    net, name = model_of(model, "position")
    protocol = protocol or position_protocol(n)
    rows: list[dict[str, Tensor]] = []
    sums, matrix = Sums(), np.zeros((len(LANDCOVER), len(LANDCOVER)), np.int64)
    for strip, tile, labels, camera in tiles_of_worlds(net, protocol, reach, progress, world):
        probability, landcover = net.predict(strip, tile)
        for p, place in zip(probability.cpu().numpy(), camera.tolist(), strict=True):
            cells = (place[0] * p.shape[1], place[1] * p.shape[0])
            sums.add(Found(p, cells, net.metres / p.shape[1]))
        drawn, truth = landcover.argmax(1).cpu().numpy(), LANDCOVER_OF_CLASSES[labels.numpy()]
        matrix += metrics.confusion(drawn, truth, len(LANDCOVER))
        if len(rows) < SHOWN:
            rows.append(_shown(tile[0], truth[0], drawn[0], probability[0].cpu().numpy(), camera[0].tolist()))
    if sheet is not None:
        write_sheet(sheet, rows)
    return {
        "model": name, "seeds": protocol.seeds, "reach_m": reach, **sums.result(),
        "landcover": metrics.by_class(matrix, LANDCOVER),
    }  # fmt: skip


def _shown(
    tile: Tensor, truth: np.ndarray, drawn: np.ndarray, probability: np.ndarray, camera: list[float]
) -> dict[str, Tensor]:
    """One row of the sheet; the camera is a green dot in the tile and in the heat map, unlabelled pixels are black."""
    from matplotlib import colormaps

    side = tile.shape[-1]
    palette = np.concatenate((LANDCOVER_PALETTE, np.zeros((252, 3), np.uint8)))
    heat = colormaps["inferno"](np.sqrt(probability / max(float(probability.max()), 1e-12)))[..., :3]
    pictures = [
        (tile.cpu().permute(1, 2, 0).numpy() * 255).astype(np.uint8), palette[truth], palette[drawn],
        np.kron((heat * 255).astype(np.uint8), np.ones((side // len(heat), side // len(heat), 1), np.uint8)),
    ]  # fmt: skip
    column, row = (int(np.clip(value * side, 1, side - 2)) for value in camera)
    for picture in (pictures[0], pictures[3]):
        picture[row - 1 : row + 2, column - 1 : column + 2] = (0, 255, 0)
    names = ("tile", "land cover", "found", "position")
    return {name: painted(picture) for name, picture in zip(names, pictures, strict=True)}


def position_protocol(n: int, first_seed: int | None = None) -> Protocol:
    """Worlds of 600 m with about twelve tiles each."""
    worlds = min(40, max(1, n // 5))
    per = -(-n // worlds)
    seed = {} if first_seed is None else {"first_seed": first_seed}
    return Protocol(worlds=worlds, queries=per, tiles=per, size=600.0, **seed)


def tiles_of_worlds(
    net: Any, protocol: Protocol, reach: float, progress: Progress | None = None, world: Any = None
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """World by world: strips (B, 3, 128, 512) north in the middle, tiles (B, 3, P, P), classes (B, P, P), and the
    camera's place in the tile (B, 2), (column, row) as fractions of its side.
    """
    if world is None:
        from xview_demo.world import World as world
    for number in range(protocol.worlds):
        seed = protocol.first_seed + number
        place = world(seed, size=protocol.size, resolution=protocol.resolution)
        sites = spread(place, protocol.queries)
        rng = np.random.default_rng([seed, 13])
        angle, radius = rng.uniform(0, 2 * np.pi, len(sites)), reach * np.sqrt(rng.uniform(0, 1, len(sites)))
        offset = np.stack((radius * np.sin(angle), radius * np.cos(angle)), 1)  # of the tile's centre from the camera
        centres = [(s.east + float(e), s.north + float(k)) for s, (e, k) in zip(sites, offset, strict=True)]
        ground = place.panoramas(sites)
        aerial = place.aerials(centres, metres=net.metres, pixels=max(RENDERED, net.size))
        tile = F.adaptive_avg_pool2d(aerial.colour, (net.size, net.size))
        labels = F.interpolate(aerial.labels[:, None].float(), (net.size, net.size))[:, 0].to(torch.uint8)
        camera = 0.5 + np.stack((-offset[:, 0], offset[:, 1]), 1) / net.metres
        yield ground.colour, tile, labels, torch.from_numpy(camera)
        if progress is not None:
            progress(number + 1, protocol.worlds)


@torch.inference_mode()
def calibrate_position(net: Any, protocol: Protocol | None = None, world: Any = None) -> dict[str, float]:
    """Fit the temperature and the share of the even distribution on validation worlds (320 tiles)."""
    protocol = protocol or position_protocol(320, VALIDATION)
    logits, cells = [], []
    for strip, tile, _, camera in tiles_of_worlds(net, protocol, REACH, world=world):
        found = net(strip, tile).density.float()
        height, width = found.shape[-2:]
        row, column = (camera[:, 1] * height).long(), (camera[:, 0] * width).long()
        logits.append(found.flatten(1))
        cells.append(row.clamp(0, height - 1) * width + column.clamp(0, width - 1))
    temperature, even = fit_density(torch.cat(logits), torch.cat(cells))
    net.calibrate(temperature, even)
    return {"temperature": temperature, "even": even}


def fit_density(logits: Tensor, truth: Tensor) -> tuple[float, float]:
    """Temperature and even share under which the true cells (N,) of logits (N, cells) are the most likely."""
    from scipy.optimize import minimize
    from scipy.special import expit

    values, index = logits.double(), truth.long()[:, None]

    def loss(x: np.ndarray) -> float:
        inside = (values / float(np.exp(x[0]))).log_softmax(1).gather(1, index)[:, 0].exp()
        even = float(expit(x[1]))
        return float(-((1 - even) * inside + even / values.shape[1]).clamp_min(1e-30).log().mean())

    best = minimize(loss, np.array([0.0, -3.0]), method="Nelder-Mead", options={"xatol": 1e-3, "fatol": 1e-5})
    temperature, even = float(np.exp(best.x[0])), float(expit(best.x[1]))
    return float(np.clip(temperature, 0.02, 50)), float(np.clip(even, 0, 0.9))


@torch.inference_mode()
def evaluate_real_position(
    folder: str | Path, model: Any = "mst-world", *, metres_per_pixel: Mapping[str, float] | None = None
) -> dict[str, Any]:
    """Position and land cover on real tiles: `<set>/{ground,aerial,landcover,sightline}`, paired by name.

    The place of the camera is where the sightline picture is brightest. Strips without a heading in their name look
    north. A set without a scale is taken to be one tile. `sightline` is the mean correlation of the found sightline map
    with the true one over the picture, and, as chance, that of the free view from the picture's centre.
    """
    net, name = model_of(model, "position")
    scales, sums = dict(metres_per_pixel or {}), Sums()
    agreement: list[tuple[float, float]] = []
    matrix = np.zeros((len(LANDCOVER), len(LANDCOVER)), np.int64)
    for picture in sorted(Path(folder).glob("*/sightline/*")):
        root, beside = picture.parents[1], lambda kind, of=picture: _beside(of, kind)
        image = AerialView.open(beside("aerial")).image
        aerial = AerialView(image, scales.get(root.name))
        strip = GroundView.open(beside("ground"), heading=0.0).strip(north=True)[0]
        found = net(strip[None], aerial.tile(net.metres, net.size)[None])
        probability = net.probability(found.density)
        side = (aerial.metres or net.metres) / net.metres  # widths of the model's tile that the picture covers
        sightline = read_sightline(picture)
        column, row = brightest(sightline)
        cells = probability.shape[-1]
        camera = tuple((0.5 + (value - 0.5) * side) * cells for value in (column, row))
        sums.add(Found(probability[0].cpu().numpy(), camera, net.metres / cells))  # type: ignore[arg-type]
        truth = read_landcover(beside("landcover"))
        drawn = _onto(found.landcover.float().softmax(1), truth.shape, side).argmax(1)[0].numpy()
        matrix += metrics.confusion(drawn, truth, len(LANDCOVER))
        agreement.append(_agreement(found.sightline.sigmoid(), sightline, side))
    if not sums.error:
        raise XViewError(f"No sightline pictures in {folder}: it needs <set>/ground, aerial, landcover and sightline.")
    agreed, centre = np.mean(agreement, 0).tolist()
    return {
        "model": name, "seeds": None, **sums.result(), "landcover": metrics.by_class(matrix, LANDCOVER),
        "sightline": {"correlation": agreed, "chance": centre},
    }  # fmt: skip


def brightest(light: Tensor) -> tuple[float, float]:
    """Where a map (H, W) is brightest, (column, row) as fractions of its sides: middle of the top percent."""
    height, width = light.shape
    rows, columns = torch.nonzero(light >= 0.99 * light.max(), as_tuple=True)
    return float(columns.float().mean() + 0.5) / width, float(rows.float().mean() + 0.5) / height


def read_landcover(path: Path) -> np.ndarray:
    """(H, W) uint8 land cover of a picture in the colours of `INFERNO`; the nearest colour counts."""
    return np.array(list(INFERNO.values()), dtype=np.uint8)[nearest_colours(path, np.array(list(INFERNO)))]


def read_sightline(path: Path) -> Tensor:
    """(H, W) sightline map in [0, 1] of a picture in matplotlib's inferno colours; the nearest colour counts."""
    from matplotlib import colormaps

    return torch.from_numpy(nearest_colours(path, colormaps["inferno"](range(256), bytes=True)[:, :3])).float() / 255


def nearest_colours(path: Path, colours: np.ndarray) -> np.ndarray:
    """(H, W) uint8, which of the colours (N, 3) is nearest to each pixel of a picture."""
    return label_colours((read_image(path)[0] * 255).round().byte().permute(1, 2, 0).numpy(), colours)


def _agreement(found: Tensor, truth: Tensor, side: float) -> tuple[float, float]:
    """Correlation with a true map (H, W) of the found one (1, h, w), and of the free view from the picture's centre."""
    centre = torch.tensor([[found.shape[-1] / 2, found.shape[-2] / 2]])
    free = sightline_maps(torch.zeros(found.shape, dtype=torch.bool), centre)
    flat = truth.flatten()
    onto = (_onto(x[:, None].float(), truth.shape, side).flatten() for x in (found, free))
    first, second = (float(torch.corrcoef(torch.stack((x, flat)))[0, 1]) for x in onto)
    return first, second


def _onto(drawn: Tensor, shape: tuple[int, ...], side: float) -> Tensor:
    """What a tile's map (1, C, P, P) says at the pixels of a picture `side` tiles wide: (1, C, H, W)."""
    theta = torch.tensor([[[side, 0.0, 0.0], [0.0, side, 0.0]]])
    grid = F.affine_grid(theta, [1, 1, *shape], align_corners=False)
    return F.grid_sample(drawn.cpu(), grid, padding_mode="border", align_corners=False)


def _beside(picture: Path, kind: str) -> Path:
    for path in (picture.parents[1] / kind).glob("*"):
        if path.stem == picture.stem:
            return path
    raise XViewError(f"There is no {kind} picture named {picture.stem} in {picture.parents[1]}: add it.")
