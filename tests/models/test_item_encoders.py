"""Item encoders: the same vectors however they are asked for, each text read once, sums, gates."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from languages import language
from sklearn.covariance import ledoit_wolf
from torch import Tensor, nn

from lightning_rec.adapters.base import AdaptedModule
from lightning_rec.adapters.whole import TopLayers
from lightning_rec.data.split import Schema
from lightning_rec.language.blocks import EVEN, cuts
from lightning_rec.language.cached import agrees, read_lower, read_vectors
from lightning_rec.language.encoder import TextEncoder
from lightning_rec.language.load import load_language
from lightning_rec.language.tokens import Tokenized, tokenize
from lightning_rec.models.items import base, ids
from lightning_rec.models.items import vectors as item_vectors
from lightning_rec.models.items.base import ComputedItems, ItemEncoder
from lightning_rec.models.items.ids import Ids, OwnVectors
from lightning_rec.models.items.sums import Sum
from lightning_rec.models.items.text import ReadTexts
from lightning_rec.models.items.vectors import (
    KnownVectors,
    Projected,
    VectorSource,
    Whitened,
    whitening,
)
from lightning_rec.models.sequential.sasrec import SASRec

TEXTS = ["red lamp", "old chair of wood", "a", "large soft blue table and steel door", "angle bracket"]  # fmt: skip
SCHEMA = Schema(len(TEXTS), 4, 1)


def encoder_of(
    source: VectorSource, *, ids: bool = False, schema: Schema = SCHEMA, **own: Any
) -> ComputedItems:
    """An encoder over a source, with vectors of the items' own perhaps, that has read."""
    items: ComputedItems = Projected(schema, 8, lambda: source)
    if ids:
        items = Sum(schema, 8, {"text": items, "ids": OwnVectors(schema, 8, **own)})
    items.read()
    return items


KINDS = pytest.mark.parametrize("kind", ["bert", "gpt2", "mpnet", "deberta-v2", "modernbert"])


@pytest.fixture
def read(kind: str, tmp_path: Path) -> tuple[TextEncoder, Tokenized]:
    loaded = load_language(language(kind, tmp_path / kind))
    return loaded.encoder.eval(), tokenize(TEXTS, loaded.tokenizer, 16)


def alone(encoder: TextEncoder, tokens: Tokenized) -> Tensor:
    """Each text by itself, by nothing but transformers."""
    vectors = []
    for start, end in zip(tokens.offsets[:-1], tokens.offsets[1:], strict=True):
        ids = torch.from_numpy(tokens.ids[start:end].astype("int64"))[None]
        states = encoder.model(input_ids=ids).last_hidden_state[0]
        vectors.append(states[-1] if encoder.pooling == "last" else states.mean(dim=0))
    return nn.functional.normalize(torch.stack(vectors), dim=1)


@KINDS
def test_vectors_do_not_depend_on_company(
    read: tuple[TextEncoder, Tokenized], tmp_path: Path
) -> None:
    encoder, tokens = read
    with torch.no_grad():
        wanted = alone(encoder, tokens)
        kept = read_vectors(encoder, tokens, tmp_path / "vectors")
        torch.testing.assert_close(kept, wanted, atol=1e-5, rtol=0)
        live = ReadTexts(encoder, tokens, None)
        asked = torch.tensor([3, 0, 4, 2])
        torch.testing.assert_close(live(asked), wanted[asked], atol=1e-5, rtol=0)
    assert torch.equal(read_vectors(encoder, tokens, tmp_path / "vectors"), kept)


