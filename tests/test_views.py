"""Views read what files say about themselves, and say clearly what is wrong with a file."""

import io
import math

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from xview_demo.errors import ImageError, XViewError
from xview_demo.geometry import equirect_directions, roll_columns
from xview_demo.images import read_image, to_pil, to_uint8, write_image
from xview_demo.views import AerialView, GroundView


def sphere(height: int = 256, width: int = 512) -> torch.Tensor:
    x, y, z = equirect_directions(height, width).unbind(-1)
    return torch.stack([0.5 + 0.4 * x, 0.5 + 0.4 * y, 0.5 + 0.4 * z]).float()


def gpano(folder, image, name="pano.jpg", latlon=None, **properties):
    return write_image(
        folder / name, image, quality=98, latlon=latlon, gpano={k: str(v) for k, v in properties.items()}
    )


# Ground views


@pytest.mark.parametrize(
    ("height", "width", "projection", "hfov", "vfov"),
    [
        (256, 512, "equirectangular", 360, 180),  # a sphere
        (224, 1232, "equirectangular", 360, 360 * 224 / 1232),  # a CVUSA strip
        (100, 400, "equirectangular", 360, 90),  # a 4:1 strip
        (300, 400, "perspective", 70, 2 * math.degrees(math.atan(math.tan(math.radians(35)) * 0.75))),
        (400, 300, "perspective", 70, None),
        (900, 1600, "perspective", 70, None),
    ],
)
def test_shape_decides_without_metadata(height, width, projection, hfov, vfov):
    view = GroundView.open(torch.rand(3, height, width))
    assert (view.projection, view.hfov, view.heading, view.latlon) == (projection, hfov, None, None)
    assert vfov is None or view.vfov == pytest.approx(vfov)


def test_given_values_override():
    view = GroundView.open(torch.rand(3, 200, 400), heading=-10, hfov=80, latlon=(1, 2))
    assert (view.projection, view.heading, view.hfov, view.latlon) == ("perspective", 350, 80, (1, 2))
    assert GroundView.open(torch.rand(3, 100, 400), hfov=180).vfov == 45
    assert GroundView.open(torch.rand(3, 300, 400), projection="equirectangular", hfov=120).vfov == 90
    assert GroundView.open(torch.rand(3, 300, 300), vfov=60).hfov == pytest.approx(60)
    again = GroundView.open(view, heading=5)
    assert again.heading == 5 and again.hfov == 80


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"hfov": 0}, "0° across: give more than 0 and at most 360"),
        ({"hfov": -70}, "-70° across"),
        ({"hfov": 361}, "361° across"),
        ({"hfov": math.nan}, "nan° across"),
        ({"vfov": 0.0}, "0° from top to bottom: give more than 0 and at most 180"),
    ],
)
def test_impossible_fields_of_view_are_refused(given, message):
    for source in (torch.rand(3, 200, 400), GroundView(torch.rand(3, 200, 400))):
        with pytest.raises(ImageError, match=message):
            GroundView.open(source, **given)


def test_full_gpano_and_gps(tmp_path):
    path = gpano(
        tmp_path, sphere(), latlon=(-33.8568, 151.2153), ProjectionType="equirectangular", PoseHeadingDegrees=271.5
    )
    view = GroundView.open(path)
    assert view.projection == "equirectangular" and (view.hfov, view.vfov) == (360, 180)
    assert view.heading == 271.5 and view.source == str(path)
    assert view.latlon == pytest.approx((-33.8568, 151.2153), abs=1e-8)


def test_cropped_gpano(tmp_path):
    """The left half of a sphere, from 60° above to 30° below the horizon."""
    path = gpano(
        tmp_path, torch.rand(3, 128, 256), ProjectionType="equirectangular", PoseHeadingDegrees=10,
        FullPanoWidthPixels=1024, FullPanoHeightPixels=512, CroppedAreaImageWidthPixels=512,
        CroppedAreaImageHeightPixels=256, CroppedAreaLeftPixels=0, CroppedAreaTopPixels=85.333333,
    )  # fmt: skip
    view = GroundView.open(path)
    assert (view.hfov, view.vfov) == (180, 90)
    assert view.elevation == pytest.approx(15, abs=1e-4)
    assert view.heading == 280  # the crop's own centre lies 90° to the left of the sphere's
    mask = view.strip()[1][0]
    assert mask[:, 256].sum() == 107  # 75 of the strip's 90°: all 45° above the horizon, 30° below


