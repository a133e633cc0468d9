"""What a matcher makes of the queries and tiles of worlds or of a data set: their descriptors, and what is right."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from xview_demo.composed import Composed, composed
from xview_demo.data.dataset import open_aerial, open_ground
from xview_demo.data.index import PairIndex
from xview_demo.errors import XViewError
from xview_demo.evaluation.protocol import Progress, Protocol, places
from xview_demo.geometry import columns_within, roll_columns
from xview_demo.geometry.geodesy import distance_m
from xview_demo.views import GroundView

STRIP, TILE = (64, 256), (96, 96)  # pixels of the small pictures
HEADINGS = ("known", "unknown")


@dataclass
class Descriptors:
    """Descriptors of a protocol or data set: of the queries both ways, and of the gallery."""

    north: Tensor  # (Q, D) queries turned to north; (0,) where that was not asked for
    own: Tensor  # (Q, D) queries as the camera stood; (Q, turns·D) of matchers that are given several headings; (0,)
    gallery: Tensor  # (N, D)
    headings: np.ndarray  # (Q,) degrees; NaN = unknown
    right: np.ndarray  # (Q, N) bool
    away: np.ndarray | None = None  # (Q, N) metres from camera to tile centre; inf: another world, NaN: unknown
    strips: Tensor | None = None  # (Q, 3, 64, 256) uint8, what the queries look like, when asked for
    tiles: Tensor | None = None  # (N, 3, 96, 96) uint8
    covers: np.ndarray | None = None  # (Q, N) bool, right or semi-positive; None where a data set names none

    @property
    def truth(self) -> np.ndarray:
        """(Q,) index of each query's own tile: the first right one."""
        return self.right.argmax(1)


def describe(
    matcher: Any, protocol: Protocol, progress: Progress | None = None, world: Any = None, *, fov: float = 360.0,
    pictures: bool = False, headings: Sequence[str] = HEADINGS,
) -> Descriptors:  # fmt: skip
    """Encode the queries and tiles of a protocol; a matcher (or `Composed`) that needs more of a query gets it made.

    Args:
        matcher: encodes.
        protocol: which worlds.
        progress: called with (worlds done, worlds in all).
        world: stand-in for `World`.
        fov: degrees around the centre column that a query shows.
        pictures: also keep small pictures of everything.
        headings: encode the queries for a "known" heading, for an "unknown" one, or for both.
    """
    return describe_each(matcher, protocol, (fov,), progress, world, pictures=pictures, headings=headings)[fov]


@torch.inference_mode()
def describe_each(
    matcher: Any, protocol: Protocol, fovs: Sequence[float], progress: Progress | None = None, world: Any = None, *,
    pictures: bool = False, headings: Sequence[str] = HEADINGS,
) -> dict[float, Descriptors]:  # fmt: skip
    """`describe` for several fields of view, the worlds rendered once."""
    encoder = _encoder(matcher)
    north: dict[float, list[Tensor]] = {fov: [] for fov in fovs}
    own: dict[float, list[Tensor]] = {fov: [] for fov in fovs}
    strips: dict[float, list[Tensor]] = {fov: [] for fov in fovs}
    gallery, angles, rights, aways, tiles = [], [], [], [], []
    for place in places(protocol, progress, world):
        heading, colour = place.ground.headings, place.ground.colour
        for fov in fovs:
            mask = seen(colour, fov)
            if "unknown" in headings:
                own[fov].append(encoder.encode_turned(colour * mask, mask))
            if "known" in headings:
                turned = roll_columns(colour * mask, -heading), roll_columns(mask, -heading)
                north[fov].append(encoder.encode_ground(*turned))
            if pictures:
                strips[fov].append(small(colour * mask, STRIP))
        gallery.append(torch.cat([encoder.encode_aerial(part) for part in place.aerial.split(32)]))
        angles.append(heading.numpy())
        rights.append(place.right)
        aways.append(place.away)
        if pictures:
            tiles.append(small(place.aerial, TILE))
    every, angle = torch.cat(gallery), np.concatenate(angles)
    right, away = _blocks(rights, False), _blocks(aways, np.inf)
    found = {}
    for fov in fovs:
        shown = (torch.cat(strips[fov]), torch.cat(tiles)) if pictures else (None, None)
        found[fov] = Descriptors(_joined(north[fov]), _joined(own[fov]), every, angle, right, away, *shown)
    return found


