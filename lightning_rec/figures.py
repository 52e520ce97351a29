"""Figures by declaration: what each is called and which way is better; names are composed here.

A whole name is ``MODEL/STAGE/GOAL/SLICE/FIGURE@K_SAMPLE_partial``, of which most have but stage,
figure and cut-off: ``test/ndcg@10``. Nothing else takes a name apart. Neither torch nor a metric
is imported here: a declaration stands in the config of its metric.
"""

import re
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, Literal, NamedTuple

from lightning_rec.documents import read_yaml
from lightning_rec.errors import UserError, suggest
from lightning_rec.trust import config_dir

Better = Literal["max", "min"] | None
STAGES = ("train", "val", "test")
EXAMPLES = "examples"  # of a slice: how many it has
_LAST = re.compile(r"(.+?)(?:@(\d+))?(?:_(sampled\d+_[a-z]+))?(_partial)?")
_OWN = re.compile(r"(?!.*_sampled\d)(?!.*_partial$)[A-Za-z]\w*")


class Section(NamedTuple):
    """A part of the figures: what its table says of it, and what stands before its names."""

    title: str = ""
    prefix: str = ""


SECTIONS = {
    "ranking": Section("Full ranking"),
    "lists": Section(),
    "top": Section(),
    "rows": Section(
        "Each row on its own; f1 to accuracy at the threshold that is best on validation"
    ),
    "groups": Section(),
    "judged": Section("judged: those of a query alone", "judged/"),
    "pairs": Section("pairs: each on its own", "pairs/"),
    "words": Section("Hidden words, each of them behind the mask"),
}
# What a model of clicks gains over its baseline, which no metric measures.
_RELATIVE = {"rela_impr": {"figure": {"better": "max", "section": "rows", "shown": "run"}}}
_PREFIXES = tuple(section.prefix for section in SECTIONS.values() if section.prefix)


@dataclass(frozen=True)
class Figure:
    """A number that runs report, as the node ``figure`` of a metric's config declares it.

    Args:
        name: what it is called, without stage, cut-off and the like: ``ndcg``.
        better: ``max`` or ``min``; None for a fact, which says nothing of how good a model is.
        title: what tables call it; its name if empty.
        section: what it is measured of, a key of :data:`SECTIONS`; the first that fits if empty.
        shown: ``summary``: in tables of sweeps and of runs; ``run``: in those of runs; ``brief``:
            in those at the monitored cut-off alone.
        slices: whether it is measured on slices of the examples too.

    Raises:
        ValueError: on any other value, and on a name that could be misread within a whole one.
    """

    name: str
    better: Better
    title: str = ""
    section: str = ""
    shown: Literal["summary", "run", "brief"] = "summary"
    slices: bool = False

    def __post_init__(self) -> None:
        for name, (allowed, words) in {
            "name": (bool(_OWN.fullmatch(str(self.name))), "letters, digits and underscores"),
            "better": (self.better in ("max", "min", None), "max, min or null"),
            "section": (self.section in ("", *SECTIONS), ", ".join(SECTIONS)),
            "shown": (self.shown in ("summary", "run", "brief"), "summary, run or brief"),
            "slices": (isinstance(self.slices, bool), "true or false"),
        }.items():
            if not allowed:
                raise ValueError(f"{name}={getattr(self, name)}: it has to be {words}.")

    @property
    def full(self) -> str:
        """The name behind the prefix of its section: ``judged/ndcg``."""
        return f"{SECTIONS[self.section].prefix if self.section else ''}{self.name}"


class Name(NamedTuple):
    """The parts of a figure's whole name.

    figure: with the prefix of its section, ``judged/ndcg``.  stage: ``val``, ``test`` or
    ``train``.  goal: of several goals.  slice: of the examples.  k: cut-off.  sampled: the
    candidates, if they are a sample.  partial: whether it is of a part of the data.  model: whose
    it is, where that is a baseline.
    """

    figure: str
    stage: str = ""
    goal: str = ""
    slice: str = ""
    k: int | None = None
    sampled: str = ""
    partial: bool = False
    model: str = ""

    def __str__(self) -> str:
        figure = self.figure.replace("/", "_") if self.slice else self.figure
        cutoff = "" if self.k is None else f"@{self.k}"
        sampled = f"_{self.sampled}" if self.sampled else ""
        path = (self.model, self.stage, self.goal, self.slice)
        start = "".join(f"{part}/" for part in path if part)
        return f"{start}{figure}{cutoff}{sampled}{'_partial' * self.partial}"


def sample(number: int, by: str) -> str:
    """What is put after the names of figures on sampled candidates: ``_sampled100_popular``."""
    return f"_sampled{number}_{by}"


