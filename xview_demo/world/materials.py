"""What the surface of a world is made of: material ids, their classes, and the columns of the building table."""

from typing import NamedTuple


class Material(NamedTuple):
    """One surface material: the class it is labelled with (`xview_demo.classes`) and its texture's strength."""

    name: str
    label: int  # 0 background, 1 building, 2 sky, 3 vegetation, 4 road, 5 ground, 6 water, 7 sand
    grain: float  # relative amplitude of the fine texture, 0–1


MATERIALS: tuple[Material, ...] = (
    Material("none", 0, 0.0),
    Material("asphalt", 4, 0.06),
    Material("worn_asphalt", 4, 0.10),
    Material("concrete", 4, 0.05),
    Material("paving", 4, 0.08),
    Material("dirt_track", 5, 0.12),
    Material("gravel", 5, 0.14),
    Material("lawn", 5, 0.10),
    Material("meadow", 5, 0.20),
    Material("dry_grass", 5, 0.20),
    Material("soil", 5, 0.16),
    Material("crop_green", 5, 0.12),
    Material("crop_yellow", 5, 0.12),
    Material("crop_young", 5, 0.12),
    Material("stubble", 5, 0.14),
    Material("ploughed", 5, 0.14),
    Material("sand", 7, 0.08),
    Material("river", 6, 0.05),
    Material("sea", 6, 0.06),
    Material("pool", 6, 0.03),
    Material("roof_tile", 1, 0.12),
    Material("roof_metal", 1, 0.05),
    Material("roof_flat", 1, 0.08),
    Material("roof_shingle", 1, 0.14),
    Material("roof_equipment", 1, 0.10),
    Material("hedge", 3, 0.30),
    Material("broadleaf", 3, 0.35),
    Material("conifer", 3, 0.35),
    Material("palm", 3, 0.35),
    Material("shrub", 3, 0.30),
    Material("trunk", 3, 0.15),
    Material("fence", 0, 0.10),
    Material("wall", 0, 0.10),
    Material("pole", 0, 0.02),
    Material("sign", 0, 0.02),
    Material("car", 0, 0.02),
    Material("rail", 0, 0.20),
    Material("rock", 5, 0.20),
)
MATERIAL_ID: dict[str, int] = {material.name: index for index, material in enumerate(MATERIALS)}

# One row of `Plan.buildings` is a rectangle with vertical walls and one roof; an L- or U-shaped block is several rows.
# Local frame: u along (cos, sin) in (east, north), v along (−sin, cos); |u| ≤ half_length, |v| ≤ half_width.
# Roof over the eave: flat 0; gable rise·(1 − |v|/half_width);
# hip rise·min(1 − |v|/half_width, (half_length − |u|)/half_width).
BUILDING: tuple[str, ...] = (
    "east", "north", "cos", "sin", "half_length", "half_width",  # metres, unit vector, metres
    "base", "eave", "rise",  # absolute metres, absolute metres, metres above the eave at the ridge
    "roof",  # 0 flat, 1 gable (ridge along u), 2 hip
    "storey", "bay",  # metres between floors, metres between window axes
    "window_width", "window_height", "sill",  # fractions of the bay, of the storey, of the storey
    "ground_floor",  # 0 as the other storeys, 1 shop front, 2 garage doors / loading bays, 3 arcade or blank
    "wall_r", "wall_g", "wall_b", "trim_r", "trim_g", "trim_b", "roof_r", "roof_g", "roof_b",  # albedo, 0–1
    "texture",  # 0 plaster, 1 brick, 2 boards/siding, 3 panels, 4 glass curtain, 5 corrugated metal, 6 stone
    "seed",  # 0–1, whatever else varies from one building to the next
)  # fmt: skip
B: dict[str, int] = {name: index for index, name in enumerate(BUILDING)}
