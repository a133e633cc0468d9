"""The vector plan of a world: streets, blocks, buildings, planting, water, cars, camera positions.

`build_plan(seed)` draws everything from one seed, with one generator per concern, and returns a `Plan` of plain
arrays; `surface.build_surface` turns it into rasters. Positions are (east, north) metres from the centre.
"""

from dataclasses import dataclass, field

import cv2
import numpy as np

from ..errors import XViewError
from .biome import BIOMES, Character, pick
from .blocks import fill_blocks
from .draft import TAKEN_ROAD, Area, Draft, Line, Strip, rectangles
from .materials import BUILDING, MATERIAL_ID
from .nature import finish_nature
from .roads import build_network
from .streets import claim_posts, find_viewpoints, furnish_streets, lay_streets, paint_streets
from .terrain import Terrain, build_terrain

CLEAR = 1.6  # metres between a camera and anything solid
STEP = 0.5  # metres per cell of the map of solids
CAR_COLOURS = np.array(
    [[0.8, 0.8, 0.79], [0.7, 0.71, 0.72], [0.08, 0.08, 0.09], [0.2, 0.21, 0.23], [0.42, 0.43, 0.45], [0.45, 0.07, 0.07],
     [0.1, 0.17, 0.36], [0.3, 0.36, 0.42], [0.35, 0.3, 0.22], [0.1, 0.22, 0.16], [0.7, 0.6, 0.2]]
)  # fmt: skip
CAR_WEIGHTS = np.array([0.24, 0.16, 0.18, 0.13, 0.09, 0.06, 0.06, 0.04, 0.02, 0.01, 0.01])


@dataclass(frozen=True)
class Cars:
    """Cars at the two moments: rows (n, 9) of east, north, heading (degrees), length, width, height (m), r, g, b."""

    parked_ground: np.ndarray  # float32, standing when the panorama is taken
    parked_aerial: np.ndarray  # float32, standing when the aerial picture is taken
    moving_ground: np.ndarray  # float32
    moving_aerial: np.ndarray  # float32

    @property
    def ground(self) -> np.ndarray:
        """Every car of the street-level moment (n, 9)."""
        return np.concatenate([self.parked_ground, self.moving_ground])

    @property
    def aerial(self) -> np.ndarray:
        """Every car of the aerial moment (n, 9)."""
        return np.concatenate([self.parked_aerial, self.moving_aerial])


@dataclass(frozen=True)
class Plan:
    """A world as vectors."""

    seed: int
    biome: str
    size: float  # metres, side of the square
    character: Character
    terrain: Terrain
    areas: list[Area]  # in painting order
    strips: list[Strip]
    lines: list[Line]
    posts: np.ndarray  # float32 (P, 4): east, north, height above ground, material
    buildings: np.ndarray  # float32 (N, len(BUILDING))
    roof_materials: np.ndarray  # uint8 (N,)
    trees: np.ndarray  # float32 (T, 6): east, north, radius, top, base (absolute metres), crown material id
    cars: Cars
    viewpoints: np.ndarray  # float32 (M, 3): east, north, heading in degrees
    names: dict[str, float] = field(default_factory=dict)


def build_plan(seed: int, biome: str | None = None, size: float = 1000.0) -> Plan:
    """Plan a world of `size` metres.

    Args:
        seed: any non-negative integer; the same seed gives the same plan.
        biome: a name of `BIOMES`, or None to draw one.
        size: side of the square in metres, 120 to 4000.

    Raises:
        XViewError: unknown biome or size out of range.
    """
    if biome is not None and biome not in BIOMES:
        raise XViewError(f"No biome named '{biome}'. Available: {', '.join(BIOMES)}.")
    if not 120 <= size <= 4000:
        raise XViewError(f"A world of {size} m is out of range; choose a size from 120 to 4000 metres.")
    streams = np.random.SeedSequence([0x5EED, seed]).spawn(12)
    rng = [np.random.default_rng(stream) for stream in streams]
    name = biome or pick(rng[0], dict.fromkeys(BIOMES, 1.0))
    character = BIOMES[name].sample(rng[1])
    terrain = build_terrain(rng[2], character, size)
    draft = Draft(character, size, terrain)
    network = build_network(rng[3], character, terrain, size)
    blocks = lay_streets(draft, network, rng[4])
    paint_streets(draft, network, rng[5])
    furnish_streets(draft, network, rng[6])
    claim_posts(draft)
    find_viewpoints(draft, network, rng[7])
    fill_blocks(draft, network, blocks, rng[8])
    finish_nature(draft, rng[9])
    return _finish(seed, name, draft, rng[10])


def _finish(seed: int, name: str, draft: Draft, rng: np.random.Generator) -> Plan:
    terrain, half = draft.terrain, draft.size / 2
    trees = np.concatenate(draft.trees) if draft.trees else np.zeros((0, 5))
    trees = trees[(np.abs(trees[:, :2]) < half + 6).all(1)]
    ground = terrain.height(trees[:, :2])
    share = np.where(
        trees[:, 4] == MATERIAL_ID["conifer"], 0.12, np.where(trees[:, 4] == MATERIAL_ID["palm"], 0.72, 0.3)
    )
    share = np.where(trees[:, 4] == MATERIAL_ID["shrub"], 0.03, share) * rng.uniform(0.7, 1.3, len(trees))
    table = np.column_stack(
        [trees[:, :3], ground + trees[:, 3], ground + trees[:, 3] * np.minimum(share, 0.85), trees[:, 4]]
    )
    rows = np.array(draft.rows, np.float32).reshape(-1, len(BUILDING))
    keep = (np.abs(rows[:, :2]) < half + 60).all(1)
    draft.areas.sort(key=lambda area: area.layer)
    views = np.concatenate([v for v in draft.viewpoints]) if draft.viewpoints else np.zeros((0, 3))
    return Plan(
        seed, name, draft.size, draft.character, terrain, draft.areas, draft.strips, draft.lines,
        np.array(draft.posts, np.float32).reshape(-1, 4), rows[keep], np.array(draft.roof_materials, np.uint8)[keep],
        table.astype(np.float32), _cars(draft, rng), _clear(draft, views, trees).astype(np.float32),
    )  # fmt: skip


