"""The Places tab: a photograph is looked for among photographs; retrieval and re-ranking stand side by side."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from xview_demo import viz, zoo
from xview_demo.data.places import PlaceIndex, read_places
from xview_demo.errors import XViewError
from xview_demo.files import cache_root
from xview_demo.recognition.figures import match_figure, ranked_pictures
from xview_demo.ui import common, places
from xview_demo.views import GroundView
from xview_demo.world.places import PlaceWorlds, write_places

if TYPE_CHECKING:
    from xview_demo.gallery import Gallery
    from xview_demo.localizer import GeoLocalizer
    from xview_demo.outputs import Localization

WORLD, FOLDER, ZIP = "Generated street", "Folder", "ZIP file"
WORLDS = PlaceWorlds(train=0, val=0, test=1, sites=40, queries=12)  # what the generated street holds
EMPTY = "Choose a photograph and press <b>Find</b>.<br>Retrieval and re-ranking stand side by side here."


def build(geo: "GeoLocalizer", *, folders: bool) -> None:
    """Lay out the tab; with `folders`, photographs may be looked for in folders of this computer."""
    common.lead("Find a photograph among geo-tagged photographs: retrieval first, then GeoWarp re-ranks the best.")
    own = Path(geo.names["places"]).name
    models = {own: geo.names["places"]} | {n: n for n in zoo.bundled("places")}
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=340):
            picture = common.picture_box("Photograph", elem_id="places-picture")
            source = gr.Radio([WORLD, *([FOLDER] if folders else []), ZIP], value=WORLD, label="Photographs to search")
            spot = gr.Slider(
                1, WORLDS.queries, value=1, step=1, label="Query", info="of the street, when no photograph is given"
            )
            folder = gr.Textbox(
                label="Folder", placeholder="photographs named @east@north@… or with GPS", visible=False
            )
            archive = gr.File(label="Photographs named @east@north@…, or with GPS", file_types=[".zip"], visible=False)
            with gr.Accordion("Re-ranking", open=False):
                model = gr.Dropdown([*models], value=own, label="Model")
                rerank_k = gr.Slider(2, 10, value=5, step=1, label="Candidates to re-rank")
            button = gr.Button("Find", variant="primary", elem_id="places-run")
        with gr.Column(scale=8, min_width=460):
            answer = gr.HTML(common.empty(EMPTY), elem_id="places-answer")
            with gr.Row(visible=False) as lists:
                before = _ranked("Retrieval", "places-before")
                after = _ranked("After re-ranking", "places-after")
            figure = common.shown("The best match", elem_id="places-figure", visible=False)

    def turn(choice: str) -> tuple[Any, ...]:
        return tuple(gr.update(visible=choice == kind) for kind in (WORLD, FOLDER, ZIP))

    source.change(turn, source, [spot, folder, archive], show_progress="hidden", api_visibility="private")
    inputs = [picture, source, spot, folder, archive, model, rerank_k]
    button.click(
        _handler(geo, folders, models), inputs, [answer, before, after, figure, lists], api_name="places",
        concurrency_id="models",
    )  # fmt: skip


def _ranked(label: str, elem_id: str) -> gr.Gallery:
    return gr.Gallery(
        label=label,
        columns=1,
        height="auto",
        object_fit="contain",
        format="png",
        buttons=["fullscreen"],
        elem_id=elem_id,
    )


def _handler(geo: "GeoLocalizer", folders: bool, models: dict[str, Any]) -> Any:
    """The function behind the button."""

    @common.spoken
    def run(
        picture: str | None,
        source: str = WORLD,
        spot: float = 1,
        folder: str | None = None,
        archive: str | None = None,
        model: str | None = None,
        rerank_k: float = 5,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> tuple[Any, ...]:
        """Find a photograph among geo-tagged photographs, before and after re-ranking."""

        def told(done: int, total: int) -> None:
            progress((done, total or None), desc="Encoding the photographs (once)")

        if source == FOLDER and not folders:
            raise XViewError("Folders of this computer are not offered here: upload a ZIP file.")
        view = common.open_ground(picture) if picture or source != WORLD else None  # it may be unusable
        if source == WORLD:
            progress(0.02, desc="Taking the photographs (once)")
            index = read_places(write_places(cache_root() / f"places-{WORLDS.fingerprint}", WORLDS))
            folder = str(index.gallery[0].parents[1])
            view = _query(index, int(spot)) if view is None else view
        if source == ZIP:
            gallery = places.zip_gallery(geo, archive, told, kind="ground")
        else:
            gallery = places.folder_gallery(geo, folder, told, kind="ground")
        assert view is not None
        options: dict[str, Any] = {"rerank": models.get(model or "", model or next(iter(models.values())))}
        plain = geo.localize(view, gallery, top_k=int(rerank_k))
        again = geo.localize(view, gallery, top_k=int(rerank_k), rerank_k=int(rerank_k), **options)
        return _answer(view, gallery, plain, again)

    return run


def _query(index: PlaceIndex, spot: int) -> GroundView:
    """A photograph of the generated street."""
    from xview_demo.tiles import open_view

    view = open_view(index.queries[(spot - 1) % len(index.queries)], "ground")
    assert isinstance(view, GroundView)
    return view


def _answer(view: GroundView, gallery: "Gallery", plain: "Localization", again: "Localization") -> tuple[Any, ...]:
    """What the page shows, in the order of the outputs."""
    best = again.matches[0]
    moved = "kept its first" if best.tile == plain.matches[0].tile else f"moved up from {_rank(plain, best.tile)}"
    entries = [
        (
            "Best match",
            "no coordinates" if best.latlon is None else common.place_text(best.latlon),
            f"among {len(gallery):,} photographs; re-ranking {moved}",
        ),
        ("Confidence", f"{again.confidence:.0%}", "the best photograph's share of the probability"),
    ]
    if best.warp is not None:
        entries.append(("Evidence", f"{best.warp.agreeing} cells", "of 225 agree after warping"))
    if best.distance_m is not None:
        entries.append(("Distance", viz.metres_text(best.distance_m), "from the position in the file"))
    found: GroundView = gallery.tile(gallery.names.index(best.tile))  # type: ignore[assignment]
    return (
        common.facts(entries),
        ranked_pictures(gallery, plain.matches),
        ranked_pictures(gallery, again.matches),
        gr.update(value=match_figure(view, found, best), visible=True),
        gr.update(visible=True),
    )


def _rank(result: "Localization", tile: str) -> str:
    return next((f"place {match.rank}" for match in result.matches if match.tile == tile), "further down")
