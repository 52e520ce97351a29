"""Pipelines through the real command line: candidates, features and ranks by hand from the retrievers' own answers."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import polars as pl
import pytest
from cli.processes import command, read

import lightning_rec
from lightning_rec import cli
from lightning_rec.build import load_run
from lightning_rec.commands import stages
from lightning_rec.lab import compare, pipeline_stages, pipelines
from lightning_rec.runs.folder import RunFolder

Refused = Callable[..., str]
QUICK = ["trainer=cpu", "trainer.max_epochs=2", "logger=none", "baseline=null"]
MODELS: dict[str, list[str]] = {
    "sasrec": ["model.dim=8", "model.depth=1", "batches.max_len=10", "optimizer.lr=0.02"],
    "ease": [],
    "popularity": [],
}
QUOTAS = {"SASRec": 6, "EASE": 4, "Popularity": 3}
RANKER = "ranker=model=lightgbm model.min_rows=2 model.rounds=20 model.patience=20"
ASKED = [f"quotas=[{','.join(map(str, QUOTAS.values()))}]", RANKER, "negatives=0"]


def columns(log: Path) -> list[str]:
    named = ["data.user=uid", "data.item=sku", "data.time=ts", "protocol.cutoffs=[3,5]"]
    catalogue = [f"data.catalogue={log.parent / 'about.csv'}", "data.catalogue_item=sku"]
    return ["data=table", f"data.path={log}", *named, *catalogue, "monitor=val/ndcg@5"]


def train(*overrides: str, to: Path) -> Path:
    assert cli.run(["train", *overrides, *QUICK, f"run_dir={to}"]) == 0
    return to


def piped(*arguments: object, to: Path, kept: Path) -> Path:
    assert cli.run(["pipeline", *map(str, arguments), f"stages={kept}", f"to={to}"]) == 0
    return to


@pytest.fixture(scope="module")
def log(log_frame: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The log with a catalogue that says what items are about."""
    folder = tmp_path_factory.mktemp("shop")
    log_frame.write_csv(folder / "log.csv")
    items = log_frame["sku"].unique().sort()
    genres = [f"g{place % 4}|g{4 + place % 3}" for place in range(len(items))]
    pl.DataFrame({"sku": items, "genres": genres}).write_csv(folder / "about.csv")
    return folder / "log.csv"


@pytest.fixture(scope="module")
def runs(log: Path) -> list[Path]:
    return [
        train(f"model={name}", *columns(log), *of, to=log.parent / "sweep" / name)
        for name, of in MODELS.items()
    ]


@pytest.fixture(scope="module")
def kept(log: Path) -> Path:
    return log.parent / "stages"


@pytest.fixture(scope="module")
def made(runs: list[Path], kept: Path, log: Path) -> Path:
    """A pipeline whose retrievers and ranker are gone from where they were."""
    copies = shutil.copytree(runs[0].parent, log.parent / "copies")
    stage = log.parent / "gone"
    pipe = piped(*(copies / name for name in MODELS), *ASKED, to=log.parent / "pipe", kept=stage)
    shutil.rmtree(copies)
    shutil.copytree(stage, kept)
    shutil.rmtree(stage)
    return pipe


class ByHand:
    """What retrievers say of one user, and the candidates and features that follow, in plain Python."""

    def __init__(self, folders: list[Path]) -> None:
        self.asked = [load_run(folder) for folder in folders]
        run = RunFolder.open(folders[0])
        self.items = run.table("items").sort("code")["item"].to_list()
        self.about = dict(run.table("items").select("item", "genres").iter_rows())
        self.lists = dict(run.table("users").iter_rows())

    def candidates(self, history: list[str], quotas: list[int]) -> dict[str, list[float]]:
        """The features of each candidate but for what depends on counts, by item."""
        scored = []
        for predictor in self.asked:
            answer = predictor.recommend([history], k=len(self.items), seen="filter")
            pairs = [*answer.select("item", "score").iter_rows()]
            pairs.sort(
                key=lambda pair: (-pair[1], self.items.index(pair[0]))
            )  # of equal ones the first
            scored.append(dict(pairs))
        tops = [[*of][:quota] for of, quota in zip(scored, quotas, strict=True)]
        found = {}
        for item in sorted({item for top in tops for item in top}, key=self.items.index):
            features: list[float] = []
            for of, top, quota in zip(scored, tops, quotas, strict=True):
                values = np.array([*of.values()], dtype=np.float64)
                place = top.index(item) + 1 if item in top else quota + 1
                spread = values.std() or np.inf
                features += [
                    (of[item] - values.mean()) / spread,
                    (of[item] - values.max()) / spread,
                    np.log2(place),
                ]
            features.append(sum(item in top for top in tops))
            found[item] = features
        return found


