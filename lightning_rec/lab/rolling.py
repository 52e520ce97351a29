"""What a backtest is of: the targets of models of sequences, or the rows of models of clicks."""

from typing import Any, ClassVar, Protocol

from lightning_rec.data.clicks.splits import times
from lightning_rec.data.clicks.table import prepare_clicks
from lightning_rec.data.fetch import cache_dir
from lightning_rec.data.prepare import prepare
from lightning_rec.data.times import divisor
from lightning_rec.errors import UserError
from lightning_rec.lab.examples import Values
from lightning_rec.lab.gated import of_rows, row_figure
from lightning_rec.lab.later import codes_of, figure_name, values_of
from lightning_rec.models.clicks.parts import FittedToClicks
from lightning_rec.objectives.closed_form import ClosedForm
from lightning_rec.problems.clicks import Clicks
from lightning_rec.problems.sequences import Sequences
from lightning_rec.runs.folder import RunFolder


class Rolling(Protocol):
    """A kind of problem that is tested on a rolling origin.

    protocol: of its runs.  usual: the figure where none is said.  without: overrides of parts of a
    run that a backtest needs not.
    """

    protocol: ClassVar[str]
    usual: ClassVar[str]
    without: ClassVar[tuple[str, ...]]

    def check(self, problem: Any, figure: str) -> None:
        """Raise UserError for a figure that it has not."""

    def goes_on(self, problem: Any) -> bool:
        """Whether the model has weights to go on with."""

    def ends(self, problem: Any) -> tuple[float, float]:
        """The first and the last moment of the log, in seconds. Raises UserError without times."""

    def units(self, problem: Any) -> str:
        """What intervals are over."""

    def ask(self, problem: Any, loaded: Any, run: RunFolder, figure: str) -> Values:
        """The figure of each target of the test of ``loaded``, by a run. Raises UserError if it has
        learnt one of them.
        """


class OfSequences:
    """Targets of sequences, by the lists that a run would show."""

    protocol: ClassVar[str] = "temporal"
    usual: ClassVar[str] = "ndcg@10"
    without: ClassVar[tuple[str, ...]] = ("baseline=null", "examples=0")

    def check(self, problem: Any, figure: str) -> None:
        """See :class:`Rolling`."""
        figure_name(figure)

    def goes_on(self, problem: Any) -> bool:
        """See :class:`Rolling`."""
        return not isinstance(problem.objective, ClosedForm)

    def ends(self, problem: Any) -> tuple[float, float]:
        """See :class:`Rolling`."""
        events = prepare(problem.source, cache_dir()).events
        if "timestamp" not in events.collect_schema().names():
            raise UserError("A backtest needs the time of each event: set data.time=COLUMN.")
        found = events.select("timestamp").collect()["timestamp"]
        return float(found.min()), float(found.max())  # type: ignore[arg-type]

    def units(self, problem: Any) -> str:
        """See :class:`Rolling`."""
        return "users"

    def ask(self, problem: Any, loaded: Any, run: RunFolder, figure: str) -> Values:
        """See :class:`Rolling`."""
        return values_of(run, loaded, codes_of(loaded, run), figure)


class OfClicks:
    """Rows of clicks, by the values that a run knows."""

    protocol: ClassVar[str] = "temporal_rows"
    usual: ClassVar[str] = "auc"
    without: ClassVar[tuple[str, ...]] = ("baseline=null",)

    def check(self, problem: Any, figure: str) -> None:
        """See :class:`Rolling`."""
        row_figure(figure, problem.source.fields)

    def goes_on(self, problem: Any) -> bool:
        """See :class:`Rolling`."""
        return not isinstance(problem.meta_model, FittedToClicks)

    def ends(self, problem: Any) -> tuple[float, float]:
        """See :class:`Rolling`."""
        fields = problem.source.fields
        found = times(prepare_clicks(problem.source, cache_dir()), fields)
        first, last = float(found.min()), float(found.max())
        try:
            unit = divisor(first, last, "auto")
        except ValueError as error:
            raise UserError(
                f"A backtest needs times, but column '{fields.time}' {error}."
            ) from None
        return first / unit, last / unit

    def units(self, problem: Any) -> str:
        """See :class:`Rolling`."""
        return "rows" if problem.source.fields.group is None else "groups"

    def ask(self, problem: Any, loaded: Any, run: RunFolder, figure: str) -> Values:
        """See :class:`Rolling`."""
        return of_rows(run, loaded, problem.source.fields, figure)


KINDS: dict[type[Any], Rolling] = {Sequences: OfSequences(), Clicks: OfClicks()}


def rolling_of(task: Any) -> Rolling:
    """The kind of a problem's class. Raises UserError for one that is tested at one moment."""
    for kind, found in KINDS.items():
        if issubclass(task, kind):
            return found
    raise UserError(f"task={task.name}: a backtest is of models of sequences or of clicks.")
