"""The verbs that ask a model answer what Python answers, and refuse misuse in a sentence."""

from pathlib import Path

import polars as pl
import pytest

from lightning_rec import cli
from lightning_rec.answers.similar import similar
from lightning_rec.errors import UserError
from lightning_rec.predict.sequences import SequencePredictor
from lightning_rec.rules.rules import Rules

Out = pytest.CaptureFixture[str]


def test_recommend_is_what_python_recommends(
    shop: Path, model: SequencePredictor, tmp_path: Path, capsys: Out
) -> None:
    said = {"where": "price < 40 and 'new' in tags", "per": "kind:2", "diversity": "mmr:0.4@kind"}
    rules = Rules(**said, deny=["i01", "i07"], explore="epsilon:0.5", seed=3)  # type: ignore[arg-type]
    words = [f"{key}={value}" for key, value in said.items()]
    words += ["deny=[i01,i07]", "explore=epsilon:0.5", "seed=3", "k=4", f"model={shop}"]
    output = tmp_path / "recs.parquet"
    assert cli.run(["recommend", *words, "user=[u4,u9]", "--output", str(output)]) == 0
    wanted = model.recommend(users=["u4", "u9"], k=4, rules=rules)
    assert pl.read_parquet(output).equals(wanted)
    pl.DataFrame({"user": ["u4", "u9"]}).write_csv(tmp_path / "users.csv")
    files = ["--input", str(tmp_path / "users.csv"), f"--output={output}", "overwrite=true"]
    assert cli.run(["recommend", *words, *files]) == 0
    assert pl.read_parquet(output).equals(wanted)
    capsys.readouterr()
    assert cli.run(["recommend", f"model={shop}", "history=[i03, i10]", "k=2"]) == 0
    shown = capsys.readouterr().out
    assert cli.run(["recommend", f"model={shop}", "user=[u4,nobody,u9]", f"--output={output}",
                    "overwrite=true"]) == 0  # fmt: skip
    assert pl.read_parquet(output)["user"].unique(maintain_order=True).to_list() == ["u4", "u9"]
    assert "no event of a user, such as nobody: nothing is recom" in capsys.readouterr().err
    for row in model.recommend([["i03", "i10"]], k=2).rows(named=True):
        assert row["item"] in shown
        assert f"{row['score']:.4f}" in shown


def test_columns_of_a_file_may_have_other_names(
    shop: Path, model: SequencePredictor, tmp_path: Path
) -> None:
    """A column that is called as a named one is another thing, and is left out."""
    events = pl.read_csv(shop.parent / "log.csv").select("uid", "sku", "ts").head(200)
    events = events.sample(fraction=1, shuffle=True, seed=3)
    wanted = model.recommend(events.rename({"uid": "user", "sku": "item", "ts": "time"}), k=3)
    source, output = tmp_path / "log.csv", tmp_path / "recs.parquet"
    events.with_columns(user=pl.lit("x")).write_csv(source)
    files = ["recommend", f"model={shop}", "--input", str(source), "--output", str(output), "k=3"]
    assert cli.run([*files, "user=uid", "item=sku", "time=ts"]) == 0
    found = pl.read_parquet(output).sort("user", "rank")
    assert found["user"].n_unique() > 10
    assert found.select("user", "rank", "item").equals(
        wanted.sort("user", "rank").select("user", "rank", "item")
    )
    with pytest.raises(UserError, match=r"has no column 'uidd'\. Did you mean 'uid'"):
        cli.run([*files, "user=uidd", "overwrite=true"])
    with pytest.raises(UserError, match="item= names a column of a file: say --input"):
        cli.run(["recommend", f"model={shop}", "user=u4", "item=sku"])


