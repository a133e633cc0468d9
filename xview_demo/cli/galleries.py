"""The verbs `gallery build` and `gallery info`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xview_demo.cli import common
from xview_demo.cli.common import Device, Json, Kind, Model, Places

if TYPE_CHECKING:
    from xview_demo.gallery import Gallery

app = typer.Typer(help="Galleries: the tiles, coordinates and descriptors of an area.", no_args_is_help=True)


@app.command("build")
def gallery_build(
    source: Annotated[str, typer.Argument(help="A folder of tiles, a GeoTIFF, a CSV, or world:SEED[:BIOME].")],
    out: Annotated[Path, typer.Option("--out", help="The gallery's directory.")],
    tile_metres: Annotated[float, typer.Option("--tile-metres", help="Side of a tile in metres.")] = 64.0,
    stride_metres: Annotated[
        float | None,
        typer.Option(
            "--stride-metres",
            help="Step between tiles; left out: 8 m, or along a world's streets.",
        ),
    ] = None,
    kind: Kind = "aerial",
    utm_zone: Annotated[
        str | None, typer.Option("--utm-zone", help="Zone of UTM names that do not state theirs, e.g. 18N.")
    ] = None,
    places: Places = None,
    model: Model = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Encode an area once, so that it can be searched many times."""
    from xview_demo import Gallery

    found = common.source_of(source, grid=stride_metres is not None)
    built = Gallery.build(
        found,
        common.localizer(model, device, places),
        path=out,
        kind=kind,
        utm_zone=common.zone_of(utm_zone),
        tile_metres=tile_metres,
        stride_metres=stride_metres,
        progress=common.progress("encoding tiles"),
    )
    common.say({"path": str(out), **_about(built)}, f"{len(built.names)} tiles in {out}", as_json)


@app.command("info")
def gallery_info(path: Annotated[Path, typer.Argument(help="A gallery's directory.")], as_json: Json = False) -> None:
    """Tell what a gallery holds."""
    from xview_demo import Gallery

    result = {"path": str(path), **_about(Gallery.open(path))}
    common.say(result, "\n".join(f"{name}: {value}" for name, value in result.items()), as_json)


def _about(gallery: "Gallery") -> dict[str, Any]:
    import numpy as np

    latlons = np.asarray(gallery.latlons, dtype=float).reshape(-1, 2)
    known = latlons[np.isfinite(latlons).all(1)]
    bounds = [*known.min(0).tolist(), *known.max(0).tolist()] if len(known) else None
    dimensions = int(np.asarray(gallery.descriptors).shape[-1])
    return {"tiles": len(gallery.names), "dimensions": dimensions, "bounds": bounds}
