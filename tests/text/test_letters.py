"""Lists read by a language model: prompts and scores as by plain transformers, and what a place does, by hand."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from languages import language
from torch import Tensor

from lightning_rec.data.split import Histories, Schema
from lightning_rec.errors import UserError
from lightning_rec.language.letters import Kept
from lightning_rec.language.listed import ListPrompts
from lightning_rec.language.load import words_loader
from lightning_rec.language.prompts import Wording
from lightning_rec.language.tokens import tokenize
from lightning_rec.metrics import positions
from lightning_rec.models.base import SequenceModel
from lightning_rec.models.text.listwise import Listwise, Readings, merged, ranks_in
from lightning_rec.models.together import Member
from lightning_rec.retrieval.exact import ModelRetriever, Pairs

TITLES = [
    "red lamp",
    "old chair",
    "blue door of steel",
    "warm",
    "table",
    "soft new chair",
    "light wood",
]
ITEMS, PADDING = len(TITLES), len(TITLES)
PROMPT = "the user liked {history} and is the {items} yes or no"
LETTERS = "abcdefg"
PAST = [[0, 1, 2], [3], [5, 4, 1, 0, 3]]
Make = Callable[..., Listwise]


class Fixed(SequenceModel):
    """Scores of its own, the same for everybody: the higher the code, the better."""

    objectives = ("closed_form",)
    needs_order = False

    def forward(self, histories: Histories, positions: Tensor) -> Tensor:
        return histories.user[:, None].float()

    def scores(self, queries: Tensor, items: Tensor | None = None) -> Tensor:
        own = torch.arange(self.schema.num_items).float() / 7 - 0.5
        return (
            own.expand(len(queries), -1)
            if items is None
            else own[items].expand(len(queries), -1)
            if items.dim() == 1
            else own[items]
        )


@pytest.fixture(scope="module")
def gpt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("language") / "gpt"
    return language("gpt2", folder, more="b c d e f g . n / mask", places=128)


@pytest.fixture
def make(gpt: Path) -> Make:
    def made(**settings: Any) -> Listwise:
        schema = Schema(ITEMS, 8, 3)
        first = Member(
            Fixed(schema), lambda asked, _: (asked, (asked.items != PADDING).sum(1) - 1), 64
        )
        given: dict[str, Any] = {"encoder": str(gpt), "prompt": PROMPT, "answer": "{letter}"}
        given |= {"rerank": 5, "separator": " and", "nothing": "new item", "max_tokens": 100}
        return Listwise(schema, words_loader(meta=False), TITLES, first, **given | settings).eval()

    return made


def asked(model: Listwise) -> Tensor:
    items = torch.tensor([(past + [PADDING] * 6)[:6] for past in PAST])
    with torch.no_grad():
        return model(Histories(items, torch.arange(3)), torch.tensor([2, 0, 4]))


def found(model: Listwise, seen: bool = True) -> tuple[Tensor, Tensor]:
    """Queries that were read, and the best items, without those of the past."""
    pairs = [(row, item) for row, past in enumerate(PAST) for item in past] if seen else []
    row, item = (
        torch.tensor(each, dtype=torch.int64)
        for each in (zip(*pairs, strict=True) if pairs else ([], []))
    )
    queries = model.among(asked(model), row, item)
    return queries, ModelRetriever(model).top(queries, ITEMS, left_out=Pairs(row, item)).items


def by_transformers(
    model: Listwise, gpt: Path, past: list[int], shown: list[int], titles: list[str] | None = None
) -> np.ndarray:
    """Log p of the letters, by one call of transformers on the prompt as text."""
    import transformers

    titles = titles or TITLES
    tokenizer = transformers.AutoTokenizer.from_pretrained(gpt)
    whole = transformers.AutoModelForCausalLM.from_pretrained(gpt)
    lines = "\n".join(f"{LETTERS[at]}. {titles[code]}" for at, code in enumerate(shown))
    text = PROMPT.replace("{history}", " and ".join(titles[code] for code in past)).replace(
        "{items}", lines
    )
    with torch.no_grad():
        logits = whole(**tokenizer(text, return_tensors="pt")).logits[0, -1]
    ids = tokenizer.convert_tokens_to_ids(list(LETTERS[: len(shown)]))
    return logits.log_softmax(dim=0)[ids].double().numpy()


def test_scores_are_those_of_transformers_on_the_prompt_as_text(make: Make, gpt: Path) -> None:
    model = make(shuffles=4)
    queries, items = found(model)
    read = model.readings(queries)
    for row, past in enumerate(PAST):
        candidates = [code for code in range(ITEMS - 1, -1, -1) if code not in past][:5]
        total = dict.fromkeys(candidates, 0.0)
        for order in range(4):
            shown = [code for code in read.shown[row, order].tolist() if code >= 0]
            assert sorted(shown) == sorted(candidates)
            said = by_transformers(model, gpt, past, shown)
            got = read.said[row, order, : len(shown)].double().numpy()
            np.testing.assert_allclose(got, said, atol=1e-5)
            among = said - np.log(np.exp(said).sum())
            for code, score in zip(shown, among, strict=True):
                total[code] += score / 4
        best = sorted(candidates, key=lambda code: -total[code])
        rest = [
            code for code in range(ITEMS - 1, -1, -1) if code not in past and code not in candidates
        ]
        assert [code for code in items[row].tolist() if code >= 0] == best + rest
    orders = {tuple(each) for each in read.shown[1].tolist()}
    assert len(orders) > 1  # they are shuffled


def test_the_prior_is_that_of_prompts_that_say_nothing(make: Make, gpt: Path) -> None:
    plain, model = make(shuffles=2), make(shuffles=2, calibrated=True)
    before, after = (each.readings(found(each)[0]) for each in (plain, model))
    assert before.said.equal(after.said)
    for row, number in ((0, 4), (1, 5)):
        free = [
            by_transformers(model, gpt, [0], [0] * number, [said]) for said in ("N/A", "[MASK]", "")
        ]
        p = np.mean([np.exp(each) / np.exp(each).sum() for each in free], axis=0)
        np.testing.assert_allclose(model.reader.prior(number).double().numpy(), p, atol=1e-6)
        wanted = before.said[row, :, :number].double().numpy() - np.log(p)
        wanted -= np.log(np.exp(wanted).sum(axis=1, keepdims=True))
        np.testing.assert_allclose(
            after.scores[row, :, :number].double().numpy(), wanted, atol=1e-5
        )


def test_the_order_of_the_first_model_is_shown_first_if_asked_for(make: Make) -> None:
    model = make(shuffles=2, order="retriever")
    shown = model.readings(found(model)[0]).shown
    assert shown[:, 0].tolist() == [[6, 5, 4, 3, -1], [6, 5, 4, 2, 1], [6, 2, -1, -1, -1]]
    other = make(shuffles=2)
    assert other.readings(found(other)[0]).shown[:, 1].equal(shown[:, 1])  # each order has its draw


def test_beyond_the_list_all_keeps_its_place_and_without_orders_everything_does(make: Make) -> None:
    model = make(rerank=3)
    items = found(model, seen=False)[1]
    assert all({*row[:3]} == {6, 5, 4} for row in items.tolist())
    assert items[:, 3:].tolist() == [[3, 2, 1, 0]] * 3
    assert found(make(shuffles=0), seen=False)[1].tolist() == [[6, 5, 4, 3, 2, 1, 0]] * 3


def test_scores_of_some_items_are_those_of_the_catalogue(make: Make) -> None:
    model = make(shuffles=2)
    queries, _ = found(model, seen=False)
    whole = model.scores(queries)
    some = torch.tensor([6, 0, 3])
    assert model.scores(queries, some).equal(whole[:, some])
    own = torch.tensor([[1, 6], [2, 0], [5, 4]])
    assert model.scores(queries, own).equal(whole.gather(1, own))
    assert model.scores(asked(model)).equal(whole)
    alone = model.among(asked(model)[1:2], *torch.zeros(2, 0, dtype=torch.int64))
    assert alone.equal(queries[1:2])  # whoever is asked beside


def test_what_was_read_is_not_read_again(make: Make, tmp_path: Path) -> None:
    model, again = make(shuffles=2), make(shuffles=3)
    model.reader.kept, again.reader.kept = Kept(tmp_path, 5), Kept(tmp_path, 5)
    first = model.readings(found(model)[0])
    assert model.reader.lists == 6
    second = again.readings(found(again)[0])
    assert again.reader.lists == 3
    assert second.said[:, :2].equal(first.said)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"prompt": "{history}"}, "model.prompt must hold {history} and {items}"),
        ({"prompt": "{items} {history}"}, "{history} must come before {items}"),
        ({"answer": "x"}, "must hold {letter} once"),
        ({"rerank": 9}, "must be a single token"),
        ({"max_tokens": 30}, "model.max_tokens=30: without any history"),
        ({"max_tokens": 300}, "reads 128 tokens at most"),
    ],
)
def test_what_cannot_be_asked_is_refused(make: Make, settings: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError) as error:
        make(**settings)
    assert told in str(error.value)


def test_ranks_or_scores_are_averaged() -> None:
    shown = torch.tensor([[[0, 1, 2], [2, 0, 1]]])
    scores = torch.tensor([[[-1.0, -2.0, -9.0], [-1.0, -3.0, -1.5]]])
    read, candidates = Readings(shown, scores, scores), torch.tensor([[1, 0, 2]])
    # Means of scores: 0 -> -2, 1 -> -1.75, 2 -> -5; of ranks: 2, 2, 2, so that the first model decides.
    assert merged(candidates, read, "scores").tolist() == [[0, 1, 2]]
    assert merged(candidates.flip(1), read, "ranks").tolist() == [[0, 1, 2]]
    assert ranks_in(torch.tensor([3.0, 1.0, 3.0])).tolist() == [1.5, 3.0, 1.5]


ORDERS = np.array(
    [[*itertools.permutations(range(3))], [*itertools.permutations([4, 7, 9])]]
)  # [2, 6, 3]


def test_a_model_that_takes_the_second_place_is_seen_through() -> None:
    scores = np.broadcast_to(np.array([0.0, 5.0, -1.0]), ORDERS.shape)
    told = positions.by_place(scores)
    assert [each.mean for each in told["first"]] == [0, 1, 0]
    assert [each.mean for each in told["rank"]] == [2, 1, 3]
    assert [each.mean for each in positions.effects(ORDERS, scores)] == pytest.approx(
        [-4 / 3, 11 / 3, -7 / 3]
    )
    target = positions.of_target(ORDERS, scores, np.array([1, 9]))
    assert {name: each["readings"] for name, each in target.items()} == {
        "start": 4,
        "middle": 4,
        "end": 4,
    }
    assert target["start"]["ndcg@10"].mean == pytest.approx(1 / np.log2(3))
    assert target["middle"]["ndcg@10"] == (1, 1, 1)
    assert target["end"]["ndcg@10"].mean == pytest.approx(0.5)
    nowhere = positions.of_target(ORDERS, scores, np.array([2, 2]))
    assert nowhere["end"]["ndcg@10"] is not None
    assert positions.of_target(ORDERS[1:], scores[1:], np.array([2]))["end"]["ndcg@10"] is None


def test_a_model_that_cares_for_items_alone_shows_no_bias() -> None:
    scores = np.sin(ORDERS * 3.0)
    told = positions.by_place(scores)
    assert [each.mean for each in told["first"]] == pytest.approx([1 / 3] * 3)
    assert [each.mean for each in told["rank"]] == pytest.approx([2] * 3)
    assert [abs(each.mean) < 1e-15 for each in positions.effects(ORDERS, scores)] == [True] * 3
    assert positions.agreement(ORDERS, scores) == (1, 1, 1)


def test_the_effect_of_a_place_is_beyond_that_of_its_item() -> None:
    chance = np.random.default_rng(5)
    shown = np.stack([np.stack([chance.permutation(4) for _ in range(2)]) for _ in range(30)])
    liked, place = np.array([3.0, -1.0, 0.5, 9.0]), np.array([2.0, 0.0, 0.0, -1.0])
    assert [abs(each.mean) < 1e-15 for each in positions.effects(shown, liked[shown])] == [True] * 4
    total = np.zeros(4)
    for one, other in shown.tolist():
        for orders in ((one, other), (other, one)):
            for at, item in enumerate(orders[0]):
                total[at] += (place[at] - place[orders[1].index(item)]) / 2 / 60
    found = positions.effects(shown, liked[shown] + place)
    assert [each.mean for each in found] == pytest.approx(total.tolist())


def test_each_item_has_a_line_of_its_own() -> None:
    tokenizers = pytest.importorskip("tokenizers")
    transformers = pytest.importorskip("transformers")
    level = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    letters = {each: number for number, each in enumerate(sorted(level.alphabet()))}
    built = tokenizers.Tokenizer(tokenizers.models.BPE(letters, merges=[]))
    built.pre_tokenizer, built.decoder = level, tokenizers.decoders.ByteLevel()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=built, pad_token="!")
    prompt = "Liked: {history}.\nNext?\n{items}\nIt is"
    titles = tokenize([f" {each}" for each in ["Red", "Green", "N/A"]], tokenizer, 9, special=False)
    wording = Wording.of(tokenizer, prompt, ",", "none", "{items}")
    prompts = ListPrompts(titles, tokenizer, wording, 2, 5, 200)
    shown = np.array([[[0, 1], [1, 0]], [[1, -1], [1, -1]]])
    made = prompts.lists(shown, np.array([[1, 0], [3, 3]]), 3)
    texts = [tokenizer.decode([*each.begun, *rest]) for each in made for rest in each.rest]
    assert texts == [
        "Liked: Green, Red.\nNext?\nA. Red\nB. Green\nIt is",
        "Liked: Green, Red.\nNext?\nA. Green\nB. Red\nIt is",
        *["Liked: none.\nNext?\nA. Green\nIt is"] * 2,
    ]


def test_agreement_is_kendalls_tau() -> None:
    stats = pytest.importorskip("scipy.stats")
    chance = np.random.default_rng(3)
    shown = np.stack([np.stack([chance.permutation(6) for _ in range(3)]) for _ in range(4)])
    scores = chance.normal(size=shown.shape)
    taus = []
    for one, other in itertools.combinations(range(3), 2):
        for row in range(4):
            of = [dict(zip(shown[row, r], scores[row, r], strict=True)) for r in (one, other)]
            taus.append(
                stats.kendalltau(
                    [of[0][i] for i in range(6)], [of[1][i] for i in range(6)]
                ).statistic
            )
    assert positions.agreement(shown, scores).mean == pytest.approx(np.mean(taus))


def test_intervals_are_over_lists() -> None:
    values = np.array([[0.0], [1.0]] * 50)
    mean, low, high = positions.intervals(values)[0]
    assert mean == 0.5
    assert low == pytest.approx(0.5 - 1.96 * 0.05, abs=0.01)
    assert high == pytest.approx(0.5 + 1.96 * 0.05, abs=0.01)
