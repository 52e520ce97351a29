"""A metric is a function of what its parameters name: ``rank``, ``gain``, ``label``, ``k``, ….

What a problem knows of its examples is its evidence, one class per section of the figures. A
node of ``cfg.metrics`` names a function, or a class whose objects are called; it is measured on the
first section that knows all that it takes.
"""

import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from lightning_rec import building
from lightning_rec.errors import UserError, listed
from lightning_rec.figures import Figure, figure_of

log = logging.getLogger(__name__)

TRIED_AT = 2  # the cut-off of the trial


class Evidence:
    """What metrics of one section are computed from: inputs, by the names of their parameters.

    Attributes:
        inputs: names; what has None under one of them does not have it.
        cut: those that depend on the cut-off.
        rows: one of them that has a row for each example.
        each: whether a metric has to give a value for each example, as it is measured in parts.
    """

    inputs: ClassVar[tuple[str, ...]]
    cut: ClassVar[tuple[str, ...]] = ("k",)
    rows: ClassVar[str]
    each: ClassVar[bool] = False

    @property
    def number(self) -> int:
        """How many examples there are."""
        return len(getattr(self, self.rows))

    def get(self, name: str, k: int) -> Any:
        """An input at a cut-off."""
        return k if name == "k" else getattr(self, name)

    @classmethod
    def sample(cls) -> "Evidence":
        """A few made-up examples, on which a metric is tried before any training."""
        raise NotImplementedError


class Measure(NamedTuple):
    """A metric of a config.

    key: of its node.  figure: what it gives.  function: of ``inputs``, of which some are
    ``needed``.  section: whose evidence it takes.  cut: whether it depends on a cut-off.  own:
    whether it is of the user's own.
    """

    key: str
    figure: Figure
    function: Callable[..., Any]
    inputs: tuple[str, ...]
    needed: tuple[str, ...]
    section: str
    cut: bool
    own: bool

    def names(self, cutoffs: Sequence[int]) -> list[str]:
        """Of its figures, without the stage."""
        full = self.figure.full
        return [f"{full}@{k}" for k in cutoffs] if self.cut else [full]

    def __call__(self, evidence: Evidence, cutoffs: Sequence[int]) -> dict[str, Tensor]:
        """Its values by the names of its figures, float64 [number of examples] or scalars.

        Nothing where the evidence lacks an input. One of the user's own that has no finite value is
        told of: it is left out of what the run keeps.

        Raises UserError where it fails, or gives something else.
        """
        found = self.values(evidence, cutoffs)
        for name, values in found.items() if self.own else ():
            if len(values.reshape(-1)) and not values.isfinite().any():
                value, number = values.reshape(-1)[0].item(), evidence.number
                log.warning(
                    "metrics.%s: %s is %s for all %s examples.", self.key, name, value, number
                )
        return found

    def values(self, evidence: Evidence, cutoffs: Sequence[int]) -> dict[str, Tensor]:
        """The same, without a word on what is not finite."""
        found = {}
        for name, k in zip(self.names(cutoffs), cutoffs if self.cut else (0,), strict=True):
            every = {each: evidence.get(each, k) for each in self.inputs}
            given = {each: value for each, value in every.items() if value is not None}
            if set(self.needed) - set(given):
                return {}
            found[name] = self._checked(self._value(given), evidence)
        return found

    def _value(self, given: Mapping[str, Any]) -> Any:
        try:
            return self.function(**given)
        except Exception as error:
            if not self.own:
                raise
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise UserError(f"metrics.{self.key} fails. {reason}") from error

    def _checked(self, value: Any, evidence: Evidence) -> Tensor:
        if isinstance(value, int | float):
            value = torch.tensor(value)
        if not isinstance(value, Tensor):
            told = f"a {type(value).__name__}"
        elif value.shape in ((evidence.number,), *(() if evidence.each else ((),))):
            return value.double()
        else:
            told = f"a tensor of shape {list(value.shape)}"
        one = "" if evidence.each else ", or one number for all of them"
        raise UserError(
            f"metrics.{self.key} gives {told}: it has to give a tensor with a number for each of "
            f"the {evidence.number} examples{one}."
        )


