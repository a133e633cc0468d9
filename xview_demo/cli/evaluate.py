"""The verbs `evaluate …`: numbers on worlds that no model has seen, and on one's own real pairs."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from xview_demo.cli import common
from xview_demo.cli.common import Json
from xview_demo.errors import XViewError

app = typer.Typer(help="Measure the models on worlds they have never seen (test seeds).", no_args_is_help=True)


class Known(StrEnum):
    """Whether the heading of a query is told."""

    known = "known"
    unknown = "unknown"


class Drawn(StrEnum):
    """Which view a generator draws."""

    aerial = "aerial"
    ground = "ground"


class View(StrEnum):
    """Which pictures are segmented."""

    ground = "ground"
    aerial = "aerial"


HeadingKnown = Annotated[Known, typer.Option("--heading", help="Is the query's heading told?")]
Rerank = Annotated[
    str | None, typer.Option("--rerank", help="A dense matcher or a verifier judges the first 50 tiles anew.")
]
Sheet = Annotated[Path | None, typer.Option("--sheet", help="Write a contact sheet of some places.")]
Count = Annotated[int, typer.Option("--n", min=1, help="How many pictures.")]


@app.command()
def matching(
    model: Annotated[str, typer.Option("--model", help="The matcher.")] = "azimuth-world",
    heading: HeadingKnown = Known.known,
    queries: Annotated[int | None, typer.Option("--queries", min=1, help="How many; 1,000 if left out.")] = None,
    gallery: Annotated[int | None, typer.Option("--gallery", min=1, help="Tiles; 10,000 if left out.")] = None,
    fov: Annotated[float, typer.Option("--fov", min=1, max=360, help="Degrees that a query shows.")] = 360.0,
    rerank: Rerank = None,
    data: Annotated[str | None, typer.Option("--data", help="A data set: cvusa, cvact, vigor, folder, …")] = None,
    root: Annotated[Path | None, typer.Option("--root", help="The folder of that data set.")] = None,
    split: Annotated[
        str,
        typer.Option("--split", help="train, validation or test of that data set; cross-test: VIGOR's across cities."),
    ] = "test",
    figures: Annotated[Path | None, typer.Option("--figures", help="A folder for pictures of the result.")] = None,
    as_json: Json = False,
) -> None:
    """Find the tile of each panorama among thousands: recall, rank, errors, confidence; of worlds or a data set."""
    from xview_demo.data import read
    from xview_demo.evaluation import evaluate_matching

    if (data is None) != (root is None):
        raise XViewError("A data set needs both its name and its folder: give --data and --root.")
    index = None if data is None or root is None else read(data, root, split=split)
    result = evaluate_matching(
        model, heading=heading.value, fov=fov, queries=queries, gallery=gallery, rerank=rerank, index=index,
        figures=figures, progress=common.progress("worlds"),
    )  # fmt: skip
    common.say(result, _text(result), as_json)


@app.command()
def synthesis(
    methods: Annotated[
        list[str] | None, typer.Option("--method", help="A synthesis model; again for another. All if left out.")
    ] = None,
    n: Count = 1000,
    draws: Annotated[Drawn, typer.Option("--draws", help="Of which view, when no method is named.")] = Drawn.aerial,
    ablate: Annotated[bool, typer.Option("--ablate", help="Also without the bird's-eye view, where optional.")] = False,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Of denoising.")] = None,
    guidance: Annotated[float | None, typer.Option("--guidance", help="Classifier-free guidance; 1 = none.")] = None,
    lpips: Annotated[Path | None, typer.Option("--lpips", help="Also LPIPS: torchvision's alexnet or vgg16.")] = None,
    fid: Annotated[Path | None, typer.Option("--fid", help="Also FID: torch-fidelity's Inception weights.")] = None,
    sheet: Sheet = None,
    as_json: Json = False,
) -> None:
    """Compare synthetic views with the true ones."""
    from xview_demo.evaluation import evaluate_synthesis
    from xview_demo.models.synthesis.interface import Sampling

    chosen = tuple(methods or _generators("ground" if draws == Drawn.aerial else "aerial"))
    result = evaluate_synthesis(
        chosen, n=n, progress=common.progress("worlds"), ablate=ablate, lpips=lpips, fid=fid, sheet=sheet,
        sampling=Sampling(steps=steps, guidance=guidance),
    )  # fmt: skip
    common.say(result, _text(result), as_json)


@app.command()
def segmentation(
    model: Annotated[
        str, typer.Option("--model", help="unet-ground-world, unet-aerial-world or another.")
    ] = "unet-ground-world",
    view: Annotated[
        View | None, typer.Option("--view", help="For models that read both; panoramas if left out.")
    ] = None,
    n: Count = 200,
    sheet: Sheet = None,
    as_json: Json = False,
) -> None:
    """Compare classes with the truth: IoU and boundary F-score of each class and their means."""
    from xview_demo.evaluation import evaluate_segmentation

    chosen = None if view is None else view.value
    result = evaluate_segmentation(model, n=n, view=chosen, progress=common.progress("worlds"), sheet=sheet)
    common.say(result, _text(result), as_json)


@app.command()
def depth(
    model: Annotated[str, typer.Option("--model", help="The depth model.")] = "depth-world",
    n: Count = 200,
    sheet: Sheet = None,
    as_json: Json = False,
) -> None:
    """Compare depth with the truth: mean relative error within 60 m."""
    from xview_demo.evaluation import evaluate_depth

    result = evaluate_depth(model, n=n, progress=common.progress("worlds"), sheet=sheet)
    common.say(result, _text(result), as_json)


@app.command()
def position(
    model: Annotated[str, typer.Option("--model", help="The position model.")] = "mst-world",
    n: Count = 500,
    reach: Annotated[
        float, typer.Option("--reach", min=0.0, max=30.0, help="Metres from tile centre to camera, at most.")
    ] = 20.0,
    sheet: Annotated[
        Path | None, typer.Option("--sheet", help="Write a picture of tiles, land cover and heat maps.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Find the camera inside a tile: metre errors, regions, coverage of the stated mass, and land cover."""
    from xview_demo.evaluation import evaluate_position

    result = evaluate_position(model, n=n, reach=reach, progress=common.progress("worlds"), sheet=sheet)
    common.say(result, _text(result), as_json)


