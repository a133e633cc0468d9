"""The verbs about worlds, models and the demo: world, bench world, models, app."""

from pathlib import Path
from typing import Annotated, Any

import typer

from xview_demo.cli import common
from xview_demo.cli.common import Device, Json, Model, Seed

bench_app = typer.Typer(help="Measure speed.", no_args_is_help=True)


@bench_app.command("world")
def bench_world_command(seed: Seed = 950_000, device: Device = None, as_json: Json = False) -> None:
    """Time the building of a square kilometre and the rendering of panoramas (128 × 512: colour, depth, class)."""
    from xview_demo.world.bench import bench_world

    result = bench_world(seed=seed, device=device or "cpu")
    text = (
        f"a 1 km² world in {result['world_seconds']:.2f} s, {result['panoramas_per_second']:.0f} panoramas per second"
    )
    common.say(result, text, as_json)


@bench_app.command("sightline")
def bench_sightline_command(
    pixels: Annotated[int, typer.Option("--pixels", min=16, max=1024, help="Side of the map.")] = 256,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Time one sightline map (a quarter of a million rays) made at once and by a plain loop."""
    from xview_demo.geometry.sightline import bench_sightline

    result = bench_sightline(pixels=pixels, seed=seed)
    text = f"{result['milliseconds']:.1f} ms, {result['speedup']:.0f} times as fast as the loop"
    common.say(result, text, as_json)


@bench_app.command("search")
def bench_search_command(
    tiles: Annotated[int, typer.Option("--tiles", min=100, help="Size of the gallery.")] = 30_000,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Time one query of unknown heading in a large gallery, in two stages and tile by tile."""
    from xview_demo.evaluation.searching import bench_search

    result = bench_search(tiles=tiles, seed=seed)
    text = f"{result['milliseconds']:.1f} ms, {result['speedup']:.1f} times as fast as tile by tile"
    common.say(result, text, as_json)


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
    path = common.write(contact_sheet(place), out / f"world-{seed}.png")
    lat, lon = place.latlon
    summary = {"seed": seed, "biome": place.biome, "latlon": [lat, lon], "picture": path}
    common.say(summary, f"{place.biome} at {lat:.5f}, {lon:.5f}: wrote {path}", as_json)


def models(
    task: Annotated[str | None, typer.Option("--task", help="Only the models of one task.")] = None,
    cost: Annotated[
        bool, typer.Option("--cost", help="Load those whose weights are here: parameters, operations, time a picture.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List the models: what each is for, whether its weights are here, and what it costs."""
    from xview_demo import list_models, zoo

    rows: list[dict[str, Any]] = []
    for name in list_models(task):
        entry, here = zoo.get(name), zoo.is_bundled(name)
        rows.append({"name": name, "task": entry.task, "here": here, "summary": entry.summary})
        if cost and here:
            from xview_demo.evaluation.cost import cost as measure

            rows[-1] |= measure(name)
    width = max(len(row["name"]) for row in rows)
    text = [f"{row['name']:<{width}} {row['task']:<13} {_cost(row)}{row['summary']}" for row in rows]
    common.say({"models": rows}, "\n".join(text), as_json)


def _cost(row: dict[str, Any]) -> str:
    if not row["here"]:
        return "(no weights) "
    if "gflop" not in row:
        return ""
    return f"{row['parameters'] / 1e6:.2f} M parameters, {row['gflop']:.2f} GFLOP, {row['milliseconds']:.0f} ms; "


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

    ui.build(common.localizer(model, device)).launch(server_name=host, server_port=port)