def history_of(hand: ByHand, user: str, target: str) -> list[str]:
    items = [hand.items[code] for code in hand.lists[user]]
    return items[: len(items) - items[::-1].index(target) - 1]


def ranks_by_hand(pipe: Path, runs: list[Path]) -> list[tuple[Any, ...]]:
    """Of each target of the test its rank among the candidates (None: no candidate), and who found it."""
    loaded: Any = load_run(pipe)
    hand, model = ByHand(runs), loaded.model
    ranker = next((pipe / "parts").glob("model.ranker"))
    fitted: Any = load_run(ranker)
    text = bytes(fitted.model.booster.numpy()).decode()
    trees = lightgbm.Booster(model_str=text)
    statistics = RunFolder.open(ranker).table("statistics")
    mean, deviation = (statistics[name].to_numpy() for name in ("mean", "deviation"))
    found = []
    for user, target in RunFolder.open(pipe).table("test_users").select("user", "item").iter_rows():
        history = history_of(hand, user, target)
        told = hand.candidates(history, [*QUOTAS.values()])
        codes = [hand.items.index(item) for item in told]
        seen = [hand.items.index(item) for item in history]
        popularity = model.popularity.numpy()
        genres = [set(hand.about[item].split("|")) for item in history]
        rows = []
        for item, code in zip(told, codes, strict=True):
            own = set(hand.about[item].split("|"))
            affinity = np.mean([[each in of for of in genres] for each in own])
            beside = [popularity[code], popularity[seen].mean(), np.log(len(seen)), affinity]
            rows.append([*told[item], *beside])
        scaled = (np.array(rows) - mean) / np.where(deviation == 0, 1, deviation)
        scores = trees.predict(scaled.astype(np.float32), raw_score=True).astype(np.float32)
        rank = None
        if target in told:
            rank = int((scores >= scores[[*told].index(target)]).sum())
        who = [name for number, name in enumerate(QUOTAS) if target in told and
               told[target][3 * number + 2] <= np.log2(QUOTAS[name])]  # fmt: skip
        found.append((user, rank, who, len(told)))
    return found


def test_ranks_and_recall_of_each_stage_are_those_by_hand(runs: list[Path], made: Path) -> None:
    expected = ranks_by_hand(made, runs)
    ranks = dict(RunFolder.open(made).table("test_users").select("user", "rank").iter_rows())
    assert len(expected) > 30
    assert {user: rank for user, rank, *_ in expected} == ranks
    assert None in ranks.values()  # or it was not tried what a miss is
    told = read(made / "pipeline.json")
    found = told["recall"]["test"]
    size = len(expected)
    for name in QUOTAS:
        assert found["found"][name] == pytest.approx(
            sum(name in who for *_, who, _ in expected) / size
        )
        alone = sum(who == [name] for *_, who, _ in expected)
        assert found["only"][name] == pytest.approx(alone / size)
    assert found["any"] == pytest.approx(sum(bool(who) for *_, who, _ in expected) / size)
    assert found["candidates"] == pytest.approx(np.mean([number for *_, number in expected]))
    gains = [0 if not rank or rank > 5 else 1 / np.log2(rank + 1) for _, rank, *_ in expected]
    assert read(made / "metrics.json")["test/ndcg@5"] == pytest.approx(np.mean(gains), abs=1e-12)
    lost = told["lost"]
    assert lost["shown"] == pytest.approx(sum(gain > 0 for gain in gains) / size)
    parts = [lost[name] for name in ("unknown", "not retrieved", "ranked below", "shown")]
    assert sum(parts) == pytest.approx(1)
    assert lost["not retrieved"] == pytest.approx(1 - found["any"])


