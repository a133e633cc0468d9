"""The Synthesize tab: a picture goes in; the same place in the other view comes out, beside the truth if known."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np

from xview_demo import AerialView, GroundView, metrics, viz, zoo
from xview_demo.geometry.geodesy import latlon_to_enu
from xview_demo.georeference import write_geotiff
from xview_demo.models.hub import count_stored
from xview_demo.outputs import Segmentation
from xview_demo.tiles import EDGE
from xview_demo.ui import common, places
from xview_demo.ui.segment import AERIAL, GROUND

if TYPE_CHECKING:
    from torch import Tensor

    from xview_demo.localizer import GeoLocalizer
    from xview_demo.outputs import Synthesis

FLAT = {GROUND: "bird-eye", AERIAL: "street-eye"}  # what a synthetic view is compared with when the truth is unknown
SIZE = 640
EMPTY = "Upload a picture, or choose an example, then press <b>Synthesize</b>."
STOPPED: set[str] = set()  # sessions whose visitor has pressed Stop

Told = Callable[[int, int], None]


class Stop(Exception):
    """The visitor has pressed Stop."""


@dataclass(frozen=True)
class Tab:
    """The parts of the tab that others fill."""

    picture: gr.Image
    kind: gr.Radio
    seed: gr.Number
    biome: gr.Textbox


def available(kind: str) -> list[str]:
    """The methods that draw from a kind of picture and need no network, learned ones first."""
    reads = "ground" if kind == GROUND else "aerial"
    return sorted(zoo.bundled("synthesis", reads), key=lambda name: not zoo.ZOO[name].learned)


def draws_at_random(name: str) -> bool:
    """Whether seed, steps and guidance matter to a method."""
    return bool(getattr(zoo.get(name).load_class(), "samples", False))


def about(name: str) -> str:
    """One line of HTML: what a method is and what it costs."""
    entry = zoo.get(name)
    cost = "no weights, instant"
    if entry.learned:
        file = zoo.WEIGHTS / name / zoo.FILES[1]
        passes = "one pass for each step" if draws_at_random(name) else "one pass"
        cost = f"{count_stored(file) / 1e6:.1f} M parameters, {file.stat().st_size / 1e6:.1f} MB, {passes}"
    return f'<div class="said"><b>{name}</b>: {entry.summary} ({cost}).</div>'


def build(geo: "GeoLocalizer") -> Tab:
    """Lay out the tab."""
    common.lead(
        "The bird's-eye view folds the panorama down onto flat ground, by geometry alone; "
        "a generator imagines what the camera could not see. It works the other way, too."
    )
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=340):
            tab, method, options = _inputs()
            with gr.Row():
                button = gr.Button("Synthesize", variant="primary", elem_id="synthesize-run")
                compare = gr.Button("Compare all", elem_id="synthesize-compare")
                stop = gr.Button("Stop", variant="stop", elem_id="synthesize-stop")
        with gr.Column(scale=8, min_width=460):
            outputs, gallery = _outputs()
    given = [tab.picture, method, *options, tab.kind, tab.seed, tab.biome]
    button.click(_handler(geo), given, [*outputs, gallery], api_name="synthesize", concurrency_id="models")
    compare.click(
        _comparer(geo), [tab.picture, *options, tab.kind, tab.seed, tab.biome], [outputs[0], gallery],
        api_name="compare_synthesis", concurrency_id="models",
    )  # fmt: skip
    stop.click(_stop, None, None, queue=False, show_progress="hidden", api_visibility="private")
    return tab


def _inputs() -> tuple[Tab, gr.Dropdown, list[Any]]:
    """What the visitor chooses."""
    kind = gr.Radio([GROUND, AERIAL], value=GROUND, label="The picture was taken")
    picture = common.picture_box("Picture", elem_id="synthesize-picture")
    details = gr.HTML()
    seed, biome = gr.Number(None, visible=False), gr.Textbox("", visible=False)  # the generated world, where it is one
    with gr.Column() as from_street:
        _examples(picture, seed)
    with gr.Column(visible=False) as from_above:
        common.examples(picture, "aerial*.jpg")
    method = gr.Dropdown(
        available(GROUND) + available(AERIAL), value=available(GROUND)[0], label="Method", elem_id="synthesize-method"
    )  # all of them, for programs; the page shows those that fit the picture
    what = gr.HTML(about(available(GROUND)[0]))
    random = draws_at_random(available(GROUND)[0])
    with gr.Row(visible=random) as sampler:
        start = gr.Number(0, label="Seed", precision=0, info="another picture for each")
        steps = gr.Slider(
            0, 100, value=0, step=1, label="Steps", info="0: as the method was tuned", elem_id="synthesize-steps"
        )
        guidance = gr.Slider(0, 8, value=0, step=0.5, label="Guidance", info="0: as tuned, 1: none")
    with gr.Accordion("Camera", open=False):
        said = gr.Radio([common.FROM_FILE, common.UNKNOWN, common.GIVEN], value=common.FROM_FILE, label="Heading")
        with gr.Row():
            heading = gr.Number(label="Heading (°)", value=None, info="clockwise from north")
            hfov = gr.Number(label="Field of view (°)", value=None, info="empty: as the file says")
    with gr.Accordion("The truth, to compare with", open=False):
        truth = common.picture_box("The same place in the other view", height=180, elem_id="synthesize-truth")
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    picture.change(lambda path, k: common.about_ground(path) if k == GROUND else "", [picture, kind], details, **quiet)
    picture.upload(lambda: (None, ""), None, [seed, biome], **quiet)
    method.change(_describe, method, [what, sampler], **quiet)
    gr.on(None, _turn, kind, [method, from_street, from_above], **quiet)  # when the page opens, and at each change
    return Tab(picture, kind, seed, biome), method, [said, heading, hfov, start, steps, guidance, truth]


def _describe(name: str) -> tuple[str, Any]:
    return about(name), gr.update(visible=draws_at_random(name))


def _turn(kind: str) -> tuple[Any, ...]:
    names = available(kind)
    shown = gr.update(visible=kind == GROUND), gr.update(visible=kind == AERIAL)
    return gr.update(choices=names, value=names[0]), *shown


def _examples(picture: gr.Image, seed: gr.Number) -> None:
    """Example pictures, each with the seed of the generated world it was taken in: `panorama-SEED.jpg`."""
    rows = []
    for file in common.example_files(*common.STREET):
        number = file.rpartition("-")[2].removesuffix(".jpg")
        rows.append([file, int(number) if number.isdecimal() else places.DEMO_SEED])
    if rows:
        gr.Examples(rows, inputs=[picture, seed], visible_columns=[0], label="Examples", cache_examples=False)


def _outputs() -> tuple[list[Any], gr.Gallery]:
    """Where the answers are shown."""
    note = gr.HTML(common.empty(EMPTY), elem_id="synthesize-note")
    with gr.Row(visible=False) as results:
        with gr.Column(scale=3, min_width=320):
            pair = gr.ImageSlider(
                label="Compared  |  synthetic", interactive=False, format="png", max_height=SIZE,
                buttons=["download", "fullscreen"], elem_id="synthesize-pair",
            )  # fmt: skip
            with gr.Row():
                png = gr.DownloadButton("PNG", size="sm", elem_id="synthesize-png")
                tiff = gr.DownloadButton("GeoTIFF", size="sm", visible=False)
                world = gr.DownloadButton("World file", size="sm", visible=False)
        with gr.Column(scale=2, min_width=240, visible=False) as beside:
            classes = common.shown("Its classes")
            legend = gr.HTML()
    gallery = gr.Gallery(
        label="Every method", columns=3, object_fit="contain", format="png", visible=False,
        elem_id="synthesize-gallery", buttons=["fullscreen"],
    )  # fmt: skip
    return [note, pair, classes, legend, results, beside, png, tiff, world], gallery


def _handler(geo: "GeoLocalizer") -> Any:
    """The function behind Synthesize."""

    @common.spoken
    def run(
        picture: str | None,
        method: str | None = None,
        said: str = common.FROM_FILE,
        heading: float | None = None,
        hfov: float | None = None,
        seed: float = 0,
        steps: float = 0,
        guidance: float = 0,
        truth: str | None = None,
        kind: str = GROUND,
        world: float | None = None,
        biome: str | None = None,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
        request: gr.Request = None,  # type: ignore[assignment]
    ) -> tuple[Any, ...]:
        """Make the other view of a picture: from the street an aerial view, from above a panorama."""
        view = _open(picture, kind, said, heading, hfov)
        progress(0.1, desc="Drawing")
        told = _teller(request, lambda done, of: progress((done, of), desc=f"Step {done} of {of}"))
        options = _options(seed, steps, guidance, told)
        try:
            result, seconds = _timed(geo, view, method or None, options)
        except Stop:
            return _stopped(10)
        known = _truth(view, truth, world, biome)
        beside = geo.synthesize(view, method=FLAT[kind]).view if known is None else known
        note = _note(result, seconds, view, known)
        shape = _shape(result.view)
        pictures = viz.resize(viz.to_array(beside), *shape), viz.resize(_shown(result, result.view), *shape)
        label = "By geometry  |  synthetic" if known is None else "Truth  |  synthetic"
        return (
            note,
            gr.update(value=pictures, label=label),
            *_classes(result, shape),
            gr.update(visible=True),
            gr.update(visible=result.segmentation is not None),
            *_files(result.view, north=isinstance(view, AerialView) or view.heading is not None),
            gr.update(visible=False),
        )

    return run


def _comparer(geo: "GeoLocalizer") -> Any:
    """The function behind Compare all."""

    @common.spoken
    def run(
        picture: str | None,
        said: str = common.FROM_FILE,
        heading: float | None = None,
        hfov: float | None = None,
        seed: float = 0,
        steps: float = 0,
        guidance: float = 0,
        truth: str | None = None,
        kind: str = GROUND,
        world: float | None = None,
        biome: str | None = None,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
        request: gr.Request = None,  # type: ignore[assignment]
    ) -> tuple[Any, ...]:
        """Make the other view of a picture with every method, and show them side by side with the truth if known."""
        view = _open(picture, kind, said, heading, hfov)
        known, names, number = _truth(view, truth, world, biome), available(kind), 0
        shown: list[tuple[Any, str]] = []
        told = _teller(request, lambda done, of: progress((number + done / of, len(names)), desc=names[number]))
        try:
            for number in range(len(names)):
                told(0, 1)
                result, seconds = _timed(geo, view, names[number], _options(seed, steps, guidance, told))
                like = "" if known is None else f", {_likeness(result.view, known)}"
                shown.append((_shown(result, result.view), f"{names[number]}, {seconds:.1f} s{like}"))
        except Stop:
            return _stopped(2)
        if known is not None:
            shown.append((viz.to_array(known), "truth"))
        return f'<div class="said">{len(names)} methods.</div>', gr.update(value=shown, visible=True)

    return run


def _stop(request: gr.Request) -> None:
    STOPPED.add(str(request.session_hash))


def _stopped(count: int) -> tuple[Any, ...]:
    """What stands on the page after Stop: the note, everything else as it was."""
    return '<div class="said">Stopped.</div>', *(gr.skip() for _ in range(count - 1))


def _teller(request: gr.Request | None, show: Told) -> Told:
    """Shows progress, and ends the work when this session's visitor has pressed Stop since now."""
    session = str(getattr(request, "session_hash", ""))
    STOPPED.discard(session)

    def told(done: int, of: int) -> None:
        if session in STOPPED:
            raise Stop
        show(done, of)

    return told


