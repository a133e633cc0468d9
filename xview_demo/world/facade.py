"""Façades: where a ray meets a building's wall, and what it sees there."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .appearance import light, sun_vector
from .materials import B
from .scene import Scene, look_up, places, put


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
        total += value * factor
    return total.sin_().mul_(43758.5453).frac_().abs_()


def _cover(distance: Tensor, half: Tensor | float, sharp: Tensor) -> Tensor:
    """Share of a pixel (`sharp` of them a unit) inside |distance| ≤ half: an analytic anti-aliased box."""
    return (half - distance.abs()).mul_(sharp).add_(0.5).clamp_(0, 1).mul_((sharp * (2 * half)).clamp_(max=1))


def shade_walls(scene: Scene, walls: Walls, height: Tensor, east: Tensor, north: Tensor, pixel: float) -> Tensor:
    """(3, N) lit colours of wall points at absolute `height`; `pixel` is the width in radians of a picture's pixel."""
    rows = walls.rows
    along = torch.where(walls.end, walls.v, walls.u)
    length = 2 * torch.where(walls.end, rows["half_width"], rows["half_length"])
    face = walls.end.float() + 2 * ((walls.normal_east + walls.normal_north) > 0).float()
    seed = rows["seed"] * 17 + face * 0.31
    above = height - rows["base"]
    wall_height = (rows["eave"] - rows["base"]).clamp(min=2.0)
    storeys = (wall_height / rows["storey"].clamp(min=2.2)).round_().clamp_(min=1)
    bays = (length / rows["bay"].clamp(min=1.0)).round_().clamp_(min=1)
    bay, storey = length / bays, wall_height / storeys
    column, level = (along / length + 0.5) * bays, above / storey
    cell, floor = column.floor(), level.floor()
    across = walls.distance * pixel
    spot = _Spot(
        column - cell - 0.5, level - floor, cell, floor,
        1 / (across / bay).clamp_(0.01, 4), 1 / (across / storey).clamp_(0.01, 4),
        bays, seed, (height < rows["eave"] - 0.25).float(),
    )  # fmt: skip

    colour = _masonry(scene, rows, along, above, seed, walls.distance)
    trim = rows.colour("trim")
    openings = _openings(rows, colour, trim, spot)
    band = ((height - rows["eave"] + 0.35).abs() < 0.25).float().mul_(rows["texture"] != 4).mul_(0.7)
    plinth = ((0.5 - above) / 0.2).clamp_(0, 1).mul_(1 - openings)
    colour.lerp_(trim, band).mul_(1 - 0.25 * plinth)
    return _lit(scene, walls, colour, height, east, north)


def _masonry(scene: Scene, rows: Rows, along: Tensor, above: Tensor, seed: Tensor, distance: Tensor) -> Tensor:
    """Bare wall: stains at several scales, courses, boards or corrugation where they can be resolved."""
    stain = scene.texture(along * 1.5 + seed * 91, above * 2.5)
    grain = scene.texture(along * 14, above * 14).mul_((1 - distance / 30).clamp_(0, 1))
    period, strength, brick = look_up(_courses(rows.table[B["texture"]]), rows.building)
    across = torch.where(rows["texture"] == 5, along, above)
    near = (1 - distance / (60 * period)).clamp_(0, 1)
    line = ((across / period + 100).frac_() - 0.06).clamp_(-0.06, 0).mul_(near)
    tone = (brick * grain).add_(stain, alpha=0.035).addcmul_(strength, line, value=1 / 0.06).add_(1)
    return rows.colour("wall") * tone


def _courses(texture: Tensor) -> Tensor:
    """(3, buildings + 1) by the walls' texture: metres from line to line, how dark the lines, how strong the grain."""
    brick, board = texture == 1, texture == 5
    period = torch.where(brick, 0.28, torch.where(texture == 2, 0.22, torch.where(board, 0.35, 1.4)))
    strength = torch.where(texture == 0, 0.0, torch.where(board, 0.3, 0.2))
    return torch.stack([period, strength, torch.where(brick, 0.06, 0.024)])


