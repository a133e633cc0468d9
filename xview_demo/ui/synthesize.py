"""The Synthesize tab: a panorama goes in; the place as seen from above comes out, beside its bird's-eye view."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from xview_demo import list_models, viz, zoo
from xview_demo.ui import common

if TYPE_CHECKING:
    from xview_demo.localizer import GeoLocalizer

BIRD_EYE = "bird-eye"
SIZE = 640
EMPTY = "Upload a panorama, or choose an example, then press <b>Synthesize</b>."


@dataclass(frozen=True)
class Tab:
    """The parts of the tab that others fill."""

    picture: gr.Image


def build(geo: "GeoLocalizer") -> Tab:
    """Lay out the tab."""
    common.lead(
        "The bird's-eye view folds the panorama down onto flat ground, by geometry alone; "
        "a generator imagines what the camera could not see."
    )
    methods = [n for n in list_models("synthesis") if zoo.ZOO[n].view == "ground" and zoo.is_bundled(n)]
    learned = [name for name in methods if name != BIRD_EYE]
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=340):
            picture = common.picture_box("Street-level picture", elem_id="synthesize-picture")
            details = gr.HTML()
            common.examples(picture, *common.STREET)
            method = gr.Dropdown(methods, value=(learned or methods)[0], label="Method")
            with gr.Accordion("Camera", open=False):
                said = gr.Radio(
                    [common.FROM_FILE, common.UNKNOWN, common.GIVEN], value=common.FROM_FILE, label="Heading"
                )
                with gr.Row():
                    heading = gr.Number(label="Heading (°)", value=None, info="clockwise from north")
                    hfov = gr.Number(label="Field of view (°)", value=None, info="empty: as the file says")
                seed = gr.Number(0, label="Seed", precision=0)
            button = gr.Button("Synthesize", variant="primary", elem_id="synthesize-run")
        with gr.Column(scale=8, min_width=460):
            note = gr.HTML(common.empty(EMPTY), elem_id="synthesize-note")
            with gr.Row(visible=False) as results:
                with gr.Column(scale=3, min_width=320):
                    pair = gr.ImageSlider(
                        label="Bird's-eye view  |  synthetic aerial view",
                        interactive=False,
                        format="png",
                        max_height=SIZE,
                        buttons=["download", "fullscreen"],
                        elem_id="synthesize-pair",
                    )
                with gr.Column(scale=2, min_width=240, visible=False) as beside:
                    classes = common.shown("Its classes")
                    legend = gr.HTML()
    picture.change(common.about_ground, picture, details, show_progress="hidden", api_visibility="private")
    button.click(
        _handler(geo),
        [picture, method, said, heading, hfov, seed],
        [note, pair, classes, legend, results, beside],
        api_name="synthesize",
        concurrency_id="models",
    )
    return Tab(picture)


def _handler(geo: "GeoLocalizer") -> Any:
    """The function behind the button."""

    @common.spoken
    def run(
        picture: str | None,
        method: str | None = None,
        said: str = common.FROM_FILE,
        heading: float | None = None,
        hfov: float | None = None,
        seed: float = 0,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> tuple[Any, ...]:
        """Make the aerial view of a street-level picture, and its bird's-eye projection to compare."""
        view = common.open_ground(picture, said, heading, hfov)
        progress(0.1, desc="Projecting")
        flat = geo.synthesize(view, method=BIRD_EYE)
        progress(0.4, desc="Synthesizing")
        result = geo.synthesize(view, method=method or None, seed=int(seed or 0))
        up = "the top is ahead of the camera" if view.heading is None else "north is up"
        scale = result.aerial.metres_per_pixel
        side = "" if scale is None else f", {scale * result.aerial.image.shape[-1]:.0f} m wide"
        note = f'<div class="said"><b>{result.method}</b>: {up}{side}; the camera stands in the middle.</div>'
        classes = result.segmentation
        return (
            note,
            viz.slider_pair(flat.aerial, result.aerial, SIZE),
            None if classes is None else viz.resize(classes.colours(), SIZE, SIZE),
            "" if classes is None else common.shares(classes.areas),
            gr.update(visible=True),
            gr.update(visible=classes is not None),
        )

    return run
