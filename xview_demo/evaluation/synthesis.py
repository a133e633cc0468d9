"""Synthetic views against true ones, in either direction.

`perceptual` and `frechet` are computed on the features of our own segmenter of the view that is drawn; they are not
LPIPS and FID, which are reported beside them, under those names, when their weights are given.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from xview_demo import metrics
from xview_demo.classes import CLASSES
from xview_demo.errors import XViewError
from xview_demo.evaluation.protocol import Progress, Protocol, model_of, spread
from xview_demo.models.perceptual import Lpips, unit_distance
from xview_demo.models.synthesis.interface import AERIAL, GROUND, Query, Sampling

SHAPES = {AERIAL: (256, 256), GROUND: (128, 512)}  # at which views are compared
SEGMENTERS = {AERIAL: "unet-aerial-world", GROUND: "unet-ground-world"}
PART = 25  # pictures that are looked at together
ROWS = 10  # of a contact sheet
Methods = Sequence[Any] | Mapping[str, Any]  # generators by name or as models, or models by the names to give them
BLIND = " without bird's eye"  # added to a method's name


class Judge:
    """What compares synthetic with true views: our own segmenter of that view, our own matcher, published metrics.

    Args:
        view: that is drawn, "aerial" or "ground".
        segmenter, matcher: names or models.
        lpips: file of a torchvision AlexNet or VGG-16, see `Lpips`.
        fid: file of the Inception network of FID, as torch-fidelity names it (needs that package).
    """

    def __init__(
        self, view: str, segmenter: Any, matcher: Any, lpips: str | Path | None = None, fid: str | Path | None = None
    ) -> None:
        self.view, self.fid = view, fid
        self.segmenter = model_of(segmenter or SEGMENTERS[view], "segmentation")[0]
        if self.segmenter.view != view:
            raise XViewError(f"The segmenter reads {self.segmenter.view} views, the methods draw {view} ones.")
        matching = model_of(matcher, "matching")[0]
        self.describe: Callable[[Tensor], Tensor] = matching.encode_aerial if view == AERIAL else matching.encode_ground
        self.lpips = Lpips(lpips) if lpips else None

    @torch.inference_mode()
    def look(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Views (B, 3, H, W) in [0, 1] → classes (B, H, W), and the features of the segmenter's encoder by stage."""
        features: list[Tensor] = []
        hook = self.segmenter.unet.encoder.register_forward_hook(lambda module, given, out: features.extend(out[1:]))
        try:
            labels, _ = self.segmenter.predict(image)
        finally:
            hook.remove()
        return labels, features

    @torch.inference_mode()
    def compare(self, drawn: dict[str, Tensor], truth: Tensor, classes: Tensor) -> dict[str, dict[str, Any]]:
        """The numbers of each method: uint8 views by name (N, …), or one for all; true views and classes (N, …).

        The truth is looked at once, in parts, together with what each method made of it.
        """
        found = {name: _Found() for name in drawn}
        codes, pooled = [], []
        for start in range(0, len(truth), PART):
            part = slice(start, start + PART)
            y = truth[part].float() / 255
            _, wanted = self.look(y)
            codes.append(self.describe(y))
            pooled.append(_pooled(wanted))
            for name, views in drawn.items():
                x = views[part] if len(views) > 1 else views
                self._add(found[name], x.float() / 255, y, classes[part], wanted)
        known, features = torch.cat(codes), np.concatenate(pooled)
        results = {name: of.summary(known, features) for name, of in found.items()}
        if self.fid is not None:
            for name, views in drawn.items():
                results[name]["fid"] = fid(views.expand_as(truth), truth, self.fid)
        return results

    def _add(self, found: "_Found", x: Tensor, y: Tensor, classes: Tensor, wanted: list[Tensor]) -> None:
        """Compare a part of a method's views, or its one view, with the true ones, whose features are known."""
        predicted, seen = self.look(x)
        x, predicted, code, *seen = (t.expand(len(y), *t.shape[1:]) for t in (x, predicted, self.describe(x), *seen))
        found.add("psnr", metrics.psnr(x, y))
        found.add("ssim", metrics.ssim(x, y))
        found.add("perceptual", unit_distance(seen, wanted).numpy())
        if self.lpips is not None:
            found.add("lpips", self.lpips(x, y).numpy())
        found.matrix += metrics.confusion(predicted.numpy(), classes.numpy(), len(CLASSES))
        found.codes.append(code)
        found.pooled.append(_pooled(seen))


