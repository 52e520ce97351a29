"""MovieLens-100K and -1M, in each of the forms in which they go round, read alike."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import polars as pl

from lightning_rec.data.fetch import Layout, PublicData
from lightning_rec.data.graphs.files import GraphFiles
from lightning_rec.data.origins import Download, Wheel
from lightning_rec.data.schema import Tables
from lightning_rec.data.sources.public import PublicSource

Parsers = dict[str, Callable[[str], tuple[Any, ...]]]

_LICENCE = "research only, no redistribution"
_GROUPLENS = "https://files.grouplens.org/datasets/movielens/"
_GENRES = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary",
    "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi",
    "Thriller", "War", "Western",
)  # fmt: skip
_OCCUPATIONS = (
    "other", "educator", "artist", "clerical", "student", "customer service", "doctor",
    "executive", "farmer", "homemaker", "K-12 student", "lawyer", "programmer", "retired", "sales",
    "scientist", "self-employed", "engineer", "tradesman", "unemployed", "writer",
)  # fmt: skip
_YEAR = re.compile(r"\s*\((\d{4})\)(?:\s*\(V\))?$")  # (V): straight to video
_ARTICLE = re.compile(r"^(.+), (The|An?|L[aeo]s?|L'|El|Il|D[aei][rs]|Die|Det)((?: \(.*\))?)$")
_RATING_TYPES: dict[str, Any] = {
    "user": pl.String, "item": pl.String, "rating": pl.Float32, "timestamp": pl.Int64,
}  # fmt: skip
_ITEM_TYPES: dict[str, Any] = {
    "item": pl.String, "title": pl.String, "year": pl.Int32, "genres": pl.List(pl.String),
}  # fmt: skip
_USER_TYPES: dict[str, Any] = {
    "user": pl.String, "age": pl.Int32, "gender": pl.String, "occupation": pl.String,
    "zip": pl.String,
}  # fmt: skip

_MAPS = ("sas_to_original_items.txt", "sas_to_original_users.txt", "movies.dat", "users.dat")
# The file that SASRec, BERT4Rec and their replications train on: chronological, without times.
_REPLICATION = (
    "https://raw.githubusercontent.com/kang205/SASRec/e3738967fddab206d6eeb4fda433e7a7034dd8b1/"
    "data/ml-1m.txt"
)
ML_100K = PublicData(
    name="ml_100k",
    title="MovieLens-100K",
    licence=_LICENCE,
    users=943,
    items=1_682,
    events=100_000,
    megabytes=4.9,
    folders=("ml-100k", "ml_100k", "movielens-100k"),
    layouts=(
        Layout("grouplens", ("u.data",), ("u.item", "u.user"), (Download(
            _GROUPLENS + "ml-100k.zip",
            "50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229",
            inner="ml-100k",
        ),)),
        Layout("archive", ("ml-100k.inter",), ("ml-100k.item", "ml-100k.user"), (Wheel(
            "recbole==1.2.1",
            "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407",
            inner="recbole/dataset_example/ml-100k",
        ),)),
    ),
)  # fmt: skip
ML_100K_GRAPH = PublicData(
    name="ml_100k_graph",
    title="the knowledge graph of MovieLens-100K",
    licence=_LICENCE,
    megabytes=3.5,
    folders=ML_100K.folders,
    layouts=(
        Layout("recbole", ("ml-100k.kg", "ml-100k.link"), (), ML_100K.layouts[1].origins),
    ),
)  # fmt: skip
ML_1M = PublicData(
    name="ml_1m",
    title="MovieLens-1M",
    licence=_LICENCE,
    users=6_040,
    items=3_706,
    events=1_000_209,
    megabytes=24.6,
    folders=("ml-1m", "ml_1m", "movielens-1m"),
    layouts=(
        Layout("ratings", ("ratings.dat",), ("movies.dat", "users.dat"), (Download(
            _GROUPLENS + "ml-1m.zip",
            "a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20",
            inner="ml-1m",
        ),)),
        Layout("replication", ("ml-1m.txt",), _MAPS, (Download(
            _REPLICATION, "b725f3acb3986fe3130bffd1e77a74d182a1f51799567a236dbd60270f95b0a2"
        ),)),
        Layout("replication", ("ml-1m.txt.gz",), _MAPS),
    ),
)  # fmt: skip


@dataclass(eq=False, kw_only=True)
class WithGraph:
    """MovieLens-100K with a knowledge graph beside it.

    Args:
        graph: ``recbole`` (Freebase by KB4Rec, Zhao et al., Data Intelligence 2019: 91,631
            triples, 1,598 movies linked), files of your own, or None.
    """

    graph: Literal["recbole"] | GraphFiles | None = None

    @property
    def graph_files(self) -> GraphFiles | None:
        """The files of the graph, fetched if they can be. Raises UserError if not to be had."""
        if self.graph != "recbole":
            return self.graph
        triples, links = ML_100K_GRAPH.files()
        return GraphFiles(triples=str(triples), links=str(links), quoted=False)


@dataclass(eq=False, kw_only=True)
class MovieLens100K(WithGraph, PublicSource):
    """MovieLens-100K: ratings, times; titles, years and genres; age, gender, occupation, zip.

    ``graph``: see :class:`WithGraph`.
    """

    public: ClassVar[PublicData] = ML_100K

    def read(self, files: list[Path]) -> Tables:
        """Read either form into the same tables."""
        at = {file.name: file for file in files}
        ratings = at.get("u.data") or at["ml-100k.inter"]
        interactions = pl.scan_csv(
            ratings,
            separator="\t",
            has_header=False,
            skip_rows=int(ratings.name == "ml-100k.inter"),
            schema=_RATING_TYPES | {"timestamp": pl.Float64},
            glob=False,
        ).with_columns(pl.col("timestamp").cast(pl.Int64))
        movies: Parsers = {"u.item": _grouplens_movie, "ml-100k.item": _archive_movie}
        users: Parsers = {"u.user": _pipe_user, "ml-100k.user": _pipe_user}
        return Tables(
            interactions, _described(at, _ITEM_TYPES, movies), _described(at, _USER_TYPES, users)
        )


@dataclass(eq=False, kw_only=True)
class MovieLens1M(PublicSource):
    """MovieLens-1M: GroupLens's ratings with times, or the file that the replications use.

    Args:
        variant: ``ratings`` (1,000,209 ratings of 3,706 movies, with times), ``replication``
            (ml-1m.txt of SASRec and BERT4Rec: 999,611 of 3,416, in order but without times; its
            own ids), or ``auto``: what is on this machine, ratings first. They are different data:
            figures of one do not compare with figures of the other.
    """

    public: ClassVar[PublicData] = ML_1M
    in_order: ClassVar[bool] = True  # that file comes in the order of time

    variant: Literal["auto", "ratings", "replication"] = field(default="auto", kw_only=False)

    def files(self) -> list[Path]:
        """Files of the variant, which tell it apart, fetched if need be. Raises UserError."""
        return self.public.files("" if self.variant == "auto" else self.variant)

    def read(self, files: list[Path]) -> Tables:
        """Read the variant whose files these are."""
        at = {file.name: file for file in files}
        items = _described(at, _ITEM_TYPES, {"movies.dat": _dat_movie})
        users = _described(at, _USER_TYPES, {"users.dat": _dat_user})
        if "ratings.dat" in at:
            return Tables(_ratings(at["ratings.dat"]), items, users)
        pairs = pl.scan_csv(
            at.get("ml-1m.txt") or at["ml-1m.txt.gz"],
            separator=" ",
            has_header=False,
            schema={"user": pl.String, "item": pl.String},
            glob=False,
        )
        return Tables(
            pairs,
            _renamed(items, "item", at.get("sas_to_original_items.txt")),
            _renamed(users, "user", at.get("sas_to_original_users.txt")),
        )


def parse_title(text: str) -> tuple[str, int | None]:
    """Split ``"Usual Suspects, The (1995)"`` into ``("The Usual Suspects", 1995)``."""
    text = " ".join(text.split())
    year = _YEAR.search(text)
    title = text[: year.start()] if year else text
    if moved := _ARTICLE.match(title):
        name, article, rest = moved.groups()
        title = f"{article}{'' if article.endswith(chr(39)) else ' '}{name}{rest}"
    return title, int(year[1]) if year else None


def _ratings(path: Path) -> pl.LazyFrame:
    """ratings.dat: user::item::rating::time. A colon parts them, so every second field is empty."""
    schema: dict[str, Any] = {}
    for name, kind in _RATING_TYPES.items():
        schema |= {name: kind, f"after_{name}": pl.String}
    schema.popitem()  # nothing follows the last
    return pl.scan_csv(path, separator=":", has_header=False, schema=schema, glob=False).select(
        *_RATING_TYPES
    )


def _described(at: dict[str, Path], types: dict[str, Any], parsers: Parsers) -> pl.LazyFrame | None:
    """Table of the first file that is there, its lines parsed one by one; None if none is."""
    for name, parser in parsers.items():
        if name in at:
            archive = name.startswith("ml-100k.")  # in UTF-8 below a header; GroupLens's latin-1
            text = at[name].read_text(encoding="utf-8" if archive else "latin-1")
            rows = [parser(line) for line in text.splitlines()[int(archive) :]]
            return pl.LazyFrame(rows, schema=types, orient="row")
    return None


def _movie(item: str, title: str, genres: Iterable[str]) -> tuple[Any, ...]:
    name, year = parse_title(title)
    return item, name, year, [genre for genre in genres if genre != "unknown"]


def _grouplens_movie(line: str) -> tuple[Any, ...]:
    item, title, _release, _video, _url, *flags = line.split("|")
    genres = [genre for genre, flag in zip(_GENRES, flags, strict=True) if flag == "1"]
    return _movie(item, title, genres)


def _archive_movie(line: str) -> tuple[Any, ...]:
    item, title, year, genres = line.split("\t")
    # Where the archive cut the original title at its last bracket; it misspelt the one untitled.
    whole = "unknown" if title == "unkonwn" else f"{title} ({year})"
    return _movie(item, whole, genres.split())


def _dat_movie(line: str) -> tuple[Any, ...]:
    item, title, genres = line.split("::")
    return _movie(item, title, genres.split("|"))


def _pipe_user(line: str) -> tuple[Any, ...]:
    user, age, gender, occupation, zip_code = line.replace("\t", "|").split("|")
    return user, int(age), gender, occupation, zip_code


def _dat_user(line: str) -> tuple[Any, ...]:
    user, gender, age, occupation, zip_code = line.split("::")
    # The age is the lower end of a range; the occupation a number.
    return user, int(age), gender, _OCCUPATIONS[int(occupation)], zip_code


def _renamed(table: pl.LazyFrame | None, key: str, path: Path | None) -> pl.LazyFrame | None:
    """Give a table the ids of the replications, by their file of ``new original`` pairs."""
    if table is None or path is None:
        return None
    pairs = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    names = pl.LazyFrame(pairs, schema={"new": pl.String, key: pl.String}, orient="row")
    joined = names.join(table, on=key, how="left", maintain_order="left")
    return joined.drop(key).rename({"new": key})
