"""The Position tab: a panorama and one aerial tile go in; where in the tile it was taken, and how surely, comes out."""

from typing import TYPE_CHECKING, Any

import gradio as gr

from xview_demo import AerialView, viz_position, zoo
from xview_demo.classes import LANDCOVER, LANDCOVER_PALETTE
from xview_demo.errors import XViewError
from xview_demo.ui import common, hover

if TYPE_CHECKING:
    from xview_demo.localizer import GeoLocalizer
    from xview_demo.outputs import Pose

PROBABILITY, SIGHTLINE = "Probability", "Sightline"
PAIRS = (("panorama.jpg", "aerial.jpg"), ("panorama-950017.jpg", "aerial-950017.jpg"))
COLUMNS = ["#", "probability", "share of the tile", "metres east", "metres north"]
EMPTY = "Upload a panorama and the aerial tile it was taken in, then press <b>Locate</b>."


def build(geo: "GeoLocalizer") -> None:
    """Lay out the tab."""
    common.lead(
        "One tile is 64 m wide; the camera stands somewhere in it. The heat map is a probability: its regions together "
        "hold the mass that is asked for (our definition), the star is the most probable place."
    )
    found = gr.State(None)
    methods = zoo.bundled("position")
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=340):
            picture = common.picture_box("Street-level picture", elem_id="position-picture")
            tile = common.picture_box("Aerial tile, north up", elem_id="position-tile")
            pairs = [[file for name in pair for file in common.example_files(name)] for pair in PAIRS]
            gr.Examples([p for p in pairs if len(p) == 2], [picture, tile], label="Examples", cache_examples=False)
            with gr.Accordion("Camera, scale and method", open=False):
                said = gr.Radio(
                    [common.FROM_FILE, common.UNKNOWN, common.GIVEN], value=common.FROM_FILE, label="Heading"
                )
                heading = gr.Number(label="Heading (°)", value=None, info="clockwise from north, of the middle")
                scale = gr.Number(label="Metres per pixel", value=None, info="empty: as the tile's file says, or 64 m")
                method = gr.Dropdown(methods, value=methods[0] if methods else None, label="Method")
                mass = gr.Slider(0.5, 0.95, value=0.9, step=0.05, label="Probability that the regions hold")
            button = gr.Button("Locate", variant="primary", elem_id="position-run")
        with gr.Column(scale=8, min_width=460):
            answer = gr.HTML(common.empty(EMPTY), elem_id="position-answer")
            with gr.Row(visible=False) as pictures:
                heat = common.shown("Where the camera stands", elem_id="position-heat")
                land = common.shown("Land cover", elem_id="position-land")
            with gr.Row(visible=False) as controls:
                with gr.Column():
                    kind = gr.Radio([PROBABILITY, SIGHTLINE], value=PROBABILITY, label="Heat map")
                    opacity = gr.Slider(0, 1, value=0.7, step=0.05, label="Opacity")
                with gr.Column():
                    shown = gr.CheckboxGroup(list(LANDCOVER), value=list(LANDCOVER), label="Classes shown")
                    legend = gr.HTML()
            table = gr.Dataframe(headers=COLUMNS, interactive=False, label="Regions", visible=False)
    button.click(
        _handler(geo),
        [picture, tile, said, heading, scale, method, mass, kind, opacity, shown],
        [answer, heat, land, legend, table, found, pictures, controls],
        api_name="locate",
        concurrency_id="models",
    )
    for event in (kind.change, opacity.release, shown.change):
        event(_drawn, [found, kind, opacity, shown], [heat, land], show_progress="hidden", api_visibility="private")


def _handler(geo: "GeoLocalizer") -> Any:
    """The function behind the button."""

    @common.spoken
    def run(
        picture: str | None,
        tile: str | None,
        said: str = common.FROM_FILE,
        heading: float | None = None,
        scale: float | None = None,
        method: str | None = None,
        mass: float = 0.9,
        kind: str = PROBABILITY,
        opacity: float = 0.7,
        shown: list[str] | None = None,
    ) -> tuple[Any, ...]:
        """Find where inside an aerial tile a street-level picture was taken."""
        view = common.open_ground(picture, said, heading)
        if not tile:
            raise XViewError("There is no aerial tile yet: upload one or choose an example.")
        aerial = common.opened(AerialView, tile, metres_per_pixel=scale or None)
        pose = geo.locate(view, aerial, model=method or None, mass=mass)
        truth = view.latlon if view.latlon is not None and aerial.latlon is not None else None
        found = (aerial, pose, truth)
        cover = pose.landcover
        assert cover is not None
        legend = common.shares(cover.areas, LANDCOVER, LANDCOVER_PALETTE) + hover.labels("#position-land", cover)
        rows = [
            [n, round(r.mass, 3), round(r.share, 4), round(r.east_north[0], 1), round(r.east_north[1], 1)]
            for n, r in enumerate(pose.regions, 1)
        ]
        return (
            _answer(pose, aerial, truth),
            *_drawn(found, kind, opacity, shown),
            legend,
            gr.update(value=rows, visible=True),
            found,
            gr.update(visible=True),
            gr.update(visible=True),
        )

    return run


def _drawn(found: Any, kind: str, opacity: float, shown: list[str] | None) -> tuple[Any, Any]:
    """Both pictures anew, without asking the model again."""
    if found is None:
        return None, None
    aerial, pose, truth = found
    heat = viz_position.heat_picture(aerial, pose, opacity=opacity, sightline=kind == SIGHTLINE, truth=truth)
    return heat, viz_position.landcover_picture(aerial, pose, opacity=opacity, shown=shown)


def _answer(pose: "Pose", aerial: Any, truth: Any) -> str:
    """The figures above the pictures."""
    east, north = pose.east_north
    entries = [
        ("Position", f"{abs(east):.1f} m {'E' if east >= 0 else 'W'}, {abs(north):.1f} m {'N' if north >= 0 else 'S'}",
         "of the tile's centre" if pose.latlon is None else common.place_text(pose.latlon)),
        ("Expected error", f"{pose.expected_error_m:.1f} m", f"entropy {pose.entropy:.1f} bits"),
        ("Best region", f"{pose.confidence:.0%}", f"of the probability, one of {len(pose.regions)}"),
        ("Heading", "unknown" if pose.heading is None else f"{pose.heading:.0f}°", "clockwise from north"),
    ]  # fmt: skip
    if truth is not None:
        right = viz_position.east_north_of(aerial, truth)
        error = ((east - right[0]) ** 2 + (north - right[1]) ** 2) ** 0.5
        entries.append(("Error", f"{error:.1f} m", "to the position in the file"))
    return common.facts(entries)
