"""Ensembles through the real command line: figures by hand from the members' scores, and a run like any other."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from cli.processes import read
from sklearn.metrics import log_loss, roc_auc_score

import lightning_rec
from lightning_rec import cli
from lightning_rec.build import load_run
from lightning_rec.lab import compare
from lightning_rec.runs.folder import RunFolder

Refused = Callable[..., str]
QUICK = ["trainer=cpu", "trainer.max_epochs=3", "logger=none", "baseline=null"]
MODELS: dict[str, list[str]] = {
    "sasrec": ["model.dim=8", "model.depth=1", "batches.max_len=10", "optimizer.lr=0.02"],
    "bert4rec": ["model.dim=8", "model.depth=1", "batches.max_len=6", "optimizer.lr=0.02"],
    "ease": [],
}
NAMES = ("SASRec", "BERT4Rec", "EASE")


def columns(log: Path) -> list[str]:
    named = ["data.user=uid", "data.item=sku", "data.time=ts", "protocol.cutoffs=[5,10]"]
    return ["data=table", f"data.path={log}", *named, "batches.eval_batch_size=16"]


def train(*overrides: str, to: Path) -> Path:
    assert cli.run(["train", *overrides, *QUICK, f"run_dir={to}"]) == 0
    return to


def together(*arguments: object, to: Path) -> Path:
    assert cli.run(["ensemble", *map(str, arguments), f"to={to}"]) == 0
    return to


@pytest.fixture(scope="module")
def runs(log_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A sweep of three models of sequences, two of which read no more than some items."""
    folder = tmp_path_factory.mktemp("members") / "sweep"
    return [
        train(f"model={name}", *columns(log_csv), *of, to=folder / str(number))
        for number, (name, of) in enumerate(MODELS.items())
    ]


