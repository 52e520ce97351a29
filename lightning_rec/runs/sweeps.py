"""Jobs of a sweep, identified by a hash of their settings, so that a sweep can be resumed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning_rec import config
from lightning_rec.data.kept import alone
from lightning_rec.documents import read_json
from lightning_rec.errors import UserError
from lightning_rec.files import sha256_json, write_json

# Where a job goes and what is shown of it, not what it is.
APART = ("run_dir", "name", "tracking", "logger", "examples", "hydra")
OF_TRAINING = (
    "seed",
    "optimizer",
    "schedule",
    "callbacks",
    "patience",
    "baseline",
    "batches.batch_size",
    "batches.stride",
)
# Of the trainer: where figures are computed, and of how much of the data. The rest is training.
MEASURING = (
    "accelerator",
    "devices",
    "num_nodes",
    "precision",
    "strategy",
    "limit_val_batches",
    "limit_test_batches",
    "fast_dev_run",
    "overfit_batches",
)
NAME = "job.json"
PLAN = "planned.json"  # of a sweep: the jobs that each of its commands asked for


def without_effect(settings: dict[str, Any]) -> tuple[str, ...]:
    """Keys that change nothing: what is fitted at once, by no chance, is not trained."""
    model = config.target("model", settings["model"])
    trained = bool(settings.get("loss")) or not hasattr(model, "fit")
    trainer = (f"trainer.{key}" for key in settings["trainer"] if key not in MEASURING)
    return () if trained else (*OF_TRAINING, *trainer)


def settings_hash(settings: dict[str, Any]) -> str:
    """SHA-256 of all settings of a job that have an effect: equal ones are one job."""
    ignored = {*APART, *without_effect(settings)}
    kept: dict[str, Any] = {}
    for node, value in settings.items():
        if node in ignored:
            continue
        if isinstance(value, dict):
            value = {key: each for key, each in value.items() if f"{node}.{key}" not in ignored}
        kept[node] = value
    return sha256_json(kept)


def folder_of(
    sweep: Path, settings: dict[str, Any], number: int, overrides: Sequence[str] = ()
) -> Path:
    """The folder of a job in a sweep: where it lies already, or a new one, ``number`` if free.

    ``overrides``: by which it is asked for; noted, since others may come to the same settings.
    """
    digest, asked = settings_hash(settings), effective(overrides, ())
    sweep.mkdir(parents=True, exist_ok=True)
    with alone(sweep / "jobs"):
        for folder in sweep.iterdir():
            if folder.is_dir() and (job := _job(folder)).get("settings_hash") == digest:
                if asked not in (known := job.get("asked", [])):
                    write_json(folder / NAME, job | {"asked": [*known, asked]})
                return folder
        while (folder := sweep / str(number)).exists():
            number += 1
        folder.mkdir()
        job = {"settings_hash": digest, "without_effect": without_effect(settings)}
        write_json(folder / NAME, job | {"asked": [asked]})
    return folder


def plan(sweep: Path, jobs: Sequence[Sequence[str]], command: str) -> None:
    """Record the jobs that belong to a sweep, by their overrides, beside those of other commands.

    ``command``: what goes on with them.
    """
    sweep.mkdir(parents=True, exist_ok=True)
    with alone(sweep / "jobs"):
        others = [each for each in planned(sweep) if each["command"] != command]
        asked = [effective(each, ()) for each in jobs]
        write_json(sweep / PLAN, {"commands": [*others, {"command": command, "jobs": asked}]})


def never_began(sweep: Path) -> dict[str, list[str]]:
    """The planned jobs that have no run, by the command that goes on with them.

    A job is told by those of its overrides that not all jobs of the command have.

    Nothing for a sweep of a version that did not record its jobs. Raises UserError if what is
    recorded cannot be read.
    """
    begun: dict[tuple[str, ...], set[frozenset[str]]] = {}
    for card in sweep.glob("*/run.json"):
        job = _job(card.parent)
        said = [*job.get("asked", []), _overrides(card)]
        ignored = tuple(job.get("without_effect", ()))
        begun.setdefault(ignored, set()).update(
            frozenset(effective(each, ignored)) for each in said
        )
    told = set[frozenset[str]]()
    found: dict[str, list[str]] = {}
    for entry in reversed(planned(sweep)):  # of two commands with the same job, the later one
        jobs = entry["jobs"]
        common = set.intersection(*map(set, jobs)) if len(jobs) > 1 else set[str]()
        for job in jobs:
            known = (frozenset(effective(job, each)) in runs for each, runs in begun.items())
            if frozenset(job) not in told and not any(known):
                told.add(frozenset(job))
                name = " ".join(each for each in job if each not in common)
                found.setdefault(entry["command"], []).append(name)
    return found


def _overrides(card: Path) -> list[str]:
    """Those of a run; none where its card cannot be read, of which the table tells."""
    try:
        return [str(each) for each in read_json(card)["overrides"]]
    except (UserError, ValueError, KeyError, TypeError):
        return []


def planned(sweep: Path) -> list[dict[str, Any]]:
    """The commands of a sweep, each with its ``command`` and the overrides of its ``jobs``.

    Raises UserError if they cannot be read.
    """
    path = sweep / PLAN
    said = read_json(path) if path.is_file() else {"commands": []}
    try:
        return [
            {"command": str(each["command"]), "jobs": [[*map(str, job)] for job in each["jobs"]]}
            for each in said["commands"]
        ]
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{path} is not as a sweep writes it: remove it, and the command of the sweep writes "
            "it again."
        ) from error


def with_effect(folder: Path, overrides: list[str]) -> list[str]:
    """Those of a job's overrides that say what it is, and have an effect."""
    return effective(overrides, without_effect_in(folder))


def without_effect_in(folder: Path) -> tuple[str, ...]:
    """Keys that change nothing for the job in a folder, as was recorded when it began."""
    return tuple(_job(folder).get("without_effect", ()))


def effective(overrides: Sequence[str], without_effect: tuple[str, ...]) -> list[str]:
    """Those of overrides that say what a job is, but for keys that change nothing."""
    ignored = (*APART, *without_effect)
    below = tuple(f"{key}{sign}" for key in ignored for sign in "./")
    keys = ((key_of(override), override) for override in overrides)
    return [each for key, each in keys if key not in ignored and not key.startswith(below)]


def key_of(override: str) -> str:
    """The key that an override sets, adds or takes away."""
    return override.lstrip("+~").partition("=")[0]


def _job(folder: Path) -> dict[str, Any]:
    """What is recorded of the job in a folder; nothing if there is none."""
    path = folder / NAME
    return read_json(path) if path.is_file() else {}
