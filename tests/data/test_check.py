"""``data check`` reports everything at once; ``data`` lists and prepares."""

import shlex
import time
from pathlib import Path

import pytest

from lightning_rec import config
from lightning_rec.commands.data import run
from lightning_rec.data import propose
from lightning_rec.data.check import Report, check_file
from lightning_rec.errors import UserError

GOOD = "uid,sku,ts\n" + "".join(
    f"u{u},i{i},{1600000000 + 10 * u + i}\n" for u in range(4) for i in range(4)
)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LIGHTNING_REC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LIGHTNING_REC_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "200")


def check(content: str, **columns: str) -> Report:
    Path("log.csv").write_text(content)
    return check_file(Path("log.csv"), **columns)


def test_a_good_file_has_figures_and_no_complaint() -> None:
    report = check(GOOD, user="uid", item="sku", time="ts")
    assert (report.errors, report.warnings) == ([], [])
    assert report.statistics is not None
    assert report.statistics[:4] == (4, 4, 16, 4.0)


def test_all_errors_are_told_at_once() -> None:
    report = check(
        "uid,sku,ts,stars\na,x,1600000000,1\n,x,1600000001,2\na,,1600000002,3\na,y,soon,4\na,y,1600000003,bad\n",
        user="uid", item="sku", time="ts", rating="stars",
    )  # fmt: skip
    assert [error.split(":")[0] for error in report.errors] == [
        f"log.csv, line {line}" for line in (3, 4, 5, 6)
    ]
    assert report.statistics is not None
    assert report.statistics.events == 1


def test_missing_columns_are_all_told() -> None:
    report = check(GOOD, user="usr", item="skew", time="ts")
    assert len(report.errors) == 2
    assert "Did you mean 'sku'?" in report.errors[1]


def test_columns_are_guessed_and_it_is_said() -> None:
    report = check("user_id,title,movieId,timestamp\na,T,x,1\n")
    assert report.ok
    assert "user=user_id" in report.warnings[1 - 1]
    assert "item=movieId" in report.warnings[1]
    assert "time=timestamp" in report.warnings[2]
    report = check("a,b\n1,2\n")
    assert [error.split("?")[0] for error in report.errors] == [
        f"Which column holds the {role} ids" for role in ("user", "item")
    ]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (GOOD + "u0,i0,1600000000\n", "1 rows are exact copies"),
        (GOOD + "new,i0,1600000000\n", "1 of 5 users have fewer than 3 events"),
        (GOOD + "u0,rare,1600000000\n", "1 of 5 items occur only once"),
        (GOOD + "u0,i3,100\n", "1 times are before 1995"),
        (GOOD + f"u0,i3,{int(time.time()) + 10_000}\n", "1 times are in the future"),
        ("uid,sku,ts\n" + "a,x,1600000000\n" * 3, "All times are the same"),
    ],
)
def test_oddities_are_warnings(content: str, expected: str) -> None:
    report = check(content, user="uid", item="sku", time="ts")
    assert report.ok
    assert any(expected in warning for warning in report.warnings)


def test_an_unreadable_file_is_an_error_of_the_report() -> None:
    assert "is empty" in check("").errors[0]
    assert "There is no file" in check_file(Path("absent.csv")).errors[0]
    assert "no data rows" in check("uid,sku\n", user="uid", item="sku").errors[0]


def test_the_command_checks(capsys: pytest.CaptureFixture[str]) -> None:
    Path("log.csv").write_text(GOOD)
    assert run(["check", "log.csv", "user=uid", "item=sku", "time=ts"]) == 0
    assert "nothing to complain about" in capsys.readouterr().out
    Path("log.csv").write_text(GOOD + ",i0,1600000000\n")
    assert run(["check", "log.csv", "user=uid", "item=sku", "time=ts"]) == 1
    assert "line 18" in capsys.readouterr().out