def _open(picture: str | None, kind: str, said: str, heading: float | None, hfov: float | None) -> Any:
    return common.open_ground(picture, said, heading, hfov) if kind == GROUND else common.open_aerial(picture)


def _options(seed: float, steps: float, guidance: float, told: Told) -> dict[str, Any]:
    return {
        "seed": int(seed or 0), "steps": int(steps or 0) or None, "guidance": float(guidance or 0) or None,
        "progress": told,
    }  # fmt: skip


def _timed(geo: "GeoLocalizer", view: Any, method: str | None, options: dict[str, Any]) -> tuple["Synthesis", float]:
    start = time.perf_counter()
    result = geo.synthesize(view, method=method, **options)
    return result, time.perf_counter() - start


def _truth(view: Any, picture: str | None, world: float | None, biome: str | None) -> "Tensor | None":
    """The other view of a place as it is, cut as the synthetic ones are: the middle 64 m, or the level strip.

    It is uploaded, or rendered where the picture was taken in a generated world.
    """
    if isinstance(view, AerialView):
        if not picture:
            return None
        ground = common.opened(GroundView, picture)
        return ground.strip(north=ground.heading is not None)[0]
    if picture:
        aerial = common.opened(AerialView, picture)
        shift = (0.0, 0.0)
        if view.latlon is not None and aerial.latlon is not None:
            shift = latlon_to_enu(view.latlon[0], view.latlon[1], aerial.latlon)
        return aerial.tile(east_north=shift)
    if world is None or view.latlon is None or view.heading is None:
        return None
    place = places.world_of(world, biome)
    east, north = place.local_of(*view.latlon)
    inside = max(abs(east), abs(north)) <= place.size / 2 - EDGE
    return place.aerial((east, north)).tile() if inside else None


