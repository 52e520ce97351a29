"""The request log: which answer a click belongs to, beside a plain loop; and lines that are cut."""

import gzip
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from lightning_rec.errors import UserError
from lightning_rec.trials.requests import (
    Requests,
    of_experiment,
    read_requests,
    shown,
    users_of_requests,
)


def lines(seed: int, number: int = 400) -> list[dict[str, Any]]:
    """Answers and events of a few users over a few items, in order."""
    chance, made = np.random.default_rng(seed), []
    for place in range(number):
        user = f"u{chance.integers(6)}"
        about = {"at": f"2026-11-28T10:00:{place / 10:06.3f}Z", "id": f"x{place}", "status": 200}
        if chance.random() < 0.4:
            items = [str(item) for item in chance.permutation(8)[: chance.integers(1, 3)]]
            worth = {"value": round(float(chance.random()), 2)} if len(items) > 1 else {}
            made.append(about | {"path": "/events", "user": user, "items": items} | worth)
            continue
        items = [str(item) for item in chance.permutation(8)[: chance.integers(0, 4)]]
        answer = about | {"path": "/recommend", "user": user, "items": items}
        if place >= number // 4:
            answer |= {"experiment": "e", "variant": "ab"[int(user[1]) % 2]}
        made.append(answer)
    return made


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_clicks_are_those_of_a_plain_loop(tmp_path: Path) -> None:
    rows = lines(0)
    clicked, latest = set[tuple[str, str]](), dict[tuple[str, str], str]()
    for row in rows:
        for item in row["items"]:
            if row["path"] == "/recommend":
                latest[row["user"], item] = row["id"]
            elif (row["user"], item) in latest:
                clicked.add((latest[row["user"], item], item))
    half = [rows[::2], rows[1::2]]  # as of two servers
    paths = [write(tmp_path / f"{number}.jsonl", part) for number, part in enumerate(half)]
    requests = read_requests(paths)
    found = shown(requests, requests.lists)
    assert len(found) == sum(len(row["items"]) for row in rows if row["path"] == "/recommend")
    assert set(found.filter("clicked").select("id", "item").iter_rows()) == clicked
    assert 20 < len(clicked) < len(found) / 2
    lists = of_experiment(requests, "e")
    users = users_of_requests(requests, lists)
    answers = [row for row in rows if "variant" in row]
    begun = rows.index(answers[0])
    for user in users.iter_rows(named=True):
        own = [row for row in answers if row["user"] == user["user"]]
        events = [row["user"] == user["user"] and row["path"] == "/events" for row in rows]
        numbers = [len(row["items"]) * one for row, one in zip(rows, events, strict=True)]
        assert user["lists"] == len(own)  # those without items too
        assert user["shown"] == sum(len(row["items"]) for row in own)
        assert user["clicks"] == len([one for one in clicked if one[0] in {r["id"] for r in own}])
        worth = [row.get("value", 0) * one for row, one in zip(rows, events, strict=True)]
        assert user["value"] == pytest.approx(sum(worth[begun:]))
        assert (user["before"], user["events"]) == (sum(numbers[:begun]), sum(numbers[begun:]))


def test_a_line_that_was_cut_is_left_out_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "log.jsonl", lines(1))
    whole = read_requests([path])
    with path.open("a") as stream:
        stream.write('{"at": "2026-11-28T10:01:00.000Z", "id": "y", "path": "/rec')
        stream.write(json.dumps(lines(1)[-1]) + "\n")  # the next process goes on
    with caplog.at_level(logging.WARNING):
        found = read_requests([path])
    assert "not whole are left out, 1 of them" in caplog.text
    assert found.lists.equals(whole.lists)


def test_a_user_who_moved_between_variants_is_refused(tmp_path: Path) -> None:
    rows = lines(2)
    moved = next(row for row in reversed(rows) if "variant" in row)
    moved["variant"] = "c"
    requests = read_requests([write(tmp_path / "log.jsonl", rows)])
    with pytest.raises(UserError, match=f"'{moved['user']}' is in more than one variant"):
        users_of_requests(requests, of_experiment(requests, None))
    other = pl.DataFrame({"a": [1]})
    other.write_csv(tmp_path / "other.csv")
    with pytest.raises(UserError, match="no log of requests"):
        read_requests([tmp_path / "other.csv"])


def alike(found: Requests, whole: Requests) -> bool:
    """Whether two logs tell the same; clicks are in no order."""
    clicks = [each.clicks.sort("order", "item") for each in (found, whole)]
    return clicks[0].equals(clicks[1]) and all(
        a.equals(b) for a, b in zip(found[:3], whole[:3], strict=True)
    )


def test_copies_of_a_log_count_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = lines(3)
    whole = read_requests([write(tmp_path / "whole.jsonl", rows)])
    half = len(rows) // 2
    first = write(tmp_path / "first.jsonl", rows[: half + 50])
    rest = write(tmp_path / "rest.jsonl", rows[half:])
    for paths in ([first, rest], [first, first, rest]):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            found = read_requests(paths)
        again = 50 if len(paths) == 2 else half + 100
        assert f"{again} of {len(rows) + again} lines stand there twice" in caplog.text
        assert alike(found, whole)


def test_moments_are_ordered_whatever_their_zone(tmp_path: Path) -> None:
    rows = lines(4)
    whole = read_requests([write(tmp_path / "utc.jsonl", rows)])
    moved = [row | {"at": row["at"].replace("T10:", "T16:").replace("Z", "+06:00")} for row in rows]
    plain = [row | {"at": row["at"].removesuffix("Z")} for row in rows]
    mixed = [(rows, moved, plain)[at % 3][at] for at in range(len(rows))]
    for name, made in (("moved", moved), ("plain", plain), ("mixed", mixed)):
        found = read_requests([write(tmp_path / f"{name}.jsonl", made)])
        assert alike(found, whole), name


def test_times_and_values_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    rows = lines(5)
    odd = [row | ({"at": "29.11.2026 05:15"} if at % 2 else {}) for at, row in enumerate(rows)]
    with pytest.raises(
        UserError, match=r"odd\.jsonl: the time of 200 of 400.*'29\.11\.2026 05:15'"
    ):
        read_requests([write(tmp_path / "odd.jsonl", odd)])
    typed = [row | {"status": "many"} for row in rows]
    with pytest.raises(UserError, match=r"typed\.jsonl has a line that 'serve' would not write"):
        read_requests([write(tmp_path / "typed.jsonl", typed)])


def test_a_log_that_was_just_begun_or_packed(tmp_path: Path) -> None:
    path = write(tmp_path / "log.jsonl", lines(6))
    empty = write(tmp_path / "empty.jsonl", [])
    whole = read_requests([path])
    packed = tmp_path / "packed.jsonl.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    for paths in ([path, empty], [empty, packed]):
        assert alike(read_requests(paths), whole)
    with pytest.raises(UserError, match=r"empty\.jsonl is empty: nothing was asked"):
        read_requests([empty])


def test_an_archive_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    whole = gzip.compress("".join(json.dumps(row) + "\n" for row in lines(7)).encode())
    for name, content in (("half.gz", whole[: len(whole) // 2]), ("head.gz", whole[:12])):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(UserError, match=name):
            read_requests([path])
