"""Truths of projections."""

import math

import pytest
import torch

from xview_demo.geometry import (
    apply_homography,
    bird_eye_grid,
    equirect_grid,
    find_homography,
    homography_grid,
    inside,
    perspective_grid,
    photo_grid,
    pixel_grid,
    polar_grid,
    resize,
    roll_columns,
    sample,
    wrap_degrees,
)
from xview_demo.geometry.panorama import camera_matrix, direction_grid, equirect_directions, perspective_directions


def smooth_panorama(height: int = 128, width: int = 512, vfov: float = 180.0) -> torch.Tensor:
    """A picture that is a smooth function on the sphere, so that its seam is invisible."""
    x, y, z = equirect_directions(height, width, 360.0, vfov).unbind(-1)
    return torch.stack([0.5 + 0.4 * x * y, 0.5 + 0.4 * z, 0.5 + 0.2 * x - 0.2 * y * z]).float()


# Sampling


def test_identity_grid_changes_nothing():
    image = torch.rand(3, 12, 20)
    torch.testing.assert_close(sample(image, pixel_grid(12, 20)), image)


def test_border_zeros_and_wrap_beyond_the_right_edge():
    image = torch.arange(4.0).expand(1, 4, 4)
    place = torch.tensor([[[1.25, -0.25]]])  # one column beyond the last: the place of column 4
    assert sample(image, place, padding="border").item() == 3
    assert sample(image, place, padding="zeros").item() == 0
    assert sample(image, place, padding="wrap").item() == pytest.approx(0)
    assert sample(image, torch.tensor([[[-1.0, 0.0]]]), padding="wrap").item() == pytest.approx(1.5)  # halfway 3 → 0


@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
def test_wrap_is_periodic(mode):
    image, grid = torch.rand(3, 8, 16), pixel_grid(8, 16) * 0.93
    moved = grid + torch.tensor([4.0, 0.0])
    torch.testing.assert_close(sample(image, grid, mode, "wrap"), sample(image, moved, mode, "wrap"), atol=1e-4, rtol=0)


def test_labels_are_never_interpolated():
    labels = torch.randint(0, 255, (1, 9, 9), dtype=torch.uint8)
    out = sample(labels, pixel_grid(31, 31), mode="nearest")
    assert out.dtype == torch.uint8 and set(out.unique().tolist()) <= set(labels.unique().tolist())
    with pytest.raises(ValueError, match="labels"):
        sample(labels, pixel_grid(9, 9))


def test_unknown_mode_and_padding_are_named():
    with pytest.raises(ValueError, match="cubic2"):
        sample(torch.rand(3, 4, 4), pixel_grid(4, 4), mode="cubic2")
    with pytest.raises(ValueError, match="mirror"):
        sample(torch.rand(3, 4, 4), pixel_grid(4, 4), padding="mirror")


@pytest.mark.parametrize("padding", ["border", "zeros", "wrap"])
def test_gradient_flows_to_picture_and_grid(padding):
    image = torch.rand(1, 5, 7, dtype=torch.float64, requires_grad=True)
    grid = (torch.rand(3, 4, 2, dtype=torch.float64) * 1.2 - 0.6).requires_grad_()
    assert torch.autograd.gradcheck(lambda i, g: sample(i, g, padding=padding), (image, grid), atol=1e-5)


def test_batches_broadcast():
    assert sample(torch.rand(3, 8, 8), torch.rand(5, 4, 6, 2)).shape == (5, 3, 4, 6)
    assert sample(torch.rand(5, 3, 8, 8), torch.rand(4, 6, 2)).shape == (5, 3, 4, 6)


def test_resize_keeps_the_seam_of_a_panorama():
    panorama = smooth_panorama(64, 512)
    small = resize(panorama, 16, 128, wrap=True)
    turned = resize(panorama.roll(256, -1), 16, 128, wrap=True).roll(-64, -1)
    torch.testing.assert_close(small, turned, atol=1e-5, rtol=0)


@pytest.mark.parametrize("degrees", [0.0, 90.0, 45.0, -30.0, 360.0, 1.3])
def test_roll_columns_turns_the_camera(degrees):
    panorama = smooth_panorama()
    rays = equirect_directions(128, 512) @ camera_matrix(heading=degrees)
    truth = sample(panorama, direction_grid(rays), padding="wrap")
    torch.testing.assert_close(roll_columns(panorama, degrees), truth, atol=2e-3, rtol=0)


# Panoramas and photographs


