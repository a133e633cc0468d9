"""The generators that are trained against discriminators: X-Fork, pix2pix, X-Seq, RGBDS.

Adversarial loss (real label 0.9), 100·L1 of the picture, and the segmentation, as Regmi & Borji (CVPR 2018) publish.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from train import augment
from train.contest import (
    ClassLoss,
    Reader,
    check_finish,
    contest,
    contest_classes,
    cosine_to,
    dissimilarity,
    distance,
    partly_true,
)
from train.data import draw, images, labels
from train.engine import Settings, autocast, descend, step_of
from train.pairs import HELPERS
from xview_demo import zoo
from xview_demo.classes import CLASSES, PALETTE
from xview_demo.models.synthesis.interface import GROUND, Query, frame
from xview_demo.models.synthesis.layers import ClassDiscriminator, PatchDiscriminator
from xview_demo.models.synthesis.rgbds import RGBDSGenerator
from xview_demo.models.synthesis.xfork import XForkGenerator
from xview_demo.models.synthesis.xseq import XSeqGenerator

FAMILIES: dict[str, Any] = {"xfork": XForkGenerator, "xseq": XSeqGenerator, "rgbds": RGBDSGenerator}

RISE = 100  # steps in which the learning rate rises where a sketch begins to learn again


@dataclass
class Views:
    """A batch of what a generator reads and of what it should draw, turned by the same random angles."""

    query: Query  # strips at the cache's size, or tiles; depth and classes where the generator needs them
    target: Tensor  # (B, 3, rows, columns) in the frame that is drawn
    truth: Tensor  # (B, rows, columns) classes of the target


def draw_views(cache: Any, net: Any, count: int, generator: Generator, colour: float, turn: bool = True) -> Views:
    """Pairs of a cache as a generator takes them.

    Args:
        cache: `Cache` or `PairCache`.
        net: the generator; its `reads`, `draws`, `size`, `metres` and `needs` are looked at.
        count: B.
        generator: source of randomness.
        colour: strength by which the colours of what is read change.
        turn: whether the camera is turned by a random angle, and the tile with it.
    """
    config = cache.config
    rows = draw(cache.dense(), count, generator)
    strip = images(cache["ground"], rows)
    columns = torch.randint(strip.shape[-1] if turn else 1, (count,), generator=generator)
    strip = augment.roll(strip, columns)
    if net.reads == GROUND:
        strip = augment.jitter_colour(strip, generator, colour, grey=0.0)
    degrees = columns * (360.0 / strip.shape[-1])
    grid = augment.tile_grid(generator, degrees, net.size, share=net.metres / config.tile_metres)
    tile = augment.cut(images(cache["aerial"], rows), grid)
    dense = rows // config.dense_every
    if net.reads == GROUND:
        classes = labels(cache["aerial_labels"], dense)
        truth = augment.cut(classes[:, None].float(), grid, "nearest")[:, 0].long()
        return Views(Query(strip, **_extras(cache, net.needs, dense, columns)), tile, truth)
    shape = frame(GROUND, net.size)
    classes = augment.roll(labels(cache["ground_labels"], dense), columns)
    truth = F.interpolate(classes[:, None].float(), shape, mode="nearest")[:, 0].long()
    tile = augment.jitter_colour(tile, generator, colour, grey=0.0)
    return Views(Query(tile), F.interpolate(strip, shape, mode="area"), truth)


def _extras(cache: Any, needs: tuple[str, ...], dense: Any, columns: Tensor) -> dict[str, Any]:
    """Depth and classes of the strips, turned as they are."""
    names = {"depth": "depth", "labels": "ground_labels"}
    return {kind: augment.roll(labels(cache[names[kind]], dense), columns) for kind in needs}


def wear(query: Query, generator: Generator, scale: float = 0.15, share: float = 0.05) -> Query:
    """Depth and classes with the faults of estimates: a wrong scale, waves of error, patches of another class."""
    if query.depth is None or query.labels is None:
        return query
    b, height, width = query.depth.shape
    waves = augment.normal(generator, (b, 1, 4, 16), scale) + augment.normal(generator, (b, 1, 1, 1), scale)
    factor = F.interpolate(waves, (height, width), mode="bilinear")[:, 0].exp()
    patches = F.interpolate((augment.uniform(generator, (b, 1, 12, 48)) < share).float(), (height, width))[:, 0]
    wrong = torch.randint(8, (b, 1, 1), generator=generator).expand(b, height, width)
    classes = torch.where(patches > 0, wrong, query.labels.long())
    return Query(query.image, query.mask, query.camera_height, query.depth * factor, classes)


class Estimators:
    """The bundled models that tell a query's depth and classes, as in use."""

    def __init__(self) -> None:
        self.depth, self.labels = zoo.load(HELPERS["depth"]), zoo.load(HELPERS["ground"])

    @torch.no_grad()
    def __call__(self, query: Query, count: int) -> Query:
        """The query with depth and classes of its first `count` strips estimated."""
        if query.depth is None or query.labels is None:
            return query
        with autocast():
            depth, labels = self.depth.predict(query.image[:count]), self.labels.predict(query.image[:count])[0]
        depth = torch.cat((depth.float(), query.depth[count:]))
        return replace(query, depth=depth, labels=torch.cat((labels.long(), query.labels[count:])))


