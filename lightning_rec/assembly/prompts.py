"""A causal language model as a model of clicks: what it is asked, and how it is built."""

import re
from typing import Any, ClassVar

import torch
from omegaconf import DictConfig
from pydantic import PositiveInt
from torch import nn

from lightning_rec import config
from lightning_rec.adapters.base import AdaptedModule
from lightning_rec.assembly.clicks import Clicks
from lightning_rec.data.clicks.batches import ClickData
from lightning_rec.data.clicks.fields import ClickSchema
from lightning_rec.data.clicks.pipeline import AuditedClicks
from lightning_rec.data.templates import render_template
from lightning_rec.errors import UserError
from lightning_rec.language.encoder import check_length
from lightning_rec.language.hub import find_model
from lightning_rec.language.load import Words, load_words
from lightning_rec.language.prompts import Prompts, Wording
from lightning_rec.language.tokens import tokenize
from lightning_rec.models.clicks.tallrec import TALLRec
from lightning_rec.tasks.click import ClickTask

_PLACES = re.compile(r"(\{[^{}]*\})")


class Question:
    """What a causal language model is asked of a row (TALLRec, Bao et al., RecSys 2023).

    Args:
        encoder: the language model: a folder, or an id of the hub.
        prompt: the question, with ``{history}`` and ``{item}`` in it. A blank before either goes
            with the titles that stand there.
        title: what an item is called: text with names of columns in braces.
        separator: between titles of the history; a blank follows it.
        nothing: instead of an empty history; a blank comes before it.
        yes_word: the answer of who would like the item, a single token of the language model.
        no_word: the other answer.
        max_titles: most titles of the history, the latest.
        max_tokens: longest prompt: older titles are left out until it fits.
    """

    def __init__(
        self,
        encoder: str,
        prompt: str,
        title: str = '"{title}"',
        separator: str = ",",
        nothing: str = "none",
        yes_word: str = " Yes",
        no_word: str = " No",
        max_titles: PositiveInt = 10,
        max_tokens: PositiveInt = 256,
    ) -> None:
        self.name, self.prompt, self.title = encoder, prompt, title
        self.separator, self.nothing = separator, nothing
        self.yes_word, self.no_word = yes_word, no_word
        self.max_titles, self.max_tokens = max_titles, max_tokens
        if sorted(_PLACES.findall(prompt)) != ["{history}", "{item}"]:
            raise UserError(
                "model.prompt must hold {history} and {item}, each once, and no other braces: "
                f"{prompt!r}."
            )

    def load(self, meta: bool = False) -> Words:
        """The language model. Raises UserError where it is not to be had, or does not fit."""
        words = load_words(find_model(self.name), "causal", meta)
        check_length(words.model, "model.max_tokens", self.max_tokens)
        return words

    def about(self, schema: ClickSchema, words: Words, titles: list[str]) -> TALLRec:
        """The model that asks the question about the items with these titles.

        Raises:
            UserError: if an answer is not a single token, or a prompt would not fit.
            ValueError: if rows have no history.
        """
        named = tokenize([f" {title}" for title in titles], words.tokenizer, self.max_tokens, False)
        prompts = Prompts(named, self._wording(words), self.max_titles, self.max_tokens)
        if prompts.shortest > self.max_tokens:
            raise UserError(
                f"model.max_tokens={self.max_tokens}: without any history the longest prompt takes "
                f"{prompts.shortest} tokens, {prompts.longest_title} of them for the item: raise "
                "it, or shorten model.prompt or model.title."
            )
        yes, no = self._answer(words, "yes_word"), self._answer(words, "no_word")
        if yes == no:
            raise UserError(
                f"model.yes_word='{self.yes_word}' and model.no_word='{self.no_word}' are one "
                f"token for {self.name}: they must differ."
            )
        return TALLRec(schema, words.model, prompts, yes, no)

    def _wording(self, words: Words) -> Wording:
        before, first, between, _, after = _PLACES.split(self.prompt)
        begin: list[int] = words.tokenizer("")["input_ids"][:1]  # what begins a text, if anything
        return Wording(
            [*begin, *_tokens(words, before.removesuffix(" "))],
            _tokens(words, between.removesuffix(" ")),
            _tokens(words, after),
            _tokens(words, self.separator),
            _tokens(words, f" {self.nothing}"),
            first == "{history}",
        )

    def _answer(self, words: Words, key: str) -> int:
        text = getattr(self, key)
        found = _tokens(words, text)
        if len(found) != 1 or found[0] == words.tokenizer.unk_token_id:
            raise UserError(
                f"model.{key}='{text}' must be a single token of {self.name}, which reads "
                f"{words.tokenizer.convert_ids_to_tokens(found)}: choose another word, or try it "
                "with or without a blank before it."
            )
        return found[0]


def _tokens(words: Words, text: str) -> list[int]:
    found: Any = words.tokenizer(text, add_special_tokens=False)["input_ids"]
    return list(found)


class PromptedClicks(Clicks):
    """The same by a language model that is asked about each row, in words."""

    kind: ClassVar[type] = Question

    def __init__(self, cfg: DictConfig) -> None:
        self.question: Question = config.build("model", cfg.model)
        for key, part in (("item", "_target_"), ("encoder", "run"), ("encoder", "model")):
            if (cfg.get(key) or {}).get(part):
                raise UserError(
                    f"A language model that is asked has titles in its prompt, and takes no {key}: "
                    f"drop {key}."
                )
        super().__init__(cfg)
        assert isinstance(self.meta_model, TALLRec)
        with torch.device("meta"):
            AdaptedModule(self.meta_model.words, self.adapter)

    @property
    def wording(self) -> str | None:
        """The template of the title of an item."""
        return self.question.title

    def make_model(self, schema: ClickSchema) -> nn.Module:
        """The model without its weights, and without a title."""
        return self._asking(schema, self.question.load(meta=True), [])

    def make_task(self, loaded: AuditedClicks, data: ClickData) -> ClickTask:
        """The task over the language model under its adapter."""
        assert loaded.data.items is not None
        words = self.question.load()
        titles = render_template(loaded.data.items.about, self.question.title)
        model = self._asking(data.schema, words, titles)
        tuned = AdaptedModule(words.model, self.adapter)
        words.model.drop_from(tuned.lowest_tuned(words.model.layers))
        tuned.report()
        task = self._task(model, loaded)
        task.tuned = tuned
        return task

    def parts(self) -> dict[str, str]:
        """Name and class of each part."""
        weights = sum(parameter.numel() for parameter in self.meta_model.parameters())
        name = type(self.meta_model).__name__
        return super().parts() | {
            "model": f"{name}, {weights:,} parameters of {self.question.name}"
        }

    def _asking(self, schema: ClickSchema, words: Words, titles: list[str]) -> TALLRec:
        try:
            return self.question.about(schema, words, titles)
        except ValueError as error:
            raise UserError(f"model: {error}") from error
