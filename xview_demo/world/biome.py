"""Biomes: every one a distribution of town parameters, sampled once per world.

A `Biome` holds ranges (low, high) and weights; `Biome.sample` draws a `Character`, the concrete numbers of one world.
Lengths are metres, colours are albedo in [0, 1].
"""

from bisect import bisect_left
from dataclasses import dataclass, field, fields
from itertools import accumulate
from typing import Any

import numpy as np

Range = tuple[float, float]
Colour = tuple[float, float, float]
Weights = dict[str, float]


@dataclass(frozen=True)
class Style:
    """How the buildings of one neighbourhood look: colours, materials and proportions."""

    walls: tuple[Colour, ...]
    roofs: tuple[Colour, ...]
    roof_material: str
    textures: tuple[int, ...]  # see `materials.BUILDING`
    roof_types: tuple[int, ...] = (1, 2)  # 0 flat, 1 gable, 2 hip
    pitch: Range = (0.45, 0.8)  # rise over half width
    storey: Range = (2.7, 3.1)  # metres
    bay: Range = (2.2, 3.6)  # metres
    window: tuple[float, float, float] = (0.42, 0.48, 0.3)  # width / bay, height / storey, sill / storey
    trim: tuple[Colour, ...] = ((0.85, 0.85, 0.83), (0.3, 0.3, 0.3))


_WHITE = (0.86, 0.85, 0.82)
_CREAM = (0.83, 0.77, 0.64)
_SLATE = (0.27, 0.29, 0.32)
_TERRACOTTA = (0.62, 0.33, 0.21)
_BRICK = (0.48, 0.25, 0.19)

