"""Where inside one tile a view was taken, and the refinement of a match by it.

`GeoLocalizer` gets `locate` and `refine` from here; the probability is that of the position model, the regions are
those of `geometry.density`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from xview_demo.classes import LANDCOVER
from xview_demo.errors import ModelError
from xview_demo.gallery import Gallery
from xview_demo.geometry import density, roll_columns
from xview_demo.geometry.geodesy import distance_m
from xview_demo.outputs import Localization, Match, Pose, Region, Segmentation
from xview_demo.views import AerialView, GroundView

HEADINGS = 24  # tried when the heading is unknown, evenly around
MASS = 0.9  # of the regions

Run = Callable[..., Any]


class _Parts(Protocol):
    """What the mixin needs of the class it is mixed into."""

    device: torch.device

    def _part(self, part: str, name: str | None = None) -> Any: ...

    def _run(self, function: Any, *arguments: Any, **keywords: Any) -> Any: ...

    def locate(self, view: GroundView, aerial: AerialView) -> Pose: ...


class Locating:
    """`locate` and `refine`, for a class that has the models."""

    def locate(
        self: _Parts, view: GroundView, aerial: AerialView, model: str | None = None, mass: float = MASS
    ) -> Pose:
        """Where inside one aerial picture a ground view was taken: heat map, position, regions, land cover.

        Args:
            view: with an unknown heading, 24 headings are tried and their probabilities compared.
            aerial: its middle, as wide as the model's tile (64 m), is searched; where the scale is unknown, the whole
                picture is taken to be that wide.
            model: a name of `list_models("position")`; the localizer's own when None.
            mass: probability that the regions hold together.
        """
        return locate(self._part("position", model), self._run, self.device, view, aerial, mass)

    def refine(self: _Parts, view: GroundView, gallery: Gallery, found: Localization, count: int = 1) -> Localization:
        """The matches of `localize`, the first `count` with the position inside their tile and its uncertainty.

        Raises:
            ModelError: the gallery holds no aerial tiles.
        """
        return refine(self.locate, view, gallery, found, count)


def locate(
    model: Any, run: Run, device: torch.device, view: GroundView, aerial: AerialView, mass: float = MASS
) -> Pose:
    """Where in an aerial picture a view was taken.

    Args:
        model: a position model.
        run: calls a function of the model in the localizer's precision.
        device: of the model.
        view: with an unknown heading, `HEADINGS` headings are tried and their probabilities compared.
        aerial: its middle, as wide as the model's tile; where its scale is unknown it is taken to be that wide.
        mass: probability that the regions hold together.
    """
    known = view.heading is not None
    strip, mask = view.strip(north=known)
    tile = aerial.tile(model.metres, model.size)
    turns = [0.0] if known else [n * 360.0 / HEADINGS for n in range(HEADINGS)]
    found = _read(model, run, device, strip, mask, tile, turns)
    joint = model.probability(found.density, dims=3).double().cpu().numpy()  # (headings, h, w)
    seen = _shown(aerial, model.metres, joint.shape[-1])
    joint = joint * seen / max(1e-300, float((joint * seen).sum()))
    by_heading = joint.sum((1, 2))
    heading = view.heading if known else _heading(by_heading, turns)
    sightline = found.sightlines[int(by_heading.argmax())]
    return _pose(density.normalised(joint.sum(0)), aerial, model.metres, heading, mass, sightline, found.landcover)


@dataclass
class _Read:
    density: Tensor  # (headings, h, w) logits
    sightlines: np.ndarray  # (headings, h, w) in [0, 1]
    landcover: np.ndarray  # (4, P, P) probabilities


def _read(
    model: Any, run: Run, device: torch.device, strip: Tensor, mask: Tensor, tile: Tensor, turns: list[float]
) -> _Read:
    """What the model says of a tile, heading n turned to north."""
    angles = -torch.tensor(turns)
    strips, masks = (roll_columns(x.expand(len(angles), -1, -1, -1), angles) for x in (strip, mask))
    found = run(model, strips.to(device), tile.to(device), (masks > 0.5).to(masks).to(device))
    return _Read(
        found.density.float(),
        found.sightline.float().sigmoid().cpu().numpy(),
        found.landcover[0].float().softmax(0).cpu().numpy(),
    )


def _shown(aerial: AerialView, metres: float, cells: int) -> np.ndarray:
    """(cells, cells) bool, which cells of the tile lie on the picture."""
    if aerial.metres_per_pixel is None:
        return np.ones((cells, cells), dtype=bool)
    middle = np.abs((np.arange(cells) + 0.5) / cells - 0.5) * metres
    height, width = (side * aerial.metres_per_pixel / 2 for side in aerial.image.shape[-2:])
    return (middle <= height)[:, None] & (middle <= width)


def _heading(weight: np.ndarray, turns: list[float]) -> float:
    """The heading of a probability over headings: the mean direction of the best one and its two neighbours."""
    best = int(weight.argmax())
    near = [best - 1, best, (best + 1) % len(turns)]
    angle = np.radians(np.array(turns)[near])
    return float(np.degrees(np.angle((weight[near] * np.exp(1j * angle)).sum())) % 360)


def _pose(
    probability: np.ndarray, aerial: AerialView, metres: float, heading: float | None, mass: float,
    sightline: np.ndarray, landcover: np.ndarray,
) -> Pose:  # fmt: skip
    cells = probability.shape[0]
    cell = metres / cells

    def place(pixel: tuple[float, float]) -> tuple[float, float]:
        return (pixel[0] - cells / 2) * cell, (cells / 2 - pixel[1]) * cell

    best = density.peak(probability)
    east, north = place(best)
    regions = tuple(Region(p.mass, p.share, place(p.pixel)) for p in density.parts(probability, mass))
    height, width = aerial.image.shape[-2:]
    scale = aerial.metres_per_pixel or metres / min(height, width)
    return Pose(
        heatmap=probability.astype(np.float32),
        east_north=(east, north),
        latlon=aerial.latlon_of(east, north),
        heading=heading,
        confidence=regions[0].mass,
        regions=regions,
        pixel=(width / 2 + east / scale, height / 2 - north / scale),
        cell_metres=cell,
        mass=mass,
        entropy=density.entropy_bits(probability),
        expected_error_m=density.expected_distance(probability, best) * cell,
        sightline=sightline,
        landcover=Segmentation(landcover.argmax(0).astype(np.uint8), landcover, LANDCOVER),
    )


def refine(
    locate_in: Callable[[GroundView, AerialView], Pose], view: GroundView, gallery: Gallery, found: Localization,
    count: int = 1,
) -> Localization:  # fmt: skip
    """The same matches, the first `count` of them with the position inside their tile.

    The combined uncertainty is the mean distance of the position to the truth if both probabilities are right: that of
    the tiles (for another tile, its centre) and that of the cells.

    Args:
        locate_in: the pose of a view in a tile.
        view: the query; where its heading is unknown, that of each match is taken.
        gallery: which was searched.
        found: what `localize` found in it.
        count: of the best matches that are refined.

    Raises:
        ModelError: the gallery holds no aerial tiles.
    """
    if gallery.kind != "aerial":
        raise ModelError(f"A gallery of {gallery.kind} pictures has no tiles to refine in: leave refine out.")
    refined = tuple(_refined(locate_in, view, gallery, found, match) for match in found.matches[:count])
    return replace(found, matches=refined + found.matches[count:])


def _refined(
    locate_in: Callable[[GroundView, AerialView], Pose], view: GroundView, gallery: Gallery, found: Localization,
    match: Match,
) -> Match:  # fmt: skip
    index = gallery.names.index(match.tile)
    turned = view if view.heading is not None or match.heading is None else replace(view, heading=match.heading)
    tile = gallery.tile(index)
    assert isinstance(tile, AerialView)
    pose = locate_in(turned, tile)
    if pose.latlon is None or pose.expected_error_m is None:
        return match
    chance = np.asarray(found.probability, dtype=np.float64)
    others = np.isfinite(gallery.latlons).all(1) & (np.arange(len(chance)) != index) & (chance > 0)
    elsewhere = 0.0
    if others.any():
        elsewhere = float((chance[others] * distance_m(gallery.latlons[others], pose.latlon)).sum())
    away = None if found.query_latlon is None else distance_m(pose.latlon, found.query_latlon)
    return replace(
        match,
        position=pose.latlon,
        position_error_m=away,
        uncertainty_m=float(chance[index]) * pose.expected_error_m + elsewhere,
    )
