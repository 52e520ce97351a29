"""Any head of clicks over items that vectors describe: by loops, each read once, new ones too."""

import pytest
import torch
from models.test_click_contract import GOALS, LEARNERS, SMALL, several
from models.test_history_models import ITEMS, LISTS, PADDING, ROWS, SCHEMA, network, vector, visible
from torch import Tensor, nn

from lightning_rec import config
from lightning_rec.data.clicks.schema import ClickSchema, Rows
from lightning_rec.data.split import Histories
from lightning_rec.models.clicks.bst import BST
from lightning_rec.models.clicks.described import WithItems
from lightning_rec.models.clicks.din import DIN
from lightning_rec.models.clicks.parts import ClickModel
from lightning_rec.models.clicks.tables import OwnTable
from lightning_rec.models.items.vectors import KnownVectors, VectorSource
from lightning_rec.tasks.click import own_penalty

WIDTH, NUMBER = 5, 11  # eight items are known from training, three are not
VECTORS = torch.randn(NUMBER, WIDTH, generator=torch.Generator().manual_seed(3))
SHOWN = torch.tensor([0, 1, 10, 7])  # the third one is new
KNOWN = ROWS._replace(item=SHOWN)


def known(schema: ClickSchema, by_id: bool) -> ClickSchema:
    return schema._replace(described=WIDTH, by_id=by_id)


def plain(head: nn.Module) -> nn.Module:
    """With visible vectors, but none where there is nothing."""
    visible(head)
    for module in head.modules():
        if isinstance(module, nn.Embedding) and module.padding_idx is not None:
            module.weight.data[module.padding_idx] = 0
    return head


def over(head: nn.Module) -> WithItems:
    assert isinstance(head, ClickModel)
    return WithItems(KnownVectors(VECTORS), NUMBER, head)


def made(name: str, by_id: bool, schema: ClickSchema = SCHEMA) -> WithItems:
    node = config.plain(config.compose([f"model={name}"]).model)
    node |= {key: value for key, value in SMALL.items() if key in node}
    torch.manual_seed(0)
    schema = schema._replace(goals=GOALS) if several(name) else schema
    return over(plain(config.build("model", node, schema=known(schema, by_id))))


@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize("by_id", [False, True])
def test_every_head_takes_texts(name: str, by_id: bool) -> None:
    model = made(name, by_id)
    with torch.no_grad():
        before = model(KNOWN)
        assert before.isfinite().all()
        other = KNOWN._replace(item=(SHOWN + 1) % NUMBER)
        assert (model(other) != before).reshape(4, -1).any(dim=1).all()
        ids = KNOWN.ids.clone()
        ids[:, 1] = 5 + (ids[:, 1] - 5 + 1) % 9
        moved = (model(KNOWN._replace(ids=ids)) != before).any()
        assert bool(moved) == by_id
    model.train()
    (model(KNOWN).sum() + own_penalty(model)).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []


def text(head: DIN | BST, code: int) -> list[float]:
    assert head.fields.described is not None
    made: Tensor = head.fields.described.project(VECTORS[code])
    return made.tolist()


def added(one: list[float], other: list[float]) -> list[float]:
    return [a + b for a, b in zip(one, other, strict=True)]


