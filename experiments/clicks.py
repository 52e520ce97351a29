"""Models of clicks on real data, and beside the peers: the tables of ``experiments/clicks``.

``runs/DATA_MODEL_seed*.json`` are ours, written by ``record.py``; ``peers/LIBRARY-DATA-MODEL-*``
are those of the peers on the very same rows, written by ``benchmarks/clicks``.
"""

import json
import statistics
from functools import partial
from pathlib import Path
from typing import Any

from layout import markdown, mean_sd, welch

HERE = Path(__file__).parent / "clicks"
MODELS = {
    "lr": "LR",
    "lr_sgd": "LR by gradient steps",
    "fm": "FM",
    "wide_deep": "Wide&Deep",
    "deepfm": "DeepFM",
    "dcn": "DCN",
    "dcnv2": "DCN-V2",
    "xdeepfm": "xDeepFM",
    "autoint": "AutoInt+",
    "fibinet": "FiBiNET",
    "masknet": "MaskNet",
    "finalmlp": "FinalMLP",
}
SIDE_BY_SIDE = {
    **{name: MODELS[name] for name in ("lr", "lr_sgd", "fm", "deepfm", "dcnv2", "finalmlp")},
    "din": "DIN",
    "two_tower": "two towers",
    "bert4rec": "BERT4Rec, its own scores",
    "sasrec": "SASRec, its own scores",
    "gru4rec": "GRU4Rec, its own scores",
    "deepfm_bert4rec": "DeepFM over a frozen BERT4Rec",
}
TUNED = {
    "none": "DeepFM alone",
    "scratch": "over an encoder from scratch",
    "frozen": "pretrained, frozen",
    "top_layers": "pretrained, top layer",
    "bitfit": "pretrained, BitFit",
    "lora": "pretrained, LoRA",
    "adalora": "pretrained, AdaLoRA",
    "ia3": "pretrained, IA3",
    "bottleneck": "pretrained, bottleneck",
    "full": "pretrained, all of it",
}
GOAL_MODELS = {"shared_bottom": "shared bottom", "mmoe": "MMoE", "ple": "PLE", "esmm": "ESMM"}
RANKED = ("test/auc", "test/gauc", "test/logloss", "test/ndcg@10", "test/recall@5", "test/mrr")
FIRST = {
    "scikit-learn": "scikit-learn's LogisticRegression",
    "lr": "LR",
    "lightgbm": "LightGBM",
    "fm": "FM",
    "deepfm": "DeepFM",
    "dcnv2": "DCN-V2",
    "din": "DIN",
}
FIRST_DATA = {
    "ml100k": "MovieLens-100K",
    "ml1m_collm": "MovieLens-1M of CoLLM",
    "frappe": "Frappe",
    "criteo_sample": "Criteo's sample",
    "avazu_sample": "Avazu's sample",
}
PEERS = {"fuxictr": "FuxiCTR", "rechub": "torch-rechub"}
SHOWN = ("test/auc", "test/gauc", "test/logloss", "test/ece", "val/auc")
SAME = ("data_hash", "protocol_hash")


def ours(data: str, model: str) -> list[dict[str, Any]]:
    """Our runs of a model, ordered by seed."""
    found = [json.loads(path.read_text()) for path in HERE.glob(f"runs/{data}_{model}_seed*.json")]
    return sorted(found, key=lambda run: int(run["seed"]))


def figures(data: str) -> str:
    """Every model on a data set, naive Bayes first."""
    lines: list[list[str]] = []
    for model, title in MODELS.items():
        if not (runs := ours(data, model)):
            continue
        if not any(line[0] == "naive Bayes" for line in lines) and "naivebayes/test/auc" in (
            first := runs[0]["metrics"]
        ):
            cells = [f"{first[f'naivebayes/{name}']:.4f}" for name in SHOWN]
            lines.insert(0, ["naive Bayes", *cells, "", ""])
        cells = [mean_sd([run["metrics"][name] for run in runs]) for name in SHOWN]
        seconds = statistics.fmean(run["cpu_seconds"] for run in runs)
        lines.append([title, *cells, str(len(runs)), f"{seconds:.0f}"])
    return markdown(["model", *SHOWN, "seeds", "CPU seconds a run"], lines)


