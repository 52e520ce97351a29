"""LC-Rec: a causal language model says the next item by its codes, which are new words to it.

Zheng et al., Adapting Large Language Models by Integrating Collaborative Semantics for
Recommendation, ICDE 2024, arXiv:2311.09049, as in RUCAIBox/LC-Rec. Shapes: as in
:class:`BeamedModel`; N prompts, T tokens of the longest, A tokens of an answer, the end among them,
W words of the language model, J new ones, E its width.
"""

from collections.abc import Sequence
from functools import partial
from itertools import count
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveInt
from torch import Tensor, nn

from lightning_rec.data.semantic.quantise import Quantizer
from lightning_rec.data.split import Histories, Schema
from lightning_rec.errors import UserError, listed
from lightning_rec.language.blocks import cuts, in_blocks
from lightning_rec.language.encoder import check_length
from lightning_rec.language.indexed import FRAME, NEXT, OF_TITLE, TO_TITLE, IndexPrompts
from lightning_rec.language.tokens import Tokens
from lightning_rec.language.words import BLOCK_TOKENS, LoadWords
from lightning_rec.models.beam import beam
from lightning_rec.models.sequential.beamed import BeamedModel
from lightning_rec.ranges import Layers

TOKENS = 4096  # of prompts and beams that are read at once in evaluation
TaskName = Literal["seq", "item2index", "index2item"]


