"""The training loop, the same for every method: batch, step, schedule, average, log, checkpoint, resume.

The schedule counts steps, and every random number of step s is drawn from (seed, s): a run that is interrupted and
resumed ends with the weights of an unbroken one.
"""

import json
import math
import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from timm.optim import Muon
from torch import nn
from tqdm import tqdm

from xview_demo.errors import XViewError
from xview_demo.files import atomic_path, write_json


@dataclass(frozen=True)
class Settings:
    """Everything that decides the weights; stored in each checkpoint and compared on resume."""

    recipe: str
    steps: int
    batch: int
    learning_rate: float
    model: dict[str, Any] = field(default_factory=dict)  # constructor keywords
    weight_decay: float = 0.02
    warmup: float = 0.04  # share of the steps
    average: float = 0.998  # decay of the running average of the weights
    restarts: tuple[int, ...] = ()  # steps at which the schedule starts again, from a third of the rate
    seed: int = 0
    cache: str = ""  # fingerprint of the training cache
    options: dict[str, Any] = field(default_factory=dict)  # of the method


class Method(Protocol):
    """What a family brings: modules, optimisers, and one step."""

    modules: dict[str, nn.Module]
    optimisers: dict[str, torch.optim.Optimizer]
    averaged: str  # name of the module whose running average is the result
    # and, if it has a schedule of its own: schedule(step, settings) → factor of the learning rate;
    # and, if it runs in several processes: main, whether this one writes

    def batch(self, generator: torch.Generator) -> Any:
        """Draw a batch."""
        ...

    def step(self, batch: Any) -> dict[str, float]:
        """Forward, backward and optimiser step; returns what is logged."""
        ...


def cosine(step: int, settings: Settings) -> float:
    """Factor of the learning rate: linear warm-up, then a cosine down to 1 %; again from a third at each restart.

    Restarts that a run with fewer steps does not reach do not count.
    """
    marks = [0, *(mark for mark in settings.restarts if mark < settings.steps), settings.steps]
    number = sum(step >= mark for mark in settings.restarts)
    first, last = marks[number], marks[number + 1]
    warmup = max(1, round(settings.warmup * last)) if number == 0 else 0
    if step < warmup:
        return (step + 1) / warmup
    share = (step - first - warmup) / max(1, last - first - warmup)
    return 0.01 + (0.99 if number == 0 else 0.33) * 0.5 * (1 + math.cos(math.pi * share))


def autocast(device: str = "cpu") -> torch.autocast:
    """Half precision where that is faster: on a GPU, and on processors with AVX-512.

    Others have no instructions for bfloat16, and a step takes ten times as long as in float32.
    """
    fast = device != "cpu" or torch.backends.cpu.get_cpu_capability() == "AVX512"
    return torch.autocast(device, torch.bfloat16, enabled=fast)


def is_main(method: Method) -> bool:
    """Whether this process writes: the only one, or the first of several."""
    return bool(getattr(method, "main", True))


def generator_of(seed: int, step: int) -> torch.Generator:
    """The generator of one step."""
    return torch.Generator().manual_seed((seed * 1_000_003 + step) % (2**63))


def step_of(generator: torch.Generator, seed: int) -> int:
    """The step that a generator was made for."""
    return generator.initial_seed() - seed * 1_000_003


def decaying(module: nn.Module, settings: Settings) -> list[dict[str, Any]]:
    """What a module learns, in two groups: layers, whose weights decay, then norms and biases, which do not."""
    learned = [p for p in module.parameters() if p.requires_grad]
    return [
        {"params": [p for p in learned if p.dim() > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in learned if p.dim() <= 1], "weight_decay": 0.0},
    ]


def muon(module: nn.Module, settings: Settings) -> torch.optim.Optimizer:
    """Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/): each layer's momentum, orthogonalised.

    Steps as long as AdamW's (Liu et al. 2025, https://arxiv.org/abs/2502.16982), so that one learning rate serves both:
    AdamW moves norms and biases, which do not decay.
    """
    return Muon(decaying(module, settings), settings.learning_rate, nesterov=True)


def descend(optimiser: torch.optim.Optimizer, loss: torch.Tensor, clip: float | None = 5.0) -> None:
    """One step down the loss; the gradient of all that the optimiser moves is cut to the length `clip`."""
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    if clip is not None:
        nn.utils.clip_grad_norm_([p for group in optimiser.param_groups for p in group["params"]], clip)
    optimiser.step()


def settle(module: nn.Module, generator: torch.Generator, settings: Settings) -> None:
    """From the step in the option `settled` on, let batch norm use its running statistics, as predictions do.

    The statistics of one batch are not those of what is predicted later where a batch holds windows of the same rows,
    or one of two views that share the network.
    """
    start = settings.options.get("settled")
    if start is not None and step_of(generator, settings.seed) >= start:
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.eval()