@KINDS
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_it_goes_on_from_what_lies_below(
    read: tuple[TextEncoder, Tokenized], depth: int, tmp_path: Path
) -> None:
    encoder, tokens = read
    lower = read_lower(encoder, tokens, depth, tmp_path / "lower")
    assert agrees(encoder, tokens, lower)
    asked = torch.tensor([1, 4, 3])
    computed: list[int] = []
    hooks = [
        module.register_forward_hook(lambda *_, place=place: computed.append(place))
        for place, layer in enumerate(encoder.layers)
        for module in layer.children()
    ]
    on = ReadTexts(encoder, tokens, lower)(asked)
    assert set(computed) == set(range(depth, 3))
    for hook in hooks:
        hook.remove()
    whole = ReadTexts(encoder, tokens, None)(asked)
    torch.testing.assert_close(on, whole, atol=1e-5, rtol=0)
    weights = [parameter for layer in encoder.layers[depth:] for parameter in layer.parameters()]
    if weights:
        wanted = torch.autograd.grad(whole.square().sum() + whole[0, 0], weights, allow_unused=True)
        found = torch.autograd.grad(on.square().sum() + on[0, 0], weights, allow_unused=True)
        for one, other in zip(found, wanted, strict=True):
            assert (one is None) == (other is None)
            if one is not None and other is not None:
                torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", ["bert"])
def test_a_model_that_does_not_go_on_is_found_out(
    read: tuple[TextEncoder, Tokenized], tmp_path: Path
) -> None:
    encoder, tokens = read
    lower = read_lower(encoder, tokens, 2, tmp_path / "lower")
    lower.states[:] += 1
    assert not agrees(encoder, tokens, lower)


@pytest.mark.parametrize("kind", ["bert"])
@pytest.mark.parametrize("ids", [False, True])
def test_each_text_of_a_step_is_read_once(read: tuple[TextEncoder, Tokenized], ids: bool) -> None:
    encoder, tokens = read
    AdaptedModule(encoder, TopLayers(1))
    items = encoder_of(ReadTexts(encoder, tokens, None), ids=ids)
    texts: list[int] = []
    encoder.register_forward_hook(lambda _, arguments, made: texts.append(len(made)))
    asked = torch.tensor([[0, 3, 3, 5], [4, 0, 5, 6]])  # 5 is padding, 6 the mask
    items.begin_step(asked)
    made = items(asked)
    parts = [items(asked[:1]), items(asked[1:])]
    assert sum(texts) == 3
    torch.testing.assert_close(torch.cat(parts), made)
    assert made.shape == (2, 4, 8)
    assert torch.equal(made[0, 3], torch.zeros(8))
    assert not torch.equal(made[1, 3], torch.zeros(8))
    items(torch.tensor([1]))  # one that was not announced
    assert sum(texts) == 4
    items.eval()
    with torch.no_grad():
        torch.testing.assert_close(items(asked), made)
        torch.testing.assert_close(items._all()[asked], made)
        assert sum(texts) == 4 + len(TEXTS)  # the whole catalogue, once
    made.sum().backward()
    moved = {name for name, p in items.named_parameters() if p.grad is not None and p.grad.any()}
    assert any("layer.2" in name for name in moved)
    assert not any("layer.1" in name for name in moved)
    assert ("parts.ids.own.weight" in moved) == ids
    with torch.no_grad():
        for parameter in items.parameters():
            parameter += 1  # type: ignore[misc]
        assert not torch.allclose(items(asked), made)


def test_known_vectors_are_in_no_state() -> None:
    texts = Whitened(KnownVectors(torch.randn(5, 6)), *whitening(torch.randn(20, 6)))
    items = encoder_of(texts)
    assert set(items.state_dict()) == {"project.weight", "project.bias", "special.weight", "source.mean", "source.basis"}  # fmt: skip
    asked = torch.tensor([2, 0])
    with torch.no_grad():
        still = items(asked)
    torch.testing.assert_close(items(asked), still)


def test_whitened_vectors_are_uncorrelated_and_of_length_one() -> None:
    generator = torch.Generator().manual_seed(0)
    mixed = torch.randn(6, 6, generator=generator)
    vectors = torch.randn(50_000, 6, generator=generator) @ mixed + 3
    mean, basis = whitening(vectors)
    white = (vectors - mean) @ basis
    torch.testing.assert_close(torch.cov(white.T), torch.eye(6) / 6, atol=3e-3, rtol=0)


