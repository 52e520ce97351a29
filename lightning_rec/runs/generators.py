"""The states of all random generators, as tensors and plain values."""

import random
from typing import Any

import numpy as np
import torch
import torch.distributed


def states(device: torch.device) -> dict[str, Any]:
    """Of this process: torch's, numpy's, Python's, and that of an accelerator."""
    version, words, gauss = random.getstate()
    name, keys, place, has_gauss, cached = np.random.get_state()  # noqa: NPY002
    return {
        "torch": torch.get_rng_state(),
        "device": torch.get_device_module(device).get_rng_state() if device.type != "cpu" else None,
        "numpy": [name, torch.from_numpy(np.asarray(keys, np.int64)), place, has_gauss, cached],
        "python": [version, torch.tensor(words), gauss],
    }


def restore(found: dict[str, Any], device: torch.device) -> None:
    """What :func:`states` gave, on a device of the same kind."""
    torch.set_rng_state(found["torch"])
    if found["device"] is not None and device.type != "cpu":
        torch.get_device_module(device).set_rng_state(found["device"])
    name, keys, place, has_gauss, cached = found["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), place, has_gauss, cached))  # noqa: NPY002
    version, words, gauss = found["python"]
    random.setstate((version, tuple(words.tolist()), gauss))


def of_all_processes(own: dict[str, Any]) -> list[dict[str, Any]]:
    """The states of all processes, in order; every process has to ask."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [own]
    gathered: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(gathered, own)
    return gathered
