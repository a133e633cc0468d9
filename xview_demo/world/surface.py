"""Rasters of a plan: ground, height, crowns, materials, paint and pattern, all (S, S), row 0 in the north."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from .draft import ROAD, WALK, Pattern, rectangles
from .materials import MATERIAL_ID, B
from .town import Plan

SHIFT = 4  # sub-pixel bits of the drawing functions
NOTHING = -1000.0  # canopy where no crown is
ROOFS = ("roof_tile", "roof_metal", "roof_flat", "roof_shingle")
BARE = ("asphalt", "worn_asphalt", "concrete", "river", "sea", "pool")  # no hedge, fence or wall stands on these


@dataclass(frozen=True)
class Surface:
    """Everything the renderer reads; every raster is (S, S) numpy, S = round(size / resolution)."""

    resolution: float  # metres per pixel
    size: float  # metres
    ground: np.ndarray  # float32, terrain elevation in metres
    height: np.ndarray  # float32, absolute top of solid things, = ground where nothing stands
    canopy: np.ndarray  # float32, absolute top of tree crowns, −1000 where none
    canopy_base: np.ndarray  # float32, absolute base of tree crowns, −1000 where none
    material: np.ndarray  # uint8, id of `MATERIALS` of what stands highest, crowns aside
    cover: np.ndarray  # uint8, id of what covers most of the pixel from above, crowns aside: a thin fence does not
    canopy_material: np.ndarray  # uint8, 0 where no crown
    instance: np.ndarray  # int32, 0 none, i + 1 = row i of plan.buildings
    crown: np.ndarray  # int32, 0 none, i + 1 = row i of plan.trees
    marking: np.ndarray  # uint8, coverage by white paint
    marking_yellow: np.ndarray  # uint8, coverage by yellow paint
    pattern: np.ndarray  # uint8, multiplicative detail, 128 neutral


class Raster:
    """Metres to pixels, for drawing."""

    def __init__(self, size: float, resolution: float) -> None:
        self.resolution, self.half = resolution, size / 2
        self.n = int(round(size / resolution))

    def pixels(self, points: np.ndarray) -> np.ndarray:
        """Fixed-point pixel positions (…, 2) int32 of points in metres, for `shift=SHIFT`."""
        scale = (1 << SHIFT) / self.resolution
        offset = self.half * scale - (1 << SHIFT) / 2
        return np.rint(points * np.array([scale, -scale]) + offset).astype(np.int32)

    def all_pixels(self, lines: list[np.ndarray]) -> list[np.ndarray]:
        """`pixels` of every line (n, 2) of a list, converted at once."""
        if not lines:
            return []
        ends = np.cumsum([len(line) for line in lines]).tolist()
        points = self.pixels(np.concatenate(lines))
        return [points[start:end] for start, end in zip([0, *ends], ends, strict=False)]

    def fill(self, image: np.ndarray, rings: list[np.ndarray], value: float) -> None:
        """Fill a polygon with holes."""
        cv2.fillPoly(image, [self.pixels(ring) for ring in rings], value, shift=SHIFT)

    def window(self, outer: np.ndarray) -> tuple[slice, slice] | None:
        """Rows and columns that a polygon touches, by its outer ring in `pixels`; None where it lies outside."""
        outer = outer >> SHIFT
        lo, hi = np.maximum(outer.min(0) - 1, 0), np.minimum(outer.max(0) + 2, self.n)
        return (slice(lo[1], hi[1]), slice(lo[0], hi[0])) if (hi > lo).all() else None


def build_surface(plan: Plan, resolution: float) -> Surface:
    """Rasterise a plan at `resolution` metres per pixel (0.2 to 2)."""
    raster = Raster(plan.size, resolution)
    with ThreadPoolExecutor(1) as pool:
        growing = pool.submit(_crowns, plan, raster)  # beside the drawing: neither needs the other
        material, cover, ground, height, instance, pattern, white, yellow = _drawn(plan, raster)
        crowns = growing.result()
    canopy, base, crown = _canopy(crowns, height)
    kinds = np.concatenate([[0], plan.trees[:, 5]]).astype(np.uint8)
    _trunks(plan, raster, material, height, instance)
    return Surface(
        resolution,
        plan.size,
        ground,
        height,
        canopy,
        base,
        material,
        cover,
        kinds[crown],
        instance,
        crown,
        white,
        yellow,
        pattern,
    )


def _drawn(plan: Plan, raster: Raster) -> tuple[np.ndarray, ...]:
    """Material, cover, ground, height, instance, pattern, white and yellow paint, before trees grow."""
    ground = cv2.resize(plan.terrain.elevation.values, (raster.n, raster.n), interpolation=cv2.INTER_CUBIC)
    material, pattern, deck = _areas(plan, raster)
    water = _is(material, "river", "sea")
    if water.any():
        ground = _carve(ground, water, deck, raster)
    ground[_is(material, "pool")] -= 0.25
    white, yellow = _paint(plan, raster, pattern)
    white *= deck > 0
    yellow *= deck > 0
    height = ground.copy()
    cover = material.copy()
    broad = _strips(plan, raster, material, height, ground, deck)
    instance, roofs = _buildings(plan, raster, material, height)
    for at in (broad, roofs):
        cover.ravel()[at] = material.ravel()[at]
    _posts(plan, raster, material, height, ground)
    return material, cover, ground, height, instance, pattern, white, yellow


def _is(material: np.ndarray, *names: str) -> np.ndarray:
    """Where a raster of materials holds one of those named."""
    table = np.zeros(256, np.bool_)
    table[[MATERIAL_ID[name] for name in names]] = True
    return table.take(material)


def _areas(plan: Plan, raster: Raster) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Material, pattern and deck: 0 where no street lies, 1 on paths and pavements, 2 on carriageways."""
    n = raster.n
    material = np.full((n, n), plan.areas[0].material if plan.areas else 7, np.uint8)
    pattern = np.full((n, n), 128, np.uint8)
    deck = np.zeros((n, n), np.uint8)
    lines = iter(raster.all_pixels([ring for area in plan.areas for ring in area.rings]))
    for area in plan.areas:
        rings = [next(lines) for _ in area.rings]
        cv2.fillPoly(material, rings, area.material, shift=SHIFT)
        if area.layer >= WALK:
            cv2.fillPoly(deck, rings, 1 if area.layer < ROAD else 2, shift=SHIFT)
        if area.pattern is not None and area.pattern.spacing:
            _stripes(rings, area.pattern, raster, pattern)
        elif area.pattern is not None or area.layer > 0:
            shift = area.pattern.shift if area.pattern is not None else 0
            cv2.fillPoly(pattern, rings, int(np.clip(np.float32(128 + shift), 0, 255)), shift=SHIFT)
    return material, pattern, deck


