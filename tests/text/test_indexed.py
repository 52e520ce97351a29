"""LC-Rec against transformers with the same weights: prompts, labels and losses as the authors make them, beams as
``generate`` finds them.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from languages import language
from models.test_contract import ITEMS, MAX_LEN, USERS, eight_users, histories, some
from torch import Tensor

from lightning_rec.data.split import Schema
from lightning_rec.errors import UserError
from lightning_rec.language.indexed import FRAME, NEXT, OF_TITLE, TO_TITLE
from lightning_rec.language.load import words_loader
from lightning_rec.losses.base import Predictions
from lightning_rec.losses.likelihood import Likelihood
from lightning_rec.models.text.lcrec import LCRec
from lightning_rec.retrieval.exact import LOWEST, ModelRetriever, Pairs

pytest.importorskip("transformers")
SCHEMA = Schema(ITEMS, MAX_LEN, USERS)
TITLES = [f"{a} {b}." for a in ("red", "old", "soft", "warm") for b in ["lamp", "chair", "door", "wood", "steel", "paint"]]  # fmt: skip
WORDS = "below an instruction response has interacted with items predict which title what : # , . ?"


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "apart"])
def llama(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llama") / "llama"
    return language("llama", folder, depth=2, more=WORDS, places=512, tied=request.param)


def lcrec(folder: Path, **settings: Any) -> LCRec:
    torch.manual_seed(0)
    load = words_loader(meta=False)
    sizes = {"levels": 2, "codes": 8}
    made = LCRec(SCHEMA, load, TITLES, str(folder), **(sizes | settings))
    made.fit(eight_users())
    for each in filter(None, (made.of_code, made.said_code)):
        torch.nn.init.normal_(each.weight, std=0.5)  # so that codes differ
    return made.eval()


class Theirs:
    """The authors' computation, restated: codes as tokens that are added, the tables resized."""

    def __init__(self, ours: LCRec, folder: Path) -> None:
        import transformers

        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        self.pad = self.tokenizer.pad_token_id
        self.index = [[f"<{'abcd'[level]}_{code}>" for level, code in enumerate(row)] for row in ours.codes.tolist()]  # fmt: skip
        new = sorted({token for index in self.index for token in index})
        self.tokenizer.add_tokens(new)
        self.model: Any = transformers.AutoModelForCausalLM.from_pretrained(folder)
        self.model.resize_token_embeddings(len(self.tokenizer), mean_resizing=False)
        self.rows = [int(token[3:-1]) for token in new]  # ours, of each of theirs
        ends = ((self.model.get_input_embeddings(), ours.of_code), (self.model.get_output_embeddings(), ours.said_code))  # fmt: skip
        with torch.no_grad():
            for table, code in ends:
                if code is not None:
                    table.weight[-len(new) :] = code.weight[self.rows]
        self.model.eval()

    def prompt(self, past: list[int], number: int = 0) -> str:
        inters = ", ".join("".join(self.index[item]) for item in past)
        return FRAME.format(instruction=NEXT[number].format(history=inters))

    def collated(self, texts: list[tuple[str, str]]) -> dict[str, Tensor]:
        """``Collator`` with ``only_train_response``: neither the prompt nor padding is learnt."""
        full = [asked + answer + self.tokenizer.eos_token for asked, answer in texts]
        inputs = self.tokenizer(full, return_tensors="pt", padding="longest")
        asked = self.tokenizer([text for text, _ in texts], return_tensors="pt", padding="max_length",
                               max_length=inputs["input_ids"].shape[1])["input_ids"]  # fmt: skip
        labels = inputs["input_ids"].clone()
        labels[labels == self.pad] = -100
        labels[asked != self.pad] = -100
        names = ("input_ids", "attention_mask")
        return {name: inputs[name] for name in names} | {"labels": labels}


def answer(theirs: Theirs, item: int) -> str:
    return "".join(theirs.index[item])


