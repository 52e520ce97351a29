"""Safe reading of YAML and JSON from others: bounded in size and depth, plain values only."""

import json
import os
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from lightning_rec.errors import UserError
from lightning_rec.passwords import hidden

if TYPE_CHECKING:
    from omegaconf import DictConfig

MOST_BYTES = 2**20  # of a config; those that training writes have some kilobytes
MOST_NODES = 100_000  # keys and values, with every alias counted as what it stands for
DEEPEST = 40
_MOST_INSERTED = 100  # interpolations in one value: what reads them takes long, and is recursive
_JSON_BYTES = 2**26
_PLACES = ("dirpath", "save_dir", "log_dir")  # keys of a config that name where a part writes
_TAGS = tuple(f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null"))
_SCANNER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INTERPOLATION = re.compile(r"\$\{[^}]*\}?")


def check_folder(folder: Path) -> None:
    """Raises UserError naming the first link out of the folder of a run, pipe, socket or device.

    W&B's own files are not looked at, since it links to its logs and we read none of them. But W&B
    reads settings there, such as the server that is to get the key of whoever logs in.
    """
    root = os.path.realpath(folder)
    for parent, folders, files in os.walk(folder):
        names = (*folders, *files)
        folders[:] = [name for name in folders if name != "wandb"]
        for name in names:
            path = Path(parent, name)
            target = os.path.realpath(path)
            if path.is_symlink() and not Path(target).is_relative_to(root):
                raise UserError(
                    f"{path} is a link that leads out of the folder, to {target}: put the file "
                    "itself there."
                )
            if path.is_fifo() or path.is_socket() or path.is_char_device():
                raise UserError(f"{path} is a pipe or a device, no file: remove it.")
    for path in (folder / name / "settings" for name in ("wandb", ".wandb")):
        if path.exists():
            raise UserError(
                f"{path} may tell W&B where to send the run and your key: remove it, or set "
                "WANDB_BASE_URL yourself."
            )


def check_places(folder: Path, tree: Any) -> None:
    """Raises UserError where the config of a run writes outside of its folder."""
    root = folder.resolve()
    for key, place in leaves(tree):
        if place is None or key.rpartition(".")[2] not in _PLACES:
            continue
        is_url = "://" in str(place) or "::" in str(place)
        if is_url or not Path(str(place)).resolve().is_relative_to(root):
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
    """A YAML file as plain dicts and lists. Raises UserError if it is broken, too large or deep."""
    from omegaconf import OmegaConf

    return OmegaConf.to_container(_of_yaml(path), resolve=False)


def config_yaml(cfg: "DictConfig") -> str:
    """A config as it is saved: resolved, without passwords of addresses."""
    from omegaconf import OmegaConf

    tree = OmegaConf.to_container(cfg, resolve=True)
    shown = hidden(tree)
    return OmegaConf.to_yaml(cfg if shown == tree else OmegaConf.create(shown), resolve=True)


def read_config(path: Path) -> "DictConfig":
    """A saved config. Raises UserError if it cannot be read, or is not resolved."""
    from omegaconf import OmegaConf

    made = _of_yaml(path)
    tree = OmegaConf.to_container(made, resolve=False)
    if not isinstance(tree, dict) or not tree:
        raise UserError(f"{path} holds no config.")
    for key, value in leaves(tree):
        if isinstance(value, str) and (found := _INTERPOLATION.search(value)):
            raise UserError(
                f"{path}: {key} holds {found[0]}, which is not resolved in a config that was "
                "saved: write the value itself."
            )
    return made.copy()


def _of_yaml(path: Path) -> Any:
    return of_text(path, read_text(path))


def of_text(path: Path, text: str) -> Any:
    """A YAML text as a config, not to be changed. Raises UserError as :func:`read_yaml` does."""
    from omegaconf.errors import OmegaConfBaseException

    check_yaml(path, text)
    try:
        return _made(text)
    except (KeyError, IndexError) as error:  # as of !!bool maybe, !!int ""
        told = "a value is not of the kind that its tag says"
        raise UserError(f"{path} cannot be read: {told}.") from error
    except (OmegaConfBaseException, yaml.YAMLError, ValueError, RecursionError) as error:
        raise unreadable(path, error) from error


@lru_cache(maxsize=64)  # verbs over many runs read each config several times
def _made(text: str) -> Any:
    """A YAML text as a config, not to be changed; numbers as Hydra reads them."""
    from omegaconf import OmegaConf

    found = yaml.load(text, Loader=_loader())  # a safe one
    if isinstance(found, str):  # OmegaConf would read it as YAML again, unfolded without bounds
        raise ValueError("a text alone stands there, no keys or list")
    return OmegaConf.create({} if found is None else found)


@lru_cache(maxsize=1)
def _loader() -> Any:
    """OmegaConf's way to read YAML, by libyaml where it is there: seven times as fast."""
    from omegaconf._utils import get_yaml_loader

    class Loader(_SCANNER):  # type: ignore[misc]
        yaml_implicit_resolvers = get_yaml_loader().yaml_implicit_resolvers

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            seen = set()
            for key, _ in node.value:
                if key.tag == yaml.resolver.BaseResolver.DEFAULT_SCALAR_TAG:
                    if key.value in seen:
                        raise yaml.constructor.ConstructorError(
                            "while constructing a mapping", node.start_mark,
                            f"found duplicate key {key.value}", key.start_mark,
                        )  # fmt: skip
                    seen.add(key.value)
            return super().construct_mapping(node, deep=deep)

    return Loader


def read_json(path: Path) -> Any:
    """What a JSON file holds. Raises UserError if it is none, or too large or too deep."""
    try:
        return json.loads(read_text(path, _JSON_BYTES), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON: {error}.") from error


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number there")


def check_yaml(path: object, text: str) -> None:
    """Raises UserError if a YAML text is too deep, unfolds too far by aliases, or has tags."""
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
                if event.tag and event.tag not in _TAGS:
                    raise UserError(
                        f"{path}, line {event.start_mark.line + 1}: the tag {event.tag} is not "
                        "read, for a config holds plain values: leave it out, and name what is to "
                        "be built by _target_."
                    )
                if isinstance(event, yaml.CollectionStartEvent):
                    open_nodes.append((event.anchor, count))
                else:
                    _check_interpolations(path, event)
                    if event.anchor:
                        sizes[event.anchor] = 1
                count += 1
            if len(open_nodes) > DEEPEST or count > MOST_NODES:
                raise UserError(
                    f"{path} cannot be read: a config is at most {DEEPEST} levels deep and holds "
                    f"at most {MOST_NODES:,} values, and this one unfolds beyond that."
                )
    except yaml.YAMLError as error:
        raise unreadable(path, error) from error


def _check_interpolations(path: object, event: Any) -> None:
    if event.value.count("${") > _MOST_INSERTED:
        raise UserError(
            f"{path}, line {event.start_mark.line + 1}: a value holds at most {_MOST_INSERTED} "
            "interpolations."
        )


def unreadable(path: object, error: Exception) -> UserError:
    """One sentence for what a YAML text is not, with its place where that is known."""
    mark, what = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    where = f", line {mark.line + 1}, column {mark.column + 1}," if mark else ""
    return UserError(f"{path}{where} cannot be read: {' '.join(str(what or error).split())}.")


def leaves(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of plain dicts and lists that is none itself, with its dotted path."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from leaves(value, f"{path}.{key}" if path else str(key))
    elif isinstance(tree, list):
        for index, value in enumerate(tree):
            yield from leaves(value, f"{path}[{index}]")
    else:
        yield path, tree
