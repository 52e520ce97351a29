"""TALLRec: a causal language model is asked whether somebody would like an item, yes or no.

Bao et al., TALLRec: An Effective and Efficient Tuning Framework to Align Large Language Model with
Recommendation, RecSys 2023, arXiv:2305.00447. Shapes: B rows, T tokens, W words.
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
from pydantic import PositiveInt
from torch import Tensor

from lightning_rec.data.clicks.schema import ClickSchema, Rows
from lightning_rec.errors import UserError
from lightning_rec.language.blocks import in_blocks
from lightning_rec.language.encoder import check_length
from lightning_rec.language.prompts import Prompts, Wording, check_slots, single_token
from lightning_rec.language.tokens import tokenize
from lightning_rec.language.words import LoadWords
from lightning_rec.models.clicks.parts import HistoryModel
from lightning_rec.needs import ABSENT, Need


class TALLRec(HistoryModel):
    """p = e^{l_yes} / (e^{l_yes} + e^{l_no}), l being the logits of the word after the prompt.

    The paper trains the answer as text, by the likelihood among all words, and predicts by this p;
    here p itself is trained by the likelihood of the labels, as that of all models of clicks.

    Args:
        schema: of the histories.
        load_words: finds the language model with its head.
        titles: of the items, by code.
        encoder: name of the language model: a folder, or an id of the hub.
        prompt: the question, with ``{history}`` and ``{item}`` in it. A blank before either goes
            with the titles that stand there.
        title: template of the title of an item: names of columns in braces.
        separator: between titles of the history; a blank follows it.
        nothing: instead of an empty history; a blank comes before it.
        yes_word: the answer of who would like the item, a single token of the language model.
        no_word: the other answer.
        max_titles: most titles of the history, the latest.
        max_tokens: longest prompt: older titles are left out until it fits.

    Raises UserError if an answer is not a single token, or a prompt would not fit.
    """

    needs = (
        *HistoryModel.needs,
        Need("item", ABSENT, "has titles in its prompt, and takes no item"),
        Need("encoder", ABSENT, "has titles in its prompt, and takes no encoder"),
    )
    pretrained: ClassVar[bool] = True

    def __init__(
        self,
        schema: ClickSchema,
        load_words: LoadWords,
        titles: Sequence[str],
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
        super().__init__(schema)
        check_slots(prompt)
        words = load_words(encoder, "causal")
        check_length(words.model, "model.max_tokens", max_tokens)
        tokenizer = words.tokenizer
        tokens = tokenize([f" {each}" for each in titles], tokenizer, max_tokens, False)
        wording = Wording.of(tokenizer, prompt, separator, nothing)
        self.words, self.tokenizer, self.template = words.model, tokenizer, title
        self.prompts = Prompts(tokens, wording, max_titles, max_tokens)
        if self.prompts.shortest > max_tokens:
            raise UserError(
                f"model.max_tokens={max_tokens}: without any history the longest prompt takes "
                f"{self.prompts.shortest} tokens, {self.prompts.longest_title} of them for the "
                "item: raise it, or shorten model.prompt or model.title."
            )
        self.yes = single_token(tokenizer, encoder, "yes_word", yes_word)
        self.no = single_token(tokenizer, encoder, "no_word", no_word)
        if self.yes == self.no:
            raise UserError(
                f"model.yes_word='{yes_word}' and model.no_word='{no_word}' are one token for "
                f"{encoder}: they must differ."
            )

    def forward(self, rows: Rows) -> Tensor:
        """Logits of p, float [B]: l_yes - l_no."""
        assert rows.item is not None
        device, past = rows.item.device, self.history(rows)
        prompts = self.prompts.of(rows.item.cpu().numpy(), past.cpu().numpy(), self.padding)
        length = prompts.mask.sum(dim=1)

        def answered(which: Tensor) -> Tensor:
            some = prompts.some(which)
            last = torch.arange(some.ids.shape[1]) == length[which, None] - 1
            logits = self.words(some.to(device), last.to(device))  # [b, W]
            return logits[:, self.yes] - logits[:, self.no]

        return in_blocks(length, answered)
