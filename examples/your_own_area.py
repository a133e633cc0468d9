"""Your own area: a folder of aerial tiles named by latitude and longitude becomes a gallery, kept and opened again.

The folder is made here from a generated world, so that the script runs anywhere; yours may hold tiles named
`z/x/y`, `lat,lon` or UTM, a `tiles.csv`, or be a GeoTIFF orthophoto.

    python examples/your_own_area.py

Prints:

    49 tiles in tiles/, for example -39.5336890,-155.6627748.jpg
    a gallery of 49 tiles in gallery/
    opened again: 49 tiles from -39.5354, -155.6650 to -39.5337, -155.6628
    the panorama was taken 2 m from the centre of the best tile
    searching only within 60 m: 9 tiles
"""

import argparse
from pathlib import Path

from xview_demo import Gallery, GeoLocalizer, GroundView, World


def make_tiles(folder: Path, around: GroundView) -> list[str]:
    """Write 7 × 7 tiles of 64 m, 32 m apart, around a view, as if they had been downloaded."""
    world = World(950_004)
    east, north = world.local_of(*around.latlon)
    folder.mkdir(parents=True, exist_ok=True)
    for row in range(-3, 4):
        for column in range(-3, 4):
            tile = world.aerial((east + 2 + 32 * column, north - 1 + 32 * row))
            tile.save(folder / f"{tile.latlon[0]:.7f},{tile.latlon[1]:.7f}.jpg")
    return sorted(path.name for path in folder.glob("*.jpg"))


def main(folder: Path) -> None:
    """Build a gallery from a folder of tiles, open it again, and search it."""
    view = GroundView.open(Path(__file__).with_name("panorama.jpg"))
    names = make_tiles(folder / "tiles", view)
    print(f"{len(names)} tiles in tiles/, for example {names[0]}")

    geo = GeoLocalizer.from_pretrained()
    built = Gallery.build(folder / "tiles", geo, path=folder / "gallery")
    print(f"a gallery of {len(built)} tiles in gallery/")

    gallery = Gallery.open(folder / "gallery")  # nothing is encoded again
    low, high = gallery.latlons.min(0), gallery.latlons.max(0)
    print(f"opened again: {len(gallery)} tiles from {low[0]:.4f}, {low[1]:.4f} to {high[0]:.4f}, {high[1]:.4f}")

    hits = geo.localize(view, gallery)
    print(f"the panorama was taken {hits.matches[0].distance_m:.0f} m from the centre of the best tile")
    near = geo.localize(view, gallery, region=(*view.latlon, 60.0))
    print(f"searching only within 60 m: {len(near.matches)} tiles")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Make and search a gallery of one's own tiles.")
    parser.add_argument("--out", type=Path, default=Path("."))
    main(parser.parse_args().out)
