"""Position inside a tile and land cover: cross-entropy and Dice, the sightline map, the position and its density."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from train import augment
from train.cache import Cache
from train.data import images, labels
from train.engine import Settings, autocast, decaying, descend
from xview_demo import zoo
from xview_demo.classes import BUILDING, LANDCOVER_OF_CLASSES
from xview_demo.geometry.sightline import sightline_maps
from xview_demo.models.position.featup import FeatUp
from xview_demo.models.position.heatmap import Placement, PositionModel, soft_argmax
from xview_demo.models.position.mst import MST

IGNORE = 255
REACH = 20.0  # metres by which the camera is off the tile's centre, at most
TRIES = 24  # shifts drawn for each pair, of which the first that fits is taken


@dataclass
class PositionBatch:
    """What a position model sees, and what is true."""

    strip: Tensor  # (B, 3, 128, 512), the centre column is up in the tile
    tile: Tensor  # (B, 3, P, P)
    landcover: Tensor  # (B, P, P) int64, 255 = none
    blocked: Tensor  # (B, h, w) bool, buildings
    camera: Tensor  # (B, 2) column and row in cells of the heat map


def position_losses(found: Placement, batch: PositionBatch, spread: float = 0.7) -> dict[str, Tensor]:
    """The terms of the loss, without their weights.

    Args:
        found: logits of the model.
        batch: the truth.
        spread: cells, standard deviation of the Gaussian around the camera that the density is drawn to.

    Returns:
        `landcover` (cross-entropy + Dice), `sightline` (binary cross-entropy), `position` (distance of the soft-argmax
        from the camera, in widths of the tile), `density` (cross-entropy over all cells).
    """
    dice = smp.losses.DiceLoss("multiclass", ignore_index=IGNORE, smooth=1.0)
    logits = found.landcover.float()
    landcover = F.cross_entropy(logits, batch.landcover, ignore_index=IGNORE) + dice(logits, batch.landcover)
    height, width = found.density.shape[-2:]
    maps = sightline_maps(batch.blocked, batch.camera)
    sightline = F.binary_cross_entropy_with_logits(found.sightline.float(), maps)
    position = (soft_argmax(found.density) - batch.camera).norm(dim=1).mean() / width
    x = torch.arange(width) + 0.5 - batch.camera[:, 0, None]
    y = torch.arange(height) + 0.5 - batch.camera[:, 1, None]
    target = (-(x[:, None].square() + y[:, :, None].square()) / (2 * spread**2)).flatten(1).softmax(1)
    density = F.cross_entropy(found.density.float().flatten(1), target)
    return {"landcover": landcover, "sightline": sightline, "position": position, "density": density}


class PositionMethod:
    """Trains `MST` or `FeatUp` on tiles that the camera stands in at random, at most 20 m off the centre.

    The cached tiles are little wider than those of the models: to get far off the centre, a panorama is also read with
    the tile of a neighbouring place. Panorama and tile are turned by quarters and mirrored together.

    Options: `family` ("mst" or "featup"), `own` (share of pairs whose tile is the panorama's own), `colour` (strength),
    `noise` (degrees by which the heading is wrong), weights `landcover`, `sightline`, `position`, `density` (the last
    is ours; the others are 1, 5 and 10 as published), `pretrained` (timm's weights in the backbone of `featup`),
    `start` (trained aerial U-Net that `detail` starts from).
    """

    averaged = "model"

    def __init__(self, settings: Settings, cache: Cache) -> None:
        self.cache, self.settings = cache, settings
        defaults: dict[str, Any] = {
            "family": "mst", "own": 0.25, "colour": 0.7, "noise": 1.0, "landcover": 1.0, "sightline": 5.0,
            "position": 10.0, "density": 1.0, "pretrained": False, "start": None,
        }  # fmt: skip
        self.options = defaults | settings.options
        self.model = self._build()
        self.modules: dict[str, nn.Module] = {"model": self.model}
        groups = decaying(self.model, settings)
        self.optimisers: dict[str, torch.optim.Optimizer] = {"model": torch.optim.AdamW(groups, settings.learning_rate)}
        slack = (cache.config.tile_metres - self.model.metres) / 2
        self.slack = max(0.0, slack)
        self.pairs, self.weights = _pairs(cache, self.slack, self.options["own"])
        with torch.no_grad():  # cells along the heat map
            probe = self.model.eval()(torch.zeros(1, 3, 128, 512), torch.zeros(1, 3, self.model.size, self.model.size))
        self.cells = int(probe.density.shape[-1])
        self.model.train()

    def _build(self) -> PositionModel:
        featup = FeatUp.with_pretrained_backbone if self.options["pretrained"] else FeatUp
        build: Any = {"mst": MST, "featup": featup}[self.options["family"]]
        model: PositionModel = build(**self.settings.model)
        if self.options["start"]:
            model.start_from(zoo.load(self.options["start"], task="segmentation").unet)
        return model

    def batch(self, generator: Generator) -> PositionBatch:
        """Panoramas with tiles around them, turned and mirrored together, each view with its own colours."""
        config, count = self.cache.config, self.settings.batch
        chosen = self.pairs[torch.multinomial(self.weights, count, True, generator=generator).numpy()]
        offset = torch.from_numpy(chosen[:, 2:]).float()  # metres east and north of the camera from the wide tile
        shift = _shifts(offset, self.slack, generator)
        sample, dense = chosen[:, 0].astype(np.int64), chosen[:, 1].astype(np.int64)
        quarter = torch.randint(4, (count,), generator=generator)
        turn = 90.0 * quarter + augment.normal(generator, (count,), 0.3)
        grid = window(turn, shift, self.model.size, self.model.metres, config.tile_metres)
        tile = augment.cut(images(self.cache["aerial"], dense * config.dense_every), grid)
        truth = labels(self.cache["aerial_labels"], dense)[:, None].float()
        truth = augment.cut(truth, grid, "nearest")[:, 0].long()
        columns = (turn + augment.normal(generator, (count,), self.options["noise"])) * (config.width / 360)
        strip = augment.roll(images(self.cache["ground"], sample), columns.round().long())
        camera = turned(offset - shift, turn) / self.model.metres + 0.5
        if bool(torch.rand((), generator=generator) < 0.5):
            tile, truth, strip = tile.flip(-1), truth.flip(-1), strip.flip(-1)
            camera[:, 0] = 1 - camera[:, 0]
        landcover = torch.from_numpy(LANDCOVER_OF_CLASSES).long()[truth]
        step = self.model.size // self.cells
        blocked = truth[:, step // 2 :: step, step // 2 :: step] == BUILDING
        strip, tile = (self._disturb(x, generator) for x in (strip, tile))
        return PositionBatch(strip, tile, landcover, blocked, camera * self.cells)

    def _disturb(self, image: Tensor, generator: Generator) -> Tensor:
        return augment.roughen(augment.jitter_colour(image, generator, self.options["colour"]), generator)

    def step(self, batch: PositionBatch) -> dict[str, float]:
        """One update; also logs the mean error of the most probable cell in metres."""
        with autocast():
            found = self.model(batch.strip, batch.tile)
        losses = position_losses(found, batch)
        total = torch.stack([self.options[name] * loss for name, loss in losses.items()]).sum()
        descend(self.optimisers["model"], total)
        best = found.density.detach().flatten(1).argmax(1)
        best = torch.stack((best % self.cells, best // self.cells), 1) + 0.5
        metres = (best - batch.camera).norm(dim=1).mean() * (self.model.metres / self.cells)
        return {name: loss.item() for name, loss in losses.items()} | {"metres": metres.item()}


def window(turn: Tensor, shift: Tensor, pixels: int, metres: float, wide: float) -> Tensor:
    """Grids (B, P, P, 2) that cut tiles out of wider ones.

    Args:
        turn: (B,) degrees; what bears `turn` in the wide tile is up in the cut one.
        shift: (B, 2) metres east and north from the wide tile's centre to the cut one's.
        pixels: P.
        metres, wide: ground widths of the cut and of the wide tile.
    """
    angle = torch.deg2rad(turn)
    theta = torch.stack((angle.cos(), -angle.sin(), angle.sin(), angle.cos()), 1).view(-1, 2, 2) * (metres / wide)
    centre = shift * torch.tensor([2 / wide, -2 / wide])
    return F.affine_grid(torch.cat((theta, centre[:, :, None]), 2), [len(turn), 3, pixels, pixels], align_corners=False)


def turned(east_north: Tensor, turn: Tensor) -> Tensor:
    """(B, 2) metres east and north as metres right and down in a picture whose up bears `turn` degrees."""
    angle = torch.deg2rad(turn)
    east, north = east_north.unbind(1)
    right = east * angle.cos() - north * angle.sin()
    forward = east * angle.sin() + north * angle.cos()
    return torch.stack((right, -forward), 1)


def _pairs(cache: Cache, slack: float, own: float) -> tuple[np.ndarray, Tensor]:
    """Rows (panorama, dense tile, metres east, metres north of the camera from the tile's centre), and weights."""
    per, every = cache.config.per_world, cache.config.dense_every
    dense = cache.dense()
    rows = []
    for world in cache.worlds:
        samples = np.arange(world * per, (world + 1) * per)
        places = cache["place"][samples, 1:3].astype(np.float64)
        for tile in dense[(dense >= samples[0]) & (dense <= samples[-1])]:
            offset = places - places[tile - samples[0]]
            rest = offset - offset.clip(-slack, slack)
            near = (np.hypot(*rest.T) <= REACH) & (np.abs(offset) <= REACH + slack).all(1)
            rows += [(samples[n], tile // every, *offset[n]) for n in np.flatnonzero(near)]
    pairs = np.array(rows, dtype=np.float64)
    mine = np.hypot(pairs[:, 2], pairs[:, 3]) < 0.5
    others = max(1, int((~mine).sum()))
    weights = np.where(mine, own / max(1, int(mine.sum())), (1 - own) / others)
    return pairs, torch.from_numpy(weights)


def _shifts(offset: Tensor, slack: float, generator: Generator) -> Tensor:
    """(B, 2) shifts of the tile in metres, each coordinate within ±slack, after which the camera is within reach."""
    drawn = augment.uniform(generator, (len(offset), TRIES, 2), -slack, slack)
    drawn[:, -1] = offset.clamp(-slack, slack)  # the last resort: as near as can be
    fits = (offset[:, None] - drawn).norm(dim=2) <= REACH
    fits[:, -1] = True
    return drawn[torch.arange(len(offset)), fits.int().argmax(1)]