def test_elements_and_other_formats_are_read(tmp_path):
    path = tmp_path / "a.png"
    GroundView(sphere(), heading=33.5, latlon=(1.5, 2.5)).save(path)
    assert GroundView.open(path).heading == 33.5
    xmp = (
        "<x:xmpmeta xmlns:x='adobe:ns:meta/'><GPano:ProjectionType>equirectangular</GPano:ProjectionType>"
        "<GPano:PoseHeadingDegrees>12.25</GPano:PoseHeadingDegrees></x:xmpmeta>"
    )
    to_pil(torch.rand(3, 60, 100)).save(tmp_path / "b.jpg", xmp=xmp.encode())
    view = GroundView.open(tmp_path / "b.jpg")
    assert view.heading == 12.25 and view.projection == "equirectangular"


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_saved_views_come_back(tmp_path, suffix):
    view = GroundView(
        sphere(120, 480), heading=123.25, hfov=300, vfov=75, pitch=3.5, roll=-2.25, elevation=7.5, latlon=(40.7, -73.9)
    )
    back = GroundView.open(view.save(tmp_path / f"view{suffix}", quality=95))
    for name in ("heading", "pitch", "roll"):
        assert getattr(back, name) == pytest.approx(getattr(view, name), abs=1e-6)
    for name in ("hfov", "vfov", "elevation"):
        assert getattr(back, name) == pytest.approx(getattr(view, name), abs=0.4)  # crops are whole pixels
    assert back.latlon == pytest.approx(view.latlon, abs=1e-8)
    torch.testing.assert_close(back.image, view.image, atol=0.06, rtol=0)


def exif_photo(folder, orientation=1, focal=None, direction=None, reference="T"):
    exif = Image.Exif()
    exif[0x0112] = orientation
    if focal:
        exif.get_ifd(0x8769)[0xA405] = focal
    if direction is not None:
        exif.get_ifd(0x8825)[16], exif.get_ifd(0x8825)[17] = reference, direction
    pixels = np.zeros((60, 90, 3), np.uint8)
    pixels[:30] = 255  # the upper half is white
    path = folder / f"photo{orientation}.jpg"
    Image.fromarray(pixels).save(path, exif=exif, quality=98)
    return path


def test_exif_orientation_is_applied(tmp_path):
    assert GroundView.open(exif_photo(tmp_path, 1)).image[:, 10, 45].min() > 0.9
    turned = GroundView.open(exif_photo(tmp_path, 6)).image  # rotate 90° clockwise: white goes to the right
    assert turned.shape == (3, 90, 60) and turned[:, 45, 50].min() > 0.9 and turned[:, 45, 10].max() < 0.1


def test_exif_focal_length_and_compass(tmp_path):
    view = GroundView.open(exif_photo(tmp_path, focal=26, direction=87.5))
    diagonal = 2 * math.degrees(math.atan(math.hypot(36, 24) / 2 / 26))
    across = 2 * math.degrees(math.atan(math.tan(math.radians(diagonal) / 2) * 90 / math.hypot(60, 90)))
    assert view.hfov == pytest.approx(across) and view.heading == 87.5
    assert GroundView.open(exif_photo(tmp_path, direction=87.5, reference="M")).heading is None  # magnetic


# The strip


def test_strip_of_a_sphere_is_its_middle():
    view = GroundView(sphere())
    image, mask = view.strip()
    torch.testing.assert_close(image, view.image[:, 64:192], atol=1e-5, rtol=0)
    assert mask.shape == (1, 128, 512) and mask.min() == 1


def test_strip_north_rolls_to_north():
    view = GroundView(sphere(), heading=90)
    image, _ = view.strip(north=True)
    torch.testing.assert_close(image, GroundView(sphere()).strip()[0].roll(128, -1), atol=2e-3, rtol=0)
    same = view.rotated(-90).strip()[0]
    torch.testing.assert_close(image, same, atol=2e-3, rtol=0)
    with pytest.raises(ImageError, match="heading is unknown"):
        GroundView(sphere()).strip(north=True)


def test_strip_of_a_low_strip_masks_above_and_below():
    image, mask = GroundView.open(torch.rand(3, 224, 1232) * 0.5 + 0.5).strip()
    rows = mask[0, :, 0].sum().item()
    assert rows == pytest.approx(128 * 65.45 / 90, abs=1) and image[:, 0].max() == 0
    assert torch.equal(mask[0, :, :1].expand(-1, 512), mask[0])


