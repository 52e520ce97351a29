"""Answers for a file of any length: in parts that stay, so that a killed command goes on.

Beside ``recs.parquet`` lies ``.recs.parquet.parts`` while it is made: ``asked.parquet`` (the input,
read once), ``work.json`` (what was asked for, and of which input), and for each part its rows and
what is told of it. The output appears whole at the end, and the folder goes.
"""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
from filelock import FileLock, Timeout
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lightning_rec.data.tabular import Table, open_table
from lightning_rec.documents import read_json
from lightning_rec.errors import UserError
from lightning_rec.files import atomic_path, sha256_file, sha256_json, write_json
from lightning_rec.predict.told import Told
from lightning_rec.screen import Screen

ROWS = 2**13  # of a part
SLICE = 2**16  # rows that are copied at once
EVERY = 30.0  # seconds between two lines on the progress, where there is no terminal
WRITERS = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}

Stage = Callable[[pl.LazyFrame], pl.LazyFrame]
Answer = Callable[[pl.DataFrame, Told], pl.DataFrame]


class Done(NamedTuple):
    """rows: of the input. written: of the output. seconds: of this command. before: rows of the
    input that an earlier command had answered.
    """

    rows: int
    written: int
    seconds: float
    before: int


def check_output(output: Path, *, overwrite: bool = False) -> None:
    """Raise UserError unless a table can be written there, and none is."""
    if output.suffix.lower() not in WRITERS:
        raise UserError(f"{output}: an output is named .parquet, .csv or .jsonl.")
    if output.is_dir():
        raise UserError(f"{output} is a folder: name a file.")
    if output.exists() and not overwrite:
        raise UserError(f"{output} exists: choose another name, or say overwrite=true.")


def check_columns(schema: pl.Schema, output: Path) -> None:
    """Raise UserError for columns that a file of this name cannot hold."""
    lists = [name for name, kind in schema.items() if kind.is_nested()]
    if lists and WRITERS[output.suffix.lower()] == "csv":
        raise UserError(
            f"{output}: CSV holds no lists, and the column '{lists[0]}' has them: name it .parquet "
            "or .jsonl."
        )


def write_table(table: pl.LazyFrame, output: Path) -> None:
    """Write a table by the ending of its name, whole or not at all, in bounded memory.

    Raises UserError for columns that it cannot hold.
    """
    kind = WRITERS[output.suffix.lower()]
    check_columns(table.collect_schema(), output)
    with atomic_path(output) as temporary:
        if kind == "parquet":
            table.sink_parquet(temporary)
        elif kind == "csv":
            table.sink_csv(temporary)
        else:
            table.sink_ndjson(temporary)


def answer_file(
    source: Path,
    output: Path,
    request: dict[str, Any],
    stage: Stage,
    answer: Answer,
    told: Told,
    *,
    overwrite: bool = False,
    restart: bool = False,
) -> Done:
    """Answer a table part by part.

    Args:
        source: CSV, JSON lines, Parquet or Arrow, as :func:`open_table` takes it.
        output: Parquet, CSV or JSON lines, by its ending.
        request: all that the answer depends on beside the input; a command goes on where an earlier
            one with the same was cut.
        stage: what is kept of the input.
        answer: the rows of a part of it; adds to what is told.
        told: is added what is to be told of all parts, those of earlier commands too.
        overwrite: whether an output that exists is replaced.
        restart: whether parts of an earlier command are thrown away.

    Raises:
        UserError: for an input or output that cannot be, or parts of another request.
    """
    check_output(output, overwrite=overwrite)
    table = open_table(source)
    if output.exists() and source.exists() and output.samefile(source):
        raise UserError(f"{output} is the input itself: choose another name.")
    folder = output.with_name(f".{output.name}.parts")
    begun = time.perf_counter()

    def fitting(rows: pl.DataFrame, own: Told) -> pl.DataFrame:
        found = answer(rows, own)
        check_columns(found.schema, output)  # with the first part, not after the last
        return found

    with _alone(folder, restart):
        _begin(folder, source, request, lambda: stage(_cut(table, folder)))
        rows = pl.scan_parquet(folder / "asked.parquet", glob=False)
        number = int(rows.select(pl.len()).collect().item())
        before = _parts(folder, rows, number, fitting, told)
        paths = [folder / f"{start:012d}.parquet" for start in range(0, max(number, 1), ROWS)]
        whole = pl.scan_parquet(paths, glob=False)
        written = int(whole.select(pl.len()).collect().item())
        write_table(whole, output)
        shutil.rmtree(folder)
    return Done(number, written, time.perf_counter() - begun, before)


