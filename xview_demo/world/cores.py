"""Work shared out among the processor's cores."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch


def on_all_cores(work: Callable[[int], None], parts: Sequence[int], device: torch.device) -> None:
    """Do the parts side by side, each on one core: half as fast again as sharing out every single operation."""
    threads = torch.get_num_threads()
    if device.type != "cpu" or threads == 1 or len(parts) == 1:
        for part in parts:
            work(part)
        return
    mode = torch.is_inference_mode_enabled()  # a thread's own, as the number of cores it may use

    def alone(part: int) -> None:
        with torch.inference_mode(mode):
            work(part)

    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            list(pool.map(alone, parts))
    finally:
        torch.set_num_threads(threads)  # also of threads to come: torch remembers the last number that was set
