"""The tables of ``benchmarks/README.md`` from the results: speed, quality over time, profile.

``table.py RESULTS PAGE [--check]`` writes between the marks ``NAME:start`` and ``NAME:end``, where
NAME is ``speed``, ``quality`` (both of ``run.py``) or ``profile`` (of ``profile_ours.py``).
"""

import json
import math
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

from benchmarks.harness.pages import fill, headed, measured, median, row

TITLES = {
    "ours": "lightning_rec",
    "ours-bare": "the same without Lightning",
    "ours-plain": "`task.arithmetic=plain`",
    "ours-whole": "batches as one block",
    "ours-attention-kept": "`model.attention_dropout=0`",
    "ours-bf16": "`trainer.precision=bf16-mixed`",
    "replay": "RePlay 0.22.0",
    "replay-nn": "RePlay 0.22.0, `replay.nn`",
    "replay-nn-buckets": "RePlay 0.22.0, `replay.nn`, buckets",
    "rectools": "RecTools 0.19.0",
    "recbole": "RecBole 1.2.1",
    "recbole-no-anomaly": "RecBole 1.2.1, anomaly mode off",
}
RESULTS = Path(__file__).parent / "results"
PEERS = [name for name in TITLES if not name.startswith("ours")]
HEADER = (
    "", "sequences/s", "targets/s", "of the best peer", "evaluation, users/s", "of the best peer",
    "start to first step, s", "preparing, s", "peak memory, MiB", "repeats",
)  # fmt: skip


GOALS = (0.16, 0.17)  # validation ndcg@10 that is waited for

Results = dict[str, dict[str, list[dict[str, Any]]]]


def load(folder: Path, measure: str) -> Results:
    """The results of a measurement by model and library."""
    found: Results = defaultdict(lambda: defaultdict(list))
    for path in sorted(folder.glob(f"*-{measure}-*.json")):
        if path.name.startswith("failures"):
            continue
        result = json.loads(path.read_text())
        name = path.name.partition(f"-{result['model']}-")[0]
        found[result["model"]][name].append(result)
    return found


def section(model: str, results: dict[str, list[dict[str, Any]]]) -> list[str]:
    """The rows of one model."""
    targets = {name: median(of, "targets_per_second_median") for name, of in results.items()}
    users = {name: median(of, "evaluation", "users_per_second") for name, of in results.items()}
    best_targets = max((targets[name] for name in PEERS if name in targets), default=None)
    best_users = max((users[name] for name in PEERS if name in users), default=None)
    lines = []
    for name in TITLES:
        if name not in results:
            continue
        of = results[name]
        cells = [
            TITLES[name],
            f"{median(of, 'rows_per_second_median'):,.0f}",
            f"{targets[name]:,.0f}",
            f"{targets[name] / best_targets:.2f}" if best_targets else "",
            f"{users[name]:,.0f}",
            f"{users[name] / best_users:.2f}" if best_users else "",
            f"{median(of, 'first_step_seconds'):.1f}",
            f"{median(of, 'prepare_seconds'):.1f}",
            f"{median(of, 'peak_rss_mib'):,.0f}",
            str(len(of)),
        ]
        lines.append(row(cells))
    return [f"**{model}**", "", *headed(HEADER), *lines, ""]


def speed(folder: Path) -> str:
    """The tables of all models, and where they were measured."""
    found = load(folder, "speed")
    lines = [line for model in sorted(found) for line in section(model, found[model])]
    every = [result for of in found.values() for runs in of.values() for result in runs]
    if every:
        lines.append(f"{measured(every)}; medians over repeats of medians over windows of steps.")
    return "\n".join(lines)


def reached(curve: list[dict[str, float]], goal: float) -> float | None:
    """Minutes of training until the curve first is at the goal; None if it never is."""
    at = (point["train_seconds"] / 60 for point in curve if point["val/ndcg@10"] >= goal)
    return next(at, None)


def quality(folder: Path) -> str:
    """Minutes until each goal, every repeat, and their median beside the best peer's."""
    lines = []
    for model, results in sorted(load(folder, "quality").items()):
        heads = [model]
        for goal in GOALS:
            heads += [f"minutes to {goal}", "of the best peer's"]
        lines += headed((*heads, "minutes given"))
        rows = {name: [TITLES[name]] for name in TITLES if name in results}
        for goal in GOALS:
            minutes = {
                name: [reached(run["curve"], goal) for run in results[name]] for name in rows
            }
            middle = {
                name: statistics.median(math.inf if m is None else m for m in of)
                for name, of in minutes.items()
            }
            best = min((middle[name] for name in PEERS if name in middle), default=math.inf)
            for name, cells in rows.items():
                cells.append(", ".join("never" if m is None else f"{m:.1f}" for m in minutes[name]))
                ratio = middle[name] / best
                cells.append(f"{ratio:.2f}" if math.isfinite(ratio) and best < math.inf else "")
        for name, cells in rows.items():
            given = sorted({f"{run['minutes']:g}" for run in results[name]})
            lines.append("| " + " | ".join([*cells, ", ".join(given)]) + " |")
        lines.append("")
    return "\n".join(lines)


def profiles(folder: Path) -> str:
    """Where a step goes, by part and by operator, beside its products alone."""
    lines = []
    for path in sorted(folder.glob("profile-*.json")):
        of = json.loads(path.read_text())
        lines += headed((of["model"], "ms of a step", "its products alone, ms", "products' share"))
        for part, spent in of["milliseconds"].items():
            alone = of["products_alone_milliseconds"].get(part)
            beside = (f"{alone:.1f}", f"{alone / spent:.2f}") if alone else ("", "")
            lines.append(f"| {part} | {spent:.1f} | {beside[0]} | {beside[1]} |")
        whole, alone = of["step_milliseconds"], sum(of["products_alone_milliseconds"].values())
        lines.append(f"| all | {whole:.1f} | {alone:.1f} | {alone / whole:.2f} |")
        most = (f"{name} {ms:.0f}" for name, ms in of["operators_milliseconds"].items())
        lines += ["", f"Operators, ms: {', '.join(most)}. {of['products_gflop']:.1f} GFLOP of "]
        lines[-1] += f"products; {of['threads']} threads, {of['finished_at'][:10]}."
        if passed := of.get("evaluation_seconds"):
            share = passed["rank and measure"] / passed["all"]
            parts = (f"{name} {seconds:.2f} s" for name, seconds in passed.items())
            lines += [
                "",
                f"Evaluation of all users: {', '.join(parts)}; ranking {share:.2f} of it.",
            ]
        lines.append("")
    return "\n".join(lines)


TABLES = {"speed": speed, "quality": quality, "profile": profiles}


if __name__ == "__main__":
    fill(TABLES)
