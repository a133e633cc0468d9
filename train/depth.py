"""Depth of panoramas: relative error, error of the logarithm, the sky, and the height of the camera."""

import torch
from torch import Generator, Tensor

from train import augment
from train.cache import Cache
from train.data import draw, images, labels
from train.engine import Settings, autocast, descend, muon, settle, step_of
from train.losses import depth_loss
from xview_demo.models.depth.unet import UNetDepth

Batch = tuple[Tensor, Tensor, Tensor, Tensor]


class DepthMethod:
    """Trains `UNetDepth`.

    Options: `crop` (columns), `rows`, `colour` (strength), `settled` (see `engine.settle`), `whole` (the step from
    which on every second batch holds whole panoramas, half as many: the camera's height is told by all of one).
    """

    averaged = "model"

    def __init__(self, settings: Settings, cache: Cache) -> None:
        self.cache, self.settings = cache, settings
        self.options = {"crop": 256, "rows": 96, "colour": 0.5, "whole": settings.steps} | settings.options
        self.model = UNetDepth(**settings.model).to(memory_format=torch.channels_last)
        self.modules: dict[str, torch.nn.Module] = {"model": self.model}
        self.optimisers: dict[str, torch.optim.Optimizer] = {"model": muon(self.model, settings)}

    def batch(self, generator: Generator) -> Batch:
        """Pictures (B, 3, h, w), metres (B, h, w), inf = sky, elevation of the rows (h,), metres of the camera (B,)."""
        settle(self.model, generator, self.settings)
        whole = step_of(generator, self.settings.seed) in range(self.options["whole"], self.settings.steps, 2)
        rows = draw(self.cache.dense(), self.settings.batch // (1 + whole), generator)
        image = images(self.cache["ground"], rows)
        metres = labels(self.cache["depth"], rows // self.cache.config.dense_every)
        size = image.shape[-2:] if whole else (int(self.options["rows"]), int(self.options["crop"]))
        image, metres, elevation = augment.crop_strip(image, metres, generator, *size)
        image = augment.roughen(augment.jitter_colour(image, generator, self.options["colour"]), generator)
        return image, metres, elevation, torch.from_numpy(self.cache["place"][rows, 3])

    def step(self, batch: Batch) -> dict[str, float]:
        """One update."""
        image, metres, elevation, camera = batch
        with autocast():
            whole = image.shape[-1] == self.cache.config.width
            log_depth, sky, height = self.model(image, panorama=whole, rows=elevation)
        tall = (height - camera.log()).abs().mean()
        loss = depth_loss(log_depth, sky, metres) + 0.3 * tall
        descend(self.optimisers["model"], loss)
        near = metres < 60
        relative = ((log_depth.detach().exp() - metres).abs() / metres)[near].mean()
        return {"loss": loss.item(), "abs_rel": relative.item(), "height": tall.item()}
