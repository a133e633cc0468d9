"""Training of the latent diffusion: what learns in which part of the run, what is dropped, the pace."""

import torch
from test_train_synthesis import method_of, moved, state, state_of

from train.diffusion import Pace
from train.engine import generator_of


def test_the_autoencoder_is_trained_first_and_then_kept():
    torch.manual_seed(0)
    method = method_of("clip-diffusion-world", first=0.5)  # of four steps
    net = method.model
    for step in range(2):
        vae, unet = state(net.vae), state(net.unet)
        report = method.step(method.batch(generator_of(0, step)))
        assert moved(net.vae, vae) and not moved(net.unet, unet) and "contrast" in report
    latents = net.encode(method.batch(generator_of(0, 9)).target)
    assert 0.5 < latents.std() < 2
    vae, vision, unet, tokens = state(net.vae), state(net.vision), state(net.unet), state(net.tokens)
    report = method.step(method.batch(generator_of(0, 2)))
    assert not moved(net.vae, vae) and not moved(net.vision, vision) and moved(net.unet, unet)
    assert moved(net.tokens, tokens) and report["perceptual"] > 0 and report["clip"] > 0


def test_labeller_and_painter_of_samples_learn_last_and_alone():
    torch.manual_seed(0)
    method = method_of("clip-diffusion-world", first=0.0, finish=1)
    late = ("painter", "labeller")
    for step, painting in ((0, False), (1, True)):
        before = {name: state(module) for name, module in method.modules.items()}
        report = method.step(method.batch(generator_of(0, step)))
        for name in late:
            assert moved(getattr(method.model, name), state_of(before["model"], f"{name}.")) == painting
        assert moved(method.modules["discriminator"], before["discriminator"]) == painting
        assert moved(method.reader, before["reader"]) == painting
        assert all((report.get(name, 0) > 0) == painting for name in ("fooled", "classes", "read"))
    changed = {name for name, value in state(method.model).items() if not torch.equal(value, before["model"][name])}
    assert changed and {name.split(".")[0] for name in changed} == set(late)
    assert all(p.requires_grad for p in method.modules["discriminator"].parameters())


def test_a_reader_of_samples_learns_beside_the_autoencoder_first():
    method = method_of("clip-diffusion-world", first=0.5)  # of four steps
    for step, reading in enumerate((True, True, False)):
        before = state(method.reader)
        method.step(method.batch(generator_of(0, step)))
        assert moved(method.reader, before) == reading
    assert method_of("clip-diffusion-world", reading=0.0).reader is None


def test_dropped_pictures_have_no_condition():
    method = method_of("clip-diffusion-world", drop=1.0)
    tokens, hint = method._dropped(torch.rand(3, 5, 16), torch.rand(3, 5, 8, 8))
    assert torch.equal(tokens, method.model.null.expand(3, 5, 16)) and hint.abs().max() == 0
    method = method_of("clip-diffusion-world", drop=0.0, drop_hint=1.0)
    tokens, hint = method._dropped(torch.ones(3, 5, 16), torch.rand(3, 5, 8, 8))
    assert tokens.min() == 1 and hint.abs().max() == 0


def test_the_rate_is_halved_on_a_plateau():
    pace = Pace(epoch=2, patience=3)
    for loss in (3.0, 2.0, 1.0):
        pace.tell(loss)
        pace.tell(loss)
    assert pace.factor == 1 and pace.best == 1
    for _ in range(4 * 2):
        pace.tell(1.0)
    assert pace.factor == 0.5 and int(pace.steps) == 14
