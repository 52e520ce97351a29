"""Whom a request is for: raw ids of a history or a user become what a model is asked with."""

from collections.abc import Sequence
from typing import Any

from lightning_rec.serving.answering import History
from lightning_rec.serving.errors import Refusal
from lightning_rec.serving.opening import Model
from lightning_rec.serving.raw_ids import Id, text_of


def of_items(model: Model, history: Sequence[Id], most: int) -> tuple[History, int]:
    """A history of raw ids, and how many of them are unknown. Raises Refusal."""
    if len(history) > most:
        raise Refusal("too_large", f"A history has at most {most:,} items: send the latest.")
    if needs_users(model):
        raise Refusal(
            "cannot_answer",
            f"{named(model)}, which has a vector for each user that it was trained on, and none "
            "of a history: ask for a user.",
        )
    codes = [model.codes.get(item) if type(item) is str else None for item in history]
    for place, code in enumerate(codes):
        if code is None:  # not spelt as the model spells it, or unknown
            codes[place] = model.codes.get(text_of(history[place]) or "")
    known = [code for code in codes if code is not None]
    return History(known, -1), len(history) - len(known)


def of_user(model: Model, user: str, events: Sequence[str]) -> tuple[History, int]:
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
    codes = history_of(model, user, events)
    unknown = sum(item not in model.codes for item in events)
    is_new = bool(events) and not needs_users(model)
    return History(codes, -1 if is_new else model.users[user]), unknown


def of_searcher(model: Model, user: str, events: Sequence[str]) -> tuple[History, int]:
    """The same for a search, where somebody unknown has no history: the order is of relevance."""
    if user not in model.users and (needs_users(model) or not events):
        return History([], -1), 0
    return of_user(model, user, events)


def history_of(model: Model, user: str, events: Sequence[str]) -> Sequence[int]:
    """Codes of what is known of a user: by the model's log, then by his session."""
    new = since_log(model, user, events)
    return [*log_of(model, user), *(model.codes[item] for item in new if item in model.codes)]


def log_of(model: Model, user: str) -> Sequence[int]:
    """Codes of what a model's log knows of a user; none for somebody else."""
    if user not in model.users:
        return []
    known: Any = model.predictor.users["items"][model.users[user]]  # type: ignore[attr-defined]
    return list(known)


def since_log(model: Model, user: str, events: Sequence[str]) -> Sequence[str]:
    """The events of a session that came after those of the model's log.

    A model that was trained since has the first ones in its log already: what the log ends with and
    the session, as far as it is known, begins with is taken once.
    """
    places = [place for place, item in enumerate(events) if item in model.codes]
    known, codes = log_of(model, user), [model.codes[events[place]] for place in places]
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
