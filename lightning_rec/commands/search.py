"""``lightning-rec search model=FOLDER "query"``: the best items of a catalogue for a text."""

from pathlib import Path
from typing import Any

from lightning_rec.commands.asked import RULES, ids, keys_of, rules_of
from lightning_rec.commands.loading import loading
from lightning_rec.commands.sets import number
from lightning_rec.errors import UserError
from lightning_rec.screen import Screen
from lightning_rec.tables import FittedTable, figures, text

HELP = """\
The best items of a catalogue for a query, by title, with their scores; and in
the order of one user, by relevance and taste.

usage: lightning-rec search model=FOLDER [k=10] [RULES] "QUERY" ["QUERY" ...]
       lightning-rec search model=FOLDER taste=FOLDER user=ID|history=[ID,...]
                            weight=FILE|NUMBER [among=100] [k=10] [RULES] "QUERY" ...
       lightning-rec search model=FOLDER taste=FOLDER --fit ROWS to=FILE

FOLDER is a completed run or a bundle of matching: of BM25, of a bi-encoder, or of
a cross-encoder, which re-ranks what its first stage finds (run= says the same).
The vectors of the catalogue are made once and kept in the cache.

taste= is a model of sequences over the same ids of items. The 100 most relevant
items come in the order of (1 - w) relevance + w taste, both standardised over
these. --fit finds w: ROWS (.parquet, .csv, .jsonl) has query, item (what was
chosen) and history (items before it) or user, later than what both models were
trained on; the file to= is what weight= takes then.

RULES are those of recommend: allow= deny= where= per= boosts= at= diversity=
explore= seed= pool=, and with a user seen=filter|keep. items=FILE gives the
catalogue the columns that where= and per= ask of; new_items=FILE (item, title) adds
items to it, which need no training.

Examples:
  lightning-rec search model=runs/bi_encoder "angle bracket"
  lightning-rec search model=FOLDER k=5 "deck screws" "rain shower head"
  lightning-rec search model=FOLDER items=items.csv "where=price < 20" "1/2 in. drill bit"
  lightning-rec search model=runs/bm25 taste=runs/sasrec user=42 weight=w.json "shampoo"
"""
KEYS = (
    "run",
    "model",
    "new_items",
    "k",
    "taste",
    "user",
    "history",
    "weight",
    "among",
    "seen",
    "items",
    "to",
)
PERSONAL = ("user", "history", "weight", "among", "seen", "to", "--fit")
_LONGEST = 200  # characters of a query or a title that are shown


def run(arguments: list[str]) -> int:
    """Print a table for each query, or fit a weight. Raises UserError on bad input."""
    try:
        said, queries = keys_of(arguments, "search", (*KEYS, *RULES), ("--fit",))
    except UserError as error:
        if " is no key " not in str(error):
            raise
        raise UserError(f"{error} In a query, put a blank before the '='.") from None
    if "run" in said and "model" in said:
        raise UserError("model= and run= say the same: say one of them.")
    folder = said.get("model") or said.get("run")
    if not folder:
        raise UserError('Say which run: lightning-rec search model=FOLDER "QUERY"')
    if "taste" not in said and (odd := [name for name in PERSONAL if name in said]):
        raise UserError(f"{odd[0]} needs a model of sequences, whose users it is of: taste=FOLDER.")
    if not queries and "--fit" not in said:
        raise UserError('Say what is looked for: lightning-rec search model=FOLDER "QUERY"')
    k = number("k", said["k"], int) if "k" in said else 10
    with loading():
        from lightning_rec.commands.opening import opened
        from lightning_rec.predict.matching import MatchPredictor
        from lightning_rec.predict.told import Told

    found = opened(said | {"model": folder}, "search")
    predictor = found.model
    if not isinstance(predictor, MatchPredictor):
        raise UserError(
            f"model={folder} is a run of model={predictor.name}, which reads no queries: search "
            "takes a run of matching, such as one of model=bm25, bi_encoder or cross_encoder."
        )
    if "items" in said:
        from lightning_rec.rules.given import table

        predictor.describe(table(Path(said["items"]), "item"))
    queries, told = list(dict.fromkeys(queries)), Told()
    asked: dict[str, Any] = {"k": k, "rules": rules_of(said), "told": told}
    if "taste" in said:
        answer = _personal(predictor, found.identity, said, queries, asked)
    else:
        answer = predictor.recommend(queries, **asked)
    if answer is not None:
        _show(answer, queries)
        screen = Screen(stderr=True)
        for words in told.warnings(k):
            screen.print(f"warning: {words}", highlight=False, soft_wrap=True)
        if words := told.costs():
            Screen().print(words, highlight=False, soft_wrap=True)
    return 0


