"""Classes and depth of every pixel."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xview_demo import metrics
from xview_demo.classes import CLASSES
from xview_demo.evaluation.protocol import VALIDATION, Progress, Protocol, model_of, places, spread
from xview_demo.evaluation.sheets import SHOWN, painted, write_sheet
from xview_demo.viz import class_map, depth_map

FARTHEST = 60.0  # metres, the end of the colours on a sheet


def _dense_protocol(n: int) -> Protocol:
    worlds = min(40, max(1, n // 5))
    per = -(-n // worlds)
    return Protocol(worlds=worlds, queries=per, tiles=per, size=600.0)


@torch.inference_mode()
def evaluate_segmentation(
    model: Any = "unet-ground-world", *, n: int = 200, protocol: Protocol | None = None,
    progress: Progress | None = None, world: Any = None, view: str | None = None, sheet: str | Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """IoU and boundary F-score (within two pixels) of the eight classes in panoramas or tiles of test worlds.

    `view` is "ground" or "aerial"; None takes what the model reads (panoramas for one that reads both). A picture of
    the first view of each of the first worlds, its true and its found classes, is written to `sheet`.
    """
    net, name = model_of(model, "segmentation")
    protocol = protocol or _dense_protocol(n)
    view = view or ("ground" if net.view == "both" else net.view)
    matrix, count = np.zeros((len(CLASSES), len(CLASSES)), np.int64), 0
    edges = np.zeros((len(CLASSES), 4), np.int64)
    rows: list[dict[str, Tensor]] = []
    for image, truth in _labelled(protocol, view, progress, world):
        predicted, _ = net.predict(image, panorama=view == "ground")
        matrix += metrics.confusion(predicted.numpy(), truth.numpy(), len(CLASSES))
        for drawn, right in zip(predicted.numpy(), truth.numpy(), strict=True):
            edges += metrics.boundary_counts(drawn, right, len(CLASSES))
        count += len(image)
        if sheet is not None and len(rows) < SHOWN:
            maps = {"truth": truth[0], "found": predicted[0]}
            rows.append({"given": image[0]} | {k: painted(class_map(v.numpy())) for k, v in maps.items()})
    if sheet is not None:
        write_sheet(sheet, rows)
    boundary = metrics.boundary_f(edges)
    return {
        "model": name, "n": count, "seeds": protocol.seeds, "view": view, **metrics.by_class(matrix, CLASSES),
        "accuracy": 100.0 * float(np.trace(matrix) / matrix.sum()), "boundary_f": float(np.nanmean(boundary)),
        "boundary": {c: None if np.isnan(f) else float(f) for c, f in zip(CLASSES, boundary, strict=True)},
    }  # fmt: skip


def _labelled(protocol: Protocol, view: str, progress: Progress | None, world: Any) -> Iterator[tuple[Tensor, Tensor]]:
    if world is None:
        from xview_demo.world import World as world
    for number in range(protocol.worlds):
        seed = protocol.first_seed + number
        place = world(seed, size=protocol.size, resolution=protocol.resolution)
        sites = spread(place, protocol.queries)
        heading = np.random.default_rng([seed, 7]).uniform(0, 360, len(sites)).tolist()
        batch = place.panoramas(sites, headings=heading) if view == "ground" else place.aerials(sites)
        yield batch.colour, batch.labels
        if progress is not None:
            progress(number + 1, protocol.worlds)


@torch.inference_mode()
def calibrate_classes(net: Any, protocol: Protocol | None = None, world: Any = None) -> list[float]:
    """Shift a segmenter's logits so that its mean IoU on validation worlds (200 pictures) is largest.

    Training shows rare classes more often than the world does, so the model expects too much of them. Each class's
    shift is tried in turn, twice over, on every fourth pixel.
    """
    protocol = protocol or Protocol(first_seed=VALIDATION, worlds=40, queries=5, tiles=5, size=600.0)
    scores, truths = [], []
    for image, truth in _labelled(protocol, net.view, None, world):
        scores.append(net.predict(image)[1][..., ::4, ::4].clamp_min(1e-6).log())
        truths.append(truth[..., ::4, ::4])
    logits, target = torch.cat(scores), torch.cat(truths).numpy()

    def quality(shift: Tensor) -> float:
        predicted = (logits + shift.view(1, -1, 1, 1)).argmax(1).numpy()
        return metrics.miou(metrics.confusion(predicted, target, len(CLASSES)))

    best = torch.zeros(len(CLASSES))
    reached = quality(best)
    for number in (*range(len(CLASSES)), *range(len(CLASSES))):
        for step in (-2.0, -1.0, -0.5, 0.5, 1.0):
            trial = best.clone()
            trial[number] += step
            if (found := quality(trial)) > reached:
                reached, best = found, trial
    net.shift(best)
    return best.tolist()


@torch.inference_mode()
def evaluate_depth(
    model: Any = "depth-world", *, n: int = 200, protocol: Protocol | None = None,
    progress: Progress | None = None, world: Any = None, sheet: str | Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """AbsRel within 60 m in panoramas of test worlds; chance is the best constant of each row.

    `abs_rel_known_height` is that of views that state how high the camera stood; without, one picture fixes depth only
    as far as its scale can be guessed. A picture of the first panorama of each of the first worlds, its true and its
    found depth, is written to `sheet`.
    """
    net, name = model_of(model, "depth")
    protocol = protocol or _dense_protocol(n)
    errors, scaled, skies, truths, count = [], [], [], [], 0
    rows_shown: list[dict[str, Tensor]] = []
    for place in places(replace(protocol, tiles=protocol.queries), progress, world):
        found = [net.predict(image[None])[0] for image in place.ground.colour]
        heights = place.ground.camera_height.tolist()
        known = [net.predict(c[None], camera_height=h)[0] for c, h in zip(place.ground.colour, heights, strict=True)]
        for predicted, stated, metres in zip(found, known, place.ground.depth, strict=True):
            errors.append(metrics.abs_rel(predicted.clamp_max(net.farthest).numpy(), metres.numpy()))
            scaled.append(metrics.abs_rel(stated.clamp_max(net.farthest).numpy(), metres.numpy()))
            skies.append(float((predicted.isinf() == metres.isinf()).float().mean()))
            truths.append(metres.half())
            count += 1
        if sheet is not None and len(rows_shown) < SHOWN:
            maps = {"truth": place.ground.depth[0], "found": found[0]}
            drawn = {k: painted(depth_map(v.numpy(), FARTHEST, bar=False)) for k, v in maps.items()}
            rows_shown.append({"given": place.ground.colour[0]} | drawn)
    if sheet is not None:
        write_sheet(sheet, rows_shown)
    rows = torch.stack(truths).float()
    middle = rows.masked_fill(rows > 60, torch.nan).transpose(1, 2).flatten(0, 1).nanmedian(0).values
    constant = middle.nan_to_num(60.0)[None, :, None].expand_as(rows)
    return {
        "model": name, "n": count, "seeds": protocol.seeds, "abs_rel": float(np.nanmean(errors)),
        "abs_rel_known_height": float(np.nanmean(scaled)),
        "sky_accuracy": 100.0 * float(np.mean(skies)), "chance": metrics.abs_rel(constant.numpy(), rows.numpy()),
        "interval": list(metrics.bootstrap_interval(np.array(errors)[np.isfinite(errors)])),
    }  # fmt: skip
