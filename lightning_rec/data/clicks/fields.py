"""What the columns of a table of clicks mean: declared by the user, and as models see it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, PositiveInt

from lightning_rec.data.dates import duration
from lightning_rec.data.names import no_column
from lightning_rec.errors import NotSet, UserError, listed, nearest

Kind = Literal["categorical", "multi_valued", "numeric", "encoded"]
Buckets = PositiveInt | Literal["log_square"]


@dataclass(frozen=True)
class Goal:
    """Something that may come of a row: what a column says, or whether its group comes back.

    Args:
        column: where it stands whether it did, 0 or 1.
        positive_from: where the column is a number such as a rating, the least that counts as 1.
        returns_within: instead of the column, the retention goal: 1 if ``data.fields.group`` has
            another row less than this (``7d``) after the row, and ``returns_after`` or more.
        returns_after: how long after a row another one is no return yet, such as ``30m`` or ``1d``.

    Raises UserError for both or neither, and for times that are none.
    """

    column: str | None = None
    positive_from: float | None = None
    returns_within: str | float | None = None
    returns_after: str | float = "1d"
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    def __post_init__(self) -> None:
        where = "data.fields.goals"
        if (self.column is None) == (self.returns_within is None):
            raise UserError(
                f"{where}: a goal has column=COLUMN, or returns_within=7d for whether somebody "
                "comes back."
            )
        if self.returns_within is None:
            return
        if self.positive_from is not None:
            raise UserError(f"{where}: positive_from= is of a column, not of returns_within=.")
        if "M" in f"{self.returns_within}{self.returns_after}":
            raise UserError(f"{where}: M may be minutes or months: write 30m, or 30d.")
        after, within = self.window
        if after >= within:
            raise UserError(
                f"{where}: returns_after={self.returns_after} must be shorter than "
                f"returns_within={self.returns_within}."
            )

    @property
    def window(self) -> tuple[float, float]:
        """Of a retention goal, from when on, and until when, a row is a return: seconds."""
        after = duration("data.fields.goals: returns_after", self.returns_after)
        return after, duration("data.fields.goals: returns_within", self.returns_within or "")


@dataclass(frozen=True)
class Fields:
    """Which columns are features, of what kind, and what the others are for.

    Args:
        categorical: columns with one of many values.
        multi_valued: columns with any number of values: lists, or text parted by ``separator``.
        numeric: columns of numbers.
        label: column of what is predicted, 0 or 1.
        positive_from: where the label is a number such as a rating, the least that counts as 1.
        goals: instead of the label, several of them by name, for models of several goals at once.
        weight: column of what each row counts for in the loss; None counts each once.
        group: column whose values part the rows for GAUC, mostly the user; None measures no GAUC.
        time: column of times, for a temporal split and for ``past``.
        item: the categorical column whose values a history holds; None where rows have none.
        history: column of past items, oldest first: lists, or text parted by ``separator``.
        past: makes the histories out of the log instead: the rows of the same ``group`` that are
            strictly earlier in ``time``, those with label 1 (``clicks``) or all (``rows``). A row
            sees its own part and those before it: none of training sees a held-out label.
        history_max_len: of a history, the latest so many items are read.
        slices: categorical columns by which the figures of the test are cut: into rows whose
            category training does not know, and those with few and with many training rows.
        min_count: a category seen fewer times in training is unknown.
        min_counts: ``min_count`` of single columns, where it differs.
        hash_size: by column, how many rows its categories share: the hash of a value chooses one,
            and no vocabulary is kept. For columns with more categories than memory has room for.
        buckets: columns among ``numeric`` that are read as categories: their number of equally
            frequent buckets in training, or ``log_square``, the rule of the winners of Criteo's
            challenge (Juan et al., 2014): floor(log(x)²) above 2, else x without its fraction.
        dims: by column, the width of its categories' vectors where it is not ``model.dim``; a
            linear map brings them to it. A narrow one saves memory where there are many.
        missing: where an empty category goes: to a category of its ``own``, if it is seen in
            training, or to the ``unknown`` one, as unseen and rare ones do. An empty list has no
            vector. A missing or infinite number becomes the mean of train; in buckets it is empty.
        scale: what is done to numbers: ``standard`` (mean 0, deviation 1 in training), ``log``
            (sign(x) log(1 + |x|), then standard), or ``none``.
        separator: parts lists in text: one sign for all columns, or by column (``|`` if unnamed).
        max_values: of a row's values in a multi-valued column, the first so many are read.

    Raises UserError if no feature is named, a column has two parts to play, a setting is about none
    of its kind, or a history lacks what it is made of.
    """

    categorical: tuple[str, ...] = ()
    multi_valued: tuple[str, ...] = ()
    numeric: tuple[str, ...] = ()
    label: str | None = None
    positive_from: float | None = None
    goals: Mapping[str, Goal] = field(default_factory=dict)
    weight: str | None = None
    group: str | None = None
    time: str | None = None
    item: str | None = None
    history: str | None = None
    past: Literal["clicks", "rows"] | None = None
    history_max_len: PositiveInt = 50
    slices: tuple[str, ...] = ()
    min_count: PositiveInt = 1
    min_counts: Mapping[str, PositiveInt] = field(default_factory=dict)
    hash_size: Mapping[str, PositiveInt] = field(default_factory=dict)
    buckets: Mapping[str, Buckets] = field(default_factory=dict)
    dims: Mapping[str, PositiveInt] = field(default_factory=dict)
    missing: Literal["own", "unknown"] = "own"
    scale: Literal["standard", "log", "none"] = "standard"
    separator: str | Mapping[str, str] = "|"
    max_values: PositiveInt = 10
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    def __post_init__(self) -> None:
        if self.label is None and not self.goals:
            raise NotSet("data.fields.label is not set: say data.fields.label=COLUMN.")
        if self.label is not None and self.goals:
            raise UserError(
                "data.fields has a label and goals: say data.fields.label=null "
                "data.fields.positive_from=null, or leave out data.fields.goals."
            )
        if odd := [name for name in self.goals if not name.isidentifier()]:
            raise UserError(f"data.fields.goals: a goal cannot be called {listed(odd)}.")
        if not self.features:
            raise UserError(
                "data.fields names no feature: say data.fields.categorical=[COLUMN,…], "
                "data.fields.multi_valued=[…] or data.fields.numeric=[…]."
            )
        self._check_returns()
        labels = self.label_columns  # goals may share one
        used = [*self.features, *labels, *filter(None, (self.weight, self.history))]
        if doubled := sorted({name for name in used if used.count(name) > 1}):
            raise UserError(
                f"data.fields uses the column {listed(doubled)} for two things: a column is one "
                "kind of feature, or the label, or the weight, or the history."
            )
        words, categories = self.categorical + self.multi_valued, self.singles + self.multi_valued
        self._check_settings("buckets", self.numeric, "numeric")
        self._check_settings("hash_size", words, "categorical or multi_valued")
        self._check_settings("dims", categories, "categories")
        counted = [name for name in categories if name not in self.hash_size]
        self._check_settings("min_counts", counted, "categories that are counted")
        sliced = [name for name in counted if name in self.categorical]
        self._check_settings("slices", sliced, "categorical and not hashed")
        self._check_history(sliced)
        if not isinstance(self.separator, str):
            lists = [*self.multi_valued, *filter(None, [self.history])]
            self._check_settings("separator", lists, "multi_valued or the history")

    def _check_returns(self) -> None:
        if not self.returns:
            return
        needed = [
            f"data.fields.{key}=COLUMN" for key in ("group", "time") if not getattr(self, key)
        ]
        name = next(iter(self.returns))
        if needed:
            raise UserError(
                f"data.fields.goals.{name} asks whether a group comes back in time: set "
                f"{' and '.join(needed)}."
            )
        if self.past == "clicks" and next(iter(self.targets)) in self.returns:
            raise UserError(
                f"data.fields.past=clicks makes histories of the rows that reach the first goal, "
                f"'{name}', which is not known at the time: name another goal first, or say "
                "data.fields.past=rows."
            )

    def _check_history(self, columns: Sequence[str]) -> None:
        if self.history and self.past:
            raise UserError(
                f"data.fields.history={self.history} gives histories and data.fields.past="
                f"{self.past} makes them: set one of them to null."
            )
        if (self.item or self.has_history) and self.item not in columns:
            raise UserError(
                f"data.fields.item={self.item or 'null'}: it must be the categorical column whose "
                f"values histories hold, not hashed: one of {listed(columns)}."
            )
        needed = ("group", "time") if self.past else ()
        if missing := [f"data.fields.{key}=COLUMN" for key in needed if not getattr(self, key)]:
            raise UserError(
                f"data.fields.past={self.past} makes histories of the rows of a group by time: set "
                f"{' and '.join(missing)}."
            )

    def _check_settings(self, key: str, columns: Sequence[str], kind: str) -> None:
        for name in getattr(self, key):
            if name not in columns:
                raise UserError(
                    f"data.fields.{key} speaks of '{name}', which is not among the columns that "
                    f"are {kind} ({listed(columns) or 'there are none'}).{nearest(name, columns)}"
                )

    @property
    def has_history(self) -> bool:
        """Whether rows have histories."""
        return self.history is not None or self.past is not None

    @property
    def targets(self) -> Mapping[str, Goal]:
        """What is predicted, by name: the goals, or ``click`` by the label."""
        return self.goals if self.label is None else {"click": Goal(self.label, self.positive_from)}

    @property
    def several(self) -> tuple[str, ...]:
        """The names of goals by which figures are told: none where there is one alone."""
        return tuple(self.goals) if len(self.goals) > 1 else ()

    @property
    def label_columns(self) -> tuple[str, ...]:
        """Columns that labels are read from, each once."""
        read = (goal.column for goal in self.targets.values())
        return tuple(dict.fromkeys(name for name in read if name is not None))

    @property
    def returns(self) -> Mapping[str, Goal]:
        """The goals that ask whether a group comes back."""
        return {name: goal for name, goal in self.goals.items() if goal.returns_within is not None}

    @property
    def features(self) -> tuple[str, ...]:
        """All columns that are features, in the order in which models see them."""
        return self.singles + self.multi_valued + self.scaled

    @property
    def singles(self) -> tuple[str, ...]:
        """Columns of one category each: the categorical ones, then numbers with buckets."""
        return self.categorical + tuple(name for name in self.numeric if name in self.buckets)

    @property
    def scaled(self) -> tuple[str, ...]:
        """Columns of numbers that stay numbers."""
        return tuple(name for name in self.numeric if name not in self.buckets)

    def least(self, name: str) -> int:
        """How often a category of this column must be seen in training to be known."""
        return self.min_counts.get(name, self.min_count)

    def parted_by(self, name: str) -> str:
        """What parts the values of this column where they are lists in text."""
        signs = self.separator
        return signs if isinstance(signs, str) else signs.get(name, "|")

    def roles(self) -> dict[str, str]:
        """Column of each role that is no feature, for the roles that have one."""
        roles = {name: column for name in _ROLES if (column := getattr(self, name)) is not None}
        read = {f"goals.{name}.column": goal.column for name, goal in self.goals.items()}
        return roles | {key: column for key, column in read.items() if column is not None}

    def settings(self) -> dict[str, Any]:
        """All settings that change what the rows are encoded to."""
        return {key: value for key, value in asdict(self).items() if key not in ("dims", "slices")}

    def labels(self) -> dict[str, tuple[Any, ...]]:
        """What makes the labels, by goal: the column, and the least that counts as 1; or the
        columns of group and time, and from when on and until when a row is a return, in seconds.
        """
        return {
            name: (goal.column, goal.positive_from)
            if goal.column is not None
            else (str(self.group), str(self.time), *goal.window)
            for name, goal in self.targets.items()
        }

    def check(self, name: str, columns: list[str]) -> None:
        """Raise UserError if a column that is named is not among ``columns`` of the data."""
        kinds = ("categorical", "multi_valued", "numeric")
        named = [(kind, column) for kind in kinds for column in getattr(self, kind)]
        for key, column in [*named, *self.roles().items()]:
            if column not in columns:
                raise UserError(no_column(name, column, f"data.fields.{key}", columns))


_ROLES = ("label", "weight", "group", "time", "item", "history")
