"""The Segment tab: what stands where, in a ground or an aerial picture."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from xview_demo import viz, viz_position, zoo
from xview_demo.classes import CLASSES
from xview_demo.ui import common, hover

if TYPE_CHECKING:
    from xview_demo.localizer import GeoLocalizer

GROUND, AERIAL = "From the street", "From above"
EMPTY = "Upload a picture, or choose an example, then press <b>Segment</b>."


@dataclass(frozen=True)
class Tab:
    """The parts of the tab that others fill."""

    kind: gr.Radio
    picture: gr.Image


def build(geo: "GeoLocalizer") -> Tab:
    """Lay out the tab."""
    common.lead("Eight classes, the same for both views: what the models compare is what stands there.")
    found = gr.State(None)
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=340):
            kind = gr.Radio([GROUND, AERIAL], value=GROUND, label="The picture was taken")
            picture = common.picture_box("Picture", elem_id="segment-picture")
            with gr.Column() as from_street:
                common.examples(picture, *common.STREET)
            with gr.Column(visible=False) as from_above:
                common.examples(picture, "aerial*.jpg")
            every = list(dict.fromkeys(_choices(GROUND) + _choices(AERIAL)))  # programs may name any of them
            model = gr.Dropdown(every, value="", label="Model", elem_id="segment-model")
            alpha = gr.Slider(0, 1, value=0.55, step=0.05, label="Opacity of the classes")
            shown = gr.CheckboxGroup(list(CLASSES), value=list(CLASSES), label="Classes shown", elem_id="segment-shown")
            button = gr.Button("Segment", variant="primary", elem_id="segment-run")
        with gr.Column(scale=8, min_width=460):
            overlay = common.shown("Classes over the picture", elem_id="segment-overlay", visible=False)
            legend = gr.HTML(common.empty(EMPTY), elem_id="segment-legend")

    def turn(choice: str) -> tuple[Any, ...]:
        shown = gr.update(visible=choice == GROUND), gr.update(visible=choice == AERIAL)
        return *shown, gr.update(choices=_choices(choice), value="")

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    gr.on(None, turn, kind, [from_street, from_above, model], **quiet)  # when the page opens, and at each change
    button.click(
        _handler(geo),
        [picture, kind, alpha, shown, model],
        [overlay, legend, found],
        api_name="segment",
        concurrency_id="models",
    )
    for event in (alpha.release, shown.change):
        event(_blend, [found, alpha, shown], overlay, **quiet)
    return Tab(kind, picture)


def _choices(kind: str) -> list[tuple[str, str]]:
    """The demo's own model, and every other bundled one that reads such pictures."""
    reads = "ground" if kind == GROUND else "aerial"
    return [("the demo's own", ""), *((name, name) for name in zoo.bundled("segmentation", reads))]


def _handler(geo: "GeoLocalizer") -> Any:
    """The function behind the button."""

    @common.spoken
    def run(
        picture: str | None,
        kind: str = GROUND,
        alpha: float = 0.55,
        shown: list[str] | None = None,
        model: str | None = None,
    ) -> tuple[Any, str, Any]:
        """Segment a picture taken from the street or from above into eight classes."""
        view: Any = common.open_ground(picture) if kind == GROUND else common.open_aerial(picture)
        result = geo.segment(view, model or None)
        found = (viz.to_array(view), result)
        legend = common.shares(result.areas) + hover.labels("#segment-overlay", result)
        return gr.update(value=_blend(found, alpha, shown), visible=True), legend, found

    return run


def _blend(found: Any, alpha: float, shown: list[str] | None) -> Any:
    """The overlay at another opacity or with other classes, without asking the model again."""
    return None if found is None else viz_position.painted(found[0], found[1], alpha, shown)
