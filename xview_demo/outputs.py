"""Results: frozen records with the unit in each field's comment, each ready for JSON with `.to_dict()`."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from xview_demo.classes import CLASSES, LANDCOVER, LANDCOVER_PALETTE, PALETTE, colourize

LatLon = tuple[float, float]


def _number(value: float | None, digits: int = 6) -> float | None:
    return None if value is None or not math.isfinite(value) else round(float(value), digits)


def _place(latlon: LatLon | None) -> list[float] | None:
    return None if latlon is None else [round(float(latlon[0]), 8), round(float(latlon[1]), 8)]


@dataclass(frozen=True)
class Segmentation:
    """One class per pixel of a view."""

    labels: np.ndarray  # (H, W) uint8, index into `classes`
    scores: np.ndarray | None = None  # (C, H, W) float32, probabilities that sum to 1 over C
    classes: tuple[str, ...] = CLASSES

    @cached_property
    def areas(self) -> dict[str, float]:
        """Share of the picture each class covers, 0–1, summing to 1; classes that do not occur are 0."""
        counts = np.bincount(self.labels.ravel(), minlength=len(self.classes))[: len(self.classes)]
        return {name: float(n) / self.labels.size for name, n in zip(self.classes, counts, strict=True)}

    @property
    def palette(self) -> np.ndarray:
        """(C, 3) uint8 colours of `classes`."""
        return LANDCOVER_PALETTE if self.classes == LANDCOVER else PALETTE[: len(self.classes)]

    def colours(self) -> np.ndarray:
        """The label map painted in its palette: uint8 (H, W, 3)."""
        return colourize(self.labels, self.palette)

    def overlay(self, image: Any, alpha: float = 0.5) -> np.ndarray:
        """Blend the painted labels over a picture of the same size.

        Args:
            image: a view, a float tensor (3, H, W) in [0, 1], or a uint8 array (H, W, 3).
            alpha: weight of the labels, 0–1.

        Returns:
            uint8 (H, W, 3).

        Raises:
            ValueError: the sizes differ.
        """
        picture = _picture(image)
        if picture.shape[:2] != self.labels.shape:
            raise ValueError(
                f"the picture is {picture.shape[:2]} but the labels are {self.labels.shape} (rows, columns): "
                "resize the picture to the labels first"
            )
        return (alpha * self.colours() + (1 - alpha) * picture + 0.5).astype(np.uint8)

    def to_dict(self) -> dict[str, Any]:
        """Size, classes and area shares."""
        areas = {name: _number(share) for name, share in self.areas.items()}
        return {"size": list(self.labels.shape), "classes": list(self.classes), "areas": areas}


@dataclass(frozen=True)
class Synthesis:
    """One view made from the other."""

    view: Any  # AerialView, north up where the ground view's heading is known, else heading up; or GroundView, north
    segmentation: Segmentation | None  # of the synthetic view
    method: str  # name in the zoo
    seen: np.ndarray | None = None  # (H, W) bool, an aerial view's pixels in the directions that the camera looked in

    @property
    def aerial(self) -> Any:
        """The synthetic AerialView; None when a GroundView was made."""
        return self.view if hasattr(self.view, "metres_per_pixel") else None

    @property
    def ground(self) -> Any:
        """The synthetic GroundView; None when an AerialView was made."""
        return None if hasattr(self.view, "metres_per_pixel") else self.view

    def to_dict(self) -> dict[str, Any]:
        """Method, kind of view, size, scale, share of it that the camera looked towards, the segmentation's summary."""
        image = self.view.image
        return {
            "method": self.method,
            "view": "ground" if self.aerial is None else "aerial",
            "size": [int(image.shape[-2]), int(image.shape[-1])],
            "metres_per_pixel": _number(getattr(self.view, "metres_per_pixel", None)),
            "latlon": _place(self.view.latlon),
            "seen": None if self.seen is None else _number(self.seen.mean(), 3),
            "segmentation": None if self.segmentation is None else self.segmentation.to_dict(),
        }


