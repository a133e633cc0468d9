"""The latent diffusion model: its parts, its sampling, its losses and its painter."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_generators import strips

from xview_demo import zoo
from xview_demo.classes import CLASSES
from xview_demo.models.synthesis.bird_eye import fine_detail, local_means
from xview_demo.models.synthesis.clip_diffusion import ClipDiffusion
from xview_demo.models.synthesis.interface import Query, Sampling

DIFFUSION = zoo.get("clip-diffusion-world").tiny


@pytest.fixture(scope="module")
def diffusion():
    torch.manual_seed(0)
    return ClipDiffusion(**DIFFUSION).eval()


def test_diffusion_has_its_published_size():
    with torch.device("meta"):
        net = ClipDiffusion()
    assert 850e6 < sum(p.numel() for p in net.unet.parameters()) < 870e6
    assert net.tokens[0].in_features == 512 and net.tokens[-1].out_features == 768
    assert net.vision.config.hidden_size == 768 and net.steps == 50


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Tiny random checkpoints in exactly the layouts of the published ones; the autoencoder has its old names."""
    from diffusers import AutoencoderKL, PNDMScheduler, UNet2DConditionModel
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("published")
    UNet2DConditionModel(**DIFFUSION["unet"], in_channels=4, out_channels=4).save_pretrained(folder / "sd/unet")
    AutoencoderKL(**DIFFUSION["vae"], latent_channels=4, scaling_factor=0.18215).save_pretrained(folder / "sd/vae")
    file = folder / "sd/vae/diffusion_pytorch_model.safetensors"
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    state = {}
    for name, value in load_file(file).items():
        if "attentions" in name:
            for new, was in old.items():
                name = name.replace(new, was)
        state[name] = value
    save_file(state, file, metadata={"format": "pt"})
    PNDMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", skip_prk_steps=True, steps_offset=1
    ).save_pretrained(folder / "sd/scheduler")
    text = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    towers = CLIPConfig(text_config=text | {"vocab_size": 64}, vision_config=DIFFUSION["vision"], projection_dim=8)
    CLIPModel(towers).save_pretrained(folder / "clip")
    return folder


def test_published_parts_are_composed(checkpoints, tmp_path):
    from diffusers import AutoencoderKL

    plain = ClipDiffusion.from_stable_diffusion(checkpoints / "sd", checkpoints / "clip", size=32, hidden=16)
    assert plain.condition(strips()).shape == (2, 77, 16) and plain.latent_scale == pytest.approx(0.18215)
    vae = AutoencoderKL.from_pretrained(checkpoints / "sd", subfolder="vae").eval()
    tile = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.allclose(plain.encode(tile), vae.encode(tile * 2 - 1).latent_dist.mean * 0.18215, atol=1e-5)
    hinted = ClipDiffusion.from_stable_diffusion(
        checkpoints / "sd", checkpoints / "clip", size=32, hidden=16, bird_eye=True
    )
    latents, time, tokens = torch.rand(1, 4, 8, 8), torch.tensor([7]), torch.rand(1, 77, 16)
    with torch.no_grad():  # new input channels start without influence
        expected = plain(latents, time, tokens)
        assert torch.allclose(hinted(latents, time, tokens, torch.rand(1, 5, 8, 8)), expected, atol=1e-5)
    plain.load_state_dict({k: v.half().to(v.dtype) for k, v in plain.state_dict().items()})  # what is kept on disk
    plain.save_pretrained(tmp_path)
    again = zoo.load(tmp_path, task="synthesis")
    query = Query(strips(1))
    assert torch.equal(again.draw(query, Sampling(steps=2)).image, plain.draw(query, Sampling(steps=2)).image)


def test_incomplete_and_unfit_parts_are_refused(checkpoints, tmp_path):
    import shutil

    shutil.copytree(checkpoints / "sd", tmp_path / "sd")
    file = tmp_path / "sd/vae/diffusion_pytorch_model.safetensors"
    state = load_file(file)
    state.pop("decoder.conv_in.weight")
    save_file(state, file, metadata={"format": "pt"})
    with pytest.raises(ValueError, match="vae in .* is incomplete, decoder.conv_in.weight"):
        ClipDiffusion.from_stable_diffusion(tmp_path / "sd", checkpoints / "clip", size=32)
    shutil.copytree(checkpoints / "sd", tmp_path / "v")
    settings = tmp_path / "v/scheduler/scheduler_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"prediction_type": "v_prediction"}))
    with pytest.raises(ValueError, match="not the noise"):
        ClipDiffusion.from_stable_diffusion(tmp_path / "v", checkpoints / "clip", size=32)


def test_a_seed_fixes_the_picture_and_progress_is_told(diffusion):
    query, told = Query(strips()), []
    first = diffusion.draw(query, Sampling(seed=3, steps=4, progress=lambda *step: told.append(step))).image
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)] and first.shape == (2, 3, 32, 32)
    assert torch.equal(first, diffusion.draw(query, Sampling(seed=3, steps=4)).image)
    assert not torch.equal(first, diffusion.draw(query, Sampling(seed=4, steps=4)).image)
    assert not torch.equal(first, diffusion.draw(query, Sampling(seed=3, steps=4, guidance=3.0)).image)
    assert not torch.equal(first, diffusion.draw(query, Sampling(seed=3, steps=4, solver="dpm-solver")).image)