def test_strip_of_a_photograph_lies_in_the_middle():
    full = GroundView(sphere(512, 1024), heading=30)
    photo = full.photo(20, hfov=80, height=300, width=400)
    assert photo.heading == 50 and photo.projection == "perspective"
    image, mask = photo.strip()
    assert mask[0, 64].sum().item() == pytest.approx(512 * 80 / 360, abs=2)
    whole = full.rotated(20).strip()[0]
    seen = mask[0] > 0
    torch.testing.assert_close(image[:, seen], whole[:, seen], atol=0.02, rtol=0)
    north, where = photo.strip(north=True)
    assert where[0, 64].nonzero().float().mean().item() == pytest.approx(256 + 50 * 512 / 360, abs=2)
    torch.testing.assert_close(north * where, full.strip(north=True)[0] * where, atol=0.02, rtol=0)


def test_tilted_panorama_is_levelled_in_the_strip(tmp_path):
    from xview_demo.geometry.panorama import camera_matrix, direction_grid
    from xview_demo.geometry.sampling import sample

    own = equirect_directions(256, 512) @ camera_matrix(6, -4)
    tilted = sample(sphere(), direction_grid(own), padding="wrap")
    image, _ = GroundView(tilted, pitch=6, roll=-4).strip()
    torch.testing.assert_close(image, GroundView(sphere()).strip()[0], atol=0.01, rtol=0)


def test_large_pictures_are_filtered_not_skipped():
    lines = torch.zeros(3, 1024, 2048)
    lines[..., ::2] = 1  # finer than the strip: it must come out grey
    image, _ = GroundView(lines).strip()
    assert (image - 0.5).abs().max() < 0.1


@pytest.mark.parametrize("degrees", [90, 12.345])
def test_rotated(degrees):
    view = GroundView(sphere(), heading=350)
    turned = view.rotated(degrees)
    assert turned.heading == pytest.approx((350 + degrees) % 360)
    torch.testing.assert_close(turned.image, roll_columns(view.image, degrees))
    assert GroundView(sphere()).rotated(degrees).heading is None
    with pytest.raises(ImageError, match="360° panorama"):
        GroundView(torch.rand(3, 90, 90), "perspective").rotated(5)


# Aerial views


def test_tile_is_cut_to_scale():
    picture = torch.rand(3, 400, 400)
    view = AerialView(picture, 0.25, (1, 2))
    torch.testing.assert_close(view.tile(64, 256), picture[:, 72:328, 72:328], atol=1e-4, rtol=0)
    assert view.metres == 100
    moved = view.tile(64, 256, east_north=(4.0, 8.0))
    torch.testing.assert_close(moved, picture[:, 40:296, 88:344], atol=1e-4, rtol=0)
    torch.testing.assert_close(view.tile(100, 200), torch.nn.functional.avg_pool2d(picture, 2), atol=1e-4, rtol=0)


def test_tile_beyond_the_picture_repeats_its_edge():
    view = AerialView(torch.rand(3, 64, 64), 0.5)
    tile = view.tile(64, 128)
    assert tile.shape == (3, 128, 128)
    torch.testing.assert_close(tile[:, 0], view.image[:, 0, (torch.arange(128) - 32).clamp(0, 63)])


def test_tile_of_unknown_scale_is_the_whole_picture():
    picture = torch.rand(3, 256, 256)
    torch.testing.assert_close(AerialView(picture).tile(), picture)
    torch.testing.assert_close(
        AerialView(torch.cat([picture * 0, picture], 2)).tile().mean(), picture.mean() / 2, atol=0.01, rtol=0
    )


def test_aerial_saved_with_world_file(tmp_path):
    view = AerialView(torch.rand(3, 200, 200), 0.3, (40.7, -73.9))
    back = AerialView.open(view.save(tmp_path / "tile.jpg"))
    assert back.metres_per_pixel == pytest.approx(0.3, rel=1e-5)
    assert back.latlon == pytest.approx((40.7, -73.9), abs=1e-9) and back.name == "tile"