def test_lists_of_ids_come_from_files(shop: Path, model: SequencePredictor, tmp_path: Path) -> None:
    (tmp_path / "allow.txt").write_text("i03\n\ni10\n i17 \n")
    pl.DataFrame({"item": ["i10"]}).write_parquet(tmp_path / "deny.parquet")
    output = tmp_path / "recs.csv"
    lists = [f"allow={tmp_path / 'allow.txt'}", f"deny={tmp_path / 'deny.parquet'}"]
    more = [f"model={shop}", "user=u4", "seen=keep", "k=9", f"--output={output}"]
    assert cli.run(["recommend", *more, *lists]) == 0
    assert sorted(pl.read_csv(output)["item"]) == ["i03", "i17"]


def test_the_other_verbs(shop: Path, model: SequencePredictor, tmp_path: Path, capsys: Out) -> None:
    assert cli.run(["similar", f"model={shop}", "item=i07", "k=3", "by=bought_together"]) == 0
    shown = capsys.readouterr().out
    assert all(item in shown for item in similar(model, ["i07"], 3, "bought_together")["similar"])
    log = shop.parent / "log.csv"
    columns = ["item=sku", "user=uid", "time=ts"]
    assert cli.run(["popular", f"--input={log}", *columns, "half_life=12h", "k=3"]) == 0
    assert "each counting half after 12h" in capsys.readouterr().out
    assert cli.run(["popular", f"--input={log}", *columns, "trending=1h", f"model={shop}"]) == 0
    assert cli.run(["popular", f"model={shop}", "per=kind", "k=2"]) == 0
    shown = capsys.readouterr().out
    assert "shoes" in shown
    assert cli.run(["vectors", f"model={shop}", "of=items", f"to={tmp_path / 'v.parquet'}"]) == 0
    assert pl.read_parquet(tmp_path / "v.parquet").equals(model.item_vectors())
    assert cli.run(["vectors", f"model={shop}", "of=users", f"to={tmp_path / 'u.jsonl'}"]) == 0
    assert len(pl.read_ndjson(tmp_path / "u.jsonl")) == 60
    rows = pl.DataFrame({"user": ["u4", "u9", "zz"], "item": ["i03", "i10", "i03"]})
    rows.write_csv(tmp_path / "rows.csv")
    files = ["--input", str(tmp_path / "rows.csv"), "--output", str(tmp_path / "scored.parquet")]
    assert cli.run(["predict", f"model={shop}", *files]) == 0
    assert pl.read_parquet(tmp_path / "scored.parquet").equals(model.score(rows))
    pytest.importorskip("matplotlib")
    capsys.readouterr()
    assert cli.run(["profile", f"model={shop}", "user=u9", f"to={tmp_path / 'p.png'}"]) == 0
    assert (tmp_path / "p.png").read_bytes()[:4] == b"\x89PNG"
    assert "kind: drift" in capsys.readouterr().out


