"""Training on several processes: how the others are started, and the process group closed."""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import torch.distributed
from hydra.core.hydra_config import HydraConfig
from pytorch_lightning.utilities import rank_zero_only

from lightning_rec import trust


def is_first() -> bool:
    """Whether this is the process of rank 0, which writes and prints."""
    return getattr(rank_zero_only, "rank", 0) == 0


@contextmanager
def joined_by(task: Literal["train", "evaluate"], folder: Path, *overrides: str) -> Iterator[None]:
    """Let Lightning start further processes as ``lightning-rec _worker TASK FOLDER [overrides]``.

    Left alone it repeats the command line, which in a sweep would start the whole sweep again.
    The folder holds the composed config, so all processes run exactly the same.
    """
    argv, hydra = sys.argv, HydraConfig.instance()
    composed, hydra.cfg = hydra.cfg, None
    trusted = [f"--trust={names}"] if (names := trust.named(used=True)) else []
    sys.argv = [argv[0], "_worker", task, str(folder), *overrides, *trusted]
    try:
        yield
    finally:
        sys.argv, hydra.cfg = argv, composed


def leave() -> None:
    """Close the process group, so that the next job of a sweep can start one of its own.

    Lightning would kill this process some seconds after one that it started has failed.
    """
    for thread in threading.enumerate():
        if type(thread).__name__ == "_ChildProcessObserver":  # private there, so not imported
            vars(thread)["_child_processes"] = []
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    if is_first():
        for variable in ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
            os.environ.pop(variable, None)
