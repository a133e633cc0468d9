"""Make a place and look at it from the street and from above; nothing is learned here, and everything is known.

    python examples/look_around.py

Prints:

    village, seed 950004: test
    the street runs towards 37°, the camera stands at -39.53068, -155.66248
    panorama 256 × 1024 pixels, 360° × 90°, centre column looks along 37°
    nearest thing in view: 3.6 m; sky 30 %
    aerial 256 × 256 pixels, 0.25 m each, north up
    from above: building 3 %, road 14 %, vegetation 23 %
    wrote look_around.png
"""

import argparse
from pathlib import Path

import torch

from xview_demo import World, viz
from xview_demo.classes import CLASS_ID
from xview_demo.world import split_of


def main(folder: Path) -> None:
    """Print what is known about one site and write its pictures."""
    world = World(950_004)
    print(f"{world.biome}, seed {world.seed}: {split_of(world.seed)}")
    site = world.sites(1)[0]
    print(
        f"the street runs towards {site.heading:.0f}°, the camera stands at {site.latlon[0]:.5f}, {site.latlon[1]:.5f}"
    )

    view = world.panorama(site, heading=site.heading)
    height, width = view.image.shape[-2:]
    print(
        f"panorama {height} × {width} pixels, {view.hfov:.0f}° × {view.vfov:.0f}°, "
        f"centre column looks along {view.heading:.0f}°"
    )
    truth = world.panoramas([site], headings=[site.heading])  # colour, depth and classes, many sites at once
    sky = (truth.labels == CLASS_ID["sky"]).float().mean()
    print(f"nearest thing in view: {truth.depth.min():.1f} m; sky {sky:.0%}".replace("%", " %"))

    above = world.aerials([site])
    print(
        f"aerial {above.colour.shape[-2]} × {above.colour.shape[-1]} pixels, {above.metres_per_pixel} m each, north up"
    )
    shares = {name: (above.labels == CLASS_ID[name]).float().mean() for name in ("building", "road", "vegetation")}
    print("from above: " + ", ".join(f"{name} {share:.0%}".replace("%", " %") for name, share in shares.items()))

    street = viz.compass(viz.to_array(view), view.heading)
    depth = viz.depth_map(torch.nn.functional.interpolate(truth.depth[None], scale_factor=2)[0, 0].numpy())
    picture = viz.stack(
        [street, depth, viz.beside([viz.to_array(above.colour[0]), viz.class_map(above.labels[0].numpy())], 8)], 8
    )
    viz.save(picture, folder / "look_around.png")
    print("wrote look_around.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Make a place and look at it.")
    parser.add_argument("--out", type=Path, default=Path("."))
    main(parser.parse_args().out)
