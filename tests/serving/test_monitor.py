"""``lightning-rec monitor`` over the log of a server, against the bundle that answered."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from test_readme import CLONE, commands

from lightning_rec import cli
from lightning_rec.bundle.manifest import write
from lightning_rec.errors import UserError
from lightning_rec.monitoring.bins import of_table


@pytest.fixture(scope="module")
def bundle(sasrec: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("watched") / "bundle"
    assert cli.run(["export", f"run={sasrec}", f"to={target}"]) == 0
    return target


def asked_of(
    served: Callable[..., Any], bundle: Path, log: Path, histories: list[list[Any]], **said: Any
) -> Any:
    ask = served(bundle, log=log, log_items=True, **said)
    for number, history in enumerate(histories):
        ask("/recommend", {"history": history, "k": 5, "unit": f"v{number}"})
    return ask


def test_a_bundle_keeps_what_its_users_did_and_would_be_shown(
    bundle: Path, log_frame: pl.DataFrame
) -> None:
    files = json.loads((bundle / "bundle.json").read_text())["files"]
    assert {"monitor.parquet", "popularity.parquet"} <= files.keys()
    known = of_table(pl.read_parquet(bundle / "monitor.parquet"))
    lengths = log_frame.group_by("uid").len()["len"]
    assert known["length of histories"].units == len(lengths)
    assert pl.read_parquet(bundle / "popularity.parquet")["count"].sum() == lengths.sum()
    assert all(of.shares.sum() == pytest.approx(1) for of in known.values())
    hours = (log_frame["ts"] // 3600 % 24).n_unique()
    assert ("hours" in known) == (hours > 1)


def test_the_verb_tells_of_renamed_ids_and_of_nothing_where_nothing_moved(
    served: Callable[..., Any], bundle: Path, log_frame: pl.DataFrame, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    by_user = log_frame.group_by("uid", maintain_order=True).agg("sku")["sku"].to_list()
    good, bad = tmp_path / "good.jsonl", tmp_path / "bad.jsonl"
    asked_of(served, bundle, good, by_user)
    asked_of(served, bundle, bad, [[f"sku-{item}" for item in items] for items in by_user])
    line = json.loads(good.read_text().splitlines()[0])
    assert line["history"] == by_user[0][-10:]
    assert line["length"] == len(by_user[0])
    assert len(line["scores"]) == len(line["items"]) == 5

    words = ["monitor", f"model={bundle}"]
    capsys.readouterr()
    found = tmp_path / "found.json"
    assert cli.run([*words, f"log={good}", f"reference={good}", f"json={found}"]) == 0
    assert "Nothing moved." in capsys.readouterr().out
    lines = {each["name"]: each for each in json.loads(found.read_text())["lines"]}
    assert lines["length of histories"]["ks"] == 0
    assert lines["latency p50"]["value"] > 0

    assert cli.run([*words, f"log={bad}", f"reference={good}"]) == 3
    told = capsys.readouterr().out
    assert "popularity of histories" in told
    assert "unknown: 0.0% → 100.0%" in told.replace("\n", " ")


def test_users_of_sessions_are_logged_with_their_history(
    served: Callable[..., Any], bundle: Path, log_frame: pl.DataFrame, tmp_path: Path
) -> None:
    log = tmp_path / "log.jsonl"
    ask = asked_of(served, bundle, log, [])
    known = log_frame.filter(pl.col("uid") == "u3")["sku"].to_list()
    ask("/recommend", {"user": "u3", "k": 2})
    ask("/events", {"user": "u3", "items": ["i01", "new"]})
    ask("/recommend", {"user": "u3", "k": 2})
    first, _, then = map(json.loads, log.read_text().splitlines())
    assert (first["history"], first["length"]) == (known[-10:], len(known))
    assert (then["history"], then["length"]) == ([*known, "i01", "new"][-10:], len(known) + 2)


def test_what_cannot_be_compared_is_said(
    served: Callable[..., Any], bundle: Path, sasrec: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    bare, log = tmp_path / "bare", tmp_path / "log.jsonl"
    assert cli.run(["export", f"run={sasrec}", f"to={bare}", "users=no"]) == 0
    assert (bare / "monitor.parquet").is_file()  # of sums alone
    for name in ("monitor", "popularity"):
        (bare / f"{name}.parquet").unlink()
    settings = json.loads((bare / "bundle.json").read_text())["settings"]
    (bare / "bundle.json").unlink()
    write(bare, "sequences", settings)
    asked_of(served, bare, log, [["i01", "i02"]] * 40)
    capsys.readouterr()
    assert cli.run(["monitor", f"model={bare}", f"log={log}"]) == 0
    assert "keeps nothing to compare with" in capsys.readouterr().out.replace("\n", " ")
    with pytest.raises(UserError, match=r"other models answered.* Say model= as it was served"):
        cli.run(["monitor", f"model={bundle}", f"log={log}"])
    for words, told in [
        (["limits={nothing: 0.1}"], "knows no nothing"), (["last=1"], "every="),
        (["every=often"], "a time is as 1d"), (["level=2"], "level"),
    ]:  # fmt: skip
        with pytest.raises(UserError, match=told):
            cli.run(["monitor", f"model={bare}", f"log={log}", *words])


def test_the_commands_of_the_page(
    served: Callable[..., Any], bundle: Path, deepfm: Path, log_frame: pl.DataFrame,
    click_frame: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    by_user = log_frame.group_by("uid", maintain_order=True).agg("sku")["sku"].to_list()
    asked_of(served, bundle, tmp_path / "requests.jsonl", by_user)
    (tmp_path / "bundle").symlink_to(bundle)
    (tmp_path / "clicks").symlink_to(deepfm)
    click_frame.write_csv("scored.csv")
    click_frame.head(300).write_csv("good.csv")
    found = commands(CLONE / "docs" / "monitoring.md", "FOLDER|serve ")
    for words in found:
        assert cli.run(words[1:]) in (0, 3), words
    assert len(found) == 5
    page = Path("watch.html").read_text()
    assert "popularity of histories" in page
    assert "http://" not in page.split("<script>")[0]  # it needs no network
