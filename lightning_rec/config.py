"""Configuration: where it lies, how it is composed, checked and made into objects.

Importing this module costs little: neither torch nor Lightning is imported here.
"""

import functools
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lightning_rec import figures
from lightning_rec.building import build as build
from lightning_rec.building import check as check
from lightning_rec.building import expect as expect
from lightning_rec.building import plain as plain
from lightning_rec.building import target as target
from lightning_rec.composing import checked
from lightning_rec.errors import UserError, listed, nearest, suggest
from lightning_rec.trust import config_dir as config_dir

LAUNCHERS = {  # of hydra/launcher=: the package that has it, and our extra that installs it
    "joblib": ("hydra-joblib-launcher", "sweeps"),
    "ray": ("hydra-ray-launcher", "ray"),
} | dict.fromkeys(("submitit_local", "submitit_slurm"), ("hydra-submitit-launcher", "slurm"))
_LISTED = 450  # characters, more or less, of the choices that an error names
# Mappings whose keys are the user's own, columns and goals: Hydra adds such keys by a plus alone.
_OTHER = (
    r"null|true|false|[+-]?(inf|nan|\d[\d_]*\.?[\d_]*|\.\d+)(e[+-]?\d+)?"  # texts that are none
)
OPEN = ("goals", "goal_weights", "min_counts", "hash_size", "buckets", "dims")


def direction(figure: Any, *, _root_: DictConfig) -> str:
    """Whether a figure is better when it is low (``min``) or high (``max``), as declared."""
    return figures.better(str(figure), OmegaConf.select(_root_, "metrics")) or "max"


def of_first(goals: Any, figure: str) -> str:
    """The name of a click metric of validation: that of the first goal if there are several."""
    names = list(goals or {})
    return str(figures.Name(figure, "val", goal=names[0] if len(names) > 1 else ""))


OmegaConf.register_new_resolver("direction", direction, replace=True)
OmegaConf.register_new_resolver("of_first", of_first, replace=True)


def choices(group: str) -> list[str]:
    """Names in a config group, extra ``--config-dir`` folders included."""
    state = GlobalHydra.instance()
    if state.is_initialized():
        return sorted(state.config_loader().get_group_options(group))
    return sorted(path.stem for path in (config_dir() / group).glob("*.yaml"))


def as_override(value: Any) -> str:
    """A value as Hydra's grammar of overrides has it, texts in quotes where they need them."""
    if isinstance(value, list | tuple):
        return f"[{','.join(map(as_override, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{as_override(each)}' for key, each in value.items())}}}"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value)
    plain = re.fullmatch(r"(?a:[\w./:%@+-]+( [\w./:%@+-]+)*)", text)
    if plain and not (isinstance(value, str) and re.fullmatch(_OTHER, text.lower())):
        return text
    return QuotedString(text, Quote.double).with_quotes()


def check_choices(overrides: Sequence[str]) -> None:
    """Refuse values that are no choice of their group. Raises UserError naming the choices."""
    parser = OverridesParser.create()
    for override in overrides:
        try:
            (parsed,) = parser.parse_overrides([override])
        except OverrideParseException:
            continue  # told when it is composed
        group = parsed.key_or_group
        if not group or parsed.is_delete() or parsed.is_sweep_override() or not choices(group):
            continue
        value = parsed.value()
        if (group, value) == ("metrics", []):
            raise UserError("metrics=[]: nothing would be measured; say metrics=[default].")
        if all(isinstance(each, str) for each in (value if isinstance(value, list) else [value])):
            continue
        leave = f" '~{group}' leaves it out." if value is None else ""
        raise UserError(
            f"{override}: {group} is chosen by name.{leave} There are: {listed(choices(group))}."
        )


