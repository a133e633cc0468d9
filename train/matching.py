"""Azimuth matcher: InfoNCE on aligned descriptors, and over all headings at once."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from train import augment
from train.cache import Cache
from train.data import apart, neighbours, pairs
from train.engine import Settings
from train.losses import heading_nce, info_nce
from xview_demo.models.matching.azimuth import AzimuthMatcher


@dataclass
class MatchingBatch:
    """What the matcher sees."""

    strip: Tensor  # (B, 3, 128, 256)
    mask: Tensor  # (B, 1, 128, 256)
    tile: Tensor  # (B, 3, 128, 128)
    valid: Tensor  # (B, B) False where two places are too close to count as different


class AzimuthMethod:
    """Trains `AzimuthMatcher`.

    Options: `worlds` per batch, `apart` (metres between places that count as different), `offset` (metres), `scale`,
    `colour` (strength), `aligned` (weight of the aligned loss), `narrow` (share of the queries that show less than a
    full turn) and `fov` (degrees that they show at least).
    """

    averaged = "model"

    def __init__(self, settings: Settings, cache: Cache) -> None:
        self.cache, self.settings = cache, settings
        self.options = {"worlds": 4, "apart": 12.0, "offset": 3.0, "scale": 0.05, "colour": 1.0, "aligned": 1.0}
        self.options |= {"narrow": 0.5, "fov": 70.0}
        self.options |= settings.options
        self.model = AzimuthMatcher(**settings.model).to(memory_format=torch.channels_last)
        self.modules: dict[str, torch.nn.Module] = {"model": self.model}
        decay = [p for p in self.model.parameters() if p.dim() > 1]
        plain = [p for p in self.model.parameters() if p.dim() <= 1]
        groups = [{"params": decay, "weight_decay": settings.weight_decay}, {"params": plain, "weight_decay": 0.0}]
        self.optimisers: dict[str, torch.optim.Optimizer] = {"model": torch.optim.AdamW(groups, settings.learning_rate)}

    def batch(self, generator: Generator) -> MatchingBatch:
        """Neighbouring places, each turned by a random angle, each view with its own colours."""
        o, config = self.options, self.cache.config
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
        mask = augment.blinkers(generator, b, strip.shape[-2], width, narrow=o["narrow"], fov=o["fov"])
        return MatchingBatch(strip, mask, tile, apart(sample.place, o["apart"]))

    def _disturb(self, image: Tensor, generator: Generator) -> Tensor:
        strength = self.options["colour"]
        return augment.roughen(augment.jitter_colour(image, generator, strength), generator)

    def step(self, batch: MatchingBatch) -> dict[str, float]:
        """One update; logs the losses and the share of aligned queries found within the batch."""
        with torch.autocast("cpu", torch.bfloat16):
            ground = self.model.ground_columns(batch.strip * batch.mask, batch.mask)
            aerial = self.model.aerial_columns(batch.tile)
        scale = self.model.log_scale.clamp(1.5, 4.6).exp()
        volume = self.model.correlation(ground.flatten(1), aerial.flatten(1))
        aligned = info_nce(volume[..., 0] * scale, batch.valid)
        turned = heading_nce(volume * scale, batch.valid)
        loss = self.options["aligned"] * aligned + turned
        optimiser = self.optimisers["model"]
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        optimiser.step()
        found = volume.detach()[..., 0].argmax(1) == torch.arange(len(volume))
        best = volume.detach().amax(2).argmax(1) == torch.arange(len(volume))
        return {
            "aligned": aligned.item(), "turned": turned.item(), "r1": found.float().mean().item(),
            "r1_turned": best.float().mean().item(), "scale": scale.item(),
        }  # fmt: skip