def test_centre_column_looks_ahead_and_bearings_grow_to_the_right():
    rays = equirect_directions(2, 4)
    azimuth = torch.rad2deg(torch.atan2(rays[0, :, 0], rays[0, :, 1]))
    torch.testing.assert_close(azimuth, torch.tensor([-135.0, -45.0, 45.0, 135.0], dtype=torch.float64))


def test_window_of_the_same_shape_is_the_identity():
    grid = equirect_grid(32, 64, 360, 180)
    torch.testing.assert_close(grid, pixel_grid(32, 64), atol=1e-6, rtol=0)


def test_seam_is_continuous():
    panorama = smooth_panorama(256, 1024)
    ahead = sample(panorama, perspective_grid(48, 64, 60, heading=180), padding="wrap")
    rays = perspective_directions(48, 64, 60) @ camera_matrix(heading=180)
    x, y, z = rays.unbind(-1)
    truth = torch.stack([0.5 + 0.4 * x * y, 0.5 + 0.4 * z, 0.5 + 0.2 * x - 0.2 * y * z]).float()
    torch.testing.assert_close(ahead, truth, atol=1e-3, rtol=0)


def test_photo_grid_inverts_perspective_grid():
    panorama = smooth_panorama(256, 1024)
    camera = {"heading": 35.0, "pitch": 8.0, "roll": -6.0}
    photo = sample(panorama, perspective_grid(240, 320, 80, **camera), padding="wrap")
    grid = photo_grid(256, 1024, 360, 180, photo_hfov=80, photo_aspect=240 / 320, heading=-35.0, pitch=8.0, roll=-6.0)
    seen = inside(grid * 1.02)
    assert 0.06 < seen.float().mean() < 0.08  # 80° × 64° of 360° × 180°, less the bent edges
    back = sample(photo, grid)
    torch.testing.assert_close(back[:, seen], panorama[:, seen], atol=5e-3, rtol=0)


def test_tilted_camera_is_levelled():
    level = smooth_panorama(256, 512)
    own = equirect_directions(256, 512) @ camera_matrix(12.0, 7.0)  # what the tilted camera's pixels see
    tilted = sample(level, direction_grid(own), padding="wrap")
    out = sample(tilted, equirect_grid(256, 512, 360, 180, pitch=12.0, roll=7.0), padding="wrap")
    torch.testing.assert_close(out[:, 8:-8], level[:, 8:-8], atol=1e-2, rtol=0)


def test_roll_turns_the_horizon_counterclockwise():
    right_side = perspective_directions(3, 101, 60) @ camera_matrix(roll=10)
    assert right_side[1, -1, 2] < 0 < right_side[1, 0, 2]  # the right half of the middle row looks below the horizon


def test_pitch_looks_up():
    assert (perspective_directions(3, 3, 60) @ camera_matrix(pitch=20))[1, 1, 2] == pytest.approx(
        math.sin(math.radians(20))
    )


@pytest.mark.parametrize("hfov", [0, 180, 200])
def test_impossible_photographs(hfov):
    with pytest.raises(ValueError, match="between 0 and 180"):
        perspective_grid(8, 8, hfov)


@pytest.mark.parametrize(("angle", "wrapped"), [(0, 0), (190, -170), (-180, -180), (180, -180), (725, 5)])
def test_wrap_degrees(angle, wrapped):
    assert wrap_degrees(angle) == wrapped


# From above


def test_quarter_turn_of_the_aerial_rolls_the_polar_picture_by_a_quarter():
    aerial = torch.rand(3, 64, 64)
    polar = sample(aerial, polar_grid(32, 128))
    turned = sample(torch.rot90(aerial, -1, (1, 2)), polar_grid(32, 128))  # clockwise: what was north is now east
    torch.testing.assert_close(turned, polar.roll(32, -1), atol=1e-4, rtol=0)


def test_polar_columns_are_bearings_and_rows_distances():
    aerial = torch.zeros(1, 65, 65)
    aerial[0, 32, 60] = 1  # east of the centre, 28 pixels away
    polar = sample(aerial, polar_grid(65, 360))
    row, column = divmod(int(polar.argmax()), 360)
    assert column in (269, 270)  # 90° right of the centre column (180)
    assert 1 - (row + 0.5) / 65 == pytest.approx(28 / 32.5, abs=0.02)


def test_polar_heading_rolls():
    aerial = torch.rand(3, 64, 64)
    torch.testing.assert_close(
        sample(aerial, polar_grid(16, 128, heading=90)), sample(aerial, polar_grid(16, 128)).roll(-32, -1),
        atol=1e-4, rtol=0,
    )  # fmt: skip