@dataclass(frozen=True)
class Phase:
    """Who learns in a step, and from what."""

    finishing: bool = False  # the painter, upon the sketches that predictions have
    joint: bool = False  # the sketch again, from what is said of the painted picture too
    beside: bool = False  # the sketch again, from its own losses, part of it upon estimates
    reading: bool = False  # the reader

    @classmethod
    def at(cls, step: int, options: dict[str, Any]) -> "Phase":
        """The phase of a step, by the options `finish`, `joint`, `beside` and `reader` of a `GanMethod`."""
        begun = {name: options[name] is not None and step >= options[name] for name in ("finish", "joint", "beside")}
        finishing = begun.pop("finish")
        return cls(finishing, **begun, reading=finishing or step < options["reader"])

    @property
    def sketching(self) -> bool:
        """Whether the sketch learns."""
        return not self.finishing or self.joint or self.beside


class GanMethod:
    """Trains a generator of `FAMILIES` against PatchGAN discriminators.

    Options: `family`; `discriminator` (width); `conditional` (judge a picture together with what it was drawn from;
    X-Seq's segmentation always is); `l1`, `segmentation` and `adversarial` (weights; λ₂ is 1 ground → aerial, 10
    aerial → ground and 100 in X-Seq as published); `structure` (weight of 1 − SSIM beside L1); `dice` (weight of the
    Dice loss beside the cross-entropy of classes); `real` (label); `colour` (strength); `turn` (random headings);
    `schedule` ("cosine", or "constant" as published); `wear` (how wrong depth is where it is needed); `imagenet` (start
    a Swin encoder from timm's weights); `taught` (share of the pictures that a painter paints upon the true classes);
    `narrow` (share of the strips that show less than a full turn, from step `narrow_after` on) and `fov` (degrees that
    they show at least).
    A painter's pictures are judged by a `ClassDiscriminator`; the sketch beneath them learns from L1 alone. From step
    `finish` on, only the painter learns, upon the sketches that predictions have, and its L1 compares means over
    squares of `squares` pixels: L1 of single pixels would rather have no texture at all than one in another place.
    With `alone`, the painter waits until then, and nothing is judged before; from step `joint` on, the sketch learns
    with the painter again, and from what is said of the painted picture too. From step `beside` on, the sketch learns
    too, but from its own losses alone, and a share `estimated` of the strips has the depth and classes that the bundled
    models estimate: their faults are not those of `wear`.
    With `reader`, a `Reader` learns the classes of true pictures in the first so many steps, where the rate is high,
    and again from `finish` on; what it reads in painted ones then has the weight `reading`.

    A painter that is told no classes, as pix2pix's, is judged by the true ones: no other loss of pix2pix knows them.
    """

    averaged = "generator"

    def __init__(self, settings: Settings, cache: Any) -> None:
        self.cache, self.settings = cache, settings
        self.options: dict[str, Any] = {
            "family": "xfork", "discriminator": 32, "conditional": False, "l1": 100.0, "segmentation": 1.0,
            "adversarial": 1.0, "real": 0.9, "colour": 0.4, "turn": True, "schedule": "cosine", "wear": 0.15,
            "imagenet": False, "taught": 0.5, "narrow": 0.0, "narrow_after": 0, "fov": 70.0,
            "finish": None, "squares": 8, "alone": False, "joint": None, "beside": None, "dice": 0.0,
            "estimated": 0.0, "reader": 0, "reading": 40.0, "structure": 0.0,
        }  # fmt: skip
        self.options |= settings.options
        o = self.options
        self.generator = FAMILIES[o["family"]](**settings.model).to(memory_format=torch.channels_last)
        if o["imagenet"]:
            self.generator.start_from_imagenet()
        self.modules: dict[str, nn.Module] = {"generator": self.generator}
        self.painter: Any = getattr(self.generator, "painter", None)
        check_finish(self.painter, o, ("joint", "beside", "reader"))
        self.phase = Phase()
        self.class_loss = ClassLoss(o["dice"])
        width, condition = int(o["discriminator"]), 3 if o["conditional"] else 0
        judge: nn.Module = PatchDiscriminator(width=width, condition=condition)
        if self.painter is not None:
            judge = ClassDiscriminator(len(CLASSES), width)
        self.modules["discriminator"] = judge
        if o["family"] == "xseq":
            kinds = self.generator.classes or 3
            self.modules["label_discriminator"] = PatchDiscriminator(kinds, width, condition=3)
        self.reader = Reader(len(CLASSES)) if o["reader"] else None
        if self.reader is not None:
            self.modules["reader"] = self.reader
        self.estimate = Estimators() if o["estimated"] else None
        for module in self.modules.values():
            module.to(memory_format=torch.channels_last)
        self.optimisers: dict[str, torch.optim.Optimizer] = {
            name: torch.optim.Adam(module.parameters(), settings.learning_rate, betas=(0.5, 0.999))
            for name, module in self.modules.items()
        }

    def schedule(self, step: int, settings: Settings) -> float:
        """Factor of the learning rate; what comes from `finish` on has a whole schedule of its own.

        At `joint` and `beside` it rises from nothing, as the optimiser's memory of gradients begins anew there.
        """
        o = self.options
        if o["schedule"] == "constant":
            return 1.0
        factor = cosine_to(step, settings, o["finish"])
        for again in (o["joint"], o["beside"]):
            if again is not None and step >= again:
                factor *= min(1.0, (step - again + 1) / RISE)
        return factor

    def batch(self, generator: Generator) -> Views:
        """Pairs; estimates that the generator needs are worn."""
        o, step = self.options, step_of(generator, self.settings.seed)
        self._enter(step)
        views = draw_views(self.cache, self.generator, self.settings.batch, generator, o["colour"], o["turn"])
        views.query = wear(views.query, generator, o["wear"])
        if self.estimate is not None and self.phase.beside:
            views.query = self.estimate(views.query, round(o["estimated"] * self.settings.batch))
        if o["narrow"] and step >= o["narrow_after"]:
            image = views.query.image
            mask = augment.blinkers(generator, len(image), *image.shape[-2:], narrow=o["narrow"], fov=o["fov"])
            views.query = replace(views.query, image=image * mask, mask=mask)
        return views

    def _enter(self, step: int) -> None:
        """Set up the phase of a step; where the sketch learns again, the optimiser's memory begins anew."""
        self.phase = Phase.at(step, self.options)
        if step in (self.options["joint"], self.options["beside"]):
            self.optimisers["generator"].state.clear()
        self.generator.train(not self.phase.finishing)
        if self.painter is not None:
            self.painter.train()

    def _draw(self, query: Query) -> tuple[Tensor, Tensor | None, Any, Tensor]:
        """Picture or sketch, segmentation or None, what a painter is told, and the picture (B, 3, …) beside it."""
        stacked = isinstance(self.generator, RGBDSGenerator)
        given = self.generator.stack(query) if stacked else (query.image, self.generator.hint(query))
        hint = given[1]
        source = query.image if hint is None else hint[:, :3]
        if self.painter is not None and not self.painter.classes:
            return *self.generator.draft(*given), source
        image, predicted = (self.generator if self.painter is None else self.generator.sketch)(*given)
        return image, predicted, predicted, source

    def _painted(self, truth: Tensor) -> Tensor:
        """True classes as a generator draws them: one channel each, or in their colours."""
        if self.generator.classes:
            return F.one_hot(truth, self.generator.classes).permute(0, 3, 1, 2).float()
        return torch.from_numpy(PALETTE).float().div(255)[truth].permute(0, 3, 1, 2)

    def _segmentation(self, predicted: Tensor, truth: Tensor) -> Tensor:
        if self.generator.classes:
            loss: Tensor = self.class_loss(predicted, truth)
            return loss
        return F.l1_loss(predicted, self._painted(truth))

    def step(self, batch: Views) -> dict[str, float]:
        """One update of each discriminator and one of the generator."""
        o, phase = self.options, self.phase
        with torch.set_grad_enabled(phase.sketching), autocast():
            image, predicted, told, source = self._draw(batch.query)
        classes = torch.zeros(()) if predicted is None else self._segmentation(predicted, batch.truth)
        l1, structure, kinds = distance(image, batch.target), self._structure(image, batch.target), batch.truth
        judged, fooled = 0.0, torch.zeros(())
        if phase.finishing or not o["alone"]:
            if self.painter is not None:
                drawn = (image, told) if phase.joint else (image.detach(), told.detach())
                image, kinds = self._paint(*drawn, batch.truth)
                l1 = l1 + distance(image, batch.target, o["squares"] if phase.finishing else 1)
                structure = structure + self._structure(image, batch.target)
            judged, fooled = self._judge(image, kinds, None if phase.finishing else predicted, source, batch)
        loss = o["adversarial"] * fooled + o["l1"] * l1 + o["segmentation"] * classes + o["structure"] * structure
        read = self._read(image, kinds, batch)
        if phase.finishing:
            loss = loss + o["reading"] * read
        descend(self.optimisers["generator"], loss, clip=None)
        for name in self.modules:
            self.modules[name].requires_grad_(True)
        report = {"judge": judged, "fooled": fooled, "l1": l1, "classes": classes, "read": read}
        if o["structure"]:
            report["structure"] = structure
        return {name: float(torch.as_tensor(value).detach()) for name, value in report.items()}

    def _structure(self, image: Tensor, target: Tensor) -> Tensor:
        return dissimilarity(image.float(), target) if self.options["structure"] else torch.zeros(())

    def _paint(self, sketch: Tensor, told: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures painted over the sketches, upon logits or features, and the classes that they should show."""
        kinds = truth
        if self.generator.painter.classes:
            told = kinds = partly_true(told, truth, self.options["taught"])
        with autocast():
            return self.generator.painter(sketch, told), kinds

    def _judge(
        self, image: Tensor, kinds: Tensor, predicted: Tensor | None, source: Tensor, batch: Views
    ) -> tuple[float, Tensor]:
        """Update the discriminators; returns their loss and the generator's. `kinds` is what a picture should show."""
        o, judged, fooled = self.options, 0.0, torch.zeros(())
        beside = source if o["conditional"] else None
        if self.painter is not None:
            judged, fooled = contest_classes(*self._judge_of("discriminator"), image, kinds, batch.target, batch.truth)
        else:
            judge = self._judge_of("discriminator")
            judged, fooled = contest(*judge, batch.target, image, beside, beside, o["real"])
        if "label_discriminator" in self.modules and predicted is not None:
            shares = predicted.softmax(1) if self.generator.classes else predicted
            truth = self._painted(batch.truth)
            judge = self._judge_of("label_discriminator")
            also, fool = contest(*judge, truth, shares, batch.target, image, o["real"])
            judged, fooled = judged + also, fooled + fool
        return judged, fooled

    def _read(self, image: Tensor, kinds: Tensor, batch: Views) -> Tensor:
        """The reader's loss: of true pictures before any are painted, then of painted ones."""
        if self.reader is None or not self.phase.reading:
            return torch.zeros(())
        learned = self.reader.learn(self.optimisers["reader"], batch.target, batch.truth)
        return self.reader.judge(image, kinds) if self.phase.finishing else learned

    def _judge_of(self, name: str) -> tuple[nn.Module, torch.optim.Optimizer]:
        return self.modules[name], self.optimisers[name]
