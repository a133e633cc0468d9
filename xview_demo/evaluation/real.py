"""Real pairs in a folder: for validation only."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from xview_demo import metrics
from xview_demo.classes import BUILDING, CLASSES, GROUND, ROAD, SKY, VEGETATION
from xview_demo.composed import composed
from xview_demo.errors import XViewError
from xview_demo.evaluation.describing import Descriptors
from xview_demo.evaluation.position import nearest_colours
from xview_demo.evaluation.protocol import VALIDATION, Protocol, model_of, places
from xview_demo.evaluation.reranking import reranked
from xview_demo.evaluation.retrieval import recalled, search
from xview_demo.evaluation.sheets import write_sheet
from xview_demo.evaluation.synthesis import Methods, draw, named
from xview_demo.views import AerialView, GroundView

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Painted:
    """A folder of label pictures: which view they are of, and what their colours say."""

    view: str  # "ground" or "aerial"
    groups: dict[str, tuple[int, ...]]  # name → classes of ours; the first group takes all that no other names
    colours: dict[Colour, str]  # colour → group; the nearest colour counts


PAINTED = {
    "ground_label": Painted(
        "ground",
        {"other": (), "building": (BUILDING,), "sky": (SKY,), "green": (VEGETATION, GROUND), "road": (ROAD,)},
        {
            (128, 64, 128): "road", (244, 35, 232): "road", (70, 70, 70): "building", (107, 142, 35): "green",
            (152, 251, 152): "green", (70, 130, 180): "sky", (0, 0, 142): "other", (220, 20, 60): "other",
            (153, 153, 153): "other", (190, 153, 153): "other", (102, 102, 156): "other", (0, 60, 100): "other",
        },
    ),  # Cityscapes
    "aerial_label": Painted(
        "aerial",
        {"other": (), "building": (BUILDING,), "green": (VEGETATION, GROUND)},
        {(70, 70, 70): "building", (106, 142, 34): "green", (128, 64, 127): "other"},
    ),
    "landcover": Painted(
        "aerial",
        {"other": (), "building": (BUILDING,), "tree": (VEGETATION,)},
        {(0, 0, 3): "tree", (120, 28, 109): "building", (237, 104, 37): "other", (252, 254, 164): "other"},
    ),
}  # fmt: skip


def parse_scales(texts: Iterable[str]) -> dict[str, float]:
    """`SET=METRES_PER_PIXEL` texts as a dictionary.

    Raises:
        XViewError: a text that is not of that form.
    """
    scales = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            scales[name] = float(value)
        except ValueError:
            raise XViewError(f"--scale {text} is not SET=METRES_PER_PIXEL: write, for example, london=0.5.") from None
    return scales


def real_pairs(
    folder: str | Path, metres_per_pixel: Mapping[str, float] | None = None
) -> list[tuple[GroundView, AerialView]]:
    """Pairs in `<folder>/<set>/{ground,aerial}`, paired by file name.

    A ground file named `lat,lon,heading.png` has that heading; any other is taken to look north.

    Args:
        folder: holds the sets.
        metres_per_pixel: set name → scale of its aerial pictures; a set that is not named counts as one tile each.
    """
    scales = dict(metres_per_pixel or {})
    unknown = set(scales) - {p.name for p in Path(folder).glob("*")}
    if unknown:
        raise XViewError(f"{folder} has no set named {sorted(unknown)[0]!r}: name its folders.")
    found = []
    for ground in sorted(Path(folder).glob("*/ground/*")):
        partners = [p for p in (ground.parent.parent / "aerial").glob("*") if p.stem == ground.stem]
        if not partners:
            continue
        parts = ground.stem.split(",")
        heading = float(parts[2]) if len(parts) == 3 else 0.0
        image, scale = AerialView.open(partners[0]).image, scales.get(ground.parent.parent.name)
        found.append((GroundView.open(ground, heading=heading), AerialView(image, scale, name=ground.stem)))
    if not found:
        raise XViewError(f"No pairs in {folder}: it needs <set>/ground and <set>/aerial with files of the same name.")
    return found


@torch.inference_mode()
def evaluate_real_pairs(
    folder: str | Path,
    model: Any = "azimuth-world",
    *,
    heading: str = "known",
    metres_per_pixel: Mapping[str, float] | None = None,
    rerank: Any = None,
    distractors: int = 0,
    world: Any = None,
) -> dict[str, Any]:
    """Retrieval among the real pairs of a folder (validation only), alone or among tiles of worlds.

    The tile is the middle 64 m of an aerial picture whose scale is given (see `real_pairs`), else all of it.

    Args:
        folder: holds the pairs.
        model: name, folder or repository, or the matcher itself.
        heading: "known" or "unknown".
        metres_per_pixel: set name → scale of its aerial pictures.
        rerank: a dense matcher or a verifier that judges the first 50 tiles anew.
        distractors: wrong tiles of validation worlds that stand in the gallery beside the real ones.
        world: stand-in for `World`.
    """
    matcher, name = model_of(model, "matching")
    pairs = real_pairs(folder, metres_per_pixel)
    wrong = _world_tiles(distractors, world)
    found = _described(matcher, pairs, wrong, heading)
    searched = search(matcher, found, heading)
    result = {"model": name, "seeds": None, "distractors": distractors}
    if rerank is not None:
        dense, result["rerank"] = model_of(rerank, "matching")
        searched = reranked(dense, searched, _described(dense, pairs, wrong, heading), heading)
    return result | recalled(searched, found)


def _world_tiles(count: int, world: Any) -> list[Tensor]:
    """`count` tiles (3, 256, 256) of validation worlds, as many of each as the protocol of the tests takes."""
    worlds = -(-count // Protocol().tiles)
    protocol = Protocol(VALIDATION, worlds, queries=1, tiles=-(-count // max(1, worlds)))
    return [tile for place in places(protocol, world=world) for tile in place.aerial][:count]


def _described(
    matcher: Any, pairs: list[tuple[GroundView, AerialView]], wrong: list[Tensor], heading: str
) -> Descriptors:
    encoder, known, none = composed(matcher), heading == "known", torch.empty(0)
    strips, masks = map(torch.stack, zip(*(view.strip(north=known) for view, _ in pairs), strict=True))
    tiles = torch.stack([*(aerial.tile() for _, aerial in pairs), *wrong])
    return Descriptors(
        encoder.encode_ground(strips, masks) if known else none,
        none if known else encoder.encode_turned(strips, masks),
        torch.cat([encoder.encode_aerial(part) for part in tiles.split(32)]),
        np.array([view.heading or 0.0 for view, _ in pairs]),
        np.eye(len(pairs), len(tiles), dtype=bool),
    )


@torch.inference_mode()
def evaluate_real_synthesis(
    folder: str | Path,
    methods: Methods = ("bird-eye", "xfork-world"),
    *,
    metres_per_pixel: Mapping[str, float] | None = None,
    sheet: str | Path | None = None,
) -> dict[str, Any]:
    """SSIM and PSNR of synthetic tiles against the middle 64 m of the real ones, and of the mean real tile.

    With `sheet`, a contact sheet of all pairs is written there.
    """
    pairs = real_pairs(folder, metres_per_pixel)
    truth = torch.stack([aerial.tile() for _, aerial in pairs])
    strips = torch.stack([view.strip(north=True)[0] for view, _ in pairs])
    nets = named(methods)
    drawn = {"mean-tile": truth.mean(0, keepdim=True).expand_as(truth)}
    drawn |= {name: draw(net, strips) for name, net in nets.items()}
    if sheet is not None:
        rows = [{"given": strips[k], **{name: tiles[k] for name, tiles in drawn.items()}} for k in range(len(pairs))]
        write_sheet(sheet, [row | {"truth": tile} for row, tile in zip(rows, truth, strict=True)])
    scores = {
        name: {"psnr": float(metrics.psnr(tiles, truth).mean()), "ssim": float(metrics.ssim(tiles, truth).mean())}
        for name, tiles in drawn.items()
    }
    return {"model": ",".join(nets), "seeds": None, "n": len(pairs), "methods": scores}


@torch.inference_mode()
def evaluate_real_segmentation(folder: str | Path, model: Any = "unet-ground-world") -> dict[str, Any]:
    """IoU of each class against the label pictures of a folder (`PAINTED`), which are pseudo-truth, beside chance."""
    net, name = model_of(model, "segmentation")
    found: dict[str, Any] = {}
    for kind, painted in PAINTED.items():
        files = sorted(Path(folder).glob(f"*/{kind}/*")) if net.view in (painted.view, "both") else []
        if not files:
            continue
        groups = list(painted.groups)
        matrix = np.zeros((len(groups), len(groups)), np.int64)
        for file in files:
            truth = _painted_groups(file, painted)
            predicted, seen = _predicted_groups(net, file, painted, truth.shape)
            matrix += metrics.confusion(predicted[seen], truth[seen], len(groups))
        found[kind] = {"n": len(files), **metrics.by_class(matrix, groups)}
    if not found:
        raise XViewError(f"No label pictures of {net.view} views in {folder}: it needs {', '.join(PAINTED)}.")
    return {"model": name, "seeds": None, "n": sum(kind["n"] for kind in found.values()), "labels": found}


def _painted_groups(file: Path, painted: Painted) -> np.ndarray:
    """(H, W) index of the group of each pixel of a label picture."""
    groups = list(painted.groups)
    table = np.array([groups.index(group) for group in painted.colours.values()])
    return table[nearest_colours(file, np.array(list(painted.colours)))]


def _predicted_groups(net: Any, file: Path, painted: Painted, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """(H, W) group that the model gives each pixel of the picture beside a label picture, and where it gives one."""
    beside = next(p for p in (file.parent.parent / painted.view).glob("*") if p.stem == file.stem)
    labels, seen = torch.zeros(shape), torch.zeros(shape, dtype=torch.bool)
    rows = slice(0, shape[0])
    if painted.view == "ground":
        view = GroundView.open(beside)
        image = view.strip(vfov=90)[0]
        middle = min(shape[0], round(90 / view.vfov * shape[0]))  # rows of the label picture that the strip covers
        rows = slice((shape[0] - middle) // 2, (shape[0] + middle) // 2)
    else:
        image = AerialView.open(beside).tile(None)
    drawn = net.predict(image[None], panorama=painted.view == "ground")[0][None].float()
    labels[rows] = F.interpolate(drawn, labels[rows].shape)[0, 0]
    seen[rows] = True
    table = np.zeros(len(CLASSES), np.int64)
    for number, classes in enumerate(painted.groups.values()):
        table[list(classes)] = number
    return table[labels.numpy().astype(np.uint8)], seen.numpy()
