"""``logger=`` of verbs that train several runs: the CSV that curves are read of, and others."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig

from lightning_rec.config import compose, plain

LONGEST = 64  # characters of a tag of W&B


class Tracked(NamedTuple):
    """What trackers are told that a run belongs to."""

    group: str
    name: str
    tags: Sequence[str]

    def mark(self, cfg: DictConfig, overrides: Sequence[str]) -> None:
        """Put it into a config; a group or a name that an override says stays."""
        said = {each.partition("=")[0] for each in overrides}
        for key in ("group", "name"):
            if f"tracking.{key}" not in said:
                cfg.tracking[key] = getattr(self, key)
        tags = [*plain(cfg.tracking.tags), *self.tags]
        cfg.tracking.tags = list(dict.fromkeys(tag[:LONGEST] for tag in tags))


def with_csv(said: str) -> str:
    """The override for ``logger=SAID``, with the CSV."""
    names = [each.strip() for each in said.strip("[]'\" ").split(",")]
    others = [each for each in names if each not in ("", "csv", "none")]
    return f"logger=[{','.join(['csv', *others])}]" if others else "logger=csv"


def loggers(overrides: Sequence[str], folders: Sequence[Path] = ()) -> dict[str, Any]:
    """The loggers of a config that are told of all runs together."""
    from lightning_rec.runs.summaries import wanted

    return wanted(plain(compose(overrides, folders).get("logger")))
