"""TIGER against transformers' T5 with the same weights; all ids, one by one, by beam: the same."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from models.test_contract import ITEMS, MAX_LEN, USERS, eight_users, histories, some
from torch import Tensor, nn
from transformers import T5Config, T5ForConditionalGeneration

from lightning_rec.data.split import Schema
from lightning_rec.errors import UserError
from lightning_rec.losses.base import Predictions
from lightning_rec.losses.likelihood import Likelihood
from lightning_rec.models.sequential.tiger import TIGER
from lightning_rec.models.trie import Trie
from lightning_rec.retrieval.exact import LOWEST, ModelRetriever, Pairs

SCHEMA = Schema(ITEMS, MAX_LEN, USERS)
K = 8
SMALL: dict[str, Any] = {
    "dim": 16,
    "depth": 2,
    "heads": 2,
    "width": 8,
    "inner": 32,
    "levels": 2,
    "codes": K,
}


def tiger(beam: int | None = None) -> TIGER:
    torch.manual_seed(0)
    made = TIGER(SCHEMA, **SMALL, beam=beam)
    made.fit(eight_users())
    return made.eval()


def copied(ours: TIGER) -> Any:
    """The same model of transformers."""
    settings: Any = {
        "vocab_size": 3 * K + 1, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2,
        "dropout_rate": 0.0, "feed_forward_proj": "relu", "tie_word_embeddings": True,
    }  # fmt: skip
    theirs: Any = T5ForConditionalGeneration(T5Config(**settings)).eval()
    taken: list[Any] = [(theirs.shared.weight, ours.of_code.weight)]
    stacks: list[Any] = [(theirs.encoder, ours.encoder), (theirs.decoder, ours.decoder)]
    for stack, own in stacks:
        near = stack.block[0].layer[0].SelfAttention.relative_attention_bias
        taken += [
            (near.weight, own.positions.weight),
            (stack.final_layer_norm.weight, own.norm.weight),
        ]
        for block, layer in zip(stack.block, own.layers, strict=True):
            parts: list[Any] = [
                (block.layer[0].SelfAttention, block.layer[0].layer_norm, layer.own),
            ]
            norms = [layer.own_norm]
            if len(block.layer) == 3:
                parts = [
                    *parts,
                    (block.layer[1].EncDecAttention, block.layer[1].layer_norm, layer.read),
                ]
                norms.append(layer.read_norm)
            for (attention, norm, mine), of in zip(parts, norms, strict=True):
                taken.append((norm.weight, of.weight))
                for name, each in (("q", "query"), ("k", "key"), ("v", "value"), ("o", "output")):
                    taken.append((getattr(attention, name).weight, getattr(mine, each).weight))
            forward = block.layer[-1]
            taken += [(forward.layer_norm.weight, layer.norm.weight)]
            taken += [(forward.DenseReluDense.wi.weight, layer.expand.weight)]
            taken += [(forward.DenseReluDense.wo.weight, layer.contract.weight)]
    with torch.no_grad():
        for there, here in taken:
            nn.init.normal_(here, mean=float(here.ndim == 1), std=0.3)
            there.copy_(here)
    return theirs


def likelihoods(theirs: Any, ours: TIGER, items: Tensor, number: int) -> Tensor:
    """By transformers, item by item, of a single history, digit by digit: float [V, m]."""
    read = ours.codes[items[:number]].flatten()[None].expand(ITEMS, -1)
    begin = torch.full((ITEMS, 1), 3 * K)
    said = theirs(input_ids=read, decoder_input_ids=torch.cat([begin, ours.codes[:, :-1]], dim=1))
    return said.logits.log_softmax(dim=2).gather(2, ours.codes[..., None])[..., 0].cumsum(dim=1)


def test_it_is_the_t5_of_transformers() -> None:
    ours = tiger()
    theirs = copied(ours)
    items = some(3, 6)
    at = torch.tensor([5, 0, 2])
    queries = ours(histories(items), at)
    wanted = torch.stack(
        [
            likelihoods(theirs, ours, row, int(n) + 1)[:, -1]
            for row, n in zip(items, at, strict=True)
        ]
    )
    torch.testing.assert_close(ours.scores(queries), wanted, atol=2e-5, rtol=1e-5)
    own = some(3, 5)
    torch.testing.assert_close(
        ours.scores(queries, own), wanted.gather(1, own), atol=2e-5, rtol=1e-5
    )
    target = own[:, 0]
    loss = Likelihood()(ours, Predictions(queries, target, torch.arange(3), torch.zeros(3)))
    torch.testing.assert_close(loss, -wanted[torch.arange(3), target].mean())


@pytest.mark.parametrize("budget", [1, 2**12, 2**26])
def test_parts_of_the_trie_change_nothing(budget: int, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = tiger()
    queries = ours(histories(some(5, 6)), torch.full((5,), 5))
    whole = ours.scores(queries)
    monkeypatch.setattr("lightning_rec.models.sequential.tiger.BYTES", budget)
    monkeypatch.setattr("lightning_rec.models.sequential.tiger.TOKENS", max(1, budget // 2**10))
    torch.testing.assert_close(ours.scores(queries), whole)
    again = ours(histories(some(5, 6)), torch.full((5,), 5))
    assert again.shape == queries.shape


def test_a_beam_that_keeps_all_is_exact_and_a_narrow_one_finds_some() -> None:
    exact, wide, narrow = tiger(), tiger(ITEMS), tiger(4)
    given = histories(some(6, 5))
    at = torch.full((6,), 4)
    seen = Pairs(torch.tensor([0, 0, 1, 5]), torch.tensor([3, 4, 3, 0]))
    asked = Pairs(torch.arange(6), torch.arange(6) + 10)
    found = [
        ModelRetriever(each, LOWEST).top(each(given, at), 10, asked, seen)
        for each in (exact, wide, narrow)
    ]
    assert torch.equal(found[0].items, found[1].items)
    assert torch.equal(found[0].rank, found[1].rank)
    torch.testing.assert_close(found[0].scores, found[1].scores)
    theirs = copied(narrow)
    made = narrow.scores(narrow.among(narrow(given, at), *seen))
    for row in range(6):
        left = set(seen.item[seen.row == row].tolist())
        likely = likelihoods(theirs, narrow, given.items[row], 5).tolist()
        codes, kept = narrow.codes.tolist(), list[Any]([()])
        for level in range(1, 4):
            best = {tuple(own[:level]): each[level - 1] for item, (own, each) in enumerate(zip(codes, likely, strict=True))
                    if tuple(own[: level - 1]) in kept and item not in left}  # fmt: skip
            kept = sorted(best, key=lambda prefix: -best[prefix])[:4]
        there = made[row].isfinite().nonzero()[:, 0].tolist()
        assert sorted(codes[item] for item in there) == sorted(map(list, kept))


@pytest.mark.parametrize("width", [ITEMS, 3])
def test_what_is_allowed_is_what_a_beam_finds(width: int) -> None:
    ours = tiger(width)
    queries = ours(histories(some(3, 5)), torch.full((3,), 4))
    allowed = torch.zeros(ITEMS, dtype=torch.bool)
    allowed[[2, 3, 11]] = True
    none = torch.zeros(0, dtype=torch.int64)
    scores = ours.scores(ours.retrieve(queries, none, none, allowed))
    assert torch.equal(scores.isfinite(), allowed.expand(3, -1))


def test_a_loss_of_all_items_is_refused_where_a_beam_finds_some() -> None:
    ours = tiger(4).train()
    queries = ours(histories(some(3, 5)), torch.full((3,), 4))
    with pytest.raises(UserError, match=r"model\.beam=4: .*say loss=likelihood"):
        ours.scores(queries)


def test_items_of_the_same_id_share_a_leaf() -> None:
    ours = tiger()
    ours.codes[5] = ours.codes[2]
    queries = ours(histories(some(3, 5)), torch.full((3,), 4))
    scores = ours.scores(queries)
    assert torch.equal(scores[:, 5], scores[:, 2])
    assert len(ours.trie.items) == ITEMS - 1


def test_the_trie_holds_all_prefixes_once() -> None:
    codes = torch.from_numpy(np.random.default_rng(0).integers(4, size=(50, 3)))
    trie = Trie.of(codes)
    rows = codes.tolist()
    for level in range(1, 4):
        prefixes = sorted({tuple(row[:level]) for row in rows})
        assert trie.tokens[level].tolist() == [each[-1] for each in prefixes]
        above = sorted({tuple(row[: level - 1]) for row in rows})
        assert trie.parents[level].tolist() == [above.index(each[:-1]) for each in prefixes]
        for node, each in enumerate(above):
            begin, end = trie.starts[level - 1][node : node + 2].tolist()
            assert prefixes[begin:end] == [p for p in prefixes if p[:-1] == each]
    leaves = sorted({tuple(row) for row in rows})
    assert trie.leaf.tolist() == [leaves.index(tuple(row)) for row in rows]
    assert trie.items.tolist() == [rows.count(list(each)) for each in leaves]
    for most in (1, 7, 1000):
        parts = list(trie.parts(most))
        assert parts[0][0] == 0
        assert parts[-1][1] == len(trie.tokens[1])
        assert all(before[1] == after[0] for before, after in pairwise(parts))


@pytest.mark.slow
def test_a_beam_of_twenty_loses_less_than_half_a_percent_of_what_was_learnt() -> None:
    """On walks over 400 items, whose next steps depend on where they are."""
    torch.manual_seed(0)
    number, steps = 400, 6
    places = torch.randn(number, 16)
    chances = (places @ torch.linalg.qr(torch.randn(16, 16)).Q @ places.T * 0.8).softmax(dim=1)

    def walks(size: int) -> Tensor:
        walk = [torch.randint(number, (size,))]
        for _ in range(steps):
            walk.append(torch.multinomial(chances[walk[-1]], 1)[:, 0])
        return torch.stack(walk, dim=1)

    settings = SMALL | {"dim": 32, "depth": 1, "width": 16, "inner": 64, "codes": 32}
    model = TIGER(Schema(number, steps, 1), **settings, dropout=0.0)
    model.read_vectors(places)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(220):
        walk = walks(64)
        queries = model(histories(walk[:, :-1]), torch.ones(64, steps, dtype=torch.bool))
        told = Predictions(queries, walk[:, 1:].flatten(), torch.zeros(0), torch.zeros(0))
        optimizer.zero_grad()
        Likelihood()(model, told).backward()
        optimizer.step()
    walk, found = walks(1000), {}
    with torch.no_grad():
        queries = model.eval()(histories(walk[:, :-1]), torch.full((1000,), steps - 1))
        for beam in (None, 5, 20):
            model.beam = beam
            target = Pairs(torch.arange(1000), walk[:, -1])
            rank = ModelRetriever(model, LOWEST).top(queries, 10, target).rank
            found[beam] = float(((rank > 0) & (rank <= 10)).float().mean())
    assert found[None] > 0.3  # by chance: 10 / 400
    assert abs(found[20] - found[None]) <= 0.005
    assert found[5] < found[None] - 0.03  # narrower than the list