def test_sampling_can_be_cancelled(diffusion):
    done = []

    def stop(step, steps):
        done.append(step)
        if step == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        diffusion.draw(Query(strips(1)), Sampling(steps=5, progress=stop))
    assert done == [1, 2]


def test_words_of_sampling_are_checked(diffusion):
    with pytest.raises(ValueError, match="Available: ddim, dpm-solver"):
        diffusion.draw(Query(strips(1)), Sampling(solver="euler"))
    with pytest.raises(ValueError, match="give 1 to 1000"):
        diffusion.draw(Query(strips(1)), Sampling(steps=2000))


@pytest.mark.parametrize("solver", ["ddim", "dpm-solver"])
def test_a_perfect_noise_prediction_recovers_the_latents(solver):
    net = ClipDiffusion(**DIFFUSION).eval()
    truth = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(9))

    def oracle(noisy, time, tokens, hint=None):
        kept = net.alphas[time].view(-1, 1, 1, 1)
        return (noisy - kept.sqrt() * truth) / (1 - kept).sqrt()

    net.forward = oracle
    drawn = net.sample(Query(strips(1)), Sampling(steps=20, solver=solver))
    with torch.no_grad():
        assert torch.allclose(drawn, net.decode(truth).clamp(0, 1), atol=0.02)


def test_samples_are_labelled_and_painted_over_where_the_bird_eye_is_seen(diffusion):
    query = Query(strips(2))
    sketch, known = diffusion.told(diffusion.sample(query), query)
    assert known.shape == (2, 3 + 4 + DIFFUSION["rays"], 32, 32)
    assert torch.equal(known[:, :3], local_means(diffusion.sample(query)))
    drawn = diffusion.draw(query)
    with torch.no_grad():
        labels = diffusion.labeller(known)
        assert torch.equal(drawn.labels, labels) and labels.shape == (2, len(CLASSES), 32, 32)
        assert torch.equal(drawn.image, diffusion.painter(sketch, labels.argmax(1)))
        assert not torch.allclose(drawn.image, diffusion.painter(sketch, labels.argmin(1)))
    blind = diffusion.draw(query, hinted=False)
    assert torch.equal(blind.image, diffusion.sample(query, hinted=False)) and blind.labels is None
    with pytest.raises(ValueError, match="needs bird_eye=True"):
        ClipDiffusion(**DIFFUSION | {"bird_eye": False})


def test_a_painter_begins_with_fine_detail_near_the_camera(diffusion):
    query = Query(strips(2))
    sketch, known = diffusion.told(torch.full((2, 3, 32, 32), 0.5), query)
    laid = fine_detail(diffusion.overhead(query), diffusion.metres, diffusion.detail)
    assert laid.abs().max() > 0.01 and torch.allclose(sketch, 0.5 + laid, atol=1e-6)


def test_noise_follows_from_a_predicted_velocity():
    net = ClipDiffusion(**DIFFUSION).eval()
    assert net.prediction == "v_prediction"
    latents, noise, time = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8), torch.tensor([100, 900])
    kept = net.alphas[time].view(-1, 1, 1, 1)
    velocity = kept.sqrt() * noise - (1 - kept).sqrt() * latents
    net.unet.forward = lambda *given, **named: type("Output", (), {"sample": velocity})
    with torch.no_grad():
        assert torch.allclose(net(net.noisy(latents, noise, time), time, net.condition(strips())), noise, atol=1e-4)
    with pytest.raises(ValueError, match="epsilon, v_prediction"):
        ClipDiffusion(prediction="sample")


def test_noise_is_undone_by_the_noise_itself(diffusion):
    latents, noise, time = torch.randn(3, 4, 8, 8), torch.randn(3, 4, 8, 8), torch.tensor([0, 500, 999])
    assert torch.allclose(diffusion.clean(diffusion.noisy(latents, noise, time), noise, time), latents, atol=1e-3)


def test_picture_losses_reach_the_noise_prediction():
    """The source's perceptual and CLIP losses carried no gradient; through `clean` and `decode` they do."""
    net = ClipDiffusion(**DIFFUSION)
    noisy, time = torch.randn(2, 4, 8, 8), torch.tensor([10, 200])
    noise = net(noisy, time, net.condition(strips()), net.hint(Query(strips())))
    picture = net.decode(net.clean(noisy, noise, time))
    (1 - (net.embed(picture) * net.embed(torch.rand(2, 3, 32, 32))).sum(1)).mean().backward()
    assert net.unet.conv_out.weight.grad.abs().max() > 0


def test_the_hint_can_be_left_out(diffusion):
    query, sampling = Query(strips()), Sampling(steps=3)
    assert not torch.equal(diffusion.draw(query, sampling).image, diffusion.draw(query, sampling, hinted=False).image)


def test_both_halves_of_a_strip_are_seen(diffusion):
    strip = strips(1)
    side = diffusion.vision.config.image_size
    assert diffusion._pixels(strip).shape == (1, 3, side, side)
    for part in (slice(0, 100), slice(400, 512)):
        other = strip.clone()
        other[..., part] = 1 - other[..., part]
        assert not torch.allclose(diffusion.condition(other), diffusion.condition(strip), atol=1e-6)
