"""How the demo looks: a calm theme on the fonts that ship with Gradio, so that no request leaves the machine."""

import gradio as gr
from gradio.themes.utils import fonts

CSS = """
.gradio-container { max-width: 1360px !important; margin: 0 auto !important; }
#masthead { padding: 14px 2px 4px; }
#masthead h1 { font-size: 1.55rem; font-weight: 600; margin: 0; letter-spacing: -0.01em; }
#masthead p { margin: 4px 0 0; color: var(--body-text-color-subdued); max-width: 62rem; }
.lead { color: var(--body-text-color-subdued); padding: 2px 2px 6px; }
.empty { border: 1px dashed var(--border-color-primary); border-radius: 10px; padding: 26px 22px;
         color: var(--body-text-color-subdued); text-align: center; }
.facts { display: flex; flex-wrap: wrap; gap: 10px; }
.fact { flex: 1 1 150px; border: 1px solid var(--border-color-primary); border-radius: 10px;
        padding: 10px 14px; background: var(--background-fill-secondary); }
.fact .name { font-size: .78rem; color: var(--body-text-color-subdued); }
.fact .value { font-size: 1.16rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.fact .note { font-size: .78rem; color: var(--body-text-color-subdued); }
.said { font-size: .86rem; color: var(--body-text-color-subdued); padding: 0 4px; }
.said.bad { color: var(--error-text-color, #b91c1c); }
.shares { display: grid; grid-template-columns: auto 1fr auto; gap: 7px 12px; align-items: center;
          padding: 6px 4px; font-size: .92rem; }
.shares .swatch { display: inline-block; width: 12px; height: 12px; border-radius: 3px; margin-right: 8px; }
.shares .track { height: 8px; border-radius: 4px; background: var(--background-fill-secondary); overflow: hidden; }
.shares .bar { height: 100%; border-radius: 4px; }
.shares .share { text-align: right; font-variant-numeric: tabular-nums; min-width: 3.2em; }
"""

MASTHEAD = """
<div id="masthead"><h1>xview</h1>
<p>Where was this street-level picture taken? The models imagine the place from above, read what stands there
and find it among aerial tiles. Everything runs on this machine.</p></div>
"""


def theme() -> gr.themes.Base:
    """The theme: neutral surfaces, one blue accent, Source Sans from the Gradio package itself."""
    return gr.themes.Default(
        primary_hue=gr.themes.colors.blue,
        secondary_hue=gr.themes.colors.blue,
        neutral_hue=gr.themes.colors.slate,
        radius_size=gr.themes.sizes.radius_lg,
        font=(fonts.LocalFont("Source Sans Pro", weights=(400, 600)), "system-ui", "sans-serif"),
        font_mono=(fonts.LocalFont("IBM Plex Mono", weights=(400, 600)), "ui-monospace", "monospace"),
    )