def test_the_ranker_learns_from_what_was_before(made: Path, kept: Path) -> None:
    """Each row of its table is a candidate of retrievers that knew nothing of the target."""
    (folder,) = kept.glob("candidates-*")
    table = pl.read_parquet(folder / "candidates.parquet")
    before = [next(kept.glob(f"{name}-*")) for name in QUOTAS]
    hand = ByHand(before)
    users = RunFolder.open(before[0]).table("test_users")
    assert len(users) > 30
    queries = 0
    for number, (user, target) in enumerate(users.select("user", "item").iter_rows()):
        told = hand.candidates(history_of(hand, user, target), [*QUOTAS.values()])
        rows = table.filter(pl.col("query") == number)
        if target not in told:
            assert rows.is_empty()
            continue
        queries += 1
        assert rows["label"].to_list() == [int(item == target) for item in told]
        own = rows.select(pl.nth(range(2, 2 + 3 * len(QUOTAS) + 1))).to_numpy()
        np.testing.assert_allclose(own, np.array([*told.values()]), atol=2e-4)
    assert queries == read(made / "pipeline.json")["before"]["any"] * len(users)


def test_it_is_a_run_like_any_other(runs: list[Path], made: Path, tmp_path: Path) -> None:
    assert cli.run(["verify", str(made)]) == 0
    assert cli.run(["evaluate", f"run={made}"]) == 0
    found = compare({"EASE": runs[1], "pipeline": made}, figures=["test/ndcg@5"])
    assert found.paired["units"].to_list()[-1] > 30
    bundle = lightning_rec.open_model
    assert cli.run(["export", f"run={made}", f"to={tmp_path / 'bundle'}"]) == 0
    answers = [
        model.recommend(users=["u5", "u6"], k=3)
        for model in (load_run(made), bundle(tmp_path / "bundle"))
    ]
    assert answers[0].equals(answers[1])
    assert answers[0]["user"].to_list() == ["u5"] * 3 + ["u6"] * 3
    asked = answers[0].select("user", "item")
    scores = load_run(made).score(asked)["score"].to_list()
    assert scores == pytest.approx(answers[0]["score"].to_list())
    new = bundle(tmp_path / "bundle").recommend([["i01", "i08"]], k=40)
    assert 0 < len(new) <= sum(QUOTAS.values())  # what nobody found is not shown
    rules = lightning_rec.Rules(deny=new["item"].head(2).to_list())
    left = load_run(made).recommend([["i01", "i08"]], k=40, rules=rules)
    denied = new["item"].head(2).to_list()
    assert not {*denied} & {*left["item"]}  # others come in their place, from the retrievers
    some = load_run(made).recommend(
        [["i01", "i08"]], k=40, rules=lightning_rec.Rules(where="'g1' in genres")
    )
    about = dict(RunFolder.open(made).table("items").select("item", "genres").iter_rows())
    assert all("g1" in about[item] for item in some["item"])
    assert len(some) >= min(max(QUOTAS.values()), sum("g1" in each for each in about.values()) - 2)


def test_stages_that_are_there_are_kept(
    runs: list[Path], made: Path, kept: Path, tmp_path: Path
) -> None:
    stage = shutil.copytree(kept, tmp_path / "stages")
    times = {path: path.stat().st_mtime_ns for path in stage.rglob("weights.safetensors")}
    again = piped(*runs, *ASKED, to=tmp_path / "again", kept=stage)
    assert read(again / "metrics.json") == read(made / "metrics.json")
    assert len(times) == 4
    assert {path: path.stat().st_mtime_ns for path in stage.rglob("weights.safetensors")} == times
    quotas = ["quotas=5", RANKER]
    piped(*runs, *quotas, to=tmp_path / "other", kept=stage)  # another ranker, no retriever
    new = {path.parent.name for path in stage.rglob("weights.safetensors") if path not in times}
    assert [name.partition("-")[0] for name in new] == ["ranker"]


