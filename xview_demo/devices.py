"""Where networks and renderers run: a device by its name, checked before anything is built on it."""

import torch

from xview_demo.errors import ModelError


def device_of(name: str | torch.device) -> torch.device:
    """A device of this machine.

    Raises:
        ModelError: no device of that name, or none of that kind or number here; the message names those that are.
    """
    counts = {"cpu": 1}
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if accelerator is not None:
        counts[accelerator.type] = torch.accelerator.device_count()
    try:
        device = torch.device(name)
    except RuntimeError:  # torch knows no such kind; its own message lists two dozen
        device = None
    if device is None or (device.index or 0) >= counts.get(device.type, 0):
        here = ", ".join(kind if n == 1 else f"{kind}:0 to {kind}:{n - 1}" for kind, n in counts.items())
        raise ModelError(f"No device named '{name}'. Available: {here}.")
    return device
