"""CLIP → latent diffusion: noise loss, and perceptual and CLIP losses of what the predicted noise decodes to.

The published parts come trained; the small ones are made here first: for a share of the steps the autoencoder learns to
reconstruct tiles and the vision tower to tell which panorama belongs to which tile. Then both are frozen and the U-Net
learns to remove noise. A labeller and a painter learn last, upon what sampling gives.
"""

from typing import Any

import torch
from torch import Generator, Tensor, nn

from train.contest import ClassLoss, Reader, check_finish, contest_classes, cosine_to, distance, partly_true
from train.engine import Settings, autocast, descend
from train.losses import info_nce
from train.synthesis import Views, draw_views
from xview_demo.classes import CLASSES
from xview_demo.models.perceptual import Lpips, autoencoder_features, unit_distance
from xview_demo.models.synthesis.clip_diffusion import ClipDiffusion
from xview_demo.models.synthesis.interface import Sampling
from xview_demo.models.synthesis.layers import ClassDiscriminator

TEMPERATURE = 0.07  # of the vision tower's contrast


class Pace(nn.Module):
    """Steps done and the factor of the learning rate, kept with the checkpoint.

    The factor is halved when the mean loss of an epoch has not fallen for `patience` epochs (PyTorch's
    ReduceLROnPlateau, which the source uses with 0.5 and 3).
    """

    steps: Tensor
    factor: Tensor
    best: Tensor
    waited: Tensor
    total: Tensor

    def __init__(self, epoch: int, patience: int = 3) -> None:
        super().__init__()
        self.epoch, self.patience = epoch, patience
        values = {"steps": 0.0, "factor": 1.0, "best": torch.inf, "waited": 0.0, "total": 0.0}
        for name, value in values.items():
            self.register_buffer(name, torch.tensor(value))

    def tell(self, loss: float) -> None:
        """Count a step and its loss."""
        self.steps += 1
        self.total += loss
        if int(self.steps) % self.epoch:
            return
        mean = self.total / self.epoch
        self.waited = torch.where(mean < self.best, 0.0, self.waited + 1)
        self.best = torch.minimum(mean, self.best)
        if self.waited > self.patience:
            self.factor, self.waited = self.factor * 0.5, torch.tensor(0.0)
        self.total = torch.tensor(0.0)


