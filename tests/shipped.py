"""What the files of `conf/` say of each model: reading them is quick, where composing is not.

Tests that are collected in every process choose their cases by it; tests/test_config.py composes
all models and asserts that the config says the same.
"""

from functools import cache
from typing import Any

from lightning_rec import config
from lightning_rec.documents import read_yaml


@cache
def said(group: str, name: str) -> dict[str, Any]:
    """The content of ``conf/GROUP/NAME.yaml``."""
    read: dict[str, Any] = read_yaml(config.config_dir() / group / f"{name}.yaml")
    return read


def brought(model: str, group: str) -> str | None:
    """The choice of ``GROUP=`` that a model brings along, if any."""
    for each in said("model", model).get("defaults", ()):
        if isinstance(each, dict) and (key := f"override /{group}@_global_.{group}") in each:
            return each[key] and str(each[key])
    return None


def task_of(model: str) -> str:
    """The choice of ``task=`` that a model brings along."""
    return brought(model, "task") or "sequence"


def models_of(task: str) -> list[str]:
    """Names of the models of ``task=``."""
    return [name for name in config.choices("model") if task_of(name) == task]


def class_of(model: str) -> Any:
    """The class of a model."""
    return config.target("model", said("model", model))