def test_bird_eye_places_a_mark_where_it_lies():
    """A mark on flat ground 10 m to the east is painted into a panorama and found 10 m to the east."""
    height, reach = 2.5, 10.0
    rays = equirect_directions(512, 1024)
    angle = torch.atan2(rays[..., 2], rays[..., :2].norm(dim=-1))
    azimuth = torch.atan2(rays[..., 0], rays[..., 1])
    mark = ((angle + math.atan2(height, reach)).abs() < 0.01) & ((azimuth - math.pi / 2).abs() < 0.02)
    seen = sample(mark[None].float(), bird_eye_grid(256, 64.0, camera_height=height), padding="wrap")[0]
    rows, columns = torch.nonzero(seen > 0.5, as_tuple=True)
    assert ((columns.float().mean() + 0.5) / 256 - 0.5) * 64 == pytest.approx(reach, abs=0.3)
    assert (0.5 - (rows.float().mean() + 0.5) / 256) * 64 == pytest.approx(0, abs=0.3)


def test_bird_eye_turns_with_the_heading():
    panorama = smooth_panorama(128, 512)
    north = sample(panorama, bird_eye_grid(64, 60.0), padding="wrap")
    east = sample(roll_columns(panorama, 90), bird_eye_grid(64, 60.0, heading=90), padding="wrap")
    torch.testing.assert_close(north, east, atol=1e-4, rtol=0)


def test_curved_ground_rises_by_lambda_at_the_corner():
    flat = bird_eye_grid(256, 64.0, surface="flat")
    curved = bird_eye_grid(256, 64.0, surface="curved", curvature=3.0, camera_height=2.5)
    torch.testing.assert_close(flat[..., 0], curved[..., 0])
    assert (curved[128, 128, 1] - flat[128, 128, 1]).abs() < 1e-3
    reach = 64 / math.sqrt(2)
    corner = -math.degrees(math.atan2(3.0 - 2.5, reach)) / 90
    assert curved[0, 0, 1] == pytest.approx(corner, abs=1e-3)  # above the horizon
    assert flat[0, 0, 1] > 0 > curved[0, 0, 1]


def test_bird_eye_of_a_quarter_leaves_the_rest_outside():
    grid = bird_eye_grid(100, 50.0, hfov=90.0)
    assert inside(grid).float().mean() == pytest.approx(0.25, abs=0.02)
    assert inside(grid)[10, 50] and not inside(grid)[90, 50]  # ahead is up


def test_bird_eye_refuses_nonsense():
    with pytest.raises(ValueError, match="flat, curved"):
        bird_eye_grid(8, 10.0, surface="round")
    with pytest.raises(ValueError, match="camera_height"):
        bird_eye_grid(8, 10.0, camera_height=0)


# Homographies


def random_homography(*batch: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.eye(3, dtype=torch.float64) + 0.15 * torch.randn(
        *batch, 3, 3, dtype=torch.float64, generator=generator
    )


@pytest.mark.parametrize("points", [4, 9])
def test_homography_is_found_from_points(points):
    h = random_homography(5)
    source = torch.rand(5, points, 2, dtype=torch.float64) * 2 - 1
    if points == 4:
        source = torch.tensor([[-1.0, -1], [1, -1], [1, 1], [-1, 1]], dtype=torch.float64).expand(5, 4, 2)
    found = find_homography(source, apply_homography(h, source))
    places = torch.rand(5, 20, 2, dtype=torch.float64) - 0.5
    torch.testing.assert_close(apply_homography(found, places), apply_homography(h, places))


def test_weights_silence_a_wrong_point():
    h = random_homography()
    source = torch.rand(8, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    target = apply_homography(h, source)
    target[3] += 5
    weights = torch.ones(8, dtype=torch.float64)
    weights[3] = 0
    torch.testing.assert_close(apply_homography(find_homography(source, target, weights), source[:3]), target[:3])


def test_homography_and_its_inverse_undo_each_other():
    h = random_homography(2)
    points = torch.rand(2, 7, 2, dtype=torch.float64)
    torch.testing.assert_close(apply_homography(torch.linalg.inv(h), apply_homography(h, points)), points)


def test_identity_homography_grid():
    torch.testing.assert_close(homography_grid(torch.eye(3), 6, 9), pixel_grid(6, 9))


def test_homography_is_differentiable():
    square = torch.tensor([[-1.0, -1], [1, -1], [1, 1], [-1, 1]], dtype=torch.float64)
    target = (square + 0.1 * torch.rand(4, 2, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(lambda t: find_homography(square, t), (target,))


def test_three_points_are_too_few():
    with pytest.raises(ValueError, match="N ≥ 4"):
        find_homography(torch.rand(3, 2), torch.rand(3, 2))