def translate(error: Exception) -> UserError:
    """Turn a Hydra or OmegaConf error into one sentence with the nearest key or choice."""
    cause = error.__cause__
    if isinstance(cause, UserError):  # of a resolver of ours
        return cause
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, name = str(error.missing_cfg_file).rpartition("/")
        if group == "hydra/launcher" and name in LAUNCHERS:
            package, extra = LAUNCHERS[name]
            told = f"which is not installed: pip install 'lightning-rec[{extra}]'."
            return UserError(f"{group}={name} needs {package}, {told}")
        known = error.options if error.options is not None else choices(group)  # one of a list
        fit = _LISTED * len(known) // max(1, len(", ".join(known)))
        told = f"Unknown choice {group}={name}.{suggest(name, known, limit=fit)}"
        if group in ("data", "experiment"):
            told += " One of your own is found by --config-dir FOLDER."
        return UserError(told)
    if isinstance(cause, OmegaConfBaseException) and cause.full_key:
        return _not_added(cause, str(error)) or unknown_key(cause)
    if isinstance(error, OverrideParseException):
        key, _, text = error.override.partition("=")
        value: Any = text.strip("='")
        if value[:1] == "[" and value[-1:] == "]":
            value = [each.strip(" '\"") for each in value[1:-1].split(",")]
        if not key.isascii() or (key.rpartition(".")[2] in OPEN and not text.isascii()):
            return UserError(
                f"The override {error.override} cannot be read: keys beyond ASCII are set in a "
                "YAML file alone, --config-dir FOLDER."
            )
        return UserError(
            f"The override {error.override} cannot be read: say key=value. A value with braces, "
            "commas, blanks, letters beyond ASCII or the like goes into quotes of its own: "
            f"'{key or 'key'}={as_override(value)}'."
        )
    text = " ".join(str(error).split())
    if isinstance(cause, OmegaConfBaseException):
        text += f" ({' '.join(str(cause).split())})"
    return UserError(text)


def _not_added(error: OmegaConfBaseException, said: str) -> UserError | None:
    """The error that says how a key of the user's own is added."""
    parent = str(error.full_key).rpartition(".")[0]
    override = said.partition("To append to your config use +")[2]
    if parent.rpartition(".")[2] not in OPEN or not override:
        return None
    return UserError(
        f"{parent} has keys of your own, which are added by a plus: say "
        f"{shlex.quote(f'+{override}')}."
    )


def unknown_key(error: OmegaConfBaseException) -> UserError:
    """Say which key is unknown, the nearest one, and those there are."""
    key, node = str(error.full_key), error.parent_node
    keys: Any = OmegaConf.to_container(node, resolve=False) if OmegaConf.is_dict(node) else {}
    siblings = [str(name) for name in keys]
    parent, _, last = key.rpartition(".")
    if last in siblings:
        return UserError(f"{key} cannot be left out: give it another value, {key}=….")
    below = [name for name, value in keys.items() if isinstance(value, dict) and last in value]
    meant = ".".join(filter(None, (parent, *below[:1], last)))
    hint = f" Did you mean '{meant}'?" if below else nearest(last, siblings)
    if parent == "task":  # of another problem, as where the models of a sweep bring it along
        paths = sorted((config_dir() / "task").glob("*.yaml"))
        tasks = [each.stem for each in paths if f"\n  {last}:" in each.read_text("utf-8")]
        hint = f" task={' or '.join(tasks)} has it: say so." if tasks else hint
    where = f"{parent} has" if parent else "At the top there are"
    return UserError(f"Unknown key {key}.{hint} {where}: {listed(siblings, 30)}.")


def compose(overrides: Sequence[str], folders: Sequence[Path] = ()) -> DictConfig:
    """Compose a config, with further config ``folders``. Raises UserError on a bad override."""
    made = _remembered if not folders else _composed
    cfg = made(tuple(overrides), tuple(folders))
    state: Any = HydraConfig.instance()
    state.cfg = cfg  # the name of a run refers to Hydra's choices
    return OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])


def _composed(overrides: tuple[str, ...], folders: tuple[Path, ...]) -> DictConfig:
    """The composed config with Hydra's own settings, which takes a tenth of a second."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir

    check_choices(overrides)
    try:
        with checked(), initialize_config_dir(str(config_dir()), version_base="1.3"):
            paths = ",".join(f"file://{folder.absolute()}" for folder in folders)
            searched = [f"hydra.searchpath=[{paths}]"] if folders else []
            cfg = hydra_compose("train", [*searched, *overrides], return_hydra_config=True)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise translate(error) from None
    OmegaConf.set_readonly(cfg, True)  # it is remembered; who wants to change it has a copy
    return cfg


_remembered = functools.lru_cache(maxsize=1024)(_composed)
