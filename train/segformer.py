"""SegFormer on both views, its fine-tuning from an ADE20K checkpoint, and U-Nets trained on another model's labels."""

from typing import Any

import numpy as np
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from train import augment
from train.cache import Cache
from train.data import class_shares, images, labels, rarity
from train.diffusion import Pace
from train.engine import Settings, autocast, cosine, decaying, descend, settle
from train.pictures import tiny_model
from train.segmentation import SegmentationMethod
from xview_demo import zoo
from xview_demo.models.segmentation.segformer import SegFormer

Views = dict[str, tuple[Tensor, Tensor]]  # view → pictures (B, 3, h, w), labels (B, h, w)
IGNORE = 255
TINY = "tiny"  # a teacher for smoke runs
PART = 8  # pictures labelled at once


class SegFormerMethod:
    """Trains `SegFormer`, each step on as many strips as tiles.

    Options: `start` (an ADE20K checkpoint, folder or repository, whose folded head is fine-tuned; "" starts at random),
    `rows` and `columns` of a strip and `crop` of a tile in pixels, `colour` (strength), `dice` (weight), `balance`
    (power of the inverse frequency that weighs a class; 0 = all alike, as published), `schedule` ("cosine", or
    "plateau" as published) and `epoch` (steps, for the plateau), `settled` (see `engine.settle`: both views share a
    batch norm).
    """

    averaged = "model"

    def __init__(self, settings: Settings, cache: Cache) -> None:
        self.cache, self.settings = cache, settings
        defaults: dict[str, Any] = {
            "start": "", "rows": 96, "columns": 256, "crop": 160, "colour": 0.4, "dice": 1.0, "balance": 0.25,
            "schedule": "cosine", "epoch": 1,
        }  # fmt: skip
        self.options = defaults | settings.options
        self.model = self._build()
        self.pace = Pace(int(self.options["epoch"]))
        self.modules: dict[str, torch.nn.Module] = {"model": self.model, "pace": self.pace}
        groups = decaying(self.model, settings)
        self.optimisers: dict[str, torch.optim.Optimizer] = {"model": torch.optim.AdamW(groups, settings.learning_rate)}
        self.dice = smp.losses.DiceLoss("multiclass", ignore_index=IGNORE, smooth=1.0)
        self.chances, self.weights = {}, {}
        for view in ("ground", "aerial"):
            shares = class_shares(cache, f"{view}_labels")
            self.chances[view] = torch.from_numpy(rarity(shares))
            frequency = torch.from_numpy(shares[shares.any(1)].mean(0)).float().clamp_min(1e-4)
            self.weights[view] = (0.1 / frequency).pow(self.options["balance"]).clamp(0.5, 4.0)

    def _build(self) -> SegFormer:
        start = self.options["start"]
        if not start:
            return SegFormer(**self.settings.model)
        model = zoo.load(start, task="segmentation")
        return model.for_classes()

    def schedule(self, step: int, settings: Settings) -> float:
        """Factor of the learning rate."""
        return float(self.pace.factor) if self.options["schedule"] == "plateau" else cosine(step, settings)

    def batch(self, generator: Generator) -> Views:
        """Windows of panoramas and of tiles, each picture with its own colours."""
        found = {}
        settle(self.model, generator, self.settings)
        for view, read in (("ground", self._ground), ("aerial", self._aerial)):
            chances, count = self.chances[view], max(1, self.settings.batch // 2)
            few = int((chances > 0).sum()) < count
            dense = torch.multinomial(chances, count, few, generator=generator).numpy()
            image, truth = read(dense * self.cache.config.dense_every, dense, generator)
            image = augment.roughen(augment.jitter_colour(image, generator, self.options["colour"]), generator)
            found[view] = image, truth.long()
        return found

    def _ground(self, rows: np.ndarray, dense: np.ndarray, generator: Generator) -> tuple[Tensor, Tensor]:
        image, truth = images(self.cache["ground"], rows), labels(self.cache["ground_labels"], dense)
        size = int(self.options["rows"]), int(self.options["columns"])
        return augment.crop_strip(image, truth, generator, *size)[:2]

    def _aerial(self, rows: np.ndarray, dense: np.ndarray, generator: Generator) -> tuple[Tensor, Tensor]:
        image, truth = images(self.cache["aerial"], rows), labels(self.cache["aerial_labels"], dense)
        crop = int(self.options["crop"])
        turn = 90.0 * torch.randint(4, (len(image),), generator=generator)
        share = crop / image.shape[-1]
        grid = augment.tile_grid(generator, turn, crop, share=share, offset=0.5 * max(0.0, 1 - share * 1.1), scale=0.1)
        return augment.cut(image, grid), augment.cut(truth[:, None].float(), grid, "nearest")[:, 0]

    def step(self, batch: Views) -> dict[str, float]:
        """One update on both views."""
        report, total = {}, torch.zeros(())
        for view, (image, truth) in batch.items():
            with autocast():
                logits = self.model(image, panorama=False)
            logits = logits.float()
            loss = F.cross_entropy(logits, truth, weight=self.weights[view], ignore_index=IGNORE)
            if self.options["dice"]:
                loss = loss + self.options["dice"] * self.dice(logits, truth)
            total = total + loss
            report[view] = loss.item()
            report[f"{view}_accuracy"] = (logits.detach().argmax(1) == truth).float().mean().item()
        descend(self.optimisers["model"], total)
        self.pace.tell(total.item())
        return report


class PseudoLabelMethod(SegmentationMethod):
    """Trains the aerial U-Net on the labels that a teacher gives aerial pictures; true labels are never looked at.

    On real pairs (`--data`, `--root`) that is the source's recipe (document 000), preset `unet-pseudo-cvusa`.

    Option, beside those of `SegmentationMethod`: `teacher` (name, folder or repository of a segmentation model, such as
    an ADE20K SegFormer).
    """

    def __init__(self, settings: Settings, cache: Cache) -> None:
        name = settings.options["teacher"]
        teacher = tiny_model("segformer-world") if name == TINY else zoo.load(name, task="segmentation")
        super().__init__(settings, _Relabelled(cache, teacher))  # type: ignore[arg-type]


class _Relabelled:
    """What the U-Net's method reads of a cache: its pictures, and the teacher's labels."""

    def __init__(self, cache: Cache, teacher: Any) -> None:
        self.config, self.dense = cache.config, cache.dense
        labelled = pseudo_labels(teacher, cache["aerial"], cache.dense(), cache.config.dense_every)
        self.arrays = {"aerial": cache["aerial"], "aerial_labels": labelled}

    def __getitem__(self, name: str) -> np.ndarray:
        return self.arrays[name]


@torch.inference_mode()
def pseudo_labels(teacher: Any, pictures: np.ndarray, rows: np.ndarray, every: int = 1) -> np.ndarray:
    """The most probable class of each pixel of some rows of (N, P, P, 3) uint8 pictures.

    Returns:
        (N / every, P, P) uint8; row r of the pictures is row r // every here, rows that were not asked for are 0.
    """
    found = np.zeros((-(-len(pictures) // every), *pictures[rows[:1]].shape[1:3]), np.uint8)
    for start in range(0, len(rows), PART):
        part = rows[start : start + PART]
        found[part // every] = teacher.predict(images(pictures, part), panorama=False)[0].numpy()
    return found