@pytest.mark.parametrize("number", [1, 2, 30, 40, 500])
def test_whitening_allows_for_how_few_vectors_there_are(number: int) -> None:
    generator = torch.Generator().manual_seed(0)
    mixed = torch.randn(40, 40, generator=generator).cumsum(dim=0) / 100
    vectors = torch.randn(2000, 40, generator=generator) @ mixed
    mean, basis = whitening(vectors[:number])
    assert basis.isfinite().all()
    if number > 2:
        covariance, _ = ledoit_wolf(vectors[:number].double().numpy())
        wanted = np.linalg.inv(covariance) / 40
        np.testing.assert_allclose((basis @ basis.T).numpy(), wanted, rtol=1e-3, atol=1e-4)
        lengths = ((vectors[500:] - mean) @ basis).norm(dim=1)
        assert lengths.mean() < 2  # those it was not fitted to, too


def test_a_direction_in_which_nothing_varies_is_no_obstacle() -> None:
    vectors = torch.cat([torch.randn(500, 6), torch.zeros(500, 1)], dim=1)
    assert ((vectors - whitening(vectors)[0]) @ whitening(vectors)[1]).isfinite().all()


def test_a_catalogue_in_blocks_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = torch.randn(20, 6)
    items = encoder_of(Whitened(KnownVectors(vectors), *whitening(vectors)), ids=True)
    mean, basis = whitening(vectors)
    with torch.no_grad():
        whole = items.train().table()
        monkeypatch.setattr(base, "BLOCK_ITEMS", 3)
        monkeypatch.setattr(item_vectors, "BLOCK_ITEMS", 3)
        torch.testing.assert_close(items.table(), whole)
    torch.testing.assert_close(whitening(vectors)[0], mean)
    spread = [basis @ basis.T for basis in (basis, whitening(vectors)[1])]  # signs are free
    torch.testing.assert_close(*spread, rtol=1e-4, atol=1e-4)


def test_items_go_without_their_own_vectors_as_often_as_asked() -> None:
    schema = Schema(1000, 4, 1)
    source = KnownVectors(torch.randn(1000, 6))
    items = encoder_of(source, ids=True, schema=schema, dropout=0.3, trained=600)
    assert isinstance(items, Sum)
    text, ids = items.parts["text"], items.parts["ids"]
    assert isinstance(text, Projected)
    assert isinstance(ids, OwnVectors)
    assert not ids.own.weight[600:].any()  # what training has not is known by its text alone
    asked = torch.arange(600)
    read = text.vectors(asked)
    items.train()
    added = items(asked) - read
    dropped = (added == 0).all(dim=1)
    assert 120 < dropped.sum() < 240
    torch.testing.assert_close(added[~dropped], ids.own(asked)[~dropped])
    assert not torch.equal(dropped, (items(asked) - read == 0).all(dim=1))  # anew at each step
    items.begin_step(asked)
    assert torch.equal(items(asked), items(asked))  # one and the same within a step
    with torch.no_grad():
        torch.testing.assert_close(items.eval()(asked) - read, ids.own(asked))


@pytest.mark.parametrize("blocks", [2**24, 8])
def test_a_new_item_has_the_vectors_of_those_it_is_like(
    blocks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ids, "_PAIRS", blocks)
    schema, trained, number = Schema(12, 4, 1), 8, 3
    drawn = torch.randn(12, 5, generator=torch.Generator().manual_seed(1))
    told = {"ids": True, "schema": schema, "trained": trained}
    items = encoder_of(KnownVectors(drawn), **told, neighbours=number)
    text, own = (items.get_submodule(f"parts.{name}") for name in ("text", "ids"))
    assert isinstance(own, OwnVectors)
    assert isinstance(text, Projected)
    nn.init.normal_(own.own.weight[:trained])
    before = own.own.weight.detach().numpy().copy()
    with torch.no_grad():
        described = text.vectors(torch.arange(12)).numpy()
        unit = described / np.linalg.norm(described, axis=1, keepdims=True)
        wanted = described + before
        for new in range(trained, 12):
            cosine = unit[:trained] @ unit[new]
            near = np.argsort(-cosine)[:number]
            weight = np.exp(cosine[near] / 0.1)
            wanted[new] += weight / weight.sum() @ before[near]
        in_training = items(torch.arange(12)).numpy()
        np.testing.assert_allclose(in_training, described + before, atol=1e-6)
        items.eval()
        np.testing.assert_allclose(items.table().numpy(), wanted, atol=1e-5)
        asked = torch.tensor([9, 1, 11, 12])
        rows = np.vstack([wanted[[9, 1, 11]], np.zeros(8)])  # padding
        np.testing.assert_allclose(items(asked).numpy(), rows, atol=1e-5)
        assert torch.equal(own.table() + text.table(), items.table())  # each part by itself
        np.testing.assert_array_equal(own.own.weight.numpy(), before)
    some = torch.tensor([1, 9, 11])
    given = items.of_codes(some)  # with gradients
    np.testing.assert_allclose(given.detach().numpy(), wanted[some.numpy()], atol=1e-5)


