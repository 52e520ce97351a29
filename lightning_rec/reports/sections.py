"""The sections of a report's page: what each shows, and what its caption says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lightning_rec.figures import better, percent
from lightning_rec.lab import Comparison
from lightning_rec.reports import charts, searches, tables
from lightning_rec.reports.charts import Chart
from lightning_rec.reports.parallel import parallel_chart
from lightning_rec.reports.series import Shown, examples, monitored, settings
from lightning_rec.reports.tables import Cell, PageTable

BETTER = {"max": "higher is better", "min": "lower is better"}
LISTS = {
    "coverage": "coverage: share of the catalogue that is recommended to anybody",
    "novelty": "novelty: mean surprise of what is recommended, in bits; rare items have much",
    "popular": "popular: share of recommendations that are popular items",
    "gini": "gini: 0 if all items are recommended equally often, 1 if one alone is",
    "diversity": "diversity: how unlike the items of one list are",
}


@dataclass(frozen=True)
class Section:
    """A part of the page; what is empty is not shown.

    Args:
        id: within the page's address.
        title: also in its navigation.
        text: paragraphs above all else.
        table: sorted by a click.
        sentences: a list.
        charts: Plotly's figures by what is said above them.
        by_setting: whether there is a legend of the settings.
        cards: of runs.
        examples: users with what each setting recommends.
        note: below all else.
    """

    id: str
    title: str
    text: Sequence[str] = ()
    table: PageTable | None = None
    sentences: Sequence[str] = ()
    charts: Mapping[str, Chart] = field(default_factory=dict)
    by_setting: bool = True
    cards: Sequence[Mapping[str, Any]] = ()
    examples: Sequence[Shown] = ()
    note: str = ""


def _good(figure: str) -> str:
    """A figure with which way is better, in brackets."""
    said = BETTER.get(better(figure) or "")
    return f"{figure} ({said})" if said else figure


def of_runs(made: Comparison) -> list[Section]:
    """The sections of a comparison that it has something for, but for the cards of its runs."""
    parts = (
        _table,
        _curves,
        _costs,
        _parallel,
        _slices,
        _sliced,
        _differences,
        _examples,
        _clicks,
        _lists,
    )
    return [section for part in parts if (section := part(made)) is not None]


def _table(made: Comparison) -> Section:
    good = ", ".join(map(_good, made.figures))
    text = f"Mean ± standard deviation over seeds: {good}. A click on a heading sorts."
    if made.paired.height:
        text += f" Differences from {made.baseline} are over the examples of the test, with "
        text += f"{percent(made.level)} bootstrap intervals (an AUC of clicks: DeLong's), and "
        text += "p-values after Holm's correction for all comparisons in this table."
    elif len(settings(made)) > 1:
        text += f" Differences are from {made.baseline}, over seeds with Welch's intervals."
    return Section("table", "Figures", [text], tables.main_table(made), made.verdicts(),
                   by_setting=False)  # fmt: skip


def _curves(made: Comparison) -> Section | None:
    found = charts.curve_charts(made)
    if not found:
        return None
    text = f"{_good(monitored(made))}, on validation. Thick: the mean over seeds; thin: each seed; "
    text += "dotted: the level of a setting without a curve, such as one that is fitted at once."
    note = "Minutes are those of training, by the mean of each run's epochs."
    return Section("curves", "Curves of validation", [text], charts=found,
                   note=note if "minutes of training" in found else "")  # fmt: skip


def _costs(made: Comparison) -> Section | None:
    figure = made.figures[0]
    found = charts.cost_charts(made, figure)
    text = f"{_good(figure)}; left is cheaper. Ringed and joined: settings that no other one beats "
    text += "in both (the Pareto front). Bars: standard deviation over seeds. CPU minutes are of "
    text += "whole runs, evaluation included. A setting that does not know a cost is left out."
    if not found:
        return None
    return Section("cost", "Figure against cost", [text], tables.costs_table(made), charts=found)


def _parallel(made: Comparison) -> Section | None:
    drawn = parallel_chart(made, made.figures[0])
    text = f"A line for each run, coloured by {_good(made.figures[0])}. Runs of models "
    text += "that do not have all of these settings are left out."
    if drawn is None:
        return None
    title = "Settings that differ in numbers"
    return Section("settings", title, [text], charts={"": drawn}, by_setting=False)


def _slices(made: Comparison) -> Section | None:
    drawn = {name: charts.slice_chart(made, name) for name in made.figures}
    found = {name: each for name, each in drawn.items() if each is not None}
    text = "Parts of the test with how many examples each has, ten or more. Bars: "
    text += f"{percent(made.level)} intervals over the examples of a slice (Wilson's, which is "
    text += "wide for a graded figure; of an AUC Hanley and McNeil's; none for a loss). Settings "
    text += "see the same examples: intervals that overlap may still hide a difference."
    titled = {_good(name): each for name, each in found.items()}
    return Section("slices", "Slices of the test", [text], charts=titled) if found else None


def _sliced(made: Comparison) -> Section | None:
    if not made.sliced.height:
        return None
    columns = ", ".join(dict.fromkeys(each.column for each in made.parts))
    text = f"Differences from {made.baseline} on parts of the test, by {columns}, with how many "
    text += f"examples each has. Bars: {percent(made.level)} bootstrap intervals over their users "
    text += "(of an AUC of clicks: DeLong's). p-values are after Holm's correction for all slices "
    text += "together: a bar that does not cross zero may still be chance."
    return Section("sliced", "Differences by slice", [text], tables.sliced_table(made),
                   charts=charts.sliced_charts(made))  # fmt: skip


def _differences(made: Comparison) -> Section | None:
    means = charts.difference_chart(made)
    if means is None:
        return None
    found = {"Mean difference": means}
    for figure in made.figures:
        if (drawn := charts.user_chart(made, figure)) is not None:
            found[f"Users with a difference in {figure}, sorted"] = drawn
    good = ", ".join(map(_good, made.figures))
    text = f"Each user (query, row) of the test under a setting and under {made.baseline}, over "
    text += f"the mean of their seeds: {good}. Bars: {percent(made.level)} bootstrap intervals "
    text += "over them. Sorted are those that differ: where a line crosses zero, those begin for "
    text += "whom the setting is above the baseline."
    counts = tables.counts_table(made)
    if len(counts.rows) < made.paired.height:
        text += " An AUC of clicks is of no single row, and has but its mean difference."
    return Section("users", "Differences by user", [text], counts if counts.rows else None,
                   charts=found)  # fmt: skip


def _examples(made: Comparison) -> Section | None:
    found = examples(made)
    text = "Users of the test with the latest items of their history, the item that came next, and "
    text += "what the first run of each setting recommends, best first; framed where it is right."
    return Section("examples", "Examples", [text], examples=found) if found else None


def _clicks(made: Comparison) -> Section | None:
    found = charts.reliability_charts(made)
    text = "Observed share of clicks by predicted probability: on the dashed line a prediction "
    text += "means what it says; below it, it promises too much. Seeds are taken together."
    titled = {goal if len(found) > 1 else "": each for goal, each in found.items()}
    return Section("calibration", "Calibration", [text], charts=titled) if found else None


def _lists(made: Comparison) -> Section | None:
    names = tables.list_figures(made, made.figures[0])
    if not names:
        return None
    told = [f"{text}." for key, text in LISTS.items() if any(f"/{key}@" in name for name in names)]
    return Section("lists", "What is recommended", [" ".join(told)],
                   tables.lists_table(made, names), by_setting=False)  # fmt: skip


def of_search(search: searches.Search) -> Section:
    """A search: how it went, what mattered, and every trial."""
    found = {
        "History": searches.history_chart(search),
        "Objectives (large: not beaten in both)": searches.front_chart(search),
        "Parallel coordinates": searches.search_parallel(search),
        "Importances (PED-ANOVA)": searches.importance_chart(search),
    }
    header, rows = searches.trial_table(search)
    good = [
        f"{name}, to {way}" for name, way in zip(search.objectives, search.directions, strict=True)
    ]
    text = f"{searches.told(search)} Judged on validation alone by {', '.join(good)}; the test "
    text += "has no say."
    cells = [[Cell(text, order) for text, order in row] for row in rows]
    return Section(
        f"search-{search.title}", f"Search: {search.title}", [text],
        PageTable(header, cells, text=2),
        charts={name: each for name, each in found.items() if each is not None}, by_setting=False,
    )  # fmt: skip


def of_cards(made: Comparison) -> Section:
    """What it takes to repeat each run."""
    text = "Each run with what it takes to repeat it; the command is copied by its button."
    return Section("runs", "Runs", [text], by_setting=False, cards=tables.cards(made))
