"""Cars in pictures: where lines of sight enter the convex parts of `vehicles`, and what they see there."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .appearance import light, sun_vector
from .scene import Scene, look_up, places, put
from .sky import hazed
from .vehicles import PARTS, PLANES, V

if TYPE_CHECKING:
    from .render import Rays

SIGHT, SMALLEST = 260.0, 2.0  # metres beyond which no car is drawn; nor where so many metres fill less than a pixel
ABOVE = 200.0  # metres above the datum at which lines of sight from above start
STILL, MISS = 1e-7, 1e9  # a speed that is none; what makes of a metre missed a distance beyond everything
SHARP = 1e6  # makes of any gap but none a whole one
LOWEST = -1e3  # metres about the datum, lower than all ground
BACKGROUND = 0


@dataclass
class Sight:
    """M lines of sight, each towards one car: the point after t is origin + t·direction; parts are (M,) metres."""

    number: Tensor  # (M,) row of the car in the scene's table
    origin: tuple[Tensor, Tensor, Tensor]  # east, north, up
    direction: tuple[Tensor, Tensor, Tensor]


@dataclass
class Hit:
    """Where M lines of sight enter their cars; (M,) each unless noted, in the car's own frame of `vehicles`."""

    t: Tensor  # huge where the line misses
    part: Tensor  # (3, M) 1 at the part of `PARTS`, else 0
    face: Tensor  # (7, M) 1 at front, back, left, right, top, bottom or hood, else 0
    u: Tensor
    v: Tensor
    w: Tensor
    number: Tensor

    def at(self, chosen: Tensor) -> "Hit":
        """Those of some of the lines."""
        return Hit(**{name: look_up(value, chosen) for name, value in vars(self).items()})


class _Columns:
    """The table's columns, looked up for M cars when they are first asked for."""

    def __init__(self, scene: Scene, number: Tensor) -> None:
        self.table, self.number = scene.cars, number
        self.known: dict[str, Tensor] = {}

    def __getitem__(self, name: str) -> Tensor:
        """(M,) one column."""
        if name not in self.known:
            self.known[name] = look_up(self.table[V[name]], self.number)
        return self.known[name]

    def part(self, name: str) -> Tensor:
        """(planes, M) a part's planes."""
        first = V[f"{name}_{PLANES[0]}"]
        return look_up(self.table[first : first + len(PLANES)], self.number)


def draw_cars(scene: Scene, rays: "Rays", tangent: Tensor, colour: Tensor, depth: Tensor, label: Tensor) -> None:
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
    car = _Columns(scene, number)
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
        put(plane, at, _over(look_up(plane, at), cover, paint[channel]))
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
    car: _Columns, x: Tensor, y: Tensor, shift: Tensor, datum: Tensor, step: float
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


