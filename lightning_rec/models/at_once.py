"""How much is computed at once."""

import torch

_ELSEWHERE = 256 * 2**20  # bytes


def bytes_at_once(device: torch.device, cached: int) -> int:
    """Bytes of scores to hold at once, where a CPU's cache holds ``cached``.

    A GPU waits for each piece of work to be started: 256 MiB keep it busy.
    """
    return cached if device.type == "cpu" else max(cached, _ELSEWHERE)
