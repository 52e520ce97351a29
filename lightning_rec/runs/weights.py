"""The weights of a model in a file: safetensors, which hold no code; checkpoints, whole or not."""

import errno
import os
import resource
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from lightning_rec.errors import UserError
from lightning_rec.runs import checksums

NAME = "weights.safetensors"


def write(path: Path, model: torch.nn.Module) -> None:
    """Write all weights of a model."""
    state, known = {}, set()
    for name, value in model.state_dict().items():
        value = value.cpu().contiguous()
        # Safetensors refuses weights that are tied, one memory under two names.
        state[name] = value.clone() if value.data_ptr() in known else value
        known.add(value.data_ptr())
    path.write_bytes(save(state))


def read(path: Path, model: torch.nn.Module, known: int | None = None) -> None:
    """Read what :func:`write` wrote into a model; of a model with more items than the ``known``
    of the file, see :func:`grown`. Raises UserError if it does not fit.
    """
    try:
        found = load_file(path)
        model.load_state_dict(found if known is None else grown(found, model, known))
    except (RuntimeError, SafetensorError, OSError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} does not fit config.yaml beside it: {reason}") from error


def found(folder: Path) -> dict[str, Tensor]:
    """The weights of a run, by name. Raises UserError if they are not as the run wrote them."""
    path = folder / NAME
    if not path.is_file():
        raise UserError(f"{path} is missing: bring the file back.")
    checksums.verify(folder, NAME)
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} cannot be read: {error}.") from error


def grown(found: dict[str, Tensor], model: torch.nn.Module, known: int) -> dict[str, Tensor]:
    """Weights for a model with more items than the ``known`` that they were made with.

    A new item has no vector of its own (0, as items without training events have), and the mean of
    the others' biases. Raises UserError where all that a model knows of an item is its own weight.
    """
    for name, own in model.state_dict().items():
        old = found.get(name)
        if old is None or old.shape == own.shape or len(old) != known:
            continue
        more = own.new_zeros(len(own) - known, *own.shape[1:])
        if f".{name}".endswith(".own.weight") or old.ndim == 1:
            found[name] = torch.cat([old, more + (old.mean() if old.ndim == 1 else 0)])
        else:
            raise UserError(
                f"New items are not in {name}, which has a row for each item: train again with "
                "their events, or use a model that knows items by item=text alone and has no such "
                "table."
            )
    return found


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