def parity(data: str) -> str:
    """Ours beside each peer, with the interval of the difference."""
    lines = []
    for model, title in MODELS.items():
        for peer, name in PEERS.items():
            path = HERE / "peers" / f"{peer}-{data}-{model}-parity.json"
            runs = ours(data, model)
            if not path.exists() or len(runs) < 2:
                continue
            theirs = json.loads(path.read_text())
            _same_rows(runs, theirs)
            lines.append([title, f"{name} {theirs['versions'][theirs['library']]}"])
            for figure in ("test/auc", "test/logloss"):
                a = [run["metrics"][figure] for run in runs]
                b = [run[figure] for run in theirs["runs"]]
                lines[-1] += [mean_sd(a), mean_sd(b), welch(a, b)]
    beside = ["ours", "theirs", "ours minus theirs [95 %]"]
    return markdown(
        ["model", "peer", *(f"AUC {b}" for b in beside), *(f"logloss {b}" for b in beside)], lines
    )


def side_by_side() -> str:
    """Models of clicks and of sequences on the same rows: AUC, and the order within users."""
    lines: list[list[str]] = []
    for model, title in SIDE_BY_SIDE.items():
        if not (runs := ours("harness", model)):
            continue
        if not any(line[0] == "naive Bayes" for line in lines) and "naivebayes/test/auc" in (
            first := runs[0]["metrics"]
        ):
            cells = [f"{first[f'naivebayes/{name}']:.4f}" for name in RANKED]
            lines.insert(0, ["naive Bayes", *cells, ""])
        cells = [mean_sd([run["metrics"][name] for run in runs]) for name in RANKED]
        lines.append([title, *cells, str(len(runs))])
    return markdown(["model", *RANKED, "seeds"], lines)


def tuned() -> str:
    """DeepFM over BERT4Rec, pretrained and tuned in many ways: figures and what they cost."""
    shown = ("test/auc", "test/gauc", "test/logloss")
    lines = []
    for name, title in TUNED.items():
        if not (runs := ours("then", name)):
            continue
        cells = [mean_sd([run["metrics"][figure] for run in runs]) for figure in shown]
        costs = [
            [run["cost"][key] for run in runs] for key in ("trained_parameters", "epoch_seconds")
        ]
        memory = statistics.median(run["peak_memory_mib"] for run in runs)
        cost = [f"{costs[0][0]:,}", f"{statistics.median(costs[1]):.1f}", f"{memory:,.0f}"]
        lines.append([title, *cells, *cost, str(len(runs))])
    header = ["encoder", *shown, "trained parameters", "seconds an epoch", "peak MiB", "seeds"]
    return markdown(header, lines)


def several() -> str:
    """Models of several goals, and each goal by itself."""
    lines = []
    names = [f"test/{goal}/{figure}" for goal in ("like", "love") for figure in ("auc", "gauc")]
    for model, title in GOAL_MODELS.items():
        if runs := ours("goals", model):
            cells = [mean_sd([run["metrics"][name] for run in runs]) for name in names]
            lines.append([title, *cells, str(len(runs))])
    return markdown(["model", *names, "seeds"], lines)


def tried_first() -> str:
    """What is tried first, and ours, on the same rows: AUC and logloss of the test."""
    found = {path.stem: json.loads(path.read_text()) for path in HERE.glob("first/*.json")}
    data = [name for name in FIRST_DATA if name in found]
    cells = {
        (name, row["model"]): f"{row['test/auc']:.4f} / {row['test/logloss']:.4f}"
        for name in data
        for row in found[name]["rows"]
    }
    lines = [
        [title, *(cells.get((name, model), "") for name in data)] for model, title in FIRST.items()
    ]
    return markdown(["test AUC / logloss", *(FIRST_DATA[name] for name in data)], lines)


def _same_rows(runs: list[dict[str, Any]], theirs: dict[str, Any]) -> None:
    for run in runs:
        if any(run[key] != theirs[key] for key in SAME):
            raise SystemExit(f"{run['row']} and {theirs['library']} were not run on the same rows")


TABLES = {
    "first": tried_first,
    "ml100k": partial(figures, "ml100k"),
    "ml100k-parity": partial(parity, "ml100k"),
    "harness": side_by_side,
    "tuned": tuned,
    "goals": several,
    "frappe": partial(figures, "frappe"),
    "frappe-parity": partial(parity, "frappe"),
}
