"""LIGER against transformers' T5 and the authors' losses; its candidates; items that come later."""

from typing import Any

import pytest
import torch
from models.test_contract import ITEMS, MAX_LEN, USERS, eight_users, histories, some
from models.test_tiger import SMALL, K, copied, tiger
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_rec.data.split import Schema
from lightning_rec.errors import UserError
from lightning_rec.losses.base import Predictions
from lightning_rec.losses.full import FullSoftmax
from lightning_rec.losses.likelihood import Likelihood
from lightning_rec.models.sequential.liger import LIGER
from lightning_rec.retrieval.exact import LOWEST, ModelRetriever, Pairs

SCHEMA = Schema(ITEMS, MAX_LEN, USERS)
WIDTH, TRAINED, HIDDEN = 12, ITEMS - 4, (10, 6)
NONE = torch.zeros(0, dtype=torch.int64)


def liger(beam: int | None = None) -> LIGER:
    """Of drawn vectors, the last four items without training events, all weights drawn."""
    torch.manual_seed(0)
    model = LIGER(SCHEMA, **SMALL, hidden=HIDDEN, beam=beam, weight=0.7)
    model.read_vectors(torch.randn(ITEMS, WIDTH), TRAINED)
    for weight in (*model.project.parameters(), *model.norm.parameters()):
        nn.init.normal_(weight, std=0.5)
    return model.eval()