def _cars(draft: Draft, rng: np.random.Generator) -> Cars:
    def dress(rows: list[tuple[float, ...]]) -> np.ndarray:
        table = np.array(rows, float).reshape(len(rows), -1)[:, :4] if rows else np.zeros((0, 4))
        n = len(table)
        kind = rng.random(n)
        lorry = table[:, 3] > 0.5
        van = (kind > 0.88) & ~lorry
        length = np.where(lorry, rng.uniform(7, 12, n), np.where(van, 5.3, rng.uniform(3.8, 4.9, n)))
        width = np.where(lorry, 2.5, np.where(van, 2.0, rng.uniform(1.7, 1.95, n)))
        height = np.where(lorry, rng.uniform(3, 3.8, n), np.where(van, 2.1, rng.uniform(1.42, 1.8, n)))
        colour = CAR_COLOURS[rng.choice(len(CAR_COLOURS), n, p=CAR_WEIGHTS)] * rng.uniform(0.85, 1.12, (n, 1))
        colour = np.where((lorry | van)[:, None] & (rng.random((n, 1)) < 0.6), 0.78, colour)
        return np.column_stack([table[:, :3], length, width, height, np.clip(colour, 0.03, 0.9)]).astype(np.float32)

    parked = dress(draft.parked)
    both = rng.random((2, len(parked))) < 0.6
    moving = dress(draft.moving)
    moment = np.array([row[4] for row in draft.moving]).astype(int)
    return Cars(parked[both[0]], parked[both[1]], moving[moment == 0], moving[moment == 1])


def _clear(draft: Draft, views: np.ndarray, trees: np.ndarray) -> np.ndarray:
    """Keep the camera positions on dry land, inside the square and away from solids; never fewer than a handful."""
    half = draft.size / 2
    solid, slim = _solids(draft, trees)

    def kept(positions: np.ndarray, anywhere: bool) -> np.ndarray:
        positions = positions[(np.abs(positions[:, :2]) < half - 2).all(1)]
        wet = draft.terrain.distance.at(positions[:, :2]) < -1.0
        taken = draft.taken[draft.cell(positions[:, :2])]
        dry = (taken == 0) & ~wet if anywhere else ~wet | ((taken & TAKEN_ROAD) > 0)
        positions = positions[dry]
        col = ((positions[:, 0] + half) / STEP).astype(int)
        row = ((half - positions[:, 1]) / STEP).astype(int)
        return positions[~(_near(solid, row, col, CLEAR) | _near(slim, row, col, 2 * CLEAR))]

    found = kept(views, False)
    if len(found) < 12:  # a small square that no road crosses: open ground will do
        axis = np.arange(-half + 4, half - 3, 7.0)
        lattice = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
        found = np.concatenate([found, kept(np.column_stack([lattice, np.zeros(len(lattice))]), True)])
    return found


def _near(image: np.ndarray, row: np.ndarray, col: np.ndarray, clear: float) -> np.ndarray:
    """Whether anything is set within `clear` metres of cells (m,) of a map of cells of `STEP` metres."""
    reach = int(np.ceil(clear / STEP)) + 1
    down, right = np.nonzero(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1)))
    return np.pad(image, reach)[row[:, None] + down, col[:, None] + right].max(1) > 0


def _solids(draft: Draft, trees: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Maps (n, n) uint8 of cells of `STEP` metres: 1 on buildings, trunks and strips; 1 on posts."""
    half = draft.size / 2
    n = int(np.ceil(draft.size / STEP))
    solid, slim = np.zeros((n, n), np.uint8), np.zeros((n, n), np.uint8)

    def pixels(points: np.ndarray) -> np.ndarray:
        flipped = np.stack([points[..., 0] + half, half - points[..., 1]], -1)
        return np.round((flipped / STEP - 0.5) * 16).astype(np.int32)

    if draft.rows:
        for corners in pixels(rectangles(np.array(draft.rows))):
            cv2.fillConvexPoly(solid, corners, 1, shift=4)
    if draft.strips:
        joined = pixels(np.concatenate([strip.points for strip in draft.strips]))
        ends = np.cumsum([len(strip.points) for strip in draft.strips]).tolist()
        lines = [joined[start:end] for start, end in zip([0, *ends], ends, strict=False)]
        cv2.polylines(solid, lines, False, 1, 2, shift=4)
    for image, spots in ((solid, trees[:, :2]), (slim, np.array([post[:2] for post in draft.posts]).reshape(-1, 2))):
        col = np.floor((spots[:, 0] + half) / STEP).astype(int)
        row = np.floor((half - spots[:, 1]) / STEP).astype(int)
        ok = (col >= 0) & (col < n) & (row >= 0) & (row < n)
        image[row[ok], col[ok]] = 1
    return solid, slim
