"""The page: a masthead, the tabs, and the buttons that carry a panorama from one tab to the next."""

import os
from typing import TYPE_CHECKING, Any

import gradio as gr

from xview_demo.ui import common, hover, localize, position, recognition, segment, synthesize, theme, world

if TYPE_CHECKING:
    from xview_demo.localizer import GeoLocalizer


class Demo(gr.Blocks):
    """Blocks that launch with the demo's look and without analytics, extra pages or public links."""

    def launch(self, *args: Any, **options: Any) -> Any:  # type: ignore[override]
        """Start the server; every option of `gr.Blocks.launch` may be given."""
        ours: dict[str, Any] = {
            "theme": theme.theme(),
            "css": theme.CSS + hover.CSS,
            "js": hover.JS,
            "footer_links": ["api"],
            "run_history": False,
            "ssr_mode": False,
            "pwa": False,
            "max_file_size": "200mb",
        }
        return super().launch(*args, **{**ours, **options})


def build(geo: "GeoLocalizer", *, folders: bool | None = None) -> gr.Blocks:
    """Lay out the demo; see `xview_demo.ui.build`."""
    if folders is None:
        folders = "SPACE_ID" not in os.environ
    with Demo(title="xview", analytics_enabled=False, delete_cache=(3600, 86400)) as page:
        gr.HTML(theme.MASTHEAD)
        with gr.Tabs() as tabs:
            with gr.Tab("Localize", id="localize"):
                localize_tab = localize.build(geo, folders=folders)
            with gr.Tab("Synthesize", id="synthesize"):
                synthesize_tab = synthesize.build(geo)
            with gr.Tab("Segment", id="segment"):
                segment_tab = segment.build(geo)
            if "position" in geo.names:
                with gr.Tab("Position", id="position"):
                    position.build(geo)
            if "places" in geo.names:
                with gr.Tab("Places", id="places"):
                    recognition.build(geo, folders=folders)
            with gr.Tab("World", id="world"):
                world_tab = world.build()
        world.carry(world_tab, tabs, localize_tab, synthesize_tab, segment_tab)
    for box in page.blocks.values():
        common.refuse_plainly(box)
    page.queue(default_concurrency_limit=1)
    return page