def test_the_command_lists(capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path("data/ml-100k")
    folder.mkdir(parents=True)
    (folder / "u.data").write_text("")
    assert run([]) == 0
    out = capsys.readouterr().out
    assert "MovieLens-1M" in out
    assert "ml_100k lies in" in out
    assert "ml_1m lies in" not in out


@pytest.mark.parametrize("prefix", ["", "data."])
def test_the_command_prepares(capsys: pytest.CaptureFixture[str], prefix: str) -> None:
    Path("log.csv").write_text(GOOD)
    settings = ("path=log.csv", "user=uid", "item=sku", "time=ts")
    assert run(["name=table", *(prefix + setting for setting in settings)]) == 0
    out = capsys.readouterr().out
    assert "100.0000%" in out
    assert "Prepared in" in out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["name=ml_100"], "Did you mean 'ml_100k'?"),
        (["name=table"], "data.path is not set"),
        (["name=table", "path=x.csv", "itm=sku"], "Did you mean 'item'?"),
        (["ml_100k"], "'ml_100k' is not understood"),
        (["path=x.csv"], "Say which data set"),
        (["check"], "Say which file"),
        (["check", "x.csv", "usr=a"], "Did you mean 'user'?"),
        (["check", "x.csv", "time_unit=h"], "'auto', 's', 'ms', 'us', 'ns' or 'excel'"),
    ],
)
def test_misuse_of_the_command(arguments: list[str], expected: str) -> None:
    with pytest.raises(UserError) as caught:
        run(arguments)
    assert expected in str(caught.value)


def proposed(path: str, content: str | bytes) -> str:
    Path(path).write_bytes(content if isinstance(content, bytes) else content.encode())
    report = check_file(Path(path))
    assert report.command is not None, report.errors
    return report.command.removeprefix(f"lightning-rec train data=table data.path={path} ")


EVENTS = [
    (f"{u}", f"{i}", f"{1 + (u + i) % 5}", f"{978300760 + 100 * u + i}")
    for u in range(4)
    for i in range(4)
]


@pytest.mark.parametrize(
    ("path", "content", "expected"),
    [
        ("u.data", "\n".join(map("\t".join, EVENTS)), "'data.columns=[user,item,rating,time]'"),
        ("ratings.dat", "\n".join(map("::".join, EVENTS)), "'data.columns=[user,item,rating,time]'"),
        ("ratings.csv", "\n".join(f"{t},A{u}Z,B00{i},{r}.0" for u, i, r, t in EVENTS), "'data.columns=[time,user,item,rating]'"),
        ("log.csv", GOOD.replace("uid,sku,ts", "CustomerID,StockCode,InvoiceDate"), "data.user=CustomerID data.item=StockCode data.time=InvoiceDate"),
        ("Beauty.txt", "1 1 2 3 4\n2 4 5 6\n3 1 6 7\n", "data.form=lines"),
        ("lists.csv", "user,items\na,\"['x', 'y']\"\nb,[]\n", "data.user=user data.item=items data.form=lists"),
        ("log.jsonl", '{"user": 1, "item": [1, 2]}\n', "data.user=user data.item=item data.form=lists"),
        ("log.tsv", "user\titem\nZo\xeb\tx\n".encode("latin-1"), "data.encoding=latin-1 data.user=user data.item=item protocol=random_items model=itemknn"),
        ("log.tsv", "user\titem\nZo\xeb\tx\n".encode("utf-16"), "data.encoding=utf-16 data.user=user data.item=item protocol=random_items model=itemknn"),
        ("bad.csv", GOOD.replace("u1,i1", ",i1"), "data.user=uid data.item=sku data.time=ts data.invalid=drop"),
    ],
)  # fmt: skip
def test_settings_that_fit_are_proposed(path: str, content: str | bytes, expected: str) -> None:
    assert proposed(path, content) == expected


def test_what_is_proposed_can_be_typed(capsys: pytest.CaptureFixture[str]) -> None:
    Path("a log's.csv").write_text("user;the item;ts\n1;x;1600000000\n2;y;1600000001\n")
    assert run(["check", "a log's.csv", "item=the item"]) == 0
    line = capsys.readouterr().out.split("To train on it:\n")[1]
    words = shlex.split(line)
    assert words[:3] == ["lightning-rec", "train", "data=table"]
    cfg = config.compose(words[2:])
    assert (cfg.data.path, cfg.data.item) == ("a log's.csv", "the item")