def test_slippy_tile_knows_its_place(tmp_path):
    (tmp_path / "19" / "154413").mkdir(parents=True)
    path = write_image(tmp_path / "19" / "154413" / "197027.jpg", torch.rand(3, 256, 256))
    view = AerialView.open(path)
    assert view.latlon == pytest.approx((40.7621, -73.9727), abs=1e-4)
    assert view.metres == pytest.approx(57.9, abs=0.1)


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
@pytest.mark.parametrize("epsg", [32618, 3857, 4326])
def test_geotiff_in_any_coordinate_system(tmp_path, epsg):
    rasterio = pytest.importorskip("rasterio")
    from rasterio.transform import from_origin
    from rasterio.warp import transform

    xs, ys = transform("EPSG:4326", f"EPSG:{epsg}", [-73.9], [40.7])
    step = {32618: (0.5, 0.5), 3857: (0.5, 0.5), 4326: (5e-6, 5e-6)}[epsg]
    corner = from_origin(xs[0] - 100 * step[0], ys[0] + 100 * step[1], *step)
    path = tmp_path / "o.tif"
    with rasterio.open(path, "w", driver="GTiff", width=200, height=200, count=3, dtype="uint8",
                       crs=f"EPSG:{epsg}", transform=corner) as file:  # fmt: skip
        file.write(np.random.default_rng(0).integers(0, 255, (3, 200, 200), np.uint8))
    view = AerialView.open(path)
    assert view.latlon == pytest.approx((40.7, -73.9), abs=1e-8)
    metres = {32618: 0.5, 3857: 0.5 * math.cos(math.radians(40.7)), 4326: 5e-6 * 84_450}[epsg]
    assert view.metres_per_pixel == pytest.approx(metres, rel=0.01)
    ratio = view.image.shape[1] / view.image.shape[2]
    assert ratio == pytest.approx(1.3145 if epsg == 4326 else 1.0, rel=0.01)


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
@pytest.mark.parametrize(("bands", "dtype"), [(3, "uint16"), (5, "uint8"), (3, "float32")])
def test_geotiff_of_many_bands_or_deep_colours(tmp_path, bands, dtype):
    import rasterio

    values = np.random.default_rng(0).uniform(0, 200, (bands, 64, 64)) * (1 if dtype == "uint8" else 7)
    with rasterio.open(tmp_path / "o.tif", "w", driver="GTiff", width=64, height=64, count=bands, dtype=dtype,
                       crs="EPSG:32618", transform=rasterio.Affine(0.5, 0, 5e5, 0, -0.5, 4.5e6)) as file:  # fmt: skip
        file.write(values.astype(dtype))
    view = AerialView.open(tmp_path / "o.tif")
    assert view.image.shape == (3, 64, 64) and view.metres_per_pixel == pytest.approx(0.5, rel=1e-3)
    expected = values[:3] / (255 if dtype == "uint8" else 1400)
    np.testing.assert_allclose(view.image.numpy(), expected, atol=0.02)


def test_turned_world_file_is_refused(tmp_path):
    path = write_image(tmp_path / "t.png", torch.rand(3, 32, 32))
    path.with_suffix(".pgw").write_text("0.3\n0.2\n0.2\n-0.3\n100\n200\n")
    with pytest.raises(ImageError, match="gdalwarp"):
        AerialView.open(path)


# Good and bad input


