"""Checks of what Hydra composes, before Hydra builds anything of it.

By itself Hydra builds the callbacks, launchers, sweepers and log handlers of a config, and sets
environment variables that it names. docs/security.md says what is promised.
"""

import copy
import functools
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra._internal import hydra as hydra_internals
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins import file_config_source
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.errors import ConfigCompositionException
from hydra.plugins.config_source import ConfigResult, ConfigSource
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lightning_rec import trust
from lightning_rec.documents import leaves, of_text, read_text
from lightning_rec.errors import UserError, listed, suggest

_PLUGINS = ("hydra_plugins.", "hydra._internal.core_plugins.")  # Hydra looks them up by itself
_HANDLERS = ("logging.StreamHandler", "logging.FileHandler", "logging.NullHandler")
_STREAMS = ("ext://sys.stdout", "ext://sys.stderr")
_VARIABLES = ("HOME", "USER", "TMPDIR", "HOSTNAME")
_PREFIXES = ("LIGHTNING_REC_", "SLURM_")
_SEVERAL = re.compile(r"(data|item)=\[([\w\s,-]*)\]")
_OF_SEVERAL = {"data": "joined", "item": "sum"}  # what their choices are parts of
_ASKED = {
    "data": "name the data sets that are joined, such as data=[beauty,toys_p5].",
    "item": "name what items are known by, such as item=[ids,text].",
}
_ENVIRONMENT = re.compile(r"\$\{\s*oc\.env\s*:\s*([^,{}\s]+)")


class FileConfigSource(file_config_source.FileConfigSource):
    """A folder of configs, of which none is larger or deeper than a config is.

    Called as Hydra's own is: by that name Hydra knows that it need not register its own again.
    """

    def load_config(self, config_path: str) -> ConfigResult:
        """Read a config. Raises UserError if it is no YAML, or too large or too deep."""
        path = Path(self.path, self._normalize_file_name(config_path))
        if not path.is_file():
            return super().load_config(config_path)  # which says so
        config, header = _parsed(path, read_text(path))
        # Hydra moves the nodes of what it loads into what it composes.
        return ConfigResult(
            self.provider, f"{self.scheme()}://{self.path}", copy.deepcopy(config), dict(header)
        )


@functools.lru_cache(maxsize=1024)
def _parsed(path: Path, text: str) -> tuple[DictConfig | ListConfig, dict[str, str | None]]:
    """A config and its header. It is remembered: a config is composed of some thirty files."""
    return of_text(path, text), ConfigSource._get_header_dict(text[:512])


class CheckedLoader(ConfigLoaderImpl):
    """Hydra's loader of configs; each config that it composes is checked."""

    own_folders = True  # whether configs may come from elsewhere than ours

    def load_configuration(self, *args: Any, **settings: Any) -> DictConfig:
        """Compose. Raises UserError if the config names what no config may."""
        settings["overrides"] = overrides = in_parts(settings.get("overrides", ()))
        for_mode = settings.get("validate_sweep_overrides") is False
        if for_mode and not self.own_folders and not any("hydra." in each for each in overrides):
            # Hydra composes the whole config once more to read hydra.mode, which ours do not set;
            # an error here has it go by its flags.
            raise ConfigCompositionException
        cfg: DictConfig = super().load_configuration(*args, **settings)
        check(cfg)
        return cfg


def in_parts(overrides: Sequence[str]) -> list[str]:
    """Overrides in which ``item=[ids,text]`` is the sum of these, ``data=[beauty,toys_p5]`` the
    data of both; see ``conf/item/sum.yaml`` and ``conf/data/joined.yaml``.

    Raises UserError where a part is named twice.
    """
    found: list[str] = []
    for override in overrides:
        named = _SEVERAL.fullmatch(override)
        if named is None:
            found.append(override)
            continue
        group, names = named[1], [name.strip() for name in named[2].split(",")]
        if not all(names):
            raise UserError(f"{override}: {_ASKED[group]}")
        if doubled := sorted({name for name in names if names.count(name) > 1}):
            raise UserError(f"{override}: {listed(doubled)} stands there twice.")
        own = {"ids": "own"} if group == "item" else {}
        parts = (f"+{group}@{group}.parts.{name}={own.get(name, name)}" for name in names)
        found += [f"{group}={_OF_SEVERAL[group]}", *parts]
    return found


