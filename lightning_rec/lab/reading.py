"""Results of runs as one frame: from run folders, sweeps, and JSON that was recorded of them."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from lightning_rec.documents import leaves, read_json, read_yaml
from lightning_rec.errors import UserError, listed
from lightning_rec.lab.records import HASH, read_record, record, without_folders
from lightning_rec.runs.sweeps import PLAN, key_of, with_effect

log = logging.getLogger(__name__)

Paths = str | Path | Iterable[str | Path]
Source = Paths | Mapping[str, Paths]
SEED_OR_DEVICE = ("seed", "trainer.accelerator")
STUDY = "study.db"  # of a search
HASHES = ("data_hash", "catalogue_hash", "protocol_hash")


def read_runs(*sources: Source) -> pl.DataFrame:
    """Results of runs, one line each, ordered by setting as given, then by seed.

    Args:
        sources: run folders, sweeps (folders of them), JSON files that were recorded of runs or
            folders of those; or such sources by the title that their runs are to have.

    Returns:
        ``run`` (its path), ``setting``, ``seed``, the facts of its card (``data_hash``,
        ``cpu_seconds``, ``cost.epoch_seconds``, …), ``curve`` (a list of ``epoch`` and ``value``),
        and a float64 column for each figure, ``test/ndcg@10``. A setting is the title given, else
        the name under which the run was recorded, else the overrides that set it apart.

    Raises UserError if a source holds no completed run, a setting has a seed twice, or runs under
    one title differ in more than the seed.
    """
    return _framed(_found(sources))


def read_by_data(*sources: Source) -> dict[str, pl.DataFrame]:
    """The same by the name of the data; settings are named, and checked, within each.

    Raises UserError if a run does not know its data.
    """
    by_hash: dict[str, list[dict[str, Any]]] = {}
    for run in _found(sources):
        if not run.get("data_hash"):
            raise UserError(f"{run['run']} does not say which data it is of.")
        by_hash.setdefault(run["data_hash"], []).append(run)
    names = [str(runs[0].get("data")) for runs in by_hash.values()]
    return {
        name if names.count(name) == 1 else f"{name} {digest[:8]}": _framed(runs)
        for name, (digest, runs) in zip(names, by_hash.items(), strict=True)
    }


def _found(sources: Iterable[Source]) -> list[dict[str, Any]]:
    """The runs of some sources, each with its title, which may be None."""
    found: list[dict[str, Any]] = []
    for source in sources:
        titled = source.items() if isinstance(source, Mapping) else [(None, source)]
        for title, of in titled:
            paths = [of] if isinstance(of, str | Path) else list(of)
            found += [{"title": title, **run} for path in paths for run in _runs_of(Path(path))]
    if not found:
        raise UserError("No run is named: name run folders, sweeps or JSON files of runs.")
    return found


def _framed(found: list[dict[str, Any]]) -> pl.DataFrame:
    """Runs whose settings are named and checked, as lines."""
    name_settings(found)
    for run in found:
        run["setting"] = run["title"] or run.get("row") or run["setting"]
    _check_settings(found)
    settings = [*dict.fromkeys(run["setting"] for run in found)]
    found.sort(key=lambda run: (settings.index(run["setting"]), run.get("seed") or 0))
    return frame([_flat(run) for run in found])


def check_comparable(
    runs: pl.DataFrame, what: str = "these runs", hashes: Sequence[str] = HASHES
) -> None:
    """Raise UserError if runs are of other data, another catalogue or another protocol."""
    for name in (name for name in hashes if name in runs.columns):
        if runs[name].n_unique() == 1:
            continue
        kind = name.removesuffix("_hash")
        settings = [
            column
            for column in runs.columns
            if column == kind or column.startswith(f"{kind}.")
            if runs[column].dtype != pl.List and runs[column].n_unique() > 1
        ]
        differing = [f"{each} ({', '.join(map(str, runs[each].unique()))})" for each in settings]
        if not differing:
            differing = _differing_keys(runs["run"].to_list(), kind)
        more = f": they differ in {listed(differing)}" if differing else ""
        some = runs.group_by(name, maintain_order=True).first()["run"][:2]
        raise UserError(
            f"{what} are not all of the same {kind}{more}. {some[0]} and {some[1]} do not compare."
        )


def _differing_keys(runs: Sequence[str], node: str) -> list[str]:
    """The keys below ``node`` of which the configs of run folders have several values."""
    found: dict[str, set[str]] = {}
    for path in (Path(run) / "config.yaml" for run in runs):
        tree = read_yaml(path) if path.is_file() else {}
        for key, value in leaves({node: tree.get(node) or {}}):
            found.setdefault(key, set()).add(str(value))
    return [f"{key} ({listed(sorted(values))})" for key, values in found.items() if len(values) > 1]


def frame(lines: Sequence[dict[str, Any]]) -> pl.DataFrame:
    """A frame of lines; figures are float64, facts of mixed types text, absent ones null."""
    columns: dict[str, list[Any]] = {key: [] for line in lines for key in line}
    for name, values in columns.items():
        values += [line.get(name) for line in lines]
        kinds = {type(value) for value in values if value is not None}
        if not (len(kinds) <= 1 or kinds <= {int, float}):
            columns[name] = [value if value is None else str(value) for value in values]
    made = pl.DataFrame(columns, strict=False)
    return made.with_columns(pl.col(name).cast(pl.Float64) for name in made.columns if "/" in name)


def _runs_of(path: Path) -> list[dict[str, Any]]:
    """The runs at a path; what is not completed in a folder of several is left out, and told."""
    if path.is_file():
        return [_recorded(path)]
    if not path.is_dir():
        raise UserError(f"There is no file or folder {path}.")
    if (path / "run.json").is_file():
        run = _read(path)
        if run["status"] != "completed":
            again = f"go on with it first, lightning-rec train resume={path}"
            raise UserError(f"{path} is {run['status']}, not completed: {again}.")
        return [run]
    if searches := searches_at(path):
        return [
            {"row": folder.resolve().name, **run}
            for folder in searches
            for run in _runs_of(best_of(folder))
        ]
    documents = (
        each for each in sorted(path.glob("*.json")) if each.name not in ("sweep.json", PLAN)
    )
    runs = [_recorded(file) for file in documents]
    cards = sorted(path.glob("*/run.json"), key=job_number)
    for run in (_read(card.parent) for card in cards):
        if run["status"] == "completed":
            runs.append(run)
        else:
            log.warning("%s is %s, and left out.", run["run"], run["status"])
    if not runs:
        below = [str(each.parent) for each in sorted(path.glob("*/*_seed*.json"))[:1]]
        hint = f" There are some in {below[0]}." if below else ""
        raise UserError(f"{path} holds no completed run, and no JSON of one.{hint}")
    return runs


def searches_at(path: Path) -> list[Path]:
    """Folders of ``lightning-rec tune`` at a path: itself, or those right below it."""
    folders = [path, *sorted(path.iterdir())] if path.is_dir() else []
    return [each for each in folders if (each / STUDY).is_file()]


def best_of(search: Path) -> Path:
    """The sweep of a search's best trial over seeds. Raises UserError if there is none yet."""
    if not any((search / "best").glob("*/run.json")):
        raise UserError(
            f"{search} is a search whose best trial was not trained over seeds yet: the same "
            "lightning-rec tune command goes on with it."
        )
    return search / "best"