@dataclass(frozen=True)
class Depth:
    """Distance from the camera along each pixel's ray."""

    metres: np.ndarray  # (H, W) float32, metres along the ray; inf = sky

    def to_dict(self) -> dict[str, Any]:
        """Size, and minimum, median and maximum of the finite distances in metres."""
        finite = self.metres[np.isfinite(self.metres)]
        low, middle, high = np.quantile(finite, [0, 0.5, 1]) if finite.size else (math.nan,) * 3
        return {
            "size": list(self.metres.shape),
            "metres": {"min": _number(low, 3), "median": _number(middle, 3), "max": _number(high, 3)},
        }


Corners = tuple[tuple[float, float], ...]  # four, from the top left clockwise; x right and y down in [−1, 1]


@dataclass(frozen=True)
class Warp:
    """What two photographs share, as GeoWarp sees it."""

    similarity: float  # mean cosine of their 225 cells after warping both to the shared region
    agreeing: int  # cells of 225 that find each other there: the evidence
    query_corners: Corners  # of the shared region on the query
    tile_corners: Corners  # on the match

    def to_dict(self) -> dict[str, Any]:
        """Every field."""
        corners = {k: [[_number(x, 4), _number(y, 4)] for x, y in getattr(self, k)] for k in _CORNERS}
        return {"similarity": _number(self.similarity), "agreeing_cells": self.agreeing, **corners}


_CORNERS = ("query_corners", "tile_corners")


@dataclass(frozen=True)
class Overlay:
    """How the query lies on a tile."""

    correlation: float  # in [-1, 1]; of a verifier the sum of its evidence
    east_north: tuple[float, float]  # metres of the camera from the tile's centre
    camera_height: float  # metres above the ground, of those that were tried

    def to_dict(self) -> dict[str, Any]:
        """Every field."""
        place = [_number(metres, 2) for metres in self.east_north]
        return {
            "correlation": _number(self.correlation),
            "east_north": place,
            "camera_height": _number(self.camera_height, 2),
        }


@dataclass(frozen=True)
class Match:
    """One tile or photograph of a gallery, as an answer to a query."""

    rank: int  # 1 = best
    score: float  # higher is better; cosine in [-1, 1], of re-ranked tiles the last one's plus the lead over it
    tile: str  # the tile's name in its gallery
    latlon: LatLon | None  # degrees WGS84, the tile's centre
    distance_m: float | None = None  # metres from the query's known place to the tile's centre
    heading: float | None = None  # degrees clockwise from north, the query's heading if this tile is right
    position: LatLon | None = None  # degrees WGS84, where in the tile the query was taken; None = not refined
    position_error_m: float | None = None  # metres from the query's known place to that position
    uncertainty_m: float | None = None  # metres, mean error of that position over tiles and cells
    warp: Warp | None = None  # what re-ranking found in a photograph; None = not re-ranked
    overlay: Overlay | None = None  # what re-ranking found in a tile; None = not re-ranked

    def to_dict(self) -> dict[str, Any]:
        """Every field; `warp` or `overlay` only when it was re-ranked, the position only when it was refined."""
        evidence = {"warp": self.warp, "overlay": self.overlay}
        again = {name: found.to_dict() for name, found in evidence.items() if found is not None}
        return {
            "rank": int(self.rank),
            "score": _number(self.score),
            "tile": self.tile,
            "latlon": _place(self.latlon),
            "distance_m": _number(self.distance_m, 3),
            "heading": _number(self.heading, 3),
            **again,
            **self._refinement(),
        }

    def _refinement(self) -> dict[str, Any]:
        if self.position is None:
            return {}
        metres = {name: _number(getattr(self, name), 3) for name in ("position_error_m", "uncertainty_m")}
        return {"position": _place(self.position), **metres}


