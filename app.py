"""The demo: `python app.py`, then open the address it prints. A Hugging Face Space runs this file as it is."""

from xview_demo import GeoLocalizer, ui

demo = ui.build(GeoLocalizer.from_pretrained())

if __name__ == "__main__":
    demo.launch()
