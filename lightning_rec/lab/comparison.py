"""Settings side by side: each figure's mean, spread and difference from a baseline."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from lightning_rec.errors import UserError, nearest
from lightning_rec.figures import parse
from lightning_rec.lab.columns import Row, difference, figure, lay_out, seeds, values_of
from lightning_rec.lab.layout import Table
from lightning_rec.lab.paired import Paired, corrected, paired
from lightning_rec.lab.reading import Source, check_comparable, read_runs
from lightning_rec.lab.statistics import spread, welch


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
    """

    runs: pl.DataFrame
    frame: pl.DataFrame
    baseline: str
    figures: tuple[str, ...]
    level: float = 0.95

    @cached_property
    def paired(self) -> pl.DataFrame:
        """Paired tests against the baseline on the examples of the test that run folders keep.

        One line per setting and figure: ``setting``, ``figure``, and the fields of
        :class:`~lightning_rec.lab.Paired`; empty where no examples are kept, as of recorded JSON.
        The corrections are over all lines. Raises UserError if runs differ in their examples.
        """
        lines, found = list[tuple[str, str]](), list[Paired]()
        for setting in self.runs["setting"].unique(maintain_order=True):
            for name in self.figures if setting != self.baseline else ():
                ours, theirs = (self.folders(each) for each in (setting, self.baseline))
                if ours and theirs and (each := paired(ours, theirs, name, self.level)) is not None:
                    lines.append((setting, name))
                    found.append(each)
        kinds = {"setting": pl.String, "figure": pl.String, "units": pl.Int64}
        schema = kinds | {field.name: pl.Float64 for field in fields(Paired)[1:]}
        rows = [(*line, *astuple(each)) for line, each in zip(lines, corrected(found), strict=True)]
        return pl.DataFrame(rows, schema=schema, orient="row")

    def verdicts(self) -> list[str]:
        """A sentence for each line of :attr:`paired`: whether the difference is more than noise."""
        keys = ["setting", "figure"]
        seeds = self.frame.select(*keys, "difference_low", "difference_high")
        lines = self.paired.join(seeds, keys, "left", maintain_order="left")
        return [_verdict(line, self.baseline, self.level) for line in lines.iter_rows(named=True)]

    def paired_table(self) -> Table:
        """:attr:`paired` as cells: differences with intervals, p-values, their corrections."""
        header = ["setting", "figure", "units", "difference", f"[{self.level:.0%}]", "p", "Holm"]
        header += ["Benjamini-Hochberg", "Wilcoxon", "effect size", "detectable"]
        rows = [
            [line["setting"], line["figure"], f"{line['units']:,}", f"{line['difference']:+.4f}",
             f"{line['low']:+.4f} to {line['high']:+.4f}",
             *(_p(line[name]) for name in ("p", "holm", "bh", "wilcoxon")),
             "" if line["effect"] is None else f"{line['effect']:+.3f}",
             f"{line['detectable']:.4f}"]
            for line in self.paired.iter_rows(named=True)
        ]  # fmt: skip
        return Table(header, rows, text=2)

    def folders(self, setting: str) -> list[Path]:
        """The run folders of a setting; none if one of its runs is JSON alone."""
        paths = [Path(run) for run in self.runs.filter(setting=setting)["run"]]
        return paths if all(path.is_dir() for path in paths) else []

    def table(self) -> Table:
        """One row per setting: seeds, and per figure mean ± sd and difference [95 %]."""
        columns = [seeds()]
        for name in self.figures:
            columns += [figure(name, absent="-"), difference(name, f"minus {self.baseline} [95 %]")]
        return lay_out(["setting"], columns, _rows(self.runs, self.baseline))

    def markdown(self) -> str:
        """:meth:`table` in Markdown."""
        return self.table().markdown()

    def latex(self, caption: str = "", label: str = "") -> str:
        """:meth:`table` in LaTeX, for booktabs."""
        return self.table().latex(caption, label)

    __str__ = _repr_markdown_ = markdown  # the latter is called by notebooks


def compare(
    *sources: Source,
    figures: Sequence[str] = (),
    baseline: str = "",
    level: float = 0.95,
) -> Comparison:
    """Compare settings over their seeds, on the same data and protocol.

    Args:
        sources: runs, as :func:`~lightning_rec.lab.read_runs` takes them: run folders, sweeps, JSON
            files, or a dict of them by title.
        figures: such as ``test/ndcg@10``; by default that of the test that training monitored.
        baseline: the setting that the others are compared with; by default the first.
        level: of the intervals.

    Raises UserError if runs are not comparable, or a figure or the baseline is not known.
    """
    runs = read_runs(*sources)
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


def _verdict(line: dict[str, Any], baseline: str, level: float) -> str:
    """A sentence on a line of :attr:`Comparison.paired`, with Welch's interval over seeds."""
    told = f"{line['setting']} minus {baseline}, {line['figure']}: {line['difference']:+.4f}"
    low, high = line["difference_low"], line["difference_high"]
    if line["holm"] > 1 - level:
        seen = f"this test set would show one of {line['detectable']:.4f} in four tests of five"
        return f"{told}, which may be noise (p {_p(line['holm'])} after Holm); {seen}."
    told += f" [{line['low']:+.4f}, {line['high']:+.4f}], more than chance over "
    told += f"the {line['units']:,} (p {_p(line['holm'])} after Holm)"
    if low is None:
        return f"{told}; for these weights, since one of both has a single seed or no spread."
    if low <= 0 <= high:
        return f"{told}, but not over the seeds [{low:+.4f}, {high:+.4f}]: train more of them."
    return f"{told}, and over the seeds [{low:+.4f}, {high:+.4f}]."


def _p(value: float | None) -> str:
    """A p-value as it is printed."""
    if value is None:
        return ""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


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
