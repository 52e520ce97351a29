"""Texts instead of ids on real data: the tables of ``experiments/text``.

``runs/DATA_SETTING_seed*.json``, written by ``record.py``; of clicks DATA is ``collm``.
"""

import json
import statistics
from functools import partial
from pathlib import Path
from typing import Any

from layout import comparable, markdown, mean_sd, welch

HERE = Path(__file__).parent / "text"
SHORT = "item.max_tokens=16 trainer.max_epochs=8"  # what tuning can afford on one core
SETTINGS = {
    "popularity": ("none: popularity", "`data=DATA model=popularity`"),
    "tfidf": ("words, nothing trained", "`data=DATA model=tfidf`"),
    "zero_shot": ("text, nothing trained", "`data=DATA model=zero_shot`"),
    "ids": ("ids", "`item=ids`"),
    "text": ("text, frozen ¹", "`item=text`"),
    "text_and_ids": ("text ⊕ ids, frozen", "`item=text_and_ids`"),
    "id_dropout": (
        "text ⊕ ids, frozen, ids dropped out",
        "`item=text_and_ids item.id_dropout=0.2`",
    ),
    "short_frozen": ("16 tokens, frozen", f"`item=text {SHORT}`"),
    "short_frozen_before": ("16 tokens, frozen ¹", f"`item=text {SHORT}`"),
    "short_top": ("16 tokens, top layer ¹", f"`item=text adapter=top_layers {SHORT}`"),
    "short_lora": (
        "16 tokens, LoRA in the top layer ¹",
        f"`item=text adapter=lora adapter.top=1 task.tuned_lr=0.001 {SHORT}`",
    ),
    "short_lora_wide": (
        "16 tokens, LoRA in every linear map of the top layer ¹",
        "`item=text adapter=lora adapter.top=1 adapter.targets=[query,key,value,dense] "
        f"adapter.rank=7 task.tuned_lr=0.001 {SHORT}`",
    ),
    "short_bottleneck": (
        "16 tokens, bottleneck in the top layer",
        f"`item=text adapter=bottleneck adapter.top=1 task.tuned_lr=0.001 {SHORT}`",
    ),
}
SHOWN = (
    "test/recall@10", "test/ndcg@10", "test/warm/ndcg@10", "test/cold/ndcg@10",
    "test/cold/recall@10",
)  # fmt: skip
COSTS = ["trained parameters", "s/epoch", "MiB", "CPU minutes"]
HEADER = ["items by", "what to say", "seeds", *SHOWN, "ndcg@10 minus ids [95 %]", *COSTS]
CLICKS = {
    "din_ids": ("DIN", "ids", "`experiment=din_ml1m_collm`"),
    "din_text": ("DIN", "text, frozen", "`experiment=din_ml1m_collm item=text`"),
    "din_text_and_ids": (
        "DIN",
        "text ⊕ ids, frozen",
        "`experiment=din_ml1m_collm item=text_and_ids`",
    ),
    "two_tower_ids": ("two towers", "ids", "`experiment=two_tower_ml1m_collm`"),
    "two_tower_text": ("two towers", "text, frozen", "`experiment=two_tower_ml1m_collm item=text`"),
    "two_tower_text_and_ids": (
        "two towers",
        "text ⊕ ids, frozen",
        "`experiment=two_tower_ml1m_collm item=text_and_ids`",
    ),
    "two_tower_lora": (
        "two towers",
        "text, LoRA in the top layer",
        "`experiment=two_tower_ml1m_collm item=text adapter=lora adapter.top=1`",
    ),
    "two_tower_lora_all": (
        "two towers",
        "text, LoRA in all layers",
        "`experiment=two_tower_ml1m_collm item=text adapter=lora`",
    ),
}
CLICKS_SHOWN = (
    "test/auc", "test/gauc", "test/logloss", "test/iid_warm/auc", "test/iid_cold/auc", "val/auc",
)  # fmt: skip


def load(data: str, setting: str) -> list[dict[str, Any]]:
    """The runs of a setting, ordered by seed."""
    paths = HERE.glob(f"runs/{data}_{setting}_seed*.json")
    return sorted((json.loads(path.read_text()) for path in paths), key=lambda run: run["seed"])


def figures(data: str) -> str:
    """One line for each setting that has runs."""
    comparable([run for setting in SETTINGS for run in load(data, setting)], f"{data} by texts")
    lines = []
    first = [run["metrics"]["test/ndcg@10"] for run in load(data, "ids")]
    for setting, (title, words) in SETTINGS.items():
        if not (runs := load(data, setting)):
            continue
        cells = [mean_sd([run["metrics"][name] for run in runs]) for name in SHOWN]
        own = [run["metrics"]["test/ndcg@10"] for run in runs]
        beside = welch(own, first) if setting != "ids" and min(len(own), len(first)) > 1 else ""
        lines.append([title, words, str(len(runs)), *cells, beside, *costs(runs)])
    return markdown(HEADER, lines)


def clicks() -> str:
    """One line for each model of clicks, those without runs too; naive Bayes first."""
    runs = {setting: load("collm", setting) for setting in CLICKS}
    comparable([run for of in runs.values() for run in of], "CoLLM's rows")
    empty = [""] * len(COSTS)
    lines = []
    if first := [run["metrics"] for of in runs.values() for run in of]:
        cells = [f"{first[0][f'naivebayes/{name}']:.4f}" for name in CLICKS_SHOWN]
        lines.append(["naive Bayes", "ids", "its baseline in every run", "", *cells, *empty])
    for setting, names in CLICKS.items():
        if of := runs[setting]:
            cells = [mean_sd([run["metrics"][name] for run in of]) for name in CLICKS_SHOWN]
            lines.append([*names, str(len(of)), *cells, *costs(of)])
        else:
            lines.append([*names, "0", "**not run yet**", *[""] * (len(CLICKS_SHOWN) - 1), *empty])
    return markdown(["model", "items by", "what to say", "seeds", *CLICKS_SHOWN, *COSTS], lines)


def costs(runs: list[dict[str, Any]]) -> list[str]:
    """The cells of ``COSTS``; seconds, memory and time are medians."""
    trained = [run["cost"] for run in runs if "cost" in run]
    return [
        f"{trained[0]['trained_parameters']:,}" if trained else "0",
        f"{statistics.median(cost['epoch_seconds'] for cost in trained):.1f}" if trained else "",
        f"{statistics.median(run['peak_memory_mib'] for run in runs):.0f}",
        f"{statistics.median(run['cpu_seconds'] for run in runs) / 60:.1f}",
    ]


TABLES = {
    "beauty": partial(figures, "beauty"),
    "toys": partial(figures, "toys"),
    "collm": clicks,
}
