"""Find where a panorama was taken among the aerial tiles along the streets of a village that no model has seen.

    python examples/localize_a_panorama.py

Prints:

    225 tiles of 64 m, descriptors of 10752 numbers
    1  score 1.5…  2 m away
    2  score 1.…  90 m away
    3  score 1.…  … m away
    heading 40° (the file says 40°), confidence … %
    without the heading: rank 1 is 2 m away, heading 40°
    wrote matches.png and matches.geojson
"""

import argparse
from dataclasses import replace
from pathlib import Path

from xview_demo import Gallery, GeoLocalizer, GroundView, World, viz
from xview_demo.files import write_json
from xview_demo.tiles import StreetTiles


def main(folder: Path) -> None:
    """Localize the example panorama, with and without its heading."""
    geo = GeoLocalizer.from_pretrained()
    view = GroundView.open(Path(__file__).with_name("panorama.jpg"))
    gallery = Gallery.build(StreetTiles(World(950_004)), geo)
    print(f"{len(gallery)} tiles of {gallery.tile_metres:.0f} m, descriptors of {gallery.descriptors.shape[1]} numbers")

    hits = geo.localize(view, gallery, top_k=10)
    for match in hits.matches[:3]:
        print(f"{match.rank}  score {match.score:.3f}  {match.distance_m:.0f} m away")
    print(f"heading {hits.heading:.0f}° (the file says {view.heading:.0f}°), confidence {100 * hits.confidence:.0f} %")

    lost = geo.localize(replace(view, heading=None), gallery, top_k=1)
    print(f"without the heading: rank 1 is {lost.matches[0].distance_m:.0f} m away, heading {lost.heading:.0f}°")

    viz.save(viz.localization_figure(view, gallery, hits), folder / "matches.png")
    write_json(folder / "matches.geojson", hits.to_geojson())
    print("wrote matches.png and matches.geojson")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Localize the example panorama.")
    parser.add_argument("--out", type=Path, default=Path("."))
    main(parser.parse_args().out)
