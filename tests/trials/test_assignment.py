"""Who gets which variant: the same everywhere, in the shares that were asked for."""

import hashlib
import subprocess
import sys

import polars as pl
import pytest
from scipy import stats

from lightning_rec.errors import UserError
from lightning_rec.trials import Assignment

USERS = pl.Series("user", [f"u{number}" for number in range(20_000)])


def by_hand(experiment: str, user: str) -> tuple[float, float]:
    """Both numbers of the hash, by another way."""
    text = hashlib.sha256(f"{len(experiment)}:{experiment}:{user}".encode()).hexdigest()
    return int(text[:16], 16) / 2**64, int(text[16:32], 16) / 2**64


def test_shares_are_kept_and_some_are_in_no_variant() -> None:
    shares = {"a": 0.3, "b": 0.2, "c": 0.1}
    found = Assignment("spring", shares).of_all(USERS)
    counts = dict(found.value_counts().iter_rows())
    expected = [len(USERS) * share for share in (0.3, 0.2, 0.1, 0.4)]
    assert stats.chisquare([counts[key] for key in ("a", "b", "c", None)], expected).pvalue > 1e-3


def test_it_is_the_hash_of_the_name_and_the_user() -> None:
    made = Assignment("spring", {"a": 0.3, "b": 0.2})
    for user in USERS[:500]:
        inside, which = by_hand("spring", user)
        expected = None if inside >= 0.5 else "a" if which < 0.6 else "b"
        assert made.of(user) == expected


def test_another_process_says_the_same() -> None:
    program = (
        "from lightning_rec.trials import Assignment; "
        "print(''.join(Assignment('x', {'a': .5, 'b': .5}).of(f'u{n}') for n in range(300)))"
    )
    line = [sys.executable, "-c", program]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    made = Assignment("x", {"a": 0.5, "b": 0.5})
    assert done.stdout.strip() == "".join(made.of(f"u{n}") or "" for n in range(300))


def test_another_experiment_parts_users_anew() -> None:
    one, other = (Assignment(name, {"a": 0.5, "b": 0.5}).of_all(USERS) for name in ("x", "y"))
    both = pl.DataFrame({"one": one, "other": other}).group_by("one", "other").len()["len"]
    assert stats.chisquare(both.to_list()).pvalue > 1e-3


def test_raised_shares_add_users_and_move_none() -> None:
    few, many = (Assignment("x", {"a": s, "b": s}).of_all(USERS) for s in (0.05, 0.4))
    known = few.is_not_null()
    assert many.filter(known).equals(few.filter(known))
    assert many.null_count() < few.null_count()


def test_an_id_is_one_in_whatever_form_it_comes() -> None:
    made = Assignment("x", {"a": 0.5, "b": 0.5})
    texts = made.of_all(pl.Series([str(number) for number in range(50)]))
    for kind in (pl.Int64, pl.Float64):
        assert made.of_all(pl.Series(range(50), dtype=kind)).equals(texts)
    assert made.of_all(pl.Series([None, "NULL"])).to_list() == [None, None]


@pytest.mark.parametrize(
    ("experiment", "shares", "told"),
    [
        (" ", {"a": 0.5, "b": 0.5}, "give the experiment a name"),
        ("x", {"a": 0.5}, "two variants or more"),
        ("x", {"a": 0.5, "b": 0.0}, "that of 'b' is 0"),
        ("x", {"a": 0.7, "b": 0.7}, "sum to 1.4, which is more than 1"),
    ],
)
def test_what_is_no_experiment_is_refused(
    experiment: str, shares: dict[str, float], told: str
) -> None:
    with pytest.raises(UserError, match=told):
        Assignment(experiment, shares)
