"""Dense bird's-eye features: InfoNCE on the soft maximum, over shifts, of the weighted correlation."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from train import augment
from train.cache import Cache
from train.data import apart, neighbours, pairs
from train.engine import Settings, autocast, descend
from train.losses import info_nce
from xview_demo.geometry.overhead import TILE_METRES
from xview_demo.models.matching.bird_eye_correlation import weighted_correlation
from xview_demo.models.matching.bird_eye_features import BirdEyeFeatures


@dataclass
class DenseBatch:
    """What the networks see."""

    strip: Tensor  # (B, 3, 128, 512), north in the middle
    tile: Tensor  # (B, 3, T, T), 64 m
    turn: Tensor  # (B,) degrees by which the heading is wrong
    height: Tensor  # (B,) metres that the camera is taken to stand above the ground
    valid: Tensor  # (B, B) False where two places are too close to count as different


class BirdEyeMethod:
    """Trains `BirdEyeFeatures`.

    Options: `worlds` per batch, `apart` (metres between places that count as different), `offset` (metres), `scale`,
    `turn` (degrees) and `height` (errors of the pose), `colour` and `noise` (strength), `soft` (temperature of the soft
    maximum over shifts).
    """

    averaged = "model"

    def __init__(self, settings: Settings, cache: Cache) -> None:
        self.cache, self.settings = cache, settings
        self.options = {
            "worlds": 6, "apart": 12.0, "offset": 3.0, "scale": 0.08, "turn": 2.0, "height": 0.08, "colour": 1.5,
            "noise": 0.1, "soft": 0.02,
        }  # fmt: skip
        self.options |= settings.options
        self.model = BirdEyeFeatures(**settings.model).to(memory_format=torch.channels_last)
        self.shifts = [(row, column) for row, column in self.model.shifts if row % 2 == 0 == column % 2]
        self.modules: dict[str, torch.nn.Module] = {"model": self.model}
        parameters = self.model.parameters()
        optimiser = torch.optim.AdamW(parameters, settings.learning_rate, weight_decay=settings.weight_decay)
        self.optimisers: dict[str, torch.optim.Optimizer] = {"model": optimiser}

    def batch(self, generator: Generator) -> DenseBatch:
        """Neighbouring places, each view with its own colours, noise and errors of the pose."""
        o, wide = self.options, self.cache.config.tile_metres
        rows = neighbours(self.cache, int(o["worlds"]), self.settings.batch, generator)
        sample = pairs(self.cache, rows)
        b = len(rows)
        grid = augment.tile_grid(
            generator, torch.zeros(b), self.model.tile_pixels, share=TILE_METRES / wide, offset=o["offset"] / wide,
            scale=o["scale"],
        )  # fmt: skip
        strip = self._disturb(sample.ground, generator)
        tile = self._disturb(augment.cut(sample.aerial, grid), generator)
        turn = augment.normal(generator, (b,), o["turn"])
        height = sample.place[:, 3] * augment.normal(generator, (b,), o["height"]).exp()
        return DenseBatch(strip, tile, turn, height, apart(sample.place, o["apart"]))

    def _disturb(self, image: Tensor, generator: Generator) -> Tensor:
        image = augment.jitter_colour(image, generator, self.options["colour"])
        return augment.roughen(image, generator, noise=self.options["noise"])

    def step(self, batch: DenseBatch) -> dict[str, float]:
        """One update; logs the loss and the share of queries found within the batch."""
        model, soft = self.model, self.options["soft"]
        pictures = model.above(batch.strip)
        with autocast():
            maps, _ = model.posed(pictures, batch.turn, batch.height)
            tiles = model.features(batch.tile, "aerial")
        volume = weighted_correlation(maps, model.near, tiles, self.shifts, model.joint)
        scores = soft * (volume / soft).logsumexp(2)
        scale = model.log_scale.clamp(1.5, 4.6).exp()
        loss = info_nce(scores * scale, batch.valid)
        descend(self.optimisers["model"], loss)
        found = scores.detach().argmax(1) == torch.arange(len(scores))
        return {"loss": loss.item(), "r1": found.float().mean().item(), "scale": scale.item()}
