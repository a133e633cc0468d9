"""Cars in pictures: which pixels may show one, from the street and from above; `bodywork` says what they see."""

import math

import torch
from torch import Tensor

from .bodywork import MISS, Columns, Sight, meet, over, shade
from .rays import Rays
from .scene import Scene, look_up, places, put
from .sky import hazed
from .vehicles import V

SIGHT, SMALLEST = 260.0, 2.0  # metres beyond which no car is drawn; nor where so many metres fill less than a pixel
ABOVE = 200.0  # metres above the datum at which lines of sight from above start
LOWEST = -1e3  # metres about the datum, lower than all ground
BACKGROUND = 0


def draw_cars(scene: Scene, rays: Rays, tangent: Tensor, colour: Tensor, depth: Tensor, label: Tensor) -> None:
    """Draw the cars over a picture of everything else, in place, where they are nearer than what it shows.

    `tangent` (P,) of the rays, `colour` (3, P), `depth` (P,) metres along the ground and `label` (P,) hold the pixels
    column by column.
    """
    if not scene.cars.shape[1]:
        return
    columns = rays.shape[1]
    at, ray, number, nearest = _pixels(scene, rays)
    open_to = places(look_up(depth, at) > nearest)
    if not len(open_to):
        return
    at, ray, number = (look_up(t, open_to) for t in (at, ray, number))
    camera = torch.div(ray, columns, rounding_mode="floor")
    azimuth, tangent = look_up(rays.azimuth.reshape(-1), ray), look_up(tangent, at)
    origin = look_up(rays.east, camera), look_up(rays.north, camera), look_up(rays.height, camera)
    sight = Sight(number, origin, (torch.sin(azimuth), torch.cos(azimuth), tangent))
    hit = meet(scene, sight)
    hit.t += (-hit.t).clamp_(min=0) * MISS  # a camera inside of a car sees through it
    before = look_up(depth, at)
    depth.scatter_reduce_(0, at, hit.t, "amin")
    seen = places((hit.t < before) & (hit.t == look_up(depth, at)))
    hit, at, steepness = hit.at(seen), look_up(at, seen), look_up(tangent, seen)
    paint = shade(scene, hit, hit.t * torch.sqrt(1 + steepness**2) * rays.pixel)
    put(colour, at, hazed(scene.moment, paint, hit.t))
    label.scatter_(0, at, BACKGROUND)


def draw_cars_from_above(
    scene: Scene,
    tiles: tuple[Tensor, Tensor, float],
    lean: Tensor,
    datum: Tensor,
    highest: Tensor,
    colour: Tensor,
    label: Tensor,
    height: Tensor,
) -> None:
    """Draw the cars over aerial tiles of everything else, in place, where nothing higher hides them.

    Args:
        tiles: east and north (B,) of the tiles' centres, metres per pixel.
        lean: (B, 2) metres east and north that a metre of height moves.
        datum: (B,) absolute height that does not move.
        highest: (B, P, P) metres above the datum of what each pixel shows.
        colour: (B, 3, P, P).
        label: (B, P, P).
        height: (B, P, P) metres above the ground.
    """
    east, north, step = tiles
    count = highest.shape[-1]
    at, number = _pixels_from_above(scene, tiles, lean, datum, count)
    tile, row, column = at // count**2, at // count % count, at % count
    x = look_up(east, tile) + (column + 0.5 - count / 2) * step
    y = look_up(north, tile) - (row + 0.5 - count / 2) * step
    level, shift = look_up(datum, tile), look_up(lean.T.contiguous(), tile)
    car = Columns(scene, number)
    cover, x, y = _outline(car, x, y, shift, level, step)
    touched = places(cover > 0)
    number, at, cover, x, y, level = (look_up(t, touched) for t in (number, at, cover, x, y, level))
    direction = *look_up(shift, touched), torch.full_like(x, -1)
    start = x - ABOVE * direction[0], y - ABOVE * direction[1], level + ABOVE
    hit = meet(scene, Sight(number, start, direction))
    seen = places(ABOVE - hit.t > look_up(highest.view(-1), at).clamp(min=LOWEST))
    hit, at, cover = hit.at(seen), look_up(at, seen), look_up(cover, seen)
    paint = shade(scene, hit, torch.full_like(cover, step))
    for channel in range(3):
        plane = colour[:, channel].reshape(-1)
        put(plane, at, over(look_up(plane, at), cover, paint[channel]))
        colour[:, channel] = plane.view_as(label)
    whole = places(cover >= 0.5)
    put(height.view(-1), look_up(at, whole), look_up(hit.w, whole).clamp(min=0))
    label.view(-1).scatter_(0, look_up(at, whole), BACKGROUND)