@pytest.mark.parametrize("by_id", [False, True])
@pytest.mark.parametrize("dims", [{}, {"user": 2}, {"item": 2}])
def test_din_reads_the_texts_of_the_past(by_id: bool, dims: dict[str, int]) -> None:
    schema = known(SCHEMA, by_id).with_dims(dims)
    head = plain(DIN(schema, dim=3, attention=(4,), mlp=(5,), activation="prelu"))
    assert isinstance(head, DIN)
    logits = over(head)(KNOWN).tolist()
    fields = head.fields

    def by_code(code: int) -> list[float]:
        """The vector of an item's own."""
        if not by_id:
            return [0.0] * 3
        own = next((each for each in fields.apart if isinstance(each, OwnTable)), None)
        if own is not None and own.start == 5:
            return own.vectors(torch.tensor(code + 2)).tolist()
        return vector(fields.table, code + 6 - (4 if own is not None else 0))

    for row, past in enumerate(LISTS):
        user_id, item_id = ROWS.ids[row].tolist()
        own = next((each for each in fields.apart if isinstance(each, OwnTable)), None)
        apart = isinstance(own, OwnTable) and own.start == 1
        user = own.vectors(torch.tensor(user_id)).tolist() if apart else vector(fields.table, user_id)  # fmt: skip
        item = added(by_code(item_id - 6), text(head, int(SHOWN[row])))
        interest = [0.0] * 3
        for code in past:
            e = added(by_code(code), text(head, code))
            pairs = list(zip(e, item, strict=True))
            asked = [*e, *item, *(a - b for a, b in pairs), *(a * b for a, b in pairs)]
            (weight,) = network(head.unit, asked, "prelu")
            interest = [total + weight * v for total, v in zip(interest, e, strict=True)]
        (wanted,) = network(head.deep, [*user, *item, *interest], "prelu")
        assert logits[row] == pytest.approx(wanted, rel=1e-4, abs=1e-5)


def test_bst_reads_the_texts_of_the_past() -> None:
    head = plain(BST(known(SCHEMA, False), dim=4, heads=2, mlp=(3,)))
    with torch.no_grad():
        before = over(head)(KNOWN)
        turned = VECTORS.clone()
        turned[3] += 1  # an item that the first row alone has in its past
        after = WithItems(KnownVectors(turned), NUMBER, head)(KNOWN)
        assert (after != before).tolist() == [True, False, False, False]
        wider = nn.functional.pad(ITEMS, (0, 2), value=PADDING)
        padded = KNOWN._replace(history=Histories(wider, torch.zeros(4).long()))
        torch.testing.assert_close(over(head)(padded), before)


class Counted(VectorSource):
    """Makes vectors with a weight of its own, and counts what it is asked for."""

    width = WIDTH

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(VECTORS.clone())
        self.asked: list[int] = []

    def forward(self, codes: Tensor) -> Tensor:
        self.asked.append(len(codes))
        return self.weight[codes]


def test_each_text_of_a_batch_is_read_once_and_all_of_them_once_to_evaluate() -> None:
    texts, head = Counted(), plain(DIN(known(SCHEMA, False), dim=3))
    assert isinstance(head, DIN)
    model = WithItems(texts, NUMBER, head)
    model(KNOWN)
    assert texts.asked == [8]  # 0, 1, 2, 3, 4, 5, 7 and 10
    model.eval()
    with torch.no_grad():
        once, again = model(KNOWN), model(KNOWN)
        assert texts.asked == [8, NUMBER]
        assert torch.equal(once, again)
        texts.weight += 1  # type: ignore[misc]
        assert not torch.equal(model(KNOWN), once)
        assert texts.asked == [8, NUMBER, NUMBER]
    rows: Rows = KNOWN._replace(history=None)
    assert model.head.schema.history is not None
    with pytest.raises(AssertionError):
        model(rows)  # DIN reads histories, whatever its items are known by


@pytest.mark.parametrize("fused", [False, True])
def test_texts_are_read_anew_when_an_evaluation_begins(fused: bool) -> None:
    texts, head = Counted(), plain(DIN(known(SCHEMA, False), dim=3))
    assert isinstance(head, DIN)
    model = WithItems(texts, NUMBER, head)
    optimizer = torch.optim.Adam(texts.parameters(), lr=0.1, fused=fused)
    model.eval()
    with torch.no_grad():
        model(KNOWN)
    model.train()
    (model(KNOWN).sum() + own_penalty(model)).backward()
    optimizer.step()
    model.eval()
    with torch.no_grad():
        assert torch.equal(model.vectors(SHOWN), texts(SHOWN))
