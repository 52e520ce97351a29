"""Semantic ids: codes against other people's k-means, tables that never change, new items added."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from scipy.stats import entropy
from sklearn.cluster import KMeans
from torch import Tensor

from lightning_rec.data.semantic import measured, table
from lightning_rec.data.semantic.autoencoder import RQVAE, latent, learn_rq_vae
from lightning_rec.data.semantic.clusters import k_means, nearest
from lightning_rec.data.semantic.quantise import Quantizer, decode, encode, learn
from lightning_rec.errors import UserError

SMALL = table.Settings(levels=3, codes=16)


def clouds(number: int = 400, width: int = 6, seed: int = 0) -> Tensor:
    """Points around twenty places."""
    chance = torch.Generator().manual_seed(seed)
    places = torch.randn(20, width, generator=chance) * 3
    own = torch.randint(20, (number,), generator=chance)
    return places[own] + 0.3 * torch.randn(number, width, generator=chance)


def names(number: int, start: int = 0) -> pl.Series:
    return pl.Series("item", [f"i{n}" for n in range(start, start + number)])


def test_k_means_is_as_good_as_scikit_learns() -> None:
    points = torch.stack([clouds(seed=1), clouds(seed=2)])
    found = k_means(points, 16, torch.Generator().manual_seed(3))
    own = nearest(points, found)
    for part, centres, code in zip(points, found, own, strict=True):
        distances = torch.cdist(part, centres)
        assert torch.equal(code, distances.argmin(dim=1))
        ours = float(distances.min(dim=1).values.square().sum())
        theirs = KMeans(16, n_init=1, random_state=0).fit(part.numpy()).inertia_
        assert ours <= 1.15 * theirs
        assert len(code.unique()) == 16  # none is dead


@pytest.mark.parametrize("quantizer", ["residual", "opq"])
def test_codes_say_the_more_the_more_there_are_and_follow_the_seed(quantizer: Quantizer) -> None:
    points = clouds()
    errors = []
    for levels in (1, 2, 3):
        books = learn(points, quantizer, levels, 8, 1)
        codes = encode(points, books)
        assert codes.shape == (400, levels)
        errors.append(float((decode(codes, books) - points).square().sum()))
        again = learn(points, quantizer, levels, 8, 1)
        assert torch.equal(books.centres, again.centres)
    other = learn(points, quantizer, 3, 8, 2)
    assert not torch.equal(books.centres, other.centres)
    assert errors[0] > 1.3 * errors[1] > 1.5 * errors[2]


def test_residual_codes_are_the_nearest_of_what_is_left() -> None:
    points = clouds(50)
    books = learn(points, "residual", 3, 8, 1)
    for point, codes in zip(points, encode(points, books), strict=True):
        rest = point.clone()
        for centres, code in zip(books.centres, codes, strict=True):
            assert (centres - rest).norm(dim=1).argmin() == code
            rest -= centres[code]


def test_product_quantisation_gains_by_its_rotation() -> None:
    """Correlated directions, which parts cut apart: a rotation has to find them."""
    chance = torch.Generator().manual_seed(0)
    mixed = clouds(width=2) @ torch.randn(2, 8, generator=chance)
    points = mixed + 0.05 * torch.randn(400, 8, generator=chance)
    books = learn(points, "opq", 4, 8, 1)
    assert books.rotation is not None
    torch.testing.assert_close(books.rotation @ books.rotation.T, torch.eye(8), atol=1e-5, rtol=0)
    ours = (decode(encode(points, books), books) - points).square().sum()
    parts = points.view(400, 4, 2).transpose(0, 1)
    centres = k_means(parts, 8, torch.Generator().manual_seed(1))
    plain = sum(torch.cdist(p, c).min(dim=1).values.square().sum() for p, c in zip(parts, centres, strict=True))  # fmt: skip
    assert ours < 0.8 * plain


def test_fewer_vectors_than_codes_have_a_code_each() -> None:
    points = clouds(5)
    for quantizer in ("residual", "opq"):
        books = learn(points, quantizer, 4, 256, 1)
        assert books.centres.shape[1] == 5
        assert len(np.unique(encode(points, books), axis=0)) == 5


def test_the_last_digit_tells_apart_in_order() -> None:
    chance = np.random.default_rng(0)
    before, codes = chance.integers(3, size=(40, 2)), chance.integers(3, size=(30, 2))
    count: dict[tuple[int, ...], int] = {}
    digits = []
    for row in [*before.tolist(), *codes.tolist()]:
        digits.append(count.get(tuple(row), 0))
        count[tuple(row)] = digits[-1] + 1
    first = table.told_apart(before, 100)
    assert first.tolist() == digits[:40]
    assert table.told_apart(codes, 100, np.c_[before, first]).tolist() == digits[40:]
    with pytest.raises(UserError, match="items have the same codes"):
        table.told_apart(before, 4)


def test_new_items_are_added_and_nothing_else_changes(tmp_path: Path) -> None:
    points = clouds()
    first = table.made(names(300), points[:300], SMALL)
    assert len(np.unique(first.codes, axis=0)) == 300
    table.write(first, tmp_path / "one", {})
    second = table.appended(table.read(tmp_path / "one"), names(400), points)
    table.write(second, tmp_path / "two", {"from": "one"})
    read = table.read(tmp_path / "two")
    assert (read.version, read.sizes) == (2, (16, 16, 16, 16))
    np.testing.assert_array_equal(read.codes[:300], first.codes)
    assert len(np.unique(read.codes, axis=0)) == 400
    np.testing.assert_array_equal(read.codes[300:, :3], encode(points[300:], first.books))
    assert read.since.tolist() == [1] * 300 + [2] * 100
    some = pl.Series(["i350", "i2"])
    np.testing.assert_array_equal(read.of(some, "two"), read.codes[[350, 2]])
    with pytest.raises(UserError, match=r"no id of 1 of 2 items, such as x"):
        read.of(pl.Series(["i350", "x"]), "two")
    with pytest.raises(UserError, match="every item has an id already"):
        table.appended(read, names(10), points[:10])
    with pytest.raises(UserError, match="have 5 numbers, and the ids were made of 6"):
        table.appended(read, names(500), points[:, :5])


def test_a_table_that_was_changed_is_refused(tmp_path: Path) -> None:
    own = table.made(names(50), clouds(50), SMALL)
    table.write(own, tmp_path / "ids", {})
    with pytest.raises(UserError, match="is there already"):
        table.write(own, tmp_path / "ids", {})
    path = tmp_path / "ids" / table.IDS
    pl.read_parquet(path).reverse().write_parquet(path)
    with pytest.raises(UserError, match=r"ids\.parquet is not as it was written"):
        table.read(tmp_path / "ids")
    with pytest.raises(UserError, match=r"holds no ids\.json"):
        table.read(tmp_path)


def test_items_without_a_vector_are_spread() -> None:
    points = clouds(200)
    points[100:] = 0
    own = table.made(names(200), points, SMALL, learnt=100)
    assert len(np.unique(own.codes[100:, :3], axis=0)) > 60
    np.testing.assert_array_equal(own.codes[:100, :3], encode(points[:100], own.books))


def test_what_is_measured_of_them() -> None:
    codes = np.array([[0, 1], [0, 1], [0, 2], [3, 2]])
    own = table.made(names(4), clouds(4), table.Settings(levels=2, codes=4, unique=False))
    own = own._replace(codes=codes)
    first, second = measured.by_level(own).rows(named=True)
    assert first["perplexity"] == pytest.approx(np.exp(entropy([3, 1])))
    assert (first["used"], first["dead"], first["largest"], first["prefixes"]) == (2, 2, 0.75, 2)
    assert (second["perplexity"], second["prefixes"]) == (pytest.approx(2), 3)
    assert measured.collisions(own) == {
        "items": 4, "different": 3, "colliding": 2, "share": 0.5, "largest": 2,
    }  # fmt: skip


def test_the_loss_of_the_autoencoder_is_that_of_the_paper() -> None:
    torch.manual_seed(0)
    model = RQVAE(6, 2, 8)
    torch.nn.init.normal_(model.centres)
    points = clouds(30)
    made, codes, _ = model(points)
    rest = z = model.down(points)
    total, wanted = torch.zeros_like(z), torch.zeros(())
    for level, code in enumerate(codes):
        near = torch.cdist(rest, model.centres[level])
        assert torch.equal(near.argmin(dim=1), code)
        wanted = wanted + 1.25 * near.min(dim=1).values.square().mean()
        total, rest = total + model.centres[level][code], rest - model.centres[level][code]
    wanted = wanted + (model.up(total) - points).square().sum(dim=1).mean()
    torch.testing.assert_close(made, wanted)
    made.backward()
    assert all(each.grad is not None for each in model.parameters())


def test_the_autoencoder_learns_codes_few_of_which_die(tmp_path: Path) -> None:
    points = clouds()
    centres, layers = learn_rq_vae(points, 2, 16, 1, steps=150)
    again, _ = learn_rq_vae(points, 2, 16, 1, steps=150)
    assert torch.equal(centres, again)
    own = table.made(names(400), points, table.Settings("residual", 2, 64))
    books = own.books._replace(centres=centres, layers=layers)
    assert books.width == 6
    own = own._replace(codes=np.c_[encode(points, books), own.codes[:, -1]], books=books)
    first = nearest(latent(points, layers)[None], centres[:1])[0]
    assert own.codes[:, 0].tolist() == first.tolist()
    used = [row["used"] for row in measured.by_level(own).rows(named=True)[:2]]
    assert min(used) >= 10  # of 16
    table.write(own, tmp_path / "ids", {})
    read = table.read(tmp_path / "ids")
    np.testing.assert_array_equal(encode(points, read.books), own.codes[:, :2])