class DiffusionMethod:
    """Trains `ClipDiffusion`.

    Options: `first` (share of the steps for the autoencoder and the tower; 0 when they come trained); `crop`
    (pixels of the autoencoder's pictures); `kl` (weight); `rate` (learning rate of the first part); `decoded`
    (pictures of a batch that are decoded); `perceptual` and `clip` (weights, 1 and 2 as published); `drop` and
    `drop_hint` (share of pictures without any condition, and without the bird's-eye view); `noisy` (above 1: more of
    them are nearly all noise, from which a sampling of few steps takes its largest ones); `colour`, `turn` as
    `GanMethod`'s; `schedule` ("cosine", or "plateau" as published) and `epoch` (steps); `diffusion` and `vision`
    (repositories or folders of trained parts); `lpips` (file of torchvision's vgg16; None = distances in the
    autoencoder's encoder). From step `finish` on, only the labeller and the painter learn, at the rate `late`: the one
    from a `ClassLoss` with `dice`, the other as `GanMethod`'s, for a share `taught` of the pictures upon the true
    classes, from a `ClassDiscriminator` of width `discriminator`, L1 of means over squares of `squares` pixels and a
    `Reader` (weights `adversarial`, `l1` and `reading`; 0 = no reader). The reader learns in the first part too.
    """

    averaged = "model"

    def __init__(self, settings: Settings, cache: Any) -> None:
        self.cache, self.settings = cache, settings
        self.options: dict[str, Any] = {
            "first": 0.3, "crop": 64, "kl": 1e-6, "rate": 1e-3, "decoded": 2, "perceptual": 1.0, "clip": 2.0,
            "drop": 0.1, "drop_hint": 0.2, "colour": 0.4, "turn": True, "schedule": "cosine", "epoch": 500,
            "diffusion": None, "vision": None, "lpips": None, "finish": None, "discriminator": 32, "squares": 8,
            "adversarial": 8.0, "l1": 100.0, "late": 4e-4, "noisy": 1.0, "dice": 1.0, "taught": 0.5, "reading": 0.0,
        }  # fmt: skip
        self.options |= settings.options
        o = self.options
        if o["diffusion"] and o["vision"]:
            self.model = ClipDiffusion.from_stable_diffusion(o["diffusion"], o["vision"], **settings.model)
        else:
            self.model = ClipDiffusion(**settings.model)
        check_finish(self.model.painter, o, ("reading",))
        self.lpips = Lpips(o["lpips"]) if o["lpips"] else None
        self.pace = Pace(int(o["epoch"]))
        self.modules: dict[str, nn.Module] = {"model": self.model, "pace": self.pace}
        frozen = [*self.model.vae.parameters(), *self.model.vision.parameters()]
        trained = [*self.model.unet.parameters(), *self.model.tokens.parameters(), self.model.null]
        trained += [] if self.model.rays is None else self.model.rays.parameters()
        self.optimisers: dict[str, torch.optim.Optimizer] = {
            "first": torch.optim.AdamW(frozen, o["rate"], weight_decay=settings.weight_decay),
            "second": torch.optim.AdamW(trained, settings.learning_rate, weight_decay=settings.weight_decay),
        }
        self.class_loss = ClassLoss(o["dice"])
        self.reader = Reader(len(CLASSES)) if o["reading"] else None
        if self.model.painter is not None and self.model.labeller is not None:
            made: dict[str, nn.Module] = {"discriminator": ClassDiscriminator(len(CLASSES), int(o["discriminator"]))}
            if self.reader is not None:
                made["reader"] = self.reader
            self.modules |= made
            for name, module in (made | {"painter": self.model.painter, "labeller": self.model.labeller}).items():
                module.to(memory_format=torch.channels_last)
                self.optimisers[name] = torch.optim.Adam(module.parameters(), o["late"], betas=(0.5, 0.999))

    def schedule(self, step: int, settings: Settings) -> float:
        """Factor of the learning rate."""
        if self.options["schedule"] == "plateau":
            return float(self.pace.factor)
        return cosine_to(step, settings, self.options["finish"])

    def batch(self, generator: Generator) -> Views:
        """Pairs."""
        o = self.options
        return draw_views(self.cache, self.model, self.settings.batch, generator, o["colour"], o["turn"])

    def step(self, batch: Views) -> dict[str, float]:
        """One update: of the frozen parts to be, of the rest, or of the painter."""
        done, finish = int(self.pace.steps), self.options["finish"]
        if finish is not None and done >= finish:
            return self._third(batch)
        early = done < self.options["first"] * (finish or self.settings.steps)
        self.model.vae.requires_grad_(early)
        self.model.vision.requires_grad_(early)
        if early and self.reader is not None:
            self.reader.learn(self.optimisers["reader"], batch.target, batch.truth)
        loss, report = self._first(batch) if early else self._second(batch)
        descend(self.optimisers["first" if early else "second"], loss, clip=1.0)
        self.pace.tell(loss.item())
        return report

    def _first(self, batch: Views) -> tuple[Tensor, dict[str, float]]:
        """Reconstruction, its edges and the spread of the latents; the contrast of panoramas and tiles."""
        vae, side = self.model.vae, min(int(self.options["crop"]), batch.target.shape[-1])
        top, left = (int(x) for x in torch.randint(batch.target.shape[-1] - side + 1, (2,)))
        tile = batch.target[..., top : top + side, left : left + side] * 2 - 1
        with autocast():
            posterior = vae.encode(tile).latent_dist
            again = vae.decode(posterior.sample()).sample.float()
            ground, aerial = self.model.embed(batch.query.image), self.model.embed(batch.target)
        error = again - tile
        edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
        kl = posterior.kl().float().mean() / tile[0].numel()
        contrast = info_nce(ground @ aerial.t() / TEMPERATURE)
        spread = posterior.mean.detach().float().std()
        weight = 1.0 if int(self.pace.steps) == 0 else 0.05
        self.model.latent_scale.lerp_(1 / spread.clamp_min(1e-3), weight)
        loss = error.abs().mean() + edges + self.options["kl"] * kl + 0.1 * contrast
        return loss, {"l1": error.abs().mean().item(), "edges": edges.item(), "contrast": contrast.item()}

    def _second(self, batch: Views) -> tuple[Tensor, dict[str, float]]:
        """Noise loss, and what the predicted noise decodes to against the true tile."""
        net, count = self.model, len(batch.target)
        with autocast():
            with torch.no_grad():
                latents = net.encode(batch.target).float()
            hint = net.hint(batch.query) if net.bird_eye else None
            tokens = net.condition(batch.query.image).float()
            tokens, hint = self._dropped(tokens, hint)
            time = self._times(count)
            noise = torch.randn_like(latents)
            noisy = net.noisy(latents, noise, time)
            predicted = net(noisy, time, tokens, hint)
        error = (predicted - noise).square().mean((1, 2, 3))
        if net.prediction == "v_prediction":  # the same as the error of v
            error = error / net.alphas[time]
        mse = error.mean()
        perceptual, clip = self._pictured(noisy, predicted, time, batch.target)
        loss = mse + self.options["perceptual"] * perceptual + self.options["clip"] * clip
        return loss, {"noise": mse.item(), "perceptual": perceptual.item(), "clip": clip.item()}

    def _times(self, count: int) -> Tensor:
        """Time steps of the noise of `count` pictures."""
        last = len(self.model.alphas) - 1
        return ((1 - torch.rand(count) ** float(self.options["noisy"])) * last).round().long()

    def _third(self, batch: Views) -> dict[str, float]:
        """The labeller says what sampling shows; the painter paints upon that, and is judged and read."""
        o, net = self.options, self.model
        assert net.painter is not None and net.labeller is not None  # or there would be no option `finish`
        with torch.no_grad(), autocast():
            sample = net.sample(batch.query, Sampling(seed=int(torch.randint(2**31, ()))))
            sketch, known = net.told(sample, batch.query)
        with autocast():
            labels = net.labeller(known)
            kinds = partly_true(labels, batch.truth, o["taught"])
            image = net.painter(sketch, kinds)
        classes = self.class_loss(labels, batch.truth)
        descend(self.optimisers["labeller"], classes, clip=None)
        given = image, kinds, batch.target, batch.truth
        judged, fooled = contest_classes(self.modules["discriminator"], self.optimisers["discriminator"], *given)
        l1, read = distance(image, batch.target, int(o["squares"])), torch.zeros(())
        if self.reader is not None:
            self.reader.learn(self.optimisers["reader"], batch.target, batch.truth)
            read = self.reader.judge(image, kinds)
        loss = o["adversarial"] * fooled + o["l1"] * l1 + o["reading"] * read
        descend(self.optimisers["painter"], loss, clip=None)
        self.modules["discriminator"].requires_grad_(True)
        self.pace.tell(l1.item())
        told = {"fooled": fooled, "l1": l1, "classes": classes, "read": read}
        return {"judge": judged, **{name: value.item() for name, value in told.items()}}

    def _dropped(self, tokens: Tensor, hint: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Some pictures lose all conditions, some the bird's-eye view, to learn doing without."""
        count = len(tokens)
        none = torch.rand(count) < self.options["drop"]
        tokens = torch.where(none[:, None, None], self.model.null, tokens)
        if hint is not None:
            blind = none | (torch.rand(count) < self.options["drop_hint"])
            hint = hint * (~blind).float()[:, None, None, None]
        return tokens, hint

    def _pictured(self, noisy: Tensor, predicted: Tensor, time: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Perceptual distance and 1 − cosine of embeddings, each picture weighed by how little noise it had."""
        net, few = self.model, slice(0, int(self.options["decoded"]))
        if not len(noisy[few]):
            return torch.zeros(()), torch.zeros(())
        weight = net.alphas[time[few]]
        latents = net.clean(noisy[few], predicted[few], time[few]).clamp(-5, 5)
        with autocast():
            picture, truth = net.decode(latents), target[few]
            if self.lpips is None:
                with torch.no_grad():
                    wanted = autoencoder_features(net.vae, truth)
                far = unit_distance(autoencoder_features(net.vae, picture), wanted)
            else:
                far = self.lpips(picture, truth)
            with torch.no_grad():
                code = net.embed(truth)
            apart = 1 - (net.embed(picture) * code).sum(1)
        return (weight * far.float()).mean(), (weight * apart.float()).mean()
