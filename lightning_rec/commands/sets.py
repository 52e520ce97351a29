"""Data sets by name, the shipped ones and those in folders of configs; and settings of them."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from lightning_rec import config
from lightning_rec.errors import UserError, listed, nearest


def names(folders: Sequence[Path]) -> list[str]:
    """The names of all data sets, those in further config ``folders`` included."""
    own = {path.stem for folder in folders for path in (folder / "data").glob("*.yaml")}
    return sorted({*config.choices("data"), *own})


def node(name: str, folders: Sequence[Path] = ()) -> dict[str, Any]:
    """The config of a data set. Raises UserError with the nearest name if there is none."""
    known = names(folders)
    if name not in known:
        raise UserError(
            f"Unknown data set '{name}'.{nearest(name, known)} There are: {listed(known)}."
        )
    shipped = config.config_dir() / "data" / f"{name}.yaml"
    raw = OmegaConf.load(shipped) if shipped.exists() else None
    # One that builds on another, or is somebody's own, has to be composed, which takes longer.
    if raw is None or "defaults" in raw:
        raw = config.compose([f"data={name}"], folders).data
    found: dict[str, Any] = config.plain(raw)
    return found


def pairs_of(arguments: Iterable[str]) -> dict[str, str]:
    """``key=value`` words as a dict; ``data.key=value`` as well, as ``train`` has it."""
    settings = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals:
            raise UserError(
                f"'{argument}' is not understood: what follows 'data' is key=value, 'check' or "
                "'schema'."
            )
        settings[key.removeprefix("data.")] = value
    return settings