def _stripes(rings: list[np.ndarray], pattern: Pattern, raster: Raster, image: np.ndarray) -> None:
    window = raster.window(rings[0])
    if window is None:
        return
    rows, cols = window
    view = image[rows, cols]
    mask = np.zeros(view.shape, np.uint8)
    corner = np.array([cols.start, rows.start], np.int32) << SHIFT
    cv2.fillPoly(mask, [ring - corner for ring in rings], 1, shift=SHIFT)
    value = np.float32(128 + pattern.shift)
    east = ((np.arange(cols.start, cols.stop) + 0.5) * raster.resolution).astype(np.float32)
    north = -((np.arange(rows.start, rows.stop) + 0.5) * raster.resolution).astype(np.float32)
    across = np.float32(np.cos(pattern.angle)) * east[None] + np.float32(np.sin(pattern.angle)) * north[:, None]
    turn = (across * np.float32(256 / pattern.spacing)).astype(np.int32).astype(np.uint8)
    wave = value + pattern.strength * np.sin(np.arange(256) / 128 * np.pi)
    stripes = cv2.LUT(turn, np.clip(wave, 0, 255).astype(np.uint8))
    if pattern.tramline:
        lane = np.abs(across % np.float32(pattern.tramline) - 1.2) < max(0.3, raster.resolution / 2)
        stripes[lane] = np.uint8(np.clip(value - 26, 0, 255))
    np.copyto(view, stripes, where=mask.view(np.bool_))


