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
SPOTS = {DEMO: 8, COAST: 9, SUBURB: 1, CITY: 2}  # of the first twelve sites
PANORAMAS = (  # seed, heading, draw of the camera, name
    (DEMO, 40.0, 1, "panorama.jpg"),
    (COAST, 300.0, 1, "panorama-950006.jpg"),
    (SUBURB, 0.0, 0, "panorama-950008.jpg"),
    (CITY, 0.0, 0, "panorama-950017.jpg"),
)


def main(folder: Path) -> None:
    """Write the panoramas, the photograph and the aerial pictures into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    worlds = {seed: World(seed) for seed in SPOTS}
    sites = {seed: worlds[seed].sites(12)[spot] for seed, spot in SPOTS.items()}
    for seed, heading, draw, name in PANORAMAS:
        worlds[seed].panorama(sites[seed], heading=heading, seed=draw).save(folder / name)
        print(f"{name}: {worlds[seed].biome}, heading {heading:.0f}°")
    photo = worlds[DEMO].photo(sites[DEMO])
    photo.save(folder / "photo.jpg")
    print(f"photo.jpg: {worlds[DEMO].biome}, {photo.hfov:.0f}° wide")
    for seed, name in ((DEMO, "aerial.jpg"), (CITY, "aerial-950017.jpg")):
        aerial = worlds[seed].aerial(sites[seed])
        aerial.save(folder / name)
        print(f"{name}: {worlds[seed].biome}, {aerial.metres:.0f} m wide")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write the example pictures.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    main(parser.parse_args().out)
