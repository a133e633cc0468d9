"""The numbers of the position models, with models whose answer is known."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from xview_demo import evaluation, metrics
from xview_demo.classes import BUILDING, CLASSES, GROUND, LANDCOVER, LANDCOVER_OF_CLASSES, SKY, VEGETATION
from xview_demo.errors import XViewError
from xview_demo.evaluation import position
from xview_demo.models.position.heatmap import Placement

TINY = evaluation.Protocol(worlds=1, queries=4, tiles=4, size=260.0, resolution=1.0)


class Oracle:
    """Says where it is told that the camera is, in cells."""

    size, metres, calibration = 64, 64.0, (1.0, 0.0)

    def __init__(self, protocol=TINY, spread=0.0, aside=0.0):
        truth = position.tiles_of_worlds(self, protocol, position.REACH)
        self.cameras = iter(list(torch.cat([camera for *_, camera in truth]) * 32 + aside))
        self.spread = spread

    def __call__(self, strip, tile):
        maps = []
        for _ in strip:
            column, row = next(self.cameras)
            x, y = torch.arange(32) + 0.5 - column, torch.arange(32) + 0.5 - row
            maps.append(-(x[None] ** 2 + y[:, None] ** 2) / (2 * max(self.spread, 0.3) ** 2))
        density = torch.stack(maps).float()
        return Placement(torch.zeros(len(strip), 4, 64, 64), density, density)

    def predict(self, strip, tile):
        found = self(strip, tile)
        return self.probability(found.density), found.landcover.softmax(1)

    def probability(self, density):
        return density.flatten(1).softmax(1).view(density.shape)

    def calibrate(self, temperature, even):
        self.calibration = (temperature, even)


def test_a_model_that_knows_is_right(tmp_path):
    result = evaluation.evaluate_position(Oracle(), protocol=TINY, sheet=tmp_path / "sheet.png")
    drawn = np.asarray(Image.open(tmp_path / "sheet.png"))
    green = (drawn[..., 1] > 200) & (drawn[..., [0, 2]] < 60).all(-1)
    assert green.any() and drawn.shape[1] > 4 * 192
    assert result["n"] == 4 and result["seeds"] == [950_000, 950_000] and result["reach_m"] == 20
    assert result["mean_m"] < 0.7 and result["r@1m"] == 100 and result["region_r@1"] == 100
    assert set(result["coverage"]) == {"0.5", "0.68", "0.9", "0.95"}
    assert result["chance"]["mean_m"] > 3 and result["gain_at_truth"] > 100
    assert set(result["landcover"]["iou"]) == set(LANDCOVER)


def test_a_model_that_is_ten_cells_off_is_wrong_by_twenty_metres():
    result = evaluation.evaluate_position(Oracle(aside=10 / 2**0.5), protocol=TINY)
    assert 17 < result["median_m"] < 21 and result["r@10m"] == 0 and result["coverage"]["0.95"] == 0


def test_coverage_is_the_share_of_truths_inside():
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:40, :40] + 0.5
    sums = position.Sums()
    for _ in range(400):
        at = rng.uniform(15, 25, 2)
        seen = at + rng.normal(0, 3, 2)  # the truth scatters around what the map says as widely as the map does
        p = np.exp(-((columns - at[0]) ** 2 + (rows - at[1]) ** 2) / 18)
        sums.add(position.Found(p, (float(seen[0]), float(seen[1])), 1.0))
    covered = sums.result()["coverage"]
    for mass, share in covered.items():
        assert share == pytest.approx(100 * float(mass), abs=6)
        assert 100 * float(mass) <= sums.result()["stated"][mass] < 100 * float(mass) + 2
    assert sums.result()["expected_error_m"] == pytest.approx(np.mean(sums.error), rel=0.1)


def test_the_calibration_is_recovered():
    torch.manual_seed(0)
    logits = torch.randn(4000, 60) * 2
    even = torch.rand(4000) < 0.2
    truth = torch.where(even, torch.randint(60, (4000,)), torch.multinomial((logits / 0.5).softmax(1), 1)[:, 0])
    temperature, share = position.fit_density(logits, truth)
    assert temperature == pytest.approx(0.5, rel=0.15) and share == pytest.approx(0.2, abs=0.04)
    protocol = evaluation.Protocol(position.VALIDATION, worlds=1, queries=4, tiles=4, size=260.0, resolution=1.0)
    model = Oracle(protocol, spread=2.0)
    fitted = evaluation.calibrate_position(model, protocol)
    assert model.calibration == (fitted["temperature"], fitted["even"]) and fitted["temperature"] < 1


def test_correct_matches_come_nearer():
    """A matcher that knows every tile by its colour, and a position model that knows where the camera is."""
    protocol = evaluation.Protocol(worlds=1, queries=3, tiles=3, size=260.0, resolution=1.0)
    sites = [SimpleNamespace(east=e, north=n) for e, n in ((5.0, 9.0), (-20.0, 30.0), (40.0, -50.0))]

    class Fake:
        def __init__(self, seed, size, resolution):
            pass

        def sites(self, n):
            return sites

        def panoramas(self, sites):
            return SimpleNamespace(colour=self._marked([(s.east, s.north) for s in sites], 8, 8))

        def aerials(self, points, metres, pixels, seed):
            return SimpleNamespace(colour=self._marked(points, 256, 256))

        def _marked(self, points, height, width):
            return torch.tensor(points)[:, :, None, None].expand(-1, -1, height, width).float()

    class Nearest:
        def encode_ground(self, strips):
            return strips[:, :, 0, 0]

        encode_aerial = encode_ground

        def aligned(self, query, gallery):
            return -torch.cdist(query, gallery)

    class Exact:
        size, metres = 64, 64.0

        def predict(self, strips, tiles):
            offset = strips[:, :, 0, 0] - tiles[:, :, 0, 0]
            p = torch.zeros(len(strips), 64, 64)
            for n, (east, north) in enumerate(offset.tolist()):
                p[n, int(32 - north), int(32 + east)] = 1
            return p, None

    result = evaluation.evaluate_refinement(Nearest(), Exact(), protocol=protocol, world=Fake)
    assert result["n"] == result["correct"] == 3 and result["stride_m"] == 32
    assert result["centre"]["median_m"] > 5 and result["refined"]["mean_m"] < 1 and result["factor"] > 5


def test_real_pictures_are_read(tmp_path):
    generator = np.random.default_rng(0)
    sizes = {"ground": (500, 2000), "aerial": (128, 128), "landcover": (128, 128), "sightline": (128, 128)}
    pictures = {kind: generator.integers(0, 255, (*size, 3)).astype(np.uint8) for kind, size in sizes.items()}
    pictures["landcover"][:] = (0, 0, 3)
    pictures["landcover"][:64] = (237, 104, 37)
    pictures["sightline"][:] = 0
    pictures["sightline"][30:34, 90:94] = 255  # row 32, column 92
    for kind, picture in pictures.items():
        (tmp_path / "set" / kind).mkdir(parents=True)
        Image.fromarray(picture).save(tmp_path / "set" / kind / "One.png")

    class Right(Oracle):
        def __init__(self):
            self.cameras = iter([torch.tensor([23.0, 8.0])])
            self.spread = 0.0

    result = evaluation.evaluate_real_position(tmp_path, Right())
    assert result["n"] == 1 and result["mean_m"] < 1.0 and result["seeds"] is None
    assert result["landcover"]["iou"]["building"] is None and 0 < result["landcover"]["chance"] < 0.5
    assert (
        result["landcover"]["chance_iou"]["tree"] == pytest.approx(1 / 3) and result["sightline"]["correlation"] > 0.5
    )
    assert abs(result["sightline"]["chance"]) < 0.2
    assert position.read_landcover(tmp_path / "set" / "landcover" / "One.png")[[0, 100], 0].tolist() == [2, 0]
    (tmp_path / "set" / "aerial" / "One.png").unlink()
    with pytest.raises(XViewError, match="no aerial picture named One"):
        evaluation.evaluate_real_position(tmp_path, Right())
    with pytest.raises(XViewError, match="No sightline pictures"):
        evaluation.evaluate_real_position(tmp_path / "nowhere", Right())


def test_land_cover_of_the_classes():
    assert LANDCOVER[LANDCOVER_OF_CLASSES[VEGETATION]] == "tree" and LANDCOVER_OF_CLASSES[SKY] == 255
    assert LANDCOVER[LANDCOVER_OF_CLASSES[BUILDING]] == "building"
    assert LANDCOVER[LANDCOVER_OF_CLASSES[GROUND]] == "other paved" and len(LANDCOVER_OF_CLASSES) == len(CLASSES)


def test_chance_by_class_is_that_of_labels_drawn_at_random():
    truth = np.repeat([0, 1, 2], [6_000, 3_000, 1_000])
    drawn = np.random.default_rng(0).permutation(truth)
    scores = metrics.by_class(metrics.confusion(truth, truth, 4), "abcd")
    measured = metrics.iou_by_class(metrics.confusion(drawn, truth, 4), "abcd")
    assert scores["miou"] == 1 and scores["chance"] == pytest.approx(0.2) and scores["chance_iou"]["d"] is None
    assert all(scores["chance_iou"][name] == pytest.approx(measured[name], abs=0.02) for name in "abc")


def test_the_boundary_score_of_a_shifted_square():
    truth = np.zeros((40, 40), np.uint8)
    truth[10:30, 10:30] = 1
    shifted = np.roll(truth, 2, 1)
    assert metrics.boundary_f(metrics.boundary_counts(truth, truth, 2)).tolist() == [1, 1]
    far = metrics.boundary_f(metrics.boundary_counts(shifted, truth, 2, tolerance=0))
    near = metrics.boundary_f(metrics.boundary_counts(shifted, truth, 2, tolerance=2))
    assert near.tolist() == [1, 1] and (far < 0.6).all()
    absent = metrics.boundary_f(metrics.boundary_counts(truth, truth, 3))
    assert np.isnan(absent[2])
    missed = metrics.boundary_f(metrics.boundary_counts(np.zeros_like(truth), truth, 2))
    assert missed[1] == 0


def test_a_card_has_the_rows_of_both_evaluations(tmp_path):
    from train import measures

    result = evaluation.evaluate_position(Oracle(), protocol=TINY)
    rows = {metric: value for _, metric, value, _ in measures.rows("mst-world", result)}
    assert float(rows["mean error m"].split()[0]) < 0.7 and rows["coverage of the 0.9 set %"].startswith("100.0 (")
    assert {"within 1 m %", "true place in the first 1 regions %", "land-cover mIoU"} <= set(rows)