@dataclass
class _Spot:
    """Where N wall points are in the grid of bays and storeys; all (N,)."""

    x: Tensor  # −0.5 … 0.5 across the bay
    y: Tensor  # 0 … 1 up the storey
    cell: Tensor  # number of the bay
    floor: Tensor
    sharp_x: Tensor  # pixels a bay
    sharp_y: Tensor  # pixels a storey
    bays: Tensor
    seed: Tensor
    below_eave: Tensor  # 0 or 1

    def at(self, chosen: Tensor) -> "_Spot":
        """Some of the points."""
        return _Spot(*look_up(torch.stack(list(vars(self).values())), chosen))


def _openings(rows: Rows, colour: Tensor, trim: Tensor, spot: _Spot) -> Tensor:
    """Windows, doors, shop fronts and loading bays over the wall's `colour`, in place; returns their cover (N,)."""
    x, y, seed = spot.x, spot.y, spot.seed
    ground = spot.floor < 0.5
    kind = rows["ground_floor"].mul_(ground)
    shop, loading = kind == 1, kind == 2
    half_width, half_height, sill = look_up(_sizes(rows.table), rows.building + ground * rows.table.shape[1])
    pick = _hash(spot.cell, spot.floor, seed * 40)
    present = (((pick >= 0.06) | shop) & (kind != 3) & (spot.floor > -0.5)).float().mul_(spot.below_eave)
    up = y - sill - half_height
    inside = _cover(x, half_width, spot.sharp_x) * _cover(up, half_height, spot.sharp_y) * present
    margin = 0.05 + 0.04 * _hash(seed * 3 + 1)
    frame = _cover(x, half_width + margin, spot.sharp_x) * _cover(up, half_height + margin, spot.sharp_y) * present

    bright = (0.30 + 0.35 * (y - sill)).clamp_(0.12, 0.65).mul_(0.55).add_(pick, alpha=0.45 * 0.55).add_(0.05)
    curtain = ((_hash(spot.cell + 3, spot.floor, seed * 11) < 0.25) & (rows["texture"] != 4)).float()
    bright = bright * torch.tensor([0.78, 0.88, 1.0], device=x.device)[:, None]
    pane = bright.mul_(1 - 0.6 * curtain).add_(0.38 * curtain)
    pane = torch.where(loading, 0.55 + 0.15 * trim, pane)
    bars = _cover(x, 0.012, spot.sharp_x) * ((spot.sharp_x > 5) & ~loading).float().mul_(0.7)
    colour.lerp_(trim, frame).lerp_(pane.lerp_(trim, bars), inside)

    doors = places(ground & (kind == 0) & (spot.cell == (seed * 7 % 1 * spot.bays).floor_()))
    leaf = _door(colour, spot.at(doors), doors)
    put(inside, doors, torch.maximum(look_up(inside, doors), leaf))
    shops = places(shop)
    _sign(colour, spot.at(shops), shops)
    return inside


def _sizes(table: Tensor) -> Tensor:
    """(3, 2·(buildings + 1)) half width, half height and sill of openings: of upper floors, then of ground floors."""
    kind = table[B["ground_floor"]]
    shop, loading = kind == 1, kind == 2
    columns = []
    for name, of_shop, of_loading, scale in (
        ("window_width", 0.86, 0.6, 0.5), ("window_height", 0.62, 0.75, 0.5), ("sill", 0.12, 0.0, 1.0),
    ):  # fmt: skip
        above = table[B[name]]
        columns.append(torch.cat([above, torch.where(shop, of_shop, torch.where(loading, of_loading, above))]) * scale)
    return torch.stack(columns)


def _door(colour: Tensor, spot: _Spot, at: Tensor) -> Tensor:
    """A house door over the walls' `colour`, in place at the points `at`; returns its cover there."""
    leaf = _cover(spot.x, 0.17, spot.sharp_x) * _cover(spot.y - 0.37, 0.37, spot.sharp_y) * spot.below_eave
    paint = torch.stack([_hash(spot.seed), _hash(spot.seed + 1), _hash(spot.seed + 2)]) * 0.45 + 0.1
    put(colour, at, look_up(colour, at).lerp_(paint, leaf))
    return leaf


def _sign(colour: Tensor, spot: _Spot, at: Tensor) -> None:
    """A sign over a shop front, in place at the points `at`."""
    fascia = _cover(spot.y - 0.87, 0.08, spot.sharp_y)
    pair = spot.cell // 2
    sign = torch.stack([_hash(spot.seed + more, pair) for more in (0, 5, 9)]) * 0.75 + 0.1
    put(colour, at, look_up(colour, at).lerp_(sign, fascia))


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