@dataclass(frozen=True)
class Localization:
    """Where a ground view was taken, among the tiles of a gallery."""

    matches: tuple[Match, ...]  # best first
    heading: float | None  # degrees clockwise from north, of the best match
    confidence: float  # 0–1, the probability of the best match
    probability: np.ndarray  # (N,) float32 over all tiles of the gallery, sums to 1; 0 outside the region
    query_latlon: LatLon | None = None  # degrees WGS84, where the query says it was taken

    def to_dict(self) -> dict[str, Any]:
        """Matches, heading and confidence (the full probability vector stays in the object)."""
        return {
            "matches": [match.to_dict() for match in self.matches],
            "heading": _number(self.heading, 3),
            "confidence": _number(self.confidence),
            "query_latlon": _place(self.query_latlon),
        }

    def to_geojson(self) -> dict[str, Any]:
        """A FeatureCollection of the matches that have a place (points, longitude first, as GeoJSON asks)."""
        features = []
        for match in self.matches:
            if match.latlon is not None:
                properties = {k: v for k, v in match.to_dict().items() if k != "latlon"}
                features.append(_point(match.latlon, {"kind": "match", **properties}))
        if self.query_latlon is not None:
            features.append(_point(self.query_latlon, {"kind": "query"}))
        return {
            "type": "FeatureCollection",
            "features": features,
            "properties": {"heading": _number(self.heading, 3), "confidence": _number(self.confidence)},
        }


@dataclass(frozen=True)
class Region:
    """A connected set of cells of a position heat map."""

    mass: float  # probability inside, 0–1
    share: float  # of the tile's area, 0–1
    east_north: tuple[float, float]  # metres from the tile's centre, probability-weighted middle

    def to_dict(self) -> dict[str, Any]:
        """Every field."""
        middle = [_number(self.east_north[0], 3), _number(self.east_north[1], 3)]
        return {"mass": _number(self.mass), "share": _number(self.share), "east_north": middle}


@dataclass(frozen=True)
class Pose:
    """Where inside one aerial tile a ground view was taken."""

    heatmap: np.ndarray  # (H, W) float32, probability of each cell, sums to 1, north up
    east_north: tuple[float, float]  # metres from the tile's centre, most probable cell
    latlon: LatLon | None  # degrees WGS84 of that cell
    heading: float | None  # degrees clockwise from north
    confidence: float  # 0–1, the mass of the best region
    regions: tuple[Region, ...] = ()  # smallest set holding the asked mass, split into connected parts, best first
    pixel: tuple[float, float] | None = None  # (column, row) of that cell in the aerial picture given
    cell_metres: float | None = None  # ground size of a cell
    mass: float = 0.9  # probability that the regions hold together
    entropy: float | None = None  # bits, of the heat map
    expected_error_m: float | None = None  # metres, mean distance to the truth if the heat map is right
    sightline: np.ndarray | None = None  # (H, W) in [0, 1], what the camera is thought to see, near it more
    landcover: Segmentation | None = None  # of the tile the heat map covers

    def to_dict(self) -> dict[str, Any]:
        """Every field but the maps, of which the size, and of the land cover the area shares, are told."""
        return {
            "size": list(self.heatmap.shape),
            "east_north": [_number(self.east_north[0], 3), _number(self.east_north[1], 3)],
            "latlon": _place(self.latlon),
            "heading": _number(self.heading, 3),
            "confidence": _number(self.confidence),
            "regions": [region.to_dict() for region in self.regions],
            "pixel": None if self.pixel is None else [_number(value, 2) for value in self.pixel],
            "cell_metres": _number(self.cell_metres),
            "mass": _number(self.mass),
            "entropy_bits": _number(self.entropy, 3),
            "expected_error_m": _number(self.expected_error_m, 3),
            "landcover": None if self.landcover is None else self.landcover.to_dict(),
        }


def _point(latlon: LatLon, properties: dict[str, Any]) -> dict[str, Any]:
    place = [round(float(latlon[1]), 8), round(float(latlon[0]), 8)]
    return {"type": "Feature", "geometry": {"type": "Point", "coordinates": place}, "properties": properties}


def _picture(image: Any) -> np.ndarray:
    """A view, tensor (3, H, W) in [0, 1] or array as uint8 (H, W, 3)."""
    image = getattr(image, "image", image)
    if hasattr(image, "detach"):
        array = image.detach().cpu().numpy().transpose(1, 2, 0)
        return (array.clip(0, 1) * 255 + 0.5).astype(np.uint8)
    return np.asarray(image)