@pytest.fixture(scope="module")
def fitted(runs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ensemble whose members are gone from where they were."""
    folder = tmp_path_factory.mktemp("fitted")
    copies = shutil.copytree(runs[0].parent, folder / "sweep")
    made = together(copies, "weights=fitted", to=folder / "ensemble")
    shutil.rmtree(copies)
    return made


def scores_of(runs: list[Path]) -> list[tuple[str, str, np.ndarray]]:
    """Of each user of the test: the target, and each member's scores of it (first) and of all others, [m, candidates]."""
    items = RunFolder.open(runs[0]).table("items").sort("code")["item"].to_list()
    lists = dict(RunFolder.open(runs[0]).table("users").iter_rows())
    found = []
    asked = [load_run(run) for run in runs]
    for user in RunFolder.open(runs[0]).table("test_users")["user"]:
        *history, target = (items[code] for code in lists[user])
        each = []
        for predictor in asked:
            answer = predictor.recommend([history], k=len(items), seen="filter")
            scored = dict(answer.select("item", "score").iter_rows())
            others = [scored[item] for item in items if item in scored and item != target]
            each.append([scored[target], *others])
        found.append((user, target, np.array(each, dtype=np.float64)))
    return found


def by_hand(scores: np.ndarray, by: str, weights: list[float]) -> np.ndarray:
    """What the members' scores of one user, [m, candidates], come to: [candidates]."""
    if by == "scores":
        terms = (scores - scores.mean(1, keepdims=True)) / scores.std(1, keepdims=True)
    elif by == "probabilities":
        terms = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    else:
        rank = (scores[:, None, :] >= scores[:, :, None]).sum(2)
        terms = 1 / (60 + rank)
    return np.asarray(np.array(weights) @ terms)


@pytest.mark.parametrize(
    ("by", "weights"),
    [("scores", [0.5, 0.3, 0.2]), ("probabilities", [1, 1, 1]), ("ranks", [2, 1, 1])],
)
def test_ranks_are_those_of_scores_joined_by_hand(
    runs: list[Path], by: str, weights: list[float], tmp_path: Path
) -> None:
    said = f"weights=[{','.join(map(str, weights))}]"
    made = together(*runs, f"by={by}", said, to=tmp_path / "made")
    ranks = dict(RunFolder.open(made).table("test_users").select("user", "rank").iter_rows())
    gains = []
    for user, _, scores in scores_of(runs):
        mean = by_hand(scores, by, weights)
        rank = int((mean >= mean[0] - 1e-12).sum())  # of ties the worst
        assert ranks[user] == rank
        gains.append(1 / np.log2(rank + 1) if rank <= 10 else 0.0)
    assert len(gains) > 30
    assert read(made / "metrics.json")["test/ndcg@10"] == pytest.approx(np.mean(gains), abs=1e-12)
    assert read(made / "ensemble.json")["weights"] == pytest.approx(
        dict(zip(NAMES, np.array(weights) / sum(weights), strict=True))
    )


@pytest.mark.parametrize("by", ["scores", "probabilities", "ranks"])
def test_one_member_is_what_it_was(runs: list[Path], by: str, tmp_path: Path) -> None:
    made = together(runs[0], f"by={by}", "weights=fitted", to=tmp_path / "made")
    assert read(made / "metrics.json") == read(runs[0] / "metrics.json")
    one, other = (RunFolder.open(run).table("test_users") for run in (made, runs[0]))
    assert one.equals(other)


def test_fitted_weights_are_as_good_on_validation_as_any_member(
    runs: list[Path], fitted: Path, tmp_path: Path
) -> None:
    told, figures = read(fitted / "ensemble.json"), read(fitted / "metrics.json")
    alone = [of["val/ndcg@10"] for of in told["figures"].values()]
    equal = read(together(*runs, to=tmp_path / "equal") / "metrics.json")
    assert figures["val/ndcg@10"] >= max(*alone, equal["val/ndcg@10"])
    assert told["fitted"]["val/ndcg@10"] == pytest.approx(figures["val/ndcg@10"], abs=1e-12)
    assert sum(told["weights"].values()) == pytest.approx(1)
    assert len(set(told["weights"].values())) > 1  # or it was not tried whether they matter


def test_how_alike_members_are_is_told(runs: list[Path], fitted: Path) -> None:
    told = read(fitted / "ensemble.json")
    tops = [np.argsort(-of, axis=1, kind="stable")[:, :10] for _, _, of in scores_of(runs)]
    expected = np.mean([len({*a} & {*b}) / len({*a} | {*b}) for a, b, _ in tops])
    assert told["jaccard"]["SASRec"]["BERT4Rec"] == pytest.approx(expected, abs=1e-9)
    assert told["jaccard"]["EASE"]["EASE"] == 1
    gains = []
    for run in runs[:2]:
        rank = RunFolder.open(run).table("test_users")["rank"].to_numpy().astype(float)
        gains.append(np.where(rank <= 10, 1 / np.log2(rank + 1), 0))
    assert told["of"] == "test/ndcg@10"
    assert told["correlation"]["SASRec"]["BERT4Rec"] == pytest.approx(np.corrcoef(*gains)[0, 1])


def test_it_is_a_run_like_any_other(runs: list[Path], fitted: Path) -> None:
    assert cli.run(["verify", str(fitted)]) == 0
    assert cli.run(["evaluate", f"run={fitted}"]) == 0
    found = compare({"SASRec": runs[0], "together": fitted}, figures=["test/ndcg@10"])
    assert found.paired["units"].to_list()[-1] > 30
    predictor = load_run(fitted)
    best = predictor.recommend(users=["u5", "u6"], k=3)
    assert best["user"].to_list() == ["u5"] * 3 + ["u6"] * 3
    asked = best.select("user", "item")
    assert predictor.score(asked)["score"].to_list() == pytest.approx(best["score"].to_list())


def test_python_does_what_the_command_line_does(runs: list[Path], tmp_path: Path) -> None:
    made = lightning_rec.ensemble(
        {"first": runs[0], "third": runs[2]}, by="ranks", weights=[1, 3], k=7, to=tmp_path / "made"
    )
    assert made.metrics["test/ndcg@10"] > 0
    assert made.card["overrides"] == [
        f"first={runs[0]}", f"third={runs[2]}", "by=ranks", "weights=[1.0,3.0]", "k=7"
    ]  # fmt: skip
    again = together(*made.card["overrides"], to=tmp_path / "again")
    assert read(again / "metrics.json") == made.metrics


def test_samples_of_the_protocol_are_ranked_too(log_csv: Path, tmp_path: Path) -> None:
    sampled = ["protocol.candidates={number: 9, by: uniform, seed: 0}"]
    members = [
        train(f"model={name}", *columns(log_csv), *sampled, to=tmp_path / name)
        for name in ("ease", "popularity")
    ]
    made = read(together(*members, "by=ranks", to=tmp_path / "made") / "metrics.json")
    names = [name for name in made if "ndcg@10_sampled" in name and name.startswith("test/n")]
    assert names
    assert all(0 < made[name] < 1 for name in names)


@pytest.fixture(scope="module")
def clicks(click_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three models of the same rows: a network, one that is fitted at once, one that reads histories."""
    folder = tmp_path_factory.mktemp("clicks")
    rows = [
        "data=click_table", f"data.path={click_csv}", "data.fields.label=clicked", "protocol.val=0.2",
        "data.fields.categorical=[uid,sku]", "data.fields.group=uid", "data.fields.item=sku",
        "data.fields.past=clicks", "data.fields.time=ts", "protocol.test=0.2", "batches.batch_size=32",
        "optimizer.lr=0.02",
    ]  # fmt: skip
    return [
        train("model=deepfm", "model.dim=4", "model.mlp=[8]", *rows, to=folder / "deepfm"),
        train("model=naive_bayes", *rows, to=folder / "naive_bayes"),
        train("model=din", "model.dim=4", "model.mlp=[8]", *rows, to=folder / "din"),
    ]


def probabilities(runs: list[Path]) -> tuple[np.ndarray, np.ndarray]:
    tables = [RunFolder.open(run).table("test_rows").sort("row") for run in runs]
    return np.stack([each["probability"].to_numpy() for each in tables]), tables[0][
        "label"
    ].to_numpy()


@pytest.mark.parametrize("by", ["probabilities", "scores"])
def test_probabilities_are_joined_by_hand(clicks: list[Path], by: str, tmp_path: Path) -> None:
    weights = np.array([0.5, 0.3, 0.2])
    made = together(*clicks, f"by={by}", "weights=[0.5,0.3,0.2]", to=tmp_path / "made")
    each, label = probabilities(clicks)
    mean = weights @ each
    if by == "scores":
        mean = 1 / (1 + np.exp(-weights @ np.log(each / (1 - each))))
    (found,), _ = probabilities([made])
    np.testing.assert_allclose(found, mean, rtol=1e-5)
    figures, told = read(made / "metrics.json"), read(made / "ensemble.json")
    assert figures["test/logloss"] == pytest.approx(log_loss(label, mean), rel=1e-6)
    assert figures["test/auc"] == pytest.approx(roc_auc_score(label, mean), abs=1e-9)
    assert told["of"] == "probability"
    assert told["correlation"]["DeepFM"]["DIN"] == pytest.approx(np.corrcoef(each)[0, 2])
    assert cli.run(["verify", str(made)]) == 0


def test_weights_of_clicks_are_fitted_to_the_logloss_of_validation(
    clicks: list[Path], click_frame: pl.DataFrame, tmp_path: Path
) -> None:
    made = together(*clicks, "weights=fitted", to=tmp_path / "made")
    told, figures = read(made / "ensemble.json"), read(made / "metrics.json")
    assert told["fitted"]["val/logloss"] == pytest.approx(figures["val/logloss"], rel=1e-6)
    alone = [of["val/logloss"] for of in told["figures"].values()]
    assert figures["val/logloss"] <= min(alone) + 1e-9
    rows = click_frame.head(7).with_columns(pl.Series("history", [["i1", "i2"]] * 7))
    answers = [load_run(run).score(rows)["score"].to_numpy() for run in (made, *clicks)]
    expected = np.array([*told["weights"].values()]) @ np.stack(answers[1:])
    np.testing.assert_allclose(answers[0], expected, rtol=1e-5)


def test_one_member_of_clicks_is_what_it_was(clicks: list[Path], tmp_path: Path) -> None:
    made = together(clicks[2], to=tmp_path / "made")
    assert read(made / "metrics.json") == read(clicks[2] / "metrics.json")


def test_what_members_read_of_other_runs_comes_along(log_csv: Path, tmp_path: Path) -> None:
    """A member whose histories are encoded by a run of sequences: parts within parts."""
    encoder = train(
        "model=sasrec",
        *columns(log_csv),
        *MODELS["sasrec"],
        "protocol=temporal",
        to=tmp_path / "encoder",
    )
    rows = [
        "data=click_table", f"data.path={log_csv}", "data.fields.label=stars", "protocol=temporal_rows",
        "data.fields.positive_from=3", "data.fields.categorical=[uid,sku]", "data.fields.group=uid",
        "data.fields.item=sku", "data.fields.past=clicks", "data.fields.time=ts",
        "data.fields.history_max_len=8",
    ]  # fmt: skip
    small = [
        "model=deepfm",
        "model.dim=4",
        "model.mlp=[8]",
        f"encoder.run={encoder}",
        "adapter=frozen",
    ]
    members = [
        train(*small, *rows, to=tmp_path / "deepfm"),
        train("model=naive_bayes", *rows, to=tmp_path / "naive_bayes"),
    ]
    made = together(*members, to=tmp_path / "made")
    for run in (encoder, *members):
        shutil.rmtree(run)
    assert cli.run(["verify", str(made)]) == 0
    load_run(made)


def test_members_that_read_texts_come_along(
    log_csv: Path, catalogue_csv: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    about = [f"data.catalogue={catalogue_csv}", "data.catalogue_item=sku"]
    texts = ["item=text", f"item.encoder={tiny_bert}", "adapter=frozen", *MODELS["sasrec"]]
    members = [
        train("model=sasrec", *columns(log_csv), *about, *texts, to=tmp_path / "texts"),
        train("model=ease", *columns(log_csv), *about, to=tmp_path / "ease"),
    ]
    made = together(*members, to=tmp_path / "made")
    for run in members:
        shutil.rmtree(run)
    assert cli.run(["verify", str(made)]) == 0
    assert "title" in load_run(made).recommend(users=["u5"], k=3).columns


def test_one_that_was_stopped_goes_on(
    runs: list[Path], fitted: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cut = changed(fitted, tmp_path / "cut", status="interrupted")
    (cut / "ensemble.json").unlink()
    assert cli.run(["train", f"resume={cut}"]) == 0
    assert read(cut / "metrics.json") == read(fitted / "metrics.json")
    assert "ensemble.json is not written: the figures of" in caplog.text  # its members are gone
    whole = together(*runs[:2], "by=ranks", to=tmp_path / "whole")
    cut = changed(whole, tmp_path / "other", status="interrupted")
    (cut / "ensemble.json").unlink()
    assert cli.run(["train", f"resume={cut}"]) == 0
    assert read(cut / "ensemble.json") == read(whole / "ensemble.json")


def changed(run: Path, to: Path, **facts: Any) -> Path:
    RunFolder.open(shutil.copytree(run, to)).note(**facts)
    return to


def test_members_that_do_not_belong_together_are_refused(
    runs: list[Path], log_csv: Path, log_frame: pl.DataFrame, refused: Refused, tmp_path: Path
) -> None:
    def sentence(other: Path) -> str:
        made = refused("ensemble", str(runs[2]), str(other), f"to={tmp_path / 'made'}")
        assert not (tmp_path / "made").exists()
        return made

    log_frame.head(900).write_csv(tmp_path / "log.csv")
    other = train("model=ease", *columns(tmp_path / "log.csv"), to=tmp_path / "data")
    assert "the members are not all of the same data" in (told := sentence(other))
    assert "they differ in data.path (" in told
    other = train(
        "model=ease",
        *columns(log_csv),
        "protocol.seen=keep",
        to=tmp_path / "kept",
    )
    assert "the members are not all of the same protocol: they differ in" in (
        told := sentence(other)
    )
    assert "protocol.seen" in told
    assert "interrupted, not completed" in sentence(
        changed(runs[0], tmp_path / "cut", status="interrupted")
    )
    broken = shutil.copytree(runs[0], tmp_path / "broken")
    with (broken / "weights.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x07")
    assert "is not as the run wrote it" in sentence(broken)
    assert "is named twice" in sentence(runs[2])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["by=votes"], "by=votes: the mean is of scores, probabilities, ranks here"),
        (["k=60"], "k=60 is of by=ranks alone"),
        (["by=ranks", "k=0"], "model.k=0"),
        (["weights=good"], "weights=good: say equal, fitted, or one for each member"),
        (["weights=[1,x]"], "weights=x: it must be a number"),
        (["weights=[1,1]"], "there are 3 members, say a weight for each"),
        (["weights=[1,1,-1]"], "each is 0 or more"),
        (["weights=[0,0,0]"], "each is 0 or more"),
        (["--fast"], "Say of which runs"),
    ],
)
def test_what_cannot_be_asked_is_refused(
    runs: list[Path], arguments: list[str], told: str, refused: Refused, tmp_path: Path
) -> None:
    said = refused("ensemble", *map(str, runs), *arguments, f"to={tmp_path / 'made'}")
    assert told in said
    assert not (tmp_path / "made" / "run.json").exists()


def test_what_is_no_member_is_refused(
    runs: list[Path], fitted: Path, clicks: list[Path], refused: Refused, tmp_path: Path
) -> None:
    to = f"to={tmp_path / 'made'}"
    assert "an ensemble itself: name its members" in refused("ensemble", str(fitted), to)
    assert "an ensemble itself" in refused("ensemble", str(runs[0]), str(fitted), to)
    assert "ranked among no others" in refused("ensemble", str(clicks[0]), "by=ranks", to)
    assert "a name is of letters" in refused("ensemble", f"1.5={runs[0]}", to)
    assert "There is no file or folder" in refused("ensemble", str(tmp_path / "none"), to)
    assert "already holds a run" in refused("ensemble", str(runs[0]), f"to={fitted}")
    record = tmp_path / "record.json"
    record.write_text('{"seed": 1, "metrics": {"test/ndcg@10": 0.1}}')
    assert "is a record of a run" in refused("ensemble", str(record), to)


def test_members_that_read_other_columns_are_refused(
    clicks: list[Path], click_csv: Path, refused: Refused, tmp_path: Path
) -> None:
    rows = [
        "data=click_table", f"data.path={click_csv}", "data.fields.label=clicked", "protocol.val=0.2",
        "data.fields.categorical=[uid,sku,device]", "data.fields.group=uid", "data.fields.item=sku",
        "data.fields.past=clicks", "data.fields.time=ts", "protocol.test=0.2",
    ]  # fmt: skip
    other = train("model=naive_bayes", *rows, to=tmp_path / "other")
    told = refused("ensemble", str(clicks[0]), str(other), f"to={tmp_path / 'made'}")
    assert "not all of the same data" in told or "data.fields" in told


def test_weights_are_not_fitted_to_the_test(
    click_csv: Path, refused: Refused, tmp_path: Path
) -> None:
    rows = [
        "data=click_table", f"data.path={click_csv}", "data.fields.label=clicked", "protocol.val=0",
        "data.fields.categorical=[uid,sku]", "protocol.test=0.2", "schedule=constant",
    ]  # fmt: skip
    members = [
        str(train("model=naive_bayes", f"model.strength={each}", *rows, to=tmp_path / str(each)))
        for each in (1, 20)
    ]
    told = refused("ensemble", *members, "weights=fitted", f"to={tmp_path / 'made'}")
    assert "the protocol of the members leaves none" in told


def test_runs_of_matching_are_refused(pairs_csv: Path, refused: Refused, tmp_path: Path) -> None:
    pytest.importorskip("bm25s")
    pairs = [
        "data=pairs", f"data.path={pairs_csv}", "data.query=term", "data.title=name", "data.item=sku",
        "data.relevance=grade", "data.positive_from=2.5", "data.scale=[1,3]", "protocol.cutoffs=[1,5,10]", "protocol.val=0.1", "protocol.test=0.2", "model=bm25",
    ]  # fmt: skip
    run = train(*pairs, to=tmp_path / "bm25")
    told = refused("ensemble", str(run), f"to={tmp_path / 'made'}")
    assert "is a run of task=match; ensembles are of runs of sequences or of clicks" in told