def save(mode: str, suffix: str, **options) -> bytes:
    base = Image.fromarray(to_uint8(sphere(32, 64)))
    buffer = io.BytesIO()
    base.convert(mode).save(buffer, suffix, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("CMYK", "JPEG"), ("RGBA", "PNG"), ("P", "PNG"), ("RGB", "WEBP"), ("RGB", "TIFF"), ("RGB", "BMP")],
)
def test_colour_types_become_rgb(mode, kind):
    image = read_image(save(mode, kind))[0]
    assert image.shape == (3, 32, 64) and image.dtype == torch.float32
    tolerance = 0.12 if mode in ("P", "CMYK") or kind == "WEBP" else 0.03
    assert (image - sphere(32, 64)).abs().mean() < tolerance


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits(tmp_path, suffix):
    values = np.linspace(0, 65535, 32 * 64).reshape(32, 64).astype(np.uint16)
    cv2.imwrite(str(tmp_path / f"grey{suffix}"), values)
    image = read_image(tmp_path / f"grey{suffix}")[0]
    np.testing.assert_allclose(image[0].numpy(), values / 65535, atol=1e-4)
    cv2.imwrite(str(tmp_path / f"rgb{suffix}"), np.stack([values, values // 2, values // 4], -1))
    image = read_image(tmp_path / f"rgb{suffix}")[0]
    np.testing.assert_allclose(image[1].numpy(), values // 2 / 65535, atol=0.01)


def test_alpha_lies_over_white():
    array = np.zeros((20, 20, 4), np.uint8)
    array[:10, :, 3] = 255
    for image in (read_image(Image.fromarray(array))[0], read_image(array)[0]):
        assert image[:, :10].max() == 0 and image[:, 10:].min() == 1


def test_arrays_and_tensors():
    grey = np.linspace(0, 1, 400).reshape(20, 20)
    assert read_image(grey)[0].shape == (3, 20, 20)
    assert read_image((grey * 65535).astype(np.uint16))[0].max() == 1
    assert read_image(torch.full((1, 3, 16, 16), 255, dtype=torch.uint8))[0].min() == 1


def animation() -> bytes:
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "blue", "green")]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    return buffer.getvalue()


BAD = {
    "empty": (b"", "empty"),
    "text": (b"this is no picture at all", "not a picture"),
    "truncated": (save("RGB", "JPEG")[:-200], "cut short or damaged"),
    "header only": (save("RGB", "JPEG")[:300], "the file is damaged"),
    "truncated png": (save("RGB", "PNG")[:300], "cut short or damaged|cannot be opened"),
    "one pixel": (np.zeros((1, 1, 3), np.uint8), "1×1 pixels"),
    "wide": (np.zeros((20, 20_000, 3), np.uint8), "resize it to 16384×16 first"),
    "animated": (animation(), "animation of 3 frames"),
    "shape": (np.zeros((4, 20, 20)), "not a picture"),
    "range": (np.full((20, 20, 3), 200.0), "must lie in"),
    "nan": (torch.full((3, 20, 20), float("nan")), "not finite"),
    "integers": (np.zeros((20, 20, 3), np.int64), "uint8"),
    "type": (42, "int is not a picture"),
    "postscript": (
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n%%EndComments\n",
        "not a picture .* give a JPEG",
    ),
    "short tiff": (save("RGB", "TIFF")[:100], "not a picture"),
    "missing": ("nowhere/pano.jpg", "does not exist"),
    "folder": (".", "is a folder"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("view", [GroundView, AerialView])
def test_bad_input_gives_one_clear_sentence(name, view):
    source, message = BAD[name]
    with pytest.raises(XViewError, match=message) as caught:
        view.open(source)
    text = str(caught.value)
    assert "\n" not in text and len(text) < 240 and text.endswith((".", "first."))


def test_wide_file_is_refused_before_it_is_decoded(tmp_path):
    Image.new("L", (20_000, 40)).save(tmp_path / "wide.png")
    with pytest.raises(ImageError, match="20000×40"):
        GroundView.open(tmp_path / "wide.png")


@pytest.mark.filterwarnings("error")
def test_a_large_file_is_refused_without_a_warning(tmp_path):
    Image.new("1", (20_000, 5_000)).save(tmp_path / "large.png")
    with pytest.raises(ImageError, match="20000×5000"):
        GroundView.open(tmp_path / "large.png")


def test_of_several_pages_the_first_is_read(tmp_path):
    pages = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    assert GroundView.open(tmp_path / "pages.tif").image[:, 16, 16].tolist() == [1, 0, 0]


def damaged(rng: np.random.Generator, whole: bytes) -> bytes:
    """A file with some bytes changed, most of them in its header, and perhaps its end cut off."""
    found = np.frombuffer(whole, np.uint8).copy()
    if rng.random() < 0.4:
        found = found[: rng.integers(1, len(found))]
    for _ in range(rng.integers(1, 12)):
        reach = len(found) if rng.random() < 0.5 else min(len(found), 300)
        found[rng.integers(reach)] = rng.choice([0, 1, 255, rng.integers(256)])
    return found.tobytes()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", ["TIFF", "PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_a_damaged_file_raises_nothing_but_one_sentence(tmp_path, kind):
    """Neither another error nor a warning, be it read from memory or from a file."""
    rng, whole = np.random.default_rng(0), save("RGB", kind)
    path, refused = tmp_path / f"damaged.{kind[:4].lower().replace('tiff', 'tif')}", 0
    for _ in range(80):
        path.write_bytes(damaged(rng, whole))
        for source in (path, path.read_bytes()):
            try:
                GroundView.open(source)
            except XViewError as error:
                refused += 1
                assert "\n" not in str(error)
    assert refused > 20


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"projection": "fisheye"}, "fisheye"),
        ({"hfov": 400}, "400"),
        ({"projection": "perspective", "hfov": 180}, "180"),
        ({"heading": math.nan}, "heading"),
        ({"image": torch.zeros(20, 20)}, "float tensor"),
        ({"image": torch.zeros(3, 20, 20, dtype=torch.uint8)}, "uint8"),
    ],
)
def test_impossible_views(change, message):
    with pytest.raises(ImageError, match=message):
        GroundView(**({"image": torch.rand(3, 32, 64)} | change))
    with pytest.raises(ImageError, match="scale"):
        AerialView(torch.rand(3, 20, 20), 0)