def test_a_catalogue_is_read_too() -> None:
    catalogue, items = Path("items.csv"), "sku,name\ni1,one\n"
    catalogue.write_text(items)
    given = {"user": "uid", "item": "sku", "time": "ts", "catalogue": str(catalogue)}
    report = check(GOOD, **given, catalogue_item="sku", catalogue_title="name")
    assert report.ok
    assert any(
        "items.csv has no row of" in each and "such as i0, i2, i3" in each
        for each in report.warnings
    )
    catalogue.write_text(items + "i1,again\n")
    report = check(GOOD, **given, catalogue_item="sku")
    assert report.errors == ["items.csv, column 'sku': ids must be unique, but these are not: i1."]
    assert report.command is None
    assert "no column 'nr'" in check(GOOD, **given, catalogue_item="nr").errors[0]


def test_a_line_with_names_that_hydra_reads_in_quotes_alone() -> None:
    Path("käufe.csv").write_text("Gerät,1,null\na,x,1600000000\nb,y,1600000001\n")
    line = check_file(Path("käufe.csv"), user="Gerät", item="1", time="null").command
    data = config.compose(shlex.split(line or "")[2:]).data
    assert (data.path, data.user, data.item, data.time) == ("käufe.csv", "Gerät", "1", "null")
    given = {"columns": ["user", "Gerät"], "item": "C:\\a, 'b'", "user": "user"}
    line = propose.command(Path("a.csv"), given, {})
    data = config.compose(shlex.split(line)[2:]).data
    assert (data.columns, data.item) == (given["columns"], given["item"])


def test_a_file_without_anything_like_a_log() -> None:
    Path("train.txt").write_text("\n".join("\t".join(map(str, range(40))) for _ in range(3)))
    report = check_file(Path("train.txt"))
    assert "there are: column_1, column_2" in report.errors[0]
    assert report.command is None


PLAYS = "uid,sku,played_at_ms,device\n" + "".join(
    f"u{u},i{i % 3},{1600000000000 + 10000 * u + i},d{i}\n" for u in range(4) for i in range(9)
)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"time": "ts", "val": "log.csv", "test": "log.csv"}, "protocol=given"),
        ({"time": "ts", "test": "log.csv"}, "protocol=given protocol.val_users=0"),
        ({"time": "ts", "user": None, "session": "uid"}, "protocol=sessions"),
        ({"time": "ts", "session": "uid", "test": "log.csv"}, "protocol=sessions protocol.val_from=null protocol.test_from=null"),
        ({"time": None}, "protocol=random_items model=itemknn"),
        ({"time": "ts"}, "data.time=ts"),
    ],
)  # fmt: skip
def test_the_line_names_the_protocol(columns: dict[str, str], expected: str) -> None:
    columns = {"user": "uid", "item": "sku"} | columns
    report = check(GOOD, **{key: value for key, value in columns.items() if key == "time" or value})
    assert report.command is not None, report.errors
    assert report.command.endswith(f" {expected}")
    assert config.compose(shlex.split(report.command)[2:])


def test_sessions_are_called_sessions(capsys: pytest.CaptureFixture[str]) -> None:
    Path("log.csv").write_text(GOOD)
    run(["check", "log.csv", "session=uid"])
    out = capsys.readouterr().out
    assert "sessions" in out
    assert "users" not in out


def test_repeats_are_told_and_seen_items_kept() -> None:
    report = check(PLAYS, user="uid", item="sku", time="played_at_ms")
    assert any(
        "24 of 36 (66.7%) events have the user and the item of an earlier one" in warning
        and "protocol.seen=keep" in warning
        for warning in report.warnings
    )
    assert report.command is not None
    assert report.command.endswith("data.time=played_at_ms protocol.seen=keep")


@pytest.mark.parametrize("name", ["played_at_ms", "timestamp_ms", "event_time", "created_at", "date", "playedAt", "rating_timestamp", "time."])  # fmt: skip
def test_likely_times_are_taken(name: str) -> None:
    report = check(PLAYS.replace("played_at_ms", name), user="uid", item="sku")
    assert any(f"time={name}" in warning for warning in report.warnings)
    assert f"data.time={name}" in str(report.command)


