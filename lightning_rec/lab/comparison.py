"""Settings side by side: each figure's mean, spread and difference from a baseline."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from lightning_rec.errors import UserError, nearest
from lightning_rec.figures import parse, percent
from lightning_rec.lab.columns import Row, difference, figure, lay_out, seeds, values_of
from lightning_rec.lab.examples import UNITS, Values, of_runs
from lightning_rec.lab.layout import Table
from lightning_rec.lab.paired import (
    Paired,
    check_same,
    corrected,
    mean_of,
    of_values,
    tell_of_many,
    verdict,
)
from lightning_rec.lab.reading import Source, check_comparable, read_runs
from lightning_rec.lab.slices import Described, Part, parts_of
from lightning_rec.lab.statistics import p_value, places, signed, spread, welch


@dataclass(frozen=True)
class Comparison:
    """What :func:`compare` found.

    Args:
        runs: one line per run, as :func:`~lightning_rec.lab.read_runs` gives them.
        frame: one line per setting and figure: ``setting``, ``figure``, ``seeds``, ``mean``,
            ``sd``, ``low`` and ``high`` (Student's interval of the mean), and of Welch's test
            against the baseline ``difference``, ``difference_low``, ``difference_high``, ``p``.
        baseline: the setting that the others are compared with.
        figures: the figures compared, in order.
        level: of the intervals.
        parts: slices of the test, of :attr:`sliced`.
    """

    runs: pl.DataFrame
    frame: pl.DataFrame
    baseline: str
    figures: tuple[str, ...]
    level: float = 0.95
    parts: tuple[Part, ...] = ()

    @cached_property
    def _tests(self) -> list[tuple[str, str, Part | None, Paired]]:
        """Every test of a setting against the baseline: of the whole test, and of its slices.

        Those of the whole test are corrected together, and those of slices.
        """
        families = [list[tuple[str, str, Part | None, Paired]]() for _ in range(2)]
        for setting in self.runs["setting"].unique(maintain_order=True):
            for name in self.figures if setting != self.baseline else ():
                ours, theirs = self.values(setting, name), self.values(self.baseline, name)
                if ours is None or theirs is None:
                    continue
                runs = [*self.folders(setting), *self.folders(self.baseline)]
                check_same(runs, [*ours, *theirs])
                for part in (None, *self.parts):
                    pair = [_within(values, part) for values in (ours, theirs)]
                    if (each := of_values(pair[0], pair[1], self.level)) is not None:
                        families[part is not None].append((setting, name, part, each))
        tests = list[tuple[str, str, Part | None, Paired]]()
        for family in families:
            every = [each for *_, each in family]
            tell_of_many(every, self.level)
            of = (line[:3] for line in family)
            tests += [(*one, each) for one, each in zip(of, corrected(every), strict=True)]
        return tests

    @cached_property
    def paired(self) -> pl.DataFrame:
        """Paired tests against the baseline on the examples of the test that run folders keep.

        One line per setting and figure: ``setting``, ``figure``, and the fields of
        :class:`~lightning_rec.lab.Paired`; empty where no examples are kept, as of recorded JSON.
        The corrections are over all lines. Raises UserError if runs differ in their examples.
        """
        kinds = {"setting": pl.String, "figure": pl.String, "units": pl.Int64}
        schema = kinds | {field.name: pl.Float64 for field in fields(Paired)[1:]}
        whole = ((*of, astuple(each)) for *of, part, each in self._tests if part is None)
        rows = [(setting, name, *numbers) for setting, name, numbers in whole]
        return pl.DataFrame(rows, schema=schema, orient="row")

    @cached_property
    def sliced(self) -> pl.DataFrame:
        """The same on each slice that :func:`compare` was asked for.

        ``column``, ``slice``, ``examples``, ``figure``, ``setting``, ``mean``, and the fields of
        :class:`~lightning_rec.lab.Paired`, null of the baseline. Slices of lists overlap.
        """
        tests = {(s, n, (p.column, p.name)): astuple(each) for s, n, p, each in self._tests if p}
        rows, none = list[tuple[Any, ...]](), (None,) * len(fields(Paired))
        for part in self.parts:
            for name in self.figures:
                for setting in self.runs["setting"].unique(maintain_order=True):
                    values = self.values(setting, name)
                    if values and (mean := mean_of(_within(values, part))) is not None:
                        own = (part.column, part.name)
                        of = (*own, int(part.inside.sum()), name, setting, mean)
                        rows.append((*of, *tests.get((setting, name, own), none)))
        text = dict.fromkeys(("column", "slice", "examples", "figure", "setting"), pl.String)
        numbers = dict.fromkeys(("mean", *(field.name for field in fields(Paired))), pl.Float64)
        schema = text | numbers | {"examples": pl.Int64, "units": pl.Int64}
        return pl.DataFrame(rows, schema=schema, orient="row")

    def verdicts(self) -> list[str]:
        """A sentence for each line of :attr:`paired`: whether the difference is more than noise."""
        keys = ["setting", "figure"]
        seeds = self.frame.select(*keys, "difference_low", "difference_high")
        lines = self.paired.join(seeds, keys, "left", maintain_order="left")
        kept = self.values(self.baseline, self.figures[0]) or ()
        units = next((UNITS[each.what] for each in kept), "units")
        told = ((line, self.baseline, self.level, units) for line in lines.iter_rows(named=True))
        return [verdict(*each) for each in told]

    def paired_table(self) -> Table:
        """:attr:`paired` as cells: differences with intervals, p-values, their corrections."""
        header = ["setting", "figure", "units", "difference", f"[{percent(self.level)}]", "p"]
        header += ["Holm", "Benjamini-Hochberg", "Wilcoxon", "effect size", "detectable"]
        rows = [
            [line["setting"], line["figure"], f"{line['units']:,}", *_interval(line),
             *(p_value(line[name]) for name in ("p", "holm", "bh", "wilcoxon")),
             "" if line["effect"] is None else f"{line['effect']:+.3f}",
             f"{line['detectable']:.{places(line['detectable'])}f}"]
            for line in self.paired.iter_rows(named=True)
        ]  # fmt: skip
        return Table(header, rows, text=2)

    def sliced_tables(self) -> dict[str, Table]:
        """:attr:`sliced` as cells, a table for each setting and figure, by what it is of."""
        header = ["slice", "examples", "mean", "baseline", "difference", f"[{percent(self.level)}]"]
        keys, found = ["column", "slice", "figure"], dict[str, Table]()
        base = self.sliced.filter(setting=self.baseline).select(*keys, baseline="mean")
        lines = self.sliced.filter(pl.col("setting") != self.baseline)
        lines = lines.join(base, keys, maintain_order="left")
        for (setting, name), of in lines.group_by("setting", "figure", maintain_order=True):
            rows = [
                [f"{line['column']} {line['slice']}", f"{line['examples']:,}",
                 *(f"{line[each]:.4f}" for each in ("mean", "baseline")),
                 *(_interval(line) if line["p"] is not None else ("", "")),
                 *(p_value(line[each]) for each in ("p", "holm"))]
                for line in of.iter_rows(named=True)
            ]  # fmt: skip
            told = f"{setting} minus {self.baseline} on slices, {name}"
            found[told] = Table([*header, "p", "Holm"], rows)
        return found

    def values(self, setting: str, figure: str) -> list[Values] | None:
        """A figure of each example of the test, of each run of a setting; None if not kept."""
        key = (setting, figure)
        if key not in self._read:
            self._read[key] = of_runs(self.folders(setting), figure)
        return self._read[key]

    @cached_property
    def _read(self) -> dict[tuple[str, str], list[Values] | None]:
        return {}

    def folders(self, setting: str) -> list[Path]:
        """The run folders of a setting; none if one of its runs is JSON alone."""
        paths = [Path(run) for run in self.runs.filter(setting=setting)["run"]]
        return paths if all(path.is_dir() for path in paths) else []

    def table(self) -> Table:
        """One row per setting: seeds, and per figure mean ± sd and difference [interval]."""
        columns, told = [seeds()], f"minus {self.baseline} [{percent(self.level)}]"
        for name in self.figures:
            columns += [figure(name, absent="-"), difference(name, told, level=self.level)]
        return lay_out(["setting"], columns, _rows(self.runs, self.baseline))

    def markdown(self) -> str:
        """:meth:`table` in Markdown."""
        return self.table().markdown()

    def latex(self, caption: str = "", label: str = "") -> str:
        """:meth:`table` in LaTeX, for booktabs."""
        return self.table().latex(caption, label)

    def plot(self) -> Any:
        """Means with their intervals over seeds, a panel for each figure, for Matplotlib.

        Raises UserError without matplotlib (the extra ``plots``).
        """
        from lightning_rec.lab.drawing import means

        return means(self)

    __str__ = _repr_markdown_ = markdown  # the latter is called by notebooks


def compare(
    *sources: Source,
    figures: Sequence[str] = (),
    baseline: str = "",
    level: float = 0.95,
    slices: Sequence[str] = (),
    tables: Sequence[Described] = (),
) -> Comparison:
    """Compare settings over their seeds, on the same data and protocol.

    Args:
        sources: runs, as :func:`~lightning_rec.lab.read_runs` takes them: run folders, sweeps, JSON
            files, or a dict of them by title.
        figures: such as ``test/ndcg@10``; by default that of the test that training monitored.
        baseline: the setting that the others are compared with; by default the first.
        level: of the intervals.
        slices: columns by which the test is cut, as :func:`~lightning_rec.lab.slices.parts_of`
            does: of the test (``history``, ``popularity``, ``seen``), of the catalogue, of tables.
        tables: of users or items, with their raw ids.

    Raises UserError if runs are not comparable, or a figure, the baseline or a column is not known.
    """
    made = compared(read_runs(*sources), figures=figures, baseline=baseline, level=level)
    if not slices:
        return made
    others = made.runs["setting"].unique(maintain_order=True)
    settings = dict.fromkeys([made.baseline, *others])
    folders = [folder for name in settings for folder in made.folders(name)]
    return replace(made, parts=parts_of(folders, slices, tables))


def compared(
    runs: pl.DataFrame, *, figures: Sequence[str], baseline: str, level: float
) -> Comparison:
    """The comparison of runs that were read; see :func:`compare`."""
    check_comparable(runs)
    names = _figures(runs, figures)
    settings = runs["setting"].unique(maintain_order=True).to_list()
    if baseline and baseline not in settings:
        raise UserError(f"No setting is called '{baseline}'.{nearest(baseline, settings)}")
    first = baseline or settings[0]
    lines = []
    for setting in settings:
        for name in names:
            ours, theirs = (values_of(runs.filter(setting=each), name) for each in (setting, first))
            if not ours:
                continue
            found = spread(ours)
            low, high = found.interval(level) or (None, None)
            against: tuple[float | None, ...] = (None,) * 4
            if setting != first and theirs:
                against = astuple(welch(ours, theirs, level))
            lines.append((setting, name, found.runs, found.mean, found.sd, low, high, *against))
    numbers = ("mean", "sd", "low", "high", "difference", "difference_low", "difference_high", "p")
    kinds = {"setting": pl.String, "figure": pl.String, "seeds": pl.Int64}
    schema = kinds | dict.fromkeys(numbers, pl.Float64)
    frame = pl.DataFrame(lines, schema=schema, orient="row")
    return Comparison(runs, frame, first, names, level)


def table(*sources: Source, figures: Sequence[str] = ()) -> Table:
    """Mean ± sd of figures over seeds, a row per setting; it takes what :func:`compare` takes."""
    runs = read_runs(*sources)
    check_comparable(runs)
    columns = [*(figure(name, absent="-") for name in _figures(runs, figures)), seeds()]
    return lay_out(["setting"], columns, _rows(runs))


def _interval(line: dict[str, Any]) -> tuple[str, str]:
    """A difference, and its interval."""
    told = signed(line["difference"], line["low"], line["high"])
    difference, _, interval = told.partition(" ")
    return difference, interval.strip("[]").replace(",", " to")


def _within(values: Sequence[Values], part: Part | None) -> Sequence[Values]:
    return values if part is None else [each.within(part.inside) for each in values]


def _rows(runs: pl.DataFrame, baseline: str = "") -> list[Row]:
    none = runs.clear()
    return [
        Row([setting], of, none if setting == baseline else runs.filter(setting=baseline))
        for (setting,), of in runs.group_by("setting", maintain_order=True)
    ]


def _figures(runs: pl.DataFrame, asked: Sequence[str]) -> tuple[str, ...]:
    """The figures asked for, by default the test's counterpart of what is monitored."""
    known = [name for name in runs.columns if "/" in name]
    if not asked:
        monitored = runs["monitor"].drop_nulls().to_list() if "monitor" in runs.columns else []
        tested = [str(parse(name)._replace(stage="test")) for name in dict.fromkeys(monitored)]
        asked = [name for name in tested if name in known]
    if not asked:
        parts = {name: parse(name) for name in known}
        tested = [n for n, p in parts.items() if p.stage == "test" and not (p.model or p.goal)]
        raise UserError(f"Name the figures to compare, figures=[…]: {', '.join(tested or known)}.")
    for name in asked:
        if name not in known:
            raise UserError(f"No run has the figure {name}.{nearest(name, known)}")
    return tuple(asked)
