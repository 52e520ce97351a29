"""A stored answer in the words of a small language model, which quotes it as its source."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from lightning_rec.errors import UserError
from lightning_rec.language.hub import find_model
from lightning_rec.language.load import load_words

PROMPT = """\
Answer the question of a customer in one or two sentences, from this article alone.

Article: {article}

Question: {question}
Answer:"""
LONGEST = 1024  # tokens of prompt and wording; a longer article is cut at its end


class Wording:
    """A causal language model from a folder, or an id of the hub, that puts articles into words.

    Only safetensors are read, and no code that a model brings along is run. Raises UserError where
    it is no causal language model, or cannot be read.
    """

    def __init__(self, name: str, tokens: int = 80) -> None:
        self.name, self.tokens = name, tokens
        words = load_words(Path(find_model(name)), "causal")
        self.model: Any = words.model.model.eval()
        self.tokenizer = words.tokenizer
        longest = getattr(self.model.config, "max_position_embeddings", None) or LONGEST
        self.room = min(LONGEST, int(longest)) - tokens

    @torch.no_grad()
    def words(self, questions: Sequence[str], articles: Sequence[str]) -> list[str]:
        """A wording for each question of its article: the likeliest words, one after another."""
        return [
            self._word(question, article)
            for question, article in zip(questions, articles, strict=True)
        ]

    def _word(self, question: str, article: str) -> str:
        known = self._read(PROMPT.format(article="", question=question))
        room = self.room - known.shape[1]
        if room < 1:
            raise UserError(
                f"{self.name} reads {self.room} tokens, and the question leaves none of them for "
                "its answer: ask a shorter one."
            )
        cut = self.tokenizer(article, add_special_tokens=False)["input_ids"][:room]
        while True:
            prompt = PROMPT.format(article=self.tokenizer.decode(cut), question=question)
            ids = self._read(prompt)
            if (over := ids.shape[1] - self.room) <= 0:
                break
            cut = cut[:-over]  # what was cut within a letter is read as more tokens
        made = self.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=self.tokens,
            do_sample=False,
            pad_token_id=self.tokenizer.pad_token_id or self.tokenizer.eos_token_id,
        )
        text: str = self.tokenizer.decode(made[0, ids.shape[1] :], skip_special_tokens=True)
        return " ".join(text.split())

    def _read(self, prompt: str) -> torch.Tensor:
        """Token ids, int64 [1, T], by the model's own form of a conversation where it has one."""
        if getattr(self.tokenizer, "chat_template", None):
            asked = [{"role": "user", "content": prompt}]
            text = self.tokenizer.apply_chat_template(
                asked, add_generation_prompt=True, tokenize=False
            )
            return torch.tensor([self.tokenizer(text, add_special_tokens=False)["input_ids"]])
        return torch.tensor([self.tokenizer(prompt)["input_ids"]])
