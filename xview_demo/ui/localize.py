"""The Localize tab: a panorama goes in; the best-matching tiles, coordinates, heading and confidence come out."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np

from xview_demo import World, viz
from xview_demo.files import atomic_path
from xview_demo.ui import common, places

if TYPE_CHECKING:
    from xview_demo.gallery import Gallery
    from xview_demo.localizer import GeoLocalizer
    from xview_demo.outputs import Localization
    from xview_demo.views import GroundView

WORLD, FOLDER, ZIP = "Generated world", "Folder", "ZIP file"
EMPTY = "Upload a panorama, or choose an example, then press <b>Localize</b>.<br>The best-matching tiles appear here."

COLUMNS = ["#", "score", "tile", "latitude", "longitude", "distance (m)", "heading (°)"]


@dataclass(frozen=True)
class Tab:
    """The parts of the tab that others fill."""

    picture: gr.Image
    source: gr.Radio
    seed: gr.Number
    biome: gr.Dropdown


def build(geo: "GeoLocalizer", *, folders: bool) -> Tab:
    """Lay out the tab; with `folders`, galleries may come from folders of this computer."""
    common.lead("Upload a street-level panorama or photograph and choose the area to search.")
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=340):
            picture = common.picture_box("Street-level picture", elem_id="localize-picture")
            details = gr.HTML(elem_id="localize-details")
            spot = gr.Column()
            source, seed, biome, folder, archive = _area_inputs(folders)
            with spot:
                _examples(picture, source, seed, biome)
            said, heading, hfov, top_k = _camera_inputs()
            button = gr.Button("Localize", variant="primary", elem_id="localize-run")
        with gr.Column(scale=8, min_width=460):
            answer = gr.HTML(common.empty(EMPTY), elem_id="localize-answer")
            matches = gr.Gallery(
                label="Best matches",
                columns=5,
                height="auto",
                object_fit="contain",
                allow_preview=True,
                format="png",
                buttons=["fullscreen"],
                elem_id="localize-matches",
                visible=False,
            )
            with gr.Row(visible=False) as more:
                chart = common.shown("Where in the area", elem_id="localize-map")
                aerial = common.shown("Imagined from above", elem_id="localize-aerial")
                tile_classes = common.shown("Classes of the best tile")
            with gr.Column(visible=False) as seen:
                ground_classes = common.shown("Classes of the picture", elem_id="localize-classes")
                with gr.Accordion("The matches as a table", open=False):
                    table = gr.Dataframe(headers=COLUMNS, interactive=False, show_label=False)
                    geojson = gr.DownloadButton("Download as GeoJSON", size="sm")
    picture.change(common.about_ground, picture, details, show_progress="hidden", api_visibility="private")
    inputs = [picture, source, seed, biome, folder, archive, said, heading, hfov, top_k]
    outputs = [answer, matches, chart, table, geojson, aerial, tile_classes, ground_classes, more, seen]
    button.click(_handler(geo, folders), inputs, outputs, api_name="localize", concurrency_id="models")
    return Tab(picture, source, seed, biome)


def _examples(picture: gr.Image, *area: Any) -> None:
    """Example pictures, each with the generated world it was taken in: `panorama-SEED.jpg`, else the demo's world."""
    rows = []
    for file in common.example_files(*common.STREET):
        seed = file.rpartition("-")[2].removesuffix(".jpg")
        rows.append([file, WORLD, int(seed) if seed.isdecimal() else places.DEMO_SEED, places.ANY_BIOME])
    if rows:
        gr.Examples(rows, inputs=[picture, *area], visible_columns=[0], label="Examples", cache_examples=False)


def _area_inputs(folders: bool) -> tuple[gr.Radio, gr.Number, gr.Dropdown, gr.Textbox, gr.File]:
    choices = [WORLD, *([FOLDER] if folders else []), ZIP]
    source = gr.Radio(choices, value=WORLD, label="Area to search", elem_id="localize-source")
    with gr.Row() as generated:
        seed = gr.Number(places.DEMO_SEED, label="Seed", precision=0, info="950,000 and up: never seen in training")
        biome = gr.Dropdown(
            [places.ANY_BIOME, *World.BIOMES],
            value=places.ANY_BIOME,
            label="Kind of place",
            info="any: drawn from the seed",
        )
    folder = gr.Textbox(label="Folder", placeholder="a gallery, or tiles named by z/x/y, lat/lon or UTM", visible=False)
    archive = gr.File(label="Tiles named by z/x/y, lat/lon or UTM, or with a CSV", file_types=[".zip"], visible=False)

    def turn(choice: str) -> tuple[Any, Any, Any]:
        return (
            gr.update(visible=choice == WORLD),
            gr.update(visible=choice == FOLDER),
            gr.update(visible=choice == ZIP),
        )

    source.change(turn, source, [generated, folder, archive], show_progress="hidden", api_visibility="private")
    return source, seed, biome, folder, archive