@app.command()
def refinement(
    matcher: Annotated[str, typer.Option("--matcher", help="The matcher.")] = "azimuth-world",
    model: Annotated[str, typer.Option("--model", help="The position model.")] = "mst-world",
    n: Count = 200,
    as_json: Json = False,
) -> None:
    """Compare the metre error of correct matches before and after the position in their tile is found."""
    from xview_demo.evaluation import evaluate_refinement

    result = evaluate_refinement(matcher, model, n=n, progress=common.progress("worlds"))
    common.say(result, _text(result), as_json)


class Task(StrEnum):
    """What is measured on real pairs."""

    matching = "matching"
    synthesis = "synthesis"
    segmentation = "segmentation"
    position = "position"


@app.command()
def real(
    root: Annotated[Path, typer.Option("--root", help="A folder of SET/ground and SET/aerial, paired by file name.")],
    task: Annotated[Task, typer.Option("--task", help="What to measure.")] = Task.matching,
    model: Annotated[str | None, typer.Option("--model", help="A model of the task.")] = None,
    heading: HeadingKnown = Known.known,
    scale: Annotated[
        list[str] | None, typer.Option("--scale", help="SET=METRES_PER_PIXEL of a set's aerial pictures.")
    ] = None,
    rerank: Rerank = None,
    distractors: Annotated[
        int, typer.Option("--distractors", min=0, help="Matching: tiles of validation worlds among the real ones.")
    ] = 0,
    sheet: Annotated[Path | None, typer.Option("--sheet", help="Synthesis: write a contact sheet.")] = None,
    as_json: Json = False,
) -> None:
    """Measure a model on the real pairs of a folder (for validation)."""
    from xview_demo import evaluation

    scales = evaluation.parse_scales(scale or [])
    if task == Task.matching:
        chosen = model or "azimuth-world"
        result = evaluation.evaluate_real_pairs(
            root, chosen, heading=heading.value, metres_per_pixel=scales, rerank=rerank, distractors=distractors
        )
    elif task == Task.synthesis:
        methods = (model,) if model else _generators("ground")
        result = evaluation.evaluate_real_synthesis(root, methods, metres_per_pixel=scales, sheet=sheet)
    elif task == Task.position:
        result = evaluation.evaluate_real_position(root, model or "mst-world", metres_per_pixel=scales)
    else:
        result = evaluation.evaluate_real_segmentation(root, model or "unet-ground-world")
    common.say(result, _text(result), as_json)


def _generators(reads: str) -> tuple[str, ...]:
    """The methods that draw from one kind of view and need no network."""
    from xview_demo import zoo

    return tuple(zoo.bundled("synthesis", reads))


def _text(result: dict[str, Any], indent: str = "") -> str:
    """A result as aligned lines; nested results are indented."""
    width = max((len(str(name)) for name in result), default=0)
    lines = []
    for name, value in result.items():
        if isinstance(value, dict):
            lines += [f"{indent}{name}", _text(value, indent + "  ")]
        else:
            lines.append(f"{indent}{name:<{width}}  {_number(value)}")
    return "\n".join(lines)


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return " – ".join(_number(item) for item in value)
    return "–" if value is None else str(value)
