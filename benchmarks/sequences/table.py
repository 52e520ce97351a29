"""The table of ``benchmarks/README.md`` from the results of ``run.py``: medians and ratios.

``table.py RESULTS PAGE [--check]`` writes between the marks ``speed:start`` and ``speed:end``.
"""

import json
import statistics
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

TITLES = {
    "ours": "lightning_rec",
    "ours-bare": "the same without Lightning",
    "ours-plain": "`task.arithmetic=plain`",
    "ours-whole": "batches as one block",
    "ours-fused": "`model.attention_dropout=0`",
    "ours-bf16": "`trainer.precision=bf16-mixed`",
    "replay": "RePlay 0.22.0",
    "replay-nn": "RePlay 0.22.0, `replay.nn`",
    "replay-nn-buckets": "RePlay 0.22.0, `replay.nn`, buckets",
    "rectools": "RecTools 0.19.0",
    "recbole": "RecBole 1.2.1",
    "recbole-no-anomaly": "RecBole 1.2.1, anomaly mode off",
}
PEERS = [name for name in TITLES if not name.startswith("ours")]
HEADER = (
    "", "sequences/s", "targets/s", "of the best peer", "evaluation, users/s", "of the best peer",
    "start to first step, s", "preparing, s", "peak memory, MiB", "repeats",
)  # fmt: skip


def load(folder: Path) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """The results of speed by model and library."""
    found: dict[str, dict[str, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for path in sorted(folder.glob("*-speed-*.json")):
        if path.name.startswith("failures"):
            continue
        result = json.loads(path.read_text())
        name = path.name.partition(f"-{result['model']}-")[0]
        found[result["model"]][name].append(result)
    return found


def median(results: list[dict[str, Any]], *keys: str) -> float:
    """The median over repeats of a figure."""
    values = []
    for result in results:
        value: Any = result
        for key in keys:
            value = value[key]
        values.append(value)
    return statistics.median(values)


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
        lines.append("| " + " | ".join(cells) + " |")
    head = [f"**{model}**", "", "| " + " | ".join(HEADER) + " |"]
    return [*head, "|" + "---|" + "---:|" * (len(HEADER) - 1), *lines, ""]


def build(folder: Path) -> str:
    """The tables of all models, and where they were measured."""
    found = load(folder)
    lines = [line for model in sorted(found) for line in section(model, found[model])]
    every = [result for of in found.values() for runs in of.values() for result in runs]
    if every:
        machine = every[0]["machine"]
        dates = sorted(result["finished_at"][:10] for result in every)
        lines.append(
            f"{machine['cores']} cores ({machine['processor']}), {every[0]['threads']} threads, "
            f"{dates[0]} to {dates[-1]}; medians over repeats of medians over windows of steps."
        )
    return "\n".join(lines)


def main() -> None:
    """Write the table, or with ``--check`` compare it."""
    folder, page = Path(sys.argv[1]), Path(sys.argv[2])
    text = page.read_text()
    before, _, rest = text.partition("<!-- speed:start -->")
    _, found, after = rest.partition("<!-- speed:end -->")
    if not found:
        raise SystemExit(f"{page} has no <!-- speed:start --> … <!-- speed:end -->")
    written = f"{before}<!-- speed:start -->\n{build(folder)}\n<!-- speed:end -->{after}"
    if "--check" not in sys.argv:
        page.write_text(written)
    elif written != text:
        raise SystemExit(f"{page} is out of date: build it again without --check")


if __name__ == "__main__":
    main()