def _carve(ground: np.ndarray, water: np.ndarray, deck: np.ndarray, raster: Raster) -> np.ndarray:
    """Ground that slopes down to the water; under streets it keeps the height of the banks."""
    soft = max(int(round(2.5 / raster.resolution)) | 1, 3)
    wet = cv2.blur(water.astype(np.float32), (soft, soft))
    depth = np.clip(wet * 1.6 - 0.2, 0, 1)
    natural = np.maximum(ground * (1 - depth), 0.0)
    out = np.where((wet > 0) & (deck == 0), natural, ground)
    out[water] = 0.0
    return out.astype(np.float32)


def _paint(plan: Plan, raster: Raster, pattern: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    images = {"white": np.zeros((raster.n, raster.n), np.uint8), "yellow": np.zeros((raster.n, raster.n), np.uint8)}
    for line in plan.lines:
        if not line.points.size:
            continue
        width = line.width / raster.resolution
        thick = max(int(round(width)), 1)
        cover = min(width / thick, 1.0)
        segments = list(raster.pixels(line.points)) if line.points.ndim == 3 else [raster.pixels(line.points)]
        if line.colour == "shade":
            value = 128 + line.value * min(cover, 1.0)
            cv2.polylines(pattern, segments, False, float(np.clip(value, 0, 255)), thick, cv2.LINE_AA, SHIFT)
        else:
            cv2.polylines(images[line.colour], segments, False, 255 * cover, thick, cv2.LINE_AA, SHIFT)
    return images["white"], images["yellow"]


def _strips(
    plan: Plan, raster: Raster, material: np.ndarray, height: np.ndarray, ground: np.ndarray, deck: np.ndarray
) -> np.ndarray:
    """Draw hedges, fences and walls, a pixel wide at least; flat pixels where one covers half of a pixel or more."""
    number = np.zeros((raster.n, raster.n), np.int32)
    on_deck = np.zeros((raster.n, raster.n), np.uint8)
    for i, (strip, line) in enumerate(
        zip(plan.strips, raster.all_pixels([s.points for s in plan.strips]), strict=True)
    ):
        thick = max(int(round(strip.width / raster.resolution)), 1)
        _trace(number, line, i + 1, thick)
        if strip.width == 0.35:
            _trace(on_deck, line, 1, thick)
    at = np.flatnonzero(number)
    free = (deck.ravel()[at] == 0) & ~_is(material.ravel()[at], *BARE)
    at = at[free | (on_deck.ravel()[at] > 0)]
    kind, rise, width = np.array([(s.material, s.height, s.width) for s in plan.strips]).reshape(-1, 3).T
    mine = number.ravel()[at] - 1
    material.ravel()[at] = kind.astype(np.uint8)[mine]
    height.ravel()[at] = ground.ravel()[at] + rise.astype(np.float32)[mine]
    return at[width[mine] >= raster.resolution / 2]


def _trace(image: np.ndarray, line: np.ndarray, value: int, thick: int) -> None:
    """Draw a line (n, 2) of `Raster.pixels`; a thin one has no diagonal steps, as sight would slip through them."""
    if thick > 1:
        cv2.polylines(image, [line], False, value, thick, cv2.LINE_4, SHIFT)
    else:  # OpenCV 5 heeds LINE_4 only at whole pixels
        cv2.polylines(image, [(line + (1 << SHIFT - 1)) >> SHIFT], False, value, 1, cv2.LINE_4)


def _buildings(plan: Plan, raster: Raster, material: np.ndarray, height: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Draw roofs; the number of the building on each pixel (0 none), and the flat pixels that have one."""
    instance = np.zeros((raster.n, raster.n), np.int32)
    for i, corners in enumerate(raster.pixels(rectangles(plan.buildings))):
        cv2.fillConvexPoly(instance, corners, i + 1, shift=SHIFT)
    where = np.flatnonzero(instance)
    index = instance.ravel()[where] - 1
    columns = np.ascontiguousarray(plan.buildings.T)

    def own(name: str) -> np.ndarray:
        return columns[B[name]].take(index)

    r, c = np.divmod(where, raster.n)
    east = ((c + 0.5) * raster.resolution - raster.half).astype(np.float32) - own("east")
    north = (raster.half - (r + 0.5) * raster.resolution).astype(np.float32) - own("north")
    cos, sin, wide, roof = own("cos"), own("sin"), own("half_width"), own("roof")
    share = 1 - np.abs(north * cos - east * sin) / wide
    hip = np.flatnonzero(roof == 2)
    along = own("half_length")[hip] - np.abs(east[hip] * cos[hip] + north[hip] * sin[hip])
    share[hip] = np.minimum(share[hip], along / wide[hip])
    rise = np.where(roof == 0, 0, own("rise") * np.clip(share, 0, 1))
    height.ravel()[where] = own("eave") + rise
    material.ravel()[where] = plan.roof_materials[index]
    return instance, where


def _posts(plan: Plan, raster: Raster, material: np.ndarray, height: np.ndarray, ground: np.ndarray) -> None:
    if not len(plan.posts):
        return
    r, c, ok = _cells(plan.posts[:, :2], raster)
    ok &= material[r, c] != 0
    ok &= ~_is(material[r, c], *ROOFS)
    height[r[ok], c[ok]] = ground[r[ok], c[ok]] + plan.posts[ok, 2]
    material[r[ok], c[ok]] = plan.posts[ok, 3].astype(np.uint8)


def _cells(points: np.ndarray, raster: Raster) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    c = np.floor((points[:, 0] + raster.half) / raster.resolution).astype(int)
    r = np.floor((raster.half - points[:, 1]) / raster.resolution).astype(int)
    ok = (c >= 0) & (r >= 0) & (c < raster.n) & (r < raster.n)
    return np.clip(r, 0, raster.n - 1), np.clip(c, 0, raster.n - 1), ok


class _Crowns(NamedTuple):
    """Pixels under a crown, each for the highest crown over it."""

    at: np.ndarray  # (P,) flat pixel
    tree: np.ndarray  # (P,) int32, i + 1 = row i of plan.trees
    top: np.ndarray  # (P,) float32, absolute metres
    base: np.ndarray  # (P,) float32, absolute metres


def _crowns(plan: Plan, raster: Raster) -> _Crowns:
    """Domes, cones and fans with ragged edges; the highest crown wins."""
    key = np.zeros(raster.n**2, np.int64)  # top in millimetres above −100 m, then the tree
    under = np.empty(raster.n**2, np.float32)
    noise = np.random.default_rng([plan.seed, 77]).random((256, 256), dtype=np.float32)
    noise = 0.6 * noise + 0.4 * cv2.resize(noise[:128, :128], (256, 256), interpolation=cv2.INTER_LINEAR)
    for group in _alike(plan.trees):
        at, value, low = _grown(plan.trees[group], group, noise.ravel(), raster)
        _raise(key, at, value)
        mine = key[at] == value
        under[at[mine]] = low[mine]
    at = np.flatnonzero(key)
    won = key[at]
    top = (won >> 32).astype(np.float32) / 1000 - 100
    return _Crowns(at, (won & 0xFFFFFFFF).astype(np.int32), top, np.minimum(under[at], top - np.float32(0.2)))


def _alike(trees: np.ndarray) -> Iterator[np.ndarray]:
    """Rows of the trees, in groups of one kind and about one radius."""
    for kind in np.unique(trees[:, 5]):
        rows = np.flatnonzero(trees[:, 5] == kind)
        rows = rows[np.argsort(trees[rows, 2], kind="stable")]
        yield from np.array_split(rows, len(rows) // 128 + 1)


def _grown(
    tree: np.ndarray, number: np.ndarray, noise: np.ndarray, raster: Raster
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Flat pixels (P,) under trees (T, 6) of one kind in rows `number`, with the keys and bases of the crowns there."""
    n, res, kind = raster.n, raster.resolution, tree[0, 5]
    wide = tree[:, 2].max() * 1.16 / res + 0.75  # pixels: the noise reaches 1, the middle lies half a pixel off
    reach = int(np.ceil(wide))
    axis = np.arange(-reach, reach + 1)
    dr, dc = (a.ravel() for a in np.meshgrid(axis, axis, indexing="ij"))
    disc = dr**2 + dc**2 <= wide**2
    dr, dc = dr[disc], dc[disc]
    col, row = (tree[:, 0] + raster.half) / res - 0.5, (raster.half - tree[:, 1]) / res - 0.5
    c0, r0 = np.round(col).astype(np.intp), np.round(row).astype(np.intp)
    x, y = (c0 - col)[:, None] + dc, (r0 - row)[:, None] + dr
    x *= x
    y *= y
    x += y
    distance = np.sqrt(x, out=x).astype(np.float32)
    distance *= np.float32(res)
    noise_row = (r0 + number * 37).astype(np.uint8)[:, None] + dr.astype(np.uint8)  # the noise repeats: wraps at 256
    noise_col = (c0 + number * 91).astype(np.uint8)[:, None] + dc.astype(np.uint8)
    rough = noise.take(noise_row.astype(np.uint16) << 8 | noise_col)
    q = distance / (tree[:, 2:3] * (0.8 + 0.36 * rough))
    keep = q < 1
    if min(c0.min(), r0.min()) < reach or max(c0.max(), r0.max()) >= n - reach:
        c, r = c0[:, None] + dc, r0[:, None] + dr
        keep &= (c >= 0) & (r >= 0) & (c < n) & (r < n)
    low, depth = tree[:, 4:5], tree[:, 3:4] - tree[:, 4:5]
    if kind == MATERIAL_ID["conifer"]:
        shape = 1 - 0.9 * q
    elif kind == MATERIAL_ID["palm"]:
        shape = 1 - 0.6 * q * q
    else:
        shape = np.sqrt(np.maximum(1 - 0.85 * q * q, 0.02))
    high = low + depth * (0.12 + 0.88 * shape) - (1 - rough) * 0.18 * depth
    value = ((high + 100) * 1000).astype(np.int64) << 32 | (number + 1)[:, None]
    bulge = np.float64(0.05 if kind == MATERIAL_ID["conifer"] else 0.28) * depth * q * q
    at = (r0 * n + c0)[:, None] + (dr * n + dc)
    return at[keep], value[keep], (low + bulge)[keep]


def _raise(key: np.ndarray, at: np.ndarray, value: np.ndarray) -> None:
    """`np.maximum.at`, several times as fast: write, then write again where something lower came last."""
    higher = value > key[at]
    while higher.any():
        at, value = at[higher], value[higher]
        key[at] = value
        higher = value > key[at]


def _canopy(crowns: _Crowns, height: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rasters of the crowns' tops and bases (−1000 where none) and of their trees; roofs hide crowns below them."""
    canopy, base = np.full_like(height, NOTHING), np.full_like(height, NOTHING)
    crown = np.zeros(height.shape, np.int32)
    seen = crowns.top > height.ravel()[crowns.at]
    at = crowns.at[seen]
    for image, values in ((canopy, crowns.top), (base, crowns.base), (crown, crowns.tree)):
        image.ravel()[at] = values[seen]
    return canopy, base, crown


def _trunks(plan: Plan, raster: Raster, material: np.ndarray, height: np.ndarray, instance: np.ndarray) -> None:
    r, c, ok = _cells(plan.trees[:, :2], raster)
    ok &= (plan.trees[:, 5] != MATERIAL_ID["shrub"]) & (instance[r, c] == 0)
    height[r[ok], c[ok]] = np.maximum(plan.trees[ok, 4] + 0.3, height[r[ok], c[ok]])
    material[r[ok], c[ok]] = MATERIAL_ID["trunk"]
