"""The ladder of matchers of the source systems: their losses, on aligned pairs of the world.

Panorama, synthetic view and classes are turned together with the tile by multiples of 90°, so pairs stay aligned; an
option leaves the panorama as it is, as Regmi & Shah do. Synthetic views and classes are made once per cache by bundled
models (`train.pictures`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Generator, Tensor, nn

from train import augment
from train.cache import Cache
from train.data import apart, draw, images, neighbours, pairs
from train.engine import Settings, autocast, descend, muon
from train.losses import triplet_margin, weighted_soft_margin
from train.pictures import fingerprint, pictures, tiny_model, with_helpers
from xview_demo import zoo
from xview_demo.errors import ModelError
from xview_demo.files import atomic_path
from xview_demo.models.matching.aligned import AlignedMatcher
from xview_demo.models.matching.feature_fusion import FeatureFusion
from xview_demo.models.matching.gasc_fusion import GascFusion
from xview_demo.models.matching.joint_feature import JointFeature
from xview_demo.models.matching.joint_fusion_vgg import JointFusionVGG
from xview_demo.models.matching.two_stream import TwoStream

TILE_METRES = 64.0
Built = TypeVar("Built", bound=AlignedMatcher)


@dataclass
class LadderBatch:
    """Aligned pictures: the strip's centre column is up in all others (in each other only, without `together`)."""

    strip: Tensor  # (B, 3, H, W)
    tile: Tensor  # (B, 3, P, P)
    made: dict[str, Tensor]  # kind → (B, 3, S, S)
    valid: Tensor  # (B, B) False where two places are too close to count as different

    def to(self, device: torch.device) -> "LadderBatch":
        """The same on a device."""
        made = {kind: image.to(device) for kind, image in self.made.items()}
        return LadderBatch(self.strip.to(device), self.tile.to(device), made, self.valid.to(device))