def _pixels_from_above(
    scene: Scene, tiles: tuple[Tensor, Tensor, float], lean: Tensor, datum: Tensor, count: int
) -> tuple[Tensor, Tensor]:
    """Pixels (of all B·P·P) and the cars in whose bounding boxes they lie, (M,) each."""
    east, north, step = tiles
    table = scene.cars
    c, s, hl, hw = (table[V[name]] for name in ("cos", "sin", "half_length", "half_width"))
    tall = table[V["height"]]
    middle = table[V["base"]] + tall / 2 - datum[:, None]
    edges = []
    for k, (centre, along, across) in enumerate(((east, c, s), (north, s, c))):
        offset = table[V[("east", "north")[k]]] - centre[:, None] + middle * lean[:, k, None]
        reach = hl * along.abs() + hw * across.abs() + tall / 2 * lean[:, k, None].abs() + step
        offset = offset if k == 0 else -offset
        edges += [((offset + way * reach) / step + count / 2).clamp(0, count).view(-1) for way in (-1, 1)]
    left, right, top, bottom = (edge.round().long() for edge in edges)
    inside = places((right > left) & (bottom > top))
    left, right, top, bottom = (look_up(edge, inside) for edge in (left, right, top, bottom))
    which, row = _spans(top, bottom - top)
    line, column = _spans(look_up(left, which), look_up(right - left, which))
    pair = look_up(inside, look_up(which, line))
    cars = max(table.shape[1], 1)
    return (pair // cars * count + look_up(row, line)) * count + column, (pair % cars).int()


def _outline(
    car: Columns, x: Tensor, y: Tensor, shift: Tensor, datum: Tensor, step: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Share of pixels at (x, y) that a car's outline from above covers, and (x, y) moved inside of it, (M,) each."""
    c, s, hl, hw = car["cos"], car["sin"], car["half_length"], car["half_width"]
    base, top = car["base"] - datum, car["belt"] + (car["height"] - car["belt"]) * (car["lorry"] + car["van"])
    best = torch.full_like(x, -math.inf)
    new_x, new_y = x, y
    for level in (base + 0.1, base + top):
        east, north = x - level * shift[0] - car["east"], y - level * shift[1] - car["north"]
        u, v = east * c + north * s, north * c - east * s
        margin = torch.minimum(hl - u.abs(), hw - v.abs())
        inner_u, inner_v = torch.minimum(u.abs(), hl - 0.05) * u.sign(), torch.minimum(v.abs(), hw - 0.05) * v.sign()
        du, dv = inner_u - u, inner_v - v
        nearer = margin > best
        new_x = torch.where(nearer, x + du * c - dv * s, new_x)
        new_y = torch.where(nearer, y + du * s + dv * c, new_y)
        best = torch.maximum(best, margin)
    return (best / step + 0.5).clamp(0, 1), new_x, new_y


def beside_cars(scene: Scene, position: Tensor, metres: float) -> Tensor:
    """(M,) whether positions (M, 2) lie nearer than `metres` to a car."""
    table = scene.cars
    de, dn = (position[:, k, None] - table[V[name]] for k, name in enumerate(("east", "north")))
    along = (de * table[V["cos"]] + dn * table[V["sin"]]).abs() - table[V["half_length"]]
    aside = (dn * table[V["cos"]] - de * table[V["sin"]]).abs() - table[V["half_width"]]
    return (torch.maximum(along, aside) < metres).any(1)


def _pixels(scene: Scene, rays: Rays) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pixels, their columns, cars that may stand there and least distances along the ground to these, (M,) each."""
    ray, number = _facing(scene, rays)
    _, columns, rows = rays.shape
    car, camera = Columns(scene, number), torch.div(ray, columns, rounding_mode="floor")
    azimuth, eye = look_up(rays.azimuth.reshape(-1), ray), look_up(rays.height, camera)
    sine, cosine = torch.sin(azimuth), torch.cos(azimuth)
    de, dn = look_up(rays.east, camera) - car["east"], look_up(rays.north, camera) - car["north"]
    c, s, hl, hw = car["cos"], car["sin"], car["half_length"], car["half_width"]
    enter_u, leave_u = _slab(de * c + dn * s, sine * c + cosine * s, hl)
    enter_v, leave_v = _slab(dn * c - de * s, cosine * c - sine * s, hw)
    near, far = torch.maximum(enter_u, enter_v).clamp(min=0.05), torch.minimum(leave_u, leave_v)
    tilt = car["rise_u"].abs() * hl + car["rise_v"].abs() * hw
    above, below = car["base"] + car["height"] + tilt - eye, car["base"] - tilt - eye
    far = torch.maximum(near, far)
    upper = torch.ceil(rays.row_of(torch.maximum(above / near, above / far), ray)).clamp(min=0)
    lower = torch.floor(rays.row_of(torch.minimum(below / near, below / far), ray)).clamp(max=rows - 1)
    passes = torch.minimum(leave_u, leave_v) > near
    which, row = _spans(upper.long(), (lower - upper + 1).long() * passes)
    ray, number, near = (look_up(t, which) for t in (ray, number, near))
    return ray * rows + row, ray, number, near


def _slab(start: Tensor, step: Tensor, half: Tensor) -> tuple[Tensor, Tensor]:
    """Where start + t·step enters and leaves |x| ≤ half."""
    step = torch.where(step.abs() < 1e-6, torch.full_like(step, 1e-6), step)
    middle, reach = -start / step, half / step.abs()
    return middle - reach, middle + reach


def _facing(scene: Scene, rays: Rays) -> tuple[Tensor, Tensor]:
    """Columns (of all B·W) and the cars whose circle they look at, (M,) each."""
    batch, columns = rays.azimuth.shape
    table = scene.cars
    de = table[V["east"]] - rays.east[:, None]
    dn = table[V["north"]] - rays.north[:, None]
    away = torch.sqrt(de * de + dn * dn)
    near = places(away < min(SIGHT, SMALLEST / rays.pixel))
    camera = torch.div(near, table.shape[1], rounding_mode="floor")
    number = (near % table.shape[1]).int()
    sine = look_up(table[V["radius"]], number) / look_up(away.view(-1), near)
    half = torch.where(sine < 1, torch.asin(sine.clamp(max=1)), torch.full_like(sine, math.pi))
    first = look_up(rays.azimuth[:, 0].contiguous(), camera)
    bearing = torch.atan2(look_up(de.view(-1), near), look_up(dn.view(-1), near))
    middle = first + torch.remainder(bearing - first, 2 * math.pi)
    middle = torch.cat([middle - 2 * math.pi, middle, middle + 2 * math.pi])  # a car may straddle a picture's edge
    camera, number, half = camera.repeat(3), number.repeat(3), half.repeat(3)
    lap = 16 * math.pi  # keeps the cameras' azimuths apart in one sorted row
    first = rays.azimuth[:, :1].double()
    azimuth = rays.azimuth.double() - first + lap * torch.arange(batch, device=first.device)[:, None]
    middle = middle.double() - look_up(first.view(-1), camera) + lap * camera
    start = torch.searchsorted(azimuth.view(-1), middle - half)
    stop = torch.searchsorted(azimuth.view(-1), middle + half)
    which, ray = _spans(start, stop - start)
    return ray, look_up(number, which)


def _spans(start: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """Every whole number of the intervals [start, start + count), and the interval that each is of."""
    count = count.clamp(min=0)
    which = torch.repeat_interleave(count)
    offset = torch.arange(len(which), device=start.device) - look_up(torch.cumsum(count, 0) - count, which)
    return which.int(), look_up(start, which) + offset
