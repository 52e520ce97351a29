"""What a saved config may have done with the machine of whoever reads it: nothing behind his back.

It may come from somebody else. It names data, which are read, but not quoted; and places that
figures are sent to, along with the keys that the environment holds for them.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lightning_rec.documents import leaves
from lightning_rec.errors import UserError
from lightning_rec.runs.folder import RunFolder

_ADDRESSES = ("tracking_uri", "model_registry")  # keys of a config that name where to send
_TABLES = ("path", "val", "test", "history", "catalogue")  # keys of data that name files


def addresses(cfg: DictConfig) -> dict[str, str]:
    """Where a config sends figures, by dotted key; what the environment says too is left out."""
    tree: Any = OmegaConf.to_container(cfg, resolve=False)
    return {
        key: str(value)
        for key, value in leaves(tree)
        if key.rpartition(".")[2] in _ADDRESSES
        and value not in (None, os.environ.get("MLFLOW_TRACKING_URI"))
    }


def check_addresses(run: RunFolder, overrides: Sequence[str]) -> None:
    """Raises UserError where the config of a run sends figures to where nobody asked to."""
    asked = _keys(overrides)
    for key, value in addresses(run.config).items():
        if key not in asked:
            raise UserError(
                f"{run.path / 'config.yaml'} sends figures to {value}, with what key for it the "
                f"environment holds: if that is meant, say {key}={value}, else {key}=null."
            )


@contextmanager
def unquoted(run: RunFolder, overrides: Sequence[str]) -> Iterator[None]:
    """Let errors quote files alone that an override names: terminals and logs are looked at.

    Raises UserError in place of one of the block's that could quote others.
    """
    try:
        yield
    except UserError as error:
        if run.is_own:
            raise
        data, asked = run.config.data, _keys(overrides)
        named = {f"data.{key}": data[key] for key in _TABLES if isinstance(data.get(key), str)}
        unasked = [f"{key}={value}" for key, value in named.items() if key not in asked]
        if not unasked or not all(Path(value).exists() for value in named.values()):
            raise
        raise UserError(
            f"The data that {run.path / 'config.yaml'} names cannot be used. Files that a saved "
            f"config names are not quoted: to be told what is wrong, name them yourself: "
            f"{' '.join(unasked)}"
        ) from error


def _keys(overrides: Sequence[str]) -> set[str]:
    return {override.partition("=")[0] for override in overrides}
