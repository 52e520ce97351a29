"""Configuration: where it lies, how it is composed, checked and made into objects.

Importing this module costs little: neither torch nor Lightning is imported here.
"""

import contextlib
import copy
import functools
import inspect
import re
import shlex
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lightning_rec import figures, trust
from lightning_rec.composing import checked
from lightning_rec.errors import UserError, listed, nearest, out_of_memory, suggest
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


def plain(config: Any) -> Any:
    """A config as plain dicts and lists, interpolations resolved, or UserError."""
    if not OmegaConf.is_config(config):
        return config
    try:
        return OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        if isinstance(error.__cause__, UserError):  # of a resolver of ours
            raise error.__cause__ from None
        raise UserError(f"{error.full_key}: {str(error).splitlines()[0]}.") from error


def target(node: str, settings: dict[str, Any]) -> Callable[..., Any]:
    """The class or function that a config node names. Raises UserError if there is none."""
    if "_target_" not in settings:
        raise UserError(f"{node} has no _target_: it must name the class to build.")
    return trust.resolve(node, settings["_target_"])


def expect(node: str, settings: dict[str, Any], *kinds: type) -> None:
    """Raise UserError unless a node names one of ``kinds``, or a function annotated to make one."""
    made: Any = target(node, settings)
    if callable(made) and not isinstance(made, type):
        with contextlib.suppress(NameError, TypeError):  # an annotation that cannot be read
            made = typing.get_type_hints(made).get("return")
        if not isinstance(made, type):
            return
    if not (isinstance(made, type) and issubclass(made, kinds)):
        names = " or ".join(kind.__name__ for kind in kinds)
        raise UserError(
            f"{node}._target_={settings['_target_']} is no {names}, which {node} has to be."
        )


def check(node: str, settings: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a node's constructor, checked; of our own classes, converted as annotated.

    Raises UserError naming the key, what it should be, and the nearest key there is.
    """
    built = target(node, settings)
    given = {key: value for key, value in settings.items() if key != "_target_"}
    try:
        parameters = inspect.signature(built).parameters
    except (TypeError, ValueError):  # no function at all, or one of C
        raise UserError(f"{node}._target_={settings['_target_']} is no class to build.") from None
    for key in given:
        if key not in parameters:
            told = suggest(key, parameters, f"{built.__name__} takes")
            raise UserError(f"Unknown key {node}.{key}.{told}")
    converted = {key: _convert(node, key, value, built) for key, value in given.items()}
    # Other people's annotations are good enough to refuse a value, not to change one.
    return converted if built.__module__.startswith("lightning_rec") else given


def _convert(node: str, key: str, value: Any, built: Callable[..., Any]) -> Any:
    from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError

    source = built.__init__ if inspect.isclass(built) else built
    try:
        annotation = typing.get_type_hints(source, include_extras=True).get(key, Any)
        loose = None if isinstance(annotation, type) else ConfigDict(arbitrary_types_allowed=True)
        return TypeAdapter(annotation, config=loose).validate_python(value)
    except (NameError, PydanticUserError):
        return value  # an annotation that cannot be read
    except ValidationError as error:
        details = error.errors()
        inner = details[0]["loc"][:1]
        if isinstance(value, dict) and inner and inner[0] in value:  # one key of many is at fault
            key, value = f"{key}.{inner[0]}", value[inner[0]]
            details = [detail for detail in details if detail["loc"][:1] == inner]
        named = ("missing", "unexpected_keyword_argument")  # they are about a key
        reasons = dict.fromkeys(
            f"{each['msg']}: {each['loc'][-1]}" if each["type"] in named else each["msg"]
            for each in details
        )
        raise UserError(f"{node}.{key}={value}: {listed(reasons)}.") from None


def build(node: str, config: Any, **live: Any) -> Any:
    """Make the object that a config describes by ``_target_`` and arguments; ``node``: its path.

    ``live``: arguments that only exist at run time; they win over the config's. Raises UserError
    naming the node and what its constructor refused.
    """
    settings = plain(config)
    built = target(node, settings)
    own = {key: value for key, value in settings.items() if key not in live}
    arguments = check(node, own) | live
    try:
        return built(**arguments)
    except UserError:
        raise
    except (TypeError, ValueError, RuntimeError, ImportError) as error:
        if out_of_memory(error):
            raise UserError(
                f"{node}: a part of this size does not fit the memory: {error}"
            ) from error
        name = str(error).partition("=")[0]  # "heads=3 must …" reads "model.heads=3 must …"
        raise UserError(f"{node}{'.' if name in arguments else ': '}{error}") from error
    except Exception as error:
        if type(error).__name__ == "MisconfigurationException":  # Lightning's, not imported here
            raise UserError(f"{node}: {error}") from error
        raise


def as_override(value: Any) -> str:
    """A value as Hydra's grammar of overrides has it, texts in quotes where they need them."""
    if isinstance(value, list | tuple):
        return f"[{','.join(map(as_override, value))}]"
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
        return UserError(f"Unknown choice {group}={name}.{suggest(name, known, limit=fit)}")
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
    cfg = copy.deepcopy(made(tuple(overrides), tuple(folders)))
    HydraConfig.instance().set_config(cfg)  # the name of a run refers to Hydra's choices
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
            return hydra_compose("train", [*searched, *overrides], return_hydra_config=True)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise translate(error) from error


_remembered = functools.lru_cache(maxsize=1024)(_composed)
