"""Synthetic aerial views against true ones."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from xview_demo import metrics
from xview_demo.classes import CLASSES
from xview_demo.evaluation.protocol import Progress, Protocol, model_of, spread


class _Judge:
    """What compares synthetic with real tiles: our own aerial segmenter's features, and our own matcher."""

    def __init__(self, segmenter: Any, matcher: Any) -> None:
        self.segmenter, self.matcher = segmenter, matcher

    @torch.inference_mode()
    def features(self, images: Tensor) -> list[Tensor]:
        unet = self.segmenter.unet
        return list(unet.encoder((images - unet.mean) / unet.std))[1:]

    def distance(self, a: list[Tensor], b: list[Tensor]) -> np.ndarray:
        """(B,) mean squared distance of unit-length features, summed over the encoder's stages."""
        stages = [
            (F.normalize(x, dim=1) - F.normalize(y, dim=1)).square().sum(1).mean((1, 2))
            for x, y in zip(a, b, strict=True)
        ]
        return torch.stack(stages).sum(0).numpy()


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    """Fréchet distance of two sets of features (N, D), each taken as a Gaussian."""
    mean = a.mean(0) - b.mean(0)
    c, d = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = np.sqrt(np.linalg.eigvals(c @ d).real.clip(0)).sum()  # trace of the square root of c·d
    return float(mean @ mean + np.trace(c) + np.trace(d) - 2 * root)


@torch.inference_mode()
def evaluate_synthesis(
    methods: tuple[Any, ...] = ("bird-eye", "xfork-world"), *, n: int = 1000, segmenter: Any = "unet-aerial-world",
    matcher: Any = "azimuth-world", protocol: Protocol | None = None, progress: Progress | None = None,
    world: Any = None,
) -> dict[str, Any]:  # fmt: skip
    """Synthetic tiles against true ones, for each method and for the mean tile.

    `perceptual` and `frechet` use the features of our own aerial segmenter (they are not LPIPS and FID); `miou` is
    that of the segmenter on the output against the true classes; `retrieval_r@1` is how often the output, encoded as
    an aerial tile, finds its own among the `n` true tiles.
    """
    nets = [(model_of(m, "synthesis")) for m in methods]
    judge = _Judge(model_of(segmenter, "segmentation")[0], model_of(matcher, "matching")[0])
    worlds = min(40, max(1, n // 5))
    per = -(-n // worlds)
    protocol = protocol or Protocol(worlds=worlds, queries=per, tiles=per, size=600.0)
    truth, labels, drawn = [], [], {name: [] for _, name in nets}  # type: ignore[var-annotated]
    for tiles, classes, strips in _overhead(protocol, progress, world):
        truth.append(tiles)
        labels.append(classes)
        for net, name in nets:
            drawn[name].append((draw_aerial(net, strips) * 255).round().byte())
    tiles, classes = torch.cat(truth), torch.cat(labels)
    mean = tiles.float().div(255).mean(0, keepdim=True)
    outputs = {"mean-tile": (mean * 255).round().byte().expand_as(tiles)} | {k: torch.cat(v) for k, v in drawn.items()}
    reference = _described(judge, tiles)
    return {
        "model": ",".join(name for _, name in nets), "n": len(tiles), "seeds": protocol.seeds,
        "chance": metrics.chance_recall(len(tiles)),
        "methods": {name: _compare(judge, x, tiles, classes, reference) for name, x in outputs.items()},
    }  # fmt: skip


def draw_aerial(net: Any, strips: Tensor, pixels: int = 256) -> Tensor:
    """A generator's tiles (B, 3, pixels, pixels) for north-up strips (B, 3, H, W)."""
    from xview_demo.models.synthesis.bird_eye import BirdEye

    if isinstance(net, BirdEye):
        image, _ = net(strips)
    else:
        project = BirdEye(pixels=net.size, metres=net.metres)
        image, _ = net(strips, torch.cat(project(strips), 1) if net.bird_eye else None)
    return F.interpolate(image, (pixels, pixels), mode="bilinear", antialias=True).clamp(0, 1)


def _overhead(protocol: Protocol, progress: Progress | None, world: Any) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Tiles centred on the cameras (uint8), their classes, and the strips, north up, of each world."""
    if world is None:
        from xview_demo.world import World as world
    for number in range(protocol.worlds):
        place = world(protocol.first_seed + number, size=protocol.size, resolution=protocol.resolution)
        sites = spread(place, protocol.queries)
        aerial = place.aerials(sites)
        yield (aerial.colour * 255).round().byte(), aerial.labels, place.panoramas(sites).colour
        if progress is not None:
            progress(number + 1, protocol.worlds)


def _described(judge: _Judge, tiles: Tensor) -> tuple[Tensor, np.ndarray]:
    """Descriptors (N, D) of the matcher, and pooled features (N, C) of the segmenter."""
    codes, pooled = [], []
    for part in tiles.split(25):
        image = part.float() / 255
        codes.append(judge.matcher.encode_aerial(image))
        pooled.append(judge.features(image)[-1].mean((2, 3)).numpy())
    return torch.cat(codes), np.concatenate(pooled)


def _compare(
    judge: _Judge, drawn: Tensor, tiles: Tensor, classes: Tensor, reference: tuple[Tensor, np.ndarray]
) -> dict[str, float]:
    psnr, ssim, far, matrix = [], [], [], np.zeros((len(CLASSES), len(CLASSES)), np.int64)
    for a, b, truth in zip(drawn.split(25), tiles.split(25), classes.split(25), strict=True):
        x, y = a.float() / 255, b.float() / 255
        psnr.append(metrics.psnr(x, y))
        ssim.append(metrics.ssim(x, y))
        far.append(judge.distance(judge.features(x), judge.features(y)))
        matrix += metrics.confusion(judge.segmenter.predict(x)[0].numpy(), truth.numpy(), len(CLASSES))
    codes, pooled = _described(judge, drawn)
    rank = metrics.ranks((codes @ reference[0].T).numpy(), np.arange(len(tiles)), ties="half")
    return {
        "psnr": float(np.concatenate(psnr).mean()), "ssim": float(np.concatenate(ssim).mean()),
        "perceptual": float(np.concatenate(far).mean()), "frechet": frechet(pooled, reference[1]),
        "miou": metrics.miou(matrix), "retrieval_r@1": metrics.recall_at(rank, 1),
    }  # fmt: skip
