"""Objects of settings: a node names a class by ``_target_``, and the arguments of its constructor.

Neither Hydra nor OmegaConf is imported here, so that what only answers does not need them.
"""

import contextlib
import inspect
import typing
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any

from lightning_rec import trust
from lightning_rec.errors import UserError, listed, out_of_memory, suggest


def plain(config: Any) -> Any:
    """A config as plain dicts and lists, interpolations resolved, or UserError."""
    if config is None or isinstance(config, dict | list | str | int | float):
        return config
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

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
        if made := _made_of(annotation):
            given = set(value) if isinstance(value, dict) else set()
            literal = (each for each in details if each["type"] == "literal_error")
            whole = [each for each in literal if not given.intersection(each["loc"])]
            if not isinstance(value, dict):
                keys = f"made of keys, {{KEY: VALUE}}, of which there are {listed(made, 20)}"
                kinds = " or ".join([*(each["ctx"]["expected"] for each in whole), keys])
                raise UserError(f"{node}.{key}={value}: it is {kinds}.") from None
            details = [each for each in details if each not in whole]
        inner = details[0]["loc"][:1]
        if isinstance(value, dict) and inner and inner[0] in value:  # one key of many is at fault
            key, value = f"{key}.{inner[0]}", value[inner[0]]
            details = [detail for detail in details if detail["loc"][:1] == inner]
        if details[0]["type"] == "string_type" and (told := misread(f"{node}.{key}", value)):
            raise told from None
        named = ("missing", "unexpected_keyword_argument")  # they are about a key
        reasons = dict.fromkeys(
            f"{each['msg']}: {each['loc'][-1]}" if each["type"] in named else each["msg"]
            for each in details
        )
        raise UserError(f"{node}.{key}={value}: {listed(reasons)}.") from None


def _made_of(annotation: Any) -> list[str]:
    """The keys of the dataclass that an annotation names, perhaps beside others."""
    kinds = (each for each in (annotation, *typing.get_args(annotation)) if isinstance(each, type))
    return [field.name for kind in kinds if is_dataclass(kind) for field in fields(kind)]


def misread(key: str, value: Any) -> UserError | None:
    """What to say of a number or a truth value where a text is needed, such as 1 for the name of a
    folder; None of anything else.
    """
    if not isinstance(value, bool | int | float):
        return None
    said = str(value).lower() if isinstance(value, bool) else value
    quoted = "TEXT" if isinstance(value, float) else said  # 1e5 is no 100000.0
    kind = "true or false" if isinstance(value, bool) else "a number"
    return UserError(
        f"{key}={said} is read as {kind}, and has to be a text: say \"{key}='{quoted}'\", with "
        "both kinds of quotes."
    )


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