@contextmanager
def _alone(folder: Path, restart: bool) -> Iterator[None]:
    """Hold the folder of parts against other commands; without a part nothing is left behind."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.with_name(f"{folder.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(f"Another command writes {folder} now: wait for it.") from None
    try:
        if restart:
            shutil.rmtree(folder, ignore_errors=True)
        yield
    finally:
        if not _has_parts(folder):
            shutil.rmtree(folder, ignore_errors=True)
        lock.release()
        if not folder.exists():
            Path(lock.lock_file).unlink(missing_ok=True)


def _has_parts(folder: Path) -> bool:
    return any(folder.glob("[0-9]*.parquet"))


def _begin(
    folder: Path, source: Path, request: dict[str, Any], staged: Callable[[], pl.LazyFrame]
) -> None:
    """Read the input once, or see that what lies there is of the same. Raises UserError if not."""
    files = sorted(source.rglob("*")) if source.is_dir() else [source]
    input_hash = sha256_json([sha256_file(each) for each in files if each.is_file()])
    asked = {"input": input_hash, "rows": ROWS, **request}
    if (folder / "work.json").is_file() and _has_parts(folder):
        kept = read_json(folder / "work.json")
        if differing := sorted(key for key in asked if kept.get(key) != asked[key]):
            raise UserError(
                f"{folder} holds parts of another request (another {', '.join(differing)}): go on "
                "with the command that made them, or say restart=true to begin anew. A bundle and "
                "the run that it was made of count as two models."
            )
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with atomic_path(folder / "asked.parquet") as temporary:
        staged().sink_parquet(temporary, row_group_size=ROWS)
    for path in folder.glob("raw_*.parquet"):
        path.unlink()
    write_json(folder / "work.json", asked)


def _cut(table: Table, folder: Path) -> pl.LazyFrame:
    """The rows of a table. Binary ones are cut into small groups of rows first: of large ones,
    which are what Polars writes, several are held at once where they are read as a stream.
    """
    rows = table.sound()
    number = 0 if table.is_text else int(rows.select(pl.len()).collect().item())
    if number <= SLICE:
        return rows
    paths = [folder / f"raw_{start:012d}.parquet" for start in range(0, number, SLICE)]
    for place, path in enumerate(paths):
        part = rows.slice(place * SLICE, SLICE).collect()
        part.write_parquet(path, row_group_size=ROWS)
    return pl.scan_parquet(paths, glob=False)


def _parts(folder: Path, rows: pl.LazyFrame, number: int, answer: Answer, told: Told) -> int:
    """Answer what is not answered yet; returns how many rows were."""
    before = 0
    with _progress(number) as tell:
        for start in range(0, max(number, 1), ROWS):
            path, about = (folder / f"{start:012d}{end}" for end in (".parquet", ".json"))
            size = min(ROWS, number - start)
            if path.is_file():
                before += size
                told.add(Told(**read_json(about)))
                tell(size, False)
                continue
            own = Told()
            found = answer(rows.slice(start, ROWS).collect(), own)
            write_json(about, asdict(own))
            with atomic_path(path) as temporary:
                found.write_parquet(temporary)
            told.add(own)
            tell(size, True)
    return before


@contextmanager
def _progress(number: int) -> Iterator[Callable[[int, bool], None]]:
    """A bar with the time to go on a terminal; elsewhere a line now and then, on standard error."""
    screen = Screen(stderr=True)
    columns = (TextColumn("answering"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    begun = said = time.perf_counter()
    done = fresh = 0
    with Progress(*columns, **screen.transient) as bar:
        task = bar.add_task("answering", total=number)

        def tell(rows: int, computed: bool) -> None:
            nonlocal done, fresh, said
            done, fresh = done + rows, fresh + rows * computed
            bar.advance(task, rows)
            now = time.perf_counter()
            if not screen.is_terminal and now - said >= EVERY and fresh:
                said, speed = now, fresh / (now - begun)
                left = (number - done) / speed
                screen.print(
                    f"{done:,} of {number:,} rows, {speed:,.0f} a second, {_spoken(left)} to go"
                )

        yield tell


def _spoken(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"
