"""A synthetic log of known structure, in every form the tests need, and a quiet environment."""

import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from languages import WORDS, language

from lightning_rec.data.clicks.fields import Fields
from lightning_rec.data.fetch import cache_dir
from lightning_rec.data.prepare import prepare
from lightning_rec.data.schema import Interactions
from lightning_rec.data.sources.table import TableSource
from lightning_rec.data.split import Schema, Split
from lightning_rec.data.splits import LeaveOneOut, Temporal
from lightning_rec.files import sha256_file, write_json

USERS, ITEMS, MAX_LEN = 60, 40, 10


@pytest.fixture(scope="session", autouse=True)
def quiet_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache of this session's own, no tracker online, one thread per process."""
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LIGHTNING_REC_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("WANDB_MODE", "offline")
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(autouse=True)
def environment_as_it_was() -> Iterator[None]:
    """What a library sets (Ray another debugger, Lightning its ports) is not there for the next test."""
    before = dict(os.environ)
    yield
    if os.environ != before:
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture(scope="session")
def log_frame() -> pl.DataFrame:
    """60 users x ~20 events over 40 items: uid, sku (strings), ts (seconds, with ties), stars.

    The next item follows from the last one (seven further, modulo 40), but for one event in five,
    which goes to one of three popular items. Users u0 and u1 have one and two events.
    """
    chance = random.Random(7)
    waiting: list[list[tuple[str, str, int, int]]] = []
    for user in range(USERS):
        item, time, events = chance.randrange(ITEMS), 1_600_000_000 + chance.randrange(300), []
        for _ in range(user + 1 if user < 2 else chance.randint(14, 26)):
            item = (item + 7) % ITEMS
            shown = chance.randrange(3) if chance.random() < 0.2 else item
            events.append((f"u{user}", f"i{shown:02d}", time, chance.randint(1, 5)))
            time += chance.choice([0, 0, 100, 250])
        waiting.append(events)
    # Users take turns in the file, each with its own events in order.
    rows = []
    while waiting:
        events = chance.choice(waiting)
        rows.append(events.pop(0))
        if not events:
            waiting.remove(events)
    return pl.DataFrame(rows, schema=["uid", "sku", "ts", "stars"], orient="row")


