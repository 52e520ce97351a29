"""MovieLens and Beauty: each form they come in, read from tiny files made here."""

from pathlib import Path

import polars as pl
import pytest

from lightning_rec.data.fetch import DATA_VARIABLE
from lightning_rec.data.prepare import prepare
from lightning_rec.data.sources.amazon import (
    AmazonBeauty,
    AmazonBeautyAttributes,
    AmazonBeautyBERT4Rec,
    AmazonSequences,
    AmazonToys,
    AmazonToysP5,
)
from lightning_rec.data.sources.movielens import MovieLens1M, MovieLens100K, parse_title
from lightning_rec.errors import UserError

RATINGS = [
    "196\t242\t3\t881250949",
    "186\t267\t1\t891717742",
    "196\t267\t5\t881250949",
    "22\t1412\t4\t878887116",
]
GENRE_FLAGS = {242: {5, 14}, 267: {0}, 1412: {3, 4}, 12: {6, 16}, 1252: {8}}
TITLES = {
    242: "Kolya (1996)",
    267: "unknown",
    1412: "Land Before Time III: The Time of the Great Giving (1995) (V)",
    12: "Usual Suspects, The (1995)",
    1252: "Contempt (Mépris, Le) (1963)",
}
ARCHIVE_ITEMS = [
    "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq",
    "242\tKolya\t1996\tComedy Romance",
    "267\tunkonwn\tunkonwn\tunknown",
    "1412\tLand Before Time III: The Time of the Great Giving (1995)\tV\tAnimation Children's",
    "12\tUsual Suspects, The\t1995\tCrime Thriller",
    "1252\tContempt (Mépris, Le)\t1963\tDrama",
]
USERS = ["196|49|M|writer|55105", "186|39|F|executive|00000", "22|25|M|writer|40206"]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of LIGHTNING_REC_DATA."""
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv(DATA_VARIABLE, str(folder))
    monkeypatch.setenv("LIGHTNING_REC_CACHE", str(tmp_path / "cache"))
    return folder


def write(folder: Path, name: str, lines: list[str], encoding: str = "utf-8") -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("\n".join(lines) + "\n", encoding=encoding)


def grouplens(folder: Path) -> None:
    items = [
        f"{item}|{title}|01-Jan-1995||http://x|"
        + "|".join(str(int(n in GENRE_FLAGS[item])) for n in range(19))
        for item, title in TITLES.items()
    ]
    write(folder, "u.data", RATINGS)
    write(folder, "u.item", items, "latin-1")
    write(folder, "u.user", USERS)


def archive(folder: Path) -> None:
    write(
        folder,
        "ml-100k.inter",
        ["user_id:token\titem_id:token\trating:float\ttimestamp:float", *RATINGS],
    )
    write(folder, "ml-100k.item", ARCHIVE_ITEMS)
    header = "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token"
    write(folder, "ml-100k.user", [header, *(line.replace("|", "\t") for line in USERS)])


def test_both_forms_of_ml_100k_are_prepared_alike(data: Path, tmp_path: Path) -> None:
    grouplens(data / "ml-100k")
    first = prepare(MovieLens100K(), tmp_path / "cache")
    for file in (data / "ml-100k").iterdir():
        file.unlink()
    archive(data / "ml-100k")
    second = prepare(MovieLens100K(), tmp_path / "cache")
    assert first.folder != second.folder
    assert first.info["data_hash"] == second.info["data_hash"]
    assert first.items.equals(second.items)
    assert first.users.equals(second.users)
    assert first.events.collect().equals(second.events.collect())


def test_ml_100k_is_read_with_all_its_columns(data: Path, tmp_path: Path) -> None:
    grouplens(data)  # directly in the folder, too
    prepared = prepare(MovieLens100K(), tmp_path / "cache")
    assert prepared.events.collect().rows() == [
        (0, 0, 881250949, 3.0), (1, 1, 891717742, 1.0), (0, 1, 881250949, 5.0), (2, 2, 878887116, 4.0),
    ]  # fmt: skip
    assert prepared.items.rows() == [
        ("242", "Kolya", 1996, ["Comedy", "Romance"]),
        ("267", "unknown", None, []),
        (
            "1412",
            "Land Before Time III: The Time of the Great Giving",
            1995,
            ["Animation", "Children's"],
        ),
        ("12", "The Usual Suspects", 1995, ["Crime", "Thriller"]),  # no interactions: last
        ("1252", "Contempt (Mépris, Le)", 1963, ["Drama"]),
    ]
    assert prepared.users.row(1) == ("186", 39, "F", "executive", "00000")
    assert (prepared.info["items"], prepared.info["items_without_events"]) == (5, 2)


@pytest.mark.parametrize(
    ("text", "title", "year"),
    [
        ("Usual Suspects, The (1995)", "The Usual Suspects", 1995),
        ("Enfer, L' (1994)", "L'Enfer", 1994),
        ("Postino, Il (1994)", "Il Postino", 1994),
        ("Horseman on the Roof, The (Hussard sur le toit, Le) (1995)", "The Horseman on the Roof (Hussard sur le toit, Le)", 1995),
        ("Grand Day Out, A  (1992) ", "A Grand Day Out", 1992),
        ("Paris, Texas (1984)", "Paris, Texas", 1984),
        ("2001: A Space Odyssey (1968)", "2001: A Space Odyssey", 1968),
        ("unknown", "unknown", None),
    ],
)  # fmt: skip
def test_titles(text: str, title: str, year: int | None) -> None:
    assert parse_title(text) == (title, year)


def ml_1m(folder: Path) -> None:
    write(
        folder,
        "ratings.dat",
        ["1::1193::5::978300760", "1::661::3::978302109", "2::1193::4::978298413"],
    )


def replication(folder: Path) -> None:
    write(folder, "ml-1m.txt", ["1 1", "1 2", "2 1"])
    write(folder, "sas_to_original_items.txt", ["1 1193", "2 661"])
    write(folder, "sas_to_original_users.txt", ["1 2", "2 1"])
    write(
        folder,
        "movies.dat",
        [
            "661::James and the Giant Peach (1996)::Animation|Musical",
            "1193::Misérables, Les (1975)::Drama",
            "9::Sudden Death (1995)::Action",
        ],
        "latin-1",
    )
    write(folder, "users.dat", ["1::F::1::10::48067", "2::M::56::16::70072"])


def test_ml_1m_ratings(data: Path, tmp_path: Path) -> None:
    ml_1m(data / "ml-1m")
    prepared = prepare(MovieLens1M(), tmp_path / "cache")
    assert prepared.events.collect().rows() == [
        (0, 0, 978300760, 5.0),
        (0, 1, 978302109, 3.0),
        (1, 0, 978298413, 4.0),
    ]
    assert prepared.items["item"].to_list() == ["1193", "661"]


def test_ml_1m_replication_has_titles_by_its_maps(data: Path, tmp_path: Path) -> None:
    replication(data / "ml-1m")
    prepared = prepare(MovieLens1M(), tmp_path / "cache")
    assert prepared.events.collect().rows() == [(0, 0), (0, 1), (1, 0)]
    assert prepared.items.rows() == [
        ("1", "Les Misérables", 1975, ["Drama"]),
        ("2", "James and the Giant Peach", 1996, ["Animation", "Musical"]),
    ]
    assert prepared.users.rows() == [
        ("1", 56, "M", "self-employed", "70072"),
        ("2", 1, "F", "K-12 student", "48067"),
    ]


def test_variant_of_ml_1m_is_chosen_or_the_ratings(data: Path) -> None:
    ml_1m(data / "ml-1m")
    replication(data / "ml-1m")
    assert MovieLens1M().files()[0].name == "ratings.dat"
    assert MovieLens1M("replication").files()[0].name == "ml-1m.txt"


def test_beauty_with_titles_with_attributes_and_bare(data: Path, tmp_path: Path) -> None:
    folder = data / "amazon-beauty"
    write(folder, "Beauty.txt", ["1 1 2", "2 2 3 1"])
    bare = prepare(AmazonBeauty(), tmp_path / "cache")
    assert bare.events.collect().rows() == [(0, 0), (0, 1), (1, 1), (1, 2), (1, 0)]
    assert bare.items.columns == ["item"]
    write(folder, "Beauty_item2attributes.json", ['{"1": [4, 5], "3": [6]}'])
    with_attributes = prepare(AmazonBeauty(), tmp_path / "cache")
    assert with_attributes.items["attributes"].to_list() == [["4", "5"], None, ["6"]]
    write(
        folder,
        "items.jsonl",
        ['{"item_id": 2, "title": "Soap", "categories": [["Beauty", "Bath"], ["Beauty"]]}'],
    )
    with_titles = prepare(AmazonBeauty(), tmp_path / "cache")
    assert with_titles.items.row(1) == ("2", "Soap", ["Beauty", "Bath"])
    instead = prepare(AmazonBeautyAttributes(), tmp_path / "cache")
    assert instead.items.columns == ["item", "attributes"]
    assert instead.items["attributes"].to_list() == [["4", "5"], None, ["6"]]
    every = (bare, with_attributes, with_titles, instead)
    assert len({found.info["data_hash"] for found in every}) == 1


def test_beauty_names_a_broken_line(data: Path, tmp_path: Path) -> None:
    write(data / "beauty", "Beauty.txt", ["1 1 2", "7"])
    with pytest.raises(UserError, match=r"Beauty.txt, line 2"):
        prepare(AmazonBeauty(), tmp_path / "cache")


@pytest.mark.real
def test_the_other_amazon_files(data: Path, tmp_path: Path) -> None:
    write(data / "amazon-beauty-bert4rec", "beauty.txt", ["1 1", "1 2", "2 2"])
    pairs = prepare(AmazonBeautyBERT4Rec(), tmp_path / "cache")
    assert pairs.events.select("user", "item").collect().rows() == [(0, 0), (0, 1), (1, 1)]
    folder = data / "amazon-toys"
    write(folder, "Toys_and_Games.txt", ["1 1 2"])
    write(folder, "sequential_data_p5.txt", ["1 7 0"])
    write(folder, "items.jsonl", ['{"p5_item_id": 7, "title": "Piano", "categories": [["Toys"]]}'])
    # The titles belong to the ids of P5, and to no other.
    assert "title" not in prepare(AmazonToys(), tmp_path / "cache").items
    titled = prepare(AmazonToysP5(), tmp_path / "cache").items
    assert titled.row(0) == ("7", "Piano", ["Toys"])


@pytest.mark.parametrize(
    ("source", "counts"),
    [
        (MovieLens100K(), (943, 1_682, 100_000)),
        (MovieLens1M("replication"), (6_040, 3_416, 999_611)),
        (AmazonBeauty(), (22_363, 12_101, 198_502)),
        (AmazonBeautyAttributes(), (22_363, 12_101, 198_502)),
        (AmazonBeautyBERT4Rec(), (40_226, 54_542, 353_962)),
        (AmazonToys(), (19_412, 11_924, 167_597)),
        (AmazonToysP5(), (19_412, 11_924, 167_597)),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_counts_of_the_real_data(
    source: MovieLens100K | MovieLens1M | AmazonSequences,
    counts: tuple[int, int, int],
    tmp_path: Path,
) -> None:
    try:
        source.files()
    except UserError as error:
        pytest.skip(str(error))
    prepared = prepare(source, tmp_path)
    assert tuple(prepared.info[key] for key in ("users", "items", "events")) == counts
    if "title" in prepared.items:
        assert prepared.items["title"].null_count() == 0
    assert prepared.events.select(pl.col("item").max()).collect().item() == counts[1] - 1