def _pixels(scene: Scene, rays: "Rays") -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pixels, their columns, cars that may stand there and least distances along the ground to these, (M,) each."""
    ray, number = _facing(scene, rays)
    _, columns, rows = rays.shape
    car, camera = _Columns(scene, number), torch.div(ray, columns, rounding_mode="floor")
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


def _facing(scene: Scene, rays: "Rays") -> tuple[Tensor, Tensor]:
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


def meet(scene: Scene, sight: Sight) -> Hit:
    """First entry of each line of sight into the parts of its car; the lines start outside, at t = 0.

    A plane that a line leaves behind bars nothing, or everything if the line starts beyond it: dividing by a speed
    clamped to its side of zero says so without a branch.
    """
    car = _Columns(scene, sight.number)
    c, s = car["cos"], car["sin"]
    (east, north, up), (de, dn, dw) = sight.origin, sight.direction
    east, north = east - car["east"], north - car["north"]
    u, v, du, dv = east * c + north * s, north * c - east * s, de * c + dn * s, dn * c - de * s
    w = up - car["base"] - car["rise_u"] * u - car["rise_v"] * v
    dw = dw - car["rise_u"] * du - car["rise_v"] * dv
    entries, firsts = [], []
    for name in PARTS:
        front, front_lean, back, back_lean, side, side_lean, low, high, hood, hood_lean = car.part(name)
        space = torch.stack([
            front - u - front_lean * w, back + u - back_lean * w, side - v - side_lean * w, side + v - side_lean * w,
            high - w, w - low, hood - w - hood_lean * u,
        ])  # fmt: skip
        speed = torch.stack([
            du + front_lean * dw, back_lean * dw - du, dv + side_lean * dw, side_lean * dw - dv,
            dw, -dw, dw + hood_lean * du,
        ])  # fmt: skip
        entry = space / speed.clamp(max=-STILL)
        first, leaving = entry.amax(0), (space.abs_() / speed.clamp_(min=STILL)).amin(0)
        entries.append(entry.sub_(first).mul_(SHARP).add_(1).clamp_(0, 1))
        firsts.append(first + (first - leaving).clamp_(min=0) * MISS)
    parts = torch.stack(firsts)
    t = parts.amin(0)
    parts = (t - parts).mul_(SHARP).add_(1).clamp_(0, 1)
    face = sum((entry.mul_(part) for entry, part in zip(entries, parts, strict=True)), torch.zeros(1, device=t.device))
    return Hit(t, parts, face, u + t * du, v + t * dv, w + t * dw, sight.number)


def shade(scene: Scene, hit: Hit, blur: Tensor) -> Tensor:
    """(3, M) lit colours of entries into cars; `blur` (M,) is the width of a pixel there in metres."""
    car, on = _Columns(scene, hit.number), _On.of(hit)
    blur = blur.clamp(min=0.004)
    paint = torch.stack([car["red"], car["green"], car["blue"]])
    colour = paint + (_rgb(paint, 0.33, 0.36, 0.42) - paint) * (car["lorry"] * (1 - on.cabin))
    colour = colour * (0.92 + 0.1 * (hit.w / car["belt"]).clamp(0, 1.5)) + (0.035 + 0.05 * hit.w.clamp(0, 1))
    colour = _over(colour, _seams(hit, on, car, blur), _rgb(colour, 0.02, 0.02, 0.02))
    glass = _glass(hit, on, car, blur)
    colour = _over(colour, glass, _pane(hit, on, car))
    colour = _ends(hit, on, car, colour, blur)
    colour = _over(colour, on.under, _rgb(colour, 0.03, 0.03, 0.032))
    colour = _wheels(hit, on, car, colour, blur)
    return _lit(scene, hit, on, car, colour, glass)


@dataclass
class _On:
    """1 or 0 (M,): the part and the face that were hit."""

    body: Tensor
    cabin: Tensor
    under: Tensor
    front: Tensor
    back: Tensor
    left: Tensor
    right: Tensor
    top: Tensor
    bottom: Tensor
    hood: Tensor
    side: Tensor

    @staticmethod
    def of(hit: Hit) -> "_On":
        body, cabin, under = hit.part
        front, back, left, right, top, bottom, hood = hit.face
        return _On(body, cabin, under, front, back, left, right, top, bottom, hood, left + right)


def _rgb(like: Tensor, red: float, green: float, blue: float) -> Tensor:
    """(3, 1) a colour."""
    return torch.tensor([red, green, blue], device=like.device)[:, None]


def _over(colour: Tensor, cover: Tensor, paint: Tensor) -> Tensor:
    """Paint laid over a colour where `cover` (M,) is 1."""
    return colour + (paint - colour) * cover


def _inside(blur: Tensor, *margins: Tensor) -> Tensor:
    """Share of a pixel (width `blur`) on the inner side of edges at signed distances `margins`, positive inside."""
    least = margins[0]
    for margin in margins[1:]:
        least = torch.minimum(least, margin)
    return (least / blur + 0.5).clamp(0, 1)


def _seams(hit: Hit, on: _On, car: _Columns, blur: Tensor) -> Tensor:
    """Gaps between the doors on the sides, and of bonnet and boot."""
    half = car["half_length"]
    doors = torch.minimum((hit.u + 0.04 * half).abs(), (hit.u - 0.4 * half).abs())
    doors = torch.minimum(doors, (hit.u + 0.46 * half).abs())
    lids = (hit.v.abs() - 0.86 * car["half_width"]).abs()
    gaps = _inside(blur, 0.01 - doors) * on.side + _inside(blur, 0.01 - lids) * (on.hood + on.top)
    return gaps * (0.02 / blur).clamp(max=0.8) * on.body * (1 - car["lorry"])


def _glass(hit: Hit, on: _On, car: _Columns, blur: Tensor) -> Tensor:
    """Cover by windows: between the pillars of a cabin, at a lorry's cab."""
    across = car["glass_side"] - car["glass_side_lean"] * hit.w - hit.v.abs()
    ahead = car["glass_front"] - car["glass_front_lean"] * hit.w - hit.u
    behind = car["glass_back"] - car["glass_back_lean"] * hit.w + hit.u
    along = torch.minimum(torch.minimum(ahead, behind), (hit.u - car["pillar"]).abs() - 0.045)
    lorry = car["lorry"]
    ends = on.front + on.back * (1 - lorry)
    glazed = on.body * lorry + on.cabin * (1 - lorry)
    upright = torch.minimum(hit.w - car["glass_low"], car["glass_high"] - hit.w)
    edge = torch.minimum(along * on.side + across * (1 - on.side), upright)
    return _inside(blur, edge) * glazed * (on.side + ends)


def _pane(hit: Hit, on: _On, car: _Columns) -> Tensor:
    """(3, M) dark glass that mirrors more sky the higher it is and the more it leans."""
    share = ((hit.w - car["belt"]) / (car["height"] - car["belt"])).clamp(0, 1)
    bright = 0.05 + (0.1 + 0.08 * (1 - on.side)) * share
    return _rgb(bright, 0.88, 1.0, 1.1) * bright


