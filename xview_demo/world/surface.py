"""Rasters of a plan: ground, height, crowns, materials, paint and pattern, all (S, S), row 0 in the north."""

from dataclasses import dataclass

import cv2
import numpy as np

from .draft import ROAD, WALK, Area, Pattern, rectangles
from .materials import MATERIAL_ID, B
from .town import Plan

SHIFT = 4  # sub-pixel bits of the drawing functions
NOTHING = -1000.0  # canopy where no crown is


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

    def fill(self, image: np.ndarray, rings: list[np.ndarray], value: float) -> None:
        """Fill a polygon with holes."""
        cv2.fillPoly(image, [self.pixels(ring) for ring in rings], value, shift=SHIFT)

    def window(self, rings: list[np.ndarray]) -> tuple[slice, slice] | None:
        """Rows and columns that a polygon touches; None where it lies outside."""
        outer = self.pixels(rings[0]) >> SHIFT
        lo, hi = np.maximum(outer.min(0) - 1, 0), np.minimum(outer.max(0) + 2, self.n)
        return (slice(lo[1], hi[1]), slice(lo[0], hi[0])) if (hi > lo).all() else None


def build_surface(plan: Plan, resolution: float) -> Surface:
    """Rasterise a plan at `resolution` metres per pixel (0.2 to 2)."""
    raster = Raster(plan.size, resolution)
    n = raster.n
    ground = cv2.resize(plan.terrain.elevation.values, (n, n), interpolation=cv2.INTER_CUBIC)
    material, pattern, deck = _areas(plan, raster)
    water = np.isin(material, [MATERIAL_ID["river"], MATERIAL_ID["sea"]])
    if water.any():
        ground = _carve(plan, ground, water, raster)
    pool = material == MATERIAL_ID["pool"]
    ground[pool] -= 0.25
    white, yellow = _paint(plan, raster, pattern)
    white[deck == 0] = 0
    yellow[deck == 0] = 0
    height = ground.copy()
    cover = material.copy()
    broad = _strips(plan, raster, material, height, ground, deck)
    instance = _buildings(plan, raster, material, height)
    np.copyto(cover, material, where=broad | (instance > 0))
    _posts(plan, raster, material, height, ground)
    canopy, base, crown = _crowns(plan, raster, height)
    kinds = np.concatenate([[0], plan.trees[:, 5]]).astype(np.uint8)
    _trunks(plan, raster, material, height, crown, instance)
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


def _areas(plan: Plan, raster: Raster) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    n = raster.n
    material = np.full((n, n), plan.areas[0].material if plan.areas else 7, np.uint8)
    pattern = np.full((n, n), 128, np.uint8)
    deck = np.zeros((n, n), np.uint8)
    for area in plan.areas:
        raster.fill(material, area.rings, area.material)
        if area.layer >= WALK:
            raster.fill(deck, area.rings, 1 if area.layer < ROAD else 2)
        if area.pattern is not None:
            _stripes(area, area.pattern, raster, pattern)
        elif area.layer > 0:
            raster.fill(pattern, area.rings, 128)
    return material, pattern, deck


def _stripes(area: Area, pattern: Pattern, raster: Raster, image: np.ndarray) -> None:
    window = raster.window(area.rings)
    if window is None:
        return
    rows, cols = window
    view = image[rows, cols]
    mask = np.zeros(view.shape, np.uint8)
    corner = np.array([cols.start, rows.start], np.int32) << SHIFT
    cv2.fillPoly(mask, [raster.pixels(ring) - corner for ring in area.rings], 1, shift=SHIFT)
    value = np.float32(128 + pattern.shift)
    if not pattern.spacing:
        view[mask > 0] = np.uint8(np.clip(value, 0, 255))
        return
    east = ((np.arange(cols.start, cols.stop) + 0.5) * raster.resolution).astype(np.float32)
    north = -((np.arange(rows.start, rows.stop) + 0.5) * raster.resolution).astype(np.float32)
    across = np.float32(np.cos(pattern.angle)) * east[None] + np.float32(np.sin(pattern.angle)) * north[:, None]
    turn = (across * np.float32(256 / pattern.spacing)).astype(np.int32).astype(np.uint8)
    wave = value + pattern.strength * np.sin(np.arange(256) / 128 * np.pi)
    stripes = np.clip(wave, 0, 255).astype(np.uint8)[turn]
    if pattern.tramline:
        lane = np.abs(across % np.float32(pattern.tramline) - 1.2) < max(0.3, raster.resolution / 2)
        stripes = np.where(lane, np.uint8(np.clip(value - 26, 0, 255)), stripes)
    np.copyto(view, stripes, where=mask > 0)


