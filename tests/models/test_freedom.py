"""FREEDOM against the authors' formulas with equal weights, its two graphs, and who is asked."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_rec.adapters.whole import Frozen
from lightning_rec.data.split import Histories, Schema, Split
from lightning_rec.errors import UserError
from lightning_rec.items.base import Reading, item_node
from lightning_rec.losses.base import Predictions
from lightning_rec.losses.full import FullSoftmax
from lightning_rec.losses.sampled import BPR
from lightning_rec.models.classic.freedom import FREEDOM
from lightning_rec.models.classic.graphs import Alike, drawn_edges, nearest
from lightning_rec.models.classic.parts import training_matrix
from lightning_rec.models.items.ids import Ids
from lightning_rec.models.items.vectors import Projected

DIM, K, WIDTH, WEIGHT = 4, 3, 6, 0.3
NOTHING = torch.zeros(0), torch.zeros(0)
SHARES = {"seen": 0.2, "told": 0.6}  # of 0.8


def drawn(number: int, seed: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).normal(size=(number, WIDTH)).astype(np.float32)


def made(split: Split, folder: Path, *, parts: bool = False, **settings: Any) -> FREEDOM:
    """Over given vectors as they are, of one kind or of two."""
    names = pl.Series("item", [f"i{code}" for code in range(split.num_items)])
    nodes = {}
    for seed, name in enumerate(SHARES):
        path = folder / f"{name}.parquet"
        vectors = drawn(split.num_items, seed)
        pl.DataFrame({"item": names, "vector": vectors}).write_parquet(path)
        kind = "lightning_rec.items.vectors.Vectors"
        nodes[name] = {"_target_": kind, "path": str(path), "whiten": False}
    several = {"_target_": "lightning_rec.items.base.SumOf", "parts": nodes}
    node = item_node("item", several if parts else nodes["seen"])
    reading = Reading(names.to_frame(), names, split.num_trained, folder, Frozen())
    settings = {"shares": SHARES if parts else None, "dropout": 0.6, "item_depth": 2} | settings
    torch.manual_seed(0)
    model = FREEDOM(
        Schema(split.num_items, 10, split.num_users), dim=DIM, neighbours=K, weight=WEIGHT,
        items=node.items(reading), **settings,
    )  # fmt: skip
    model.fit(split)
    assert model.item is not None
    model.item.read()
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.5)
    return model.eval()


def of(users: Tensor) -> tuple[Histories, Tensor]:
    """One event of each user, and its place."""
    return Histories(torch.zeros(len(users), 1, dtype=torch.int64), users), torch.zeros_like(users)


class Authors:
    """The forward and the loss of enoche/FREEDOM (MMRec's models/freedom.py), dense, its names."""

    def __init__(self, model: FREEDOM, features: Mapping[str, Tensor], shares: list[float]) -> None:
        def leaf(weight: Tensor) -> Tensor:
            return weight.detach().clone().double().requires_grad_()

        self.user_embedding, self.item_id_embedding = map(
            leaf, (model.user.weight, model.own.weight)
        )
        self.feats = {name: each.double() for name, each in features.items()}
        assert model.item is not None
        of_part = getattr(model.item, "parts", {"seen": model.item})
        self.trs = {name: (leaf(of_part[name].project.weight), leaf(of_part[name].project.bias))
                    for name in features}  # fmt: skip
        self.mm_adj = sum(
            share * self.get_knn_adj_mat(each)
            for share, each in zip(shares, self.feats.values(), strict=True)
        )

    def get_knn_adj_mat(self, mm_embeddings: Tensor) -> Tensor:
        context_norm = mm_embeddings / mm_embeddings.norm(dim=-1, keepdim=True)
        knn_ind = (context_norm @ context_norm.T).topk(K, dim=-1).indices
        adj = torch.zeros(len(knn_ind), len(knn_ind), dtype=torch.float64).scatter(1, knn_ind, 1.0)
        r_inv_sqrt = (1e-7 + adj.sum(dim=1)) ** -0.5
        rows, cols = adj.nonzero(as_tuple=True)  # each by the sums of rows
        adj[rows, cols] = r_inv_sqrt[rows] * r_inv_sqrt[cols]
        return adj

    def normalized(self, edges: Tensor) -> Tensor:
        """Of users and items, from 0 or 1, float [U, V]: float [U + V, U + V]."""
        rows, cols = ((1e-7 + edges.sum(dim=dim)) ** -0.5 for dim in (1, 0))
        values = rows[:, None] * edges * cols
        zeros = [torch.zeros(n, n, dtype=torch.float64) for n in edges.shape]
        above = torch.cat([zeros[0], values], dim=1)
        return torch.cat([above, torch.cat([values.T, zeros[1]], dim=1)])

    def forward(self, edges: Tensor) -> tuple[Tensor, Tensor]:
        h = self.item_id_embedding
        for _ in range(2):
            h = self.mm_adj @ h
        layers = [torch.cat([self.user_embedding, self.item_id_embedding])]
        for _ in range(2):
            layers.append(self.normalized(edges) @ layers[-1])
        mean = torch.stack(layers, dim=1).mean(dim=1)
        users, items = mean.split([len(self.user_embedding), len(self.item_id_embedding)])
        return users, items + h

    def calculate_loss(self, edges: Tensor, users: Tensor, pos: Tensor, neg: Tensor) -> Tensor:
        def bpr_loss(table: Tensor) -> Tensor:
            of_pos, of_neg = ((ua[users] * table[items]).sum(dim=1) for items in (pos, neg))
            return -F.logsigmoid(of_pos - of_neg).mean()

        ua, ia = self.forward(edges)
        known = [feats @ weight.T + bias for feats, (weight, bias)
                 in zip(self.feats.values(), self.trs.values(), strict=True)]  # fmt: skip
        return bpr_loss(ia) + WEIGHT * sum(map(bpr_loss, known), torch.zeros(()).double())


def authors_of(model: FREEDOM, split: Split, parts: bool) -> Authors:
    names = [*SHARES][: 1 + parts]
    features = {name: torch.from_numpy(drawn(split.num_items, i)) for i, name in enumerate(names)}
    return Authors(model, features, [0.25, 0.75] if parts else [1.0])


def edges_of(split: Split) -> Tensor:
    return torch.from_numpy(training_matrix(split).toarray()).double()


def kept_edges(model: FREEDOM, split: Split) -> Tensor:
    """Those of a step, from its graph: float [U, V]."""
    graph = model.train()._graph().to_dense()
    return (graph[: split.num_users, split.num_users :] > 0).double()


@pytest.mark.parametrize("parts", [False, True])
def test_scores_are_the_authors(leave_one_out: Split, tmp_path: Path, parts: bool) -> None:
    model = made(leave_one_out, tmp_path, parts=parts)
    users, items = authors_of(model, leave_one_out, parts).forward(edges_of(leave_one_out))
    with torch.no_grad():
        scores = model.scores(model(*of(torch.tensor([4, 9]))))
    torch.testing.assert_close(scores.double(), users[[4, 9]] @ items.T, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("parts", [False, True])
def test_loss_and_gradients_are_the_authors(
    leave_one_out: Split, tmp_path: Path, parts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = made(leave_one_out, tmp_path, parts=parts)
    theirs, edges = authors_of(model, leave_one_out, parts), kept_edges(model, leave_one_out)
    events = int(edges_of(leave_one_out).sum())
    assert edges.sum() == int(events * (1 - 0.6))
    users, better, worse = torch.tensor([[4, 9, 4], [1, 2, 2], [3, 3, 7]])
    asked, places = of(users)
    model.begin_step(asked)
    queries, loss = model(asked, places), BPR(leave_one_out)
    valid = torch.ones(3, 1, dtype=torch.bool)
    monkeypatch.setattr(loss.sampler, "draw", lambda _: (worse[:, None], valid))
    ours = loss(model, Predictions(queries, better, torch.arange(3), users))
    ours = ours + model.penalty(queries, better)
    ours.backward()
    wanted = theirs.calculate_loss(edges, users, better, worse)
    wanted.backward()
    torch.testing.assert_close(ours.double(), wanted, rtol=1e-6, atol=1e-6)
    assert model.item is not None
    pairs = [
        (model.user.weight, theirs.user_embedding),
        (model.own.weight, theirs.item_id_embedding),
    ]
    for name, (weight, bias) in theirs.trs.items():
        part = getattr(model.item, "parts", {"seen": model.item})[name]
        assert isinstance(part, Projected)
        assert isinstance(part.project, nn.Linear)
        pairs += [(part.project.weight, weight)]
        assert bias.grad is not None  # of the bias it is 0: the same number on both sides
        torch.testing.assert_close(part.project.bias.grad.double(), bias.grad, rtol=0, atol=1e-7)
    for mine, other in pairs:
        assert mine.grad is not None
        assert other.grad is not None
        assert mine.grad.any()
        torch.testing.assert_close(mine.grad.double(), other.grad, rtol=1e-5, atol=1e-6)


def test_neighbours_are_the_authors_in_blocks_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = torch.from_numpy(drawn(200, 3))
    unit = vectors / vectors.norm(dim=1, keepdim=True)
    wanted = (unit @ unit.T).topk(K, dim=1).indices
    for bytes_ in (1, 4 * 200 * 7, 2**25):
        monkeypatch.setattr("lightning_rec.models.classic.graphs.BLOCK_BYTES", bytes_)
        found = nearest(vectors, K, torch.arange(200))
        assert (found == wanted).all()
        assert (found[:, 0] == torch.arange(200)).all()  # each its own first one


def test_an_item_of_which_nothing_is_known_is_alone() -> None:
    vectors = torch.from_numpy(drawn(20, 3))
    vectors[[2, 7]] = 0
    found = nearest(vectors, 19, torch.arange(20))
    assert (found[[2, 7]] == torch.tensor([[2], [7]])).all()
    others = found[[*range(2), *range(3, 7), *range(8, 20)]]
    assert not torch.isin(others, torch.tensor([2, 7])).any()


def test_edges_are_drawn_as_torchs_multinomial_draws_them(leave_one_out: Split) -> None:
    user, item = edges_of(leave_one_out).nonzero(as_tuple=True)
    weight = (torch.bincount(user)[user] * torch.bincount(item)[item]).float() ** -0.5
    number, share = int(len(user) * (1 - 0.3)), torch.zeros(len(user))
    for seed in range(400):
        kept = drawn_edges(user, item, 0.3, seed)
        assert len(torch.unique(kept)) == number
        share[kept] += 1 / 400
    theirs = torch.zeros(len(user))
    torch.manual_seed(0)
    for _ in range(400):
        theirs[torch.multinomial(weight, number)] += 1 / 400
    order = weight.argsort()
    few, many = order[: len(order) // 5], order[-len(order) // 5 :]
    assert share[many].mean() > share[few].mean() + 0.05
    for part in (few, many):
        assert abs(share[part].mean() - theirs[part].mean()) < 0.01


def test_edges_are_drawn_once_an_epoch_and_stay_with_the_state(
    leave_one_out: Split, tmp_path: Path
) -> None:
    model = made(leave_one_out, tmp_path).train()

    def step() -> Tensor:
        model(*of(torch.tensor([4])))
        return kept_edges(model, leave_one_out)

    model.begin_epoch()
    torch.manual_seed(3)
    first = step()
    assert torch.equal(first, step())
    state = {name: value.clone() for name, value in model.state_dict().items()}
    model.begin_epoch()
    assert not torch.equal(first, step())
    other = made(leave_one_out, tmp_path).train()  # begins in the middle of that epoch
    other.load_state_dict(state)
    other(*of(torch.tensor([4])))
    assert torch.equal(first, kept_edges(other, leave_one_out))
    model.eval()
    whole = model._graph().to_dense()[: leave_one_out.num_users, leave_one_out.num_users :] > 0
    assert torch.equal(whole.double(), edges_of(leave_one_out))


def test_items_that_came_later_find_their_neighbours_and_others_keep_theirs() -> None:
    vectors = torch.from_numpy(drawn(20, 3))
    old, new = Alike(1, 16, K), Alike(1, 20, K)
    old.find([vectors[:16]])
    assert old.whole
    new.load_state_dict(old.state_dict())
    assert (new.near[0, 16:] < 0).all()
    new.find([vectors])
    assert torch.equal(new.near[0, :16], old.near[0])
    assert torch.equal(new.near[0, 16:], nearest(vectors, K, torch.arange(16, 20)))


def test_without_descriptions_items_are_alike_by_who_had_them(leave_one_out: Split) -> None:
    model = FREEDOM(Schema(leave_one_out.num_items, 10, leave_one_out.num_users), DIM, neighbours=K)
    model.fit(leave_one_out)
    near = model.alike.near[0]
    assert (near >= 0).all()
    assert (near == torch.arange(len(near))[:, None]).any(dim=1).all()
    assert (near[:, 0] != near[:, 1]).any()
    model.train()
    queries = model(*of(torch.tensor([4])))
    assert model.penalty(queries, torch.tensor([1])) == 0
    assert "draws" not in [need.trait for need in model.needs]


def test_a_user_without_training_events_is_the_mean_of_the_others(
    leave_one_out: Split, tmp_path: Path
) -> None:
    train_end = leave_one_out.train_end.copy()
    train_end[4] = leave_one_out.offsets[4]
    bare = Split(**{**vars(leave_one_out), "train_end": train_end})
    model = made(bare, tmp_path)
    users, _ = authors_of(model, bare, False).forward(edges_of(bare))
    wanted = torch.cat([users[:4], users[5:]]).mean(dim=0)
    with torch.no_grad():
        found = model(*of(torch.tensor([4])))[0]
    torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-5)


def test_what_does_not_go_with_it_is_refused(leave_one_out: Split, tmp_path: Path) -> None:
    schema = Schema(30, 10, 4)
    with pytest.raises(UserError, match="leave ids out"):
        FREEDOM(schema, items=Ids)
    with pytest.raises(UserError, match="by one thing"):
        FREEDOM(schema, shares={"images": 1.0})
    with pytest.raises(UserError, match="by seen, told"):
        made(leave_one_out, tmp_path, parts=True, shares={"seen": 0.2, "text": 0.8})
    model = made(leave_one_out, tmp_path).train()
    assert "draws" in [need.trait for need in model.needs]
    assert BPR.draws
    assert not hasattr(FullSoftmax, "draws")
    queries, target = model(*of(torch.tensor([4]))), torch.tensor([1])
    model.scores(queries, target[:, None])
    with pytest.raises(UserError, match="none or batch"):
        model.penalty(queries, target)
