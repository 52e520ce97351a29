"""A row of a published table beside what came out here: verdicts, costs, its line of the table."""

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from lightning_rec.figures import better
from lightning_rec.lab.columns import values_of
from lightning_rec.lab.statistics import amount, spread

if TYPE_CHECKING:
    from lightning_rec.lab.papers import Paper, PaperRow

PASSES = ("within", "better")


@dataclass(frozen=True)
class Result:
    """A row with its recorded ``runs``, a line per seed."""

    paper: "Paper"
    name: str
    runs: pl.DataFrame

    @property
    def row(self) -> "PaperRow":
        """What was published."""
        return self.paper.rows[self.name]

    def verdict(self, figure: str) -> str:
        """``within``, ``better``, ``short`` or ``not comparable``; empty if none is published."""
        published = self.row.published.get(figure)
        if published is None:
            return ""
        if not self.row.comparable:
            return "not comparable"
        ratio = statistics.fmean(self.runs[figure]) / published
        if abs(ratio - 1) <= self.paper.tolerance:
            return "within"
        return "better" if better(figure) == ("max" if ratio > 1 else "min") else "short"

    @property
    def verdicts(self) -> dict[str, str]:
        """Those of all published figures of the table."""
        told = {figure: self.verdict(figure) for figure in self.paper.figures}
        return {figure: verdict for figure, verdict in told.items() if verdict}

    def cells(self) -> list[str]:
        """The line of the table."""
        cells = [self.row.data, self.row.title or self.name]
        for figure in self.paper.figures:
            ours, published = spread(self.runs[figure].to_list()), self.row.published.get(figure)
            if not self.paper.has_published:
                cells.append(str(ours))
                continue
            told, difference = "-", ""
            if published is not None:
                told, difference = f"{published:.4f}", f"{ours.mean - published:+.4f}"
                if interval := ours.interval():
                    low, high = (end - published for end in interval)
                    difference += f" [{low:+.4f}, {high:+.4f}]"
            share = f"within {100 * self.paper.tolerance:g} %"
            verdict = self.verdict(figure).replace("within", share)
            cells += [told, str(ours), difference, verdict or "-"]
        goal = len(self.paper.wanted(self.name))
        seeds = f"{self.runs.height} of {goal}" if self.runs.height < goal else self.runs.height
        return [*cells, str(seeds), self.cost(), " ".join(self.row.deviates.split())]

    def cost(self) -> str:
        """Mean minutes of a seed: of processors, and of a GPU for the runs that had one."""
        on_cpu, on_gpu = self.runs, values_of(self.runs, "gpu_seconds")
        if on_gpu:
            on_cpu = on_cpu.filter(pl.col("gpu_seconds").is_null())
        told = {"CPU": values_of(on_cpu, "cpu_seconds"), "GPU": on_gpu}
        means = {kind: statistics.fmean(each) / 60 for kind, each in told.items() if each}
        return ", ".join(
            f"{minutes:.0f} {kind}" if minutes >= 1 else f"{amount(minutes)} {kind}"
            for kind, minutes in means.items()
        )
