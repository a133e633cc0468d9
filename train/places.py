"""Place recognition: retrieval by triplets with mined negatives, then GeoWarp's regressor on the frozen features.

Retrieval follows NetVLAD (Arandjelović et al., 2016): of each query's photographs within 25 m the one that looks most
alike, against those beyond that look most alike. The regressor follows Berton et al. (ICCV 2021): self-supervised
warps, consistency of four predictions, and features that agree after warping. The validation split chooses both.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from tqdm import tqdm

from train import augment
from train.engine import Settings, autocast, descend, generator_of
from xview_demo.data.places import RADIUS, PlaceIndex, read_places
from xview_demo.evaluation.places import Found, first_hits, place_recalls, rerank_all, retrieve
from xview_demo.files import cache_root
from xview_demo.geometry import resize
from xview_demo.images import read_image
from xview_demo.models.reranking.features import CLUSTERS, NetVLAD, truncated
from xview_demo.models.reranking.geowarp import GeoWarp, similarity, warp
from xview_demo.models.reranking.pairs import warped_pairs
from xview_demo.recognition import PlaceRecognizer
from xview_demo.world.places import PlaceWorlds, write_places

MIRROR = [1, 0, 3, 2, 5, 4, 7, 6]  # where each corner goes when both pictures are mirrored
OPTIONS: dict[str, Any] = {
    "share": 0.5,  # of the steps that train the features
    "gentle": 0.4,  # share of the features' steps in which all photographs of a batch count, not only the hardest
    "margin": 0.1,  # of squared distances
    "negatives": 2,  # mined for each query
    "hardest": 5,  # negatives of the batch that count for each query
    "queries": 128,  # looked at in one mining
    "pool": 512,  # photographs of the gallery that are compared with them
    "refresh": 100,  # steps between minings
    "colour": 0.5,  # strength of the colour changes
    "k": 0.6,  # of the self-supervised quadrilaterals
    "supervised": 1.0,  # weight of the self-supervised loss
    "consistency": 0.1,  # weight
    "features": 10.0,  # weight of the feature-wise loss
    "top": 20,  # predictions among which positives are looked for
    "limit": 1.2,  # squared distance up to which a positive is used
    "optimiser": "sgd",  # of the regressor: sgd as published (momentum 0.9) or adam
    "rate": 1e-4,  # learning rate of the regressor
    "validate": 100,  # steps between validations
    "validation": 100,  # queries of a validation, at most
    "rerank_k": 5,
    "imagenet": False,  # begin with torchvision's ImageNet weights (full width; downloads them)
    "device": "cpu",
}


@dataclass(frozen=True)
class PlaceData:
    """What the method learns from and what chooses."""

    root: Path
    train: PlaceIndex
    validation: PlaceIndex
    fingerprint: str = ""  # of what was rendered

    @classmethod
    def open(cls, root: Path, fingerprint: str = "") -> "PlaceData":
        """The two splits of a place-recognition folder."""
        return cls(root, read_places(root, "train"), read_places(root, "validation"), fingerprint or str(root))


def open_places(config: PlaceWorlds, root: Path | None, cache: Path | None, worlds: int | None) -> PlaceData:
    """The folder at `root`; without one generated photographs, written below the folder of caches if need be.

    `worlds` changes the number of training worlds.
    """
    if root is not None:
        return PlaceData.open(root)
    config = replace(config, train=worlds) if worlds else config
    folder = (cache or cache_root()) / f"places-{config.fingerprint}"
    with tqdm(unit="world", desc="places") as bar:

        def told(done: int, total: int) -> None:
            bar.total = total
            bar.update()

        write_places(folder, config, told)
    return PlaceData.open(folder, config.fingerprint)


class Progress(nn.Module):
    """What a resumed run must know beside the weights."""

    step: Tensor
    mined_at: Tensor
    best: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("step", torch.tensor(0))
        self.register_buffer("mined_at", torch.tensor(0))
        self.register_buffer("best", torch.full((2,), -1.0))  # validation score of features and regressor


@dataclass
class Triples:
    """Photographs of a retrieval step: B queries, then B positives, then their negatives."""

    image: Tensor  # (M, 3, H, W)
    wrong: Tensor  # (B, M) True where a photograph shows another place than the query


@dataclass
class Warps:
    """Photographs of a regressor step."""

    source: Tensor  # (B, 3, H, W) to be warped
    query: Tensor  # (P, 3, H, W)
    positive: Tensor  # (P, 3, H, W)
    generator: Generator


class PlacesMethod:
    """Trains `GeoWarp`; the options are those of `OPTIONS`."""

    averaged = "best"

    def __init__(self, settings: Settings, data: PlaceData) -> None:
        unknown = set(settings.options) - set(OPTIONS)
        if unknown:
            raise ValueError(f"No option named {sorted(unknown)[0]!r}. Available: {', '.join(OPTIONS)}.")
        self.settings, self.data, self.options = settings, data, OPTIONS | settings.options
        self.device = torch.device(self.options["device"])
        self.model = GeoWarp(**settings.model).to(self.device)
        if self.options["imagenet"]:
            load_imagenet(self.model)
        self.best = GeoWarp(**settings.model).to(self.device)
        self.best.load_state_dict(self.model.state_dict())
        self.miner = GeoWarp(**settings.model).to(self.device)
        self.progress = Progress()
        self.modules: dict[str, nn.Module] = {
            "model": self.model, "best": self.best, "miner": self.miner, "progress": self.progress,
        }  # fmt: skip
        features = torch.optim.AdamW(
            self.model.extractor.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.optimisers: dict[str, torch.optim.Optimizer] = {
            "features": features, "regressor": self._regressor_optimiser(),
        }  # fmt: skip
        self.switch = round(self.options["share"] * settings.steps)  # the first step of the regressor
        self.positives = data.train.positives()
        self._triples: list[tuple[int, int, list[int]]] = []
        self._pairs: np.ndarray | None = None
        self._validated: tuple[PlaceRecognizer, PlaceIndex, Found] | None = None

    def _regressor_optimiser(self) -> torch.optim.Optimizer:
        parameters, rate = self.model.regressor.parameters(), float(self.options["rate"])
        if self.options["optimiser"] == "adam":
            return torch.optim.Adam(parameters, rate)
        return torch.optim.SGD(parameters, rate, momentum=0.9, weight_decay=1e-3)

    # Batches

    def batch(self, generator: Generator) -> Triples | Warps:
        """What the next step needs."""
        step = int(self.progress.step)
        if step < self.switch:
            return self._triples_of(step, generator)
        if self._pairs is None:
            self._begin_regressor()
        assert self._pairs is not None
        b, train = self.settings.batch, self.data.train
        files = [*train.gallery, *train.queries]
        source = [files[i] for i in torch.randint(len(files), (b,), generator=generator).tolist()]
        rows = torch.randint(max(1, len(self._pairs)), (b,), generator=generator)
        chosen = self._pairs[rows.numpy()] if len(self._pairs) else self._pairs
        query, positive = ([names[i] for i in chosen[:, side]] for side, names in enumerate(self._sides()))
        return Warps(self._open(source), self._open(query), self._open(positive), generator)

    def _sides(self) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
        return self.data.train.queries, self.data.train.gallery

    def _open(self, files: list[Path]) -> Tensor:
        """Photographs at the model's size (n, 3, H, W)."""
        if not files:
            return torch.zeros(0, 3, *self.model.size, device=self.device)
        return torch.stack([resize(read_image(file)[0], *self.model.size) for file in files]).to(self.device)

    def _triples_of(self, step: int, generator: Generator) -> Triples:
        if step == 0 and isinstance(self.model.extractor.pool, NetVLAD):
            self._start_netvlad(self.model.extractor.pool)
        if step % int(self.options["refresh"]) == 0:
            self.miner.load_state_dict(self.model.state_dict())
            self.progress.mined_at.fill_(step)
            self._triples = []
        if not self._triples:
            self._triples = self._mine(generator_of(self.settings.seed + 1, int(self.progress.mined_at)))
        rows = torch.randint(len(self._triples), (self.settings.batch,), generator=generator).tolist()
        chosen = [self._triples[row] for row in rows]
        train = self.data.train
        others = [p for _, p, _ in chosen] + [n for *_, negatives in chosen for n in negatives]
        image = self._open([train.queries[q] for q, *_ in chosen] + [train.gallery[i] for i in others])
        image = augment.jitter_colour(image.cpu(), generator, self.options["colour"])
        image = augment.roughen(image, generator, noise=0.03).to(self.device)
        here = train.query_utm[[q for q, *_ in chosen]]
        there = np.concatenate((here, train.gallery_utm[others]))
        away = np.hypot(*(here[:, None] - there).transpose(2, 0, 1))
        return Triples(image, torch.from_numpy(away > RADIUS).to(self.device))

    @torch.no_grad()
    def _start_netvlad(self, head: NetVLAD) -> None:
        """Centres of the local features of some photographs; an assignment in which the second best is 1 : 100."""
        from scipy.cluster.vq import kmeans2

        files = self.data.train.gallery
        some = [files[i] for i in np.linspace(0, len(files) - 1, min(64, len(files))).astype(int)]
        maps = torch.cat([self.model.extractor.maps(self._open(some[n : n + 8])) for n in range(0, len(some), 8)])
        cells = F.normalize(maps, dim=1).permute(0, 2, 3, 1).flatten(0, 2).cpu()
        kept = torch.randperm(len(cells), generator=generator_of(self.settings.seed, 0))[:4000]
        found, _ = kmeans2(cells[kept].double().numpy(), CLUSTERS, minit="points", rng=self.settings.seed)
        centres = F.normalize(torch.from_numpy(found).float(), dim=1)
        two = (cells[kept] @ centres.T).topk(2, 1).values
        gap = float((two[:, 0] - two[:, 1]).mean().clamp_min(1e-3))
        head.start_from(centres.to(self.device), min(200.0, float(np.log(100)) / gap))

    @torch.no_grad()
    def _mine(self, generator: Generator) -> list[tuple[int, int, list[int]]]:
        """For some queries: the right photograph that looks most alike, the wrong ones that do."""
        train, o = self.data.train, self.options
        able = [q for q, near in enumerate(self.positives) if len(near)]
        if not able:
            raise ValueError(
                f"No training query of {train.name} has a photograph within {RADIUS:g} m: check the names."
            )
        chosen = [able[i] for i in torch.randperm(len(able), generator=generator)[: int(o["queries"])].tolist()]
        pool = set(torch.randperm(len(train.gallery), generator=generator)[: int(o["pool"])].tolist())
        rows = np.array(sorted(pool | {int(i) for q in chosen for i in self.positives[q]}))
        self.miner.eval()
        q = self._described([train.queries[i] for i in chosen])
        g = self._described([train.gallery[i] for i in rows])
        away = torch.cdist(q, g).cpu().numpy()
        triples = []
        for number, query in enumerate(chosen):
            right = np.isin(rows, self.positives[query])
            best = int(np.where(right, away[number], np.inf).argmin())
            wrong = np.argsort(np.where(right, np.inf, away[number]), kind="stable")[: int(o["negatives"])]
            wrong = wrong[~right[wrong]]
            if len(wrong):
                fill = [int(rows[i]) for i in np.resize(wrong, int(o["negatives"]))]
                triples.append((query, int(rows[best]), fill))
        if not triples:
            raise ValueError(
                f"Every photograph of {train.name} is within {RADIUS:g} m of every query: add other places."
            )
        return triples

    def _described(self, files: list[Path]) -> Tensor:
        parts = [self.miner.encode(self._open(files[n : n + 16]))[0] for n in range(0, len(files), 16)]
        return torch.cat(parts).float()

    # Steps

    def step(self, batch: Triples | Warps) -> dict[str, float]:
        """One update, and a validation when it is due."""
        report = self._step_features(batch) if isinstance(batch, Triples) else self._step_regressor(batch)
        self.progress.step += 1
        done = int(self.progress.step)
        if done % int(self.options["validate"]) == 0 or done in (self.switch, self.settings.steps):
            self._validate(0 if done <= self.switch else 1)
        return report

    def _step_features(self, batch: Triples) -> dict[str, float]:
        self.model.extractor.train()
        with autocast(self.device.type):
            maps = self.model.extractor.maps(batch.image)
        described = self.model.extractor.pooled(maps.float())
        b = len(batch.wrong)
        away = torch.cdist(described[:b], described, compute_mode="donot_use_mm_for_euclid_dist").square()
        right = away[torch.arange(b), b + torch.arange(b)]
        wrong = away.masked_fill(~batch.wrong, torch.inf)
        hardest = wrong.topk(min(int(self.options["hardest"]), wrong.shape[1]), dim=1, largest=False).values
        if int(self.progress.step) < self.options["gentle"] * self.switch:
            loss = _relative(right, wrong)
        else:
            loss = F.relu(self.options["margin"] + right[:, None] - hardest).mean()
        descend(self.optimisers["features"], loss)
        solved = (right < hardest[:, 0]).float().mean()
        return {"triplet": loss.item(), "solved": solved.item()}

    def _begin_regressor(self) -> None:
        """Take the chosen features, freeze them, and find the pairs that they tell apart from others."""
        self.model.extractor.load_state_dict(self.best.extractor.state_dict())
        self.model.extractor.requires_grad_(False).eval()
        recognizer = PlaceRecognizer(self.model, "features", self.device)
        found = retrieve(recognizer, self.data.train)
        ranking = found.ranking[:, : int(self.options["top"])]
        squared = 2 * (1 - np.take_along_axis(found.scores, ranking, 1))
        self._pairs = mined_pairs(ranking, squared, self.positives, float(self.options["limit"]))
        self.model.train()
        self.model.extractor.eval()

    def _step_regressor(self, batch: Warps) -> dict[str, float]:
        self.model.regressor.train()
        self.model.extractor.requires_grad_(False).eval()
        o = self.options
        losses = {"supervised": self._supervised(batch)}
        if len(batch.query) > 1:
            query, positive = self._local(batch.query), self._local(batch.positive)
            losses["consistency"] = self._consistency(batch, query, positive)
            losses["features"] = self._feature_wise(batch, query, positive)
        total = torch.stack([o[name] * loss for name, loss in losses.items()]).sum()
        descend(self.optimisers["regressor"], total)
        return {name: loss.item() for name, loss in losses.items()}

    @torch.no_grad()
    def _local(self, image: Tensor) -> Tensor:
        with autocast(self.device.type):
            maps = self.model.extractor.maps(image)
        return self.model.extractor.cells(maps.float())

    def _supervised(self, batch: Warps) -> Tensor:
        """Section 3.2: the corners of two known warps, in both orders."""
        pair = warped_pairs(batch.source, float(self.options["k"]), batch.generator)
        a, b = self._local(pair.a), self._local(pair.b)
        ab, ba = self.model.regressor(similarity(a, b)), self.model.regressor(similarity(b, a))
        halves = ((ab[:, :4], pair.t_a), (ab[:, 4:], pair.t_b), (ba[:, :4], pair.t_b), (ba[:, 4:], pair.t_a))
        return torch.stack([F.mse_loss(found, true) for found, true in halves]).sum()

    def _consistency(self, batch: Warps, query: Tensor, positive: Tensor) -> Tensor:
        """Section 3.3: both orders, each also mirrored, against their mean, which gets no gradient."""
        mirrored = self._local(batch.query.flip(-1)), self._local(batch.positive.flip(-1))
        found = []
        for (q, p), flip in (((query, positive), False), (mirrored, True)):
            for corners in (self.model.regressor(similarity(q, p)).roll(4, 1), self.model.regressor(similarity(p, q))):
                found.append(mirror(corners) if flip else corners)
        mean = torch.stack(found).mean(0).detach()
        return torch.stack([F.mse_loss(corners, mean) for corners in found]).sum()

    def _feature_wise(self, batch: Warps, query: Tensor, positive: Tensor) -> Tensor:
        """Section 3.3: local features of the warped photographs; corners weighted at random, U[0, 1]^0.1."""
        corners = self.model.corners(query, positive)
        weights = torch.rand((len(query), 4), generator=batch.generator).pow(0.1).to(self.device)
        warped = [warp(x, c, weights) for x, c in zip((batch.query, batch.positive), corners, strict=True)]
        with autocast(self.device.type):
            maps = self.model.extractor.maps(torch.cat(warped))
        a, b = self.model.extractor.cells(maps.float()).chunk(2)
        return F.mse_loss(a, b)

    # Choosing

    def _validate(self, phase: int) -> None:
        """Keep the features, or the regressor, if the validation split likes them at least as well as before."""
        score = self._retrieval_score() if phase == 0 else self._reranking_score()
        if score >= float(self.progress.best[phase]):
            self.progress.best[phase] = score
            part = "extractor" if phase == 0 else "regressor"
            getattr(self.best, part).load_state_dict(getattr(self.model, part).state_dict())
        self.model.train()

    def _queries(self) -> PlaceIndex:
        index = self.data.validation
        few = min(len(index.queries), int(self.options["validation"]))
        rows = np.linspace(0, len(index.queries) - 1, few).astype(int)
        return replace(index, queries=tuple(index.queries[i] for i in rows), query_utm=index.query_utm[rows])

    def _retrieval_score(self) -> float:
        index = self._queries()
        found = retrieve(PlaceRecognizer(self.model, "features", self.device), index)
        return float(np.mean([*place_recalls(first_hits(found.ranking, index.positives())).values()]))

    def _reranking_score(self) -> float:
        if self._validated is None:
            index = self._queries()
            recognizer = PlaceRecognizer(self.model, "regressor", self.device)
            self._validated = recognizer, index, retrieve(recognizer, index)
        recognizer, index, found = self._validated
        self.model.eval()
        ranking, _ = rerank_all(recognizer, index, found, int(self.options["rerank_k"]))
        return place_recalls(first_hits(ranking, index.positives()))["r@1"]


