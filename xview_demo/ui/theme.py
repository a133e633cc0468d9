"""How the demo looks: a calm theme on the fonts that ship with Gradio, so that no request leaves the machine."""

import gradio as gr
from gradio.themes.utils import fonts

CSS = """
.gradio-container { width: 100% !important; max-width: 1360px !important; margin: 0 auto !important; }
.gradio-container main { width: 100% !important; }
footer .divider { display: none; }
#masthead { padding: 14px 2px 4px; }
#masthead h1 { font-size: 1.6rem; font-weight: 700; margin: 0; letter-spacing: -0.01em; }
#masthead p { margin: 4px 0 0; color: var(--body-text-color-subdued); max-width: 62rem; }
.lead { color: var(--body-text-color-subdued); padding: 2px 2px 6px; }
.empty { border: 1px dashed var(--border-color-primary); border-radius: 10px; padding: 26px 22px;
         color: var(--body-text-color-subdued); text-align: center; }
.facts { display: flex; flex-wrap: wrap; gap: 10px; }
.fact { flex: 1 1 0; border: 1px solid var(--border-color-primary);
        border-radius: 10px; padding: 10px 14px; background: var(--background-fill-secondary); }
.fact .name { font-size: .78rem; color: var(--body-text-color-subdued); }
.fact .value { font-size: 1.12rem; font-weight: 700; white-space: nowrap; font-variant-numeric: tabular-nums; }
.fact .note { font-size: .78rem; color: var(--body-text-color-subdued); }
.said { font-size: .86rem; color: var(--body-text-color-subdued); padding: 0 4px; }
.said.bad { color: var(--error-text-color, #b91c1c); }
#localize-matches .grid-wrap { height: auto !important; min-height: 0 !important; max-height: none !important; }
#localize-matches .grid-container { gap: 10px; padding-top: 30px; }
#localize-matches .gallery-item { height: auto; }
#localize-matches .thumbnail-item { aspect-ratio: auto; height: auto; display: block; padding: 0; }
#localize-matches .thumbnail-item img { aspect-ratio: 1; height: auto; border-radius: 6px 6px 0 0; }
#localize-matches .caption-label { position: static; max-width: none; white-space: pre-line; text-align: left;
          border: 0; border-radius: 0 0 6px 6px; padding: 5px 8px; line-height: 1.35; font-size: .82rem;
          color: var(--body-text-color); background: transparent; font-variant-numeric: tabular-nums; }
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
    """The theme: neutral surfaces, one blue accent, and Source Sans from the Gradio package itself.

    Weight 700, not 600: Gradio's SemiBold files are subsets without most Latin letters.
    """
    return gr.themes.Default(
        primary_hue=gr.themes.colors.blue,
        secondary_hue=gr.themes.colors.blue,
        neutral_hue=gr.themes.colors.slate,
        radius_size=gr.themes.sizes.radius_lg,
        font=(fonts.LocalFont("Source Sans Pro", weights=(400, 700)), "system-ui", "sans-serif"),
        font_mono=(fonts.LocalFont("IBM Plex Mono", weights=(400, 700)), "ui-monospace", "monospace"),
    )