def job_number(card: Path) -> tuple[int, str]:
    """By what jobs of a sweep are ordered: the number of their folder, then its name."""
    number = card.parent.name.partition("_")[0]
    return (int(number) if number.isdigit() else 0, card.parent.name)


def name_settings(jobs: list[dict[str, Any]]) -> None:
    """Give each job its ``setting``: overrides that not all jobs have, but for the seed.

    It is the model's name where they differ in nothing else. All jobs are looked at, not a part of
    them that is comparable, so that a setting means the same wherever it stands.

    A job has its ``overrides``, those that have an effect (``with_effect``), and a ``model``.
    """
    known = [set(map(without_folders, job["overrides"])) for job in jobs if job["overrides"]]
    common = set.intersection(*known) if known else set()
    for job in jobs:
        effective = map(without_folders, job.get("with_effect", job["overrides"]))
        differing = {each for each in effective if each not in common and key_of(each) != "seed"}
        job["setting"] = " ".join(sorted(differing)) or job.get("model", "as composed")


def _read(folder: Path) -> dict[str, Any]:
    run = record(folder)
    return {"run": str(folder), "with_effect": with_effect(folder, run["overrides"]), **run}


def _recorded(path: Path) -> dict[str, Any]:
    run = read_record(path)
    overrides = with_effect(path.parent, run.get("overrides", []))
    return {"run": str(path), "overrides": [], "with_effect": overrides, **run}


def _check_settings(runs: list[dict[str, Any]]) -> None:
    """Raise UserError unless the runs of each setting differ in the seed, and in it alone."""
    by_seed: dict[Any, dict[str, Any]] = {}
    by_setting: dict[str, dict[str, Any]] = {}

    def effects(run: dict[str, Any]) -> set[str]:
        return {without_folders(_of_what(each)) for each in _but_for_seed(run["with_effect"])}

    for run in runs:
        setting, seed = run["setting"], run.get("seed")
        if (other := by_seed.setdefault((setting, seed), run)) is not run:
            raise UserError(
                f"{other['run']} and {run['run']} are both of '{setting}' with seed {seed}: name a "
                "run once, or give runs that differ in something else a title each."
            )
        first = by_setting.setdefault(setting, run)
        if run["title"] and (differing := effects(first) ^ effects(run)):
            raise UserError(
                f"{first['run']} and {run['run']} are both called '{setting}', but differ in "
                f"{' '.join(sorted(differing))}: give them a title each."
            )


def _but_for_seed(overrides: Sequence[str]) -> list[str]:
    return [each for each in overrides if key_of(each) not in SEED_OR_DEVICE]


def _of_what(override: str) -> str:
    """An override that names a finished run, such as ``SASRec=runs/sasrec_1``, by what that run is:
    pipelines of several seeds are made of runs of several seeds.
    """
    key, _, path = override.partition("=")
    if not (path and Path(path, "run.json").is_file()):
        return override
    own = with_effect(Path(path), read_json(Path(path, "run.json")).get("overrides") or [])
    return f"{key}=({' '.join(sorted(_but_for_seed(own)))})"


def _flat(run: dict[str, Any]) -> dict[str, Any]:
    """A run as one line: figures by their names, nested facts by dotted ones."""
    left_out = ("title", "metrics", "curve", "with_effect", "setting", "run", HASH)
    line: dict[str, Any] = {"run": run["run"], "setting": run["setting"]}
    for key in (key for key in run if key not in left_out):
        line |= _dotted(key, run[key])
    curve = run.get("curve", {}).items()
    line["curve"] = [{"epoch": int(epoch), "value": float(value)} for epoch, value in curve]
    return {**line, **run["metrics"]}


def _dotted(key: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {key: value}
    return {
        name: each
        for part, of in value.items()
        for name, each in _dotted(f"{key}.{part}", of).items()
    }