def test_popular_leaves_out_rows_with_gaps_if_it_may(
    shop: Path, tmp_path: Path, capsys: Out
) -> None:
    rows = pl.read_csv(shop.parent / "log.csv", infer_schema=False)
    gaps = rows.with_row_index().with_columns(
        ts=pl.when(pl.col("index") == 4).then(None).otherwise("ts"),
        sku=pl.when(pl.col("index").is_in([7, 9])).then(pl.lit("NULL")).otherwise("sku"),
    )
    gaps.drop("index").write_csv(tmp_path / "gaps.csv")
    rows.filter(~pl.int_range(pl.len()).is_in([4, 7, 9])).write_csv(tmp_path / "whole.csv")
    found = []
    columns = ["item=sku", "user=uid", "time=ts", "half_life=12h"]
    for name, more in (("gaps", ["invalid=drop"]), ("whole", [])):
        output = tmp_path / f"{name}.parquet"
        words = [f"--input={tmp_path / name}.csv", *columns, *more, f"--output={output}"]
        assert cli.run(["popular", *words]) == 0
        found.append(pl.read_parquet(output))
    assert found[0].equals(found[1])
    told = "warning: 3 rows were dropped (2 without item, 1 without time)."
    assert told in capsys.readouterr().err
    with pytest.raises(UserError, match=r"gaps\.csv, line 6: the time is empty \(3 such rows"):
        cli.run(["popular", f"--input={tmp_path / 'gaps.csv'}", *columns])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("recommend user=u4", "Say which model"),
        ("recommend model=RUN", "Say whom it is for"),
        ("recommend model=RUN user=u4 history=[i03]", "Say whom it is for"),
        ("recommend model=nowhere user=u4", "nowhere"),
        ("recommend model=TMP user=u4", "run"),
        ("recommend model=RUN user=nobody", "does not know the user nobody"),
        ("recommend model=RUN user=[nobody,noone]", "does not know the users nobody, noone"),
        ("recommend model=RUN user=u04", "Did you mean 'u4'?"),
        ("similar model=RUN item=7", "does not know the item 7."),
        ("recommend model=RUN user=u4 k=0", "k=0"),
        ("recommend model=RUN user=u4 k=41", "1 to 40"),
        ("recommend model=RUN user=u4 k=many", "k=many"),
        ("recommend model=RUN user=u4 kk=3", "Did you mean 'k'?"),
        ("recommend model=RUN user=u4 k=3 k=4", "k is said twice"),
        ("recommend model=RUN user=u4 seen=hide", "seen=hide"),
        ("recommend model=RUN user=u4 where=prize<3", "no column 'prise'"),
        ("recommend model=RUN user=u4 where=price<", "cannot be read"),
        ("recommend model=RUN user=u4 where=price<0", "leave no item"),
        ("recommend model=RUN user=u4 allow=none.txt", "no file or folder none.txt"),
        ("recommend model=RUN user=u4 boosts=none.csv", "no file or folder none.csv"),
        ("recommend model=RUN user=u4 please", "'please' is not understood"),
        ("recommend model=RUN --users x", "unknown flag --users"),
        ("recommend model=RUN --input none.csv", "Say where to write it"),
        ("recommend model=RUN --input none.csv --output TMP/x.csv", "no file or folder none.csv"),
        ("recommend model=RUN user=u4 --output TMP", "is named .parquet"),
        ("recommend model=RUN --input TMP/log.csv --output TMP/log.csv", "exists"),
        ("recommend model=RUN user=u4 overwrite=yes --output TMP/x.csv", "true or false"),
        ("similar model=RUN", "Say which item"),
        ("similar model=RUN item=zz", "what is new has a vector only in a run"),
        ("similar model=RUN item=i03 by=looks", "by=looks"),
        ("similar model=RUN item=i03 k=40", "1 to 39"),
        ("popular", "Say of what"),
        ("popular model=RUN half_life=7d", "needs times"),
        ("popular model=RUN trending=7d half_life=7d", "one at a time"),
        ("popular model=RUN per=brand", "no column 'brand'"),
        ("popular model=RUN k=0", "k=0"),
        ("profile model=RUN", "Say whose profile"),
        ("profile model=RUN user=u4 to=p.jpg", "is a PNG"),
        ("predict model=RUN --output TMP/x.csv", "Say --input FILE"),
        (
            "predict model=RUN --input TMP/log.csv --output TMP/x.csv",
            "no column 'user'. Rename the one that holds it ('uid' looks like it)",
        ),
        (
            "popular --input TMP/log.csv",
            "Say item=COLUMN, or rename the one that holds it ('sku' looks like it)",
        ),
        ("recommend model=RUN user=u4 deny=TMP/log.csv", "('sku' looks like it)"),
        ("recommend model=RUN --input TMP/log.csv --output TMP/z.csv", "('uid' looks like it)"),
        ("vectors model=RUN of=queries to=TMP/x.parquet", "of=items or of=users"),
        ("vectors model=RUN of=items to=TMP/x.csv", "CSV has no lists"),
    ],
)
def test_misuse_is_refused_in_a_sentence(words: str, said: str, shop: Path) -> None:
    said = said.replace("prise", "prize")
    folder = shop.parent
    made = [w.replace("RUN", str(shop)).replace("TMP", str(folder)) for w in words.split()]
    with pytest.raises(UserError) as refused:
        cli.run(made)
    assert said in str(refused.value)
    assert not (folder / "x.csv").exists()
