"""Write the example pictures beside this script. All of them are generated: no photograph, no map imagery.

    python examples/make_pictures.py

Prints:

    panorama.jpg: village, heading 40°
    panorama-950006.jpg: coast, heading 300°
    panorama-950008.jpg: suburb, heading 0°
    panorama-950017.jpg: dense_city, heading 0°
    photo.jpg: village, 70° wide
    aerial.jpg: village, 64 m wide
    aerial-950017.jpg: dense_city, 64 m wide
"""

import argparse
from pathlib import Path

from xview_demo import World

DEMO, COAST, SUBURB, CITY = 950_004, 950_006, 950_008, 950_017  # test seeds: no bundled model has seen these places
PANORAMAS = (  # seed, spot, heading, draw of the camera, name
    (DEMO, 4, 40.0, 1, "panorama.jpg"),
    (COAST, 4, 300.0, 1, "panorama-950006.jpg"),
    (SUBURB, 4, 0.0, 0, "panorama-950008.jpg"),
    (CITY, 9, 0.0, 0, "panorama-950017.jpg"),
)
SPOTS = 12


def main(folder: Path) -> None:
    """Write the panoramas, the photograph and the aerial pictures into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    worlds = {seed: World(seed) for seed in (DEMO, COAST, SUBURB, CITY)}
    for seed, spot, heading, draw, name in PANORAMAS:
        world = worlds[seed]
        world.panorama(world.sites(SPOTS)[spot], heading=heading, seed=draw).save(folder / name)
        print(f"{name}: {world.biome}, heading {heading:.0f}°")
    demo = worlds[DEMO]
    photo = demo.photo(demo.sites(SPOTS)[4])
    photo.save(folder / "photo.jpg")
    print(f"photo.jpg: {demo.biome}, {photo.hfov:.0f}° wide")
    for seed, spot, name in ((DEMO, 4, "aerial.jpg"), (CITY, 9, "aerial-950017.jpg")):
        aerial = worlds[seed].aerial(worlds[seed].sites(SPOTS)[spot])
        aerial.save(folder / name)
        print(f"{name}: {worlds[seed].biome}, {aerial.metres:.0f} m wide")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write the example pictures.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    main(parser.parse_args().out)