def test_a_new_ranker_tells_nothing_of_lightnings_own(
    runs: list[Path], made: Path, kept: Path, tmp_path: Path
) -> None:
    """In a process where no retriever is trained, which would have made Lightning quiet."""
    stage = shutil.copytree(kept, tmp_path / "stages")
    said = [*map(str, runs), "quotas=7", RANKER, f"stages={stage}", f"to={tmp_path / 'made'}"]
    found = command("pipeline", *said)
    assert found.returncode == 0, found.stderr
    for words in ("GPU available", "litlogger", "Trainer(", "LeafSpec"):
        assert words not in found.stdout + found.stderr
    assert found.stderr.count("candidates: prepared in") == 1


def test_without_a_ranker_ranks_are_fused(runs: list[Path], tmp_path: Path) -> None:
    fused = piped(*runs, ASKED[0], "ranker=none", to=tmp_path / "fused", kept=tmp_path / "none")
    assert not (tmp_path / "none").exists()
    hand, ranks = ByHand(runs), RunFolder.open(fused).table("test_users")
    for user, target, rank in ranks.select("user", "item", "rank").iter_rows():
        told = hand.candidates(history_of(hand, user, target), [*QUOTAS.values()])
        scores = {}
        for item, of in told.items():
            ranks_of = [round(2 ** of[3 * number + 2]) for number in range(len(QUOTAS))]
            pairs = zip(ranks_of, QUOTAS.values(), strict=True)
            scores[item] = np.float32(sum(1 / (60 + one) for one, quota in pairs if one <= quota))
        expected = None
        if target in told:
            expected = sum(score >= scores[target] for score in scores.values())
        assert rank == expected


