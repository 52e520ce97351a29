"""``lightning-rec answer``: the stored answer to a question, or that nothing fits."""

from pathlib import Path
from typing import Any

from lightning_rec.commands.asked import keys_of, rules_of
from lightning_rec.commands.loading import loading
from lightning_rec.commands.sets import number
from lightning_rec.errors import UserError
from lightning_rec.screen import Screen
from lightning_rec.tables import FittedTable, figures, text

HELP = """\
The stored answer, or article, that fits a question; or that nothing fits.

usage: lightning-rec answer model=FOLDER --fit RUN|ROWS to=FILE [accuracy=0.8]
                            [unanswerable=0.2] [seed=0]
       lightning-rec answer model=FOLDER confidence=FILE [least=P] [k=1]
                            [wording=LLM] "QUESTION" ["QUESTION" ...]

FOLDER is a completed run or a bundle of matching, whose items are the answers.

--fit learns how sure the model may be: from the scores of the best answers, how
probable it is that the first one is right. RUN is the run of matching that FOLDER
is, or was exported from: its questions of validation are learnt from, and those
of its test measure. ROWS (.parquet, .csv, .jsonl) has query and item, a row for
each right answer, which the model was not trained on; half of the questions are
learnt from. An answer is given from the confidence on that makes accuracy= of
those given right. unanswerable= is the share of questions from which their
answers are taken away, as somebody will ask what nobody has written down.

confidence= is what --fit wrote; least= overrules its threshold. wording= is a
causal language model, a folder or an id of the Hugging Face hub, that puts the
answer into words of its own; its source is quoted below.

Examples:
  lightning-rec train experiment=answers_insurance model=bm25 run_dir=runs/bm25
  lightning-rec answer model=runs/bm25 --fit runs/bm25 to=sure.json accuracy=0.6
  lightning-rec answer model=runs/bm25 confidence=sure.json "Is dental care covered?"
"""
KEYS = (
    "model",
    "confidence",
    "least",
    "k",
    "wording",
    "to",
    "accuracy",
    "unanswerable",
    "seed",
    "allow",
    "deny",
    "where",
    "items",
)
FITTING = ("to", "accuracy", "unanswerable", "seed")


def run(arguments: list[str]) -> int:
    """Answer, or fit a confidence. Raises UserError on bad input."""
    try:
        said, queries = keys_of(arguments, "answer", KEYS, ("--fit",))
    except UserError as error:
        if " is no key " not in str(error):
            raise
        raise UserError(f"{error} In a question, put a blank before the '='.") from None
    fitting = "--fit" in said
    odd = [name for name in said if fitting != (name in FITTING) and name not in ("model", "--fit")]
    if odd:
        raise UserError(f"{odd[0]}= {'has no part in' if fitting else 'is of'} --fit.")
    if fitting and queries:
        raise UserError(f"'{queries[0]}' is not understood: --fit takes questions from a file.")
    if not fitting and not queries:
        raise UserError("Say what is asked: lightning-rec answer model=FOLDER … 'QUESTION'")
    with loading():
        from lightning_rec.commands.opening import opened
        from lightning_rec.predict.matching import MatchPredictor
    found = opened(said, "answer")
    if not isinstance(found.model, MatchPredictor):
        raise UserError(
            f"model={found.path} is a run of model={found.model.name}, which reads no questions: "
            "answer takes a run of matching, such as one of model=bm25 or bi_encoder."
        )
    if fitting:
        _fit(found, said)
        return 0
    _answer(found, said, list(dict.fromkeys(queries)))
    return 0


def _share(said: dict[str, str], name: str, otherwise: float, *, zero: bool) -> float:
    value = number(name, said[name], float) if name in said else otherwise
    if not (value >= 0 if zero else value > 0) or value >= 1:
        raise UserError(f"{name}={value:g}: say {'0 or more' if zero else 'above 0'}, and below 1.")
    return value


