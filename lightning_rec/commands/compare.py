"""``lightning-rec compare RUN|SWEEP …``: settings side by side, and which differences are noise."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_rec.commands.hydra_main import parsed, take_keys
from lightning_rec.commands.loading import loading
from lightning_rec.commands.sets import number
from lightning_rec.errors import UserError
from lightning_rec.files import write_text
from lightning_rec.screen import Screen
from lightning_rec.tables import FittedTable, figures, text

if TYPE_CHECKING:
    from lightning_rec.lab import Comparison, OverData, Table

HELP = """\
Settings side by side: mean and standard deviation over seeds, and paired tests
on the users (queries, rows) of the test that say which differences are noise.

usage: lightning-rec compare [TITLE=]RUN|SWEEP ... [figures=[FIGURE,...]]
                             [baseline=TITLE] [level=0.95] [to=FOLDER]
                             [slices=[COLUMN,...]] [tables=[FILE,...]]
                             [over=data]

A SWEEP is a folder of run folders, or of JSON that was recorded of runs; of a
folder of 'lightning-rec tune' the best trial's runs are taken. Runs under one
title are seeds of one setting. Runs on other data, with another catalogue or
another protocol are refused. The first setting is the baseline if nothing is
said. to=FOLDER writes comparison.md, .tex and .csv, and pictures where
matplotlib is installed.

slices= repeats the tests on parts of the test: by history, popularity or seen,
by a column of the catalogue, or by one of tables=, files with raw ids in a
column user, item, query or row. p-values are corrected for all slices.

over=data takes settings each of which ran on each of several data sets, and
ranks them: average ranks, Friedman's test, Nemenyi's critical difference.

Examples:
  lightning-rec compare runs/sweep
  lightning-rec compare SASRec=runs/sasrec BERT4Rec=runs/bert4rec \\
    'figures=[test/ndcg@10,test/recall@10]' to=comparison
  lightning-rec compare runs/sweep 'slices=[history,genres,age]' tables=users.csv
  lightning-rec compare over=data runs/ml_100k runs/beauty runs/toys
"""


def run(arguments: list[str]) -> int:
    """Print the comparison, and write it where ``to=`` says. Raises UserError on bad input."""
    said, named, options = asked(arguments, ("to", "over"), "compare")
    if said.get("over", "data") != "data":
        raise UserError(f"over={said['over']}: say over=data, for settings over several data sets.")
    with loading():
        from lightning_rec.lab import compare, compare_over_data
    made: Comparison | OverData
    if "over" in said:
        if options.pop("slices") or options.pop("tables"):
            raise UserError("over=data cuts no slices: say slices= of one data set at a time.")
        made = compare_over_data(*sources(named), **options)
        titles = {f"Over data sets, {name}": table for name, table in made.tables().items()}
    else:
        made = compare(*sources(named), **options)
        titles = {"Over seeds": made.table(), "Over the examples of the test": made.paired_table()}
        titles |= made.sliced_tables()
    _show(titles, made.verdicts())
    if folder := said.get("to"):
        _write(Path(folder), made)
        told = f"Written to {Path(folder).absolute()}"
        Screen().print(told, highlight=False, soft_wrap=True)
    return 0


def _show(titles: Mapping[str, "Table"], sentences: Sequence[str]) -> None:
    console = Screen()
    for title, table in titles.items():
        columns = [*text(*table.header[: table.text]), *figures(*table.header[table.text :])]
        shown = FittedTable(title, columns)
        for row in table.rows:
            shown.add_row(*row)
        if table.rows:
            console.print(shown)
    for sentence in sentences:
        console.print(sentence, highlight=False)


def asked(
    arguments: list[str], keys: Sequence[str], verb: str
) -> tuple[dict[str, str], list[str], dict[str, Any]]:
    """The values of ``keys``, what is named, and the keywords of ``compare``."""
    lists = ("figures", "slices", "tables")
    said, arguments = take_keys(arguments, *lists, "baseline", "level", *keys)
    if not arguments or any(each.startswith("-") for each in arguments):
        raise UserError(f"Say what is compared: lightning-rec {verb} RUN|SWEEP ...")
    level = number("level", said.get("level", "0.95"), float)
    if not 0.5 <= level < 1:
        raise UserError(f"level={level}: it has to be from 0.5 to below 1, such as 0.95.")
    options = {"baseline": said.get("baseline", ""), "level": level}
    options |= {key: _list(key, said.get(key, "")) for key in lists}
    return said, arguments, options


def _list(key: str, said: str) -> list[str]:
    """``[A,B]``, or one alone, as Hydra reads it."""
    value = parsed([f"{key}={said}"])[0].value() if said else []
    return [str(each) for each in (value if isinstance(value, list) else [value])]


def sources(arguments: list[str]) -> list[Any]:
    """Paths as they are; those with titles by them."""
    titled: dict[str, list[str]] = {}
    paths = []
    for argument in arguments:
        title, equals, path = argument.partition("=")
        if equals and not Path(argument).exists():
            titled.setdefault(title, []).append(path)
        else:
            paths.append(argument)
    return [*paths, *([titled] if titled else [])]


def _write(folder: Path, made: "Comparison | OverData") -> None:
    """The tables in Markdown and LaTeX, the numbers behind them as CSV, and pictures."""
    from lightning_rec.lab import Comparison

    folder.mkdir(parents=True, exist_ok=True)
    of = {"seeds": made.frame, "paired": made.paired} if isinstance(made, Comparison) else {
        "ranks": made.frame, "tests": made.tests, "nemenyi": made.nemenyi,
    }  # fmt: skip
    if isinstance(made, Comparison) and made.parts:
        of["slices"] = made.sliced
    markdown, latex = _pages(made) if isinstance(made, Comparison) else (str(made), made.latex())
    write_text(folder / "comparison.md", f"{markdown}\n")
    write_text(folder / "comparison.tex", latex)
    for name, frame in of.items():
        write_text(folder / f"{name}.csv", frame.write_csv())
    if find_spec("matplotlib") is None:
        return
    from lightning_rec.lab.drawing import save

    if isinstance(made, Comparison):
        save(made.plot(), folder, "means")
    elif find_spec("scikit_posthocs") is not None:
        for name in made.figures:
            save(made.plot(name), folder, name.replace("/", "_"))


def _pages(made: "Comparison") -> tuple[str, str]:
    """All tables of a comparison in Markdown, with its sentences, and in LaTeX."""
    tables = [made.table(), *([made.paired_table()] if made.paired.height else [])]
    sentences = "\n".join(f"- {each}" for each in made.verdicts())
    markdown = [*(each.markdown() for each in tables), *([sentences] if sentences else [])]
    latex = [each.latex() for each in tables]
    for title, table in made.sliced_tables().items():
        markdown += [f"{title}:", table.markdown()]
        latex.append(table.latex(title))
    return "\n\n".join(markdown), "\n".join(latex)