def test_one_that_is_stopped_goes_on(
    runs: list[Path], made: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Stopped between two stages, twice; what was done stays as it was."""

    def stopped(*_: Any) -> Path:
        raise KeyboardInterrupt

    stage, done = tmp_path / "stages", dict[Path, int]()
    for where in ("_candidates", "_ranker"):
        with monkeypatch.context() as patch:
            patch.setattr(stages, where, stopped)
            with pytest.raises(KeyboardInterrupt):
                stages.make([[*runs]], asked(), stage, tmp_path / "made")
        done = done or {
            path: path.stat().st_mtime_ns for path in stage.rglob("weights.safetensors")
        }
        assert len(done) == 3
    stages.make([[*runs]], asked(), stage, tmp_path / "made")
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert read(tmp_path / "made" / "metrics.json") == read(made / "metrics.json")


def asked() -> pipelines.Asked:
    ranker = RANKER.partition("=")[2].split()
    return pipelines.Asked([*QUOTAS.values()], ranker, negatives=0)


@pytest.mark.slow
def test_one_that_is_killed_goes_on(runs: list[Path], made: Path, tmp_path: Path) -> None:
    said = [*map(str, runs), *ASKED, f"stages={tmp_path / 'stages'}", f"to={tmp_path / 'made'}"]
    line = [sys.executable, "-m", "lightning_rec", "pipeline", *said]
    for at in ("SASRec-*/run.json", "EASE-*/run.json", "candidates-*", "ranker-*/run.json"):
        process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and not [*(tmp_path / "stages").glob(at)]:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert cli.run(["pipeline", *said]) == 0
    assert read(tmp_path / "made" / "metrics.json") == read(made / "metrics.json")


def test_a_retriever_that_knows_the_rankers_targets_is_found(
    runs: list[Path], made: Path, kept: Path, refused: Refused, tmp_path: Path
) -> None:
    """The leak of all: the run that is trained on everything stands where the earlier one should."""
    stage = shutil.copytree(kept, tmp_path / "stages")
    (earlier,) = stage.glob("EASE-*")
    (candidates,) = stage.glob("candidates-*")
    shutil.rmtree(candidates)
    shutil.rmtree(earlier)
    shutil.copytree(runs[1], earlier)
    said = [*map(str, runs), *ASKED, f"stages={stage}", f"to={tmp_path / 'made'}"]
    assert "holds another run" in refused("pipeline", *said)
    card = json.loads((earlier / "run.json").read_text())
    shutil.rmtree(earlier)
    shutil.copytree(next(kept.glob("EASE-*")), earlier)
    RunFolder.open(earlier).note(protocol_hash=card["protocol_hash"])
    assert "protocol_hash of" in refused("pipeline", *said)


def test_a_retriever_that_finds_too_much_is_told() -> None:
    told = pipeline_stages.suspicions({"A": 0.6, "B": 0.31}, {"A": 0.3, "B": 0.3}, 1000)
    assert len(told) == 1
    assert told[0].startswith("A finds 60.0% of the ranker's targets and 30.0% of validation's")
    assert not pipeline_stages.suspicions({"A": 0.6}, {"A": 0.3}, 10)  # too few to tell


def test_a_split_by_time_works_too(log: Path, tmp_path: Path) -> None:
    cuts = ["protocol=temporal", "protocol.val_from=0.6", "protocol.test_from=0.8"]
    members = [
        train(f"model={name}", *columns(log), *MODELS[name], *cuts, to=tmp_path / name)
        for name in ("ease", "popularity")
    ]
    pipe = piped(*members, "quotas=10", RANKER, to=tmp_path / "pipe", kept=tmp_path / "stages")
    told = read(pipe / "pipeline.json")
    assert told["audit"]["ranker targets"] > 20
    assert 0 < told["recall"]["test"]["any"] <= 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["quotas=[5,5]"], "say how many items each of SASRec, EASE, Popularity gives"),
        (["quotas=0"], "1 or more"),
        (["quotas=x"], "quotas=x: it must be a whole number"),
        (["negatives=-1"], "it must be 0 or more"),
        (["ranker=lightgbm"], "ranker=lightgbm: say none, the settings of a model of clicks"),
        (["ranker=model=sasrec"], "it is a model of clicks with its settings"),
        (["ranker=model=lightgbm model.leafs=3"], "leaves"),
        (["--fast"], "Say of which runs"),
    ],
)
def test_what_cannot_be_asked_is_refused(
    runs: list[Path], kept: Path, made: Path, arguments: list[str], told: str, refused: Refused, tmp_path: Path
) -> None:  # fmt: skip
    stage = shutil.copytree(kept, tmp_path / "stages")
    where = [f"stages={stage}", f"to={tmp_path / 'made'}"]
    keys = [argument.partition("=")[0] for argument in arguments]
    rest = [each for each in ASKED if each.partition("=")[0] not in keys]
    assert told in refused("pipeline", *map(str, runs), *rest, *arguments, *where)
    assert not (tmp_path / "made").exists()


def test_what_is_no_retriever_is_refused(
    runs: list[Path], made: Path, log: Path, kept: Path, refused: Refused, tmp_path: Path
) -> None:
    where = [f"stages={tmp_path / 'stages'}", f"to={tmp_path / 'new'}"]
    assert "is a run of PipelinedSequences" in refused("pipeline", str(made), *where)
    assert "a pipeline itself: name its members" in refused("ensemble", str(made), str(runs[0]))
    dealt = train("model=ease", *columns(log), "protocol=random_items", to=tmp_path / "dealt")
    assert "does not know: use protocol=leave_one_out" in refused("pipeline", str(dealt), *where)
    bare = train("model=ease", *columns(log)[:5], "monitor=val/ndcg@10", to=tmp_path / "bare")
    assert "not all of the same" in refused("pipeline", str(runs[0]), str(bare), *where)
    of = ["method=prune", f"method.run={runs[0]}", "method.share=0.2"]
    cut = train("model=sasrec", *columns(log), *MODELS["sasrec"], *of, to=tmp_path / "cut")
    assert "learnt from another run, method.run=" in refused("pipeline", str(cut), *where)
    other = ["pipeline", *map(str, runs), f"stages={tmp_path / 'untouched'}", f"to={runs[0]}"]
    assert "holds another run" in refused(*other)
    assert not (tmp_path / "untouched").exists()  # nothing was trained before that was seen
    (tmp_path / "file").touch()
    for key, beside in (("to", where[0]), ("stages", where[1])):
        told = refused("pipeline", *map(str, runs), f"{key}={tmp_path / 'file'}", beside)
        assert f"{key}={tmp_path / 'file'} is a file: name a folder" in told
    assert "holds another run" in refused(
        "pipeline", *map(str, runs), "ranker=none", where[0], f"to={runs[0]}"
    )
