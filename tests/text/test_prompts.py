"""Prompts put together of tokens are the prompts as text, and are cut where they may be."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lightning_rec.data.clicks.schema import ClickSchema, Field, Rows
from lightning_rec.data.split import Histories
from lightning_rec.errors import UserError
from lightning_rec.language.load import load_words, words_loader
from lightning_rec.language.words import Words
from lightning_rec.models.clicks.tallrec import TALLRec

TITLES = ["red lamp", "old chair", "blue door of steel", "warm", "table"]
SCHEMA = ClickSchema(
    (Field("item", "categorical", 1, 5, 1),), "item", 6
)  # of 5 titles, 4 are known
PADDING = 4
PROMPT = "the user liked {history} and would like {item} yes or no"
PAST = [[0, 1, 2], [3], [], [2, 2, 1, 0, 3, 1]]
ITEM = [4, 0, 2, 1]
ROWS = Rows(
    torch.zeros(4, 1, dtype=torch.int32),
    torch.zeros(4, 0),
    Histories(torch.tensor([(past + [PADDING] * 6)[:6] for past in PAST]), torch.zeros(4).long()),
    item=torch.tensor(ITEM),
)
Make = Callable[..., tuple[TALLRec, Words]]


@pytest.fixture
def make(tiny_gpt: Path) -> Make:
    """``make(prompt=…)``: the model that asks, in evaluation mode."""

    def made(**settings: Any) -> tuple[TALLRec, Words]:
        given: dict[str, Any] = {"prompt": PROMPT, "separator": " and", "nothing": "new item"}
        given |= {"yes_word": "yes", "no_word": "no", "max_tokens": 60}
        found: list[Any] = []

        def load(name: str, head: Any) -> Any:
            found.append(words_loader(meta=False)(name, head))
            return found[0]

        settings = {"encoder": str(tiny_gpt)} | given | settings
        return TALLRec(SCHEMA, load, TITLES, **settings).eval(), found[0]

    return made


def text(past: list[int], item: int, prompt: str = PROMPT) -> str:
    titles = " and ".join(TITLES[code] for code in past) or "new item"
    return prompt.format(history=titles, item=TITLES[item])


def asked(model: TALLRec) -> list[list[int]]:
    assert ROWS.history is not None
    made = model.prompts.of(np.array(ITEM), ROWS.history.items.numpy(), PADDING)
    assert made.ids.shape == made.mask.shape
    return [ids[there].tolist() for ids, there in zip(made.ids, made.mask, strict=True)]


@pytest.mark.parametrize(
    "prompt", [PROMPT, "{item} liked by the user of {history}", "{history}{item}"]
)
def test_tokens_are_those_of_the_text(make: Make, prompt: str) -> None:
    model, words = make(prompt=prompt)
    spaced = prompt.replace("}{", "} {")
    wanted = [text(past, item, spaced) for past, item in zip(PAST, ITEM, strict=True)]
    assert asked(model) == words.tokenizer(wanted)["input_ids"]


def test_the_oldest_titles_are_left_out_and_nothing_else_is(make: Make) -> None:
    model, words = make(max_titles=2)
    wanted = [text(past[-2:], item) for past, item in zip(PAST, ITEM, strict=True)]
    assert asked(model) == words.tokenizer(wanted)["input_ids"]
    whole = [len(each) for each in asked(make()[0])]
    for longest in range(make()[0].prompts.shortest, max(whole) + 1):
        model, words = make(max_tokens=longest)
        for row, ids in enumerate(asked(model)):
            kept = next(
                past
                for past in (PAST[row][start:] for start in range(len(PAST[row]) + 1))
                if len(words.tokenizer(text(past, ITEM[row]))["input_ids"]) <= longest or not past
            )
            assert ids == words.tokenizer(text(kept, ITEM[row]))["input_ids"]
            assert len(ids) <= longest


def test_probabilities_are_the_softmax_of_two_words_after_the_prompt(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, words = make()
    with torch.no_grad():
        logits = model(ROWS)
        for row, logit in enumerate(logits):
            ids = torch.tensor(words.tokenizer([text(PAST[row], ITEM[row])])["input_ids"])
            last = words.model.model(input_ids=ids).logits[0, -1]
            yes, no = (words.tokenizer.convert_tokens_to_ids(word) for word in ("yes", "no"))
            share = torch.softmax(last[[yes, no]], dim=0)[0]
            torch.testing.assert_close(torch.sigmoid(logit), share, atol=1e-5, rtol=1e-4)
        monkeypatch.setattr("lightning_rec.language.blocks.BLOCK_TOKENS", 40)
        monkeypatch.setattr("lightning_rec.language.words.BLOCK_TOKENS", 20)
        torch.testing.assert_close(model(ROWS), logits, atol=1e-5, rtol=1e-4)
    nn.functional.binary_cross_entropy_with_logits(model(ROWS), torch.ones(4)).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"prompt": "the user liked {history}"}, r"must hold \{history\} and \{item\}"),
        ({"prompt": "{history} {item} {item}"}, r"each once"),
        ({"prompt": "{history} {item} {user}"}, r"no other braces"),
        (
            {"yes_word": "yes yes"},
            r"model\.yes_word='yes yes' must be a single token .* reads \['yes', 'yes'\]",
        ),
        ({"no_word": "perhaps"}, r"model\.no_word='perhaps' must be a single token"),
        ({"no_word": "Yes"}, r"are one token"),
        ({"max_tokens": 10}, r"model\.max_tokens=10: without any history the longest prompt takes"),
    ],
)
def test_a_question_that_cannot_be_asked_is_refused(
    make: Make, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        make(**settings)


def test_a_model_that_reads_less_is_refused(tiny_gpt: Path) -> None:
    with pytest.raises(UserError, match=r"model\.max_tokens=100: .* reads 64 tokens at most"):
        TALLRec(SCHEMA, words_loader(meta=True), TITLES, str(tiny_gpt), PROMPT, max_tokens=100)


def test_a_model_without_its_head_is_refused(tiny_gpt: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_gpt, tmp_path / "headless")
    settings = json.loads((folder / "config.json").read_text())
    # The head is no longer the table of words, and has no weights of its own.
    (folder / "config.json").write_text(json.dumps(settings | {"tie_word_embeddings": False}))
    with pytest.raises(UserError, match="came without its head over words"):
        load_words(folder, "causal")