def measures(
    nodes: Mapping[str, Any], sections: Mapping[str, type[Evidence]]
) -> tuple[Measure, ...]:
    """The metrics of a config, each tried on a few made-up examples.

    ``nodes``: of ``cfg.metrics``, by key; None under a key leaves one out. ``sections``: what the
    problem knows of its examples. Raises UserError naming a node that does not fit, or fails.
    """
    made = [_measure(key, node, sections) for key, node in nodes.items() if node]
    names = [name for each in made for name in each.names((TRIED_AT,))]
    for each in made:
        if any(names.count(name) > 1 for name in each.names((TRIED_AT,))):
            raise UserError(
                f"metrics.{each.key}: another metric is called {each.figure.name} as well: give it "
                f"another name, metrics.{each.key}.figure.name=…."
            )
    return tuple(made)


def _measure(key: str, node: Any, sections: Mapping[str, type[Evidence]]) -> Measure:
    where, settings = f"metrics.{key}", dict(building.plain(node))
    figure = figure_of(key, settings.pop("figure", None))
    function, own = _function(where, settings)
    every = inspect.signature(function).parameters.values()
    parameters = [
        each
        for each in every
        if each.name not in settings and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
    ]
    needed = tuple(each.name for each in parameters if each.default is each.empty)
    for section, evidence in sections.items():
        if figure.section in ("", section) and set(needed) <= set(evidence.inputs):
            inputs = tuple(each.name for each in parameters if each.name in evidence.inputs)
            cut = bool(set(inputs) & set(evidence.cut))
            figure = replace(figure, section=section)
            made = Measure(key, figure, function, inputs, needed, section, cut, own)
            if own:
                _try(made, evidence.sample())
            return made
    known = "; ".join(
        f"{listed(evidence.inputs, 30)} ({section})" for section, evidence in sections.items()
    )
    of = f" and figure.section={figure.section}" if figure.section else ""
    raise UserError(
        f"{where} takes {listed(needed) or 'nothing'}{of}, which does not fit here. A metric takes "
        f"some of {known}."
    )


def _try(measure: Measure, sample: Evidence) -> None:
    for values in measure.values(sample, (TRIED_AT,)).values():
        if not values.isfinite().any():
            raise UserError(
                f"metrics.{measure.key} gives {values.flatten()[0].item()} on each of "
                f"{sample.number} made-up examples: a division by zero?"
            )


def _function(where: str, settings: dict[str, Any]) -> tuple[Callable[..., Any], bool]:
    """What a node names, its own arguments filled in; and whether it is of the user's own."""
    found = building.target(where, settings)
    own = not str(found.__module__).startswith("lightning_rec.")
    if not isinstance(found, type):
        return partial(found, **building.check(where, settings)), own
    made = building.build(where, settings)
    if not callable(made):
        raise UserError(f"{where}._target_={settings['_target_']} cannot be called.")
    settings.clear()  # they were the constructor's
    return made, own


def names_of(
    measured: Sequence[Measure], cutoffs: Sequence[int], without: Sequence[str] = ()
) -> list[str]:
    """Names of the figures that every data set has, ``without`` those of some sections."""
    told = [m for m in measured if m.section not in without and "features" not in m.inputs]
    return [name for each in told for name in each.names(cutoffs)]


def means(values: Mapping[str, Tensor], inside: Tensor | None = None) -> dict[str, Tensor]:
    """Means over the examples, or those ``inside``, for which a metric is defined.

    float64 scalars; NaN where it is for none.
    """
    found = {}
    for name, each in values.items():
        some = each if inside is None else each[inside]
        found[name] = some[~some.isnan()].mean() if some.ndim else some
    return found
