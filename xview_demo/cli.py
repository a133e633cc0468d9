"""The command line, `xview VERB …`: each verb opens its inputs, makes one library call and prints the result.

With `--json` the last line of standard output is one JSON object. Bad input is one sentence on standard error and
exit code 2; anything unforeseen is one sentence and exit code 1; `--debug`, anywhere on the line, shows the traceback.
"""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from xview_demo.gallery import Gallery
    from xview_demo.localizer import GeoLocalizer
    from xview_demo.views import GroundView

app = typer.Typer(
    name="xview",
    help="Cross-view geo-localization: from a street-level picture to its place on the aerial map.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
gallery_app = typer.Typer(help="Galleries: the tiles, coordinates and descriptors of an area.", no_args_is_help=True)
evaluate_app = typer.Typer(help="Measure the models on worlds they have never seen (test seeds).", no_args_is_help=True)
bench_app = typer.Typer(help="Measure speed.", no_args_is_help=True)
app.add_typer(gallery_app, name="gallery")
app.add_typer(evaluate_app, name="evaluate")
app.add_typer(bench_app, name="bench")

Image = Annotated[Path, typer.Argument(metavar="IMAGE", help="A picture: JPEG, PNG, TIFF, WebP, …")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one line of JSON.")]
Model = Annotated[
    str | None,
    typer.Option("--model", help="Hub repository or directory; the bundled models when left out."),
]
Device = Annotated[str | None, typer.Option("--device", help="cpu, cuda, …; chosen when left out.")]
Heading = Annotated[
    float | None,
    typer.Option("--heading", help="Degrees clockwise from north of the centre column; overrides the metadata."),
]
Hfov = Annotated[
    float | None,
    typer.Option("--hfov", help="Horizontal field of view in degrees; overrides the metadata."),
]
Seed = Annotated[int, typer.Option("--seed", help="Seed of every random choice.")]


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Hold the options that stand before the verb; `main` reads `--debug` wherever it stands."""


# ---------------------------------------------------------------------------------------------- what verbs share


def _say(result: dict[str, Any], text: str, as_json: bool) -> None:
    typer.echo(json.dumps(result) if as_json else text)


def _localizer(model: str | None, device: str | None) -> "GeoLocalizer":
    from xview_demo import GeoLocalizer

    source = () if model is None else (model,)
    return GeoLocalizer.from_pretrained(*source, device=device)


def _ground(path: Path, heading: float | None, hfov: float | None) -> "GroundView":
    from xview_demo import GroundView

    return GroundView.open(path, heading=heading, hfov=hfov)


def _world(text: str) -> Any:
    """The world named by `world:SEED` or `world:SEED:BIOME`."""
    from xview_demo import World
    from xview_demo.errors import XViewError

    seed, _, biome = text.removeprefix("world:").partition(":")
    if not seed.isdecimal():
        raise XViewError(f"'{text}' names no world: write world:SEED or world:SEED:BIOME, e.g. world:950001.")
    return World(int(seed), biome=biome or None)


def _source(text: str) -> Any:
    """A gallery's source: a World for `world:…`, else the path, which must exist."""
    from xview_demo.errors import XViewError

    if text.startswith("world:"):
        return _world(text)
    if not Path(text).exists():
        raise XViewError(f"There is nothing at '{text}': give a folder of tiles, a GeoTIFF, a CSV or world:SEED.")
    return Path(text)


def _gallery(text: str | None, geo: "GeoLocalizer") -> "Gallery":
    """The gallery in a directory, or one built on the spot from `world:…` or from a folder of tiles."""
    from xview_demo import Gallery
    from xview_demo.errors import XViewError

    if text is None:
        raise XViewError(
            "No gallery to search: give --gallery DIR (made by `xview gallery build`) or --gallery world:SEED."
        )
    source = _source(text)
    if isinstance(source, Path) and (source / "gallery.json").is_file():
        return Gallery.open(source, geo)
    return Gallery.build(source, geo, progress=_progress("encoding tiles"))


def _progress(label: str) -> Any:
    """A callback (done, total) that redraws one line on standard error when that is a terminal."""

    def show(done: int, total: int) -> None:
        if sys.stderr.isatty():
            end = "\n" if total and done >= total else ""
            print(f"\r{label}: {done}/{total or '?'}", end=end, file=sys.stderr, flush=True)

    return show


def _write(picture: Any, path: Path) -> str:
    """Write a (H, W, 3) uint8 picture under a temporary name, rename it, and return its path."""
    from xview_demo import viz

    return str(viz.save(picture, path))


def _beside(image: Path, suffix: str, out: Path | None) -> Path:
    return out or Path(f"{image.stem}-{suffix}.png")


def _region(text: str | None) -> Any:
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


# ------------------------------------------------------------------------------------------------- one picture in


@app.command()
def synthesize(
    image: Image,
    method: Annotated[
        str | None,
        typer.Option("--method", help="A synthesis model, e.g. bird-eye; the localizer's own when left out."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Where the aerial picture goes.")] = None,
    heading: Heading = None,
    hfov: Hfov = None,
    seed: Seed = 0,
    model: Model = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Make the aerial view of a street-level picture."""
    from xview_demo import viz

    view = _ground(image, heading, hfov)
    result = _localizer(model, device).synthesize(view, method=method, seed=seed)
    path = _write(viz.to_array(result.aerial), _beside(image, "aerial", out))
    _say({**result.to_dict(), "picture": path}, f"{result.method}: wrote {path}", as_json)


@app.command()
def segment(
    image: Image,
    kind: Annotated[str, typer.Option("--kind", help="ground or aerial.")] = "ground",
    out: Annotated[Path | None, typer.Option("--out", help="Where the overlay goes.")] = None,
    alpha: Annotated[float, typer.Option("--alpha", min=0.0, max=1.0, help="Opacity of the classes.")] = 0.55,
    model: Model = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Segment a ground or an aerial picture into the eight classes."""
    from xview_demo import AerialView, GroundView, viz
    from xview_demo.errors import XViewError

    if kind not in ("ground", "aerial"):
        raise XViewError(f"--kind is ground or aerial, not '{kind}'.")
    view = GroundView.open(image) if kind == "ground" else AerialView.open(image)
    result = _localizer(model, device).segment(view)
    picture = viz.with_legend(viz.overlay_view(view, result, alpha), result.areas)
    path = _write(picture, _beside(image, "classes", out))
    lines = [f"{name:<12}{share:7.1%}" for name, share in result.areas.items() if share >= 0.0005]
    _say({**result.to_dict(), "picture": path}, "\n".join([*lines, f"wrote {path}"]), as_json)


@app.command()
def depth(
    image: Image,
    out: Annotated[Path | None, typer.Option("--out", help="Where the coloured depth map goes.")] = None,
    metres: Annotated[Path | None, typer.Option("--metres", help="Also write the metres as a NumPy array.")] = None,
    heading: Heading = None,
    hfov: Hfov = None,
    model: Model = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Estimate the distance in metres to what a street-level picture shows."""
    import numpy as np

    from xview_demo import viz
    from xview_demo.files import atomic_path

    result = _localizer(model, device).depth(_ground(image, heading, hfov))
    path = _write(viz.depth_map(result.metres), _beside(image, "depth", out))
    if metres is not None:
        with atomic_path(metres) as temporary, open(temporary, "wb") as stream:
            np.save(stream, np.asarray(result.metres, dtype=np.float32))
    found = result.metres[np.isfinite(result.metres)]
    median = float(np.median(found)) if found.size else None
    summary = {**result.to_dict(), "median_m": median, "picture": path}
    if metres is not None:
        summary["metres_file"] = str(metres)
    _say(summary, f"median depth {median:.1f} m; wrote {path}" if found.size else f"wrote {path}", as_json)


@app.command()
def localize(
    image: Image,
    gallery: Annotated[
        str | None, typer.Option("--gallery", help="A gallery's directory, a folder of tiles, or world:SEED.")
    ] = None,
    heading: Heading = None,
    hfov: Hfov = None,
    top_k: Annotated[int, typer.Option("--top-k", min=1, help="How many matches.")] = 10,
    region: Annotated[
        str | None, typer.Option("--region", help="lat,lon,radius_m or lat0,lon0,lat1,lon1 or corners lat,lon;…")
    ] = None,
    figure: Annotated[Path | None, typer.Option("--figure", help="Write a picture of the matches.")] = None,
    geojson: Annotated[Path | None, typer.Option("--geojson", help="Write the matches as GeoJSON.")] = None,
    model: Model = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Find where a street-level picture was taken among the tiles of a gallery."""
    from xview_demo import viz
    from xview_demo.files import atomic_path

    view, place = _ground(image, heading, hfov), _region(region)
    geo = _localizer(model, device)
    area = _gallery(gallery, geo)
    result = geo.localize(view, area, top_k=top_k, region=place)
    summary = result.to_dict()
    if figure is not None:
        summary["picture"] = _write(viz.localization_figure(view, area, result), figure)
    if geojson is not None:
        with atomic_path(geojson) as temporary:
            Path(temporary).write_text(json.dumps(result.to_geojson(), indent=1))
        summary["geojson"] = str(geojson)
    _say(summary, _matches_text(result), as_json)


def _matches_text(result: Any) -> str:
    rows = []
    for match in result.matches:
        lat, lon = match.latlon or (float("nan"), float("nan"))
        away = "" if match.distance_m is None else f"  {match.distance_m:8.1f} m from the known position"
        rows.append(f"{match.rank:>3}  {match.score:.3f}  {lat:.6f}, {lon:.6f}  {match.tile}{away}")
    if result.heading is not None:
        rows.append(f"heading {result.heading:.1f}° clockwise from north")
    rows.append(f"confidence {result.confidence:.0%}")
    return "\n".join(rows)


# ------------------------------------------------------------------------------------------------------- galleries


@gallery_app.command("build")
def gallery_build(
    source: Annotated[str, typer.Argument(help="A folder of tiles, a GeoTIFF, a CSV, or world:SEED[:BIOME].")],
    out: Annotated[Path, typer.Option("--out", help="The gallery's directory.")],
    tile_metres: Annotated[float, typer.Option("--tile-metres", help="Side of a tile in metres.")] = 64.0,
    stride_metres: Annotated[
        float | None, typer.Option("--stride-metres", help="Step between tiles; the tile's side if left out.")
    ] = None,
    model: Model = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Encode an area once, so that it can be searched many times."""
    from xview_demo import Gallery

    found = _source(source)
    built = Gallery.build(
        found,
        _localizer(model, device),
        path=out,
        tile_metres=tile_metres,
        stride_metres=stride_metres,
        progress=_progress("encoding tiles"),
    )
    _say({"path": str(out), **_about(built)}, f"{len(built.names)} tiles in {out}", as_json)


@gallery_app.command("info")
def gallery_info(path: Annotated[Path, typer.Argument(help="A gallery's directory.")], as_json: Json = False) -> None:
    """Tell what a gallery holds."""
    from xview_demo import Gallery

    result = {"path": str(path), **_about(Gallery.open(path))}
    _say(result, "\n".join(f"{name}: {value}" for name, value in result.items()), as_json)


def _about(gallery: "Gallery") -> dict[str, Any]:
    import numpy as np

    latlons = np.asarray(gallery.latlons, dtype=float).reshape(-1, 2)
    known = latlons[np.isfinite(latlons).all(1)]
    bounds = [*known.min(0).tolist(), *known.max(0).tolist()] if len(known) else None
    dimensions = int(np.asarray(gallery.descriptors).shape[-1])
    return {"tiles": len(gallery.names), "dimensions": dimensions, "bounds": bounds}


# ------------------------------------------------------------------------------------------- speed, worlds, models


@bench_app.command("world")
def bench_world_command(seed: Seed = 950_000, device: Device = None, as_json: Json = False) -> None:
    """Time the building of a square kilometre and the rendering of panoramas (128 × 512: colour, depth, class)."""
    from xview_demo.world.bench import bench_world

    result = bench_world(seed=seed, device=device or "cpu")
    text = (
        f"a 1 km² world in {result['world_seconds']:.2f} s, {result['panoramas_per_second']:.0f} panoramas per second"
    )
    _say(result, text, as_json)


@app.command()
def world(
    out: Annotated[Path, typer.Option("--out", help="The directory to write into.")],
    seed: Seed = 950_000,
    biome: Annotated[
        str | None, typer.Option("--biome", help="The kind of place; drawn from the seed if left out.")
    ] = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Make a place and write a contact sheet of it: panoramas, aerial views, depth and classes."""
    from xview_demo import World
    from xview_demo.world.sheet import contact_sheet

    place = World(seed, biome=biome, device=device or "cpu")
    path = _write(contact_sheet(place), out / f"world-{seed}.png")
    lat, lon = place.latlon
    summary = {"seed": seed, "biome": place.biome, "latlon": [lat, lon], "picture": path}
    _say(summary, f"{place.biome} at {lat:.5f}, {lon:.5f}: wrote {path}", as_json)


@app.command()
def models(
    task: Annotated[str | None, typer.Option("--task", help="Only the models of one task.")] = None,
    as_json: Json = False,
) -> None:
    """List the models: what each is for, and whether its weights are here."""
    from xview_demo import list_models, zoo

    rows = []
    for name in list_models(task):
        entry = zoo.get(name)
        here = not entry.learned or zoo.is_folder_of_weights(zoo.WEIGHTS / name)
        rows.append({"name": name, "task": entry.task, "here": here, "summary": entry.summary})
    text = [
        f"{row['name']:<18} {row['task']:<13} {'' if row['here'] else '(no weights) '}{row['summary']}" for row in rows
    ]
    _say({"models": rows}, "\n".join(text), as_json)


@app.command("app")
def demo(
    host: Annotated[str, typer.Option("--host", help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option("--port", help="The port; the first free one from 7860 if left out.")
    ] = None,
    model: Model = None,
    device: Device = None,
) -> None:
    """Open the demo in a browser."""
    from xview_demo import ui

    ui.build(_localizer(model, device)).launch(server_name=host, server_port=port)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `xview`: exit code 0 when done, 2 for bad input, 1 for anything unforeseen; one sentence either way."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given or bool(os.environ.get("XVIEW_DEBUG"))
    try:
        app([word for word in given if word != "--debug"], prog_name="xview")
    except (ValueError, OSError) as error:
        if debug:
            raise
        print(f"xview: {_sentence(error)}", file=sys.stderr)
        raise SystemExit(2) from None
    except Exception as error:
        if debug:
            raise
        print(f"xview: unexpected {type(error).__name__}: {_sentence(error)} (--debug shows where).", file=sys.stderr)
        raise SystemExit(1) from None


def _sentence(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.strerror}: '{error.filename}'."
    return " ".join(str(error).split()) or type(error).__name__


if __name__ == "__main__":
    main()