def mirror(corners: Tensor) -> Tensor:
    """Corners (B, 8, 2) on two pictures as they are on the mirrored pictures."""
    return corners[:, MIRROR] * corners.new_tensor((-1.0, 1.0))


def _relative(right: Tensor, wrong: Tensor, sharpness: float = 5.0) -> Tensor:
    """Cross-entropy of the right photograph (B,) among the wrong ones (B, M), by their distance relative to the mean.

    Features that start from random weights have all photographs close together. The hardest triplets alone would then
    be solved by moving everything to one point; a relative distance gains nothing from that.
    """
    mean = wrong[wrong.isfinite()].mean().detach().clamp_min(1e-9)
    logits = -sharpness / mean * torch.cat((right[:, None], wrong), 1)
    return F.cross_entropy(logits, torch.zeros(len(right), dtype=torch.long, device=right.device))


def mined_pairs(ranking: np.ndarray, squared: np.ndarray, positives: list[np.ndarray], limit: float) -> np.ndarray:
    """(P, 2) rows of query and gallery: predictions that are right and nearer than a squared distance.

    Args:
        ranking: (Q, K) rows of the gallery, the best first.
        squared: (Q, K) squared distances of their descriptors.
        positives: for each query the right rows.
        limit: squared distance.
    """
    right = np.array([np.isin(row, near) for row, near in zip(ranking, positives, strict=True)])
    queries, places = np.nonzero(right & (squared < limit))
    return np.stack((queries, ranking[queries, places]), 1)


def load_imagenet(model: GeoWarp) -> None:
    """Give the backbone torchvision's ImageNet weights (IMAGENET1K_V1, as the source); full width only."""
    from torchvision import models

    net = models.get_model(model.backbone, weights="IMAGENET1K_V1")
    model.extractor.encoder.load_state_dict(truncated(net, model.backbone).state_dict(), strict=True)
