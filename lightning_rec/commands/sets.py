"""Data sets by name, the shipped ones and those in folders of configs; and settings of them."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import OmegaConf

from lightning_rec import config
from lightning_rec.commands.usage import choices
from lightning_rec.errors import UserError, suggest

T = TypeVar("T", int, float)


def node(name: str, folders: Sequence[Path] = ()) -> dict[str, Any]:
    """The config of a data set. Raises UserError with the nearest name if there is none."""
    known = sorted(choices(folders)["data"])
    if name not in known:
        raise UserError(f"Unknown data set '{name}'.{suggest(name, known)}")
    shipped = name in choices()["data"]
    raw = _shipped(name) if shipped else config.compose([f"data={name}"], folders).data
    return config.plain(raw)


def _shipped(name: str) -> Any:
    """A shipped config, with those of the group that it begins with: composing takes longer."""
    raw: Any = OmegaConf.load(config.config_dir() / "data" / f"{name}.yaml")
    if any(not isinstance(base, str) for base in raw.get("defaults", ())):  # of other groups
        return config.compose([f"data={name}"]).data
    bases = [_shipped(base) for base in raw.pop("defaults", ()) if base != "_self_"]
    return OmegaConf.merge(*bases, raw)


def number(key: str, text: str, kind: type[T]) -> T:
    """Read a number, an int or a float. Raises UserError if the text is none."""
    try:
        return kind(text)
    except ValueError:
        whole = "whole " * (kind is int)
        raise UserError(f"{key}={text}: it must be a {whole}number.") from None


def numbers(key: str, text: str) -> list[int]:
    """Read whole numbers, ``1,2,3`` or ``[1,2,3]``. Raises UserError if one is none."""
    return [number(key, each.strip(), int) for each in text.strip("[] ").split(",") if each.strip()]


def settings_of(arguments: Iterable[str]) -> dict[str, Any]:
    """Settings of ``key=value`` words, or ``data.key=value``; values are YAML, as Hydra's are."""
    words = [argument.removeprefix("data.") for argument in arguments]
    if unread := [word for word in words if "=" not in word]:
        raise UserError(
            f"'{unread[0]}' is not understood: what follows 'data' is key=value, 'check' or "
            "'schema'."
        )
    return config.plain(OmegaConf.from_dotlist(words))
