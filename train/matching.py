"""Azimuth matcher: InfoNCE on aligned descriptors, and over all headings at once."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor

from train import augment
from train.cache import Cache
from train.data import apart, neighbours, pairs
from train.engine import Settings, autocast, descend, muon, step_of
from train.losses import heading_nce, info_nce
from train.memory import TileMemory
from xview_demo.models.matching.azimuth import AzimuthMatcher


@dataclass
class MatchingBatch:
    """What the matcher sees."""

    strip: Tensor  # (B, 3, 128, 256)
    mask: Tensor  # (B, 1, 128, 256)
    tile: Tensor  # (B, 3, 128, 128)
    place: Tensor  # (B, 4): world seed, east, north (metres), camera height (metres)
    hard: int  # remembered tiles that look like each of the batch, to compare with


class AzimuthMethod:
    """Trains `AzimuthMatcher`.

    Options: `worlds` per batch, `apart` (metres between places that count as different), `offset` (metres), `scale`,
    `colour` (strength), `aligned` (weight of the aligned loss), `narrow` (share of the queries that show less than a
    full turn), `fov` (degrees that they show at least), `lean` (above 1: more of them show little), `hard` (tiles of
    earlier batches, `memory` of which are kept, that look most like each tile: more wrong ones to compare with), and
    `later`: options that hold from the step `after` on.

    Every query is turned at random from the first step on; the aligned loss stands beside the one over all headings.
    The bundled recipe begins with half of the queries narrow and with neighbours on the ground as wrong tiles; from
    step 600 on, four fifths are narrow and remembered tiles that look alike are compared as well.
    """

    averaged = "model"

    def __init__(self, settings: Settings, cache: Cache) -> None:
        self.cache, self.settings = cache, settings
        self.options: dict[str, Any] = {
            "worlds": 4, "apart": 12.0, "offset": 3.0, "scale": 0.05, "colour": 1.0, "aligned": 1.0, "narrow": 0.5,
            "fov": 70.0, "lean": 1.0, "hard": 0, "memory": 4096, "later": {},
        }  # fmt: skip
        self.options |= settings.options
        self.model = AzimuthMatcher(**settings.model).to(memory_format=torch.channels_last)
        self.memory = TileMemory(int(self.options["memory"]), self.model.channels * self.model.bins)
        self.modules: dict[str, torch.nn.Module] = {"model": self.model, "memory": self.memory}
        self.optimisers: dict[str, torch.optim.Optimizer] = {"model": muon(self.model, settings)}

    def batch(self, generator: Generator) -> MatchingBatch:
        """Neighbouring places, each turned by a random angle, each view with its own colours."""
        o, config = self.options, self.cache.config
        if step_of(generator, self.settings.seed) >= o["later"].get("after", 0):
            o = o | o["later"]
        rows = neighbours(self.cache, int(o["worlds"]), self.settings.batch, generator)
        sample = pairs(self.cache, rows, ground=(1, 2))
        b, width = len(rows), sample.ground.shape[-1]
        columns = torch.randint(width, (b,), generator=generator)
        noise = augment.normal(generator, (b,), 1.5)  # degrees by which the heading is wrong
        grid = augment.tile_grid(
            generator, columns * (360.0 / width) + noise, 128, share=64.0 / config.tile_metres,
            offset=o["offset"] / config.tile_metres, scale=o["scale"],
        )  # fmt: skip
        strip = self._disturb(augment.roll(sample.ground, columns), generator)
        tile = self._disturb(augment.cut(sample.aerial, grid), generator)
        mask = augment.blinkers(
            generator, b, strip.shape[-2], width, narrow=o["narrow"], fov=o["fov"], lean=o["lean"]
        )  # fmt: skip
        return MatchingBatch(strip, mask, tile, sample.place, int(o["hard"]))

    def _disturb(self, image: Tensor, generator: Generator) -> Tensor:
        strength = self.options["colour"]
        return augment.roughen(augment.jitter_colour(image, generator, strength), generator)

    def step(self, batch: MatchingBatch) -> dict[str, float]:
        """One update; logs the losses and the share of aligned queries found within the batch."""
        with autocast():
            ground = self.model.ground_columns(batch.strip * batch.mask, batch.mask)
            aerial = self.model.aerial_columns(batch.tile)
        scale = self.model.log_scale.exp()
        volume = self.model.correlation(ground, aerial) * scale
        valid = apart(batch.place, self.options["apart"])
        further = self._remembered(ground, aerial, batch, scale)
        aligned = info_nce(volume[..., 0], valid, further=None if further is None else further[..., 0])
        turned = heading_nce(volume, valid, further=further)
        loss = self.options["aligned"] * aligned + turned
        descend(self.optimisers["model"], loss)
        self.model.log_scale.data.clamp_(1.5, 4.6)  # here, where it can come back, not on its way into the loss
        found = volume.detach()[..., 0].argmax(1) == torch.arange(len(volume))
        best = volume.detach().amax(2).argmax(1) == torch.arange(len(volume))
        return {
            "aligned": aligned.item(), "turned": turned.item(), "r1": found.float().mean().item(),
            "r1_turned": best.float().mean().item(), "scale": scale.item(),
        }  # fmt: skip

    def _remembered(self, ground: Tensor, aerial: Tensor, batch: MatchingBatch, scale: Tensor) -> Tensor | None:
        """(B, M, bins) scaled scores of the queries with the remembered tiles that look most like those of the batch.

        −inf where the place is the same; None if nothing is remembered.
        """
        if not batch.hard:
            return None
        known, place = self.memory.read()
        further = None
        if len(known):
            known = known.view(-1, *aerial.shape[1:])
            alike = self.model.spectra(aerial) @ self.model.spectra(known).T
            rows = alike.topk(min(batch.hard, len(known)), dim=1).indices.unique()
            far = apart(batch.place, self.options["apart"], place[rows])
            further = (self.model.correlation(ground, known[rows]) * scale).masked_fill(~far[..., None], -torch.inf)
        self.memory.write(aerial.flatten(1), batch.place)
        return further
