"""The weights of a model in a file: safetensors, which hold no code; checkpoints, whole or not."""

import errno
import os
import resource
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from lightning_rec.errors import UserError


def write(path: Path, model: torch.nn.Module) -> None:
    """Write all weights of a model."""
    state, known = {}, set()
    for name, value in model.state_dict().items():
        value = value.cpu().contiguous()
        # Safetensors refuses weights that are tied, one memory under two names.
        state[name] = value.clone() if value.data_ptr() in known else value
        known.add(value.data_ptr())
    path.write_bytes(save(state))


def read(path: Path, model: torch.nn.Module) -> None:
    """Read what :func:`write` wrote into a model. Raises UserError if it does not fit."""
    try:
        model.load_state_dict(load_file(path))
    except (RuntimeError, SafetensorError, OSError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} does not fit config.yaml beside it: {reason}") from error


def write_checkpoint(checkpoint: dict[str, Any], path: Path) -> None:
    """Save by torch, which tells of a full disk in words of its own. Raises OSError there."""
    try:
        torch.save(checkpoint, path)
    except RuntimeError as error:
        if not any(words in str(error) for words in ("unexpected pos", "file write failed")):
            raise
        bounded = resource.getrlimit(resource.RLIMIT_FSIZE)[0] != resource.RLIM_INFINITY
        code = errno.EFBIG if bounded else errno.ENOSPC
        raise OSError(code, os.strerror(code), str(path)) from error
