"""A sweep before and while it runs: how many jobs, their time and memory, a line for each."""

import threading
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from lightning_rec.documents import read_json, read_yaml
from lightning_rec.errors import UserError
from lightning_rec.figures import parse
from lightning_rec.runs import provenance, sweeps
from lightning_rec.runs.launchers import Launched
from lightning_rec.screen import Screen

_EVERY = 1.0  # seconds between two looks at jobs in other processes
_ENDED = ("completed", "failed", "interrupted")
_NARROW = 1.25  # times of jobs that differ by less are told as one


class Progress:
    """Looks into the folder of a sweep, whatever launches the jobs.

    Args:
        folder: of the sweep.
        jobs: the overrides of each.
        swept: keys of those that have several values.
        how: the jobs are launched.
    """

    def __init__(
        self, folder: Path, jobs: list[list[str]], swept: Sequence[str], how: Launched
    ) -> None:
        self.folder, self.jobs, self.swept, self.how = folder, jobs, swept, how
        self.since = time.time_ns()
        self._cards: dict[Path, tuple[int, dict[str, Any]]] = {}
        self._of: dict[tuple[str, ...], dict[frozenset[str], list[int]]] = {}
        self._told: set[Path] = set()
        self._warned = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="lightning_rec.progress")
        self._thread.daemon = True

    def begin(self, *, check_memory: bool = True) -> None:
        """Tell what is known before the first job, and look on from now.

        Raises UserError if as many jobs as run at once do not fit into memory.
        """
        runs = self._runs()
        done = self._numbers(runs, ("completed",))
        self._told = {path for path, card in runs.items() if card["status"] == "completed"}
        number = len(self.jobs)
        told = f"{number} {'job' if number == 1 else 'jobs'}"
        told += f", {len(done)} of them done already" if done else ""
        if (at_once := min(self.how.at_once, number - len(done))) > 1:
            told += f", {at_once} at once"
        costs = self._costs(runs)
        if number > len(done):
            told += f"; {costs}" if costs else "; what they cost is not known until one has ended"
        Screen().print(f"Sweep  {told}.", highlight=False, soft_wrap=True)
        if check_memory and (refusal := self._too_large(runs)):
            raise UserError(f"{refusal} Or say check_memory=false.")
        if not self.how.here:
            self._thread.start()

    def look(self) -> None:
        """Print a line for each job that has ended since the last look."""
        runs = self._runs()
        for path, card in sorted(runs.items(), key=lambda each: self._cards[each[0]][0]):
            late = self._cards[path][0] >= self.since
            if path in self._told or not late or card["status"] not in _ENDED:
                continue
            self._told.add(path)
            so_far = {each: runs[each] for each in self._told if each in runs}
            place = f"[{len(self._numbers(so_far, _ENDED))}/{len(self.jobs)}]"
            line = f"{place} {self._described(path, card)}{self._left(runs)}"
            Screen().print(line, highlight=False, soft_wrap=True)
        if not self._warned and self.how.at_once > 1 and (told := self._too_large(runs)):
            self._warned = True
            Screen(stderr=True).print(f"WARNING  {told}", highlight=False, soft_wrap=True)

    @property
    def left(self) -> int:
        """How many jobs have not ended as they should."""
        return len(self.jobs) - len(self._numbers(self._runs(), ("completed", "failed")))

    def end(self) -> None:
        """Look for the last time."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        self.look()

    def _watch(self) -> None:
        while not self._ended.wait(_EVERY):
            self.look()

    def _runs(self) -> dict[Path, dict[str, Any]]:
        """The cards of this sweep's jobs, by folder; of those that are there and can be read."""
        for path in self.folder.glob("*/run.json"):
            folder = path.parent
            try:
                modified = path.stat().st_mtime_ns
                if self._cards.get(folder, (0, {}))[0] != modified:
                    card = read_json(path)
                    known = isinstance(card, dict) and isinstance(card.get("overrides"), list)
                    self._cards[folder] = (modified, card if known else {})
            except (OSError, UserError, ValueError):
                continue  # it is just being begun anew, or is told at the end
        cards = {folder: card for folder, (_, card) in self._cards.items() if card.get("status")}
        return {folder: card for folder, card in cards.items() if self._jobs_of(folder, card)}

    def _jobs_of(self, folder: Path, card: dict[str, Any]) -> list[int]:
        """The numbers of those jobs that are this run: several, if they differ in no effect."""
        ignored = sweeps.without_effect_in(folder)
        if ignored not in self._of:
            self._of[ignored] = {}
            for number, overrides in enumerate(self.jobs):
                key = frozenset(sweeps.effective(overrides, ignored))
                self._of[ignored].setdefault(key, []).append(number)
        return self._of[ignored].get(frozenset(sweeps.effective(card["overrides"], ignored)), [])

    def _numbers(self, runs: dict[Path, dict[str, Any]], status: Sequence[str]) -> set[int]:
        """Numbers of the jobs that came to such an end; but for completed ones, in this sweep."""
        return {
            number
            for path, card in runs.items()
            if card["status"] in status
            and (card["status"] == "completed" or self._cards[path][0] >= self.since)
            for number in self._jobs_of(path, card)
        }

    def _described(self, folder: Path, card: dict[str, Any]) -> str:
        """Setting, figure and time of a job; of one that is not completed, what became of it."""
        keys = {sweeps.key_of(each): each for each in card["overrides"]}
        setting = " ".join(keys[key] for key in self.swept if key in keys) or folder.name
        if card["status"] != "completed":
            error = f": {card['error']}" if card.get("error") else ""
            return f"{setting}  {card['status']}{error}"
        monitor = str(read_yaml(folder / "config.yaml")["monitor"])
        figures = read_json(folder / "metrics.json")
        partial = str(parse(monitor)._replace(partial=True))
        value = figures.get(monitor, figures.get(partial))
        figure = f"  {monitor} {value:.4f}" if value is not None else ""
        return f"{setting}{figure}  {_lasting(_seconds(card))}"

    def _left(self, runs: dict[Path, dict[str, Any]]) -> str:
        """How long the rest takes; nothing where nothing is left."""
        told = self._remaining(runs)
        return f", {told} to go" if told else ""

    def _costs(self, runs: dict[Path, dict[str, Any]]) -> str:
        told = self._remaining(runs)
        parts = [f"{told} to go"] if told else []
        for kind, key in (("memory", "peak_memory_mib"), ("GPU memory", "peak_vram_mib")):
            if peak := _peak(runs, key):
                parts.append(f"{kind} up to {peak / 1024:.1f} GiB a job")
        return ", ".join(parts)

    def _remaining(self, runs: dict[Path, dict[str, Any]]) -> str:
        """The time until the last job ends, if the rest takes what completed ones took.

        It is told for their mean, and for the quickest and the slowest where these differ.
        """
        times = [_seconds(card) for card in runs.values() if _is_whole(card)]
        ended = self._numbers(runs, _ENDED)
        if not times or not (left := set(range(len(self.jobs))) - ended):
            return ""
        begun = dict[int, float]()
        for path, card in runs.items():
            if card["status"] == "running" and self._cards[path][0] >= self.since:
                spent = time.time() - datetime.fromisoformat(card["started"]).timestamp()
                begun |= dict.fromkeys(self._jobs_of(path, card), spent)

        def until_end(each: float) -> float:
            ends = [0.0] * max(1, self.how.at_once)
            rest = sorted(max(0.0, each - begun.get(number, 0.0)) for number in left)
            for duration in reversed(rest):
                ends[ends.index(min(ends))] += duration
            return max(ends)

        mean = until_end(sum(times) / len(times))
        low, high = until_end(min(times)), until_end(max(times))
        if mean < 1:
            return "the rest takes longer than those before, so an unknown time"
        apart = f" ({_lasting(low)} to {_lasting(high)})" if high > _NARROW * low else ""
        return f"about {_lasting(mean)}{apart}"

    def _too_large(self, runs: dict[Path, dict[str, Any]]) -> str:
        """The sentence that refuses jobs which together need more memory than there is."""
        left = len(self.jobs) - len(self._numbers(runs, ("completed",)))
        number = min(self.how.at_once, left)
        if self.how.outlive or not number:  # of a scheduler: each on a machine of its own
            return ""
        there = {"memory": provenance.memory_mib(), "GPU memory": _peak(runs, "vram_mib", least=1)}
        for kind, key in (("memory", "peak_memory_mib"), ("GPU memory", "peak_vram_mib")):
            peak, limit = _peak(runs, key), there[kind]
            if peak and limit and number * peak > limit:
                jobs = f"{number} jobs at once" if number > 1 else "a job"
                fewer = f" Run fewer at once, {self.how.fewer}." if number > 1 else ""
                return (
                    f"{jobs.capitalize()} would need about {number * peak / 1024:.1f} GiB of "
                    f"{kind}, by what those took that have ended ({peak / 1024:.1f} GiB), and "
                    f"there are {limit / 1024:.1f} GiB.{fewer}"
                )
        return ""