@contextmanager
def checked(own_folders: bool = True) -> Iterator[None]:
    """Let Hydra compose only what is checked; ``own_folders``: configs may lie outside of ours."""
    Plugins.instance()  # brings the usual sources along
    sources = SourcesRegistry.instance().types
    internals: Any = hydra_internals  # Hydra has no door for a loader of one's own
    usual = sources["file"], internals.ConfigLoaderImpl
    CheckedLoader.own_folders = own_folders
    sources["file"], internals.ConfigLoaderImpl = FileConfigSource, CheckedLoader
    try:
        yield
    finally:
        sources["file"], internals.ConfigLoaderImpl = usual


def check(cfg: DictConfig) -> None:
    """Check a composed config before anything is built. Raises UserError naming the key."""
    trust.begin()
    tree: Any = OmegaConf.to_container(cfg, resolve=False)
    del tree["hydra"]
    for key, value in leaves(tree):
        for name in _ENVIRONMENT.findall(value) if isinstance(value, str) else ():
            _check_variable(name, f"{key}: ")
    for node, name in trust.targets(tree):
        trust.check(node, name)
    composed: Any = HydraConfig.instance()
    state, composed.cfg = composed.cfg, cfg  # what Hydra's part refers to
    try:
        _check_hydra(cfg.hydra)
    finally:
        composed.cfg = state


def _check_hydra(cfg: DictConfig) -> None:
    _check_keys("hydra", cfg)
    for key in ("env_set", "env_copy"):
        if cfg.job.get(key):
            raise UserError(
                f"hydra.job.{key} would change the environment, which a config does not: set the "
                "variable in the shell."
            )
    for part in ("callbacks", "launcher", "sweeper"):
        for node, name in trust.targets(_tree(cfg[part]), f"hydra.{part}"):
            plugin = node in ("hydra.launcher", "hydra.sweeper")
            if not (plugin and str(name).startswith(_PLUGINS)):
                trust.resolve(node, name)
    for part in ("job_logging", "hydra_logging"):
        for key, value in leaves(_tree(cfg[part]), f"hydra.{part}"):
            named = key.rpartition(".")[2] in ("()", "class") and value not in _HANDLERS
            if named or ("ext:" in str(value) and value not in _STREAMS):
                raise UserError(
                    f"{key}={value} is nothing that a config may build: a handler is one of "
                    f"{listed(_HANDLERS)}."
                )


def _check_keys(path: str, node: DictConfig) -> None:
    """Refuse keys that Hydra does not have, which an override that begins with ``+`` adds."""
    kind: Any = OmegaConf.get_type(node)
    # Not dataclasses.fields: it finds none in a class that submitit has pickled twice.
    known = [*kind.__dataclass_fields__] if kind is not dict else None
    if known is not None and path == "hydra":
        known.append("env")  # Hydra's own addition
    for key in map(str, node):
        if known is not None and key not in known:
            raise UserError(f"Unknown key {path}.{key}.{suggest(key, known, f'{path} has', 30)}")
        child = node._get_node(key)
        if isinstance(child, DictConfig) and not child._is_none() and not child._is_missing():
            _check_keys(f"{path}.{key}", child)


def _tree(node: Any) -> Any:
    """A node as plain dicts and lists, with other nodes that it refers to."""
    if isinstance(node, DictConfig):
        return {str(key): _tree(_value(node, key)) for key in (node if node else ())}
    if isinstance(node, ListConfig):
        return [_tree(_value(node, index)) for index in range(len(node) if node else 0)]
    return node


def _value(node: Any, key: Any) -> Any:
    try:
        return node[key]
    except OmegaConfBaseException:  # known only when the job runs, as its folder is: a text
        return str(node._get_node(key)._value())


def _environment(name: str, default: Any = None) -> Any:
    """The resolver of ``${oc.env:NAME}``."""
    _check_variable(name)
    if name in os.environ:
        return os.environ[name]
    if default is None:
        raise UserError(f"${{oc.env:{name}}}: there is no such variable in the environment.")
    return default


def _check_variable(name: str, where: str = "") -> None:
    """Only variables that hold no secret are read: a config is written down and sent around."""
    if name not in _VARIABLES and not name.startswith(_PREFIXES):
        raise UserError(
            f"{where}${{oc.env:{name}}} is not read, since variables can hold secrets and a config "
            f"is written down and sent to trackers. Those read are {listed(_VARIABLES)} and "
            f"{listed(f'{each}…' for each in _PREFIXES)}; or let the shell fill a value in, as in "
            f'data.path="$FOLDER/log.csv".'
        )


OmegaConf.register_new_resolver("oc.env", _environment, replace=True)