def _camera_inputs() -> tuple[gr.Radio, gr.Number, gr.Number, gr.Slider]:
    with gr.Accordion("Camera and search", open=False):
        said = gr.Radio(
            [common.FROM_FILE, common.UNKNOWN, common.GIVEN],
            value=common.FROM_FILE,
            label="Heading",
            info="An unknown heading is searched for.",
        )
        with gr.Row():
            heading = gr.Number(label="Heading (°)", value=None, info="clockwise from north, of the middle")
            hfov = gr.Number(label="Field of view (°)", value=None, info="empty: as the file says")
        top_k = gr.Slider(1, 25, value=10, step=1, label="Matches to show")
    return said, heading, hfov, top_k


def _handler(geo: "GeoLocalizer", folders: bool) -> Any:
    """The function behind the button."""

    @common.spoken
    def run(
        picture: str | None,
        source: str = WORLD,
        seed: float | None = places.DEMO_SEED,
        biome: str | None = places.ANY_BIOME,
        folder: str | None = None,
        archive: str | None = None,
        said: str = common.FROM_FILE,
        heading: float | None = None,
        hfov: float | None = None,
        top_k: float = 10,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> tuple[Any, ...]:
        """Find where a street-level picture was taken among the aerial tiles of an area."""
        view = common.open_ground(picture, said, heading, hfov)
        progress(0.02, desc="Opening the area")

        def told(done: int, total: int) -> None:
            progress((done, total or None), desc="Encoding the area's tiles (once)")

        if source == FOLDER and folders:
            gallery = places.folder_gallery(geo, folder, told)
        elif source == ZIP:
            gallery = places.zip_gallery(geo, archive, told)
        else:
            gallery = places.world_gallery(geo, seed, biome, told)
        progress(0.6, desc="Searching")
        result = geo.localize(view, gallery, top_k=int(top_k))
        if "position" in geo.names and gallery.kind == "aerial":
            progress(0.7, desc="Finding the place in the best tile")
            result = geo.refine(view, gallery, result)
        progress(0.8, desc="Drawing")
        return (*_pictures(geo, view, gallery, result), gr.update(visible=True), gr.update(visible=True))

    return run


def _pictures(geo: "GeoLocalizer", view: "GroundView", gallery: "Gallery", result: "Localization") -> Any:
    """What the page shows of an answer, in the order of the outputs."""
    names = {name: index for index, name in enumerate(gallery.names)}
    tiles = [gallery.tile(names[match.tile]) for match in result.matches]
    pictures = viz.match_tiles(tiles, result.matches, size=256)
    captions = [viz.match_caption(match) for match in result.matches]
    truth = viz.true_match(result.matches)
    if truth is not None:
        captions[truth] = f"✓ {captions[truth]}"
    latlons = np.asarray(gallery.latlons, dtype=float)
    placed = np.isfinite(latlons).all(1)
    chart = (
        viz.area_map(latlons[placed], result.probability[placed], result.matches[:5], view.latlon)
        if placed.any()
        else None
    )
    tile_classes = viz.overlay_view(tiles[0], geo.segment(tiles[0]), 0.6)
    ground = geo.segment(view)
    return (
        _answer(result, len(names)),
        gr.update(value=list(zip(pictures, captions, strict=True)), visible=True),
        chart,
        [_row(match) for match in result.matches],
        _geojson(result),
        viz.to_array(geo.synthesize(view).aerial),
        tile_classes,
        viz.with_legend(viz.overlay_view(view, ground, 0.6), ground.areas),
    )


def _answer(result: "Localization", tiles: int) -> str:
    """The figures above the gallery."""
    best = result.matches[0]
    sure = "the best tile's share of the probability"
    entries = [
        (
            "Best match",
            "no coordinates" if best.latlon is None else common.place_text(best.latlon),
            f"the centre of one of {tiles:,} tiles",
        ),
        (
            "Heading",
            "unknown" if result.heading is None else f"{result.heading:.0f}°",
            "clockwise from north, of the middle",
        ),
        (
            "Confidence",
            f"{result.confidence:.0%}",
            sure if result.confidence >= 0.5 else "low: look at the other matches too",
        ),
    ]
    if best.position is not None and best.uncertainty_m is not None:
        note = f"in the best tile, give or take {viz.metres_text(best.uncertainty_m)}"
        if best.position_error_m is not None:
            note += f"; {viz.metres_text(best.position_error_m)} from the position in the file"
        entries.append(("Position", common.place_text(best.position), note))
    if best.distance_m is not None:
        entries.append(
            ("Distance", viz.metres_text(best.distance_m), "from the position in the file to the tile's centre")
        )
    return common.facts(entries)


def _row(match: Any) -> list[Any]:
    lat, lon = match.latlon or (None, None)
    return [
        match.rank,
        round(match.score, 4),
        match.tile,
        None if lat is None else round(lat, 6),
        None if lon is None else round(lon, 6),
        None if match.distance_m is None else round(match.distance_m, 1),
        None if match.heading is None else round(match.heading, 1),
    ]


def _geojson(result: "Localization") -> str:
    path = common.scratch() / "matches.geojson"
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(result.to_geojson(), indent=1))
    return str(path)
