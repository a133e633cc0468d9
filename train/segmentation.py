"""U-Nets for the classes of a panorama or of an aerial tile: cross-entropy and Dice, rare classes favoured."""

import numpy as np
import segmentation_models_pytorch as smp
import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from train import augment
from train.cache import Cache
from train.data import class_shares, images, labels, rarity
from train.engine import Settings, autocast, descend, muon, settle, step_of
from xview_demo.models.segmentation.unet import UNetSegmenter

Batch = tuple[Tensor, Tensor, Tensor | None]


class SegmentationMethod:
    """Trains `UNetSegmenter`; its keyword `view` decides what it reads.

    Options: `crop` (columns of a strip, or side of a tile, in pixels), `rows` (of a strip), `colour` (strength),
    `dice` (weight), `balance` (power of the inverse frequency that weighs a class), `scale` (relative, of a tile),
    `exact` (step from which the pictures of every second batch are not roughened, and tiles cut along their pixels and
    turned by quarters alone, so that outlines are learned as they are), `imagenet` (start the encoder from ImageNet's
    weights), `muon` (move the layers by Muon, not by AdamW), `settled` (see `engine.settle`).
    """

    averaged = "model"

    def __init__(self, settings: Settings, cache: Cache) -> None:
        self.cache, self.settings = cache, settings
        self.options = {
            "crop": 256,
            "rows": 96,
            "colour": 0.5,
            "dice": 1.0,
            "scale": 0.2,
            "balance": 0.25,
            "exact": settings.steps,
            "imagenet": False,
            "muon": False,
        } | settings.options
        self.model = UNetSegmenter(**settings.model).to(memory_format=torch.channels_last)
        if self.options["imagenet"]:
            self.model.unet.start_from_imagenet()
        self.modules: dict[str, torch.nn.Module] = {"model": self.model}
        decay = settings.weight_decay
        optimiser = (
            muon(self.model, settings)
            if self.options["muon"]
            else torch.optim.AdamW(self.model.parameters(), settings.learning_rate, weight_decay=decay)
        )
        self.optimisers: dict[str, torch.optim.Optimizer] = {"model": optimiser}
        shares = class_shares(cache, f"{self.model.view}_labels")
        self.chances = torch.from_numpy(rarity(shares))
        frequency = torch.from_numpy(shares[shares.any(1)].mean(0)).float().clamp_min(1e-4)
        self.weights = (0.1 / frequency).pow(self.options["balance"]).clamp(0.5, 4.0)
        self.dice = smp.losses.DiceLoss("multiclass", smooth=1.0)

    def batch(self, generator: Generator) -> Batch:
        """Pictures (B, 3, h, w), labels (B, h, w), and the elevation of the rows of a ground picture (h,)."""
        settle(self.model, generator, self.settings)
        few = int((self.chances > 0).sum()) < self.settings.batch
        dense = torch.multinomial(self.chances, self.settings.batch, few, generator=generator).numpy()
        rows = dense * self.cache.config.dense_every
        read = self._ground if self.model.view == "ground" else self._aerial
        image, truth, elevation = read(rows, dense, generator)
        image = augment.jitter_colour(image, generator, self.options["colour"])
        if not self._exact(generator):
            image = augment.roughen(image, generator)
        return image, truth.long(), elevation

    def _exact(self, generator: Generator) -> bool:
        step = step_of(generator, self.settings.seed)
        return step % 2 == 1 and step >= self.options["exact"]

    def _ground(self, rows: np.ndarray, dense: np.ndarray, generator: Generator) -> Batch:
        image, truth = images(self.cache["ground"], rows), labels(self.cache["ground_labels"], dense)
        size = int(self.options["rows"]), int(self.options["crop"])
        return augment.crop_strip(image, truth, generator, *size)

    def _aerial(self, rows: np.ndarray, dense: np.ndarray, generator: Generator) -> Batch:
        image, truth = images(self.cache["aerial"], rows), labels(self.cache["aerial_labels"], dense)
        b, crop = len(image), int(self.options["crop"])
        if self._exact(generator):
            return *augment.crop_tiles(image, truth, generator, crop), None
        turn = 90.0 * torch.randint(4, (b,), generator=generator) + augment.uniform(generator, (b,), -15, 15)
        share = crop / image.shape[-1]
        room = 0.5 * max(0.0, 1 - share * 1.3)
        grid = augment.tile_grid(generator, turn, crop, share=share, offset=room, scale=self.options["scale"])
        return augment.cut(image, grid), augment.cut(truth[:, None].float(), grid, "nearest")[:, 0], None

    def step(self, batch: Batch) -> dict[str, float]:
        """One update."""
        image, truth, elevation = batch
        with autocast():
            logits = self.model(image, rows=elevation)
        logits = logits.float()
        entropy = F.cross_entropy(logits, truth, weight=self.weights)
        dice = self.dice(logits, truth)
        descend(self.optimisers["model"], entropy + self.options["dice"] * dice)
        right = (logits.detach().argmax(1) == truth).float().mean()
        return {"entropy": entropy.item(), "dice": dice.item(), "accuracy": right.item()}