@dataclass
class _Found:
    """What is known of a method's views so far."""

    values: dict[str, list[np.ndarray]] = field(default_factory=dict)  # metric → a number for each view, in parts
    matrix: np.ndarray = field(default_factory=lambda: np.zeros((len(CLASSES), len(CLASSES)), np.int64))
    codes: list[Tensor] = field(default_factory=list)
    pooled: list[np.ndarray] = field(default_factory=list)

    def add(self, metric: str, values: np.ndarray) -> None:
        """Numbers of a part."""
        self.values.setdefault(metric, []).append(values)

    def summary(self, known: Tensor, features: np.ndarray) -> dict[str, Any]:
        """The method's numbers, given descriptors and pooled features of the true views."""
        rank = metrics.ranks((torch.cat(self.codes) @ known.T).numpy(), np.arange(len(known)), ties="half")
        result = {name: float(np.concatenate(values).mean()) for name, values in self.values.items()}
        result |= {"frechet": frechet(np.concatenate(self.pooled), features), "miou": metrics.miou(self.matrix)}
        return result | {"retrieval_r@1": metrics.recall_at(rank, 1)}


def _pooled(features: list[Tensor]) -> np.ndarray:
    """(B, C) the deepest features, averaged over the picture."""
    return features[-1].float().mean((2, 3)).numpy()


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    """Fréchet distance of two sets of features (N, D), each taken as a Gaussian."""
    mean = a.mean(0) - b.mean(0)
    c, d = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = np.sqrt(np.linalg.eigvals(c @ d).real.clip(0)).sum()  # trace of the square root of c·d
    return float(mean @ mean + np.trace(c) + np.trace(d) - 2 * root)


def fid(drawn: Tensor, truth: Tensor, weights: str | Path) -> float:
    """The published Fréchet Inception distance of uint8 pictures (N, 3, H, W).

    Raises:
        XViewError: torch-fidelity, which defines the network, is not installed, or the weights cannot be read.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance

    try:
        metric = FrechetInceptionDistance(feature=2048, feature_extractor_weights_path=str(weights))
    except (ModuleNotFoundError, OSError, RuntimeError) as error:
        raise XViewError(f"FID cannot be computed: {' '.join(str(error).split())[:200]}") from error
    for pictures, real in ((truth, True), (drawn, False)):
        for part in pictures.split(PART):
            metric.update(part, real=real)
    return float(metric.compute())


@dataclass
class _Draft:
    """A method: what draws it, and whether it is given the bird's-eye view."""

    net: Any
    hinted: bool = True
    drawn: list[Tensor] = field(default_factory=list)