def _carve(plan: Plan, ground: np.ndarray, water: np.ndarray, raster: Raster) -> np.ndarray:
    soft = max(int(round(2.5 / raster.resolution)) | 1, 3)
    wet = cv2.blur(water.astype(np.float32), (soft, soft))
    depth = np.clip(wet * 1.6 - 0.2, 0, 1)
    natural = np.maximum(ground * (1 - depth), 0.0)
    firm = plan_deck(plan, raster)
    out = np.where((wet > 0) & (firm == 0), natural, ground)
    out[water] = 0.0
    return out.astype(np.float32)


def plan_deck(plan: Plan, raster: Raster) -> np.ndarray:
    """Where streets lie (S, S) uint8: there the ground keeps the height of the banks."""
    deck = np.zeros((raster.n, raster.n), np.uint8)
    for area in plan.areas:
        if area.layer >= WALK:
            raster.fill(deck, area.rings, 1)
    return deck


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
    """Draw hedges, fences and walls, a pixel wide at least; True where one covers half of its pixels or more."""
    ids = np.zeros((raster.n, raster.n), np.uint8)
    rise = np.zeros((raster.n, raster.n), np.float32)
    on_deck = np.zeros((raster.n, raster.n), np.uint8)
    broad = np.zeros((raster.n, raster.n), np.uint8)
    for strip in plan.strips:
        thick = max(int(round(strip.width / raster.resolution)), 1)
        points = [raster.pixels(strip.points)]
        cv2.polylines(ids, points, False, strip.material, thick, cv2.LINE_4, SHIFT)
        cv2.polylines(rise, points, False, strip.height, thick, cv2.LINE_4, SHIFT)
        cv2.polylines(broad, points, False, int(strip.width >= raster.resolution / 2), thick, cv2.LINE_4, SHIFT)
        if strip.width == 0.35:
            cv2.polylines(on_deck, points, False, 1, thick, cv2.LINE_4, SHIFT)
    drives = np.isin(
        material, [MATERIAL_ID[k] for k in ("asphalt", "worn_asphalt", "concrete", "river", "sea", "pool")]
    )
    where = (ids > 0) & (((deck == 0) & ~drives) | (on_deck > 0))
    material[where] = ids[where]
    height[where] = ground[where] + rise[where]
    return where & (broad > 0)


def _buildings(plan: Plan, raster: Raster, material: np.ndarray, height: np.ndarray) -> np.ndarray:
    instance = np.zeros((raster.n, raster.n), np.int32)
    table = plan.buildings
    for i, corners in enumerate(raster.pixels(rectangles(table))):
        cv2.fillConvexPoly(instance, corners, i + 1, shift=SHIFT)
    where = np.flatnonzero(instance)
    index = instance.ravel()[where] - 1
    r, c = np.divmod(where, raster.n)
    east = ((c + 0.5) * raster.resolution - raster.half).astype(np.float32) - table[index, B["east"]]
    north = (raster.half - (r + 0.5) * raster.resolution).astype(np.float32) - table[index, B["north"]]
    cos, sin = table[index, B["cos"]], table[index, B["sin"]]
    hl, hw = table[index, B["half_length"]], table[index, B["half_width"]]
    across = 1 - np.abs(north * cos - east * sin) / hw
    along = (hl - np.abs(east * cos + north * sin)) / hw
    roof = table[index, B["roof"]]
    share = np.where(roof == 2, np.minimum(across, along), across)
    top = table[index, B["eave"]] + np.where(roof == 0, 0, table[index, B["rise"]] * np.clip(share, 0, 1))
    height.ravel()[where] = top
    material.ravel()[where] = plan.roof_materials[index]
    return instance


def _posts(plan: Plan, raster: Raster, material: np.ndarray, height: np.ndarray, ground: np.ndarray) -> None:
    if not len(plan.posts):
        return
    r, c, ok = _cells(plan.posts[:, :2], raster)
    ok &= material[r, c] != 0
    ok &= ~np.isin(material[r, c], [MATERIAL_ID[k] for k in ("roof_tile", "roof_metal", "roof_flat", "roof_shingle")])
    height[r[ok], c[ok]] = ground[r[ok], c[ok]] + plan.posts[ok, 2]
    material[r[ok], c[ok]] = plan.posts[ok, 3].astype(np.uint8)


