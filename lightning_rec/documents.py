"""Reading YAML and JSON that somebody else may have written: bounded, and read as data alone."""

import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lightning_rec.errors import UserError

MOST_BYTES = 2**20  # of a config; those that training writes have some kilobytes
MOST_NODES = 100_000  # keys and values, with every alias counted as what it stands for
DEEPEST = 40
_JSON_BYTES = 2**26
_SCANNER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INTERPOLATION = re.compile(r"\$\{[^}]*\}?")


def check_links(folder: Path) -> None:
    """Check that what is read and written in the folder of a run lies in it.

    W&B's own files are not looked at: it links to its logs, and we read none of them.

    Raises UserError naming the first link that leads elsewhere.
    """
    root = folder.resolve()
    for place, folders, files in os.walk(folder):
        names = (*folders, *files)
        folders[:] = [name for name in folders if name != "wandb"]
        for name in names:
            path = Path(place, name)
            if path.is_symlink() and not path.resolve().is_relative_to(root):
                raise UserError(
                    f"{path} is a link that leads out of the folder, to {path.resolve()}: put the "
                    "file itself there."
                )


def check_places(folder: Path, places: Iterable[tuple[str, Any]]) -> None:
    """Check that what the config of a run writes goes into its own folder.

    Args:
        folder: of the run.
        places: keys of its config, and the folders that they name, if any.

    Raises UserError naming the first that lies elsewhere.
    """
    root = folder.resolve()
    for key, place in places:
        if place is not None and not Path(str(place)).resolve().is_relative_to(root):
            raise UserError(
                f"{folder / 'config.yaml'}: {key}={place} would be written outside of the run "
                "folder: set it to null there, which means the run folder."
            )


def read_text(path: Path, most: int = MOST_BYTES) -> str:
    """The text of a file of at most ``most`` bytes. Raises UserError if it cannot be read."""
    if not path.is_file():
        raise UserError(f"{path} is no file.")
    try:
        with path.open("rb") as stream:
            read = stream.read(most + 1)
        if len(read) > most:
            raise UserError(f"{path} cannot be read: it is larger than {most:,} bytes.")
        return read.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error


def read_yaml(path: Path) -> Any:
    """A YAML file as plain dicts and lists, nothing in it resolved.

    Raises UserError if it cannot be read, or is too large, too deep or unfolds too far.
    """
    text = read_text(path)
    check_yaml(path, text)
    try:
        made = OmegaConf.create(text)  # reads numbers as Hydra does
    except (OmegaConfBaseException, yaml.YAMLError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    return OmegaConf.to_container(made, resolve=False)


def read_config(path: Path) -> DictConfig:
    """A config that was saved, hence resolved: what is written there is what is meant.

    Raises UserError if it cannot be read, or holds something that would have to be resolved.
    """
    tree = read_yaml(path)
    if not isinstance(tree, dict) or not tree:
        raise UserError(f"{path} holds no config.")
    for key, value in leaves(tree):
        if isinstance(value, str) and (found := _INTERPOLATION.search(value)):
            raise UserError(
                f"{path}: {key} holds {found[0]}, which is not resolved in a config that was "
                "saved: write the value itself."
            )
    return OmegaConf.create(tree)


def read_json(path: Path) -> Any:
    """What a JSON file holds. Raises UserError if it is none, or too large or too deep."""
    try:
        return json.loads(read_text(path, _JSON_BYTES))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON: {error}.") from error


def check_yaml(path: object, text: str) -> None:
    """Look through a YAML text before anything is made of it.

    An alias is a few letters that stand for as much as its anchor holds, aliases included.

    Raises UserError if it is too deep, or unfolds too far.
    """
    sizes: dict[str, int] = {}  # what an anchor stands for
    open_nodes: list[tuple[str | None, int]] = []  # anchor and number of nodes before it
    count = 0
    try:
        for event in yaml.parse(text, Loader=_SCANNER):
            if isinstance(event, yaml.CollectionEndEvent):
                anchor, before = open_nodes.pop()
                if anchor:
                    sizes[anchor] = count - before
            elif isinstance(event, yaml.AliasEvent):
                count += sizes.get(event.anchor, MOST_NODES)  # in itself it has no end
            elif isinstance(event, yaml.NodeEvent):
                if isinstance(event, yaml.CollectionStartEvent):
                    open_nodes.append((event.anchor, count))
                elif event.anchor:
                    sizes[event.anchor] = 1
                count += 1
            if len(open_nodes) > DEEPEST or count > MOST_NODES:
                raise UserError(
                    f"{path} cannot be read: a config is at most {DEEPEST} levels deep and holds "
                    f"at most {MOST_NODES:,} values, and this one unfolds beyond that."
                )
    except yaml.YAMLError as error:
        raise UserError(f"{path} cannot be read: {' '.join(str(error).split())}") from error


def leaves(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of plain dicts and lists that is none itself, with its dotted path."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from leaves(value, f"{path}.{key}" if path else str(key))
    elif isinstance(tree, list):
        for place, value in enumerate(tree):
            yield from leaves(value, f"{path}[{place}]")
    else:
        yield path, tree