@torch.inference_mode()
def evaluate_synthesis(
    methods: Methods = ("bird-eye", "xfork-world"), *, n: int = 1000, segmenter: Any = None,
    matcher: Any = "azimuth-world", protocol: Protocol | None = None, progress: Progress | None = None,
    world: Any = None, ablate: bool = False, sampling: Sampling | None = None, lpips: str | Path | None = None,
    fid: str | Path | None = None, sheet: str | Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Synthetic views against true ones, for each method and for the mean view.

    `perceptual` and `frechet` use the features of our own segmenter (they are not LPIPS and FID); `miou` is that of the
    segmenter on the output against the true classes; `retrieval_r@1` is how often the output, encoded as the view that
    it is, finds its own among the `n` true ones.

    Args:
        methods: names or models, all of which draw the same view; or models by the names to give them.
        n: how many pairs.
        segmenter, matcher: the judges; the bundled ones when left out.
        protocol: other worlds.
        progress: called with (worlds done, worlds in all).
        world: stand-in for `World`.
        ablate: also measure those that can do without the bird's-eye view without it.
        sampling: steps, guidance and solver of methods that draw at random.
        lpips, fid: weights of the published metrics, see `Judge`.
        sheet: where to write a contact sheet: panorama, each method, truth.

    Raises:
        XViewError: methods that draw different views, or two of one name (a model's is that of its class).
    """
    drafts = {name: _Draft(net) for name, net in named(methods).items()}
    views = {draft.net.draws for draft in drafts.values()}
    if len(views) != 1:
        raise XViewError("The methods draw different views: compare those that draw tiles, or those that do not.")
    if ablate:
        able = {k: d for k, d in drafts.items() if d.net.samples and getattr(d.net, "bird_eye", False)}
        drafts |= {name + BLIND: _Draft(draft.net, hinted=False) for name, draft in able.items()}
    judge = Judge(view := views.pop(), segmenter, matcher, lpips, fid)
    worlds = min(40, max(1, n // 5))
    per = -(-n // worlds)
    protocol = protocol or Protocol(worlds=worlds, queries=per, tiles=per, size=600.0)
    truth, labels, read = [], [], []
    for number, (given, true, classes) in enumerate(_pairs(protocol, view, progress, world)):
        truth.append(true)
        labels.append(classes)
        read.append(given[:1])
        wanted = replace(sampling or Sampling(), seed=number)
        for draft in drafts.values():
            image = draw(draft.net, given.float() / 255, wanted, draft.hinted)
            draft.drawn.append((image * 255).round().byte())
    if sheet is not None:
        _write_sheet(sheet, read, drafts, truth)
    return _judged(judge, drafts, torch.cat(truth), torch.cat(labels), protocol)


def _judged(
    judge: Judge, drafts: dict[str, _Draft], truth: Tensor, classes: Tensor, protocol: Protocol
) -> dict[str, Any]:
    mean = truth.float().div(255).mean(0, keepdim=True)
    floor = "mean-tile" if judge.view == AERIAL else "mean-panorama"
    outputs = {floor: (mean * 255).round().byte()}
    outputs |= {name: torch.cat(draft.drawn) for name, draft in drafts.items()}
    return {
        "model": ",".join(drafts), "n": len(truth), "seeds": protocol.seeds, "view": judge.view,
        "chance": metrics.chance_recall(len(truth)),
        "methods": judge.compare(outputs, truth, classes),
    }  # fmt: skip


def _write_sheet(path: str | Path, read: list[Tensor], drafts: dict[str, _Draft], truth: list[Tensor]) -> None:
    """A contact sheet of the first place of each of the first worlds."""
    from xview_demo.evaluation.sheets import write_sheet

    rows = [
        {"given": read[k][0], **{name: draft.drawn[k][0] for name, draft in drafts.items()}, "truth": truth[k][0]}
        for k in range(min(ROWS, len(truth)))
    ]
    write_sheet(path, rows)


def named(methods: Methods) -> dict[str, Any]:
    """Generators by name.

    Raises:
        XViewError: two have one name.
    """
    if isinstance(methods, Mapping):
        return dict(methods)
    nets = {name: net for net, name in (model_of(method, "synthesis") for method in methods)}
    if len(nets) < len(methods):
        raise XViewError(f"{len(methods)} methods have {len(nets)} names, {', '.join(nets)}: give each one once.")
    return nets


@torch.inference_mode()
def draw(net: Any, given: Tensor, sampling: Sampling | None = None, hinted: bool = True) -> Tensor:
    """What a generator draws of strips or tiles (B, 3, H, W) in [0, 1], at the size at which views are compared.

    Depth and classes that it needs are estimated by the bundled models.
    """
    query = Query(given)
    if net.needs:
        depth = model_of("depth-world", "depth")[0].predict(given)
        query = replace(query, depth=depth, labels=model_of(SEGMENTERS[GROUND], "segmentation")[0].predict(given)[0])
    options = {} if hinted else {"hinted": False}
    image = net.draw(query, sampling, **options).image.float()
    return F.interpolate(image, SHAPES[net.draws], mode="bilinear", antialias=True).clamp(0, 1)


def _pairs(
    protocol: Protocol, view: str, progress: Progress | None, world: Any
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """What is read and what should be drawn (uint8), and its classes: tiles centred on the cameras, strips north up."""
    if world is None:
        from xview_demo.world import World as world
    for number in range(protocol.worlds):
        place = world(protocol.first_seed + number, size=protocol.size, resolution=protocol.resolution)
        sites = spread(place, protocol.queries)
        aerial, ground = place.aerials(sites), place.panoramas(sites)
        tiles, strips = ((x.colour * 255).round().byte() for x in (aerial, ground))
        yield (strips, tiles, aerial.labels) if view == AERIAL else (tiles, strips, ground.labels)
        if progress is not None:
            progress(number + 1, protocol.worlds)