class LCRec(BeamedModel):
    """A prompt about the codes of a history is answered by those of the next item, and the end.

    The score of an item is the log-likelihood of that answer among all words, old and new. New
    words have rows of their own before the language model and, where its tables are not tied,
    behind it; they are trained whole, the language model as ``adapter=`` says. A prompt is read
    once, and its beams look back at it. In training each prompt is of a sentence drawn at random.

    Args:
        load_words: finds the language model with its head.
        titles: of the items, by code; read for other tasks than ``seq``.
        encoder: name of the language model: a folder, or an id of the hub.
        tasks: what is learnt: the next item (``seq``), of its title the codes of an item
            (``item2index``), and of codes the title (``index2item``).
        frame: around each sentence, with ``{instruction}``; the answer follows.
        prompts: sentences with ``{history}``; None takes six of our own.
        test_prompt: which of them asks in evaluation.
        separator: between items of a history.
        title: template of the title of an item: names of columns in braces.
        max_title_tokens: where titles are cut off.
        aligned: prompts of each other task than ``seq``, for each of its prompts.
        beam: how many ids are kept at each level; None ranks all. At least the largest cut-off.
        quantizer, levels, codes, unique: see :class:`TIGER`.

    Raises UserError if prompts cannot be, or would not fit.
    """

    pretrained: ClassVar[bool] = True

    def __init__(
        self,
        schema: Schema,
        load_words: LoadWords,
        titles: Sequence[str],
        encoder: str,
        tasks: tuple[TaskName, ...] = ("seq",),
        frame: str = FRAME,
        prompts: tuple[str, ...] | None = None,
        test_prompt: NonNegativeInt = 0,
        separator: str = ", ",
        title: str = "{title}",
        max_title_tokens: PositiveInt = 32,
        aligned: NonNegativeFloat = 0.1,
        beam: PositiveInt | None = 20,
        quantizer: Quantizer = "residual",
        levels: Layers = 3,
        codes: PositiveInt = 256,
        unique: bool = True,
    ) -> None:
        super().__init__(schema, beam, quantizer, levels, codes, unique)
        if "seq" not in tasks or len({*tasks}) < len(tasks):
            raise UserError(f"model.tasks={[*tasks]}: name seq, and others beside it, each once.")
        if len(tasks) > 1 and not aligned:
            raise UserError(f"model.aligned=0: {listed(tasks[1:])} would not be learnt.")
        sentences = NEXT if prompts is None else prompts
        if test_prompt >= len(sentences):
            told = f"there are {len(sentences)} sentences, numbered from 0"
            raise UserError(f"model.test_prompt={test_prompt}: {told}.")
        self.others, self.aligned = [task for task in tasks if task != "seq"], aligned
        self.test_prompt, self.template = test_prompt, title
        words = load_words(encoder, "causal")
        self.words: Any = words.model
        model: Any = words.model.model
        table, head = model.get_input_embeddings(), model.get_output_embeddings()
        self.old, number = table.num_embeddings, self.levels * codes
        tied = head.weight is table.weight
        self.of_code = _rows(number, table.weight)
        self.said_code = None if tied else _rows(number, head.weight)
        asked: dict[str, Sequence[str]] = {"history": sentences}
        asked |= {"title": OF_TITLE, "item": TO_TITLE} if self.others else {}
        said = titles if self.others else []
        parts = (frame, asked, separator, said, max_title_tokens)
        self.prompts = IndexPrompts(words.tokenizer, self.old, *parts)
        self.query_width = schema.max_len
        each_item = self.levels + self.prompts.separator
        self.most = self.prompts.longest + each_item * schema.max_len + self.levels
        key = f"batches.max_len={schema.max_len}, whose longest prompt takes tokens"
        check_length(words.model, key, self.most)
        self._known: tuple[int, int] | None = None

    @property
    def at_once(self) -> int:
        """As many prompts with their beams as :data:`TOKENS`."""
        kept = len(self.trie.items) if self.beam is None else self.beam
        return max(1, TOKENS // (self.most + kept * self.levels))

    def forward(self, histories: Histories, positions: Tensor) -> Tensor:
        """Queries, float32 [M, L]: the codes of items up to each position, padded on the right."""
        items = histories.items
        row, at = torch.arange(len(items), device=items.device), positions
        if positions.dtype == torch.bool:
            row, at = positions.nonzero(as_tuple=True)
        later = torch.arange(items.shape[1], device=items.device) > at[:, None]
        past = items[row].masked_fill(later, self.schema.padding)
        more = (0, self.query_width - past.shape[1])
        return nn.functional.pad(past, more, value=self.schema.padding).float()

    def of_items(self, queries: Tensor, items: Tensor) -> Tensor:
        """See :meth:`BeamedModel.of_items`."""
        answers = self._prompts().answers(items.cpu().numpy())
        return self._likelihoods(self._asked(queries), *_whole(answers)).to(queries)

    def penalty(self, queries: Tensor, targets: Tensor) -> Tensor | float:
        """Minus the log-likelihoods of answers to the other tasks, about random items, for each
        query: scalar. With the loss of ``seq`` it is the authors' mean over all tokens but for
        the number of these; see :class:`~lightning_rec.models.base.Penalised`.
        """
        number, prompts = round(self.aligned * len(queries)), self._prompts()
        total: Tensor | float = 0.0
        for task in self.others if self.aligned else ():
            item = torch.randint(self.schema.num_items, (max(1, number),)).numpy()
            slot = "title" if task == "item2index" else "item"
            asked = prompts.about(slot, item, self._sentences(slot, len(item)))
            answers, inside = _whole(prompts.answers(item))
            if task == "index2item":
                answers, inside, _ = prompts.title_answers(item)
            total = total - self._likelihoods(asked, answers[:, None], inside[:, None]).sum()
        return total / len(queries)

    def search(self, queries: Tensor, left: Tensor | None) -> Tensor:
        """See :meth:`BeamedModel.search`: a beam that keeps all is exact."""
        device, trie = queries.device, self.trie
        prompt = self._asked(queries).to(device)
        length, place = prompt.mask.sum(dim=1), torch.arange(prompt.ids.shape[1], device=device)
        sees = (place <= place[:, None]) & prompt.mask[:, None]
        states, cache = self._read(prompt.ids, place.expand(len(queries), -1), sees, keep=True)
        level = count()
        own = sees.new_zeros(len(queries), 1, 0)  # what else is kept, and which of it a node sees

        def step(tokens: Tensor, up: Tensor) -> Tensor:
            nonlocal own
            kept = tokens.shape[1]
            own = own.gather(1, up[..., None].expand(-1, -1, own.shape[2]))
            itself = torch.eye(kept, dtype=torch.bool, device=device).expand(len(own), -1, -1)
            own = torch.cat([own, itself], dim=2)
            seen = torch.cat([prompt.mask[:, None].expand(-1, kept, -1), own], dim=2)
            behind = (length + next(level))[:, None].expand(-1, kept)
            made, _ = self._read(tokens + self.old, behind, seen, cache)
            return self._codes_and_end(made)

        last = states[torch.arange(len(queries), device=device), length - 1]
        said, width = self._codes_and_end(last[:, None]), self.beam or len(trie.items)
        found = beam(trie, said, step, width, left, ends=True)
        if self.beam is not None:
            return found
        leaf, score = found.split(width, dim=1)
        return torch.empty_like(score).scatter_(1, leaf.long(), score)

    def _prompts(self) -> IndexPrompts:
        state = (self.codes._version, self.codes.data_ptr())
        if self._known != state:
            self.prompts.know(self.codes.cpu().numpy())
            used = torch.zeros(len(self.of_code.weight), dtype=torch.bool)
            used[self.codes.unique().cpu()] = True
            self._known, self._unused = state, ~used.to(self.codes.device)
        return self.prompts

    def _sentences(self, slot: str, size: int) -> Any:
        return torch.randint(len(self.prompts.tasks[slot]), (size,)).numpy()

    def _asked(self, queries: Tensor) -> Tokens:
        """Prompts of queries."""
        past = queries[:, : self.query_width].long().cpu().numpy()
        chosen = np.full(len(past), self.test_prompt)
        if self.training:
            chosen = self._sentences("history", len(past))
        return self._prompts().history(past, self.schema.padding, chosen)

    def _likelihoods(self, asked: Tokens, answers: Tensor, inside: Tensor) -> Tensor:
        """Log-likelihoods of each prompt's answers, int64 [N, n, A], padded on the right where
        ``inside`` is False: float [N, n].
        """
        lengths = asked.mask.sum(dim=1)

        def read(which: Tensor) -> Tensor:
            return self._told(asked.some(which), answers[which], inside[which])

        size = answers.shape[1] * (answers.shape[2] - 1)
        return in_blocks(lengths + size, read, partial(cuts, tokens=BLOCK_TOKENS))

    def _told(self, asked: Tokens, answers: Tensor, inside: Tensor) -> Tensor:
        """The same of a block: all answers to a prompt behind it, each of which sees itself."""
        device = self.codes.device
        asked, answers, inside = asked.to(device), answers.to(device), inside.to(device)
        size, number, most = answers.shape
        width, length = asked.ids.shape[1], asked.mask.sum(dim=1)
        step, chain = (
            each.flatten() for each in torch.meshgrid(
                torch.arange(most - 1, device=device), torch.arange(number, device=device),
                indexing="xy",
            )
        )  # fmt: skip
        place = torch.arange(width, device=device).expand(size, -1)
        sees = asked.mask[:, None].repeat(1, width + len(step), 1)
        sees[:, :width] &= place[0] <= place[0, :, None]
        itself = (chain == chain[:, None]) & (step <= step[:, None])
        itself = nn.functional.pad(itself, (0, 0, width, 0)).expand(size, -1, -1)
        ids = torch.cat([asked.ids, answers[..., :-1].flatten(1)], dim=1)
        places = torch.cat([place, length[:, None] + step], dim=1)
        states, _ = self._read(ids, places, torch.cat([sees, itself], dim=2))
        last = states[torch.arange(size, device=device), length - 1]
        begun = last[:, None, None].expand(-1, number, -1, -1)
        behind = torch.cat([begun, states[:, width:].unflatten(1, (number, most - 1))], dim=2)
        said = self._logits(behind[inside]).log_softmax(dim=1)
        each = said.gather(1, answers[inside][:, None])[:, 0]
        return each.new_zeros(answers.shape).masked_scatter(inside, each).sum(dim=2)

    def _read(
        self, ids: Tensor, place: Tensor, sees: Tensor, cache: Any = None, *, keep: bool = False
    ) -> tuple[Tensor, Any]:
        """States of tokens, int64 [N, S]: float [N, S, E], and what later ones look back at.

        ``place``: int64 [N, S], counted from the beginning. ``sees``: bool [N, S, past + S].
        """
        model: Any = self.words.model
        new = ids >= self.old
        vectors = model.get_input_embeddings()(ids.masked_fill(new, 0))
        codes = self.of_code((ids - self.old).clamp(min=0))
        vectors = torch.where(new[..., None], codes.to(vectors), vectors)
        mask = sees[:, None]
        if model.config._attn_implementation != "sdpa":
            least = torch.finfo(vectors.dtype).min
            mask = torch.zeros_like(mask, dtype=vectors.dtype).masked_fill(~mask, least)
        made = self.words.body(
            inputs_embeds=vectors, attention_mask=mask, position_ids=place,
            past_key_values=cache, use_cache=keep or cache is not None,
        )  # fmt: skip
        return made.last_hidden_state, made.past_key_values

    def _logits(self, states: Tensor) -> Tensor:
        """Of all words, then of codes, -inf for those that no item has: float [R, W + J]."""
        self._prompts()
        old = self.words.head(states)
        with torch.autocast(states.device.type, enabled=False):
            new = states.to(old) @ (self.said_code or self.of_code).weight.to(old).T
        return torch.cat([old, new.masked_fill(self._unused, -torch.inf)], dim=1)

    def _codes_and_end(self, states: Tensor) -> Tensor:
        """Log-probabilities of codes, and of the end: float [N, n, E] -> [N, n, J + 1]."""
        said = self._logits(states.flatten(0, 1)).log_softmax(dim=1)
        made = torch.cat([said[:, self.old :], said[:, self.prompts.end, None]], dim=1)
        return made.unflatten(0, states.shape[:2])


def _whole(answers: Any) -> tuple[Tensor, Tensor]:
    """Answers without padding, int64 [N, n, A], and that there is none, bool."""
    made = torch.from_numpy(answers)
    return made, torch.ones_like(made, dtype=torch.bool)


@torch.no_grad()
def _rows(number: int, words: Tensor) -> nn.Embedding:
    """A table of new words beside those that there are, float [W, E]: near the mean of these, as
    transformers resizes tables (Hewitt, 2021), apart by a billionth of their covariance.
    """
    made, mean = nn.Embedding(number, words.shape[1]), words.mean(dim=0)
    some = words[torch.randint(len(words), (number,))]
    made.weight.copy_(mean + 1e-9**0.5 * (some - mean))
    return made
