"""The one run that W&B and MLflow have of a sweep, a search or a paper as a whole.

What it is called there stands in ``summary/trackers.json`` of its folder, so that a sweep that goes
on, or has more jobs, brings it up to date.
"""

import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from lightning_rec import config
from lightning_rec.documents import read_json
from lightning_rec.files import write_json
from lightning_rec.runs import loggers, tracking

log = logging.getLogger(__name__)

FOLDER = "summary"
NAME = "trackers.json"
_TOLD = {f"{loggers.__name__}.{each.__name__}" for each in
         (loggers.wandb_logger, loggers.mlflow_logger)}  # fmt: skip


class Summary(NamedTuple):
    """What is told of runs: name, group and tags, tables and PNG files by name, facts, folders."""

    name: str
    group: str
    tags: Sequence[str]
    tables: Mapping[str, pl.DataFrame]
    pictures: Mapping[str, Path]
    facts: Mapping[str, str | int]
    runs: Sequence[Path]


def wanted(nodes: Mapping[str, Any] | None) -> dict[str, Any]:
    """Those of the loggers of a config, by name, that are told of a whole sweep."""
    return {
        name: node for name, node in (nodes or {}).items() if node and node["_target_"] in _TOLD
    }


def tell(folder: Path, nodes: Mapping[str, Any], summary: Summary) -> None:
    """Tell the trackers of ``nodes`` what came of the runs in ``folder``; what fails is logged."""
    place = folder.absolute() / FOLDER  # trackers' own processes may be elsewhere
    for name, node in wanted(nodes).items():
        try:
            _tell(place, name, node, summary)
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            log.warning("logger=%s has no summary of %s. %s", name, folder, reason)


def _tell(place: Path, name: str, node: Mapping[str, Any], summary: Summary) -> None:
    known = read_json(place / NAME) if (place / NAME).is_file() else {}
    settings: dict[str, Any] = {**node, "name": summary.name, "group": summary.group}
    settings["tags"] = [*summary.tags, FOLDER]
    if "job_type" in node:
        settings["job_type"] = FOLDER
        # It is told as a whole each time: what was not sent of it before is out of date.
        shutil.rmtree(place / "wandb", ignore_errors=True)
    else:
        known[name] = _still_there(node, known.get(name))
    place.mkdir(parents=True, exist_ok=True)
    settings["run_id"] = known.get(name)
    build = partial(config.build, f"logger.{name}", settings, save_dir=place)
    try:
        logger = tracking.start(name, build)
        ids = known | tracking.run_ids()
        write_json(place / NAME, {key: each for key, each in ids.items() if each is not None})
        if isinstance(logger, loggers.SectionedWandb):
            _tell_wandb(logger.experiment, summary)
        elif isinstance(logger, loggers.SectionedMLFlow):
            _tell_mlflow(logger.experiment, str(logger.run_id), summary)
    finally:
        tracking.close(failed=False)


def _tell_wandb(run: Any, summary: Summary) -> None:
    import wandb

    tables = {
        name: wandb.Table(columns=[*frame.columns], data=[list(row) for row in frame.rows()])
        for name, frame in summary.tables.items()
    }
    pictures = {name: wandb.Image(str(path)) for name, path in summary.pictures.items()}
    run.log({f"{FOLDER}/{name}": each for name, each in (tables | pictures).items()})
    run.summary.update(dict(summary.facts))


def _still_there(node: Mapping[str, Any], run_id: str | None) -> str | None:
    """The id, unless MLflow knows no such run: its store may be another one by now."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    try:
        uri = loggers.mlflow_uri(node.get("tracking_uri"))
        known = run_id and MlflowClient(uri).get_run(run_id).info.lifecycle_stage == "active"
    except MlflowException:
        known = False
    return run_id if known else None


def _tell_mlflow(client: Any, run_id: str, summary: Summary) -> None:
    from mlflow.exceptions import MlflowException
    from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_ARTIFACTS, MLFLOW_PARENT_RUN_ID

    for name, frame in summary.tables.items():
        # As log_table writes it, which would add to the table that is there, and needs pandas.
        split = {"columns": frame.columns, "data": [list(row) for row in frame.rows()]}
        client.log_text(run_id, json.dumps(split), f"{name}.json")
    tables = [{"path": f"{name}.json", "type": "table"} for name in summary.tables]
    client.set_tag(run_id, MLFLOW_LOGGED_ARTIFACTS, json.dumps(tables))
    for path in summary.pictures.values():
        client.log_artifact(run_id, str(path), "plots")
    for key, value in summary.facts.items():
        client.set_tag(run_id, key, value)
    missing = 0
    for folder in summary.runs:
        child = (read_json(folder / "run.json").get("trackers") or {}).get("mlflow")
        try:
            if child is not None:
                client.set_tag(child, MLFLOW_PARENT_RUN_ID, run_id)
        except MlflowException:  # it was logged to another store
            missing += 1
    if missing:
        log.warning(
            "MLflow knows %d of the runs no longer: they are not below %s.", missing, run_id
        )