class Authors:
    """The losses of facebookresearch/liger in their terms, over transformers' T5 (their TIGER is
    T5ForConditionalGeneration): equal weights, and gradients of what is not T5's.
    """

    def __init__(self, model: LIGER) -> None:
        self.t5, self.model = copied(model), model
        self.weights = {name: weight.detach().clone().requires_grad_() for name, weight
                        in model.named_parameters() if not name.startswith(("encoder", "decoder", "of_code"))}  # fmt: skip

    def projected(self, x: Tensor) -> Tensor:
        """``emb_proj``: blocks of linear, LayerNorm and ReLU; a convolution past each, whose kernel
        is as wide as its input, is a linear map without a bias.
        """
        w = {name.removeprefix("project."): weight for name, weight in self.weights.items()}
        for i in range(len(HIDDEN)):
            y = F.linear(x, w[f"expand.{i}.weight"], w[f"expand.{i}.bias"])
            y = F.layer_norm(y, y.shape[-1:], w[f"norm.{i}.weight"], w[f"norm.{i}.bias"], 1e-12)
            x = F.relu(y) + F.conv1d(x[:, None], w[f"past.{i}.weight"][:, None])[..., 0]
        return F.linear(x, w["output.weight"], w["output.bias"])

    def asked(self, items: Tensor, target: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Cosines of one history, int64 [n], with all items over the temperature, float [V], and
        the mean cross-entropy of the target's digits.
        """
        codes, w = self.model.codes, self.weights
        inputs = self.t5.shared(codes[items].flatten())
        of_text = self.projected(self.model.known[items].repeat_interleave(3, dim=0))
        of_text = of_text + w["position.weight"][torch.arange(len(items)).repeat_interleave(3)]
        inputs = inputs + of_text + w["level.weight"].repeat(len(items), 1)
        inputs = F.layer_norm(inputs, (16,), w["norm.weight"], w["norm.bias"], 1e-8)
        said = codes[0 if target is None else target][None]
        begun = torch.cat([torch.tensor([[3 * K]]), said[:, :-1]], dim=1)
        made = self.t5(inputs_embeds=inputs[None], decoder_input_ids=begun)
        predicted = F.normalize(made.encoder_last_hidden_state[0, -1], dim=0)
        known = F.normalize(self.projected(self.model.known), dim=1)
        return known @ predicted / 0.07, F.cross_entropy(made.logits[0], said[0])


def test_scores_are_the_authors_dense_ones() -> None:
    ours = liger()
    theirs, items, at = Authors(ours), some(3, 6), torch.tensor([5, 0, 2])
    with torch.no_grad():
        scores = ours.scores(ours(histories(items), at))
        wanted = [theirs.asked(row[: int(n) + 1])[0] for row, n in zip(items, at, strict=True)]
    torch.testing.assert_close(scores, torch.stack(wanted), atol=2e-5, rtol=1e-5)


def test_losses_and_gradients_are_the_authors() -> None:
    ours = liger()
    theirs, items, at = Authors(ours), some(3, 6), torch.tensor([5, 0, 2])
    targets = torch.tensor([3, 11, 3])
    queries = ours(histories(items), at)
    told = Predictions(queries, targets, torch.arange(3), torch.zeros(3))
    dense = FullSoftmax()(ours, told)
    said = ours.penalty(queries, targets)
    assert isinstance(said, Tensor)
    (dense + said).backward()
    made = [theirs.asked(row[: int(n) + 1], target)
            for row, n, target in zip(items, at, targets, strict=True)]  # fmt: skip
    embedding_loss = F.cross_entropy(torch.stack([each[0] for each in made]), targets)
    sid_loss = torch.stack([each[1] for each in made]).mean()
    torch.testing.assert_close(dense, embedding_loss, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(said, 0.7 * sid_loss, atol=1e-5, rtol=1e-5)
    (embedding_loss + 0.7 * sid_loss).backward()
    mine = dict(ours.named_parameters())
    assert len(theirs.weights) == 4 + 4 * len(HIDDEN) + len(HIDDEN) + 2
    for name, weight in theirs.weights.items():
        assert weight.grad is not None
        assert weight.grad.any()
        torch.testing.assert_close(mine[name].grad, weight.grad, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(
        ours.of_code.weight.grad, theirs.t5.shared.weight.grad, atol=1e-5, rtol=1e-4
    )


def test_items_without_training_events_are_no_negatives() -> None:
    ours = liger()
    split: Any = eight_users()
    queries, targets = ours(histories(some(3, 6)), torch.full((3,), 5)), torch.tensor([3, 11, 3])
    loss = FullSoftmax(split=split)
    loss.trained = TRAINED
    found = loss(ours, Predictions(queries, targets, torch.arange(3), torch.zeros(3)))
    scores = ours.scores(queries).clone()
    scores[:, TRAINED:] = -100  # the authors' logits of unseen items
    torch.testing.assert_close(found, F.cross_entropy(scores, targets))


def test_candidates_are_those_of_tigers_beam_and_new_items_in_the_order_of_cosines() -> None:
    narrow, exact = liger(4), liger()
    given, at = histories(some(6, 5)), torch.full((6,), 4)
    with torch.no_grad():
        queries = narrow(given, at)
        found = narrow.scores(narrow.among(queries, NONE, NONE))
        beam = TIGERs(narrow).beam_of(queries)
        whole = exact.scores(exact(given, at))
    for row in range(6):
        there = set(found[row].isfinite().nonzero()[:, 0].tolist())
        assert there == beam[row] | set(range(TRAINED, ITEMS))
    torch.testing.assert_close(found[found.isfinite()], whole[found.isfinite()])
    assert len({frozenset(each) for each in beam}) > 1
    some_items = torch.tensor([3, ITEMS - 1, 0])
    again = narrow.scores(narrow.among(queries, NONE, NONE), some_items)
    torch.testing.assert_close(again, found[:, some_items], equal_nan=True)
    own = narrow.scores(narrow.among(queries, NONE, NONE), some_items.expand(6, -1))
    torch.testing.assert_close(own, whole[:, some_items])


class TIGERs:
    """What TIGER's beam finds with the weights of a LIGER."""

    def __init__(self, model: LIGER) -> None:
        self.model = model

    def beam_of(self, queries: Tensor) -> list[set[int]]:
        model = self.model
        assert model.beam is not None
        likely = model.of_items(queries, torch.arange(ITEMS).expand(len(queries), -1))
        made = model.search(queries, None)[:, : model.beam].long()
        items = [
            set(torch.isin(model.trie.leaf, leaves).nonzero()[:, 0].tolist()) for leaves in made
        ]
        for row, found in enumerate(items):  # nobody left out is more likely than most of these
            left = [float(likely[row, i]) for i in range(ITEMS) if i not in found]
            assert max(float(likely[row, i]) for i in found) >= max(left)
        return items


def test_as_the_beam_grows_the_ranking_becomes_the_exact_one() -> None:
    given, at = histories(some(6, 5)), torch.full((6,), 4)
    seen = Pairs(torch.tensor([0, 0, 1, 5]), torch.tensor([3, 4, 3, 0]))
    asked = Pairs(torch.arange(6), torch.arange(6) + 10)

    def ranked(beam: int | None) -> Any:
        model = liger(beam)
        with torch.no_grad():
            return ModelRetriever(model, LOWEST).top(model(given, at), 10, asked, seen)

    exact = ranked(None)
    agree = []
    for beam in (2, 8, 16, ITEMS):
        found = ranked(beam)
        there = (found.items[..., None] == exact.items[:, None]).any(dim=2) & (found.items >= 0)
        agree.append(int(there.sum()))
    assert agree == sorted(agree)
    assert agree[0] < agree[-1] == 60
    assert torch.equal(found.items, exact.items)
    assert torch.equal(found.rank, exact.rank)
    torch.testing.assert_close(found.scores, exact.scores)


def test_what_is_allowed_is_all_that_a_beam_finds() -> None:
    ours = liger(ITEMS)
    queries = ours(histories(some(3, 5)), torch.full((3,), 4))
    allowed = torch.zeros(ITEMS, dtype=torch.bool)
    allowed[[2, 3, 11]] = True
    scores = ours.scores(ours.retrieve(queries, NONE, NONE, allowed))
    new = torch.arange(ITEMS) >= TRAINED
    assert torch.equal(scores.isfinite(), (allowed | new).expand(3, -1))


def test_a_state_brings_vectors_of_its_own_width() -> None:
    model, other = liger(), LIGER(SCHEMA, **SMALL, hidden=HIDDEN, beam=None)
    other.load_state_dict(model.state_dict())
    given, at = histories(some(3, 5)), torch.full((3,), 4)
    with torch.no_grad():
        ours, theirs = (each.eval().scores(each(given, at)) for each in (model, other))
    torch.testing.assert_close(ours, theirs)
    assert int(other.trained) == TRAINED


def test_one_map_serves_a_step_and_the_next_has_another() -> None:
    model = liger().train()
    times: list[int] = []
    model.project.register_forward_hook(lambda *_: times.append(1))
    asked = histories(some(3, 5))
    for _ in range(2):
        model.begin_step(asked)
        queries, targets = model(asked, torch.full((3,), 4)), torch.tensor([1, 2, 3])
        told = Predictions(queries, targets, torch.arange(3), torch.zeros(3))
        (FullSoftmax()(model, told) + model.penalty(queries, targets)).backward()
    assert len(times) == 2
    model.eval()
    with torch.no_grad():
        for _ in range(2):
            model.scores(model(asked, torch.full((3,), 4)))
    assert len(times) == 3


def test_what_does_not_go_with_it_is_refused() -> None:
    with pytest.raises(UserError, match="item=text"):
        liger().read_codes(torch.zeros(ITEMS, 3, dtype=torch.int64), (K, K, K))
    assert not liger().likelihood
    assert [need.trait for need in Likelihood.needs] == ["likelihood"]
    assert tiger().likelihood


@pytest.mark.slow
def test_items_that_nobody_had_are_found_by_their_vectors() -> None:
    """On walks over 120 items of a circle, whose next steps depend on where they are, and never lead
    to the last thirty in training.
    """
    torch.manual_seed(0)
    number, trained, steps = 120, 90, 4
    places = F.normalize(torch.randn(number, 2), dim=1)
    chances = 10 * places @ torch.linalg.qr(torch.randn(2, 2)).Q @ places.T
    warm = chances[:trained, :trained].softmax(dim=1)

    def walks(size: int) -> Tensor:
        walk = [torch.randint(trained, (size,))]
        for _ in range(steps - 1):
            walk.append(torch.multinomial(warm[walk[-1]], 1)[:, 0])
        return torch.stack(walk, dim=1)

    sizes = SMALL | {"dim": 32, "depth": 1, "width": 16, "inner": 64, "codes": 16}
    free = {"dropout": 0.0, "input_dropout": 0.0, "map_dropout": 0.0}
    model = LIGER(Schema(number, steps, 1), **sizes, **free, hidden=(32,), beam=10, temperature=0.2)
    model.read_vectors(places, trained)
    optimizer, loss = torch.optim.Adam(model.parameters(), lr=3e-3), FullSoftmax()
    loss.trained = trained
    for _ in range(250):
        walk = walks(64)
        asked, every = histories(walk[:, :-1]), torch.ones(64, steps - 1, dtype=torch.bool)
        model.begin_step(asked)
        queries, targets = model(asked, every), walk[:, 1:].flatten()
        told = Predictions(queries, targets, torch.zeros(0), torch.zeros(0))
        optimizer.zero_grad()
        (loss(model, told) + model.penalty(queries, targets)).backward()
        optimizer.step()
    walk, found = walks(500), {}
    best = chances[walk[:, -1], trained:].argmax(dim=1) + trained  # the likeliest new item
    with torch.no_grad():
        queries = model.eval()(histories(walk), torch.full((500,), steps - 1))
        for name, trains in (("union", trained), ("beam alone", number)):
            model.trained.fill_(trains)
            rank = (
                ModelRetriever(model, LOWEST).top(queries, 10, Pairs(torch.arange(500), best)).rank
            )
            found[name] = float(((rank > 0) & (rank <= 10)).float().mean())
    assert found["union"] > 0.8  # by chance: 10 / 120
    assert found["beam alone"] < 0.1
