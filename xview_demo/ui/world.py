"""The World tab: a seed and a kind of place make somewhere to try the other tabs on, with the truth known."""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from xview_demo import GroundView, World, viz
from xview_demo.ui import common, localize, places, segment, synthesize

SPOTS = 24
EMPTY = "Choose a seed and press <b>Make this place</b>: the same seed always gives the same place."


@dataclass(frozen=True)
class Tab:
    """The parts of the tab that the carrying buttons read."""

    seed: gr.Number
    biome: gr.Dropdown
    file: gr.State
    to_localize: gr.Button
    to_synthesize: gr.Button
    to_segment: gr.Button


def build() -> Tab:
    """Lay out the tab."""
    common.lead(
        "Generated places, seen from the street and from above by different cameras at different times. "
        "The models were trained on such worlds, never on seeds from 950,000."
    )
    file = gr.State(None)
    with gr.Row(equal_height=False):
        with gr.Column(scale=3, min_width=260):
            seed = gr.Number(places.DEMO_SEED, label="Seed", precision=0, info="a whole number below 1,000,000")
            biome = gr.Dropdown(
                [places.ANY_BIOME, *World.BIOMES],
                value=places.ANY_BIOME,
                label="Kind of place",
                info="any: drawn from the seed",
            )
            spot = gr.Slider(
                1,
                SPOTS,
                value=1,
                step=1,
                elem_id="world-spot",
                label="Spot",
                info="where in the place the camera stands",
            )
            button = gr.Button("Make this place", variant="primary", elem_id="world-run")
            to_localize = gr.Button("Localize this panorama", interactive=False, elem_id="world-to-localize")
            to_synthesize = gr.Button("Synthesize its aerial view", interactive=False)
            to_segment = gr.Button("Segment it", interactive=False)
        with gr.Column(scale=10, min_width=520):
            note = gr.HTML(common.empty(EMPTY), elem_id="world-note")
            panorama = common.shown("From the street", elem_id="world-panorama", visible=False)
            with gr.Row():
                depth = common.shown("Depth", visible=False)
                classes = common.shown("Classes", visible=False)
            with gr.Row():
                aerial = common.shown(
                    "From above, 64 m wide, north up", height=380, elem_id="world-aerial", visible=False
                )
                above = common.shown("Classes from above", height=380, visible=False)
    buttons = [to_localize, to_synthesize, to_segment]
    button.click(
        _run,
        [seed, biome, spot],
        [note, panorama, depth, classes, aerial, above, file, *buttons],
        api_name="world",
        concurrency_id="models",
    )
    return Tab(seed, biome, file, to_localize, to_synthesize, to_segment)


@common.spoken
def _run(
    seed: float | None = places.DEMO_SEED,
    biome: str | None = places.ANY_BIOME,
    spot: float = 1,
    progress: gr.Progress = gr.Progress(),  # noqa: B008
) -> tuple[Any, ...]:
    """Make a place from a seed: its panorama, depth and classes from the street, colour and classes from above."""
    progress(0.1, desc="Building the place")
    place = places.world_of(seed, biome)
    sites = place.sites(SPOTS)
    site = sites[min(max(int(spot), 1), len(sites)) - 1]
    progress(0.6, desc="Taking the pictures")
    ground = place.panoramas([site], headings=[site.heading], height=256, width=1024, supersample=2, seed=int(spot))
    aerial = place.aerials([site], pixels=512, seed=int(spot))
    view = GroundView(ground.colour[0].cpu(), heading=site.heading, vfov=90.0, latlon=site.latlon)
    path = view.save(common.scratch_file(".jpg"))
    note = common.facts(
        [
            ("Kind of place", str(place.biome).replace("_", " "), f"seed {place.seed}"),
            ("Position", common.place_text(site.latlon), f"spot {int(spot)} of {len(sites)}"),
            ("Heading", f"{site.heading:.0f}°", "clockwise from north, of the middle"),
        ]
    )
    pictures = (
        viz.compass(viz.to_array(view), site.heading),
        viz.depth_map(ground.depth[0].cpu().numpy()),
        viz.with_legend(viz.class_map(ground.labels[0].cpu().numpy())),
        viz.to_array(aerial.colour[0]),
        viz.class_map(aerial.labels[0].cpu().numpy()),
    )
    shown = (gr.update(value=picture, visible=True) for picture in pictures)
    return note, *shown, str(path), *(gr.update(interactive=True) for _ in range(3))


def carry(
    tab: Tab, tabs: gr.Tabs, to_localize: localize.Tab, to_synthesize: synthesize.Tab, to_segment: segment.Tab
) -> None:
    """Wire the buttons that take the panorama to another tab; Localize also gets the world it lies in."""
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    tab.to_localize.click(
        lambda file, seed, biome: (gr.Tabs(selected="localize"), file, localize.WORLD, seed, biome),
        [tab.file, tab.seed, tab.biome],
        [tabs, to_localize.picture, to_localize.source, to_localize.seed, to_localize.biome],
        **quiet,
    )
    tab.to_synthesize.click(
        lambda file, seed, biome: (gr.Tabs(selected="synthesize"), synthesize.GROUND, file, seed, biome),
        [tab.file, tab.seed, tab.biome],
        [tabs, to_synthesize.kind, to_synthesize.picture, to_synthesize.seed, to_synthesize.biome],
        **quiet,
    )
    tab.to_segment.click(
        lambda file: (gr.Tabs(selected="segment"), segment.GROUND, file),
        tab.file,
        [tabs, to_segment.kind, to_segment.picture],
        **quiet,
    )
