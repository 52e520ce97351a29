"""A file of users is answered part by part: as one by one, and the same if it is killed between."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from lightning_rec.answers import files
from lightning_rec.answers.recommending import recommend_file
from lightning_rec.errors import UserError
from lightning_rec.predict.sequences import SequencePredictor
from lightning_rec.predict.told import Told
from lightning_rec.rules.rules import Rules

RULES = Rules(where="price < 50", explore="epsilon:0.3", diversity="mmr:0.4@kind")


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "ROWS", 7)
    monkeypatch.setattr(files, "SLICE", 14)


@pytest.fixture
def users(tmp_path: Path) -> Path:
    path = tmp_path / "users.csv"
    names = [f"u{n}" for n in range(2, 40)] + ["stranger", "u2"]
    pl.DataFrame({"user": names}).write_csv(path)
    return path


def read(path: Path) -> pl.DataFrame:
    if path.suffix == ".parquet":
        return pl.read_parquet(path)
    return pl.read_csv(path) if path.suffix == ".csv" else pl.read_ndjson(path)


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl"])
def test_a_file_is_answered_as_one_by_one(
    model: SequencePredictor, users: Path, tmp_path: Path, ending: str
) -> None:
    output, told = tmp_path / f"recs.{ending}", Told()
    done = recommend_file(model, "m", users, output, k=4, rules=RULES, told=told)
    known = [f"u{n}" for n in range(2, 40)] + ["u2"]
    wanted = pl.concat([model.recommend(users=[user], k=4, rules=RULES) for user in known])
    found = read(output)
    same = ["user", "rank", "item", "title"]
    assert found.select(same).equals(wanted.select(same).cast(found.select(same).schema))
    assert (done.rows, done.written, done.before) == (40, len(wanted), 0)
    assert told.warnings(4)[0].startswith(
        "This run has no event of a user, such as stranger: nothing is recommended"
    )
    assert 0 < told.cost()["relevance"] < 1
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith(".")] == []


def test_a_killed_command_goes_on_to_the_same_result(
    model: SequencePredictor, users: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = [{"where": "kind == 'hats'", "factor": 2.0, "to": "2100-01-01"}]
    asked: dict[str, Any] = {"k": 4, "rules": Rules(boosts=campaign, explore="softmax:1")}
    whole, cut = tmp_path / "whole.parquet", tmp_path / "cut.parquet"
    told = [Told(), Told()]
    recommend_file(model, "m", users, whole, told=told[0], **asked)
    answer, parts = model.recommend, list[int]()

    def killed(*args: Any, **kwargs: Any) -> pl.DataFrame:
        if len(parts) == 3:
            raise KeyboardInterrupt
        parts.append(1)
        return answer(*args, **kwargs)

    monkeypatch.setattr(model, "recommend", killed)
    with pytest.raises(KeyboardInterrupt):
        recommend_file(model, "m", users, cut, **asked)
    assert not cut.exists()
    monkeypatch.undo()
    monkeypatch.setattr(files, "ROWS", 7)
    monkeypatch.setattr(files, "SLICE", 14)
    for other, said in (
        ({"k": 5}, "another k"),
        ({"rules": None}, "rules"),
        ({"seen": "keep"}, "seen"),
    ):
        with pytest.raises(UserError, match=said):
            recommend_file(model, "m", users, cut, **asked | other)
    with pytest.raises(UserError, match="another model"):
        recommend_file(model, "other", users, cut, **asked)
    done = recommend_file(model, "m", users, cut, told=told[1], **asked)
    assert done.before == 21
    assert cut.read_bytes() == whole.read_bytes()
    assert told[0] == told[1]


def test_histories_come_in_any_form(model: SequencePredictor, tmp_path: Path) -> None:
    lists = {"a": ["i03", "i10", "i17"], "b": ["i05"], "c": ["i24", "i31", "zz"]}
    wanted = model.recommend(list(lists.values()), k=3)["item"].to_list()
    frame = pl.DataFrame({"user": list(lists), "history": list(lists.values())})
    frame.write_parquet(tmp_path / "lists.parquet")
    frame.write_ndjson(tmp_path / "lists.jsonl")
    text = frame.with_columns(pl.col("history").list.join(" "))
    text.write_csv(tmp_path / "lists.csv")
    events = [
        (user, item, 100 - n) for user, own in lists.items() for n, item in enumerate(own[::-1])
    ]
    pl.DataFrame(events, schema=["user", "item", "time"], orient="row").write_csv(
        tmp_path / "events.csv"
    )
    for name in ("lists.parquet", "lists.jsonl", "lists.csv", "events.csv"):
        output, told = tmp_path / "out.csv", Told()
        recommend_file(model, "m", tmp_path / name, output, k=3, overwrite=True, told=told)
        found = read(output).sort(pl.col("user"), maintain_order=True)
        assert found["item"].to_list() == wanted, name
        assert told.unknown_items == 1


@pytest.mark.parametrize(
    ("table", "output", "said"),
    [
        ({"who": ["u4"]}, "recs.csv", "has no column 'user'"),
        ({"user": ["u4"]}, "recs.txt", "is named .parquet, .csv or .jsonl"),
        ({"user": ["u4"]}, "there.csv", "exists"),
        ({"user": ["u4"], "item": ["i03"], "time": ["soon"]}, "recs.csv", "'soon' is no time"),
        ({"user": ["u4"], "history": ["[i03, ["]}, "recs.csv", "cut, or nested"),
    ],
)
def test_what_cannot_be_answered_is_refused(
    model: SequencePredictor, tmp_path: Path, table: dict[str, list[str]], output: str, said: str
) -> None:
    pl.DataFrame(table).write_csv(tmp_path / "users.csv")
    (tmp_path / "there.csv").write_text("x\n")
    with pytest.raises(UserError, match=said):
        recommend_file(model, "m", tmp_path / "users.csv", tmp_path / output)
    assert not (tmp_path / "recs.csv").exists()


def test_large_groups_of_rows_are_cut_and_answered_in_order(
    model: SequencePredictor, users: Path, tmp_path: Path
) -> None:
    """Parquet of one group of rows, longer than what is copied at once."""
    recommend_file(model, "m", users, tmp_path / "csv.parquet", k=3)
    pl.read_csv(users).write_parquet(tmp_path / "users.parquet")
    done = recommend_file(model, "m", tmp_path / "users.parquet", tmp_path / "whole.parquet", k=3)
    assert done.rows == 40 > files.SLICE
    assert read(tmp_path / "whole.parquet").equals(read(tmp_path / "csv.parquet"))
    assert not [*tmp_path.rglob("raw_*")]


def test_an_empty_file_gives_an_empty_file(model: SequencePredictor, tmp_path: Path) -> None:
    pl.DataFrame({"user": []}, schema={"user": pl.String}).write_parquet(tmp_path / "none.parquet")
    done = recommend_file(model, "m", tmp_path / "none.parquet", tmp_path / "out.parquet")
    assert (done.rows, done.written) == (0, 0)
    assert read(tmp_path / "out.parquet").columns == ["user", "rank", "item", "title", "score"]


def test_what_is_refused_leaves_nothing_behind(
    model: SequencePredictor, users: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, bad = tmp_path / "recs.parquet", tmp_path / "bad.csv"
    pl.DataFrame({"user": ["u4"], "history": ["['i01'"]}).write_csv(bad)
    before = set(tmp_path.iterdir())

    def refused(*_: Any, **__: Any) -> pl.DataFrame:
        raise UserError("no")

    with pytest.raises(UserError, match="lists that are cut"):
        recommend_file(model, "m", bad, output)
    assert set(tmp_path.iterdir()) == before
    with monkeypatch.context() as patch:
        patch.setattr(model, "recommend", refused)
        with pytest.raises(UserError, match="no"):
            recommend_file(model, "m", users, output)
    assert set(tmp_path.iterdir()) == before
    assert recommend_file(model, "other", users, output).rows == 40


def test_a_copy_of_the_input_without_a_part_binds_nobody(
    model: SequencePredictor, users: Path, tmp_path: Path
) -> None:
    folder = tmp_path / ".recs.parquet.parts"  # as kill -9 leaves it
    folder.mkdir()
    (folder / "work.json").write_text('{"model": "m"}')
    (folder / "asked.parquet").write_bytes(b"")
    assert recommend_file(model, "other", users, tmp_path / "recs.parquet").rows == 40
    assert not folder.exists()


def test_a_part_in_which_nobody_is_named_goes_with_the_others(
    model: SequencePredictor, tmp_path: Path
) -> None:
    """Seven rows are a part: of the first one no user is known, by number or by name."""
    for users in ([None] * 8 + ["u4", "u9"], [None] * 7 + [7, 8]):
        source, output = tmp_path / "some.parquet", tmp_path / "recs.parquet"
        given = pl.DataFrame({"user": users})
        given.write_parquet(source)
        recommend_file(model, "m", source, output, k=2, overwrite=True)
        found = pl.read_parquet(output)
        assert found.schema["user"] == given.schema["user"]
        known = [user for user in users if isinstance(user, str)]
        assert found["user"].to_list() == [user for user in known for _ in range(2)]


def test_lists_are_refused_before_the_first_part_stays(tmp_path: Path) -> None:
    source, output = tmp_path / "rows.parquet", tmp_path / "rows.csv"
    pl.DataFrame({"tags": [["a"]] * 20}).write_parquet(source)
    asked: list[int] = []

    def answer(rows: pl.DataFrame, told: Told) -> pl.DataFrame:
        asked.append(len(rows))
        return rows

    with pytest.raises(UserError, match="CSV holds no lists, and the column 'tags' has them"):
        files.answer_file(source, output, {}, lambda rows: rows, answer, Told())
    assert asked == [7]
    assert [each.name for each in tmp_path.iterdir()] == ["rows.parquet"]
