"""Jobs of a sweep, identified by a hash of their settings, so that a sweep can be resumed."""

from pathlib import Path
from typing import Any

from lightning_rec import config
from lightning_rec.data.kept import alone
from lightning_rec.documents import read_json
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


def folder_of(sweep: Path, settings: dict[str, Any], number: int) -> Path:
    """The folder of a job in a sweep: where it lies already, or a new one, ``number`` if free."""
    digest = settings_hash(settings)
    sweep.mkdir(parents=True, exist_ok=True)
    with alone(sweep / "jobs"):
        for folder in sweep.iterdir():
            if folder.is_dir() and _job(folder).get("settings_hash") == digest:
                return folder
        while (folder := sweep / str(number)).exists():
            number += 1
        folder.mkdir()
        job = {"settings_hash": digest, "without_effect": without_effect(settings)}
        write_json(folder / NAME, job)
    return folder


def with_effect(folder: Path, overrides: list[str]) -> list[str]:
    """Those of a job's overrides that say what it is, and have an effect."""
    return effective(overrides, without_effect_in(folder))


def without_effect_in(folder: Path) -> tuple[str, ...]:
    """Keys that change nothing for the job in a folder, as was recorded when it began."""
    return tuple(_job(folder).get("without_effect", ()))


def effective(overrides: list[str], without_effect: tuple[str, ...]) -> list[str]:
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
