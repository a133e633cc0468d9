"""Façades: where a ray meets a building's wall, and what it sees there."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .appearance import light, sun_vector
from .materials import B
from .scene import Scene, look_up


@dataclass
class Rows:
    """The rows of N buildings, of which columns are looked up as they are asked for."""

    table: Tensor  # (columns, buildings + 1)
    building: Tensor  # (N,) their numbers

    def __getitem__(self, column: str) -> Tensor:
        """(N,) one column."""
        return look_up(self.table[B[column]], self.building)

    def colour(self, of: str) -> Tensor:
        """(3, N) of the "wall", the "trim" or the "roof"."""
        return look_up(self.table[B[f"{of}_r"] : B[f"{of}_b"] + 1], self.building)


@dataclass
class Walls:
    """Where N rays enter the rectangle of a building; all (N,)."""

    distance: Tensor  # metres along the ground
    u: Tensor  # metres from the rectangle's centre along its length
    v: Tensor
    end: Tensor  # bool, True on a face of constant u (a gable end)
    normal_east: Tensor
    normal_north: Tensor
    rows: Rows

    def at(self, chosen: Tensor) -> "Walls":
        """Those of some of the rays."""
        parts: dict[str, Any] = {name: look_up(part, chosen) for name, part in vars(self).items() if name != "rows"}
        return Walls(**parts, rows=Rows(self.rows.table, look_up(self.rows.building, chosen)))


def enter_walls(scene: Scene, instance: Tensor, east: Tensor, north: Tensor, sine: Tensor, cosine: Tensor) -> Walls:
    """Slab test of rays from (east, north) along azimuths (sine, cosine = its east and north parts)."""
    rows = Rows(scene.buildings, instance)
    c, s = rows["cos"], rows["sin"]
    de, dn = east - rows["east"], north - rows["north"]
    u0, v0 = de * c + dn * s, dn * c - de * s
    du, dv = sine * c + cosine * s, cosine * c - sine * s
    du = torch.where(du.abs() < 1e-6, torch.full_like(du, 1e-6), du)
    dv = torch.where(dv.abs() < 1e-6, torch.full_like(dv, 1e-6), dv)
    near_u = (-du.sign() * rows["half_length"] - u0) / du
    near_v = (-dv.sign() * rows["half_width"] - v0) / dv
    end = near_u > near_v
    distance = torch.maximum(near_u, near_v)
    nu = torch.where(end, -du.sign(), torch.zeros_like(du))
    nv = torch.where(end, torch.zeros_like(dv), -dv.sign())
    return Walls(distance, u0 + distance * du, v0 + distance * dv, end, nu * c - nv * s, nu * s + nv * c, rows)


def roof_edge(walls: Walls) -> Tensor:
    """Absolute height of the roof where the wall ends: the eave, or the gable's slope on an end face."""
    rows = walls.rows
    gable = walls.end & (rows["roof"] == 1)
    slope = (1 - walls.v.abs() / rows["half_width"]).clamp(0, 1) * rows["rise"]
    return rows["eave"] + torch.where(gable, slope, torch.zeros_like(slope))


def _hash(*values: Tensor) -> Tensor:
    """Pseudo-random number in 0–1 from cell indices and seeds."""
    total = torch.zeros_like(values[0])
    for value, factor in zip(values, (12.9898, 78.233, 37.719, 9.151), strict=False):
        total = total + value * factor
    return torch.frac(torch.sin(total) * 43758.5453).abs()


def _cover(distance: Tensor, half: Tensor, blur: Tensor) -> Tensor:
    """Share of a pixel (width `blur`) inside |distance| ≤ half: an analytic anti-aliased box."""
    return ((half - distance.abs()) / blur + 0.5).clamp(0, 1) * (2 * half / blur).clamp(max=1)


def shade_walls(scene: Scene, walls: Walls, height: Tensor, east: Tensor, north: Tensor, pixel: float) -> Tensor:
    """(3, N) lit colours of wall points at absolute `height`; `pixel` is the width in radians of a picture's pixel."""
    rows = walls.rows
    along = torch.where(walls.end, walls.v, walls.u)
    length = 2 * torch.where(walls.end, rows["half_width"], rows["half_length"])
    face = walls.end.float() + 2 * ((walls.normal_east + walls.normal_north) > 0).float()
    seed = rows["seed"] * 17 + face * 0.31
    above = height - rows["base"]
    wall_height = (rows["eave"] - rows["base"]).clamp(min=2.0)
    storeys = (wall_height / rows["storey"].clamp(min=2.2)).round().clamp(min=1)
    bays = (length / rows["bay"].clamp(min=1.0)).round().clamp(min=1)
    bay, storey = length / bays, wall_height / storeys
    column, level = (along / length + 0.5) * bays, above / storey
    cell, floor = column.floor(), level.floor()
    x, y = column - cell - 0.5, level - floor
    blur_y = (walls.distance * pixel / storey).clamp(0.01, 4)
    blur_x = (walls.distance * pixel / bay).clamp(0.01, 4)

    colour = _masonry(scene, rows, along, above, seed, walls.distance)
    trim = rows.colour("trim")
    below_eave = (height < rows["eave"] - 0.25).float()
    colour, openings = _openings(rows, colour, trim, x, y, cell, floor, blur_x, blur_y, bays, seed, below_eave)
    glass = rows["texture"] == 4
    band = ((height - rows["eave"] + 0.35).abs() < 0.25).float() * (1 - glass.float()) * 0.7
    colour = colour * (1 - band) + trim * band
    plinth = ((0.5 - above) / 0.2).clamp(0, 1) * (1 - openings)
    colour = colour * (1 - 0.25 * plinth)
    return _lit(scene, walls, colour, height, east, north)