def _shape(view: Any) -> tuple[int, int]:
    rows, columns = view.image.shape[-2:]
    return round(SIZE * rows / columns), SIZE


def _shown(result: "Synthesis", picture: Any) -> np.ndarray:
    """A synthetic view, or its classes, as the page shows them: faded where the camera did not look."""
    array = viz.to_array(picture)
    return array if result.seen is None else viz.veiled(array, result.seen)


def _classes(result: "Synthesis", shape: tuple[int, int]) -> tuple[np.ndarray | None, str]:
    """The classes of a synthetic view and their shares, of what the camera looked towards."""
    found = result.segmentation
    if found is None:
        return None, ""
    looked = found if result.seen is None else Segmentation(found.labels[result.seen][None])
    return viz.resize(_shown(result, found.colours()), *shape), common.shares(looked.areas)


def _likeness(view: Any, known: "Tensor") -> str:
    """How like the truth a synthetic view is."""
    return f"SSIM {float(metrics.ssim(view.image, known)[0]):.2f}"


def _note(result: "Synthesis", seconds: float, view: Any, known: Any) -> str:
    if result.aerial is None:
        where = "the middle looks north, from the middle of the tile"
    else:
        up = "the top is ahead of the camera" if view.heading is None else "north is up"
        where = f"{up}, {result.aerial.metres:.0f} m wide; the camera stands in the middle"
        if result.seen is not None and not result.seen.all():
            where += "; what is faded lies outside the picture and is a guess"
    like = "" if known is None else f" {_likeness(result.view, known)} against the truth."
    return f'<div class="said"><b>{result.method}</b>, {seconds:.1f} s: {where}.{like}</div>'


def _files(view: Any, north: bool) -> tuple[Any, ...]:
    """The downloads: a PNG, and where north is up and the place known a GeoTIFF and a world file."""
    target = common.scratch_file(".png")
    png = gr.update(value=str(view.save(target)))
    if not isinstance(view, AerialView) or view.latlon is None or view.metres_per_pixel is None or not north:
        return png, gr.update(visible=False), gr.update(visible=False)
    tiff = write_geotiff(target.with_suffix(".tif"), view.image, view.latlon, view.metres_per_pixel)
    return (
        png, gr.update(value=str(tiff), visible=True),
        gr.update(value=str(target.with_suffix(".pgw")), visible=True),
    )  # fmt: skip