def test_prompts_are_what_a_tokenizer_with_further_tokens_reads(llama: Path) -> None:
    ours = lcrec(llama, tasks=("seq", "item2index", "index2item"))
    theirs = Theirs(ours, llama)
    old = len(theirs.tokenizer) - len(theirs.rows)

    def as_theirs(ids: Tensor) -> list[int]:
        return [old + theirs.rows.index(i - ours.old) if i >= ours.old else i for i in ids.tolist()]

    past = np.array([[3, 7, 1], [5, ITEMS, ITEMS]])
    prompts = ours._prompts()
    for number in range(len(NEXT)):
        made = prompts.history(past, ITEMS, np.full(2, number))
        for row, items in enumerate(([3, 7, 1], [5])):
            wanted = theirs.tokenizer(theirs.prompt(items, number))["input_ids"]
            assert as_theirs(made.ids[row][made.mask[row]]) == wanted
    item = np.arange(4)
    for slot, sentences in (("title", OF_TITLE), ("item", TO_TITLE)):
        made = prompts.about(slot, item, item)
        for row in range(4):
            fill = {"title": TITLES[row].strip("."), "item": answer(theirs, row)}
            text = FRAME.format(instruction=sentences[row].format(**fill))
            assert as_theirs(made.ids[row]) [: int(made.mask[row].sum())] == theirs.tokenizer(text)["input_ids"]  # fmt: skip


def test_the_loss_and_its_gradients_are_those_of_transformers(llama: Path) -> None:
    ours = lcrec(llama)
    theirs = Theirs(ours, llama)
    items, at = some(4, 6), torch.tensor([5, 0, 2, 3])
    target = torch.randint(ITEMS, (4,))
    told = Predictions(ours(histories(items), at), target, torch.arange(4), torch.zeros(4))
    loss = Likelihood()(ours, told) / (ours.levels + 1)
    texts = [
        (theirs.prompt(row[: n + 1]), answer(theirs, t))
        for row, n, t in zip(items.tolist(), at.tolist(), target.tolist(), strict=True)
    ]
    wanted = theirs.model(**theirs.collated(texts)).loss
    torch.testing.assert_close(loss, wanted, atol=1e-6, rtol=1e-6)
    loss.backward()
    wanted.backward()
    pairs = [(theirs.model.get_input_embeddings(), ours.of_code)]
    if ours.said_code is not None:
        pairs.append((theirs.model.get_output_embeddings(), ours.said_code))
    for table, code in pairs:
        gradient: Any = code.weight.grad
        torch.testing.assert_close(
            gradient[theirs.rows], table.weight.grad[-len(theirs.rows) :], atol=1e-6, rtol=1e-4
        )
        unused = sorted({*range(len(gradient))} - {*theirs.rows})
        assert unused
        assert not gradient[unused].any()
    for (name, weight), mine in zip(
        theirs.model.model.layers.named_parameters(),
        ours.words.model.model.layers.parameters(),
        strict=True,
    ):
        torch.testing.assert_close(mine.grad, weight.grad, atol=1e-6, rtol=1e-4, msg=name)