def test_an_item_of_which_nothing_is_known_has_no_neighbours() -> None:
    drawn = torch.randn(5, 4)
    drawn[4] = 0
    items = encoder_of(KnownVectors(drawn), ids=True, trained=3, neighbours=2).eval()
    mapped = items.get_submodule("parts.text.project")
    assert isinstance(mapped, nn.Linear)
    nn.init.normal_(mapped.bias)  # as it is after training
    table = items.table()
    own = items.get_submodule("parts.ids")
    assert isinstance(own, OwnVectors)
    assert own.table()[3].any()
    assert not own.table()[4].any()
    torch.testing.assert_close(table[4], mapped.bias.detach())
    none = encoder_of(KnownVectors(drawn), ids=True, trained=3, neighbours=0).eval()
    text = none.get_submodule("parts.text")
    assert isinstance(text, Projected)
    assert torch.equal(none.table()[3:], text.table()[3:])


def test_blocks_hold_all_texts_and_few_tokens() -> None:
    chance = np.random.default_rng(0)
    for some in ([3, 2000, 2000, 5, 9000, 1], [7], *chance.integers(1, 400, (20, 500)).tolist()):
        lengths = sorted(some)
        ends = cuts(lengths)
        assert ends[-1] == len(lengths)
        for start, end in zip([0, *ends[:-1]], ends, strict=True):
            rows = end - start
            assert rows > 0
            assert rows * lengths[end - 1] <= 4096 or rows == 1
            assert rows < EVEN or rows % EVEN == 0 or end == len(lengths)


def test_frozen_items_are_what_they_were_and_read_no_more(tiny_bert: Path) -> None:
    language = load_language(tiny_bert)
    tokens = tokenize(TEXTS, language.tokenizer, 16)
    items = encoder_of(ReadTexts(language.encoder, tokens, None)).eval()
    asked = torch.tensor([[3, 0, 5], [4, 6, 1]])
    with torch.no_grad():
        before = items(asked)
        items.freeze_source()
        torch.testing.assert_close(items(asked), before)
    assert not any("encoder" in name for name in items.state_dict())


def test_what_is_kept_is_exact_whoever_asks_first(tiny_bert: Path, tmp_path: Path) -> None:
    encoder, tokenizer, _ = load_language(tiny_bert)
    tokens = tokenize(TEXTS, tokenizer, 16)
    with torch.autocast("cpu", torch.bfloat16):
        coarse = read_vectors(encoder, tokens, tmp_path / "coarse")
        assert not torch.equal(encoder(tokens.take(np.arange(2))), coarse[:2])
    assert torch.equal(coarse, read_vectors(encoder, tokens, tmp_path / "exact"))
    read_vectors(encoder.bfloat16(), tokens, tmp_path / "half")