class LadderMethod:
    """Trains an `AlignedMatcher`; a family says what it is and what its vectors and loss are.

    Model and batches are on `device`, a GPU if there is one; pictures are drawn and made on the CPU.

    Options: `worlds` per batch, `apart` (metres between places that count as different), `offset` (metres) and `scale`
    of the tile, `crop` (least share of the tile's side that a random central crop keeps), `turn` (by random quarters),
    `together` (the strip turns with the pictures from above), `colour` (strength; 0 leaves every view as it is, without
    blur and noise too), `alpha` (of the soft margin), `size` (pixels of a tile's and a synthetic view's side), `reduce`
    (pixels of a strip averaged into one), `helpers` ("bundled", or "tiny" for random ones in smoke runs), `muon` (move
    the layers by Muon, not by AdamW, all at one rate). The synthetic view and its classes are cropped and turned as the
    tile is, but not shifted.
    """

    averaged = "model"
    builds_on: str | None = None  # the option that names the trained model that this one builds on, see `helper`

    def __init__(self, settings: Settings, cache: Cache) -> None:
        self.cache, self.settings = cache, settings
        self.options: dict[str, Any] = {
            "worlds": 4, "apart": 12.0, "offset": 3.0, "scale": 0.05, "crop": 1.0, "turn": True, "together": True,
            "colour": 0.7, "alpha": 10.0, "size": 128, "reduce": 2, "helpers": "bundled", "muon": False,
        }  # fmt: skip
        self.options |= settings.options
        self.tiny = self.options["helpers"] == "tiny"
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = self.build().to(self.device)
        self.modules: dict[str, nn.Module] = {"model": self.model}
        self.made = pictures(cache, with_helpers(self.model, self.tiny), self.needs(), int(self.options["size"]))
        groups = [group | {"weight_decay": settings.weight_decay} for group in self.groups()]
        self.optimisers: dict[str, torch.optim.Optimizer] = {
            "model": muon(self.model, settings)
            if self.options["muon"]
            else torch.optim.AdamW(groups, settings.learning_rate)
        }

    def build(self) -> AlignedMatcher:
        """The model, before training."""
        raise ModelError(f"{type(self).__name__} does not say what it trains.")

    def needs(self) -> Sequence[str]:
        """Which pictures of the query the training looks at."""
        return self.model.needs

    def groups(self) -> list[dict[str, Any]]:
        """Parameters by learning rate."""
        return [{"params": [p for p in self.model.parameters() if p.requires_grad]}]

    def helper(self, name: str, wanted: type[Built]) -> Built:
        """The trained model that this one builds on, or a tiny random one.

        Args:
            name: of a model of the zoo, of a preset whose run has made the model, or the absolute path of a folder.
            wanted: its class.

        Raises:
            ModelError: there is none, or one of another class; the message names the remedy.
        """
        if self.tiny and not Path(name).is_absolute():
            found = tiny_model(name)
        else:
            found = zoo.load(name if name in zoo.ZOO else self._folder(name))
        if not isinstance(found, wanted):
            kinds = f"{wanted.__name__}, but {name} is a {type(found).__name__}"
            raise ModelError(f"{self.settings.recipe} builds on a {kinds}: name another with --start.")
        return found

    def _folder(self, name: str) -> Path:
        """Where a model lies: in that folder, if it is an absolute path, or where the run of a preset writes it."""
        given = Path(name).is_absolute()
        folder = Path(name) if given else self.cache.folder.parent / "runs" / name / "model"
        if zoo.is_folder_of_weights(folder):
            return folder
        remedy = "" if given else f"run `python -m train {name}` first, or "
        raise ModelError(
            f"{folder} holds no model for {self.settings.recipe} to build on: {remedy}give the folder `model` of "
            "such a run with --start."
        )

    def batch(self, generator: Generator) -> Any:
        """Neighbouring places, each view with its own turns and colours as the options say."""
        rows = neighbours(self.cache, int(self.options["worlds"]), self.settings.batch, generator)
        return self.aligned(rows, generator)

    def aligned(self, rows: np.ndarray, generator: Generator) -> LadderBatch:
        """The batch of chosen samples."""
        o, config = self.options, self.cache.config
        sample = pairs(self.cache, rows, ground=(o["reduce"], o["reduce"]))
        quarters = torch.randint(4 if o["turn"] else 1, (len(rows),), generator=generator)
        columns = quarters * (sample.ground.shape[-1] // 4 if o["together"] else 0)
        grid = augment.tile_grid(
            generator, quarters * 90.0, int(o["size"]), share=self._share(len(rows), generator),
            offset=o["offset"] / config.tile_metres, scale=o["scale"],
        )  # fmt: skip
        strip = self._disturb(augment.roll(sample.ground, columns), generator)
        tile = self._disturb(augment.cut(sample.aerial, grid), generator)
        centred = (grid - grid.mean((1, 2), keepdim=True)) * (config.tile_metres / TILE_METRES)
        made = {kind: augment.cut(images(array, rows), centred) for kind, array in self.made.items()}
        return LadderBatch(strip, tile, made, apart(sample.place, o["apart"])).to(self.device)

    def _share(self, count: int, generator: Generator) -> float | Tensor:
        """Width of what is cut over the width of the cached tile, one for all or (count,)."""
        share, least = TILE_METRES / self.cache.config.tile_metres, float(self.options["crop"])
        return share * augment.uniform(generator, (count,), least, 1.0) if least < 1 else share

    def _disturb(self, image: Tensor, generator: Generator) -> Tensor:
        if not self.options["colour"]:
            return image
        return augment.roughen(augment.jitter_colour(image, generator, self.options["colour"]), generator)

    def vectors(self, batch: Any) -> tuple[Tensor, ...]:
        """Descriptors (B, D) of queries and tiles, and of whatever else the loss needs."""
        return self.model(batch.strip, batch.tile, **batch.made)

    def loss(self, vectors: tuple[Tensor, ...], valid: Tensor) -> Tensor:
        """The loss of a batch."""
        return weighted_soft_margin(vectors[0], vectors[1], self.options["alpha"], valid)

    def step(self, batch: Any) -> dict[str, float]:
        """One update; logs the loss and the share of queries found within the batch."""
        with autocast(self.device.type):
            vectors = self.vectors(batch)
        loss = self.loss(vectors, batch.valid)
        descend(self.optimisers["model"], loss)
        best = (vectors[0] @ vectors[1].t()).detach().argmax(1)
        found = best == torch.arange(len(best), device=best.device)
        return {"loss": loss.item(), "r1": found.float().mean().item()}


class TwoStreamMethod(LadderMethod):
    """Trains `TwoStream`."""

    def build(self) -> TwoStream:
        """The model, before training."""
        return TwoStream(**self.settings.model)


class JointFeatureMethod(LadderMethod):
    """Trains `JointFeature` with (10·L(ground, aerial) + 1·L(synthetic, aerial)) / 11.

    Option `start`: a trained two-stream network to start from, as published; None starts from nothing.
    """

    builds_on = "start"
    model: JointFeature

    def build(self) -> JointFeature:
        """The model, before training."""
        model = JointFeature(**self.settings.model)
        if self.options.get("start"):
            model.start_from(self.helper(self.options["start"], TwoStream))
        return model

    def needs(self) -> Sequence[str]:
        """The synthetic view, whichever of the two is the query later."""
        return ("synthetic",)

    def vectors(self, batch: LadderBatch) -> tuple[Tensor, ...]:
        """Ground, aerial, synthetic."""
        model = self.model
        synthetic = model.synthetic_features(batch.made["synthetic"])
        return model.ground_features(batch.strip), model.aerial_features(batch.tile), synthetic

    def loss(self, vectors: tuple[Tensor, ...], valid: Tensor) -> Tensor:
        """The published mixture."""
        ground, aerial, synthetic = vectors
        alpha = self.options["alpha"]
        first = weighted_soft_margin(ground, aerial, alpha, valid)
        return (10 * first + weighted_soft_margin(synthetic, aerial, alpha, valid)) / 11


@dataclass
class FeatureBatch:
    """Joint features of a batch, each (B, F)."""

    ground: Tensor
    aerial: Tensor
    synthetic: Tensor
    valid: Tensor  # (B, B)

    def to(self, device: torch.device) -> "FeatureBatch":
        """The same on a device."""
        parts = (self.ground, self.aerial, self.synthetic, self.valid)
        return FeatureBatch(*(part.to(device) for part in parts))


class FeatureFusionMethod(LadderMethod):
    """Trains the linear layers of `FeatureFusion` on joint features exported from the training split.

    Options: `joint` (the trained `JointFeature`), `views` (times each place is exported, with other colours and turns),
    `dropout` (whether the joint network's dropout acts on what is exported, as it did on that of the bundled weights;
    it never does when the model is used).
    """

    builds_on = "joint"
    model: FeatureFusion

    def __init__(self, settings: Settings, cache: Cache) -> None:
        super().__init__(settings, cache)
        self.features = self._exported()

    def build(self) -> FeatureFusion:
        """The model with the trained joint features."""
        joint = self.helper(self.options.get("joint", "joint-feature-world"), JointFeature)
        model = FeatureFusion(joint=_keywords(joint), **self.settings.model)
        model.joint.load_state_dict(joint.state_dict())
        return model

    @torch.no_grad()
    def _exported(self) -> np.ndarray:
        """(views, N, 3, F) float32: ground, aerial, synthetic of every sample, kept beside the cache."""
        joint, views = self.model.joint, int(self.options.get("views", 1))
        made = Path(str(getattr(self.made["synthetic"], "filename", ""))).parent.name  # names the helpers' weights
        dropout = bool(self.options.get("dropout", True))
        name = f"features-{fingerprint(joint)}-{made}-{views}-{self.settings.seed}{'' if dropout else '-whole'}.npy"
        path, samples = self.cache.folder / name, self.cache.samples()
        if path.is_file():
            return np.load(path, mmap_mode="r")
        joint.train(dropout)
        found = np.zeros((views, len(self.cache["ground"]), 3, joint.features), np.float32)
        for view in range(views):
            for start in range(0, len(samples), 32):
                rows = samples[start : start + 32]
                generator = torch.Generator().manual_seed(self.settings.seed * 1_000_003 + view * 10_007 + int(rows[0]))
                batch = self.aligned(rows, generator)
                parts = (
                    joint.ground_features(batch.strip),
                    joint.aerial_features(batch.tile),
                    joint.synthetic_features(batch.made["synthetic"]),
                )
                found[view, rows] = torch.stack(parts, 1).cpu().numpy()
        with atomic_path(path) as temporary:
            np.save(temporary, found)
        return found

    def batch(self, generator: Generator) -> FeatureBatch:
        """Features of places from all worlds."""
        rows = draw(self.cache.samples(), self.settings.batch, generator)
        view = int(torch.randint(len(self.features), (), generator=generator))
        ground, aerial, synthetic = torch.from_numpy(np.asarray(self.features[view, rows])).unbind(1)
        place = torch.from_numpy(self.cache["place"][rows])
        return FeatureBatch(ground, aerial, synthetic, apart(place, self.options["apart"])).to(self.device)

    def vectors(self, batch: FeatureBatch) -> tuple[Tensor, ...]:
        """Fused query, projected tile."""
        query, reference = self.model.fuse(batch.ground, batch.synthetic), self.model.project(batch.aerial)
        return nn.functional.normalize(query.float(), dim=1), nn.functional.normalize(reference.float(), dim=1)


class JointFusionVGGMethod(LadderMethod):
    """Trains `JointFusionVGG`.

    Options: `auxiliary` (weight of the loss between synthetic view and tile), `imagenet` (start the encoders from
    ImageNet's VGG16).
    """

    model: JointFusionVGG

    def build(self) -> JointFusionVGG:
        """The model, before training."""
        model = JointFusionVGG(**self.settings.model)
        if self.options.get("imagenet"):
            model.start_from_imagenet()
        return model

    def vectors(self, batch: LadderBatch) -> tuple[Tensor, ...]:
        """Query, tile, and the synthetic view described as a tile."""
        return *super().vectors(batch), self.model.encode_aerial(batch.made["synthetic"])

    def loss(self, vectors: tuple[Tensor, ...], valid: Tensor) -> Tensor:
        """Weighted soft margin of query and tile, and of synthetic view and tile."""
        query, reference, synthetic = vectors
        alpha, weight = self.options["alpha"], self.options.get("auxiliary", 0.5)
        auxiliary = weighted_soft_margin(synthetic, reference, alpha, valid)
        return weighted_soft_margin(query, reference, alpha, valid) + weight * auxiliary


class GascFusionMethod(LadderMethod):
    """Trains `GascFusion` with the triplet loss.

    Options: `margin`, `slow` (learning rate of the encoders over that of the fusion networks: 0.1 as published, where
    the encoders start from ImageNet), `imagenet` (start the encoders from ImageNet's VGG16).
    """

    model: GascFusion

    def build(self) -> GascFusion:
        """The model, before training."""
        model = GascFusion(**self.settings.model)
        if self.options.get("imagenet"):
            model.start_from_imagenet()
        return model

    def groups(self) -> list[dict[str, Any]]:
        """Encoders, and the rest."""
        slow = self.model.encoders()
        known = {id(p) for p in slow}
        rest = [p for p in self.model.parameters() if id(p) not in known]
        return [{"params": slow, "lr": self.settings.learning_rate * self.options.get("slow", 1.0)}, {"params": rest}]

    def loss(self, vectors: tuple[Tensor, ...], valid: Tensor) -> Tensor:
        """Triplet margin loss."""
        return triplet_margin(vectors[0], vectors[1], self.options.get("margin", 0.2), valid)


def _keywords(model: AlignedMatcher) -> Mapping[str, Any]:
    """Constructor keywords of a model."""
    return dict(model._hub_mixin_config or {})  # type: ignore[arg-type]
