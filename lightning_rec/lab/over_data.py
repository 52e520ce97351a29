"""Settings over several data sets: average ranks, Friedman's test, critical differences."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lightning_rec.documents import read_yaml
from lightning_rec.errors import UserError, listed
from lightning_rec.figures import better, percent
from lightning_rec.lab.comparison import Comparison, compared
from lightning_rec.lab.layout import Table
from lightning_rec.lab.reading import Source, read_by_data
from lightning_rec.lab.statistics import Spread, p_value


@dataclass(frozen=True)
class OverData:
    """What :func:`compare_over_data` found (Demšar, JMLR 2006).

    Args:
        comparisons: of each data set, by its name.
        figures: the figures compared, in order.
        level: of the tests.
    """

    comparisons: dict[str, Comparison]
    figures: tuple[str, ...]
    level: float = 0.95

    @cached_property
    def settings(self) -> list[str]:
        """In the order of the first data set."""
        first = next(iter(self.comparisons.values()))
        return first.runs["setting"].unique(maintain_order=True).to_list()

    @cached_property
    def frame(self) -> pl.DataFrame:
        """``data``, ``setting``, ``figure``, ``seeds``, ``mean``, ``sd``, ``rank``, 1 for the best.

        Equal means share the mean of their ranks.
        """
        from scipy import stats

        kept, order = [], pl.DataFrame({"setting": self.settings})
        for data, made in self.comparisons.items():
            for name in self.figures:
                # Each data set has the settings in an order of its own.
                of = order.join(made.frame.filter(figure=name), "setting", maintain_order="left")
                sign = -1 if _way(made, name) == "max" else 1
                rank = pl.Series("rank", stats.rankdata(sign * of["mean"].to_numpy()))
                columns = ("setting", "figure", "seeds", "mean", "sd")
                kept.append(of.select(pl.lit(data).alias("data"), *columns, rank))
        return pl.concat(kept)

    @cached_property
    def tests(self) -> pl.DataFrame:
        """One line per figure: ``figure``, ``statistic`` and ``p``, ``critical_difference``.

        Friedman's chi-squared of three settings or more, an approximation that wants about ten data
        sets; of two Wilcoxon's signed-rank test. The statistic is null where all means are equal.
        ``critical_difference`` is Nemenyi's: average ranks that differ by more are told apart.
        """
        from scipy import stats

        lines = []
        for name in self.figures:
            ranks, (_, k) = self._ranks(name), self._ranks(name).shape
            if k > 2:
                found = stats.friedmanchisquare(*ranks.T) if np.ptp(ranks) else None
            else:
                means = self.frame.filter(figure=name)["mean"].to_numpy().reshape(-1, 2)
                found = stats.wilcoxon(*means.T) if np.ptp(means, axis=1).any() else None
            statistic, p = (float(found.statistic), float(found.pvalue)) if found else (None, None)
            quantile = float(stats.studentized_range.ppf(self.level, k, np.inf))
            lines.append((name, statistic, p, quantile / 2**0.5 * self._error(k)))
        names = ("statistic", "p", "critical_difference")
        schema = {"figure": pl.String} | dict.fromkeys(names, pl.Float64)
        return pl.DataFrame(lines, schema=schema, orient="row")

    @cached_property
    def nemenyi(self) -> pl.DataFrame:
        """Of each two settings ``figure``, ``one``, ``other``, ``difference`` of ranks, and ``p``.

        Nemenyi's test, which corrects for all pairs of a figure.
        """
        from scipy import stats

        lines = []
        for name in self.figures:
            average, k = self._ranks(name).mean(axis=0), len(self.settings)
            for a, b in combinations(range(k), 2):
                difference = float(average[a] - average[b])
                q = abs(difference) / self._error(k) * 2**0.5
                p = float(stats.studentized_range.sf(q, k, np.inf))
                lines.append((name, self.settings[a], self.settings[b], difference, p))
        text = dict.fromkeys(("figure", "one", "other"), pl.String)
        schema = text | dict.fromkeys(("difference", "p"), pl.Float64)
        return pl.DataFrame(lines, schema=schema, orient="row")

    def average_ranks(self, figure: str) -> dict[str, float]:
        """The mean rank of each setting, the best first."""
        average = map(float, self._ranks(figure).mean(axis=0))
        return dict(sorted(zip(self.settings, average, strict=True), key=lambda each: each[1]))

    def _ranks(self, figure: str) -> NDArray[np.float64]:
        """[data sets, settings]."""
        ranks = self.frame.filter(figure=figure)["rank"].to_numpy()
        return ranks.reshape(len(self.comparisons), len(self.settings))

    def _error(self, k: int) -> float:
        return float((k * (k + 1) / (6 * len(self.comparisons))) ** 0.5)

    def tables(self) -> dict[str, Table]:
        """By figure: mean ± sd of each setting on each data set, and its average rank."""
        found = {}
        for name in self.figures:
            cells = {
                (line["data"], line["setting"]): str(Spread(line["mean"], line["sd"]))
                for line in self.frame.filter(figure=name).iter_rows(named=True)
            }
            rows = [
                [setting, *(cells[data, setting] for data in self.comparisons), f"{rank:.2f}"]
                for setting, rank in self.average_ranks(name).items()
            ]
            found[name] = Table(["setting", *self.comparisons, "average rank"], rows)
        return found

    def verdicts(self) -> list[str]:
        """What the tests say of each figure, in sentences."""
        return [_verdict(self, line) for line in self.tests.iter_rows(named=True)]

    def markdown(self) -> str:
        """The tables with a line of what each is of, and the sentences."""
        parts = [f"{name}:\n\n{table.markdown()}" for name, table in self.tables().items()]
        return "\n\n".join([*parts, "\n".join(f"- {each}" for each in self.verdicts())])

    def latex(self) -> str:
        """The tables, for booktabs."""
        return "\n".join(table.latex(name) for name, table in self.tables().items())

    __str__ = _repr_markdown_ = markdown  # the latter is called by notebooks

    def plot(self, figure: str = "") -> Any:
        """The critical-difference diagram of a figure, by default the first, for Matplotlib.

        Raises UserError without scikit-posthocs (the extra ``compare``).
        """
        from lightning_rec.lab.drawing import diagram

        return diagram(self, figure or self.figures[0])


def compare_over_data(
    *sources: Source, figures: Sequence[str] = (), baseline: str = "", level: float = 0.95
) -> OverData:
    """Compare settings, each of which ran on each of several data sets.

    Args:
        sources: as :func:`~lightning_rec.lab.compare` takes them, of all data sets together. Runs
            of one title may differ in anything from one data set to the next; within one they are
            seeds. Without titles a setting is called after what sets it apart on its data.
        figures: as ``compare`` takes them, of each data set.
        baseline: likewise.
        level: of the intervals and tests.

    Raises UserError for a single data set or setting, a setting that lacks one, or a figure of
    which it is not known whether it should be high or low.
    """
    by_data = read_by_data(*sources)
    if len(by_data) < 2:
        raise UserError(
            f"over=data ranks settings over several data sets, and all runs are of "
            f"{next(iter(by_data))}: leave it out."
        )
    made = {
        data: compared(runs, figures=figures, baseline=baseline, level=level)
        for data, runs in by_data.items()
    }
    first, *others = made.items()
    for data, each in others:
        _check_same(first[0], first[1], data, each)
    if len(set(first[1].frame["setting"])) < 2:
        raise UserError("over=data ranks settings, and there is but one: name two or more.")
    return OverData(made, first[1].figures, level)


def _check_same(data: str, made: Comparison, other: str, of: Comparison) -> None:
    """Raise UserError unless two data sets have the same settings, each with all figures."""
    if made.figures != of.figures:
        raise UserError(
            f"Runs on {data} monitor {listed(made.figures)}, on {other} {listed(of.figures)}: name "
            "the figures to compare, figures=[…]."
        )
    ours, theirs = (set(each.frame.select("setting", "figure").rows()) for each in (made, of))
    if missing := sorted(ours ^ theirs):
        setting, figure = missing[0]
        lacking = other if missing[0] in ours else data
        raise UserError(
            f"'{setting}' has no {figure} on {lacking}. Each setting has to have run on each data "
            "set, under one title: TITLE=RUN, or the same overrides."
        )


def _way(made: Comparison, figure: str) -> str:
    """``max`` or ``min``; a metric of the user's own says it in the config of its run."""
    metrics = None
    if (config := Path(made.runs["run"][0]) / "config.yaml").is_file():
        metrics = read_yaml(config).get("metrics")
    if (way := better(figure, metrics)) is None:
        raise UserError(f"{figure} is neither better high nor low: settings have no rank in it.")
    return way


def _verdict(made: OverData, line: dict[str, Any]) -> str:
    name, number, k = line["figure"], len(made.comparisons), len(made.settings)
    ranks = ", ".join(f"{each} {rank:.2f}" for each, rank in made.average_ranks(name).items())
    told = f"{name}, average ranks over {number} data sets: {ranks}."
    if line["p"] is not None:
        test = f"Friedman's chi-squared {line['statistic']:.2f}" if k > 2 else "Wilcoxon's test"
        told += f" {test}: p {p_value(line['p'])}."
    critical = line["critical_difference"]
    apart = f"differ by more than {critical:.2f} (Nemenyi, {percent(made.level)})"
    if critical >= k - 1:
        more = "no ranks can: it takes more data sets to tell any two settings apart"
        return f"{told} Of {k} settings on {number} data sets, ranks would have to {apart}; {more}."
    pairs = made.nemenyi.filter(pl.col("figure") == name, pl.col("p") < 1 - made.level)
    if not pairs.height:
        return f"{told} No two {apart}."
    better_first = [
        f"{one} before {other}" if difference < 0 else f"{other} before {one}"
        for _, one, other, difference, _ in pairs.rows()
    ]
    return f"{told} Those that {apart}: {listed(better_first, 8)}."
