"""Pictures of results: arrays in, arrays out. Every picture here is (H, W, 3) uint8 RGB."""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from xview_demo.classes import CLASSES, PALETTE
from xview_demo.errors import XViewError
from xview_demo.files import atomic_path

INK = (31, 41, 55)
MUTED = (107, 114, 128)
PAPER = (255, 255, 255)
TRUTH = (22, 163, 74)
BEST = (37, 99, 235)
BAR_STEPS = (1, 2, 5, 10, 20, 50, 100, 200, 500)


def to_array(image: Any) -> np.ndarray:
    """Any picture (view, PIL image, tensor (3, H, W) in [0, 1], array) as (H, W, 3) uint8."""
    image = getattr(image, "image", image)
    if hasattr(image, "detach"):
        image = image.detach().float().cpu().numpy()
    if isinstance(image, Image.Image):
        image = np.asarray(image.convert("RGB"))
    array = np.asarray(image)
    if array.ndim == 4 and len(array) == 1:
        array = array[0]
    if array.ndim == 3 and array.shape[0] in (1, 3) and array.shape[-1] not in (1, 3):
        array = array.transpose(1, 2, 0)
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[-1] not in (1, 3):
        raise XViewError(f"An array of shape {array.shape} is no picture: expected (3, H, W) or (H, W, 3).")
    if array.dtype != np.uint8:
        array = (np.clip(array, 0, 1) * 255 + 0.5).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(array, (*array.shape[:2], 3)))


def save(picture: np.ndarray, path: str | os.PathLike[str], **options: Any) -> Path:
    """Write a picture under a temporary name and rename it; the suffix chooses the format (default PNG)."""
    target = Path(path)
    target = target if target.suffix else target.with_suffix(".png")
    if target.suffix.lower() not in Image.registered_extensions():
        raise XViewError(f"'{target.suffix}' is no picture format: name the file .png, .jpg or .webp.")
    with atomic_path(target) as temporary:
        Image.fromarray(to_array(picture)).save(temporary, **options)
    return target


