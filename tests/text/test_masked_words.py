"""Hidden words: which are hidden, what is shown instead, what is measured; texts and their parts."""

from pathlib import Path

import numpy as np
import pytest
import torch
from pytorch_lightning import Trainer
from torch.nn import functional

from lightning_rec.data.texts import RandomTexts, audit_texts
from lightning_rec.errors import LeakError, UserError
from lightning_rec.language.batches import TextSet
from lightning_rec.language.load import load_words, words_loader
from lightning_rec.language.tokens import Tokenized, Tokens, tokenize
from lightning_rec.losses.words import WordCrossEntropy
from lightning_rec.methods.base import Method
from lightning_rec.metrics.words import Answers, WordMetrics
from lightning_rec.models.text.masked_lm import MaskedLM
from lightning_rec.tasks.base import Task, Training
from lightning_rec.tasks.mlm import WordSteps

TEXTS = ["red lamp", "old chair of wood", "?", "large soft blue table and steel door", "warm"]


@pytest.fixture
def made(tiny_bert: Path) -> tuple[MaskedLM, Tokenized]:
    model = MaskedLM(words_loader(meta=False), str(tiny_bert))
    return model.eval(), tokenize(TEXTS, model.tokenizer, 16)


def test_a_share_of_each_texts_words_is_hidden_and_at_least_one(
    made: tuple[MaskedLM, Tokenized],
) -> None:
    model, tokens = made
    batch = tokens.take(np.arange(len(TEXTS)))
    numbers = torch.rand(batch.ids.shape)
    for share, wanted in ((0.15, [1, 1, 0, 1, 1]), (0.5, [1, 2, 0, 4, 1])):
        at = model.hidden(batch, share, numbers)
        # "?" is unknown to the tokenizer: there is no word in that text.
        assert at.sum(dim=1).tolist() == wanted
        assert not (at & torch.isin(batch.ids, model.special)).any()
    assert (at.sum(dim=1) == 4)[3]
    lowest = numbers[3, 1:8].argsort()[:4] + 1
    assert set(at[3].nonzero()[:, 0].tolist()) == set(lowest.tolist())


def test_what_is_shown_is_mostly_the_mask_at_times_another_word(
    made: tuple[MaskedLM, Tokenized],
) -> None:
    model, _ = made
    torch.manual_seed(0)
    tokens = Tokens(torch.full((200, 100), 7), torch.ones(200, 100, dtype=torch.bool))
    at = torch.rand(200, 100) < 0.5
    shown = model.disguised(tokens, at)
    assert torch.equal(shown.ids[~at], tokens.ids[~at])
    hidden = shown.ids[at]
    masks, same = (hidden == model.mask).double().mean(), (hidden == 7).double().mean()
    size = model.words.num_words
    assert masks == pytest.approx(0.8 + 0.1 / size, abs=0.02)
    assert same == pytest.approx(0.1 + 0.1 / size, abs=0.02)
    assert len(hidden.unique()) == size
    assert (model.masked(tokens, at).ids[at] == model.mask).all()


def test_logits_are_those_of_transformers_at_the_places_asked_about(
    made: tuple[MaskedLM, Tokenized],
) -> None:
    model, tokens = made
    batch = tokens.take(np.array([1, 3]))
    at = model.hidden(batch, 0.5, torch.rand(batch.ids.shape))
    shown = model.masked(batch, at)
    with torch.no_grad():
        logits = model(shown, at)
        whole = model.words.model(input_ids=shown.ids, attention_mask=shown.mask.long()).logits
        torch.testing.assert_close(logits, whole[at])
    logits = model(shown, at)
    functional.cross_entropy(logits, batch.ids[at]).backward()
    unlearnt = {name for name, p in model.named_parameters() if p.grad is None}
    assert all("pooler" in name for name in unlearnt)


def task_of(model: MaskedLM) -> Task:
    metrics = {"val": WordMetrics(), "test": WordMetrics()}
    training = Training(torch.optim.SGD, lambda optimizer, steps, per_epoch: None)
    task = Task(WordSteps(metrics), model, None, WordCrossEntropy(), Method(), training)
    task.trainer = Trainer(logger=False, accelerator="cpu", enable_progress_bar=False)
    return task


@torch.no_grad()
def test_figures_are_those_of_a_loop_whatever_the_batches(
    made: tuple[MaskedLM, Tokenized],
) -> None:
    model, tokens = made
    texts = TextSet(tokens, np.array([3, 0, 2, 1, 4]))
    figures = []
    for batches in ([[0, 1, 2, 3, 4]], [[4], [2, 0], [3, 1]]):
        task = task_of(model)
        for batch in batches:
            task.test_step(texts.__getitems__(batch), 0)
        task.on_test_epoch_end()
        figures.append(task.figures)
    assert figures[0]["test/accuracy"] == figures[1]["test/accuracy"]
    assert figures[0]["test/loss"] == pytest.approx(figures[1]["test/loss"], rel=1e-6)
    assert isinstance(task.steps, WordSteps)
    answers = task.steps.answers["test"]
    assert answers.example.tolist() == [0, 1, 2, 3, 4]
    assert answers.asked.tolist() == [1, 1, 0, 1, 1]
    assert answers.loss[2] == 0
    mean = float(answers.loss.sum() / 4)
    assert figures[1]["test/loss"] == pytest.approx(mean)
    assert figures[1]["test/perplexity"] == pytest.approx(np.exp(mean))


def test_metrics_are_those_of_the_words() -> None:
    metrics = WordMetrics()
    numbers = torch.tensor([1, 0])
    metrics.update(Answers(numbers, torch.tensor([3, 1]), torch.tensor([2, 0]), torch.tensor([3.0, 5.0]).double()))  # fmt: skip
    found = metrics.compute()
    assert found.loss.tolist() == [5.0, 3.0]
    figures = metrics.figures(found)
    assert float(figures["loss"]) == 2.0
    assert float(figures["accuracy"]) == 0.5


def test_a_model_without_masks_is_refused(tiny_gpt: Path) -> None:
    with pytest.raises(UserError, match="is a gpt2, which says no hidden words"):
        load_words(tiny_gpt, "masked")


def test_equal_texts_are_in_one_part() -> None:
    texts = [f"Text {number % 50}" for number in range(200)]
    texts += [text.lower().replace(" ", "  ") for text in texts]
    parts = RandomTexts(0.2, 0.3, 1).assign(texts)
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(400))
    assert [len(parts[name]) for name in ("train", "val", "test")] == [200, 80, 120]
    facts = audit_texts(texts, 9, parts)
    assert facts["different texts"] == 50
    assert facts["interactions read"] == 0
    again, other = RandomTexts(0.2, 0.3, 1).assign(texts), RandomTexts(0.2, 0.3, 2).assign(texts)
    assert np.array_equal(parts["test"], again["test"])
    assert not np.array_equal(parts["test"], other["test"])
    moved = parts | {"val": parts["val"][1:], "train": np.append(parts["train"], parts["val"][0])}
    with pytest.raises(LeakError, match="in two parts"):
        audit_texts(texts, 9, moved)
    with pytest.raises(LeakError, match="in no part"):
        audit_texts(texts, 9, parts | {"val": parts["val"][1:]})


def test_parts_without_texts_are_refused() -> None:
    with pytest.raises(UserError, match="must leave something"):
        RandomTexts(0.5, 0.5)
    with pytest.raises(UserError, match="leaves no text in test of 3 different ones"):
        RandomTexts(0.0).assign(["a", "b", "c", "A"])
    assert not len(RandomTexts(0.0, 0.5).assign(["a", "b"])["val"])