def parse(name: str, sliced: Container[str] = ()) -> Name:
    """The parts of a whole name; ``sliced``: what stands before the last slash of slices."""
    *path, last = name.split("/")
    match = _LAST.fullmatch(last)
    if match is None:
        return Name(name)
    figure, k, sampled, partial = match.groups()
    index = next((i for i, part in enumerate(path[:2]) if part in STAGES), -1)  # of the stage
    rest, below = path[index + 1 :], ""
    if path and "/".join(path) in sliced:
        below = rest.pop()
        for prefix in _PREFIXES:
            figure = re.sub(f"^{prefix[:-1]}_", prefix, figure)
    elif rest and f"{rest[-1]}/" in _PREFIXES:
        figure = f"{rest.pop()}/{figure}"
    return Name(
        figure,
        stage=path[index] if index >= 0 else "",
        goal="/".join(rest),
        slice=below,
        k=int(k) if k else None,
        sampled=sampled or "",
        partial=bool(partial),
        model=path[0] if index == 1 else "",
    )


def parsed(names: Iterable[str]) -> dict[str, Name]:
    """The parts of each name of a run; a slice is known by the number of its examples."""
    names = list(names)
    counts = [name for name in names if parse(name).figure == EXAMPLES]
    sliced = {name.rpartition("/")[0] for name in counts}
    return {name: parse(name, sliced) for name in names}


def declared(
    metrics: Mapping[str, Any] | None = None, names: Iterable[Name] = ()
) -> dict[str, Figure]:
    """The figures of metrics by name with prefix, in order; after them those of all shipped ones.

    ``metrics`` are the nodes of a config, by key. Where there is none, as of a run that is older
    than they are, it is what a problem measures by default: the one that most ``names`` are of.
    """
    if metrics is None:
        met = {name.figure for name in names}
        metrics = max(_defaults(), key=lambda nodes: len(met & set(_figures(nodes))))
    own, others = _figures(metrics), _all_shipped()
    return own | {name: figure for name, figure in others.items() if name not in own}


@cache
def _all_shipped() -> dict[str, Figure]:
    return _figures(*map(shipped, families()), _RELATIVE)


def _figures(*groups: Mapping[str, Any]) -> dict[str, Figure]:
    found: dict[str, Figure] = {}
    for nodes in groups:
        for key, node in nodes.items():
            if node:
                figure = figure_of(key, node.get("figure"))
                found.setdefault(figure.full, figure)
    return found


def figure_of(key: str, said: Any) -> Figure:
    """The figure that the node ``metrics.KEY.figure`` declares. Raises UserError if it cannot."""
    where, known = f"metrics.{key}.figure", [each.name for each in fields(Figure)]
    if not isinstance(said, Mapping) or "better" not in said:
        raise UserError(
            f"{where}.better is missing: say max or min, whichever is good, or null for a fact "
            "that says nothing of how good a model is."
        )
    if unknown := [name for name in said if name not in known]:
        told = suggest(unknown[0], known, "It has")
        raise UserError(f"Unknown key {where}.{unknown[0]}.{told}")
    try:
        return Figure(**{"name": key, **{name: said[name] for name in said}})
    except ValueError as error:
        raise UserError(f"{where}.{error}") from None


def titled(name: Name, known: Mapping[str, Figure]) -> str:
    """A figure's whole name with its title."""
    figure = known.get(name.figure)
    title = figure.title if figure is not None else ""
    return str(name._replace(figure=title) if title else name)


def better(name: str, metrics: Mapping[str, Any] | None = None) -> Better:
    """Whether a figure is good when it is high (``max``) or low (``min``); None if not known."""
    figure = declared(metrics).get(parse(name).figure)
    return figure.better if figure is not None else None


def families() -> list[str]:
    """The shipped metrics by the files that declare them, ``conf/metrics/FAMILY.yaml``."""
    return sorted(path.stem for path in (config_dir() / "metrics").glob("*.yaml"))


@cache
def _defaults() -> list[dict[str, Any]]:
    """What each problem measures by default, ``conf/metrics/of/PROBLEM.yaml``."""
    found = []
    for path in sorted((config_dir() / "metrics/of").glob("*.yaml"), reverse=True):
        names = [str(each).split("/")[2].partition("@")[0] for each in read_yaml(path)["defaults"]]
        found.append({key: node for name in names for key, node in shipped(name).items()})
    return found


@cache
def shipped(family: str) -> dict[str, dict[str, Any]]:
    """The nodes of a family, by key."""
    nodes: dict[str, Any] = read_yaml(config_dir() / "metrics" / f"{family}.yaml")
    return {key: node for key, node in nodes.items() if isinstance(node, dict)}


def percent(level: float) -> str:
    """The level of an interval as it is printed: ``95%``, ``99.9%``."""
    return f"{100 * level:g}%"