def _cells(points: np.ndarray, raster: Raster) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    c = np.floor((points[:, 0] + raster.half) / raster.resolution).astype(int)
    r = np.floor((raster.half - points[:, 1]) / raster.resolution).astype(int)
    ok = (c >= 0) & (r >= 0) & (c < raster.n) & (r < raster.n)
    return np.clip(r, 0, raster.n - 1), np.clip(c, 0, raster.n - 1), ok


def _crowns(plan: Plan, raster: Raster, height: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tops and bases of the crowns: domes, cones and fans with ragged edges; the highest crown wins."""
    n, res = raster.n, raster.resolution
    key = np.zeros(n * n, np.int64)  # top in millimetres above −100 m, then the tree
    under = np.full(n * n, NOTHING, np.float32)
    noise = np.random.default_rng([plan.seed, 77]).random((256, 256), dtype=np.float32)
    noise = 0.6 * noise + 0.4 * cv2.resize(noise[:128, :128], (256, 256), interpolation=cv2.INTER_LINEAR)
    radius = plan.trees[:, 2]
    order = np.argsort(radius, kind="stable")
    for group in np.array_split(order, max(len(order) // 600, 1)):
        if not len(group):
            continue
        reach = int(np.ceil(radius[group].max() * 1.12 / res)) + 1
        axis = np.arange(-reach, reach + 1)
        dr, dc = (a.ravel() for a in np.meshgrid(axis, axis, indexing="ij"))
        disc = dr**2 + dc**2 <= (reach + 0.5) ** 2
        dr, dc = dr[disc], dc[disc]
        tree = plan.trees[group]
        col = (tree[:, 0] + raster.half) / res - 0.5
        row = (raster.half - tree[:, 1]) / res - 0.5
        c0, r0 = np.round(col).astype(np.int64), np.round(row).astype(np.int64)
        c, r = c0[:, None] + dc, r0[:, None] + dr
        distance = np.hypot((c - col[:, None]), (r - row[:, None])).astype(np.float32) * np.float32(res)
        rough = noise[(r + group[:, None] * 37) & 255, (c + group[:, None] * 91) & 255]
        q = distance / (tree[:, 2:3] * (0.8 + 0.36 * rough))
        keep = (q < 1) & (c >= 0) & (r >= 0) & (c < n) & (r < n)
        t, p = np.nonzero(keep)
        q, rough, flat = q[keep], rough[keep], (r * n + c)[keep]
        top, low, kind = tree[t, 3], tree[t, 4], tree[t, 5]
        depth = top - low
        dome = np.sqrt(np.maximum(1 - 0.85 * q * q, 0.02))
        cone = 1 - 0.9 * q
        shape = np.where(
            kind == MATERIAL_ID["conifer"], cone, np.where(kind == MATERIAL_ID["palm"], 1 - 0.6 * q * q, dome)
        )
        high = low + depth * (0.12 + 0.88 * shape) - (1 - rough) * 0.18 * depth
        value = ((high + 100) * 1000).astype(np.int64) << 32 | (group[t] + 1)
        np.maximum.at(key, flat, value)
        mine = key[flat] == value
        bulge = np.where(kind == MATERIAL_ID["conifer"], 0.05, 0.28) * depth * q * q
        under[flat[mine]] = (low + bulge)[mine]
    crown = (key & 0xFFFFFFFF).astype(np.int32).reshape(n, n)
    canopy = np.where(crown > 0, (key >> 32).reshape(n, n).astype(np.float32) / 1000 - 100, NOTHING).astype(np.float32)
    hidden = (crown > 0) & (canopy <= height)
    crown[hidden] = 0
    base = under.reshape(n, n)
    base = np.where(crown > 0, np.minimum(base, canopy - 0.2), NOTHING).astype(np.float32)
    canopy[crown == 0] = NOTHING
    return canopy, base, crown


def _trunks(
    plan: Plan, raster: Raster, material: np.ndarray, height: np.ndarray, crown: np.ndarray, instance: np.ndarray
) -> None:
    r, c, ok = _cells(plan.trees[:, :2], raster)
    ok &= (plan.trees[:, 5] != MATERIAL_ID["shrub"]) & (instance[r, c] == 0)
    height[r[ok], c[ok]] = np.maximum(plan.trees[ok, 4] + 0.3, height[r[ok], c[ok]])
    material[r[ok], c[ok]] = MATERIAL_ID["trunk"]