def test_tasks_of_titles_join_the_mean_over_all_tokens(
    llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = lcrec(llama, tasks=("seq", "item2index", "index2item"), aligned=1.0)
    theirs = Theirs(ours, llama)
    items, at, target = some(4, 6), torch.full((4,), 2), torch.randint(ITEMS, (4,))
    queries = ours(histories(items), at)
    monkeypatch.setattr(ours, "_sentences", lambda _, size: np.arange(size))
    torch.manual_seed(5)
    drawn = [torch.randint(ITEMS, (4,)).tolist() for _ in range(2)]
    told = Predictions(queries, target, torch.arange(4), torch.zeros(4))
    torch.manual_seed(5)
    total = Likelihood()(ours, told) + ours.penalty(queries, target)
    texts = [(theirs.prompt(row[:3]), answer(theirs, t)) for row, t in zip(items.tolist(), target.tolist(), strict=True)]  # fmt: skip
    for number, item in enumerate(drawn[0]):
        asked = OF_TITLE[number].format(title=TITLES[item].strip("."))
        texts.append((FRAME.format(instruction=asked), answer(theirs, item)))
    for number, item in enumerate(drawn[1]):
        asked = TO_TITLE[number].format(item=answer(theirs, item))
        texts.append((FRAME.format(instruction=asked), f" {TITLES[item].strip('.')} "))
    inputs = theirs.collated(texts)
    wanted = theirs.model(**inputs).loss * (inputs["labels"] != -100).sum() / 4
    torch.testing.assert_close(total, wanted, atol=1e-5, rtol=1e-5)


def allowed(theirs: Theirs, begins: int) -> Any:
    """What may follow: codes that go on with an id, then the end."""
    ids = [theirs.tokenizer.convert_tokens_to_ids(index) for index in theirs.index]

    def after(_: int, sentence: Tensor) -> list[int]:
        said = sentence.tolist()[begins:]
        further = [i[len(said)] for i in ids if i[: len(said)] == said and len(said) < len(i)]
        return sorted({*further}) or [theirs.tokenizer.eos_token_id]

    return after


def test_a_beam_is_what_generate_finds_on_the_trie(llama: Path) -> None:
    ours = lcrec(llama, beam=5)
    theirs = Theirs(ours, llama)
    theirs.tokenizer.padding_side = "left"
    rows = [[3, 7, 1, 20, 4], [5], [9, 2]]
    items = torch.tensor([[*row, *[ITEMS] * (5 - len(row))] for row in rows])
    at = torch.tensor([len(row) - 1 for row in rows])
    with torch.no_grad():
        scores = ours.scores(ours(histories(items), at))
    texts = [theirs.prompt(row) for row in rows]
    inputs = theirs.tokenizer(texts, return_tensors="pt", padding="longest")
    begins = inputs["input_ids"].shape[1]
    found = theirs.model.generate(
        **inputs, max_new_tokens=10, num_beams=5, num_return_sequences=5, early_stopping=True,
        length_penalty=0.0, prefix_allowed_tokens_fn=allowed(theirs, begins), do_sample=False,
        output_scores=True, return_dict_in_generate=True,
    )  # fmt: skip
    said = theirs.tokenizer.batch_decode(found.sequences[:, begins:], skip_special_tokens=True)
    names = [answer(theirs, item) for item in range(ITEMS)]
    for row in range(3):
        wanted = {
            names.index(said[n].replace(" ", "")): float(found.sequences_scores[n])
            for n in range(row * 5, row * 5 + 5)
        }
        there = scores[row].isfinite().nonzero()[:, 0].tolist()
        assert sorted(wanted) == there
        for item in there:
            assert float(scores[row, item]) == pytest.approx(wanted[item], abs=1e-5)


def test_beams_that_keep_all_are_exact_and_seen_items_are_not_found(llama: Path) -> None:
    exact, wide = lcrec(llama, beam=None), lcrec(llama, beam=ITEMS)
    given, at = histories(some(5, 6)), torch.tensor([5, 2, 0, 3, 4])
    queries = exact(given, at)
    every = torch.arange(ITEMS).expand(5, -1)
    own = exact.scores(queries, every)
    torch.testing.assert_close(exact.scores(queries), own, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(wide.scores(queries), own, atol=1e-5, rtol=1e-5)
    few = some(5, 3)
    torch.testing.assert_close(wide.scores(queries, few), own.gather(1, few), atol=1e-5, rtol=1e-5)
    alone = torch.cat([exact.scores(queries[row : row + 1]) for row in range(5)])
    torch.testing.assert_close(alone, own, atol=1e-5, rtol=1e-5)
    seen = Pairs(torch.tensor([0, 0, 1, 4]), torch.tensor([3, 4, 3, 0]))
    best = [ModelRetriever(each, LOWEST).top(queries, 10, left_out=seen) for each in (exact, wide)]
    assert torch.equal(best[0].items, best[1].items)
    narrow = lcrec(llama, beam=6)
    lists = ModelRetriever(narrow, LOWEST).top(queries, 6, left_out=seen).items
    for row, item in zip(seen.row.tolist(), seen.item.tolist(), strict=True):
        assert item not in lists[row]
    assert (lists >= 0).any(dim=1).all()


def test_a_query_is_the_history_and_nothing_behind_it(llama: Path) -> None:
    ours = lcrec(llama)
    items = some(2, MAX_LEN)
    every = torch.ones(2, MAX_LEN, dtype=torch.bool)
    queries = ours(histories(items), every).view(2, MAX_LEN, -1)
    for place in range(MAX_LEN):
        later = torch.cat([items[:, : place + 1], torch.full((2, MAX_LEN - place - 1), ITEMS)], 1)
        assert torch.equal(queries[:, place].long(), later)


def test_training_draws_sentences_and_evaluation_does_not(llama: Path) -> None:
    ours = lcrec(llama)
    queries = ours(histories(some(40, 3)), torch.full((40,), 2))
    assert len({*ours._asked(queries).mask.sum(dim=1).tolist()}) == 1
    ours.train()
    assert len({*ours._asked(queries).mask.sum(dim=1).tolist()}) > 3


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"tasks": ("item2index",)}, "name seq"),
        ({"prompts": ("what next?",)}, "must hold {history} once"),
        ({"frame": "{history}"}, "model.frame must hold {instruction} once"),
        ({"test_prompt": 6}, "6 sentences"),
        ({"prompts": ("{history}" + " a" * 600,)}, "reads 512 tokens at most"),
    ],
)
def test_what_cannot_be_asked_is_told(llama: Path, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said.replace("{", r"\{").replace("}", r"\}")):
        lcrec(llama, **settings)
