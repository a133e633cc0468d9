"""SegFormer: the checkpoint's layout, the folding of 150 labels into eight classes, the seam, the licence."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from xview_demo import GeoLocalizer, GroundView, zoo
from xview_demo.classes import ADE20K_GROUPS, CLASSES
from xview_demo.errors import ModelError
from xview_demo.models.segmentation import segformer
from xview_demo.models.segmentation.segformer import SegFormer

TINY = {"widths": (8, 8, 16, 16), "depths": (1, 1, 1, 1), "heads": (1, 1, 2, 2), "decoder": 16}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A tiny SegFormer as NVIDIA's repositories hold it."""
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("segformer-b0-finetuned-ade-512-512")
    config = SegformerConfig(
        num_labels=150, hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], num_attention_heads=[1, 1, 2, 2],
        decoder_hidden_size=16,
    )  # fmt: skip
    net = SegformerForSemanticSegmentation(config).eval()
    net.save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: other\nlicense_name: nvidia\n---\n")
    return folder, net


def smooth(height=64, width=256, seed=0):
    coarse = torch.rand(1, 3, height // 8, width // 8, generator=torch.Generator().manual_seed(seed))
    wide = torch.cat((coarse, coarse, coarse), -1)
    return torch.nn.functional.interpolate(wide, (height, 3 * width), mode="bilinear")[..., width : 2 * width]


def test_a_checkpoint_has_the_published_names(checkpoint):
    names = set(load_file(checkpoint[0] / "model.safetensors"))
    for name in (
        "segformer.encoder.patch_embeddings.0.proj.weight", "segformer.encoder.block.0.0.attention.self.query.weight",
        "segformer.encoder.block.1.0.mlp.dwconv.dwconv.weight", "decode_head.linear_c.3.proj.weight",
        "decode_head.linear_fuse.weight", "decode_head.batch_norm.running_mean", "decode_head.classifier.weight",
    ):  # fmt: skip
        assert name in names


def test_a_checkpoint_gives_what_transformers_gives(checkpoint):
    folder, net = checkpoint
    model = SegFormer.from_ade20k(folder, notice=lambda text: None)
    image = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        expected = net((image - model.mean) / model.std).logits
        found = model(image, panorama=False)
    expected = torch.nn.functional.interpolate(expected, (64, 96), mode="bilinear")
    assert torch.allclose(found, expected, atol=1e-5)


def test_probabilities_are_summed_not_argmaxed(checkpoint):
    model = SegFormer.from_ade20k(checkpoint[0], notice=lambda text: None)
    with torch.no_grad():
        many = model(torch.rand(1, 3, 64, 64), panorama=False).softmax(1)
    few = model.folded(many)
    assert few.shape == (1, len(CLASSES), 64, 64) and torch.allclose(few.sum(1), torch.ones(1, 64, 64), atol=1e-5)
    for group, ids in ADE20K_GROUPS.items():
        assert torch.allclose(few[:, group], many[:, list(ids)].sum(1), atol=1e-6)
    split = torch.zeros(1, 150, 1, 1)
    split[0, [1, 25, 48]] = torch.tensor([0.2, 0.2, 0.2])[:, None, None]  # building in three parts
    split[0, 2] = 0.4  # sky
    assert model.folded(split).argmax(1).item() == 1 and split.argmax(1).item() == 2


def test_the_licence_is_shown_before_the_weights_are_read(tmp_path, checkpoint, capsys):
    (tmp_path / "config.json").write_text((checkpoint[0] / "config.json").read_text())
    (tmp_path / "README.md").write_text((checkpoint[0] / "README.md").read_text())
    shown = []
    with pytest.raises(ModelError, match="no SegFormer in safetensors"):
        SegFormer.from_ade20k(tmp_path, notice=shown.append)
    assert "license: other" in shown[0] and "no commercial use" in shown[0]
    SegFormer.from_ade20k(checkpoint[0])
    assert "no commercial use" in capsys.readouterr().err


def test_other_checkpoints_are_refused(tmp_path, checkpoint):
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    config = SegformerConfig.from_pretrained(checkpoint[0], num_labels=19)
    SegformerForSemanticSegmentation(config).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="19 labels"):
        SegFormer.from_ade20k(tmp_path, notice=lambda text: None)
    state = load_file(checkpoint[0] / "model.safetensors")
    state.pop("decode_head.classifier.weight")
    (tmp_path / "config.json").write_text((checkpoint[0] / "config.json").read_text())
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks decode_head\.classifier\.weight"):
        SegFormer.from_ade20k(tmp_path, notice=lambda text: None)
    with pytest.raises(ValueError, match="view is 'side'"):
        SegFormer("side")
    with pytest.raises(ValueError, match="labels is 21"):
        SegFormer(labels=21)