class Average:
    """Exponential running average of a module's floating-point state."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.state = {k: v.detach().clone() for k, v in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Move towards the module; early steps move faster."""
        keep = min(self.decay, (1 + step) / (10 + step))
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                self.state[name].lerp_(value, 1 - keep)
            else:
                self.state[name].copy_(value)


def save_checkpoint(path: Path, step: int, settings: Settings, method: Method, average: Average) -> None:
    """Write everything a resumed run needs, whole or not at all."""
    content = {
        "step": step,
        "settings": json.dumps(asdict(settings)),
        "modules": {k: m.state_dict() for k, m in method.modules.items()},
        "optimisers": {k: o.state_dict() for k, o in method.optimisers.items()},
        "average": average.state,
    }
    with atomic_path(path) as temporary:
        torch.save(content, temporary)


def resume(path: Path, settings: Settings, method: Method, average: Average) -> int:
    """Load a checkpoint and return the step to go on from; refuses other settings and shows both."""
    content = torch.load(path, map_location="cpu", weights_only=True)
    old, new = json.loads(content["settings"]), json.loads(json.dumps(asdict(settings)))
    if old != new:
        keys = [k for k in new if old.get(k) != new[k]]
        was, now = {k: old.get(k) for k in keys}, {k: new[k] for k in keys}
        raise XViewError(
            f"The run in {path.parent} was started with {was}, now it is {now}: "
            "repeat the old settings, or start over with --fresh or another --out."
        )
    if lost := [name for name in method.modules if name not in content["modules"]]:
        raise XViewError(
            f"The run in {path.parent} was started by an earlier version that did not keep its {' and '.join(lost)}: "
            "start over with --fresh or another --out."
        )
    for name, module in method.modules.items():
        module.load_state_dict(content["modules"][name])
    for name, optimiser in method.optimisers.items():
        optimiser.load_state_dict(content["optimisers"][name])
    average.state = {name: value.to(average.state[name].device) for name, value in content["average"].items()}
    return int(content["step"])


def train(
    settings: Settings, method: Method, out: Path, *, checkpoint_minutes: float = 5.0, log_every: int = 20
) -> nn.Module:
    """Run the method for `settings.steps` steps and return the averaged module in evaluation mode.

    Args:
        settings: what decides the result.
        method: modules, optimisers, batches and the step.
        out: folder for `log.jsonl`, `settings.json` and `checkpoint.pt`; a checkpoint there is resumed.
        checkpoint_minutes: time between checkpoints.
        log_every: steps between lines of the log.
    """
    out.mkdir(parents=True, exist_ok=True)
    main = is_main(method)
    average = Average(method.modules[method.averaged], settings.average)
    checkpoint = out / "checkpoint.pt"
    start = resume(checkpoint, settings, method, average) if checkpoint.is_file() else 0
    if main:
        write_json(out / "settings.json", asdict(settings))
    base = {name: [g["lr"] for g in o.param_groups] for name, o in method.optimisers.items()}
    if start:
        base = {name: [g["initial_lr"] for g in o.param_groups] for name, o in method.optimisers.items()}
    for module in method.modules.values():
        module.train()
    schedule = getattr(method, "schedule", cosine)
    began = saved = time.monotonic()
    sums: dict[str, float] = {}
    told = tqdm(total=settings.steps, initial=start, desc=settings.recipe, disable=not main)
    with (out / "log.jsonl" if main else Path(os.devnull)).open("a") as log, told as bar:
        for step in range(start, settings.steps):
            for name, optimiser in method.optimisers.items():
                for group, rate in zip(optimiser.param_groups, base[name], strict=True):
                    group["initial_lr"], group["lr"] = rate, rate * schedule(step, settings)
            torch.manual_seed(settings.seed * 1_000_003 + step)
            report = method.step(method.batch(generator_of(settings.seed, step)))
            if broken := [k for k, v in report.items() if not math.isfinite(v)]:
                raise XViewError(
                    f"Step {step + 1} of {settings.recipe} has no finite {' or '.join(broken)}: the weights are lost "
                    "from here on. Give the recipe a lower learning rate or mend its loss, and start over with --fresh."
                )
            average.update(method.modules[method.averaged], step)
            sums = {k: sums.get(k, 0.0) + v for k, v in report.items()}
            bar.update()
            if (step + 1) % log_every == 0 or step + 1 == settings.steps:
                count = step + 1 - max(start, step - step % log_every)
                line = {k: round(v / count, 5) for k, v in sums.items()}
                bar.set_postfix(line)
                seconds = round(time.monotonic() - began, 1)
                log.write(json.dumps({"step": step + 1, "seconds": seconds, **line}) + "\n")
                log.flush()
                sums = {}
            due = time.monotonic() - saved > 60 * checkpoint_minutes or step + 1 == settings.steps
            if due and main:
                save_checkpoint(checkpoint, step + 1, settings, method, average)
                saved = time.monotonic()
    module = method.modules[method.averaged]
    module.load_state_dict(average.state)
    return module.eval()