@pytest.fixture(scope="session")
def log_csv(log_frame: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The log as a CSV file."""
    path = tmp_path_factory.mktemp("log") / "log.csv"
    log_frame.write_csv(path)
    return path


@pytest.fixture(scope="session")
def interactions(log_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> Interactions:
    """The log, prepared."""
    source = TableSource(str(log_csv), user="uid", item="sku", time="ts", rating="stars")
    return prepare(source, tmp_path_factory.mktemp("prepared"))


@pytest.fixture(scope="session")
def leave_one_out(interactions: Interactions) -> Split:
    return LeaveOneOut(cutoffs=(1, 5, 10)).split(interactions)


@pytest.fixture(scope="session")
def temporal(interactions: Interactions) -> Split:
    return Temporal(cutoffs=(1, 5, 10)).split(interactions)


@pytest.fixture
def schema(leave_one_out: Split) -> Schema:
    return Schema(leave_one_out.num_items, MAX_LEN, leave_one_out.num_users)


Prepare = Callable[..., Interactions]


@pytest.fixture
def prepared(tmp_path: Path) -> Prepare:
    """``prepared(user=[…], item=[…], time=[…], rating=[…])``: any small log, prepared."""

    def make(**columns: list[Any]) -> Interactions:
        path = tmp_path / "small.csv"
        pl.DataFrame(columns).write_csv(path)
        names: dict[str, Any] = {name: name for name in columns}
        return prepare(TableSource(str(path), **names), tmp_path / "cache")

    return make


@pytest.fixture(scope="session")
def click_frame() -> pl.DataFrame:
    """600 rows: uid, sku, device (with gaps), tags (0 to 3 of them), price (with gaps), ts, clicked, worth.

    Users 0 to 9 like even items, users 10 to 19 odd ones; one row in eight is the other way round.
    """
    chance = random.Random(11)
    rows = []
    for row in range(600):
        user, item = chance.randrange(20), chance.randrange(15)
        liked = (item % 2 == 0) == (user < 10)
        rows.append(
            (
                f"u{user}",
                f"i{item}",
                chance.choice(["phone", "desk", None]),
                "|".join(chance.sample(["new", "sale", "eco", "top"], chance.randint(0, 3))),
                None if chance.random() < 0.1 else round(chance.lognormvariate(2, 1), 2),
                1_600_000_000 + 60 * row,
                int(liked != (chance.random() < 0.125)),
                chance.choice([0.5, 1.0, 2.0]),
            )
        )
    names = ["uid", "sku", "device", "tags", "price", "ts", "clicked", "worth"]
    return pl.DataFrame(rows, schema=names, orient="row")


@pytest.fixture(scope="session")
def click_csv(click_frame: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clicks as a CSV file."""
    path = tmp_path_factory.mktemp("clicks") / "clicks.csv"
    click_frame.write_csv(path)
    return path


@pytest.fixture
def click_fields() -> Fields:
    """What the columns of the clicks mean."""
    return Fields(
        categorical=("uid", "sku", "device"),
        multi_valued=("tags",),
        numeric=("price",),
        label="clicked",
        group="uid",
        time="ts",
    )


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT of three layers, 16 wide, and its tokenizer."""
    pytest.importorskip("transformers")
    return language("bert", tmp_path_factory.mktemp("language") / "bert")


@pytest.fixture(scope="session")
def tiny_gpt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random GPT-2 of three layers, 16 wide, and its tokenizer."""
    pytest.importorskip("transformers")
    return language("gpt2", tmp_path_factory.mktemp("language") / "gpt2")


@pytest.fixture(scope="session")
def catalogue_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A title of two words and a list of kinds for each of the log's items, and two items more."""
    path = tmp_path_factory.mktemp("catalogue") / "catalogue.csv"
    rows = [
        (f"i{item:02d}", f"{WORDS[item % 10]} {WORDS[10 + item // 10]}", WORDS[20 + item % 3])
        for item in range(ITEMS + 2)
    ]
    pl.DataFrame(rows, schema=["sku", "title", "kind"], orient="row").write_csv(path)
    return path


@pytest.fixture(scope="session")
def titled_clicks(click_frame: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clicks with a title of three words for each item; the latest rows are of two new items."""
    chance = random.Random(5)
    skus = [*(f"i{item}" for item in range(15)), "new0", "new1"]
    titles = {sku: " ".join(chance.sample(WORDS, 3)) for sku in skus}
    late = pl.col("ts") >= pl.col("ts").quantile(0.95)
    new = pl.lit("new") + (pl.col("ts") // 60 % 2).cast(pl.String)
    frame = click_frame.with_columns(sku=pl.when(late).then(new).otherwise("sku"))
    path = tmp_path_factory.mktemp("titled") / "clicks.parquet"
    frame.with_columns(title=pl.col("sku").replace_strict(titles)).write_parquet(path)
    return path


@pytest.fixture(scope="session")
def tiny_minilm(tiny_bert: Path) -> Path:
    """The tiny BERT where the cache has all-MiniLM-L6-v2, so that configs which name it find it."""
    folder = cache_dir() / "raw" / "all_minilm_l6_v2" / "safetensors"
    if not folder.exists():
        shutil.copytree(tiny_bert, folder)
        write_json(folder / "checksums.json", {f.name: sha256_file(f) for f in folder.iterdir()})
    return folder


@pytest.fixture(scope="session")
def pairs_frame() -> pl.DataFrame:
    """96 queries of an adjective and a noun, six products judged for each: term, sku, name, grade.

    A product has two adjectives and a noun. It is a perfect match (3) if it has both words of the
    query, a partial one (2) if it has one of them, and irrelevant (1) if it has none.
    """
    chance = random.Random(5)
    nouns, adjectives = ["lamp", "chair", "table", "bracket", "door", "paint"], WORDS[:16]
    products = [
        (f"p{len(nouns) * pair + place:02d}", f"{one} {other} {noun}")
        for pair, (one, other) in enumerate(zip(adjectives[::2], adjectives[1::2], strict=True))
        for place, noun in enumerate(nouns)
    ]
    rows = []
    for adjective in adjectives:
        for noun in nouns:
            by_shared: dict[int, list[tuple[str, str]]] = {0: [], 1: [], 2: []}
            for product in products:
                by_shared[len({adjective, noun} & set(product[1].split()))].append(product)
            judged = [
                (product, 1 + shared)
                for shared, number in ((2, 1), (1, 3), (0, 2))
                for product in chance.sample(by_shared[shared], number)
            ]
            chance.shuffle(judged)
            rows += [(f"{adjective} {noun}", *product, grade) for product, grade in judged]
    return pl.DataFrame(rows, schema=["term", "sku", "name", "grade"], orient="row")


@pytest.fixture(scope="session")
def pairs_csv(pairs_frame: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pairs as a CSV file."""
    path = tmp_path_factory.mktemp("pairs") / "pairs.csv"
    pairs_frame.write_csv(path)
    return path
