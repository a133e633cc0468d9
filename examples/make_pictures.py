"""Write the example pictures beside this script. All of them are generated: no photograph, no map imagery.

    python examples/make_pictures.py

Prints:

    panorama.jpg: row_house, heading 90°
    panorama-950017.jpg: dense_city, heading 0°
    panorama-950008.jpg: suburb, heading 210°
    photo.jpg: row_house, 70° wide
    aerial.jpg: row_house, 64 m wide
    aerial-950017.jpg: dense_city, 64 m wide
"""

import argparse
from pathlib import Path

from xview_demo import World

DEMO = 950_002  # a test seed: no bundled model has seen this place
PANORAMAS = (
    (DEMO, 0, 90.0, "panorama.jpg"),
    (950_017, 1, 0.0, "panorama-950017.jpg"),
    (950_008, 1, 210.0, "panorama-950008.jpg"),
)


def main(folder: Path) -> None:
    """Write the panoramas, the photograph and the aerial pictures into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, spot, heading, name in PANORAMAS:
        world = World(seed)
        world.panorama(world.sites(4)[spot], heading=heading).save(folder / name)
        print(f"{name}: {world.biome}, heading {heading:.0f}°")
    demo, city = World(DEMO), World(950_017)
    photo = demo.photo(demo.sites(4)[2])
    photo.save(folder / "photo.jpg")
    print(f"photo.jpg: {demo.biome}, {photo.hfov:.0f}° wide")
    for world, spot, name in ((demo, 0, "aerial.jpg"), (city, 1, "aerial-950017.jpg")):
        aerial = world.aerial(world.sites(4)[spot])
        aerial.save(folder / name)
        print(f"{name}: {world.biome}, {aerial.metres:.0f} m wide")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write the example pictures.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    main(parser.parse_args().out)
