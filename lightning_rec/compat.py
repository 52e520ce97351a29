"""Which parts of a config go together: one check of what each part declares.

A part declares its ``kind`` and, in ``needs``, what it asks of the others; a problem declares in
``takes`` the kinds of parts that it is made of. From these facts follow the check and the sentence
of a refusal, with the choices that would do.
"""

from collections.abc import Mapping
from operator import attrgetter
from typing import Any

from omegaconf import OmegaConf

from lightning_rec import config, trust
from lightning_rec.errors import UserError, listed
from lightning_rec.needs import ABSENT, PRESENT, Need

PLURAL = {"loss": "losses"}
DATA = {"clicks": "clicks, row by row", "pairs": "pairs of a query and an item"}
SPLIT = {"interactions": "histories of users", "clicks": "rows of clicks", "pairs": "queries"}


def _phrases(node: str, kind: str) -> tuple[str, str]:
    """What a part of a kind is or does, after its name; and all such parts."""
    if node == "data":
        what = DATA.get(kind, kind)
        return f"holds {what}", f"data that holds {what}"
    if node == "protocol":
        what = SPLIT.get(kind, kind)
        return f"splits {what}", f"protocols that split {what}"
    what = kind.replace("_", " ")
    return f"is {_a(node)} of {what}", f"{PLURAL.get(node, node + 's')} of {what}"


def choices(node: str, kinds: tuple[str, ...], trait: str = PRESENT) -> list[str]:
    """The shipped choices of a group whose class is of one of ``kinds`` and has a trait."""
    found = []
    for name in config.choices(node):
        target = _class_of(node, name)
        fits = not kinds or getattr(target, "kind", None) in kinds
        if target is not None and fits and (trait == PRESENT or getattr(target, trait, False)):
            found.append(name)
    return found


def _class_of(node: str, name: str) -> Any:
    """The class of a shipped choice; None for those in folders of the user's own."""
    path = config.config_dir() / node / f"{name}.yaml"
    if not path.is_file():
        return None
    settings: Any = OmegaConf.load(path)
    if "_target_" in settings:
        return trust.resolve(node, settings["_target_"])
    return _class_of(node, next(each for each in settings["defaults"] if each != "_self_"))


def check_kinds(
    task: str, takes: Mapping[str, tuple[str, ...]], required: tuple[str, ...], cfg: Any
) -> None:
    """Raise UserError, with the choices that would do, where a node of a composed config is of no
    kind that the problem ``takes``, or one that is ``required`` is missing.
    """
    for node in ("model", "data", "protocol", "objective", "loss", "item", "negatives"):
        settings = config.plain(cfg.get(node))
        if not settings:
            if node in required:
                raise UserError(
                    f"task={task} needs {_a(node)}: {node}={'|'.join(choices(node, takes[node]))}."
                )
            continue
        if node not in takes:
            raise UserError(f"task={task} takes no {node}: drop {node}=, or say '~{node}'.")
        _check_kind(task, node, settings, takes[node])


def _check_kind(task: str, node: str, settings: dict[str, Any], kinds: tuple[str, ...]) -> None:
    found = config.target(node, settings)
    kind = getattr(found, "kind", None)
    if kind in kinds:
        return
    name = getattr(found, "__name__", str(found))
    named = node == "data" and settings.get("name")
    part = f"data={named}" if named else f"{node}: {name}"
    _, every = _phrases(node, kinds[0])
    if kind is None:
        raise UserError(
            f"{part} declares no kind: say kind: ClassVar[str] = '{kinds[0]}' in the class, if it "
            f"is one of {every}, which task={task} takes."
        )
    also = ""
    if node == "data":
        learning = {"interactions": "sequences", "pairs": "matching"}.get(kind, kind)
        also = f", or a model for such data: model={listed(choices('model', (learning,)), 3)}"
    elif node == "model":
        also = f", or drop task={task}: each model brings its task along"
    raise UserError(
        f"{part} {_phrases(node, kind)[0]}, but task={task} takes {every}: say "
        f"{node}={listed(choices(node, kinds), 16)}{also}."
    )


def check_needs(
    parts: Mapping[str, Any], remedies: Mapping[str | tuple[str, ...], str] | None = None
) -> None:
    """Raise UserError, with what to change, where a part lacks what it needs of the others.

    ``parts``: by node, built or a class; None for what is not there. ``remedies``: by trait, where
    the problem knows better than what follows from the facts.
    """
    for node, part in parts.items():
        for need in getattr(part, "needs", ()):
            if not any(_meets(parts.get(other), need.trait) for other in need.node.split("|")):
                known = (remedies or {}).get(need.trait, need.remedy)
                raise _refusal(node, part, need._replace(remedy=known), parts)


def check_presence(model: Any, cfg: Any) -> None:
    """Check what a class of models needs to be there, or not, before anything is built."""
    needs = getattr(model, "needs", ())
    if not isinstance(needs, tuple):  # known of a model that is built
        return
    for need in needs:
        settings = config.plain(cfg.get(need.node)) or {}
        if need.trait == ABSENT and settings.get("_target_"):
            raise _refusal("model", model, need, {})


def _meets(part: Any, trait: str | tuple[str, ...]) -> bool:
    if trait == ABSENT:
        return part is None
    if part is None or trait == PRESENT:
        return part is not None
    if isinstance(trait, tuple):
        return getattr(part, "family", part.name) in trait
    try:
        return bool(attrgetter(trait)(part))
    except AttributeError:
        return False


def _refusal(node: str, part: Any, need: Need, parts: Mapping[str, Any]) -> UserError:
    name = part.__name__ if isinstance(part, type) else type(part).__name__
    other = parts.get(need.node)
    has = getattr(other, "name", None) if need.trait not in (PRESENT, ABSENT) else None
    having = f" ({need.node}={has})" if has else ""
    if need.remedy:
        remedy = need.remedy
    elif need.trait == ABSENT:
        remedy = f"drop {need.node}=, or say '~{need.node}'"
    elif isinstance(need.trait, tuple):
        remedy = f"say {need.node}={' or '.join(need.trait)}"
    else:
        kind = getattr(other or part, "kind", None)
        fitting = choices(need.node, (kind,) if kind else (), need.trait)
        remedy = f"say {need.node}={listed(fitting, 16)}, or choose another {node}"
    return UserError(f"{node}: {name} {need.why}{having}: {remedy}.")


def _a(node: str) -> str:
    return f"{'an' if node[0] in 'aeiou' else 'a'} {node}"