def planned(config: DictConfig) -> tuple[list[list[str]], list[str]]:
    """The overrides of each job of a sweep, as Hydra's sweeper makes them, and the swept keys."""
    params = config.hydra.sweeper.get("params") or {}
    asked = [*(f"{key}={value}" for key, value in params.items()), *config.hydra.overrides.task]
    loader = GlobalHydra.instance().config_loader()
    overrides = OverridesParser.create(config_loader=loader).parse_overrides(asked)
    last = {each.key_or_group: each for each in overrides}
    (jobs,) = BasicSweeper.split_arguments(overrides, None)
    return jobs, [key for key, each in last.items() if each.is_sweep_override()]


def _is_whole(card: dict[str, Any]) -> bool:
    """Whether a run was made in one go, so that its time is known."""
    return bool(card["status"] == "completed" and not card.get("earlier"))


def _seconds(card: dict[str, Any]) -> float:
    """Wall time of a run, since it last went on."""
    parts = float(sum(card.get("seconds", {}).values()))
    if not (card.get("started") and card.get("finished")):
        return parts
    begun, ended = (datetime.fromisoformat(card[key]) for key in ("started", "finished"))
    return max(parts, (ended - begun).total_seconds())


def _peak(runs: dict[Path, dict[str, Any]], key: str, *, least: int = 0) -> float:
    """The largest of what completed runs took, or the least of what they had; 0 if unknown."""
    cards = [card for card in runs.values() if card["status"] == "completed"]
    found = [float(known) for card in cards if (known := card.get(key))]
    return (min(found) if least else max(found)) if found else 0.0


def _lasting(seconds: float) -> str:
    if seconds < 99:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5940 else f"{seconds / 3600:.1f} h"