def _personal(
    predictor: Any, identity: str, said: dict[str, str], queries: list[str], asked: dict[str, Any]
) -> Any:
    """The answer in the order of a user; None after fitting."""
    from lightning_rec.answers.personal import AMONG, PersonalSearch
    from lightning_rec.answers.personal_fit import read_weight
    from lightning_rec.commands.opening import opened, sequences

    taste = opened({"model": said["taste"]}, "search")
    among = number("among", said["among"], int) if "among" in said else AMONG
    if "--fit" in said:
        for name in ("user", "history", "weight", *RULES):
            if name in said:
                raise UserError(f"{name}= has no part in --fit: ask with it afterwards.")
        search = PersonalSearch(predictor, sequences(taste, "search"), 0.0, among)
        _fit(search, (identity, taste.identity), said, queries, asked["k"])
        return None
    whom = [name for name in ("user", "history") if name in said]
    if len(whom) != 1:
        raise UserError("Say whose taste it is: one of user=ID and history=[ID,...].")
    if "weight" not in said:
        raise UserError("Say weight=FILE that --fit wrote, or a number from 0 to 1.")
    if Path(said["weight"]).is_file():
        if "among" in said:
            raise UserError("among= is that of weight=FILE: leave it out.")
        weight, among = read_weight(Path(said["weight"]), identity, taste.identity)
    else:
        weight = number("weight", said["weight"], float)
    search = PersonalSearch(predictor, sequences(taste, "search"), weight, among)
    given = ids(whom[0], said[whom[0]])
    if whom[0] == "user" and len(given) != 1:
        raise UserError(f"user={said['user']}: say one user.")
    who: Any = {"users": given} if whom[0] == "user" else {"histories": [given]}
    found = search.recommend(queries, seen=said.get("seen", "keep"), **who, **asked)
    return found.drop("user" if whom[0] == "user" else "row")


def _fit(
    search: Any, models: tuple[str, str], said: dict[str, str], queries: list[str], k: int
) -> None:
    """Fit the weight, tell how it did, and write it."""
    from lightning_rec.answers.personal_fit import fit, write_fitted
    from lightning_rec.commands.shown import show
    from lightning_rec.rules.given import table

    if queries:
        raise UserError(f"'{queries[0]}' is not understood: --fit takes its queries from ROWS.")
    if "to" not in said:
        raise UserError("Say where the weight goes: to=weight.json")
    fitted = fit(search, table(Path(said["--fit"]), "query", "item"), k)
    write_fitted(Path(said["to"]), fitted, *models)
    show(fitted.table.rename({"ndcg": f"ndcg@{k}"}), title="all rows, by the weight of taste")
    screen = Screen()
    low, high = fitted.interval
    told = [
        f"weight {fitted.weight:g} over {fitted.rows:,} rows, in {said['to']}.",
        f"ndcg@{k} of rows that had no part in their weight: {fitted.ndcg:.4f}, by relevance alone "
        f"{fitted.plain:.4f}: {fitted.ndcg - fitted.plain:+.4f} [{low:+.4f}, {high:+.4f}] (95 %).",
        *(f"Left out: {number:,} rows {why}." for why, number in fitted.left_out.items() if number),
        f"{search.shared:,} of {len(search.codes):,} items are known to both models.",
    ]
    for words in told:
        screen.print(words, highlight=False, soft_wrap=True)


def _show(found: Any, queries: list[str]) -> None:
    tables, console = found.partition_by("query", as_dict=True), Screen()
    more = [name for name in ("relevance", "taste", "propensity") if name in found.columns]
    titled = "title" in found.columns
    for query in queries:
        asked, rows = _short(query), tables.get((query,))
        if rows is None:
            console.print(f"{asked}: nothing was found.")
            continue
        shown = FittedTable(asked, [*figures("rank", "score", *more), *text("title", "item")])
        for row in rows.iter_rows(named=True):
            parts = [f"{row[name]:.4f}" for name in ("score", *more)]
            title = _short((row["title"] if titled else None) or "")
            shown.add_row(str(row["rank"]), *parts, title, str(row["item"]))
        console.print(shown)


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
