"""Generators against discriminators: one round of a contest, and what stands beside it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torchmetrics.functional.image import structural_similarity_index_measure

from train import augment
from train.engine import Settings, autocast, cosine, descend
from xview_demo.errors import XViewError

READ_COLOUR = 0.2  # strength by which the colours of what a reader reads are changed


def distance(image: Tensor, target: Tensor, side: int = 1) -> Tensor:
    """L1 in units of [-1, 1], as published, of pixels or of means over squares of `side` pixels."""
    return F.l1_loss(F.avg_pool2d(image, side), F.avg_pool2d(target, side)) * 2


def dissimilarity(image: Tensor, target: Tensor) -> Tensor:
    """1 − SSIM of pictures (B, 3, H, W) in [0, 1], their mean."""
    return 1 - cast(Tensor, structural_similarity_index_measure(image, target, data_range=(0.0, 1.0)))


def check_finish(painter: nn.Module | None, options: dict[str, Any], late: Sequence[str]) -> None:
    """Refuse to let the painter finish the work where there is none, and what comes then where nothing is finished.

    Args:
        painter: the model's.
        options: of the method.
        late: names of the options that act from `finish` on.
    """
    finish = options["finish"]
    if finish is not None and painter is None:
        raise XViewError(f"The option finish={finish} needs a model with painted=True, to train its painter.")
    given = [name for name in late if options.get(name)]
    if given and finish is None:
        raise XViewError(f"The option {given[0]} needs the option finish: it says how the painter finishes the work.")


def cosine_to(step: int, settings: Settings, finish: int | None) -> float:
    """`cosine`; what comes from step `finish` on has a whole schedule of its own."""
    if finish is None:
        return cosine(step, settings)
    if step < finish:
        return cosine(step, replace(settings, steps=finish))
    return cosine(step - finish, replace(settings, steps=settings.steps - finish, restarts=(), warmup=0.0))


def contest(
    net: nn.Module,
    optimiser: Optimizer,
    real: Tensor,
    fake: Tensor,
    real_beside: Tensor | None,
    fake_beside: Tensor | None,
    label: float,
) -> tuple[float, Tensor]:
    """Update a `PatchDiscriminator`; returns its loss and the generator's, through the discriminator as it is now.

    Its parameters need no gradient afterwards. `label` is what it should say of true pictures.
    """
    held = None if fake_beside is None else fake_beside.detach()
    with autocast():
        truth, drawn = net(real, real_beside), net(fake.detach(), held)
    judge = 0.5 * (_bce(truth, label) + _bce(drawn, 0.0))
    descend(optimiser, judge, clip=None)
    net.requires_grad_(False)
    with autocast():
        return judge.item(), _bce(net(fake, fake_beside), 1.0)


def contest_classes(
    net: nn.Module, optimiser: Optimizer, image: Tensor, kinds: Tensor, target: Tensor, truth: Tensor
) -> tuple[float, Tensor]:
    """As `contest`, of a `ClassDiscriminator`, which says what each pixel shows.

    Args:
        net, optimiser: the discriminator's.
        image: (B, 3, H, W) as drawn.
        kinds: (B, H, W) classes that it should show.
        target, truth: (B, 3, H, W) true pictures and (B, H, W) their classes.
    """
    with autocast():
        real, fake = net(target), net(image.detach())
    count = real.shape[1] - 1
    shares = F.one_hot(truth, count).float().mean((0, 1, 2))
    weight = (0.1 / shares.clamp_min(1e-3)).sqrt().clamp(0.5, 3.0)
    weight = torch.cat((weight, torch.ones(1)))  # the last is "drawn"
    drawn = torch.full_like(truth, count)
    judge = F.cross_entropy(real, truth, weight) + F.cross_entropy(fake, drawn)
    descend(optimiser, judge, clip=None)
    net.requires_grad_(False)
    with autocast():
        return judge.item(), F.cross_entropy(net(image), kinds, weight)


class ClassLoss(nn.Module):
    """Cross-entropy of drawn classes, and beside it the Dice loss of every second pixel.

    Args:
        dice: weight of the Dice loss.
    """

    def __init__(self, dice: float) -> None:
        super().__init__()
        self.weight, self.dice = dice, smp.losses.DiceLoss("multiclass", smooth=1.0)

    def forward(self, logits: Tensor, truth: Tensor) -> Tensor:
        """Logits (B, N, H, W) and classes (B, H, W) → the loss."""
        loss = F.cross_entropy(logits, truth)
        return loss + self.weight * self.dice(logits[..., ::2, ::2], truth[..., ::2, ::2]) if self.weight else loss


def partly_true(logits: Tensor, truth: Tensor, share: float) -> Tensor:
    """Classes that a painter paints upon (B, H, W): the drawn ones, but for a `share` of the pictures the true ones."""
    taught = torch.rand(len(truth)) < share
    return torch.where(taught[:, None, None], truth, logits.argmax(1))


class Reader(nn.Module):
    """Reads the classes of pictures: what is painted should be read as what it should show.

    A U-Net with the encoder of a ResNet-18. It learns from true pictures alone, so it never learns what a painter does;
    and it is not the segmenter that judges in `xview evaluate synthesis`.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.net = smp.Unet("resnet18", encoder_weights=None, classes=classes, decoder_channels=(128, 64, 48, 32, 16))

    def learn(self, optimiser: Optimizer, image: Tensor, truth: Tensor) -> Tensor:
        """One step upon true pictures (B, 3, H, W) in [0, 1] and their classes (B, H, W); returns the loss."""
        loss: Tensor = self.train().requires_grad_(True)(image, truth)
        descend(optimiser, loss)
        return loss.detach()

    def judge(self, image: Tensor, kinds: Tensor) -> Tensor:
        """What is lost of the classes (B, H, W) that painted pictures (B, 3, H, W) should show, the reader held.

        What fools one reader at one time is not to be learned: it goes on learning (`learn`), and the picture's
        colours, sharpness and noise are changed before it is read.
        """
        chance = torch.default_generator
        seen = augment.roughen(augment.jitter_colour(image, chance, READ_COLOUR, grey=0.0), chance)
        loss: Tensor = self.eval().requires_grad_(False)(seen, kinds)
        return loss

    def forward(self, image: Tensor, kinds: Tensor) -> Tensor:
        """Cross-entropy of the classes (B, H, W) that pictures (B, 3, H, W) in [0, 1] should show."""
        with autocast():
            logits = self.net(image.contiguous(memory_format=torch.channels_last))
        return F.cross_entropy(logits.float(), kinds)


def _bce(logits: Tensor, label: float) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))
