"""Whom a request is for: raw ids of a history or a user become what a model is asked with."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from lightning_rec.data.side import Columns
from lightning_rec.predict.sequences import SequencePredictor
from lightning_rec.predict.told import Told
from lightning_rec.serving.errors import Refusal
from lightning_rec.serving.events import Event, events_of, frame_of
from lightning_rec.serving.histories import History
from lightning_rec.serving.opening import Model
from lightning_rec.serving.raw_ids import Id, text_of
from lightning_rec.serving.schemas import HistoryItem, Item


def of_items(model: Model, history: Sequence[Item], most: int) -> tuple[History, int]:
    """A history as a request has it, and how many of its items are unknown.

    Raises Refusal, and UserError for times or columns that cannot be read.
    """
    if len(history) > most:
        raise Refusal("too_large", f"A history has at most {most:,} items: send the latest.")
    if needs_users(model):
        raise Refusal(
            "cannot_answer",
            f"{named(model)}, which has a vector for each user that it was trained on, and none "
            "of a history: ask for a user.",
        )
    if any(isinstance(item, HistoryItem) for item in history):
        return _of_events(model, events_of(history))
    codes = [model.codes.get(item) if type(item) is str else None for item in history]
    for place, code in enumerate(codes):
        if code is None:  # not spelt as the model spells it, or unknown
            codes[place] = model.codes.get(text_of(history[place]) or "")  # type: ignore[arg-type]
    known = [code for code in codes if code is not None]
    return History(known, -1), len(history) - len(known)


def _of_events(model: Model, events: Sequence[Event]) -> tuple[History, int]:
    """What Python makes of a row for each event."""
    assert isinstance(model.predictor, SequencePredictor)
    asked = model.predictor.asked(frame_of(events), None, Told())
    codes = asked.items.tolist()
    found = History(codes, -1, asked.times, asked.events, asked.lacks)
    return found, len(events) - len(codes)


def of_user(model: Model, user: str, events: Sequence[Event]) -> tuple[History, int]:
    """All that is known of a user, and how many of his events are not. Raises Refusal."""
    if user not in model.users and (needs_users(model) or not events):
        raise Refusal(
            "unknown_user",
            "The model does not know this user, and can take nothing from events: ask for one that "
            "it was trained on."
            if needs_users(model)
            else "The model does not know this user, and nothing of his was sent to /events: ask "
            "with a history.",
        )
    new = [each for each in since_log(model, user, events) if each.item in model.codes]
    codes = [model.codes[each.item] for each in new]
    unknown = sum(each.item not in model.codes for each in events)
    is_new = bool(new) and not needs_users(model)
    known = _logged(model, user)
    if not model.reads_events:
        return History([*known.codes, *codes], -1 if is_new else known.user), unknown
    side = model.predictor.model.side  # type: ignore[attr-defined]
    columns = Columns() if side is None else side.of_events
    found = known.then(codes, new, columns)
    reads_user = side is not None and side.users is not None
    return found._replace(user=-1 if is_new and not reads_user else known.user), unknown


def of_searcher(model: Model, user: str, events: Sequence[Event]) -> tuple[History, int]:
    """The same for a search, where somebody unknown has no history: the order is of relevance."""
    if user not in model.users and (needs_users(model) or not events):
        return History([], -1), 0
    return of_user(model, user, events)


def _logged(model: Model, user: str) -> History:
    """What a model's log knows of a user, with all that the model reads of his events."""
    codes, code = log_of(model, user), model.users.get(user, -1)
    if not model.reads_events or not codes:
        return History(codes, code)
    users: Any = model.predictor.users  # type: ignore[attr-defined]
    times = events = None
    if "times" in users.columns:
        times = users["times"][code].to_numpy()
    if "events" in users.columns:
        events = users["events"][code].to_numpy().astype(np.int32).reshape(len(codes), -1)
    return History(codes, code, times, events)


def log_of(model: Model, user: str) -> Sequence[int]:
    """Codes of what a model's log knows of a user; none for somebody else."""
    if user not in model.users:
        return []
    known: Any = model.predictor.users["items"][model.users[user]]  # type: ignore[attr-defined]
    return list(known)


def since_log(model: Model, user: str, events: Sequence[Event]) -> Sequence[Event]:
    """The events of a session that came after those of the model's log, in the order of time.

    A model that was trained since has the first ones in its log already: what the log ends with and
    the session, as far as it is known, begins with is taken once.
    """
    events = sorted(events, key=lambda each: each.time or 0.0)  # as in a log, whenever they came
    places = [place for place, each in enumerate(events) if each.item in model.codes]
    known, codes = log_of(model, user), [model.codes[events[place].item] for place in places]
    most = min(len(known), len(codes))
    both = next((n for n in range(most, 0, -1) if known[-n:] == codes[:n]), 0)
    return events[places[both - 1] + 1 :] if both else events


def user_of(user: Id | None) -> str:
    """The name of a user. Raises Refusal for none."""
    name = None if user is None else text_of(user)
    if name is None:
        raise Refusal("invalid", "user: this is no id, as an empty text is none.")
    return name


def needs_users(model: Model) -> bool:
    """Whether a model answers only for users that it was trained on."""
    return bool(getattr(model.predictor.model, "needs_users", False))  # type: ignore[attr-defined]


def named(model: Model) -> str:
    """A model, as sentences begin."""
    return f"The model is {model.predictor.name}, one of {model.kind}"