def resize(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resample a picture; shrinking averages, enlarging interpolates."""
    if picture.shape[:2] == (height, width):
        return picture
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS))


def font(size: int) -> Any:
    """Pillow's own typeface, so that pictures look the same on every machine."""
    return ImageFont.load_default(size)


# ------------------------------------------------------------------------------------------------ classes and depth


def overlay_view(view: Any, segmentation: Any, alpha: float = 0.5) -> np.ndarray:
    """The classes of a segmentation blended over the picture they were found in, at the picture's own size.

    Args:
        view: the view, or any picture with the frame of the labels.
        segmentation: a `Segmentation`; its labels are enlarged to the picture by nearest neighbour.
        alpha: weight of the labels, 0–1.
    """
    picture = to_array(view)
    height, width = picture.shape[:2]
    paint = Image.fromarray(segmentation.colours()).resize((width, height), Image.Resampling.NEAREST)
    return (alpha * np.asarray(paint) + (1 - alpha) * picture + 0.5).astype(np.uint8)


def with_legend(picture: np.ndarray, areas: Mapping[str, float] | None = None) -> np.ndarray:
    """Add a row of colour swatches below: every class, or those that `areas` gives a share, with that share."""
    width = max(picture.shape[1], 360)
    size = max(11, min(18, width // 60))
    entries = [(name, PALETTE[i], None if areas is None else areas.get(name, 0.0)) for i, name in enumerate(CLASSES)]
    shown = [entry for entry in entries if entry[2] is None or entry[2] >= 0.005]
    face, line = font(size), int(size * 1.9)
    places, x, y = [], size, size // 2
    for name, colour, share in shown:
        text = name if share is None else f"{name} {share:.0%}"
        needed = int(size * 1.5 + face.getlength(text) + size * 1.2)
        if x + needed > width and x > size:
            x, y = size, y + line
        places.append((x, y, text, tuple(int(c) for c in colour)))
        x += needed
    strip = Image.new("RGB", (width, y + line), PAPER)
    draw = ImageDraw.Draw(strip)
    for x, y, text, colour in places:
        draw.rounded_rectangle((x, y + 2, x + size, y + 2 + size), 2, fill=colour, outline=MUTED)
        draw.text((x + size * 1.5, y + 1), text, fill=INK, font=face)
    return stack([picture, np.asarray(strip)])


def depth_map(metres: np.ndarray, maximum: float | None = None, bar: bool = True) -> np.ndarray:
    """Colour a depth map (near bright, far dark, sky grey) on a logarithmic scale, with a scale bar below.

    Args:
        metres: (H, W) distances in metres; inf or nan = sky or unknown.
        maximum: distance of the darkest colour; the 98th percentile if left out.
        bar: whether to add the scale bar.
    """
    from matplotlib import colormaps

    metres = np.asarray(metres, dtype=np.float32)
    known = np.isfinite(metres) & (metres > 0)
    near = 1.0
    if maximum is None:
        maximum = float(np.quantile(metres[known], 0.98)) if known.any() else 100.0
    far = max(maximum, near * 2)
    level = np.log(np.clip(np.where(known, metres, far), near, far) / near) / math.log(far / near)
    colour = (colormaps["magma"](1 - 0.95 * level)[..., :3] * 255).astype(np.uint8)
    colour[~known] = (214, 219, 226)
    return stack([colour, _depth_bar(near, far, max(colour.shape[1], 240))]) if bar else colour


def _depth_bar(near: float, far: float, width: int) -> np.ndarray:
    from matplotlib import colormaps

    size = max(11, min(16, width // 60))
    strip = Image.new("RGB", (width, size * 3), PAPER)
    left, right = size, width - size * 4
    ramp = colormaps["magma"](1 - 0.95 * np.linspace(0, 1, right - left))[None, :, :3]
    strip.paste(Image.fromarray(np.repeat((ramp * 255).astype(np.uint8), size, 0)), (left, size // 2))
    draw, face = ImageDraw.Draw(strip), font(size)
    for step in BAR_STEPS:
        if near <= step <= far:
            x = left + (right - left) * math.log(step / near) / math.log(far / near)
            draw.line((x, size * 1.5, x, size * 1.8), fill=INK)
            draw.text((x, size * 1.8), f"{step}", fill=INK, font=face, anchor="ma")
    draw.text((right + size, size // 2 - 1), "m", fill=MUTED, font=face)
    return np.asarray(strip)


def class_map(labels: np.ndarray) -> np.ndarray:
    """Paint a (H, W) label map in the class colours."""
    return PALETTE[np.clip(labels, 0, len(PALETTE) - 1)]


def veiled(picture: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Fade and hatch a picture (H, W, 3) where `shown` (h, w), drawn to its size, is False."""
    height, width = picture.shape[:2]
    rows, columns = np.arange(height), np.arange(width)
    hidden = ~shown[rows[:, None] * shown.shape[0] // height, columns * shown.shape[1] // width]
    hatch = ((rows[:, None] + columns) // 2 % 6 == 0)[..., None]
    faded = np.where(hatch, 0.15, 0.4) * picture + np.where(hatch, 0.85, 0.6) * 235
    return np.where(hidden[..., None], faded, picture).astype(np.uint8)


# ------------------------------------------------------------------------------------------------------- placing


def stack(pictures: Sequence[np.ndarray], gap: int = 0) -> np.ndarray:
    """Pictures one below the other, left-aligned on white, `gap` pixels apart."""
    width = max(picture.shape[1] for picture in pictures)
    height = sum(picture.shape[0] for picture in pictures) + gap * (len(pictures) - 1)
    canvas = np.full((height, width, 3), 255, np.uint8)
    top = 0
    for picture in pictures:
        canvas[top : top + picture.shape[0], : picture.shape[1]] = picture
        top += picture.shape[0] + gap
    return canvas


def beside(pictures: Sequence[np.ndarray], gap: int = 0) -> np.ndarray:
    """Pictures side by side, top-aligned on white, `gap` pixels apart."""
    turned = [picture.transpose(1, 0, 2) for picture in pictures]
    return np.ascontiguousarray(stack(turned, gap).transpose(1, 0, 2))


def slider_pair(first: Any, second: Any, size: int = 512) -> tuple[np.ndarray, np.ndarray]:
    """Two square pictures of one size, for a comparison slider."""
    return resize(to_array(first), size, size), resize(to_array(second), size, size)


def captioned(picture: np.ndarray, text: str, colour: tuple[int, int, int] = INK) -> np.ndarray:
    """Add lines of text below a picture."""
    size = max(11, min(18, picture.shape[1] // 14))
    lines = text.split("\n")
    strip = Image.new("RGB", (picture.shape[1], int(len(lines) * size * 1.35) + size // 2), PAPER)
    draw = ImageDraw.Draw(strip)
    for i, line in enumerate(lines):
        draw.text((3, 2 + i * size * 1.35), line, fill=colour if i == 0 else MUTED, font=font(size))
    return stack([picture, np.asarray(strip)])


def boxed(picture: np.ndarray, colour: tuple[int, int, int], width: int = 5) -> np.ndarray:
    """Draw a frame inside the picture's edge."""
    framed = picture.copy()
    for edge in (framed[:width], framed[-width:], framed[:, :width], framed[:, -width:]):
        edge[:] = colour
    return framed


def compass(picture: np.ndarray, heading: float | None, hfov: float = 360.0) -> np.ndarray:
    """Add a ruler of bearings below a panorama: N, NE, E, … where the heading is known, else −180° … 180°.

    Args:
        picture: an equirectangular strip or a photograph.
        heading: degrees clockwise from north of the centre column, None = unknown.
        hfov: degrees that the width spans.
    """
    width = picture.shape[1]
    size = max(11, min(18, width // 60))
    strip = Image.new("RGB", (width, int(size * 2.1)), PAPER)
    draw, face = ImageDraw.Draw(strip), font(size)
    step = 45 if hfov > 120 else 15
    names = dict(zip(range(0, 360, 45), ("N", "NE", "E", "SE", "S", "SW", "W", "NW"), strict=True))
    centre = 0.0 if heading is None else heading
    low, high = centre - hfov / 2, centre + hfov / 2
    for bearing in range(math.ceil(low / step) * step, math.floor(high / step) * step + 1, step):
        x = (bearing - low) / hfov * width
        turned = bearing % 360
        text = f"{bearing:+d}°".replace("+0°", "0°") if heading is None else names.get(turned, f"{turned}°")
        half = face.getlength(text) / 2
        draw.line((x, 0, x, size * 0.45), fill=MUTED)
        north = heading is not None and turned == 0
        draw.text(
            (min(max(x, half + 1), width - half - 1), size * 0.6),
            text,
            fill=(200, 30, 30) if north else INK,
            font=face,
            anchor="ma",
        )
    return stack([picture, np.asarray(strip)])


# ------------------------------------------------------------------------------------------------------- matches


def match_caption(match: Any) -> str:
    """Two lines about a match: rank and score, then its distance from the known place or its coordinates."""
    first = f"{match.rank} · score {match.score:.3f}"
    if match.distance_m is not None:
        return f"{first}\n{metres_text(match.distance_m)} away"
    return first if match.latlon is None else f"{first}\n{match.latlon[0]:.5f}, {match.latlon[1]:.5f}"


def metres_text(metres: float) -> str:
    """A distance for people: 12 m, 1.4 km, 320 km."""
    if metres < 1000:
        return f"{metres:.0f} m"
    return f"{metres / 1000:.1f} km" if metres < 100_000 else f"{metres / 1000:,.0f} km"


def true_match(matches: Sequence[Any], tile_metres: float = 64.0) -> int | None:
    """The place in `matches` of the tile nearest to the known position, if the position lies on it; else None."""
    known = [(m.distance_m, i) for i, m in enumerate(matches) if m.distance_m is not None]
    if not known or min(known)[0] > tile_metres * math.sqrt(0.5):
        return None
    return min(known)[1]


def match_tiles(tiles: Sequence[Any], matches: Sequence[Any], size: int = 224) -> list[np.ndarray]:
    """The matched tiles as pictures of one size, the true match boxed in green."""
    truth = true_match(matches)
    pictures = [resize(to_array(tile), size, size) for tile in tiles]
    return [boxed(p, TRUTH, max(4, size // 36)) if i == truth else p for i, p in enumerate(pictures)]


def match_strip(tiles: Sequence[Any], matches: Sequence[Any], size: int = 180, columns: int = 5) -> np.ndarray:
    """The top-K gallery: tiles in rows with scores and distances below, the true match boxed."""
    truth = true_match(matches)
    cells = [
        captioned(picture, match_caption(match), TRUTH if i == truth else INK)
        for i, (picture, match) in enumerate(zip(match_tiles(tiles, matches, size), matches, strict=True))
    ]
    rows = [beside(cells[start : start + columns], gap=8) for start in range(0, len(cells), columns)]
    return stack(rows, gap=10) if rows else np.full((size, size, 3), 255, np.uint8)


def localization_figure(view: Any, gallery: Any, result: Any) -> np.ndarray:
    """One picture of an answer: the query with its bearings, then the best tiles.

    Args:
        view: the query, a `GroundView`.
        gallery: the `Gallery` that was searched.
        result: the `Localization`.
    """
    tiles = [gallery.tile(gallery.names.index(match.tile)) for match in result.matches]
    strip = match_strip(tiles, result.matches)
    width = max(strip.shape[1], 560)
    query = to_array(view)
    query = resize(query, max(1, round(query.shape[0] * width / query.shape[1])), width)
    heading = view.heading if result.heading is None else result.heading
    return stack([compass(query, heading, view.hfov), strip], gap=10)


# -------------------------------------------------------------------------------------------------------- charts


def recall_curve(curves: Mapping[str, Mapping[int, float]], chance: int | None = None) -> np.ndarray:
    """Recall@K against K.

    Args:
        curves: name → K → recall in percent.
        chance: number of tiles in the gallery; draws what guessing gives.
    """
    figure, axes = _figure(5.6, 3.6)
    for name, points in curves.items():
        steps = sorted(points)
        axes.plot(steps, [points[k] for k in steps], marker="o", markersize=3, label=name)
    if chance:
        last = max((max(points) for points in curves.values() if points), default=10)
        axes.plot([1, last], [100 / chance, 100 * last / chance], "--", color="#9ca3af", label="chance")
    axes.set(xlabel="K", ylabel="recall@K (%)", ylim=(0, 102))
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    return _drawn(figure)


def reliability_chart(reliability: Mapping[str, Any], abstention: Mapping[str, float]) -> np.ndarray:
    """Accuracy against stated confidence, and the accuracy of the most confident answers.

    Args:
        reliability: of `metrics.reliability`.
        abstention: of `metrics.abstention`.
    """
    figure, axes = _figure(5.6, 3.6)
    stated, right = (100 * np.asarray(reliability[name]) for name in ("confidence", "accuracy"))
    size = 12 + 120 * np.asarray(reliability["count"]) / max(reliability["count"])
    axes.plot([0, 100], [0, 100], "--", color="#9ca3af", label="honest")
    text = f"stated confidence, calibration error {100 * reliability['ece']:.1f} %"
    axes.scatter(stated, right, s=size, color="#2563eb", label=text)
    shares = sorted(map(int, abstention))
    answers = [abstention[str(share)] for share in shares]
    axes.plot(shares, answers, marker="o", markersize=3, color="#f59e0b", label="the most confident % of answers")
    axes.set(xlabel="%", ylabel="right (%)", xlim=(0, 102), ylim=(0, 102))
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, fontsize=8)
    return _drawn(figure)


def scatter(points: Mapping[str, np.ndarray]) -> np.ndarray:
    """Named sets of points (n, 2) of equal length; a line joins those of the same number."""
    figure, axes = _figure(4.6, 4.6)
    sets = list(points.values())
    for pair in zip(*sets, strict=True):
        axes.plot(*np.array(pair).T, color="#d1d5db", linewidth=0.4, zorder=0)
    for name, values in points.items():
        axes.scatter(*np.asarray(values).T, s=6, label=name)
    axes.set(xticks=[], yticks=[], xlabel="first component", ylabel="second component")
    axes.legend(frameon=False)
    return _drawn(figure)


def area_map(
    latlons: np.ndarray, probability: np.ndarray, matches: Sequence[Any] = (), truth: Any = None
) -> np.ndarray:
    """The gallery seen from above: each tile's probability, the matches ringed, the known place starred.

    Args:
        latlons: (N, 2) degrees, the tiles' centres.
        probability: (N,) as in `Localization.probability`.
        matches: the `Match`es to ring.
        truth: (lat, lon) of the query where known.
    """
    latlons = np.asarray(latlons, dtype=float).reshape(-1, 2)
    lat0, lon0 = latlons.mean(0)
    scale = np.array([110_574.0, 111_320.0 * math.cos(math.radians(lat0))])
    north, east = ((latlons - (lat0, lon0)) * scale).T
    figure, axes = _figure(4.2, 4.8)
    level = np.log10(np.clip(np.asarray(probability, dtype=float), 1e-6, 1))
    spread = max(float(np.ptp(east)), float(np.ptp(north)), 64.0)
    step = _nearest(np.stack([east, north], 1)) / spread  # of the axes' width
    side = min(18.0, max(4.0, 230.0 * step))  # points
    order = np.argsort(level)  # the probable ones on top
    shown = {"c": level[order], "s": side**2, "marker": "s", "linewidths": 0}
    points = axes.scatter(east[order], north[order], cmap="viridis", vmin=-6, vmax=0, **shown)
    for match in matches:
        if match.latlon is not None:
            y, x = (np.asarray(match.latlon) - (lat0, lon0)) * scale
            axes.plot(x, y, marker="o", markersize=side + 4, fillstyle="none", color="#111827", markeredgewidth=0.8)
            if match.rank == 1:
                line = {"arrowstyle": "-", "color": "#111827", "linewidth": 0.8}
                where = {"xytext": (-26, 22), "textcoords": "offset points", "fontsize": 9}
                axes.annotate("best", (x, y), arrowprops=line, ha="center", weight="bold", **where)
    if truth is not None:
        y, x = (np.asarray(truth, dtype=float) - (lat0, lon0)) * scale
        if max(abs(x), abs(y)) < 2 * spread:
            axes.plot(x, y, marker="*", markersize=13, color="#f43f5e", markeredgecolor="white", linestyle="none")
    axes.set(xlabel="metres east", ylabel="metres north", aspect="equal")
    figure.get_layout_engine().set(rect=(0, 0, 1, 0.94))
    bar = figure.colorbar(points, ax=axes, location="bottom", shrink=0.9)
    bar.set_ticks([-6, -4, -2, 0], labels=["≤ 0.0001 %", "0.01 %", "1 %", "100 %"])
    bar.set_label("probability of each tile (★ = known position)" if truth is not None else "probability of each tile")
    return _drawn(figure)


def _nearest(points: np.ndarray) -> float:
    """The median distance from a point (N, 2) to its nearest neighbour; 0 for a single point."""
    from scipy.spatial import cKDTree

    return float(np.median(cKDTree(points).query(points, k=2)[0][:, 1])) if len(points) > 1 else 0.0


def _figure(width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _drawn(figure: Any) -> np.ndarray:
    figure.canvas.draw()
    return np.ascontiguousarray(np.asarray(figure.canvas.buffer_rgba())[..., :3])
