"""What training and evaluation report, beside an evaluation in plain Python that reads the file itself."""

import csv
import math
import random
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from cli.processes import read

from lightning_rec import cli
from lightning_rec.build import problem_of
from lightning_rec.data.fetch import cache_dir
from lightning_rec.data.split import Histories
from lightning_rec.runs.folder import RunFolder

Score = Callable[[list[str]], dict[str, float]]  # of every item, after a history
CUTOFFS = (1, 3, 5)
MAX_LEN = 6


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 users, 12 events each of 25 items, half of them repeats; the rows are in no order."""
    chance, rows = random.Random(8), []
    for user in range(40):
        own = [f"i{chance.randrange(25)}" for _ in range(9)]
        rows += [(f"u{user}", chance.choice(own), 1_600_000_000 + 60 * n) for n in range(12)]
    chance.shuffle(rows)
    path = tmp_path_factory.mktemp("log") / "log.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("user", "item", "ts"), *rows])
    return path


def sequences(path: Path) -> list[list[str]]:
    with path.open() as file:
        rows = sorted((int(r["ts"]), r["user"], r["item"]) for r in csv.DictReader(file))
    found: dict[str, list[str]] = {}
    for _, user, item in rows:
        found.setdefault(user, []).append(item)
    return list(found.values())


def oracle(path: Path, score: Score, words: str, held: int) -> dict[str, float]:
    """Means over users of leave-one-out; the target is the event ``held`` from the end."""
    everyone = sequences(path)
    items = {item for sequence in everyone for item in sequence[:-2]}
    sums: defaultdict[str, float] = defaultdict(float)
    number = 0
    for sequence in everyone:
        history, target = [i for i in sequence[:-held] if i in items], sequence[-held]
        if words == "exclude" and target in history:
            continue
        number += 1
        candidates = items if words == "keep" else items - set(history)
        scores = score(history)
        if target not in candidates:
            continue
        rank = sum(scores[item] >= scores[target] for item in candidates)
        sums["mrr"] += 1 / rank
        sums["auc"] += (len(candidates) - rank) / (len(candidates) - 1)
        for k in (k for k in CUTOFFS if rank <= k):
            sums[f"recall@{k}"] += 1
            sums[f"precision@{k}"] += 1 / k
            sums[f"f1@{k}"] += 2 / (k + 1)
            sums[f"ndcg@{k}"] += 1 / math.log2(rank + 1)
            sums[f"mrr@{k}"] += 1 / rank
            sums[f"map@{k}"] += 1 / rank
    kinds = ("recall", "precision", "f1", "ndcg", "mrr", "map")
    names = ["mrr", "auc", *(f"{kind}@{k}" for kind in kinds for k in CUTOFFS)]
    return {name: sums[name] / number for name in names}


def popular(path: Path) -> Score:
    counts = Counter(item for sequence in sequences(path) for item in sequence[:-2])
    return lambda history: dict(counts)


def of_run(folder: Path) -> Score:
    """The scores of a run's weights, one history at a time, with nothing around."""
    run = RunFolder.open(folder)
    problem = problem_of(run.config)
    loaded = problem.load(cache_dir())
    model = problem.make_task(loaded, problem.make_data(loaded)).model.eval()
    run.load_model(model)
    ids = run.table("items").sort("code")["item"].to_list()
    code = {item: number for number, item in enumerate(ids)}

    def score(history: list[str]) -> dict[str, float]:
        latest = torch.tensor([[code[item] for item in history[-MAX_LEN:]]])
        with torch.no_grad():
            query = model(
                Histories(latest, torch.zeros(1, dtype=torch.int64)),
                torch.tensor([latest.shape[1] - 1]),
            )
            return dict(zip(ids, model.scores(query)[0].tolist(), strict=True))

    return score


@pytest.mark.parametrize("words", ["exclude", "miss", "keep"])
def test_figures_are_those_of_a_loop_over_users(words: str, log: Path, tmp_path: Path) -> None:
    run, word = tmp_path / "run", "seen=keep" if words == "keep" else f"seen_targets={words}"
    settings = f"""data=table data.path={log} data.user=user data.item=item data.time=ts protocol.{word}
        protocol.cutoffs={list(CUTOFFS)} monitor=val/ndcg@5 model=sasrec model.dim=8 model.depth=1
        batches.max_len={MAX_LEN} batches.batch_size=8 trainer=cpu trainer.max_epochs=2 examples=0 logger=none"""
    assert cli.run(["train", *settings.replace(", ", ",").split(), f"run_dir={run}"]) == 0
    figures = read(run / "metrics.json")
    for name, score in (("", of_run(run)), ("popularity/", popular(log))):
        for stage, held in (("val", 2), ("test", 1)):
            wanted = {f"{name}{stage}/{k}": v for k, v in oracle(log, score, words, held).items()}
            assert {k: figures[k] for k in wanted} == pytest.approx(wanted, abs=1e-6)
    if words == "miss":
        assert cli.run(["evaluate", f"run={run}"]) == 0