def describe_both(
    matcher: Any, protocol: Protocol, *, few: int, world: Any = None
) -> tuple[dict[float, Descriptors], dict[float, Descriptors]]:
    """A protocol's queries of known and of unknown heading, at each field of view that a matcher is calibrated for.

    Where every query of unknown heading takes a synthetic view for each heading that is tried, only `few` of them are
    described, against as many tiles.
    """
    encoder = _encoder(matcher)
    if encoder.turns == 1 or not encoder.needs:
        found = describe_each(matcher, protocol, matcher.fields, None, world)
        return found, found
    known = describe_each(matcher, protocol, matcher.fields, None, world, headings=("known",))
    fewer = protocol.scaled(min(few, protocol.worlds * protocol.queries), None)
    return known, describe_each(matcher, fewer, matcher.fields, None, world, headings=("unknown",))


def _encoder(matcher: Any) -> Composed:
    return matcher if isinstance(matcher, Composed) else composed(matcher)


def seen(strip: Tensor, fov: float) -> Tensor:
    """Mask (B, 1, H, W) of the columns within a field of view around the middle of strips (B, 3, H, W).

    Raises:
        XViewError: a field of view that is none.
    """
    if not 0 < fov <= 360:
        raise XViewError(f"A field of view of {fov:g}° is not possible: give more than 0 and at most 360.")
    return columns_within(strip.shape[-1], fov).expand(len(strip), 1, *strip.shape[-2:])


def small(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Pictures (B, 3, H, W) in [0, 1] at another size, as uint8."""
    return (F.interpolate(image, size, mode="area") * 255 + 0.5).clamp(0, 255).byte()


def _blocks(parts: list[np.ndarray], fill: Any) -> np.ndarray:
    """One block for each world on the diagonal, `fill` everywhere else."""
    rows, columns = (np.cumsum([0, *(part.shape[axis] for part in parts)]) for axis in (0, 1))
    whole = np.full((rows[-1], columns[-1]), fill, dtype=bool if fill is False else np.float32)
    for n, part in enumerate(parts):
        whole[rows[n] : rows[n + 1], columns[n] : columns[n + 1]] = part
    return whole


@torch.inference_mode()
def describe_index(
    matcher: Any, index: PairIndex, *, fov: float = 360.0, pictures: bool = False, headings: Sequence[str] = HEADINGS
) -> Descriptors:
    """`describe` for a data set; queries without a right tile are left out, as recall has no meaning for them.

    Raises:
        XViewError: no query has a right tile.
    """
    encoder = _encoder(matcher)
    chosen = np.flatnonzero(index.truth_mask().any(1))
    if not len(chosen):
        raise XViewError(f"No query of {index.name!r} has a right tile: check its lists.")
    north: list[Tensor] = []
    own: list[Tensor] = []
    angles, places_, strips = [], [], []
    for query in chosen:
        view = open_ground(index.ground[query])
        if "known" in headings:
            north.append(encoder.encode_ground(*_shown(view, fov, north=True)))
        if "unknown" in headings:
            own.append(encoder.encode_turned(*_shown(view, fov, north=False)))
        if pictures:
            strips.append(small(_shown(view, fov, north=False)[0], STRIP))
        angles.append(np.nan if view.heading is None else view.heading)
        places_.append(view.latlon or (np.nan, np.nan))
    gallery, centres, tiles = [], [], []
    for item in index.aerial:
        aerial = open_aerial(item)
        tile = aerial.tile()[None]
        gallery.append(encoder.encode_aerial(tile))
        centres.append(aerial.latlon or (np.nan, np.nan))
        if pictures:
            tiles.append(small(tile, TILE))
    away = np.stack([distance_m(np.array(centres), place) for place in places_]).astype(np.float32)
    return Descriptors(
        _joined(north), _joined(own), torch.cat(gallery), np.array(angles), index.truth_mask()[chosen], away,
        strips=torch.cat(strips) if pictures else None, tiles=torch.cat(tiles) if pictures else None,
        covers=index.cover_mask()[chosen] if index.semi_positives else None,
    )  # fmt: skip


def _shown(view: GroundView, fov: float, north: bool) -> tuple[Tensor, Tensor]:
    """What a query shows within a field of view, (1, 3, H, W), and where, turned to north if that can be."""
    turned = north and view.heading is not None
    image, mask = (x[None] for x in view.strip(north=turned))
    middle = seen(image, fov)
    if turned and view.heading is not None:
        middle = roll_columns(middle, -view.heading)
    return image * middle, mask * middle


def _joined(parts: list[Tensor]) -> Tensor:
    return torch.cat(parts) if parts else torch.empty(0)
