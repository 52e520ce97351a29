"""A run answers without its data: as its test ranked, in raw ids, in batches of any size."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import shipped
import torch

from lightning_rec import cli
from lightning_rec.answers.personal import of_users, taste_of
from lightning_rec.answers.recommending import recommend_file
from lightning_rec.build import load_run
from lightning_rec.bundle import open_model
from lightning_rec.data import ids
from lightning_rec.errors import UserError
from lightning_rec.models.base import SequenceModel
from lightning_rec.predict import asking
from lightning_rec.predict import histories as histories_of
from lightning_rec.predict.sequences import SequencePredictor
from lightning_rec.predict.told import Told

USERS = (
    "bprmf",
    "vbpr",
    "freedom",
    "lightgcn",
    "neumf",
    "xsimgcl",
    "kgat",
)  # models that know their users alone
APART = (
    "tfidf",
    "category_popularity",
    "zero_shot",
    "decoder",
)  # what they read is tried below, or comes from a hub
TIMED = ("fuxi", "tisasrec")  # models that read when events were, which lists do not say


def models() -> dict[str, list[str]]:
    """Every model of sequences that has a config, and what makes it small."""
    found = {}
    for name in shipped.models_of("sequence"):
        if not issubclass(shipped.class_of(name), SequenceModel) or name in APART:
            continue
        found[name] = ["model.dim=8"] if "dim" in shipped.said("model", name) else []
        loss = shipped.brought(name, "loss")
        if loss and shipped.said("loss", loss).get("negatives"):
            found[name].append("loss.negatives=8")
        if name == "caser":
            found[name].append("model.user_vectors=false")  # else it ranks for a user it knows
        if name in USERS:
            found[name].append("protocol=random_items")
    return found


MODELS = models()


@pytest.fixture(scope="module")
def run(log_frame: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """``run(model, …)``: the folder of a completed run, whose data is gone."""

    def make(model: str, *overrides: str) -> Path:
        folder = tmp_path_factory.mktemp("predict")
        log = folder / "log.csv"
        log_frame.write_csv(log)
        columns = ["data.user=uid", "data.item=sku", "data.time=ts", "protocol.drop_doubled=false"]
        quick = ["logger=none", "trainer=cpu", "trainer.max_epochs=1", "baseline=null"]
        about = ["data=table", f"data.path={log}", *columns, "batches.max_len=10"]
        asked = [f"model={model}", *about, *quick, *overrides, f"run_dir={folder / 'run'}"]
        assert cli.run(["train", *asked]) == 0
        log.unlink()
        return folder / "run"

    return make


def ids_of(folder: Path) -> list[str]:
    return pl.read_parquet(folder / "items.parquet").sort("code")["item"].to_list()


@pytest.mark.parametrize("model", [name for name in MODELS if name not in USERS + TIMED])
def test_it_ranks_as_the_test_did(model: str, run: Callable[..., Path]) -> None:
    folder = run(model, *MODELS[model])
    items, tested = ids_of(folder), pl.read_parquet(folder / "test_users.parquet")
    users = pl.read_parquet(folder / "users.parquet")
    rows = tested.drop_nulls("rank").join(users, "user", maintain_order="left")
    done = [row["items"][: row["history"]] for row in rows.iter_rows(named=True)]
    target = [items[row["items"][row["history"]]] for row in rows.iter_rows(named=True)]
    predictor = load_run(folder)
    assert isinstance(predictor, SequencePredictor)
    histories = [[items[code] for code in each] for each in done]
    found = predictor.recommend(histories, k=len(items))
    assert found.columns == ["row", "rank", "item", "score"]
    ranks = []
    for number, wanted in enumerate(target):
        own = found.filter(pl.col("row") == number)
        assert not set(own["item"]) & {items[code] for code in done[number]}
        assert own["rank"].to_list() == list(range(1, len(own) + 1))
        assert own["score"].is_sorted(descending=True)
        score = own.filter(pl.col("item") == wanted)["score"][0]
        ranks.append((own["score"] >= score).sum())
    assert ranks == rows["rank"].to_list()
    kept = predictor.recommend(histories, k=len(items), seen="keep")
    assert len(kept) == len(items) * len(done)


@pytest.fixture(scope="module")
def sasrec(run: Callable[..., Path]) -> SequencePredictor:
    predictor = load_run(run("sasrec", "model.dim=8"))
    assert isinstance(predictor, SequencePredictor)
    return predictor


@pytest.mark.parametrize("model", USERS)
def test_models_of_users_answer_for_those_they_know(model: str, run: Callable[..., Path]) -> None:
    predictor = load_run(run(model, *MODELS[model]))
    found = predictor.recommend(users=["u5", "u7"], k=3)
    assert found["user"].to_list() == ["u5"] * 3 + ["u7"] * 3
    with pytest.raises(UserError, match="none of a history: ask for users="):
        predictor.recommend([["i01"]])


def test_a_model_that_reads_times_has_them_of_users_and_of_events(
    run: Callable[..., Path],
    log_frame: pl.DataFrame,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = run("fuxi", "model.dim=8")
    predictor = load_run(folder)
    assert isinstance(predictor, SequencePredictor)
    events = log_frame.rename({"uid": "user", "sku": "item", "ts": "time"}).filter(user="u4")
    known = predictor.recommend(users=["u4"], k=5)
    assert predictor.recommend(events.select("user", "item", "time"), k=5).equals(known)
    dates = events.with_columns(pl.from_epoch("time"))
    assert predictor.recommend(dates.select("user", "item", "time"), k=5).equals(known)
    events = events.sort("time", maintain_order=True)
    caplog.clear()
    predictor.recommend(users=["u4"], k=5)
    assert "of each event" not in caplog.text
    untimed = predictor.recommend(events.select("user", "item"), k=5)
    assert "FuXi reads time of each event, which is not said of these histories" in caplog.text
    assert "with the columns user, item and time" in caplog.text
    assert not np.allclose(untimed["score"], known["score"])
    assert cli.run(["export", f"run={folder}", f"to={tmp_path / 'bundle'}"]) == 0
    opened = open_model(tmp_path / "bundle").recommend(users=["u4"], k=5)
    assert opened.drop("score").equals(known.drop("score"))
    assert np.allclose(opened["score"], known["score"], atol=1e-5)
    files = tmp_path / "events.csv", tmp_path / "found.parquet"
    dates.with_columns(pl.col("time").dt.to_string("%d.%m.%Y %H:%M:%S")).write_csv(files[0])
    told = Told()
    recommend_file(predictor, "m", *files, k=5, told=told)
    assert pl.read_parquet(files[1]).equals(known)
    assert not told.lacks
    users = pl.Series("user", ["u7", "stranger", "u4"])
    tastes = taste_of(predictor, of_users(predictor, users, strict=False), torch.tensor([[5]] * 3))
    rows = users.to_frame().with_columns(item=pl.lit(predictor.items["item"][5]))
    scores = predictor.score(rows)["score"].fill_null(np.nan)
    assert np.allclose(tastes[:, 0], scores, equal_nan=True)
    wrong = pl.read_parquet(folder / "users.parquet")
    assert wrong["times"].list.len().equals(wrong["items"].list.len(), check_names=False)


def test_it_ranks_as_the_test_did_when_asked_at_the_time_of_the_target(
    run: Callable[..., Path],
) -> None:
    folder = run("fuxi", "model.dim=8")
    tested, predictor = pl.read_parquet(folder / "test_users.parquet"), load_run(folder)
    assert isinstance(predictor, SequencePredictor)
    assert predictor.users is not None
    users = predictor.users.with_row_index("code")
    rows = tested.drop_nulls("rank").join(users, "user", maintain_order="left").to_dicts()
    items, times = (
        np.concatenate([row[name][: row["history"]] for row in rows]) for name in ("items", "times")
    )
    offsets = np.cumsum([0, *(row["history"] for row in rows)])
    at = np.array([row["times"][row["history"]] for row in rows])
    codes = np.array([row["code"] for row in rows])
    key = pl.Series("row", np.arange(len(rows)))
    asked = asking.Asked(key, items.astype(np.int32), offsets, codes, times, at)
    for number, (_, queries) in enumerate(predictor.queries(asked)):
        assert not number  # all at once, the longest first
        order = np.argsort(-np.diff(offsets), kind="stable")
        scores = predictor.model.scores(queries).numpy()
    for place, one in enumerate(order):
        row = rows[one]
        seen = set(row["items"][: row["history"]])
        target, own = row["items"][row["history"]], scores[place]
        better = [code for code in range(len(own)) if code not in seen and own[code] > own[target]]
        assert len(better) + 1 == row["rank"]


def test_any_form_of_the_question_gives_the_same_answer(sasrec: SequencePredictor) -> None:
    lists = [["i03", "i10", "i17"], ["i05"], ["i24", "i31"]]
    rows = [(f"n{user}", item, time) for user, each in enumerate(lists) for time, item in enumerate(each)]  # fmt: skip
    events = pl.DataFrame(rows, schema=["user", "item", "time"], orient="row")
    plain = sasrec.recommend(lists, k=4).drop("row")
    for form in (events, events.to_dict(as_series=False), events.sample(fraction=1, shuffle=True, seed=3)):  # fmt: skip
        told = sasrec.recommend(form, k=4).sort("user", "rank")
        assert told.drop("user").equals(plain)
        assert told["user"].unique().sort().to_list() == ["n0", "n1", "n2"]
    pandas = pytest.importorskip("pandas").DataFrame(events.to_dict(as_series=False))
    assert sasrec.recommend(pandas, k=4).drop("user").equals(plain)
    one = [sasrec.recommend([each], k=4).drop("row") for each in lists]
    same = pl.concat(one)
    assert same.drop("score").equals(plain.drop("score"))
    assert np.allclose(same["score"], plain["score"], atol=1e-5)


def test_what_is_known_of_a_user_is_the_whole_log(
    sasrec: SequencePredictor, log_frame: pl.DataFrame
) -> None:
    assert sasrec.users is not None
    ids = sasrec.items["item"].to_list()
    events = log_frame.sort("ts", maintain_order=True)
    for user, codes in sasrec.users.filter(pl.col("user").is_in(["u4", "u9"])).iter_rows():
        assert [ids[code] for code in codes] == events.filter(uid=user)["sku"].to_list()
    found = sasrec.recommend(users=["u4"], k=5)
    of = [events.filter(uid="u4")["sku"].to_list()]
    assert found.drop("user").equals(sasrec.recommend(of, k=5).drop("row"))


def test_scores_and_vectors_agree_with_recommendations(sasrec: SequencePredictor) -> None:
    found = sasrec.recommend(users=["u4", "u9"], k=6)
    scored = sasrec.score(found.select("user", "item"))
    assert np.allclose(scored["score"], found["score"], atol=1e-5)
    strange = pl.DataFrame({"user": ["u4", "nobody", "u4"], "item": ["i01", "i01", "none"]})
    assert sasrec.score(strange)["score"].is_null().to_list() == [False, True, True]
    users, items = sasrec.user_vectors(users=["u4", "u9"]), sasrec.item_vectors()
    products = users["vector"].to_numpy() @ items["vector"].to_numpy().T
    place = {item: number for number, item in enumerate(items["item"])}
    wanted = [products[int(user == "u9"), place[item]] for user, item in found.select("user", "item").rows()]  # fmt: skip
    assert np.allclose(wanted, found["score"], atol=1e-5)


def test_similar_items_are_those_of_the_cosine(sasrec: SequencePredictor) -> None:
    vectors = sasrec.model.vectors().weight.numpy()  # type: ignore[operator]
    ids = sasrec.items["item"].to_list()
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosine = unit @ unit[ids.index("i05")]
    cosine[ids.index("i05")] = -2
    found = sasrec.similar(["i05", "i06"], k=3)
    assert found.columns[:3] == ["item", "rank", "similar"]
    assert found["similar"][:3].to_list() == [ids[code] for code in np.argsort(-cosine)[:3]]
    assert np.allclose(found["score"][:3], np.sort(cosine)[::-1][:3], atol=1e-6)


def test_what_is_not_known_is_told(
    sasrec: SequencePredictor, caplog: pytest.LogCaptureFixture
) -> None:
    found = sasrec.recommend([["i01", "other"], ["nothing"], []], k=2)
    assert found["row"].to_list() == [0, 0]
    assert "2 of 3 items of the histories are not known" in caplog.text
    assert "2 of 3 histories hold no item that this run knows" in caplog.text
    for asked, said in (
        ({"users": ["u4x"]}, "does not know the user u4x"),
        ({"histories": [["i01"]], "k": 0}, "k=0"),
        ({"histories": [["i01"]], "seen": "hide"}, "seen=hide"),
        ({}, "Say whom it is for"),
        ({"histories": {"user": ["a"], "item": ["i01"], "time": ["5/6/2024"]}}, "holds String"),
        ({"histories": {"who": ["a"], "item": ["i01"]}}, "no column 'user'"),
    ):
        with pytest.raises(UserError, match=said):
            sasrec.recommend(**asked)
    with pytest.raises(UserError, match="does not know the item other"):
        sasrec.similar(["i01", "other"])


def test_a_model_without_vectors_says_so(run: Callable[..., Path]) -> None:
    predictor = load_run(run("itemknn"))
    assert repr(predictor).startswith("SequencePredictor(ItemKNN, ")
    with pytest.raises(UserError, match=r"ItemKNN cannot answer similar\(\): it scores without"):
        predictor.similar(["i01"])
    counted = load_run(run("popularity"))
    with pytest.raises(
        UserError, match=r"Popularity cannot answer similar\(\): .* one number each"
    ):
        counted.similar(["i01"])
    whole = counted.recommend([["i03"]], k=12)["item"].to_list()  # many have one count
    assert counted.recommend([["i03"]], k=5)["item"].to_list() == whole[:5]


def test_items_known_by_texts_answer_too(
    run: Callable[..., Path], catalogue_csv: Path, tiny_bert: Path
) -> None:
    about = [f"data.catalogue={catalogue_csv}", "data.catalogue_item=sku", "data.catalogue_title=title"]  # fmt: skip
    texts = [*about, "item=text", f"item.encoder={tiny_bert}", "adapter=lora", "loss=in_batch"]
    found = load_run(run("sasrec", "model.dim=8", *texts)).recommend([["i03", "i10"]], k=2)
    assert found.columns == ["row", "rank", "item", "title", "score"]
    assert found["title"].null_count() == 0


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (lambda run: run.recommend(["12", "34"]), "is no list"),
        (lambda run: run.recommend([1, 2]), "is no list"),
        (lambda run: run.recommend(users="12"), "is no list"),
        (lambda run: run.similar("12"), "is no list"),
        (lambda run: run.recommend([["a"]], k=2.0), "k=2.0"),
        (lambda run: run.recommend([[["a"]]]), "an id is a number or a text"),
        (lambda run: run.score({"user": [["a"]], "item": ["b"]}), "holds lists"),
        (
            lambda run: run.recommend({"user": [1, 1], "item": ["a", "b"], "time": [1, None]}),
            "empty in row 1",
        ),
    ],
)
def test_questions_of_another_form_are_refused(
    asked: Callable[[Any], Any], told: str, sasrec: SequencePredictor
) -> None:
    with pytest.raises(UserError, match=told):
        asked(sasrec)


@pytest.mark.parametrize("mixed", [[1, "2"], [1.0, "2"], ["1", 2.0], [np.int64(1), 2.0]])
def test_ids_of_several_types_are_read_each_by_its_own(mixed: list[Any]) -> None:
    assert ids.ids_of(asking.series("item", mixed)).to_list() == ["1", "2"]
    apart = histories_of.events_of([[mixed[0]], [mixed[1]]])
    assert ids.ids_of(apart["item"]).to_list() == ["1", "2"]


def test_whole_numbers_beside_floats_keep_every_digit() -> None:
    big = 2**53 + 1
    assert ids.ids_of(asking.series("item", [big, 1.0])).to_list() == [str(big), "1"]


@pytest.mark.parametrize("k", [True, 2.0, "2", 0, 4])
def test_k_is_a_whole_number_within_reach(k: Any) -> None:
    asking.check_k(np.int64(3), 3, "up to {}")
    with pytest.raises(UserError, match=r"k="):
        asking.check_k(k, 3, "up to {}")
