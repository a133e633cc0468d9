"""Verifier of pairs: which of some tiles that a first matcher mistakes for one another is the right one."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from train import augment
from train.cache import Cache
from train.data import apart, draw, images, neighbours
from train.engine import Settings, autocast, descend, muon
from train.pictures import fingerprint, open_array, tiny_model, unfinished
from xview_demo import zoo
from xview_demo.geometry import columns_within
from xview_demo.geometry.overhead import TILE_METRES
from xview_demo.models.matching.azimuth_verifier import AzimuthVerifier


@dataclass
class VerifierBatch:
    """What the verifier sees: each query with its right tile first and wrong ones after it."""

    strip: Tensor  # (B, 3, 128, 512)
    mask: Tensor  # (B, 1, 128, 512)
    tiles: Tensor  # (B, K, 3, 128, 128)
    headings: Tensor  # (B, K) degrees, as the first matcher finds them
    places: Tensor  # (B, K, 2) metres east and north, as the first matcher finds them


class VerifierMethod:
    """Trains `AzimuthVerifier` on the mistakes of a first matcher, which is not trained any more.

    Options: `first` (its name; "tiny" for a random one in smoke runs), `worlds` per batch, `apart` (metres between
    places that count as different), `pool` (tiles that are searched for look-alikes, beside those of the batch's
    worlds), `among` (the best of them, of which `candidates` - 1 are drawn), `offset` (metres) and `turn` (degrees) by
    which the right tile's pose is wrong, `scale`, `colour` (strength), `narrow` (share of the batches whose views show
    less than a full turn), `fov` and `lean` (how much they show, see `augment.blinkers`).
    """

    averaged = "model"

    def __init__(self, settings: Settings, cache: Cache) -> None:
        self.cache, self.settings = cache, settings
        self.options: dict[str, Any] = {
            "first": "azimuth-world", "worlds": 4, "apart": 12.0, "pool": 1800, "among": 14, "candidates": 8,
            "offset": 1.7, "turn": 1.5, "scale": 0.03, "colour": 1.0, "narrow": 0.75, "fov": 70.0, "lean": 2.0,
        }  # fmt: skip
        self.options |= settings.options
        name = str(self.options["first"])
        first = tiny_model("azimuth-world") if name == "tiny" else zoo.load(name)
        self.first: Any = first.requires_grad_(False).to(memory_format=torch.channels_last)
        self.described = described(cache, self.first)
        self.place = torch.from_numpy(np.array(cache["place"]))
        self.model = AzimuthVerifier(**settings.model).to(memory_format=torch.channels_last)
        self.modules: dict[str, torch.nn.Module] = {"model": self.model}
        self.optimisers: dict[str, torch.optim.Optimizer] = {"model": muon(self.model, settings)}

    def batch(self, generator: Generator) -> VerifierBatch:
        """Queries that all show as much, each turned by a random angle, and tiles each with its own colours."""
        o = self.options
        rows = neighbours(self.cache, int(o["worlds"]), self.settings.batch, generator)
        strip = images(self.cache["ground"], rows)
        width = strip.shape[-1]
        columns = torch.randint(width, (len(rows),), generator=generator)
        strip = self._disturb(augment.roll(strip, columns), generator)
        mask = augment.blinkers(generator, len(rows), strip.shape[-2], width, narrow=0.0, fov=o["fov"])
        if bool(torch.rand((), generator=generator) < o["narrow"]):
            wide = o["fov"] + (360.0 - o["fov"]) * float(torch.rand((), generator=generator)) ** o["lean"]
            mask = mask * columns_within(width, wide)
        wrong, headings, places = self._mistaken(rows, strip * mask, mask, generator)
        true = columns * (360.0 / width) + augment.normal(generator, (len(rows),), o["turn"])
        headings, places = torch.cat((true[:, None], headings), 1), torch.cat((self._near(rows, generator), places), 1)
        tiles = torch.cat((torch.from_numpy(rows)[:, None], wrong), 1)
        return VerifierBatch(strip, mask, *self._turned(tiles, headings, places, generator))

    @torch.no_grad()
    def _mistaken(
        self, rows: np.ndarray, strip: Tensor, mask: Tensor, generator: Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Wrong tiles (B, K - 1) that the first matcher finds most alike, their headings, and places (B, K - 1, 2)."""
        o, per = self.options, self.cache.config.per_world
        worlds = torch.from_numpy(np.unique(rows // per))
        others = torch.from_numpy(draw(self.cache.samples(), min(int(o["pool"]), len(self.cache.samples())), generator))
        pool = torch.cat(((worlds[:, None] * per + torch.arange(per)).flatten(), others)).unique()
        with autocast():
            query = self.first.encode_ground(strip, mask)
        centres = self.first.columns_of(self.described[pool])[:, 0]
        alike = self.first.correlation(self.first.columns_of(query)[:, 0], centres).amax(2)
        alike = alike.masked_fill(~apart(self.place[rows], o["apart"], self.place[pool]), -torch.inf)
        count = int(o["candidates"]) - 1
        best = alike.topk(max(count, min(int(o["among"]), len(pool) // 2)), dim=1).indices
        chosen = torch.rand(best.shape, generator=generator).argsort(1)[:, :count]
        wrong = pool[best.gather(1, chosen)]
        poses = [self.first.poses(one, self.described[tiles]) for one, tiles in zip(query, wrong, strict=True)]
        headings, places = (torch.stack(part) for part in zip(*poses, strict=True))
        return wrong, headings, places

    def _near(self, rows: np.ndarray, generator: Generator) -> Tensor:
        """(B, 1, 2) metres by which the right tile's place is wrong: anywhere within a disc."""
        angle = augment.uniform(generator, (len(rows), 1), 0.0, 2 * torch.pi)
        radius = self.options["offset"] * augment.uniform(generator, (len(rows), 1)).sqrt()
        return torch.stack((radius * angle.sin(), radius * angle.cos()), 2)

    def _turned(
        self, tiles: Tensor, headings: Tensor, places: Tensor, generator: Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Pictures of tiles (B, K), each cut out at an angle of its own, and poses as they are in those.

        Right and wrong tiles must have been resampled alike, or that tells them apart.
        """
        shape, o, wide = tiles.shape, self.options, self.cache.config.tile_metres
        angle = augment.uniform(generator, (tiles.numel(),), 0.0, 360.0)
        grid = augment.tile_grid(generator, angle, self.model.tile, share=TILE_METRES / wide, scale=o["scale"])
        image = augment.cut(images(self.cache["aerial"], tiles.flatten().numpy()), grid)
        radians, (east, north) = torch.deg2rad(angle), places.flatten(0, 1).unbind(1)
        right = east * radians.cos() - north * radians.sin()
        ahead = east * radians.sin() + north * radians.cos()
        places = torch.stack((right, ahead), 1).view(*shape, 2)
        return self._disturb(image, generator).unflatten(0, shape), headings - angle.view(shape), places

    def _disturb(self, image: Tensor, generator: Generator) -> Tensor:
        return augment.roughen(augment.jitter_colour(image, generator, self.options["colour"]), generator)

    def step(self, batch: VerifierBatch) -> dict[str, float]:
        """One update; logs the loss and the share of queries whose right tile comes first."""
        with autocast():
            scores = self.model.verify(batch.strip, batch.mask, batch.tiles, batch.headings, batch.places)
        loss = F.cross_entropy(scores, torch.zeros(len(scores), dtype=torch.long))
        descend(self.optimisers["model"], loss)
        return {"loss": loss.item(), "r1": (scores.detach().argmax(1) == 0).float().mean().item()}


@torch.no_grad()
def described(cache: Cache, matcher: Any) -> Tensor:
    """(N, D) half-precision descriptors of all tiles of a cache, made once and kept beside it."""
    folder = cache.folder / f"tiles-{fingerprint(matcher)}"
    folder.mkdir(parents=True, exist_ok=True)
    share = TILE_METRES / cache.config.tile_metres
    found = open_array(folder / "tiles.npy", (len(cache["aerial"]), matcher.dimension), "float16")
    for rows in unfinished(cache, folder, "tiles"):
        grid = augment.tile_grid(torch.Generator(), torch.zeros(len(rows)), 128, share=share)
        with autocast():
            tiles = matcher.encode_aerial(augment.cut(images(cache["aerial"], rows), grid))
        found[rows] = tiles.half().numpy()
    return torch.from_numpy(found)
