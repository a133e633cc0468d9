"""What a line of sight sees of a car: where it enters the convex parts of `vehicles`, and how that looks."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .appearance import light, sun_vector
from .scene import Scene, look_up
from .vehicles import PARTS, PLANES, V

STILL, MISS = 1e-7, 1e9  # a speed that is none; what makes of a metre missed a distance beyond everything
SHARP = 1e6  # makes of any gap but none a whole one


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


class Columns:
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


def meet(scene: Scene, sight: Sight) -> Hit:
    """First entry of each line of sight into the parts of its car; the lines start outside, at t = 0.

    A plane that a line leaves behind bars nothing, or everything if the line starts beyond it: dividing by a speed
    clamped to its side of zero says so without a branch.
    """
    car = Columns(scene, sight.number)
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
    car, on = Columns(scene, hit.number), _On.of(hit)
    blur = blur.clamp(min=0.004)
    paint = torch.stack([car["red"], car["green"], car["blue"]])
    colour = paint + (_rgb(paint, 0.33, 0.36, 0.42) - paint) * (car["lorry"] * (1 - on.cabin))
    colour = colour * (0.92 + 0.1 * (hit.w / car["belt"]).clamp(0, 1.5)) + (0.035 + 0.05 * hit.w.clamp(0, 1))
    colour = over(colour, _seams(hit, on, car, blur), _rgb(colour, 0.02, 0.02, 0.02))
    glass = _glass(hit, on, car, blur)
    colour = over(colour, glass, _pane(hit, on, car))
    colour = _ends(hit, on, car, colour, blur)
    colour = over(colour, on.under, _rgb(colour, 0.03, 0.03, 0.032))
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


def over(colour: Tensor, cover: Tensor, paint: Tensor) -> Tensor:
    """Paint laid over a colour where `cover` (M,) is 1."""
    return colour + (paint - colour) * cover


def _inside(blur: Tensor, *margins: Tensor) -> Tensor:
    """Share of a pixel (width `blur`) on the inner side of edges at signed distances `margins`, positive inside."""
    least = margins[0]
    for margin in margins[1:]:
        least = torch.minimum(least, margin)
    return (least / blur + 0.5).clamp(0, 1)


def _seams(hit: Hit, on: _On, car: Columns, blur: Tensor) -> Tensor:
    """Gaps between the doors on the sides, and of bonnet and boot."""
    half = car["half_length"]
    doors = torch.minimum((hit.u + 0.04 * half).abs(), (hit.u - 0.4 * half).abs())
    doors = torch.minimum(doors, (hit.u + 0.46 * half).abs())
    lids = (hit.v.abs() - 0.86 * car["half_width"]).abs()
    gaps = _inside(blur, 0.01 - doors) * on.side + _inside(blur, 0.01 - lids) * (on.hood + on.top)
    return gaps * (0.02 / blur).clamp(max=0.8) * on.body * (1 - car["lorry"])


def _glass(hit: Hit, on: _On, car: Columns, blur: Tensor) -> Tensor:
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


def _pane(hit: Hit, on: _On, car: Columns) -> Tensor:
    """(3, M) dark glass that mirrors more sky the higher it is and the more it leans."""
    share = ((hit.w - car["belt"]) / (car["height"] - car["belt"])).clamp(0, 1)
    bright = 0.05 + (0.1 + 0.08 * (1 - on.side)) * share
    return _rgb(bright, 0.88, 1.0, 1.1) * bright


def _ends(hit: Hit, on: _On, car: Columns, colour: Tensor, blur: Tensor) -> Tensor:
    """Lights, grille, number plates and the dark lower edge of a body."""
    across, half, belt = hit.v.abs(), car["half_width"], car["belt"]
    level = hit.w / belt
    ahead = (hit.u * 1e6).clamp(0, 1)
    outer = (across - (0.66 - 0.11 * ahead) * half) * (1 - on.side) + (0.2 - car["half_length"] + hit.u.abs()) * on.side
    upright = torch.minimum(level - 0.62 + 0.06 * ahead, 0.9 - 0.17 * ahead - level) * belt
    lamp = _inside(blur, outer, upright) * on.body * (on.front + on.back + on.side)
    glow = over(_rgb(colour, 0.5, 0.03, 0.03), ahead, _rgb(colour, 0.85, 0.86, 0.84))
    grille = _inside(blur, 0.5 * half - across, 0.09 * belt - (hit.w - 0.61 * belt).abs()) * on.body * on.front
    plate = _inside(blur, 0.26 - across, 0.06 - (level - 0.6 + 0.18 * on.front).abs() * belt)
    plate = plate * on.body * (on.front + on.back)
    colour = over(colour, _inside(blur, (0.33 - level) * belt) * on.body * 0.85, _rgb(colour, 0.05, 0.05, 0.052))
    colour = over(colour, grille, _rgb(colour, 0.04, 0.04, 0.042))
    colour = over(colour, plate, _rgb(colour, 0.75, 0.75, 0.7))
    return over(colour, lamp, glow)


def _wheels(hit: Hit, on: _On, car: Columns, colour: Tensor, blur: Tensor) -> Tensor:
    """Wheel arches, tyres and rims on the sides."""
    side, radius = on.side * (1 - on.cabin), car["wheel"]
    along = torch.minimum((hit.u - car["front_axle"]).abs(), (hit.u - car["rear_axle"]).abs())
    away = torch.sqrt(along * along + (hit.w - radius) ** 2)
    colour = over(colour, _inside(blur, radius + 0.05 - away) * side, _rgb(colour, 0.012, 0.012, 0.012))
    colour = over(colour, _inside(blur, radius - away) * side, _rgb(colour, 0.07, 0.07, 0.075))
    return over(colour, _inside(blur, 0.64 * radius - away) * side, _rgb(colour, 0.42, 0.43, 0.45))


def _normal(on: _On, car: Columns) -> tuple[Tensor, Tensor, Tensor]:
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


def _lit(scene: Scene, hit: Hit, on: _On, car: Columns, colour: Tensor, glass: Tensor) -> Tensor:
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
