"""X-Fork: adversarial loss (real label 0.9), 100·L1 of the image, and the segmentation."""

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from train import augment
from train.cache import Cache
from train.data import draw, images, labels
from train.engine import Settings
from xview_demo.classes import PALETTE
from xview_demo.models.synthesis.bird_eye import BirdEye
from xview_demo.models.synthesis.layers import PatchDiscriminator
from xview_demo.models.synthesis.xfork import XForkGenerator

Batch = tuple[Tensor, Tensor, Tensor | None, Tensor, Tensor]


class XForkMethod:
    """Trains `XForkGenerator` against an unconditional `PatchDiscriminator`.

    Options: `discriminator` (width), `l1` and `segmentation` (weights; λ₂ is 1 ground → aerial as published),
    `real` (label), `colour` (strength).
    """

    averaged = "generator"

    def __init__(self, settings: Settings, cache: Cache) -> None:
        self.cache, self.settings = cache, settings
        self.options = {"discriminator": 32, "l1": 100.0, "segmentation": 1.0, "real": 0.9, "colour": 0.4}
        self.options |= settings.options
        self.generator = XForkGenerator(**settings.model).to(memory_format=torch.channels_last)
        self.discriminator = PatchDiscriminator(width=int(self.options["discriminator"]))
        self.discriminator.to(memory_format=torch.channels_last)
        self.modules: dict[str, torch.nn.Module] = {"generator": self.generator, "discriminator": self.discriminator}
        self.optimisers: dict[str, torch.optim.Optimizer] = {
            name: torch.optim.Adam(module.parameters(), settings.learning_rate, betas=(0.5, 0.999))
            for name, module in self.modules.items()
        }
        self.project = BirdEye(pixels=self.generator.size, metres=self.generator.metres)

    def batch(self, generator: Generator) -> Batch:
        """Strip, bird's-eye view and mask, its absence, target image, target labels; turned by a random angle."""
        rows = draw(self.cache.dense(), self.settings.batch, generator)
        config, size = self.cache.config, self.generator.size
        strip = images(self.cache["ground"], rows)
        columns = torch.randint(strip.shape[-1], (len(rows),), generator=generator)
        strip = augment.jitter_colour(augment.roll(strip, columns), generator, self.options["colour"], grey=0.0)
        share = self.generator.metres / config.tile_metres
        turn = columns * (360.0 / strip.shape[-1])
        grid = augment.tile_grid(generator, turn, size, share=share)
        target = augment.cut(images(self.cache["aerial"], rows), grid)
        truth = labels(self.cache["aerial_labels"], rows // config.dense_every)
        truth = augment.cut(truth[:, None].float(), grid, "nearest")[:, 0].long()
        overhead = torch.cat(self.project(strip), 1) if self.generator.bird_eye else None
        small = F.interpolate(strip, (size // 2, 2 * size), mode="area")
        return small, target, overhead, truth, turn

    def _segmentation(self, predicted: Tensor, truth: Tensor) -> Tensor:
        if self.generator.classes:
            return F.cross_entropy(predicted, truth)
        colours = torch.from_numpy(PALETTE).float().div(255)[truth].permute(0, 3, 1, 2)
        return F.l1_loss(predicted, colours)

    def step(self, batch: Batch) -> dict[str, float]:
        """One update of the discriminator and one of the generator."""
        strip, target, overhead, truth, _ = batch
        o = self.options
        with torch.autocast("cpu", torch.bfloat16):
            image, predicted = self.generator(strip, overhead)
            real, fake = self.discriminator(target), self.discriminator(image.detach())
        judge = 0.5 * (_bce(real, o["real"]) + _bce(fake, 0.0))
        self._update("discriminator", judge)
        self.discriminator.requires_grad_(False)
        with torch.autocast("cpu", torch.bfloat16):
            fooled = _bce(self.discriminator(image), 1.0)
        l1 = F.l1_loss(image, target) * 2  # in units of [-1, 1], as published
        classes = self._segmentation(predicted, truth)
        self._update("generator", fooled + o["l1"] * l1 + o["segmentation"] * classes)
        self.discriminator.requires_grad_(True)
        return {"judge": judge.item(), "fooled": fooled.item(), "l1": l1.item(), "classes": classes.item()}

    def _update(self, name: str, loss: Tensor) -> None:
        optimiser = self.optimisers[name]
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()


def _bce(logits: Tensor, label: float) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))
