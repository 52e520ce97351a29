"""TALLRec: a causal language model is asked whether somebody would like an item, yes or no.

Bao et al., TALLRec: An Effective and Efficient Tuning Framework to Align Large Language Model with
Recommendation, RecSys 2023, arXiv:2305.00447. Shapes: B rows, T tokens, W words.
"""

from typing import ClassVar

import torch
from torch import Tensor

from lightning_rec.data.clicks.batches import Rows
from lightning_rec.data.clicks.fields import ClickSchema
from lightning_rec.language.blocks import in_blocks
from lightning_rec.language.prompts import Prompts
from lightning_rec.language.words import WordModel
from lightning_rec.models.clicks.parts import ClickModel, history_of, needs_history


class TALLRec(ClickModel):
    """p = e^{l_yes} / (e^{l_yes} + e^{l_no}), l being the logits of the word after the prompt.

    The paper trains the answer as text, by the likelihood among all words, and predicts by this p;
    here p itself is trained by the likelihood of the labels, as that of all models of clicks.

    Args:
        schema: of the histories.
        words: the language model and its head.
        prompts: what it is asked.
        yes, no: the words that are compared.

    Raises:
        ValueError: if rows have no history.
    """

    reads_history: ClassVar[bool] = True

    def __init__(
        self, schema: ClickSchema, words: WordModel, prompts: Prompts, yes: int, no: int
    ) -> None:
        super().__init__(schema)
        self.padding = needs_history("TALLRec", schema).padding
        self.words, self.prompts, self.yes, self.no = words, prompts, yes, no

    def forward(self, rows: Rows) -> Tensor:
        """Logits of p, float [B]: l_yes - l_no."""
        assert rows.item is not None
        device, past = rows.item.device, history_of(rows)
        prompts = self.prompts.of(rows.item.cpu().numpy(), past.cpu().numpy(), self.padding)
        length = prompts.there.sum(dim=1)

        def answered(which: Tensor) -> Tensor:
            some = prompts.some(which)
            last = torch.arange(some.ids.shape[1]) == length[which, None] - 1
            logits = self.words(some.to(device), last.to(device))  # [b, W]
            difference: Tensor = logits[:, self.yes] - logits[:, self.no]
            return difference

        return in_blocks(length, answered)