def test_what_broke_in_the_cache_is_read_again(
    tiny_bert: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    encoder, tokenizer, _ = load_language(tiny_bert)
    tokens = tokenize(TEXTS, tokenizer, 16)
    whole = read_vectors(encoder, tokens, tmp_path / "vectors").clone()
    path = tmp_path / "vectors" / "states.npy"
    bit = bytearray(path.read_bytes())
    bit[-3] ^= 1
    for broken in (b"", b"\x93NUMPY\x01\x00\x76\x00{'descr': '<f4'", bytes(bit)):
        path.write_bytes(broken)
        assert torch.equal(read_vectors(encoder, tokens, tmp_path / "vectors"), whole)
        assert "vectors is broken (states.npy is not what was written)" in caplog.text
        caplog.clear()


@pytest.mark.parametrize("fused", [False, True])
def test_vectors_are_made_anew_when_an_evaluation_begins(fused: bool) -> None:
    items = encoder_of(KnownVectors(torch.randn(len(TEXTS), 6)))
    optimizer = torch.optim.AdamW(items.parameters(), lr=0.1, fused=fused)
    items.eval()
    with torch.no_grad():
        before = items._all()
        assert items._all() is before
    items.train()
    items(torch.tensor([0, 1])).sum().backward()
    optimizer.step()
    items.eval()
    with torch.no_grad():
        assert not torch.equal(items._all(), before)
        assert torch.equal(items._all(), items(torch.arange(len(TEXTS) + 2)))


def test_the_rest_of_a_model_starts_alike_whatever_its_items_are_known_by() -> None:
    def texts(schema: Schema, dim: int) -> ItemEncoder:
        Ids(schema, dim)
        return Projected(schema, dim, lambda: KnownVectors(torch.randn(len(TEXTS), 6)))

    models = []
    for items in (Ids, texts):
        torch.manual_seed(3)
        models.append(SASRec(SCHEMA, dim=8, items=items))
    plain, described = (model.state_dict() for model in models)
    shared = [name for name in plain if not name.startswith("item.")]
    assert len(shared) > 10
    assert all(torch.equal(plain[name], described[name]) for name in shared)


def test_a_gate_starts_with_the_mean_and_learns_which_part_says_more() -> None:
    torch.manual_seed(0)
    parts = {name: encoder_of(KnownVectors(torch.randn(len(TEXTS), 6))) for name in "ab"}
    plain, gated = Sum(SCHEMA, 8, parts), Sum(SCHEMA, 8, parts, gate=True)
    gated.draw_weights()
    codes = torch.arange(len(TEXTS) + 2)
    torch.testing.assert_close(gated.of_codes(codes), plain.of_codes(codes) / 2)
    target = parts["a"].of_codes(codes).detach()
    assert gated.gate is not None
    optimizer = torch.optim.Adam(gated.gate.parameters(), lr=0.1)
    for _ in range(200):
        optimizer.zero_grad()
        loss = (gated.of_codes(codes) - target).square().sum()
        loss.backward()
        optimizer.step()
    assert loss < 0.05 * (plain.of_codes(codes) / 2 - target).square().sum()


def test_given_vectors_come_with_the_weights() -> None:
    given = torch.randn(len(TEXTS), 6)
    items = encoder_of(KnownVectors(given, saved=True))
    restored = Projected(SCHEMA, 8, lambda: None)
    restored.read()
    restored.load_state_dict(items.state_dict())
    codes = torch.tensor([[3, 0, 5], [4, 6, 1]])
    assert torch.equal(restored(codes), items(codes))
    with torch.no_grad():
        assert torch.equal(restored.eval().table(), items.eval().table())


def test_a_model_over_sparse_ids_has_sparse_gradients_in_a_sum_as_well() -> None:
    text = Projected(SCHEMA, 8, lambda: KnownVectors(torch.randn(len(TEXTS), 6)))
    items = Sum(SCHEMA, 8, {"text": text, "ids": OwnVectors(SCHEMA, 8)})
    items.sparse_gradients()
    items.read()
    items(torch.tensor([1, 3])).sum().backward()
    own = items.get_parameter("parts.ids.own.weight").grad
    assert own is not None
    assert own.is_sparse
    assert own.coalesce().indices().flatten().tolist() == [1, 3]
