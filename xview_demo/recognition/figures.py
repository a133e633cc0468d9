"""Pictures of place recognition: self-supervised pairs in the paper's colours, a match with what both show."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from xview_demo import viz
from xview_demo.gallery import Gallery
from xview_demo.models.reranking.geowarp import RECTANGLE, warp
from xview_demo.models.reranking.pairs import WarpedPairs, warped_pairs
from xview_demo.outputs import Localization, Match
from xview_demo.views import GroundView

ORANGE, PURPLE, GREEN = (255, 174, 133), (154, 179, 255), (0, 255, 0)  # t_x, t_y, t_z in the paper's figures
PAIR_NAMES = ("ss_img_source", "ss_proj_a", "ss_proj_b", "ss_proj_intersection")


def outlined(picture: Any, corners: Any = RECTANGLE, colour: tuple[int, int, int] = GREEN) -> np.ndarray:
    """Draw a quadrilateral on a picture; its border by default.

    Args:
        picture: anything `viz.to_array` takes.
        corners: (4, 2), x right and y down in [−1, 1].
        colour: RGB.
    """
    canvas = Image.fromarray(viz.to_array(picture))
    width, height = canvas.size
    line = max(2, round(max(width, height) / 100))
    points = [((float(x) + 1) / 2 * (width - 1), (float(y) + 1) / 2 * (height - 1)) for x, y in corners]
    ImageDraw.Draw(canvas).line([*points, points[0], points[1]], fill=colour, width=line, joint="curve")
    return np.asarray(canvas)


def pair_pictures(image: Tensor, k: float, seed: int = 0) -> tuple[dict[str, np.ndarray], WarpedPairs]:
    """The four pictures of a self-supervised pair made of a photograph (3, H, W), by name, and the pair itself.

    The source with t_x (orange), t_y (purple) and their intersection t_z (green); both projections with that
    intersection and a border in their colour; the intersection.
    """
    pair = warped_pairs(image[None], k, torch.Generator().manual_seed(seed))
    t_x, t_y, t_z, t_a, t_b = (t[0].tolist() for t in (pair.t_x, pair.t_y, pair.t_z, pair.t_a, pair.t_b))
    source = outlined(outlined(outlined(image, t_x, ORANGE), t_y, PURPLE), t_z)
    projections = [
        outlined(outlined(shown[0], corners), colour=colour)
        for shown, corners, colour in ((pair.a, t_a, ORANGE), (pair.b, t_b, PURPLE))
    ]
    shared = outlined(warp(pair.a, pair.t_a)[0])
    return dict(zip(PAIR_NAMES, (source, *projections, shared), strict=True)), pair


def match_figure(query: GroundView, found: GroundView, match: Match, height: int = 240) -> np.ndarray:
    """Query | candidate | both warped to the region they share, with the quadrilaterals.

    Args:
        query: the photograph that was localized.
        found: the gallery's photograph of the match.
        match: with its `warp`; without one the two photographs are shown as they are.
        height: pixels of each picture.
    """
    photographs = [_sized(view, height) for view in (query, found)]
    about = viz.match_caption(match)
    if match.warp is None:
        return viz.beside([viz.captioned(p, t) for p, t in zip(photographs, ("query", about), strict=True)], gap=8)
    corners = (match.warp.query_corners, match.warp.tile_corners)
    told = f"{match.warp.agreeing} of 225 cells agree\nsimilarity {match.warp.similarity:.3f}"
    shown = [outlined(p, c) for p, c in zip(photographs, corners, strict=True)]
    shown += [outlined(_warped(p, c)) for p, c in zip(photographs, corners, strict=True)]
    texts = ("query", about, "what both show: query", told)
    return viz.beside([viz.captioned(p, t) for p, t in zip(shown, texts, strict=True)], gap=8)


def reranking_figure(view: GroundView, gallery: Gallery, result: Localization, rows: int = 5) -> np.ndarray:
    """`match_figure` of the best matches, one below the other."""
    names = {name: row for row, name in enumerate(gallery.names)}
    figures = [match_figure(view, gallery.tile(names[m.tile]), m) for m in result.matches[:rows]]  # type: ignore[arg-type]
    return viz.stack(figures, gap=10)


def ranked_pictures(
    gallery: Gallery, matches: Sequence[Match], width: int = 320, radius: float = 25.0
) -> list[tuple[np.ndarray, str]]:
    """Pictures and captions of matches for a page; those within `radius` metres of the query are framed in green."""
    names = {name: row for row, name in enumerate(gallery.names)}
    shown = []
    for match in matches:
        picture = viz.to_array(gallery.tile(names[match.tile]))
        picture = viz.resize(picture, max(1, round(picture.shape[0] * width / picture.shape[1])), width)
        text = viz.match_caption(match).replace("\n", " · ")
        if match.warp is not None:
            text = f"{text} · {match.warp.agreeing} cells agree"
        if match.distance_m is not None and match.distance_m <= radius:
            picture, text = viz.boxed(picture, viz.TRUTH, 6), f"✓ {text}"
        shown.append((picture, text))
    return shown


def _sized(view: GroundView, height: int) -> np.ndarray:
    picture = viz.to_array(view)
    return viz.resize(picture, height, max(1, round(picture.shape[1] * height / picture.shape[0])))


def _warped(picture: np.ndarray, corners: Any) -> np.ndarray:
    image = torch.from_numpy(picture.copy()).permute(2, 0, 1).float().div(255)
    return viz.to_array(warp(image[None], torch.tensor(corners)[None])[0])