@pytest.mark.parametrize("columns", [1, 37, 64, 201])
@pytest.mark.parametrize("width", [256, 248])
def test_rolling_the_panorama_rolls_the_labels(columns, width):
    torch.manual_seed(1)
    model = SegFormer("ground", **TINY).eval()
    image = smooth(64, width)
    labels, _ = model.predict(image)
    rolled, _ = model.predict(image.roll(columns, -1))
    assert labels.unique().numel() > 1
    assert (labels.roll(columns, -1) == rolled).float().mean() >= 0.99


def test_rolling_a_panorama_rolls_the_labels_of_the_bundled_weights():
    model, view = zoo.load("segformer-world"), GroundView.open("examples/panorama.jpg")
    image = view.image[None]
    labels, _ = model.predict(image, panorama=True)
    assert labels.unique().numel() >= 4
    for columns in (3, 100, image.shape[-1] // 2):
        rolled, _ = model.predict(image.roll(columns, -1), panorama=True)
        assert (labels.roll(columns, -1) == rolled).float().mean() >= 0.99


@pytest.mark.parametrize("columns", [32, 64, 224])
def test_the_seam_does_not_show(columns, monkeypatch):
    monkeypatch.setattr(segformer, "brightest_column", lambda image: torch.zeros(len(image), dtype=torch.long))
    torch.manual_seed(1)
    model, image = SegFormer("ground", **TINY).eval(), smooth(64, 256)
    with torch.no_grad():
        first, second = ([model(x, panorama=p) for x in (image, image.roll(columns, -1))] for p in (True, False))
    closed, opened = ((a.roll(columns, -1) - b).abs().max() / a.std() for a, b in (first, second))
    assert closed < 1e-2 < 1e-1 < opened


def test_a_panorama_of_odd_width_keeps_its_size():
    model = SegFormer("ground", **TINY).eval()
    labels, scores = model.predict(smooth(48, 200))
    assert labels.shape == (1, 48, 200) and scores.shape == (1, 8, 48, 200)


def test_published_sizes_can_be_built():
    with torch.device("meta"):
        model = SegFormer("both", 150, (64, 128, 320, 512), (3, 4, 18, 3), (1, 2, 5, 8), 768)
    count = sum(p.numel() for p in model.parameters())
    assert 47.0e6 < count < 47.5e6  # B3: 47.3 M


def test_fine_tuning_starts_from_the_folded_head(checkpoint):
    model = SegFormer.from_ade20k(checkpoint[0], notice=lambda text: None)
    eight = model.for_classes()
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        many, few = model(image, panorama=False), eight(image, panorama=False)
    assert few.shape == (1, 8, 64, 64) and eight.for_classes() is eight
    assert torch.allclose(few[:, 2], many[:, 2], atol=1e-5)  # sky is one label
    assert torch.allclose(few[:, 3], many[:, [4, 17]].mean(1), atol=1e-5)


def test_the_zoo_opens_a_checkpoint_by_its_folder(checkpoint, capsys):
    model = zoo.load(checkpoint[0], task="segmentation")
    assert isinstance(model, SegFormer) and model.labels == segformer.ADE20K_LABELS
    assert "NVIDIA" in capsys.readouterr().err
    geo = GeoLocalizer.from_zoo(segmentation_ground=str(checkpoint[0]))
    found = geo.segment(GroundView(smooth(128, 512)[0]))
    assert found.labels.shape == (128, 512) and np.allclose(found.scores.sum(0), 1, atol=1e-4)
    with pytest.raises(ModelError, match="for segmentation, not for depth"):
        zoo.load(checkpoint[0], task="depth")


def test_its_own_layout_loads_again(tmp_path):
    torch.manual_seed(2)
    model = SegFormer("aerial", **TINY).eval()
    model.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["class"] == "SegFormer"
    again = zoo.load(tmp_path, task="segmentation")
    image = torch.rand(1, 3, 64, 64)
    assert torch.allclose(again(image), model(image), atol=2e-2)
