"""The verb `locate`: where inside one aerial tile a picture was taken."""

from pathlib import Path
from typing import Annotated, Any

import typer

from xview_demo.cli import common
from xview_demo.cli.common import Device, Heading, Hfov, Image, Json, Model


def locate(
    image: Image,
    tile: Annotated[Path, typer.Argument(metavar="TILE", help="The aerial picture to search, north up.")],
    metres_per_pixel: Annotated[
        float | None,
        typer.Option("--metres-per-pixel", help="Scale of the tile; read from its file or name when left out."),
    ] = None,
    mass: Annotated[
        float, typer.Option("--mass", min=0.01, max=1.0, help="Probability that the regions hold together.")
    ] = 0.9,
    method: Annotated[str | None, typer.Option("--method", help="A position model, e.g. featup-world.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Where the picture of the heat map goes.")] = None,
    heading: Heading = None,
    hfov: Hfov = None,
    model: Model = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Find where inside one aerial tile a street-level picture was taken, and how surely."""
    from xview_demo import AerialView, viz_position

    view = common.ground_view(image, heading, hfov)
    aerial = AerialView.open(tile, metres_per_pixel)
    pose = common.localizer(model, device).locate(view, aerial, model=method, mass=mass)
    truth = view.latlon if aerial.latlon is not None and _inside(aerial, view.latlon) else None
    path = common.write(viz_position.heat_picture(aerial, pose, truth=truth), common.beside(image, "position", out))
    summary = {**pose.to_dict(), "picture": path}
    if truth is not None:
        east, north = viz_position.east_north_of(aerial, truth)
        summary["error_m"] = round(((pose.east_north[0] - east) ** 2 + (pose.east_north[1] - north) ** 2) ** 0.5, 3)
    common.say(summary, _text(pose, summary), as_json)


def _inside(aerial: Any, latlon: tuple[float, float] | None) -> bool:
    from xview_demo.viz_position import east_north_of

    if latlon is None or aerial.metres is None:
        return False
    return max(abs(value) for value in east_north_of(aerial, latlon)) <= aerial.metres / 2


def _text(pose: Any, summary: dict[str, Any]) -> str:
    east, north = pose.east_north
    lines = [
        f"{east:+.1f} m east, {north:+.1f} m north of the tile's centre; expected error {pose.expected_error_m:.1f} m"
    ]
    if pose.latlon is not None:
        lines.append(f"{pose.latlon[0]:.6f}, {pose.latlon[1]:.6f}")
    if pose.heading is not None:
        lines.append(f"heading {pose.heading:.1f}° clockwise from north")
    lines += [
        f"region {n}: {region.mass:.0%} of the probability on {region.share:.1%} of the tile"
        for n, region in enumerate(pose.regions[:5], 1)
    ]
    if "error_m" in summary:
        lines.append(f"{summary['error_m']:.1f} m from the known position")
    return "\n".join([*lines, f"wrote {summary['picture']}"])