def _fit(found: Any, said: dict[str, str]) -> None:
    from lightning_rec.answers.confidence import ask, fit, write_confidence
    from lightning_rec.answers.selective import measured

    if "to" not in said:
        raise UserError("Say where the confidence goes: to=confidence.json")
    path = Path(said["to"])
    if path.exists():
        raise UserError(f"to={path} exists: choose another name.")
    if path.suffix != ".json":  # its picture takes the name with other endings
        raise UserError(f"to={path}: its name ends in .json.")
    for picture in (path.with_suffix(".png"), path.with_suffix(".pdf")):
        if picture.exists():
            raise UserError(f"to={path}: its picture would take the place of {picture}.")
    accuracy = _share(said, "accuracy", 0.8, zero=False)
    share = _share(said, "unanswerable", 0.2, zero=True)
    seed = number("seed", said["seed"], int) if "seed" in said else 0
    parts = _questions(Path(said["--fit"]), found.path, seed)
    with Screen(stderr=True).status("asking the questions"):
        learnt, test = (ask(found.model, rows, share, seed) for rows in parts)
    made = fit(learnt, accuracy, found.identity)
    facts = measured(test, made)
    from lightning_rec.runs.provenance import about

    asked = {"accuracy": accuracy, "unanswerable": share, "seed": seed, "fit": said["--fit"]}
    told = {"asked": asked, "learnt": len(learnt.queries), "test": facts}
    write_confidence(path, made, about() | told)
    _tell(facts, path, accuracy)


def _questions(of: Path, model: Path, seed: int) -> Any:
    """Rows to learn from, and others to measure on: ``query``, ``item`` of right answers.

    Raises UserError where a run has other data or another split than the model: its questions of
    validation may be what the model was trained on.
    """
    import numpy as np
    import polars as pl

    from lightning_rec.answers.confidence import LEAST
    from lightning_rec.data.chance import bits
    from lightning_rec.data.matching.pairs import normalised
    from lightning_rec.lab.questions import questions_of
    from lightning_rec.rules.given import table

    if of.is_dir() and (of / "run.json").is_file():
        ours, theirs = (_card(each) for each in (of, model))
        for key in ("data_hash", "protocol_hash"):
            if ours.get(key) != theirs.get(key):
                raise UserError(
                    f"--fit {of} has another {key} than {model}, which may have learnt its "
                    "questions: say the run that the model is, or was exported from."
                )
        return questions_of(of)
    rows = table(of, "query", "item").select("query", "item").drop_nulls()
    rows = rows.with_columns(key=normalised(pl.col("query").cast(pl.String)))  # one question
    once = rows.select("key").unique().sort("key")
    if len(once) < 2 * LEAST:
        raise UserError(
            f"{of} has {len(once)} questions, and {2 * LEAST} are needed: half are learnt from."
        )
    first = bits(seed + 1, np.arange(len(once))) < 2**63
    half = rows.join(once.with_columns(first=pl.Series(first)), "key", maintain_order="left")
    return tuple(half.filter(each).select("query", "item") for each in ("first", ~pl.col("first")))


def _card(folder: Path) -> Any:
    """What a run, or the one that a bundle was exported from, says of itself."""
    from lightning_rec.bundle.manifest import CARD
    from lightning_rec.documents import read_json

    return read_json(next(p for p in (folder / CARD, folder / "run.json") if p.is_file()))


def _sentences(facts: dict[str, Any], accuracy: float) -> list[str]:
    """What the threshold does; ``accuracy``: what was asked for."""
    told = [
        f"{facts['questions']:,} questions that were not learnt from, {facts['answerable']:,} of "
        f"them with an answer: the first one is right to {facts['accuracy']:.1%} of all.",
    ]
    if facts["answered"]:
        told.append(
            f"From a confidence of {facts['least']:.3f} on {facts['coverage']:.1%} are answered, "
            f"{facts['answered_accuracy']:.1%} [{facts['low']:.1%}, {facts['high']:.1%}] of these "
            "right."
        )
        if not facts["low"] <= accuracy <= facts["high"]:
            less = "less" if facts["high"] < accuracy else "more"
            told.append(f"That is {less} than accuracy={accuracy:g}, which was asked for.")
    else:
        told.append(f"From a confidence of {facts['least']:.3f} on none is answered.")
    if (share := facts["withheld"]) is not None:
        told.append(f"Of the questions without a stored answer {share:.1%} were turned away.")
    if facts["coverage"] == 1:
        told.append(
            "Everything is answered, as that is accurate enough: accuracy= can ask for more."
        )
    told.append(
        f"Area under risk and coverage {facts['aurc']:.4f}; by the score alone "
        f"{facts['aurc_score']:.4f}, at best {facts['aurc_best']:.4f}. Calibration error "
        f"{facts['ece']:.4f}."
    )
    return told


