"""What a config may build. Decided by name, before anything is imported; docs/security.md says why.

The list is short: what the shipped configs name, and Lightning's and torch's own parts below. A
config that somebody composes himself may also name his own modules; one that comes from a run
folder only those that he trusts on the command line.
"""

import importlib.util
import pkgutil
import re
import site
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from lightning_rec import __version__
from lightning_rec.errors import UserError, listed

_OPTIMIZERS = (
    "ASGD Adadelta Adafactor Adagrad Adam AdamW Adamax LBFGS Muon NAdam RAdam RMSprop Rprop "
    "SGD SparseAdam"
)
_SCHEDULES = (
    "ConstantLR CosineAnnealingLR CosineAnnealingWarmRestarts CyclicLR ExponentialLR LinearLR "
    "MultiStepLR OneCycleLR PolynomialLR StepLR"
)
_CALLBACKS = (
    "DeviceStatsMonitor EarlyStopping GradientAccumulationScheduler LearningRateMonitor "
    "ModelCheckpoint ModelSummary RichModelSummary RichProgressBar StochasticWeightAveraging "
    "Timer TQDMProgressBar"
)
LISTED: dict[str, frozenset[str]] = {  # besides what conf/ names; group of the config -> names
    "optimizer": frozenset(f"torch.optim.{name}" for name in _OPTIMIZERS.split()),
    "schedule": frozenset(f"torch.optim.lr_scheduler.{name}" for name in _SCHEDULES.split()),
    "callbacks": frozenset(f"pytorch_lightning.callbacks.{name}" for name in _CALLBACKS.split()),
    "item": frozenset(f"lightning_rec.items.base.{name}" for name in ("SumOf", "OwnIds")),
    "trainer": frozenset({"pytorch_lightning.Trainer"}),
    # What 'lightning-rec ensemble' and 'pipeline' compose, which no group of conf/ offers.
    "model": frozenset(
        f"lightning_rec.models.{name}"
        for name in (
            "ensembles.SequenceEnsemble",
            "ensembles.ClickEnsemble",
            "pipelines.Pipeline",
            "text.pipeline.TextPipeline",
        )
    ),
    "task": frozenset(
        f"lightning_rec.problems.{name}"
        for name in (
            "ensembles.EnsembledSequences",
            "ensembles.EnsembledClicks",
            "pipelines.PipelinedSequences",
            "match_pipelines.PipelinedMatching",
        )
    ),
}
# Nodes that are called otherwise than the group that they are of.
_ALIASES = {
    "baseline": "model",
    "by": "model",
    "first": "model",
    "of": "data",
    "under": "protocol",
}
_MAPPINGS = ("callbacks", "logger", "metrics")  # groups that take lists of choices
_NAME = re.compile(r"(?!.*\b__)[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
_TARGET = re.compile(r"^[ \t]*_target_:[ \t]*([\w.]+)", re.MULTILINE)
_OURS = "lightning_rec"

_trusted: set[str] = set()  # named by --trust
_used: set[str] = set()  # a user's own modules that a config of his has named


def config_dir() -> Path:
    """The folder of shipped configs: inside the package when installed, beside it in a clone."""
    package = Path(__file__).parent
    inside, beside = package / "conf", package.parent / "conf"
    return inside if inside.is_dir() else beside


def trust(names: str) -> None:
    """Trust modules, by name with commas between. Raises UserError if one cannot be."""
    for name in filter(None, map(str.strip, names.split(","))):
        top = name.partition(".")[0]
        if not all(part.isidentifier() for part in name.split(".")):
            raise UserError(f"--trust {name}: that is no name of a Python module.")
        if top in sys.stdlib_module_names or top.startswith("__"):
            raise UserError(
                f"--trust {name}: {top} is a part of Python, which any code could be run with. "
                "Name a module of your own."
            )
        if _spec(top) is None:
            raise UserError(f"--trust {name}: there is no module {top} that Python could import.")
        _trusted.add(name)


@contextmanager
def trusting(names: str | Iterable[str]) -> Iterator[None]:
    """Trust modules, one or several, as :func:`trust` does, until the block ends."""
    before = set(_trusted)
    try:
        trust(names if isinstance(names, str) else ",".join(names))
        yield
    finally:
        _trusted.intersection_update(before)


def forget() -> None:
    """Trust nothing that ``--trust`` named any longer."""
    _trusted.clear()


def begin() -> None:
    """A config is composed anew: which modules of the user it names is not known yet."""
    _used.clear()


def named(*, used: bool = False) -> str:
    """The modules that ``--trust`` named, as it takes them; or also those of his own ``used``."""
    return ",".join(sorted(_trusted | _used if used else _trusted))


def check_saved(where: object, tree: Any) -> None:
    """Raises UserError naming the first ``_target_`` that is neither listed nor trusted."""
    for node, name in targets(tree):
        group = _group(node)
        known = set() if group is None else _shipped()[group] | LISTED.get(group, frozenset())
        if group == "model":
            known |= _shipped()["task"]  # a task brings its baseline along
        if isinstance(name, str) and (name in known or _is_trusted(name)):
            continue
        is_name = isinstance(name, str) and _NAME.fullmatch(name)
        top = str(name).partition(".")[0]
        hint = ""
        if is_name and top != _OURS and top not in sys.stdlib_module_names:
            hint = f" If you know its code and trust it, say --trust {top}"
            hint += f", or in Python load_run(…, trust={top!r}), evaluate likewise."
        raise UserError(
            f"{where}: {node}._target_={name} is nothing that a config found in a folder may "
            f"build, so nothing was run.{hint}"
        )


def targets(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Each ``_target_`` anywhere in plain dicts and lists: the node's path, and what it says."""
    if isinstance(tree, dict):
        if "_target_" in tree:
            yield path or "the config", tree["_target_"]
        for key, value in tree.items():
            yield from targets(value, f"{path}.{key}" if path else str(key))
    elif isinstance(tree, list):
        for index, value in enumerate(tree):
            yield from targets(value, f"{path}.{index}")


def resolve(node: str, name: Any) -> Callable[..., Any]:
    """The class or function of a ``_target_``. Raises UserError if a config may not build it."""
    check(node, name)
    try:
        found: Callable[..., Any] = pkgutil.resolve_name(name)
    except Exception as error:  # whatever a module of the user raises while it is imported
        moved = ""
        if str(name).startswith(f"{_OURS}."):
            moved = (
                f" A config of another version may name what is elsewhere in this one, "
                f"{__version__}: train the run anew, or use the commit that its run.json names."
            )
        raise UserError(f"{node}._target_={name} cannot be loaded: {error}.{moved}") from error
    if name in _known():
        return found
    home = f"{getattr(found, '__module__', '')}.{getattr(found, '__qualname__', '')}"
    ours = home.startswith(f"{_OURS}.")
    if not callable(found) or not _NAME.fullmatch(home) or (home != name and ours):
        raise UserError(f"{node}._target_={name} is no class or function of that module.")
    if ours and not isinstance(found, type):
        raise UserError(f"{node}._target_={name} is no class, and no config of ours names it.")
    check(node, home)  # not os.system, which a module of his own happens to import
    if not ours:
        _used.add(name.partition(".")[0])
    return found


def check(node: str, name: Any) -> None:
    """Check a name of a config that the user composes; nothing is imported.

    Raises UserError where it is neither on the list, nor of a module of his own or trusted.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise UserError(
            f"{node}._target_={name} is no name of a class: it reads package.module.Class."
        )
    top = name.partition(".")[0]
    if name in _known() or top == _OURS or _is_trusted(name):
        return
    if top in sys.stdlib_module_names:
        raise UserError(
            f"{node}._target_={name} is a part of Python, and no config builds it: name a class "
            "of lightning_rec or of a module of your own."
        )
    spec = _spec(top)
    if spec is None:
        raise UserError(f"{node}._target_={name} cannot be loaded: there is no module {top}.")
    if _is_installed(spec):
        group = _group(node)
        offered = sorted(LISTED.get(group, ())) if group else ()
        raise UserError(
            f"{node}._target_={name} is of an installed package, {top}, of which a config builds "
            f"{listed(offered) or 'nothing here'}. If you trust its code, say --trust {top}."
        )


def _group(node: str) -> str | None:
    """The group of the config that a node is of: ``callbacks.best`` is of the callbacks."""
    first, *_ = node.split(".")
    if first in _MAPPINGS:  # what is below it is called as the user likes
        return first
    parts = [_ALIASES.get(part, part) for part in reversed(node.split("."))]
    return next((part for part in parts if part in _shipped()), None)


@cache
def _shipped() -> dict[str, frozenset[str]]:
    """What the shipped configs name, by group: a part that has no config cannot be asked for."""
    return {
        folder.name: frozenset(
            name
            for path in folder.glob("*.yaml")
            for name in _TARGET.findall(path.read_text(encoding="utf-8"))
        )
        for folder in config_dir().iterdir()
        if folder.is_dir()
    }


@cache
def _known() -> frozenset[str]:
    spine = _TARGET.findall((config_dir() / "train.yaml").read_text(encoding="utf-8"))
    return frozenset(spine).union(*_shipped().values(), *LISTED.values())


def _is_trusted(name: str) -> bool:
    return bool(_NAME.fullmatch(name)) and any(
        name == each or name.startswith(f"{each}.") for each in _trusted
    )


def _spec(top: str) -> Any:
    """Where Python would find a module; a name without a dot imports nothing."""
    try:
        return importlib.util.find_spec(top)
    except (ImportError, ValueError):  # __spec__ of a module that was made by hand
        return None


def _is_installed(spec: Any) -> bool:
    """Whether a module was installed or belongs to Python, and is no file of the user's own."""
    places = [spec.origin, *(spec.submodule_search_locations or [])]
    folders = [Path(each).resolve() for each in places if each and Path(each).exists()]
    if not folders:
        return True  # built in, frozen, or out of an importer of somebody's
    return any(
        folder.is_relative_to(root) or {"site-packages", "dist-packages"} & set(folder.parts)
        for folder in folders
        for root in _roots()
    )


@cache
def _roots() -> list[Path]:
    paths = sysconfig.get_paths()
    found = [paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    return [Path(path).resolve() for path in (*found, site.getusersitepackages())]
