"""Where a split by time is cut: at a quantile of the times, or at a date."""

import math
from datetime import UTC, datetime
from typing import Any

import numpy as np

from lightning_rec.data.split import Split
from lightning_rec.data.types import Ints, Times
from lightning_rec.errors import UserError

Cut = float | str
CUTS = ("val_from", "test_from")
_CUT_FORMS = (
    "a quantile of the times, above 0 and below 1, or a date such as 2001-09-11 or "
    "2001-09-11T08:46-04:00 (without a zone it is UTC)"
)


def settle(protocol: Any, ordered: bool = True) -> None:
    """Check the cuts of a protocol as it is made, and write its dates in UTC, so that equal moments
    have equal hashes. Raises UserError for what is no cut, or in the wrong order if ``ordered``.
    """
    for key in CUTS:
        object.__setattr__(protocol, key, _settled(key, getattr(protocol, key)))
    val_from, test_from = (getattr(protocol, key) for key in CUTS)
    quantiles = isinstance(val_from, float) and isinstance(test_from, float)
    if quantiles and ordered and val_from >= test_from:
        raise _disordered(val_from, test_from)


def settle_dates(protocol: Any, *keys: str) -> None:
    """Write dates of a protocol in UTC. Raises UserError for what is none."""
    for key in keys:
        if (said := getattr(protocol, key)) is not None:
            try:
                object.__setattr__(protocol, key, _settled(key, str(said)))
            except UserError:
                raise UserError(
                    f"protocol.{key}={said}: it is a date such as 2001-09-11 or "
                    "2001-09-11T08:46-04:00 (without a zone it is UTC)."
                ) from None


def seconds(date: str) -> float:
    """Seconds since 1970 of a date that was settled."""
    return datetime.fromisoformat(date.replace("Z", "+00:00")).timestamp()


def boundaries(
    val_from: Cut,
    test_from: Cut,
    time: Times,
    *,
    user: Ints | None = None,
    unit: float = 1,
) -> tuple[float, float]:
    """Times where validation and test begin, in the unit of ``time`` [N], ``unit`` of which are
    a second. With ``user`` [N], ``val_from`` is a quantile of the times before the test, of users
    with several there. Raises UserError if they are in the wrong order, or leave nothing.
    """

    def moment(key: str, cut: Cut, among: Times) -> float:
        if isinstance(cut, str):
            return _dated(key, cut, time, unit)
        if user is not None:
            return _first_after(among, cut)
        return float(np.quantile(among, cut, method="higher"))

    test_at, among = moment("test_from", test_from, time), time
    if user is not None:
        early = time < test_at
        several = np.bincount(user[early], minlength=user.max() + 1) > 1
        among = time[early & several[user]]
    val_at = moment("val_from", val_from, among)
    if isinstance(val_from, str) or isinstance(test_from, str):
        cuts = ((val_from, val_at), (test_from, test_at))
        if val_at >= test_at:
            told = (
                at if isinstance(at, str) else f"{at} ({_iso(when / unit)})" for at, when in cuts
            )
            raise _disordered(*told)
    if np.issubdtype(time.dtype, np.integer):  # the first whole second from there on
        return math.ceil(val_at), math.ceil(test_at)
    return val_at, test_at


def _first_after(time: Times, share: float) -> float:
    """The first time later than this quantile; where there is none, one later than all."""
    later = time[time > np.quantile(time, share)] if len(time) else time
    return (later.min() if len(later) else time.max(initial=0) + 1).item()


def period(first: float, last: float, unit: float = 1) -> str:
    """``2000-04-25T23:05:32Z to 2003-02-28T17:49:50Z``."""
    return f"{_iso(first / unit)} to {_iso(last / unit)}"


def told_cuts(split: Split) -> str:
    """Where a split by time is cut, and from when to when its events go."""
    assert split.boundaries is not None
    assert split.times is not None
    cuts = (f"protocol.{key} is {_iso(at)}" for key, at in zip(CUTS, split.boundaries, strict=True))
    told = " and ".join(cuts)
    if not len(split.times):
        return f"{told}, and no event lies before them"
    return f"{told}, and the times go from {period(split.times.min(), split.times.max())}"


def _settled(key: str, cut: Cut) -> Cut:
    if not isinstance(cut, str):
        if 0 < cut < 1:
            return float(cut)
        raise UserError(f"protocol.{key}={cut:.15g}: it is {_CUT_FORMS}.")
    try:
        moment = datetime.fromisoformat(cut.strip().replace("Z", "+00:00"))
    except ValueError:
        raise UserError(f"protocol.{key}={cut}: it is {_CUT_FORMS}.") from None
    return _iso_of(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def _dated(key: str, cut: str, time: Times, unit: float) -> float:
    """The moment of a date, which must leave something on both sides."""
    at = seconds(cut) * unit
    first, last = float(time.min()), float(time.max())
    if first < at <= last:
        return at
    what = "before it to train on" if at <= first else "from then on"
    raise UserError(
        f"protocol.{key}={cut}: the data has nothing {what}, its times go from "
        f"{period(first, last, unit)}."
    )


def _disordered(val_from: object, test_from: object) -> UserError:
    return UserError(f"protocol.val_from={val_from} must lie before test_from={test_from}.")


def _iso(seconds: float) -> str:
    try:
        return _iso_of(datetime.fromtimestamp(seconds, UTC))
    except (ValueError, OverflowError, OSError):  # beyond what a calendar holds
        return f"{seconds:.0f} s after 1970"


def _iso_of(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
