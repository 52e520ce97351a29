"""Config of a run from somebody else: what it names is not quoted, no figure is sent unasked."""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lightning_rec.documents import leaves
from lightning_rec.errors import Quoting, UserError
from lightning_rec.passwords import hidden, take_passwords, whole, without_passwords
from lightning_rec.runs.folder import RunFolder
from lightning_rec.runs.parts import MEMBERS

log = logging.getLogger(__name__)

VARIABLE = "MLFLOW_TRACKING_URI"  # of the environment, that names an address too
_ADDRESSES = ("tracking_uri",)  # keys of a config that name where to send
_FILES = {  # keys that name files, by the node that they are below
    "data": ("path", "val", "test", "catalogue", "users", "graph.triples", "graph.links"),
    "item": ("path", "item_ids"),
}
FOLDERS = (
    "encoder",
    "first",
    "ranker",
    "run",
    "teacher",
)  # keys that name a language model, or a run


def addresses(cfg: DictConfig) -> dict[str, str]:
    """Where a config sends figures, by dotted key; what the environment says too is left out."""
    tree: Any = OmegaConf.to_container(cfg, resolve=False)
    there = os.environ.get(VARIABLE, "")
    return {
        key: str(value)
        for key, value in leaves(tree)
        if key.rpartition(".")[2] in _ADDRESSES
        and value not in (None, there, without_passwords(there))
    }


def hide(cfg: DictConfig) -> None:
    """Keep passwords out of the trackers of a config, which Hydra writes as it is."""
    if cfg.get("logger"):
        tree: Any = OmegaConf.to_container(cfg.logger, resolve=False)
        take_passwords([str(value) for _, value in leaves(tree)])
        OmegaConf.update(cfg, "logger", hidden(tree), merge=False)


def unaddressed(tree: Any) -> Any:
    """A config or a card for trackers: without addresses, which may hold a password."""
    if isinstance(tree, dict):
        kept = {key: unaddressed(value) for key, value in tree.items()}
        return kept | {key: None for key in _ADDRESSES if key in kept}
    if isinstance(tree, list):
        # Overrides among them, whole nodes too.
        named = [isinstance(each, str) and any(key in each for key in _ADDRESSES) for each in tree]
        return [unaddressed(each) for each, out in zip(tree, named, strict=True) if not out]
    return tree


def check_addresses(run: RunFolder, overrides: Sequence[str]) -> None:
    """Raises UserError where the config of a run sends figures to where nobody asked to, or the
    password that an address needs is not known any more.
    """
    asked = dict(override.partition("=")[::2] for override in overrides)
    for key, value in addresses(run.config).items():
        whole(asked.get(key, value), key, VARIABLE)
        if key not in asked:
            raise UserError(
                f"{run.path / 'config.yaml'} sends figures to {value}, with what key for it the "
                f"environment holds: if that is meant, say {key}={value}, else {key}=null."
            )


class Withheld(logging.Filter):
    """Keeps warnings about data from all handlers until it is known whose data they are."""

    def __init__(self, run: RunFolder, unasked: Sequence[str]) -> None:
        super().__init__()
        self.run, self.unasked = run, unasked
        self.records: list[logging.LogRecord] = []

    def filter(self, record: logging.LogRecord) -> bool:
        """Called by logging."""
        if record.levelno < logging.WARNING:
            return True
        if record not in self.records:  # each handler asks
            self.records.append(record)
        return False

    def release(self, *, known: bool) -> None:
        """Log what was withheld, if the data is ``known`` to be that of the run."""
        if known:
            for record in self.records:
                logging.getLogger(record.name).handle(record)
        elif self.records:
            log.warning(
                "Warnings about the data of %s (%d) are not shown, since its config alone names "
                "the files. To see them, name the files yourself: %s.",
                self.run.path, len(self.records), " ".join(self.unasked),
            )  # fmt: skip


@contextmanager
def unquoted(run: RunFolder, overrides: Sequence[str], node: str = "data") -> Iterator[Withheld]:
    """Let messages quote files below ``node``, language models and runs only if an override names
    them, not the config alone.

    Yields the warnings of the block, to be released behind it. Raises a UserError that quotes
    nothing in place of the block's.
    """
    asked, named = _keys(overrides), {} if run.is_own else _named(run, node)
    withheld = Withheld(run, [f"{key}={path}" for key, path in named.items() if key not in asked])
    handlers = logging.getLogger().handlers if withheld.unasked else []
    for handler in handlers:
        handler.addFilter(withheld)
    try:
        yield withheld
    except UserError as error:
        unasked = withheld.unasked
        if isinstance(error, Quoting):
            named = {} if run.is_own else _naming(run, error.path)
            unasked = [f"{key}={path}" for key, path in named.items() if key not in asked]
        if not unasked or not all(Path(path).expanduser().exists() for path in named.values()):
            raise
        raise UserError(
            f"What {run.path / 'config.yaml'} names cannot be used. Files that a saved config "
            f"names are not quoted: to be told what is wrong, name them yourself: "
            f"{' '.join(unasked)}"
        ) from None  # which quotes them
    finally:
        for handler in handlers:
            handler.removeFilter(withheld)


def _named(run: RunFolder, node: str) -> dict[str, str]:
    """The files that the config of a run names below a node, by dotted key."""
    tree: Any = OmegaConf.to_container(run.config, resolve=True)

    def named(key: str) -> str:  # parts of a sum, of joined data, or what pairs are made of
        own = key.removeprefix(f"{node}.").removeprefix("of.")
        if own.startswith("parts."):
            own = own.split(".", 2)[-1]
        return own.rpartition(".")[2] if node == "item" else own

    return {
        key: value
        for key, value in leaves(tree.get(node) or {}, node)
        if named(key) in _FILES.get(node, ()) and isinstance(value, str)
    }


def _naming(run: RunFolder, path: Path) -> dict[str, str]:
    """The keys of the config of a run that name a folder, or one around it, and what they say."""
    return {
        key: value
        for key, value in leaves(OmegaConf.to_container(run.config, resolve=True))
        if isinstance(value, str)
        if key.rpartition(".")[2] in FOLDERS or key.startswith((f"{MEMBERS}.", "augment.translate"))
        if path.resolve().is_relative_to(Path(value).expanduser().resolve())
    }


def _keys(overrides: Sequence[str]) -> set[str]:
    return {override.partition("=")[0] for override in overrides}
