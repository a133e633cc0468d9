"""The verbs that take one picture: synthesize, segment, depth, localize."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from xview_demo.cli import common
from xview_demo.cli.common import CameraHeight, Device, Heading, Hfov, Image, Json, Kind, Model, Places, Seed


def synthesize(
    image: Image,
    method: Annotated[
        str | None,
        typer.Option("--method", help="A synthesis model, e.g. bird-eye; the localizer's own when left out."),
    ] = None,
    kind: Annotated[str, typer.Option("--kind", help="What the picture is: ground or aerial.")] = "ground",
    out: Annotated[Path | None, typer.Option("--out", help="Where the synthetic picture goes.")] = None,
    heading: Heading = None,
    hfov: Hfov = None,
    camera_height: CameraHeight = None,
    seed: Seed = 0,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Of methods that denoise.")] = None,
    guidance: Annotated[float | None, typer.Option("--guidance", help="Of those methods; 1 = none.")] = None,
    model: Model = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Make the aerial view of a street-level picture, or the panorama of an aerial one."""
    from xview_demo import AerialView, viz
    from xview_demo.errors import XViewError

    if kind not in ("ground", "aerial"):
        raise XViewError(f"--kind is ground or aerial, not '{kind}'.")
    if kind == "ground":
        view: Any = common.ground_view(image, heading, hfov, camera_height)
    else:
        view = AerialView.open(image)
    result = common.localizer(model, device).synthesize(
        view, method=method, seed=seed, steps=steps, guidance=guidance, progress=common.progress("steps")
    )
    made = "aerial" if kind == "ground" else "ground"
    path = common.write(viz.to_array(result.view), common.beside(image, made, out))
    seen = 1.0 if result.seen is None else float(result.seen.mean())
    guessed = f"; {1 - seen:.0%} of it lies outside the picture and is a guess" if seen < 1 else ""
    common.say({**result.to_dict(), "picture": path}, f"{result.method}: wrote {path}{guessed}", as_json)


def segment(
    image: Image,
    kind: Annotated[str, typer.Option("--kind", help="ground or aerial.")] = "ground",
    out: Annotated[Path | None, typer.Option("--out", help="Where the overlay goes.")] = None,
    alpha: Annotated[float, typer.Option("--alpha", min=0.0, max=1.0, help="Opacity of the classes.")] = 0.55,
    method: Annotated[str | None, typer.Option("--method", help="A segmentation model, e.g. segformer-world.")] = None,
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
    result = common.localizer(model, device).segment(view, method)
    picture = viz.with_legend(viz.overlay_view(view, result, alpha), result.areas)
    path = common.write(picture, common.beside(image, "classes", out))
    lines = [f"{name:<12}{share:7.1%}" for name, share in result.areas.items() if share >= 0.0005]
    common.say({**result.to_dict(), "picture": path}, "\n".join([*lines, f"wrote {path}"]), as_json)


def depth(
    image: Image,
    out: Annotated[Path | None, typer.Option("--out", help="Where the coloured depth map goes.")] = None,
    metres: Annotated[Path | None, typer.Option("--metres", help="Also write the metres as a NumPy array.")] = None,
    heading: Heading = None,
    hfov: Hfov = None,
    camera_height: CameraHeight = None,
    model: Model = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Estimate the distance in metres to what a street-level picture shows."""
    import numpy as np

    from xview_demo import viz
    from xview_demo.files import atomic_path

    view = common.ground_view(image, heading, hfov, camera_height)
    result = common.localizer(model, device).depth(view)
    path = common.write(viz.depth_map(result.metres), common.beside(image, "depth", out))
    if metres is not None:
        with atomic_path(metres) as temporary, open(temporary, "wb") as stream:
            np.save(stream, np.asarray(result.metres, dtype=np.float32))
    found = result.metres[np.isfinite(result.metres)]
    median = float(np.median(found)) if found.size else None
    summary = {**result.to_dict(), "median_m": median, "picture": path}
    if metres is not None:
        summary["metres_file"] = str(metres)
    common.say(summary, f"median depth {median:.1f} m; wrote {path}" if found.size else f"wrote {path}", as_json)


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
    refine: Annotated[
        int, typer.Option("--refine", min=0, help="Find the position inside that many of the best tiles.")
    ] = 0,
    kind: Kind = "aerial",
    places: Places = None,
    rerank: Annotated[
        str, typer.Option("--rerank", help="What judges the best matches anew: auto, none, or a model.")
    ] = "auto",
    rerank_k: Annotated[int | None, typer.Option("--rerank-k", min=1, help="How many matches it judges.")] = None,
    rerank_below: Annotated[
        float | None, typer.Option("--rerank-below", help="Re-rank only when the confidence (0–1) is lower.")
    ] = None,
    figure: Annotated[Path | None, typer.Option("--figure", help="Write a picture of the matches.")] = None,
    geojson: Annotated[Path | None, typer.Option("--geojson", help="Write the matches as GeoJSON.")] = None,
    model: Model = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Find where a street-level picture was taken among the tiles, or the photographs, of a gallery."""
    from xview_demo import viz
    from xview_demo.files import atomic_path
    from xview_demo.recognition.figures import reranking_figure

    view, place = common.ground_view(image, heading, hfov), common.region_of(region)
    geo = common.localizer(model, device, places)
    area = common.gallery_of(gallery, geo, kind)
    chosen = None if rerank == "none" else rerank
    result = geo.localize(
        view, area, top_k=top_k, region=place, rerank=chosen, rerank_k=rerank_k, rerank_below=rerank_below
    )
    if refine:
        result = geo.refine(view, area, result, count=refine)
    summary = result.to_dict()
    if figure is not None:
        draw = reranking_figure if area.kind == "ground" else viz.localization_figure
        summary["picture"] = common.write(draw(view, area, result), figure)
    if geojson is not None:
        with atomic_path(geojson) as temporary:
            Path(temporary).write_text(json.dumps(result.to_geojson(), indent=1))
        summary["geojson"] = str(geojson)
    common.say(summary, _matches_text(result), as_json)


def _matches_text(result: Any) -> str:
    rows = []
    for match in result.matches:
        lat, lon = match.latlon or (float("nan"), float("nan"))
        seen = "" if match.warp is None else f"  {match.warp.agreeing:3} cells agree"
        away = "" if match.distance_m is None else f"  {match.distance_m:8.1f} m from the known position"
        rows.append(f"{match.rank:>3}  {match.score:.3f}  {lat:.6f}, {lon:.6f}  {match.tile}{seen}{away}")
        if match.position is not None:
            lat, lon = match.position
            rows.append(f"     in it: {lat:.6f}, {lon:.6f}, give or take {match.uncertainty_m:.1f} m")
    if result.heading is not None:
        rows.append(f"heading {result.heading:.1f}° clockwise from north")
    rows.append(f"confidence {result.confidence:.0%}")
    return "\n".join(rows)