@pytest.mark.parametrize("name", ["update_count", "points", "time_spent", "lifetime"])
def test_what_only_sounds_like_times_is_not(name: str) -> None:
    content = GOOD.replace("ts\n", f"{name}\n").replace("16000000", "")
    report = check(content, user="uid", item="sku")
    assert report.ok
    assert "data.time" not in str(report.command)


def test_lists_and_words_of_times_are_seen() -> None:
    report = check("user,items,times\na,\"['x', 'y']\",\"[1600000000, 1600000001]\"\n")
    assert "data.time=times" in str(report.command)
    report = check("uid,sku,created_at\na,x,Wed Oct 10 20:19:24 +0000 2018\n")
    assert "data.time=created_at" in str(report.command)


def test_dates_are_times_whatever_they_are_called() -> None:
    report = check("uid,sku,p\n" + "a,x,2020-01-01\na,y,2020-02-01\n", user="uid", item="sku")
    assert "data.time=p" in str(report.command)


def test_rows_that_differ_elsewhere_are_no_copies() -> None:
    report = check(PLAYS, user="uid", item="sku", time=None)
    (told,) = [warning for warning in report.warnings if "24 rows" in warning]
    assert "alike in the named columns (uid, sku)" in told


def test_clicks_are_sent_to_the_schema() -> None:
    report = check("uid,sku,click\na,x,0\na,y,1\nb,x,1\n", user="uid", item="sku")
    assert any(
        "'lightning-rec data schema log.csv label=click'" in warning for warning in report.warnings
    )


def test_faults_of_further_parts_are_told() -> None:
    Path("test.csv").write_text("uid,sku,ts\na,,1600000000\n")
    report = check(GOOD, user="uid", item="sku", time="ts", test="test.csv")
    assert any("test.csv, line 2" in error for error in report.errors)


@pytest.mark.parametrize("name", ["birth_date", "signup_date", "release_date", "dateOfBirth", "published_at", "p"])  # fmt: skip
def test_dates_of_users_and_items_are_no_times_of_events(name: str) -> None:
    rows = "".join(f"u{n % 5},i{n % 4},19{70 + n % 5}-05-06\n" for n in range(40))
    report = check(f"uid,sku,{name}\n{rows}", user="uid", item="sku")
    assert "data.time" not in str(report.command)
    told = [warning for warning in report.warnings if "times of users or items" in warning]
    assert len(told) == (name != "p")


def test_a_set_of_ones_own_is_checked_listed_and_prepared_by_name(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("log.csv").write_text(GOOD.replace("uid", "wer"))
    (Path("mine") / "data").mkdir(parents=True)
    text = "defaults: [table, _self_]\npath: log.csv\nuser: wer\nitem: sku\ntime: ts\n"
    (Path("mine") / "data" / "shop.yaml").write_text(text)
    assert run(["check", "--config-dir", "mine", "name=shop"]) == 0
    assert "data.user=wer data.item=sku data.time=ts" in capsys.readouterr().out
    assert run(["check", "name=shop", "--config-dir=mine", "item=skew"]) == 1
    assert "Did you mean 'sku'" in capsys.readouterr().out
    assert run(["name=shop", "--config-dir", "mine"]) == 0
    assert "Prepared in" in capsys.readouterr().out
    assert run(["--config-dir", "mine"]) == 0
    assert "shop " in capsys.readouterr().out
    with pytest.raises(UserError, match="'ml_100k' is no log of your own: 'lightning-rec data"):
        run(["check", "name=ml_100k"])


def test_hints_name_the_keys_as_the_check_takes_them(capsys: pytest.CaptureFixture[str]) -> None:
    Path("log.csv").write_bytes(GOOD.replace("i1", "K\u00f6ln").encode("latin-1"))
    assert run(["check", "log.csv"]) == 0
    told = capsys.readouterr().out
    assert "encoding=latin-1 (which reads" in told
    assert "data." not in told.partition("To train on it:")[0]


def test_what_is_no_log_is_told_with_what_to_type_instead() -> None:
    with pytest.raises(UserError, match="pairs are read by 'lightning-rec data name=pairs path=p"):
        run(["check", "p.csv", "query=q"])
    with pytest.raises(UserError, match="clicks is read by 'lightning-rec data schema p"):
        run(["check", "p.csv", "label=q"])