def _masonry(scene: Scene, rows: Rows, along: Tensor, above: Tensor, seed: Tensor, distance: Tensor) -> Tensor:
    """Bare wall: stains at several scales, courses, boards or corrugation where they can be resolved."""
    stain = scene.texture(along * 1.5 + seed * 91, above * 2.5)
    grain = scene.texture(along * 14, above * 14) * (1 - distance / 30).clamp(0, 1)
    texture = rows["texture"]
    period = torch.where(texture == 1, 0.28, torch.where(texture == 2, 0.22, torch.where(texture == 5, 0.35, 1.4)))
    across = torch.where(texture == 5, along, above)
    near = (1 - distance / (60 * period)).clamp(0, 1)
    line = ((torch.frac(across / period + 100) - 0.06).clamp(-0.06, 0) / -0.06) * near
    strength = torch.where(texture == 0, 0.0, torch.where(texture == 5, 0.3, 0.2))
    brick = torch.where(texture == 1, 0.10, 0.04)
    tone = 1 + 0.035 * stain + brick * 0.6 * grain - strength * line
    return rows.colour("wall") * tone


def _openings(
    rows: Rows,
    colour: Tensor,
    trim: Tensor,
    x: Tensor,
    y: Tensor,
    cell: Tensor,
    floor: Tensor,
    blur_x: Tensor,
    blur_y: Tensor,
    bays: Tensor,
    seed: Tensor,
    below_eave: Tensor,
) -> tuple[Tensor, Tensor]:
    """Windows, doors, shop fronts and loading bays over the wall's `colour`; returns it and the openings' cover."""
    ground = floor < 0.5
    kind = rows["ground_floor"]
    shop, loading, blank = (ground & (kind == k) for k in (1, 2, 3))
    width = torch.where(shop, 0.86, torch.where(loading, 0.6, rows["window_width"]))
    tall = torch.where(shop, 0.62, torch.where(loading, 0.75, rows["window_height"]))
    sill = torch.where(shop, 0.12, torch.where(loading, 0.0, rows["sill"]))
    pick = _hash(cell, floor, seed * 40)
    missing = blank | ((pick < 0.06) & ~shop)
    present = below_eave * (~missing).float() * (floor > -0.5).float()
    inside = _cover(x, width / 2, blur_x) * _cover(y - sill - tall / 2, tall / 2, blur_y) * present
    margin = 0.05 + 0.04 * _hash(seed * 3 + 1)
    frame = _cover(x, width / 2 + margin, blur_x) * _cover(y - sill - tall / 2, tall / 2 + margin, blur_y) * present

    sky = (0.30 + 0.35 * (y - sill)).clamp(0.12, 0.65)
    bright = 0.55 * sky + 0.45 * pick * 0.55 + 0.05
    pane = torch.stack([bright * 0.78, bright * 0.88, bright])
    curtain = (_hash(cell + 3, floor, seed * 11) < 0.25) & (rows["texture"] != 4)
    pane = torch.where(curtain, 0.4 * pane + 0.38, pane)
    door = torch.where(loading, 0.55 + 0.15 * trim, pane)
    bars = _cover(x, torch.full_like(x, 0.012), blur_x) * 0.7 * (blur_x < 0.2).float() * (~loading).float()
    pane = door * (1 - bars) + trim * bars
    colour = colour * (1 - frame) + trim * frame
    colour = colour * (1 - inside) + pane * inside

    house_door = ground & (kind == 0) & (cell == (seed * 7 % 1 * bays).floor())
    leaf = _cover(x, torch.full_like(x, 0.17), blur_x) * _cover(y - 0.37, torch.full_like(y, 0.37), blur_y)
    leaf = leaf * house_door.float() * below_eave
    paint = torch.stack([_hash(seed), _hash(seed + 1), _hash(seed + 2)]) * 0.45 + 0.1
    colour = colour * (1 - leaf) + paint * leaf
    fascia = _cover(y - 0.87, torch.full_like(y, 0.08), blur_y) * shop.float()
    pair = cell // 2
    sign = torch.stack([_hash(seed, pair), _hash(seed + 5, pair), _hash(seed + 9, pair)]) * 0.75 + 0.1
    colour = colour * (1 - fascia) + sign * fascia
    return colour, torch.maximum(inside, leaf)


def _lit(scene: Scene, walls: Walls, colour: Tensor, height: Tensor, east: Tensor, north: Tensor) -> Tensor:
    """Sun on the wall, cast shadows, less sky near the ground."""
    moment = scene.moment
    x, y, z = sun_vector(moment)
    facing = (walls.normal_east * x + walls.normal_north * y).clamp(min=0) / max(z, 0.35)
    front = scene.index(
        east + walls.normal_east * 1.3 * scene.resolution, north + walls.normal_north * 1.3 * scene.resolution
    )
    shade = 1 - ((look_up(scene.ceiling, front) - height) / 0.8).clamp(0, 1)
    lit = (facing * shade).clamp(max=1.25)
    above = height - walls.rows["base"]
    ambient = 0.68 + 0.24 * (above / 14).clamp(0, 1)
    brightness = light(lit, ambient, moment)
    warm = 0.05 * moment.warmth + 0.05 * (1 - moment.overcast) * (lit - 0.5)
    tint = torch.stack([1 + warm, torch.ones_like(warm), 1 - warm])
    return (colour * brightness * tint).clamp(0, 1)
