"""What the verbs share: their options, how a localizer, a picture or a gallery is named, how a result is printed."""

import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from xview_demo.gallery import Gallery
    from xview_demo.localizer import GeoLocalizer
    from xview_demo.views import GroundView

Image = Annotated[Path, typer.Argument(metavar="IMAGE", help="A picture: JPEG, PNG, TIFF, WebP, …")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one line of JSON.")]
Model = Annotated[
    str | None,
    typer.Option("--model", help="Hub repository or directory; the bundled models when left out."),
]
Device = Annotated[str | None, typer.Option("--device", help="cpu, cuda, mps, …; chosen when left out.")]
Heading = Annotated[
    float | None,
    typer.Option("--heading", help="Degrees clockwise from north of the centre column; overrides the metadata."),
]
Hfov = Annotated[
    float | None,
    typer.Option("--hfov", help="Horizontal field of view in degrees; overrides the metadata."),
]
CameraHeight = Annotated[
    float | None,
    typer.Option("--camera-height", help="Metres of the camera above the ground; guessed when left out."),
]
Kind = Annotated[
    str, typer.Option("--kind", help="What a gallery that is built holds: aerial tiles, or ground photographs.")
]
Places = Annotated[
    str | None, typer.Option("--places", help="The model that encodes photographs; the bundled one when left out.")
]
Seed = Annotated[int, typer.Option("--seed", help="Seed of every random choice.")]


def say(result: dict[str, Any], text: str, as_json: bool) -> None:
    """Print a result: the object as the last line with `--json`, else the text."""
    typer.echo(json.dumps(_finite(result), allow_nan=False) if as_json else text)


def _finite(value: Any) -> Any:
    """The value with NaN and infinity, which JSON does not know, as None."""
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def localizer(model: str | None, device: str | None, places: str | None = None) -> "GeoLocalizer":
    """The bundled localizer, or that of a directory or repository; `places` names its model for photographs."""
    from xview_demo import GeoLocalizer

    source = () if model is None else (model,)
    geo = GeoLocalizer.from_pretrained(*source, device=device)
    if places is not None:
        geo.use("places", places)
    return geo


def ground_view(
    path: Path, heading: float | None, hfov: float | None, camera_height: float | None = None
) -> "GroundView":
    """The ground view in a file."""
    from xview_demo import GroundView

    return GroundView.open(path, heading=heading, hfov=hfov, camera_height=camera_height)


def world_of(text: str) -> Any:
    """The world named by `world:SEED` or `world:SEED:BIOME`."""
    from xview_demo import World
    from xview_demo.errors import XViewError

    seed, _, biome = text.removeprefix("world:").partition(":")
    if not seed.isdecimal():
        raise XViewError(f"'{text}' names no world: write world:SEED or world:SEED:BIOME, e.g. world:950001.")
    return World(int(seed), biome=biome or None)


def source_of(text: str, grid: bool = False) -> Any:
    """A gallery's source: for `world:…` the tiles along its streets (all of it with `grid`), else the path."""
    from xview_demo.errors import XViewError

    if text.startswith("world:"):
        from xview_demo.tiles import StreetTiles

        world = world_of(text)
        return world if grid else StreetTiles(world)
    if not Path(text).exists():
        raise XViewError(f"There is nothing at '{text}': give a folder of tiles, a GeoTIFF, a CSV or world:SEED.")
    return Path(text)


def gallery_of(text: str | None, geo: "GeoLocalizer", kind: str = "aerial") -> "Gallery":
    """The gallery in a directory, or one built on the spot from `world:…` or from a folder of tiles or photographs."""
    from xview_demo import Gallery
    from xview_demo.errors import XViewError

    if text is None:
        raise XViewError(
            "No gallery to search: give --gallery DIR (made by `xview gallery build`) or --gallery world:SEED."
        )
    source = source_of(text)
    if isinstance(source, Path) and (source / "gallery.json").is_file():
        return Gallery.open(source, geo)
    return Gallery.build(source, geo, kind=kind, progress=progress("encoding tiles"))


def zone_of(text: str | None) -> tuple[int, str] | None:
    """A UTM zone such as 18N as (18, "N"); None stays None."""
    from xview_demo.errors import XViewError

    if text is None:
        return None
    number, hemisphere = text[:-1], text[-1:].upper()
    if not number.isdecimal() or not 1 <= int(number) <= 60 or hemisphere not in ("N", "S"):
        raise XViewError(f"'{text}' is no UTM zone: write its number and N or S, e.g. 18N.")
    return int(number), hemisphere


def progress(label: str) -> Any:
    """A callback (done, total) that redraws one line on standard error when that is a terminal."""

    def show(done: int, total: int) -> None:
        if sys.stderr.isatty():
            end = "\n" if total and done >= total else ""
            print(f"\r{label}: {done}/{total or '?'}", end=end, file=sys.stderr, flush=True)

    return show


def write(picture: Any, path: Path) -> str:
    """Write a (H, W, 3) uint8 picture under a temporary name, rename it, and return its path."""
    from xview_demo import viz

    return str(viz.save(picture, path))


def beside(image: Path, suffix: str, out: Path | None) -> Path:
    """Where a picture goes: `out`, else the current folder under the input's name and a suffix."""
    return out or Path(f"{image.stem}-{suffix}.png")


def region_of(text: str | None) -> Any:
    """`lat,lon,radius_m`, `lat0,lon0,lat1,lon1` or `lat,lon;lat,lon;lat,lon…` as numbers."""
    from xview_demo.errors import XViewError

    if text is None:
        return None
    try:
        corners = [tuple(float(number) for number in part.split(",")) for part in text.split(";")]
    except ValueError:
        raise XViewError(
            f"'{text}' is no region: write lat,lon,radius_m or lat0,lon0,lat1,lon1 or corners lat,lon;lat,lon;lat,lon."
        ) from None
    return corners if len(corners) > 1 else corners[0]