def _tell(facts: dict[str, Any], path: Path, accuracy: float) -> None:
    """The curve, what the threshold does, and a picture where matplotlib is."""
    table = FittedTable("The surest answers", figures("coverage", "accuracy"))
    for row in facts["curve"]:
        table.add_row(f"{row['coverage']:.0%}", f"{row['accuracy']:.4f}")
    screen = Screen()
    screen.print(table)
    for words in _sentences(facts, accuracy):
        screen.print(words, highlight=False, soft_wrap=True)
    from importlib.util import find_spec

    if find_spec("matplotlib") is not None:
        from lightning_rec.lab.drawing import COLOURS, drawn, save

        with drawn(2.4) as figure:
            axes = figure.subplots()
            x = [row["coverage"] for row in facts["curve"]]
            y = [row["accuracy"] for row in facts["curve"]]
            axes.plot(x, y, color=COLOURS[0], marker="o", label="the surest")
            axes.axhline(facts["accuracy"], color="grey", linewidth=0.8, label="all")
            if facts["answered"]:
                at = (facts["coverage"], facts["answered_accuracy"])
                axes.plot(*at, color=COLOURS[1], marker="s", linestyle="", label="threshold")
            axes.set(xlabel="coverage", ylabel="accuracy", xlim=(0, 1.03), ylim=(0, 1.03))
            axes.legend(frameon=False)
            save(figure, path.absolute().parent, path.stem)
    screen.print(f"Kept: {path}", highlight=False, soft_wrap=True)


def _answer(found: Any, said: dict[str, str], queries: list[str]) -> None:
    from lightning_rec.answers.confidence import Answering, read_confidence
    from lightning_rec.rules.given import table

    if "confidence" not in said:
        raise UserError("Say confidence=FILE, which answer --fit wrote: it says when nothing fits.")
    answering = Answering(found.model, read_confidence(Path(said["confidence"]), found.identity))
    if "items" in said:
        found.model.describe(table(Path(said["items"]), "item"))
    least = _share(said, "least", 0.0, zero=True) if "least" in said else None
    k = number("k", said["k"], int) if "k" in said else 1
    sure, answers = answering.answer(queries, k, least=least, rules=rules_of(said))
    by_query, screen = answers.partition_by("query", as_dict=True), Screen()
    worded = None
    if "wording" in said:
        from lightning_rec.answers.wording import Wording

        worded = Wording(said["wording"])
    for row in sure.iter_rows(named=True):
        rows = by_query.get((row["query"],))
        if not row["fits"] or rows is None:
            nearest = "" if rows is None else f" The nearest: {rows['item'][0]}."
            screen.print(
                f"{row['query']}\n  Nothing fits (confidence {row['confidence']:.2f}).{nearest}",
                highlight=False, soft_wrap=True, markup=False,
            )  # fmt: skip
            continue
        if worded is not None:
            article = rows["title"][0] or ""
            (said_so,) = worded.words([row["query"]], [article])
            said_so = said_so or "It has no words for it."
            screen.print(
                f"{row['query']}\n  {said_so}\n  In the words of {worded.name}; its source:",
                highlight=False, soft_wrap=True, markup=False,
            )  # fmt: skip
        titled = f"{row['query']} (confidence {row['confidence']:.2f})"
        shown = FittedTable(titled, [*figures("rank", "score"), *text("answer", "item")])
        for each in rows.iter_rows(named=True):
            cells = (each.get("title") or "", str(each["item"]))
            shown.add_row(str(each["rank"]), f"{each['score']:.4f}", *cells)
        screen.print(shown)
