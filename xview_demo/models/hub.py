"""Loading and saving, the same for every model: strict, safetensors only, half precision on disk.

A model's folder holds `config.json` (the constructor's keywords) and `model.safetensors`, which is exactly the layout
of a Hugging Face Hub repository. A compressed model's large weights are there as 8-bit integers, each beside the steps
of its rows: `name` (rows, …) int8 times `name.step` (rows,) is the weight.
"""

import hashlib
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from huggingface_hub import PyTorchModelHubMixin, hf_hub_download
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

WEIGHTS_NAME = "model.safetensors"
CONFIG_NAME = "config.json"
_LARGEST_HALF = 6.0e4  # values beyond this stay in single precision
_LEAST_BYTES = 1024  # numbers of a tensor that is worth 8 bits each
_STEP = ".step"


def stored_state(module: nn.Module, bits: int = 16) -> dict[str, torch.Tensor]:
    """The state of a module as it goes to disk: float tensors in 32, 16 (where their values fit) or 8 bits a number."""
    state = {}
    for name, value in module.state_dict().items():
        value = value.detach().cpu().contiguous()
        if bits == 8 and _is_large(value):
            state[name], state[name + _STEP] = _in_bytes(value)
        elif bits <= 16 and value.dtype == torch.float32 and value.numel() and value.abs().amax() < _LARGEST_HALF:
            state[name] = value.half()
        else:
            state[name] = value
    return state


def _is_large(value: torch.Tensor) -> bool:
    return value.dtype == torch.float32 and value.dim() > 1 and value.numel() >= _LEAST_BYTES


def _in_bytes(value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Integers of a weight's shape in [-127, 127], and the step (rows,) that each of its rows is counted in."""
    step = (value.flatten(1).abs().amax(1) / 127).clamp_min(1e-12)
    return (value / _beside(step, value)).round().to(torch.int8), step


def _beside(step: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    return step.view(-1, *[1] * (value.dim() - 1))


def _from_bytes(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A stored state with whole weights in the place of 8-bit integers and their steps."""
    found = dict(state)
    for name, value in state.items():
        if name + _STEP in state:
            found[name] = value.float() * _beside(found.pop(name + _STEP), value)
    return found


class HubModel(nn.Module, PyTorchModelHubMixin, library_name="xview_demo", license="apache-2.0"):
    """Base of every model with weights: `from_pretrained(folder or repository)`, `save_pretrained`, `push_to_hub`."""

    bits = 16  # of a stored number

    def compress(self) -> Self:
        """Store large weights in 8 bits a number from now on, half as large a file, and be `as_stored`."""
        self.bits = 8
        return self.as_stored()

    @torch.no_grad()
    def as_stored(self) -> Self:
        """Round every number as it is stored, so that what is measured is what will be loaded."""
        self.load_state_dict(_from_bytes(stored_state(self, self.bits)))
        return self

    def save_pretrained(self, save_directory: str | Path, **keywords: Any) -> str | None:  # type: ignore[override]
        """Write `config.json` (constructor keywords and the class), `model.safetensors` and a card."""
        keywords_of_model: Any = keywords.pop("config", None) or self._hub_mixin_config or {}
        config = {"class": type(self).__name__, **keywords_of_model}
        return super().save_pretrained(save_directory, config=config, **keywords)

    def keep(self, **values: Sequence[Any]) -> None:
        """Set constructor keywords that were fitted after training, here and in the configuration that is saved."""
        config: Any = self._hub_mixin_config
        for name, value in values.items():
            setattr(self, name, value)
            config[name] = list(value)

    def _save_pretrained(self, save_directory: Path) -> None:
        path = Path(save_directory) / WEIGHTS_NAME
        save_file(stored_state(self, self.bits), str(path), metadata={"format": "pt"})
        path.chmod(0o644)  # safetensors writes files that only their owner reads

    @classmethod
    def _from_pretrained(  # type: ignore[override]
        cls,
        *,
        model_id: str,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        token: str | bool | None = None,
        map_location: str = "cpu",
        strict: bool = True,
        **model_kwargs: Any,
    ) -> Self:
        """Build the model from its configuration and load its weights; a missing or surplus tensor is an error."""
        if not strict:
            raise ValueError("Models load strictly: leave out `strict=False`.")
        if os.path.isdir(model_id):
            path = Path(model_id) / WEIGHTS_NAME
            if not path.is_file():
                raise ValueError(f"No {WEIGHTS_NAME} in {model_id}: point at a folder written by `save_pretrained`.")
        else:
            path = Path(
                hf_hub_download(
                    repo_id=model_id,
                    filename=WEIGHTS_NAME,
                    revision=revision,
                    cache_dir=cache_dir,
                    force_download=force_download,
                    token=token,
                    local_files_only=local_files_only,
                )
            )
        model = cls(**model_kwargs)
        state = _from_bytes(load_file(str(path), device=map_location))
        try:
            model.load_state_dict(state, strict=True)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:400]
            raise ValueError(f"The weights in {path} do not fit {cls.__name__}: {reason}") from error
        return model.eval()


def digest(module: nn.Module) -> str:
    """Twelve hexadecimal digits that change whenever a weight or buffer does."""
    found = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        found.update(name.encode() + value.detach().cpu().float().numpy().tobytes())
    return found.hexdigest()[:12]


def count_stored(path: Path) -> int:
    """Number of weights and buffers in a file that `save_pretrained` wrote, whatever bits each takes."""
    with safe_open(path, "pt") as file:
        names = [name for name in file.keys() if not name.endswith(_STEP)]
        return sum(math.prod(file.get_slice(name).get_shape()) for name in names)


def count_parameters(model: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