def _ends(hit: Hit, on: _On, car: _Columns, colour: Tensor, blur: Tensor) -> Tensor:
    """Lights, grille, number plates and the dark lower edge of a body."""
    across, half, belt = hit.v.abs(), car["half_width"], car["belt"]
    level = hit.w / belt
    ahead = (hit.u * 1e6).clamp(0, 1)
    outer = (across - (0.66 - 0.11 * ahead) * half) * (1 - on.side) + (0.2 - car["half_length"] + hit.u.abs()) * on.side
    upright = torch.minimum(level - 0.62 + 0.06 * ahead, 0.9 - 0.17 * ahead - level) * belt
    lamp = _inside(blur, outer, upright) * on.body * (on.front + on.back + on.side)
    glow = _over(_rgb(colour, 0.5, 0.03, 0.03), ahead, _rgb(colour, 0.85, 0.86, 0.84))
    grille = _inside(blur, 0.5 * half - across, 0.09 * belt - (hit.w - 0.61 * belt).abs()) * on.body * on.front
    plate = _inside(blur, 0.26 - across, 0.06 - (level - 0.6 + 0.18 * on.front).abs() * belt)
    plate = plate * on.body * (on.front + on.back)
    colour = _over(colour, _inside(blur, (0.33 - level) * belt) * on.body * 0.85, _rgb(colour, 0.05, 0.05, 0.052))
    colour = _over(colour, grille, _rgb(colour, 0.04, 0.04, 0.042))
    colour = _over(colour, plate, _rgb(colour, 0.75, 0.75, 0.7))
    return _over(colour, lamp, glow)


def _wheels(hit: Hit, on: _On, car: _Columns, colour: Tensor, blur: Tensor) -> Tensor:
    """Wheel arches, tyres and rims on the sides."""
    side, radius = on.side * (1 - on.cabin), car["wheel"]
    along = torch.minimum((hit.u - car["front_axle"]).abs(), (hit.u - car["rear_axle"]).abs())
    away = torch.sqrt(along * along + (hit.w - radius) ** 2)
    colour = _over(colour, _inside(blur, radius + 0.05 - away) * side, _rgb(colour, 0.012, 0.012, 0.012))
    colour = _over(colour, _inside(blur, radius - away) * side, _rgb(colour, 0.07, 0.07, 0.075))
    return _over(colour, _inside(blur, 0.64 * radius - away) * side, _rgb(colour, 0.42, 0.43, 0.45))


def _normal(on: _On, car: _Columns) -> tuple[Tensor, Tensor, Tensor]:
    """Unit normal (east, north, up) of the entered faces."""

    def lean(of: str) -> Tensor:
        return on.cabin * car[f"cabin_{of}"] + on.body * car[f"body_{of}"]

    u = on.front - on.back + on.hood * lean("hood_lean")
    v = on.left - on.right
    w = on.front * lean("front_lean") + on.back * lean("back_lean") + on.side * lean("side_lean")
    w = w + on.top + on.hood - on.bottom
    u, v = u - car["rise_u"] * w, v - car["rise_v"] * w
    size = torch.rsqrt(u * u + v * v + w * w)
    u, v, w = u * size, v * size, w * size
    c, s = car["cos"], car["sin"]
    return u * c - v * s, u * s + v * c, w


def _lit(scene: Scene, hit: Hit, on: _On, car: _Columns, colour: Tensor, glass: Tensor) -> Tensor:
    """Sun and cast shadows, less sky on the sides and near the ground; glass (M,) mirrors, whatever the sun does."""
    moment = scene.moment
    east, north, up = _normal(on, car)
    x, y, z = sun_vector(moment)
    facing = (east * x + north * y + up * z).clamp(min=0) / max(z, 0.35)
    c, s = car["cos"], car["sin"]
    out = 1.3 * scene.resolution * (1 - on.top)
    beside = scene.index(
        car["east"] + hit.u * c - hit.v * s + out * east, car["north"] + hit.u * s + hit.v * c + out * north
    )
    height = car["base"] + car["rise_u"] * hit.u + car["rise_v"] * hit.v + hit.w
    shade = 1 - ((look_up(scene.ceiling, beside) - height - 0.1) / 0.8).clamp(0, 1)
    lit = (facing * shade).clamp(max=1.25) * (1 - 0.85 * glass)
    ambient = (0.66 + 0.34 * up.clamp(min=0)) * (0.7 + 0.3 * (hit.w / 0.7).clamp(0, 1))
    brightness = light(lit, ambient, moment)
    warm = 0.05 * moment.warmth + 0.05 * (1 - moment.overcast) * (lit - 0.5)
    tint = torch.stack([1 + warm, torch.ones_like(warm), 1 - warm])
    return (colour * brightness * tint).clamp(0, 1)
