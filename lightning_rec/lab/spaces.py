"""Search spaces: ranges of settings, of ``conf/search/NAME.yaml`` or a file of one's own."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError, model_validator

from lightning_rec.documents import read_yaml
from lightning_rec.errors import UserError, listed, nearest
from lightning_rec.trust import config_dir

Value = bool | int | float | str | None


class Range(BaseModel, extra="forbid"):
    """The values of one setting: ``choices``, or numbers from ``low`` to ``high``.

    Args:
        choices: any values.
        low, high: both included; whole numbers where both are.
        log: whether the logarithm is drawn evenly.
        step: between two values; None: any number between.
    """

    choices: tuple[Value, ...] = ()
    low: int | float | None = None
    high: int | float | None = None
    log: bool = False
    step: int | float | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> "Range":
        numbers = self.low is not None and self.high is not None
        if bool(self.choices) == numbers or (self.low is None) != (self.high is None):
            raise ValueError("say choices, or low and high")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError("low has to be below high")
        if self.log and (self.step is not None or self.low is None or self.low <= 0):
            raise ValueError("log takes low above 0, and no step")
        return self

    def suggest(self, trial: Any, key: str) -> Value:
        """Let a trial of Optuna draw it; drawn already, it stays what it is."""
        if self.choices:
            value: Value = trial.suggest_categorical(key, self.choices)
            return value
        assert self.low is not None
        assert self.high is not None
        if self.is_whole:
            step = 1 if self.step is None else int(self.step)
            return int(
                trial.suggest_int(key, int(self.low), int(self.high), step=step, log=self.log)
            )
        return float(trial.suggest_float(key, self.low, self.high, step=self.step, log=self.log))

    @property
    def is_whole(self) -> bool:
        """Whether it is whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def grid(self, key: str) -> list[Value]:
        """Its values, for a search of all. Raises UserError where there is no end of them."""
        if self.choices:
            return list(self.choices)
        if self.low is None or self.high is None or self.log or not (self.step or self.is_whole):
            raise UserError(f"A grid has no end of values of {key}: give it choices or a step.")
        step = self.step if self.step is not None else 1
        number = int((self.high - self.low) / step + 1e-9) + 1
        return [self.low + step * place for place in range(number)]


Space = Mapping[str, Range]


def load_space(name: str) -> Space:
    """The ranges of a model by its name, or of a YAML file. Raises UserError naming a wrong key."""
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        path = config_dir() / "search" / f"{name}.yaml"
    if not path.is_file():
        known = sorted(each.stem for each in (config_dir() / "search").glob("*.yaml"))
        raise UserError(
            f"There is no search space {name}.{nearest(name, known)} Name a YAML file of ranges, "
            f"space=FILE, or one of {listed(known, 30)}."
        )
    said = read_yaml(path)
    if not isinstance(said, dict) or not said:
        raise UserError(f"{path} has to name a setting at least, such as model.dim.")
    space = {}
    for key, value in said.items():
        try:
            space[str(key)] = Range.model_validate(value)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, (key, *first["loc"])))
            told = first["msg"].removeprefix("Value error, ")
            raise UserError(f"{path}: {where}: {told[:1].lower()}{told[1:]}.") from None
    return space


def grid(space: Space) -> list[dict[str, Value]]:
    """All combinations, the last setting changing first."""
    keys: Sequence[str] = list(space)
    values = [space[key].grid(key) for key in keys]
    return [dict(zip(keys, each, strict=True)) for each in itertools.product(*values)]
