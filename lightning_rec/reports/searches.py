"""What a report says of a search, the ``study.db`` that ``lightning-rec tune`` keeps."""

import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lightning_rec.documents import read_json, read_yaml
from lightning_rec.errors import UserError, import_extra
from lightning_rec.lab.reading import STUDY
from lightning_rec.lab.statistics import amount
from lightning_rec.reports.charts import COLOURS, Chart, chart, safe
from lightning_rec.reports.parallel import axis, choices, parallel


@dataclass(frozen=True)
class Search:
    """A search: its ``folder``, ``objectives`` and their ``directions``, and Optuna's trials."""

    title: str
    folder: Path
    objectives: list[str]
    directions: list[str]
    study: Any

    @cached_property
    def trials(self) -> list[Any]:
        """All, in order."""
        return list(self.study.trials)

    @cached_property
    def done(self) -> list[Any]:
        """Those that ended with values, in order."""
        return [each for each in self.trials if each.state.name == "COMPLETE"]


def read_search(folder: Path, title: str) -> Search:
    """Open a study. Raises UserError without Optuna, or if it cannot be read."""
    optuna = import_extra("optuna", f"{folder / STUDY}", "tune")
    from sqlalchemy.exc import SQLAlchemyError  # comes with Optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = f"sqlite:///{(folder / STUDY).absolute()}"
    try:
        study = optuna.load_study(study_name="study", storage=storage)
        directions = [each.name.lower() for each in study.directions]
        said = study.user_attrs.get("objectives") or []
        study.get_trials()
    except (SQLAlchemyError, KeyError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{folder / STUDY} cannot be read as a search: {reason}.") from error
    if len(said) != len(directions):
        said = [_monitor(folder)] if len(directions) == 1 else []
        said = said or [f"objective {n}" for n, _ in enumerate(directions, 1)]
    return Search(title, folder, list(map(str, said)), directions, study)


def best_runs(folder: Path) -> Path | None:
    """The sweep that trained the best trial over seeds, if one of its runs is completed."""
    for card in (folder / "best").glob("*/run.json"):
        if read_json(card).get("status") == "completed":
            return folder / "best"
    return None


def _monitor(folder: Path) -> str:
    """What trials are judged by; the study does not say."""
    for config in sorted(folder.glob("trials/*/config.yaml")):
        return str(read_yaml(config)["monitor"])
    return "objective"


def told(search: Search) -> str:
    """How many trials there were, what they cost, and which one was best."""
    states = [each.state.name for each in search.trials]
    counts = [f"{len(states)} trials", *(f"{states.count(state)} {state.lower()}" for state in
              ("PRUNED", "FAIL", "RUNNING") if state in states)]  # fmt: skip
    minutes = sum(each.user_attrs.get("cpu_seconds", 0) for each in search.trials) / 60
    sentence = f"{', '.join(counts)}, {amount(minutes)} CPU minutes."
    if search.done and len(search.objectives) == 1:
        best = search.study.best_trial
        values = ", ".join(f"{key}={_shown(value)}" for key, value in best.params.items())
        sentence += (
            f" Best: trial {best.number}, {search.objectives[0]} {best.value:.4f}: {values}."
        )
    return sentence


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def trial_table(search: Search) -> tuple[list[str], list[list[tuple[str, Any]]]]:
    """Headings, and a row per trial; a cell is its text and what it is sorted by."""
    keys = sorted({key for each in search.trials for key in each.params})
    headings = ["trial", "state", *search.objectives, *keys, "CPU minutes"]
    rows = []
    for each in search.trials:
        values = list(each.values or []) + [None] * len(search.objectives)
        seconds = each.user_attrs.get("cpu_seconds")
        cells: list[tuple[str, Any]] = [
            (str(each.number), each.number),
            (each.state.name.lower(),) * 2,
        ]
        cells += [_cell(value, ".4f") for value in values[: len(search.objectives)]]
        cells += [_cell(each.params.get(key), ".4g") for key in keys]
        rows.append([*cells, ("" if seconds is None else amount(seconds / 60), seconds)])
    return headings, rows


def _cell(value: Any, form: str) -> tuple[str, Any]:
    if value is None:
        return "", None
    return (format(value, form) if isinstance(value, float) else str(value)), value


def history_chart(search: Search) -> Chart | None:
    """The first objective by trial, and the best so far."""
    if not search.done:
        return None
    numbers = [each.number for each in search.done]
    values = [each.values[0] for each in search.done]
    better = max if search.directions[0] == "maximize" else min
    best = [better(values[: end + 1]) for end in range(len(values))]
    points: Chart = {
        "type": "scatter",
        "mode": "markers",
        "x": numbers,
        "y": values,
        "name": "trial",
    }
    line: Chart = {
        "type": "scatter",
        "mode": "lines",
        "x": numbers,
        "y": best,
        "name": "best so far",
    }
    points |= {"marker": {"size": 8, "color": COLOURS[0]}, "hoverinfo": "x+y"}
    line |= {"line": {"shape": "hv", "width": 2, "color": COLOURS[1]}, "hoverinfo": "skip"}
    return chart([line, points], "trial", safe(search.objectives[0]))


def front_chart(search: Search) -> Chart | None:
    """Two objectives against each other, with the trials that no other one beats."""
    if len(search.objectives) != 2 or not search.done:
        return None
    front = {each.number for each in search.study.best_trials}
    data = []
    for on_front, name in ((False, "beaten"), (True, "not beaten")):
        of = [each for each in search.done if (each.number in front) == on_front]
        data.append(
            {"type": "scatter", "mode": "markers", "name": name,
             "x": [each.values[1] for each in of], "y": [each.values[0] for each in of],
             "text": [f"trial {each.number}" for each in of],
             "marker": {"size": 11 if on_front else 7, "color": COLOURS[on_front]}}
        )  # fmt: skip
    return chart(data, safe(search.objectives[1]), safe(search.objectives[0]))


def search_parallel(search: Search) -> Chart | None:
    """Parallel coordinates of the trials that ended with values; None for less than two."""
    done = search.done
    keys = sorted(set.intersection(*(set(each.params) for each in done))) if done else []
    if len(done) < 2 or not keys:
        return None
    axes = []
    for key in keys:
        values, of = [each.params[key] for each in done], done[0].distributions[key]
        numeric = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
        log = getattr(of, "log", None)
        axes.append(axis(key, values, log=log) if numeric else choices(key, values))
    return parallel([*axes, axis(search.objectives[0], [e.values[0] for e in done], log=False)])


def importance_chart(search: Search) -> Chart | None:
    """Which settings moved the first objective (PED-ANOVA); None where it cannot be told."""
    import_extra("optuna", "importances", "tune")
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is experimental
            found = get_param_importances(
                search.study,
                evaluator=PedAnovaImportanceEvaluator(),
                target=lambda trial: trial.values[0],
            )
    except (ValueError, RuntimeError):  # too few trials, or none that differ
        return None
    if len(found) < 2:
        return None
    names, shares = list(found)[::-1], list(found.values())[::-1]
    bars: Chart = {"type": "bar", "orientation": "h", "x": shares, "hoverinfo": "x"}
    bars |= {
        "y": [safe(name.removeprefix("model.")) for name in names],
        "marker": {"color": COLOURS[0]},
    }
    x, y = {"tickformat": ".0%", "rangemode": "tozero"}, {"showgrid": False}
    return chart([bars], "share of the importance", xaxis=x, yaxis=y, height=90 + 30 * len(found))
