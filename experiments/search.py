"""Text matching on Home Depot: the table of ``experiments/search``.

``runs/SETTING_seed*.json``, written by ``record.py``. Settings without a run are named as such.
"""

import json
import statistics
from pathlib import Path
from typing import Any

from layout import comparable, markdown, mean_sd

HERE = Path(__file__).parent / "search"
SETTINGS = {
    "bm25": ("BM25", "`model=bm25`"),
    "zero_shot": ("bi-encoder as it comes", "`adapter=frozen`"),
    "bi_lora": ("bi-encoder, LoRA", "`adapter=lora optimizer.lr=0.001`"),
    "bi_full": ("bi-encoder, whole", "`adapter=full`"),
    "bi_hard": (
        "bi-encoder, LoRA, hard negatives of BM25",
        "`adapter=lora optimizer.lr=0.001 negatives=bm25`",
    ),
    "cross_lora": (
        "cross-encoder, LoRA",
        "`model=cross_encoder adapter=lora optimizer.lr=0.001`",
    ),
    "cross_full": ("cross-encoder, whole", "`model=cross_encoder adapter=full`"),
    "cross_hard": (
        "cross-encoder, LoRA, hard negatives of BM25",
        "`model=cross_encoder adapter=lora optimizer.lr=0.001 negatives=bm25`",
    ),
}
RANKED = ("ndcg@10", "mrr", "recall@10", "recall@100", "judged/ndcg@10")
PAIRS = tuple(f"pairs/{name}" for name in ("auc", "accuracy", "precision", "recall", "f1", "rmse"))


def load(setting: str) -> list[dict[str, Any]]:
    """The runs of a setting, ordered by seed."""
    paths = HERE.glob(f"runs/{setting}_seed*.json")
    return sorted((json.loads(path.read_text()) for path in paths), key=lambda run: run["seed"])


def figures(names: tuple[str, ...]) -> str:
    """One line for each setting, with these figures of the test."""
    comparable([run for setting in SETTINGS for run in load(setting)], "experiments/search")
    lines = []
    for setting, (title, words) in SETTINGS.items():
        runs = load(setting)
        values = [[run["metrics"][f"test/{name}"] for run in runs] for name in names]
        cells = [mean_sd(each) for each in values] if runs else ["not run"] + [""] * len(names[1:])
        lines.append([title, words, str(len(runs)), *cells])
    return markdown(["model", "what to say", "runs", *names], lines)


def split() -> str:
    """How many queries and pairs are in each part, and by which hashes they are known."""
    run = next(run for setting in SETTINGS for run in load(setting))
    lines = [
        [part, *(f"{run['split'][f'{part} {kind}']:,}" for kind in ("queries", "pairs"))]
        for part in ("train", "val", "test")
    ]
    hashes = f"data `{run['data_hash'][:16]}`, protocol `{run['protocol_hash'][:16]}`"
    return markdown(["part", "queries", "pairs"], lines) + f"\n\n{hashes}"


def costs() -> str:
    """What each setting that was run has taken."""
    lines = []
    for setting, (title, _) in SETTINGS.items():
        if runs := load(setting):
            trained = [run.get("cost", {}).get("trained_parameters", 0) for run in runs]
            lines.append(
                [
                    title,
                    f"{trained[0]:,}",
                    f"{statistics.median(run['cpu_seconds'] for run in runs) / 60:.1f}",
                    f"{statistics.median(run['peak_memory_mib'] for run in runs):.0f}",
                    ", ".join(f"`{run['commit'][:10]}`" for run in runs),
                ]
            )
    return markdown(["model", "trained parameters", "CPU minutes", "MiB", "commit"], lines)


TABLES = {
    "split": split,
    "ranking": lambda: figures(RANKED),
    "pairs": lambda: figures(PAIRS),
    "costs": costs,
}
