"""Two texts written as one, for a model that reads them together."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from lightning_rec.errors import UserError
from lightning_rec.language.tokens import Tokens


class Joint(NamedTuple):
    """What a tokenizer puts around and between two texts.

    before, between, after: ids of special tokens: ``[CLS] first [SEP] second [SEP]`` for BERT,
        nothing for GPT-2.
    kinds: whether the second text is marked as such, beyond that.
    """

    before: tuple[int, ...]
    between: tuple[int, ...]
    after: tuple[int, ...]
    kinds: bool

    @classmethod
    def of(cls, tokenizer: Any) -> "Joint":
        """Look at what a tokenizer of transformers makes of two words. Raises UserError if the
        words are not to be found in it.
        """
        one, two = (tokenizer(w, add_special_tokens=False)["input_ids"] for w in ("a", "b"))
        made = tokenizer("a", "b", return_token_type_ids=True)
        ids: list[int] = list(made["input_ids"])
        first = _find(ids, one, 0)
        second = _find(ids, two, first + len(one))
        if min(first, second) < 0 or not one or not two:
            raise UserError(
                f"{type(tokenizer).__name__} cannot write two texts as one: take another encoder."
            )
        return cls(
            before=tuple(ids[:first]),
            between=tuple(ids[first + len(one) : second]),
            after=tuple(ids[second + len(two) :]),
            kinds=made["token_type_ids"][second] == 1,
        )

    @property
    def size(self) -> int:
        """Number of special tokens."""
        return len(self.before) + len(self.between) + len(self.after)

    def write(self, first: Tokens, second: Tokens) -> Tokens:
        """B texts and B others, without special tokens, as B texts padded on the right."""
        size, device = len(first.ids), first.ids.device
        gaps = [
            torch.tensor(ids, dtype=torch.int64, device=device).expand(size, -1)
            for ids in (self.before, self.between, self.after)
        ]
        ids = torch.cat([gaps[0], first.ids, gaps[1], second.ids, gaps[2]], dim=1)
        real = [torch.ones_like(gap, dtype=torch.bool) for gap in gaps]
        mask = torch.cat([real[0], first.mask, real[1], second.mask, real[2]], dim=1)
        begins = ids.shape[1] - gaps[2].shape[1] - second.ids.shape[1]
        kinds = (torch.arange(ids.shape[1], device=device) >= begins).long().expand(size, -1)
        # What is there moves to the left, in its order: positions are counted without the gaps.
        order = torch.argsort((~mask).byte(), dim=1, stable=True)
        order = order[:, : int(mask.sum(dim=1).max()) if size else 0]
        return Tokens(
            ids.gather(1, order),
            mask.gather(1, order),
            kinds.gather(1, order) if self.kinds else None,
        )


def _find(ids: Sequence[int], wanted: Sequence[int], start: int) -> int:
    """Where ``wanted`` begins within ``ids``, from ``start`` on; -1 if nowhere."""
    places = range(start, len(ids) - len(wanted) + 1)
    return next((at for at in places if list(ids[at : at + len(wanted)]) == list(wanted)), -1)
