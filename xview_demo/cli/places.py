"""The verbs of place recognition: geowarp-pairs, world-places, and `evaluate places`."""

from pathlib import Path
from typing import Annotated

import typer

from xview_demo.cli import common, evaluate
from xview_demo.cli.common import Device, Image, Json, Seed


def geowarp_pairs(
    image: Image,
    out: Annotated[Path, typer.Option("--out", help="The directory the four pictures go into.")],
    k: Annotated[float, typer.Option("--k", help="How strong the warps are, 0 to 1.")] = 0.6,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Show the self-supervised pair that GeoWarp learns from, made of one photograph."""
    from xview_demo.images import read_image
    from xview_demo.recognition.figures import pair_pictures

    pictures, pair = pair_pictures(read_image(image)[0], k, seed)
    paths = {name: common.write(picture, out / f"{name}.jpg") for name, picture in pictures.items()}
    corners = {name: getattr(pair, name)[0].tolist() for name in ("t_x", "t_y", "t_z", "t_a", "t_b")}
    result = {"k": k, "seed": seed, "pictures": paths, "quadrilaterals": corners}
    common.say(result, f"wrote {', '.join(paths.values())}", as_json)


def world_places(
    out: Annotated[Path, typer.Option("--out", help="The folder; gets images/{train,val,test}/{gallery,queries}.")],
    train: Annotated[int | None, typer.Option("--train", min=1, help="Worlds to train on.")] = None,
    val: Annotated[int | None, typer.Option("--val", min=1, help="Worlds to choose by.")] = None,
    test: Annotated[int | None, typer.Option("--test", min=1, help="Worlds to measure on.")] = None,
    sites: Annotated[int | None, typer.Option("--sites", min=1, help="Places of a world's gallery.")] = None,
    queries: Annotated[int | None, typer.Option("--queries", min=1, help="Queries in a world.")] = None,
    size: Annotated[float | None, typer.Option("--size", help="Side of a world in metres.")] = None,
    as_json: Json = False,
) -> None:
    """Write a place-recognition data set of generated worlds: photographs along streets, named by UTM."""
    from dataclasses import replace

    from xview_demo.world.places import PlaceWorlds, write_places

    given = {"train": train, "val": val, "test": test, "sites": sites, "queries": queries, "size": size}
    config = replace(PlaceWorlds(), **{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    write_places(out, config, common.progress("worlds"))
    counts = {
        split: {side: len(list((out / "images" / split / side).rglob("*.jpg"))) for side in ("gallery", "queries")}
        for split in ("train", "val", "test")
    }
    text = "\n".join(f"{split}: {c['gallery']} in the gallery, {c['queries']} queries" for split, c in counts.items())
    common.say({"path": str(out), **counts}, text, as_json)


@evaluate.app.command("places")
def evaluate_places(
    model: Annotated[
        list[str] | None, typer.Option("--model", help="A model of the task places; give it again for another.")
    ] = None,
    root: Annotated[
        Path | None, typer.Option("--root", help="A place-recognition folder; generated test worlds if left out.")
    ] = None,
    split: Annotated[str, typer.Option("--split", help="train, validation or test.")] = "test",
    rerank_k: Annotated[int, typer.Option("--rerank-k", min=1, help="How many candidates are re-ranked.")] = 5,
    radius: Annotated[float, typer.Option("--radius", help="Metres up to which a photograph is right.")] = 25.0,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Find photographs by photographs: recall within 25 m before and after re-ranking."""
    from xview_demo import zoo
    from xview_demo.errors import ModelError
    from xview_demo.evaluation.places import evaluate_places as measure

    chosen = model or zoo.bundled("places")
    if not chosen:
        raise ModelError("No model for places is bundled here: name one with --model, or a folder or repository.")
    result = measure(
        chosen, root, split=split, rerank_k=rerank_k, radius=radius, device=device or "cpu",
        progress=common.progress("places"),
    )  # fmt: skip
    common.say(result, evaluate._text(result), as_json)