STYLES: dict[str, Style] = {
    "siding": Style(
        ((0.85, 0.85, 0.83), (0.72, 0.74, 0.75), (0.62, 0.68, 0.72), (0.78, 0.74, 0.6), (0.55, 0.6, 0.55), _BRICK),
        ((0.33, 0.31, 0.29), (0.42, 0.38, 0.34), (0.24, 0.24, 0.25), (0.45, 0.33, 0.26)),
        "roof_shingle", (2, 2, 1), pitch=(0.4, 0.75), storey=(2.6, 2.9),
    ),
    "brick_slate": Style(
        (_BRICK, (0.55, 0.32, 0.22), (0.42, 0.24, 0.2), (0.6, 0.47, 0.35)),
        (_SLATE, (0.33, 0.3, 0.3), (0.42, 0.26, 0.21)), "roof_tile", (1,), (1, 1, 2), (0.6, 0.95),
    ),
    "plaster_tile": Style(
        (_WHITE, _CREAM, (0.82, 0.72, 0.55), (0.75, 0.6, 0.48), (0.78, 0.79, 0.76)),
        (_TERRACOTTA, (0.52, 0.26, 0.18), (0.4, 0.26, 0.22), (0.3, 0.28, 0.28)),
        "roof_tile", (0,), (1, 1, 2), (0.6, 1.0),
    ),
    "mediterranean": Style(
        (_WHITE, _CREAM, (0.85, 0.68, 0.5), (0.8, 0.55, 0.42)),
        ((0.68, 0.42, 0.28), (0.6, 0.36, 0.24), (0.72, 0.5, 0.36)), "roof_tile", (0,), (2, 2, 1, 0), (0.3, 0.5),
        window=(0.34, 0.5, 0.28),
    ),
    "adobe": Style(
        ((0.72, 0.58, 0.43), (0.78, 0.66, 0.5), (0.8, 0.74, 0.63), (0.62, 0.46, 0.34)),
        ((0.78, 0.75, 0.7), (0.68, 0.6, 0.5), (0.84, 0.83, 0.8)), "roof_flat", (0,), (0, 0, 0, 2), (0.25, 0.4),
        window=(0.3, 0.38, 0.36),
    ),
    "stone": Style(
        ((0.55, 0.5, 0.43), (0.6, 0.56, 0.5), (0.48, 0.44, 0.4), _CREAM),
        (_SLATE, (0.4, 0.3, 0.24), (0.36, 0.34, 0.32)), "roof_tile", (6, 6, 0), (1, 1, 2), (0.7, 1.1),
        window=(0.34, 0.42, 0.34),
    ),
    "timber": Style(
        ((0.42, 0.29, 0.2), (0.5, 0.18, 0.13), (0.3, 0.22, 0.17), (0.78, 0.68, 0.42), _WHITE),
        ((0.25, 0.24, 0.24), (0.32, 0.2, 0.17), (0.38, 0.4, 0.42)), "roof_metal", (2,), (1,), (0.6, 1.0),
    ),
    "modern": Style(
        (_WHITE, (0.68, 0.68, 0.67), (0.4, 0.38, 0.36), (0.5, 0.38, 0.28)),
        ((0.5, 0.5, 0.5), (0.36, 0.36, 0.37), (0.66, 0.65, 0.62)), "roof_flat", (0, 2, 3), (0,), (0.2, 0.4),
        window=(0.6, 0.55, 0.2),
    ),
    "brownstone": Style(
        ((0.4, 0.25, 0.2), (0.5, 0.3, 0.22), (0.58, 0.42, 0.32), (0.66, 0.58, 0.47), (0.45, 0.42, 0.4)),
        ((0.72, 0.72, 0.7), (0.55, 0.55, 0.54), (0.4, 0.38, 0.37), (0.82, 0.82, 0.8), (0.3, 0.29, 0.29)),
        "roof_flat", (1, 1, 6), (0,), storey=(3.0, 3.5), bay=(2.0, 2.6), window=(0.46, 0.58, 0.24),
    ),
    "city_stone": Style(
        ((0.7, 0.66, 0.57), (0.62, 0.58, 0.52), (0.76, 0.72, 0.64), (0.5, 0.47, 0.44)),
        ((0.4, 0.41, 0.43), (0.3, 0.3, 0.32), (0.55, 0.53, 0.5)), "roof_flat", (6, 0), (0, 0, 2, 1), (0.5, 0.8),
        (3.2, 3.9), (2.6, 3.6), (0.44, 0.58, 0.22),
    ),
    "city_brick": Style(
        (_BRICK, (0.56, 0.36, 0.26), (0.6, 0.5, 0.4), (0.38, 0.24, 0.21), (0.66, 0.6, 0.5)),
        ((0.48, 0.47, 0.45), (0.32, 0.31, 0.31), (0.68, 0.67, 0.65)), "roof_flat", (1,), (0, 0, 0, 1), (0.5, 0.8),
        (3.0, 3.6), (2.4, 3.6), (0.5, 0.54, 0.26),
    ),
    "city_plaster": Style(
        (_CREAM, (0.8, 0.7, 0.52), (0.76, 0.62, 0.55), (0.7, 0.74, 0.66), (0.68, 0.7, 0.74)),
        ((0.5, 0.27, 0.2), (0.42, 0.26, 0.22), (0.36, 0.35, 0.36)), "roof_tile", (0,), (1, 1, 2), (0.5, 0.8),
        (3.0, 3.6), (2.4, 3.2), (0.42, 0.55, 0.25),
    ),
    "glass": Style(
        ((0.3, 0.38, 0.45), (0.22, 0.28, 0.32), (0.42, 0.5, 0.55), (0.3, 0.4, 0.38)),
        ((0.6, 0.6, 0.6), (0.4, 0.4, 0.42), (0.75, 0.75, 0.74)), "roof_flat", (4,), (0,), storey=(3.4, 4.0),
        bay=(1.5, 3.0), window=(0.9, 0.82, 0.1),
    ),
    "panel": Style(
        ((0.62, 0.6, 0.57), (0.7, 0.68, 0.62), (0.5, 0.49, 0.47), (0.72, 0.62, 0.5)),
        ((0.45, 0.44, 0.43), (0.33, 0.33, 0.33), (0.6, 0.6, 0.58)), "roof_flat", (3, 0), (0,), storey=(2.8, 3.2),
        bay=(2.6, 3.8), window=(0.58, 0.52, 0.28),
    ),
    "shed": Style(
        ((0.72, 0.73, 0.74), (0.5, 0.55, 0.6), (0.4, 0.45, 0.42), (0.78, 0.75, 0.68), (0.32, 0.4, 0.52)),
        ((0.74, 0.75, 0.76), (0.58, 0.6, 0.61), (0.84, 0.84, 0.82), (0.44, 0.5, 0.55), (0.5, 0.36, 0.32)),
        "roof_metal", (5, 5, 3), (0, 1, 1), (0.1, 0.2), (4.0, 6.0), (5.0, 9.0), (0.3, 0.2, 0.6),
    ),
    "barn": Style(
        ((0.42, 0.16, 0.13), (0.38, 0.3, 0.24), (0.55, 0.53, 0.5), (0.3, 0.36, 0.34)),
        ((0.5, 0.5, 0.5), (0.4, 0.27, 0.22), (0.62, 0.62, 0.6)), "roof_metal", (2, 5), (1,), (0.4, 0.7),
        (3.0, 4.5), (4.0, 7.0), (0.15, 0.2, 0.5),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Biome:
    """A distribution of places. Ranges are sampled uniformly, weights stay weights."""

    name: str
    networks: Weights  # grid, organic, radial, country, single
    uses: Weights  # land use of the blocks, see `blocks.FILLERS`
    houses: Weights  # styles of the small buildings
    city: Weights = field(default_factory=lambda: {"city_brick": 1.0, "panel": 0.5})  # styles of the large ones
    edge_uses: Weights | None = None  # land use beyond `core` metres from the centre, None: as inside
    core: Range = (900.0, 900.0)  # metres
    spacing: Range = (80.0, 120.0)  # metres between parallel streets
    aspect: Range = (1.2, 2.2)  # block length over width
    warp: Range = (0.0, 25.0)  # metres of bending of the street pattern
    drop: Range = (0.0, 0.12)  # share of streets left out
    main_share: Range = (0.15, 0.3)  # share of main streets
    main_width: Range = (10.0, 14.0)
    street_width: Range = (6.5, 9.0)
    lane_width: Range = (3.6, 5.2)
    pavement: Range = (2.0, 3.5)
    verge: Range = (0.0, 0.0)  # grass between kerb and pavement
    corner: Range = (4.0, 7.0)  # kerb radius
    marked: Range = (0.4, 1.0)  # share of streets with painted lines
    zebra: Range = (0.2, 0.7)  # share of approaches with a crossing
    line_scale: Range = (1.0, 1.8)  # painted lines, relative to 0.13 m
    roundabout: Range = (0.0, 0.2)  # share of main junctions
    storeys: Range = (1.0, 2.4)  # of houses
    levels: Range = (3.0, 6.0)  # of town blocks
    tower: Range = (30.0, 90.0)  # metres
    lot_width: Range = (15.0, 22.0)
    lot_depth: Range = (28.0, 38.0)
    setback: Range = (4.0, 9.0)
    street_trees: Range = (0.1, 0.6)  # probability of a tree per 10 m of kerb
    garden_trees: Range = (1.0, 3.5)  # mean number per lot
    tree_size: Range = (0.75, 1.5)  # scale
    conifers: Range = (0.05, 0.4)  # share
    palms: Range = (0.0, 0.0)  # share
    parked: Range = (0.15, 0.5)  # share of kerb places in use
    traffic: Range = (0.2, 1.2)  # moving cars per 100 m of main street
    lamps: Range = (25.0, 45.0)  # metres between street lamps
    hedges: Range = (0.1, 0.6)  # share of lot edges that are hedges, the others fences or walls
    open_lots: Range = (0.0, 0.4)  # share of lot edges without any
    pools: Range = (0.0, 0.1)
    relief: Range = (1.0, 8.0)  # metres, half the span of the terrain
    river: Range = (0.0, 0.0)  # width in metres, 0 none
    lake: Range = (0.0, 0.0)  # radius in metres
    sea: Range = (0.0, 0.0)  # 1: there is a sea
    rail: float = 0.0  # probability
    highway: float = 0.0  # probability
    ground: Weights = field(default_factory=lambda: {"lawn": 0.7, "meadow": 0.3})  # what lies between things
    yard: Weights = field(default_factory=lambda: {"lawn": 0.9, "meadow": 0.1})  # gardens
    asphalt: Weights = field(default_factory=lambda: {"asphalt": 0.6, "worn_asphalt": 0.4})

    def sample(self, rng: np.random.Generator) -> "Character":
        """Draw the numbers of one world from the ranges."""
        values: dict[str, object] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            is_range = isinstance(value, tuple) and len(value) == 2
            values[item.name] = float(rng.uniform(*value)) if is_range else value
        values["left"] = bool(rng.random() < 0.3)
        values["yellow"] = bool(rng.random() < 0.45)
        return Character(**values)


class Character:
    """The concrete numbers of one world: every range of a `Biome` as a float, plus `left` and `yellow`."""

    def __init__(self, **values: object) -> None:
        self.__dict__.update(values)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"A Character has no '{name}'; it has {', '.join(sorted(self.__dict__))}.")


def pick(rng: np.random.Generator, weights: Weights) -> str:
    """Draw one key of `weights` (need not sum to one)."""
    share = list(accumulate(weights.values()))
    return list(weights)[bisect_left(share, rng.random() * share[-1])]


_COUNTRY = {"field": 0.7, "wood": 0.2, "meadow": 0.1}

BIOMES: dict[str, Biome] = {
    biome.name: biome
    for biome in (
        Biome(
            "dense_city", {"grid": 0.5, "organic": 0.3, "radial": 0.2},
            {"perimeter": 0.55, "towers": 0.24, "park": 0.06, "square": 0.05, "carpark": 0.05, "slabs": 0.05},
            {"brownstone": 1.0, "city_brick": 1.0},
            {"city_stone": 1.0, "city_brick": 1.0, "city_plaster": 0.6, "glass": 0.5, "panel": 0.5},
            spacing=(66, 104), aspect=(1.0, 2.1), warp=(0, 22), drop=(0, 0.15), main_share=(0.25, 0.45),
            main_width=(12, 19), street_width=(7.5, 11), pavement=(2.8, 5), marked=(0.7, 1), zebra=(0.5, 1),
            levels=(4, 9), tower=(35, 120), street_trees=(0.05, 0.6), parked=(0.2, 0.7), traffic=(1, 4),
            relief=(0.5, 5), rail=0.2, highway=0.15, ground={"paving": 0.7, "concrete": 0.3},
        ),
        Biome(
            "row_house", {"grid": 0.8, "organic": 0.2},
            {"terrace": 0.88, "park": 0.04, "perimeter": 0.04, "carpark": 0.02, "school": 0.02},
            {"brownstone": 1.2, "brick_slate": 1.0, "city_plaster": 0.5, "siding": 0.4},
            spacing=(55, 80), aspect=(2.0, 3.6), warp=(0, 18), drop=(0, 0.12), street_width=(7.5, 10),
            storeys=(2, 3.6), lot_width=(5, 8), lot_depth=(9, 14), setback=(1, 4.5), street_trees=(0.25, 0.8),
            garden_trees=(0.3, 1.0), parked=(0.4, 0.85), traffic=(0.5, 2), relief=(0.5, 6), rail=0.2,
            zebra=(0.3, 0.9),
        ),
        Biome(
            "suburb", {"organic": 0.55, "grid": 0.45},
            {"detached": 0.9, "park": 0.04, "school": 0.03, "wood": 0.02, "carpark": 0.01},
            {"siding": 1.5, "brick_slate": 0.7, "plaster_tile": 0.7, "modern": 0.3, "mediterranean": 0.4},
            spacing=(72, 92), aspect=(1.6, 3.2), warp=(10, 45), drop=(0.05, 0.25), verge=(0, 2.2),
            pavement=(1.3, 2), marked=(0.15, 0.6), zebra=(0.05, 0.4), lot_width=(15, 24), lot_depth=(28, 38),
            setback=(5, 10), street_trees=(0.1, 0.6), garden_trees=(1.5, 4.5), pools=(0, 0.35), relief=(1, 10),
        ),
        Biome(
            "village", {"country": 1.0}, _COUNTRY,
            {"stone": 1.0, "plaster_tile": 1.0, "brick_slate": 0.7, "timber": 0.4},
            lot_width=(12, 22), lot_depth=(24, 44), setback=(1.5, 8), pavement=(0, 1.8), street_width=(5.5, 7.5),
            core=(200, 400), garden_trees=(1.5, 5), hedges=(0.3, 0.8), relief=(2, 16), parked=(0.05, 0.25),
            traffic=(0.1, 0.5), storeys=(1.4, 2.6), marked=(0.3, 0.9), ground={"meadow": 0.6, "lawn": 0.4},
            river=(-14, 12),
        ),
        Biome(
            "farmland", {"country": 0.9, "single": 0.1}, {"field": 0.9, "wood": 0.06, "meadow": 0.04},
            {"siding": 0.6, "stone": 0.5, "plaster_tile": 0.6, "timber": 0.4},
            lot_width=(35, 60), lot_depth=(45, 70), setback=(10, 25), pavement=(0, 0.001), street_width=(5, 7),
            core=(40, 110), highway=0.2, garden_trees=(3, 8), hedges=(0, 1), relief=(0.5, 14), parked=(0, 0.05),
            traffic=(0.05, 0.4), marked=(0.2, 0.9), ground={"meadow": 0.7, "dry_grass": 0.3}, lamps=(200, 400),
        ),
        Biome(
            "forest", {"country": 0.8, "single": 0.2}, {"wood": 0.88, "meadow": 0.08, "field": 0.04},
            {"timber": 1.0, "siding": 0.4, "stone": 0.3},
            lot_width=(30, 60), lot_depth=(35, 60), setback=(8, 20), pavement=(0, 0.001), street_width=(5.5, 8),
            core=(0, 140), highway=0.12, garden_trees=(4, 10), relief=(4, 26), parked=(0, 0.05), traffic=(0.05, 0.3),
            marked=(0.4, 1), conifers=(0.1, 1), lamps=(300, 600), ground={"meadow": 0.8, "soil": 0.2},
            lake=(-120, 110),
        ),
        Biome(
            "desert_town", {"grid": 0.7, "organic": 0.3},
            {"detached": 0.74, "waste": 0.12, "carpark": 0.04, "industrial": 0.05, "square": 0.05},
            {"adobe": 2.0, "mediterranean": 0.4, "modern": 0.4},
            spacing=(65, 95), warp=(0, 25), drop=(0.02, 0.3), marked=(0.1, 0.7), pavement=(0, 2), storeys=(1, 1.9),
            lot_width=(14, 24), lot_depth=(25, 34), street_trees=(0, 0.12), garden_trees=(0.2, 1.4), palms=(0.3, 0.9),
            hedges=(0, 0.05), pools=(0, 0.2), relief=(0.5, 8), ground={"sand": 0.6, "soil": 0.2, "gravel": 0.2},
            yard={"sand": 0.4, "gravel": 0.35, "soil": 0.15, "dry_grass": 0.1},
            asphalt={"worn_asphalt": 0.6, "asphalt": 0.2, "concrete": 0.2},
        ),
        Biome(
            "coast", {"grid": 0.5, "organic": 0.5},
            {"detached": 0.5, "perimeter": 0.16, "slabs": 0.12, "park": 0.06, "carpark": 0.06, "terrace": 0.1},
            {"mediterranean": 1.0, "siding": 0.7, "plaster_tile": 0.5, "modern": 0.5},
            {"city_plaster": 1.0, "panel": 1.0, "glass": 0.2}, spacing=(65, 95), warp=(5, 35), sea=(1, 1),
            palms=(0, 0.7), levels=(3, 8), tower=(18, 50), relief=(2, 14), pools=(0, 0.3),
            ground={"dry_grass": 0.4, "lawn": 0.3, "sand": 0.3},
        ),
        Biome(
            "river_lake", {"organic": 0.5, "grid": 0.3, "country": 0.2},
            {"detached": 0.48, "park": 0.12, "wood": 0.12, "terrace": 0.12, "perimeter": 0.08, "meadow": 0.08},
            {"plaster_tile": 1.0, "siding": 0.6, "timber": 0.3, "brick_slate": 0.7}, core=(250, 600),
            edge_uses=_COUNTRY, spacing=(75, 105), warp=(10, 35), river=(14, 42), lake=(-60, 110), relief=(1, 8),
        ),
        Biome(
            "industrial", {"grid": 0.8, "organic": 0.2},
            {"industrial": 0.6, "retail": 0.25, "carpark": 0.06, "waste": 0.06, "perimeter": 0.03},
            {"shed": 1.0}, {"shed": 1.0, "panel": 0.4, "glass": 0.15},
            spacing=(125, 210), aspect=(1.0, 1.8), warp=(0, 20), main_width=(11, 16), street_width=(8, 11),
            pavement=(0, 2.5), verge=(0, 2.5), corner=(7, 11), roundabout=(0.1, 0.6), street_trees=(0, 0.35),
            parked=(0, 0.2), traffic=(0.5, 2), relief=(0.3, 3), rail=0.6, highway=0.3,
            ground={"lawn": 0.5, "meadow": 0.2, "gravel": 0.3},
        ),
        Biome(
            "snow", {"organic": 0.4, "country": 0.4, "grid": 0.2},
            {"detached": 0.7, "wood": 0.22, "park": 0.05, "school": 0.03},
            {"timber": 1.0, "siding": 0.7, "plaster_tile": 0.5}, core=(220, 520),
            edge_uses={"wood": 0.6, "field": 0.25, "meadow": 0.15}, spacing=(75, 100), warp=(10, 40),
            conifers=(0.3, 0.95), garden_trees=(1.5, 5), relief=(2, 18), marked=(0.1, 0.6), pavement=(0, 2),
        ),
    )
}  # fmt: skip
