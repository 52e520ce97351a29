"""A language model that is shown lists of items, each behind a letter, and asked for a letter.

The order of a whole list is read off one forward pass, by the logits of all its letters (Reddy et
al., FIRST, EMNLP 2024, arXiv:2406.15657). Shapes: B lists, R orders of each, n items.
"""

import hashlib
import time
from collections.abc import Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lightning_rec.errors import UserError
from lightning_rec.files import atomic_path
from lightning_rec.language.encoder import check_length
from lightning_rec.language.listed import CONTENT_FREE, LETTERS, ListPrompt, ListPrompts
from lightning_rec.language.prompts import Ints, Wording, single_token
from lightning_rec.language.tokens import tokenize
from lightning_rec.language.words import Words

AT_ONCE = 32  # lists after which what was read is kept


class Asking(NamedTuple):
    """How a language model is asked; see :class:`lightning_rec.models.text.listwise.Listwise`."""

    encoder: str
    prompt: str
    separator: str
    nothing: str
    answer: str
    max_titles: int
    max_title_tokens: int
    max_tokens: int


class LetterReader:
    """Lists of items, by code -> the logarithm of the probability of each letter.

    Args:
        words: the language model with its head, and its tokenizer.
        titles: of the items, by code.
        size: the most items of a list.
        asking: how it is asked.

    Attributes:
        kept: what was read before, if that is to be looked up and kept.
        lists, seconds, cpu_seconds: how many lists were read, not looked up, and the time it took.

    Raises UserError if a letter is not a single token, or a list would not fit.
    """

    def __init__(self, words: Words, titles: Sequence[str], size: int, asking: Asking) -> None:
        check_length(words.model, "model.max_tokens", asking.max_tokens)
        tokenizer = words.tokenizer
        said = [f" {each}" for each in (*titles, *CONTENT_FREE)]
        tokens = tokenize(said, tokenizer, asking.max_title_tokens, False)
        wording = Wording.of(tokenizer, asking.prompt, asking.separator, asking.nothing, "{items}")
        self.model, self.size, self.titles = words.model, size, len(titles)
        limits = (size, asking.max_titles, asking.max_tokens)
        self.prompts = ListPrompts(tokens, tokenizer, wording, *limits)
        if asking.answer.count("{letter}") != 1:
            raise UserError(f"model.answer={asking.answer!r} must hold {{letter}} once.")
        answers = [asking.answer.replace("{letter}", each) for each in LETTERS[:size]]
        self.answers = [single_token(tokenizer, asking.encoder, "answer", each) for each in answers]
        if len({*self.answers}) < size:
            raise UserError(
                f"model.answer={asking.answer!r}: several letters are one token for "
                f"{asking.encoder}; lower model.rerank, or take another language model."
            )
        self.kept: Kept | None = None
        self.lists, self.seconds, self.cpu_seconds = 0, 0.0, 0.0
        self.prior = cache(self._prior)

    def read(self, shown: Ints, past: Ints, padding: int) -> Tensor:
        """What is said of lists: float32 [B, R, n], log p of the letter among all words; -inf
        behind the end of a list. Arguments as of :meth:`ListPrompts.lists`.
        """
        size, orders, width = shown.shape
        made = torch.full((size, orders, width), -torch.inf)
        for start in range(0, size, AT_ONCE):
            some = slice(start, start + AT_ONCE)
            prompts = self.prompts.lists(shown[some], past[some], padding)
            for row, prompt in enumerate(prompts, start):
                number = int((shown[row, 0] >= 0).sum())
                if number:
                    made[row, :, :number] = self._looked_up(prompt)[:, :number]
            if self.kept is not None:
                self.kept.write()
        return made

    def _prior(self, number: int) -> Tensor:
        """How probable each of ``number`` letters is where nothing is said of any item: float [n],
        the mean over what is content-free, which stands for all titles.
        """
        codes = self.titles + np.arange(len(CONTENT_FREE))[:, None]
        padding = self.titles + len(CONTENT_FREE)  # no code of anything
        said = self.read(np.repeat(codes[:, :, None], number, axis=2), codes, padding)
        return said[:, 0].softmax(dim=1).mean(dim=0)

    def _looked_up(self, prompt: ListPrompt) -> Tensor:
        """Float32 [R, size]: what was kept, the rest read."""
        keys = [hashlib.sha256(prompt.begun.tobytes() + each.tobytes()) for each in prompt.rest]
        known: dict[bytes, Any] = {} if self.kept is None else self.kept.known
        names = [each.digest() for each in keys]
        fresh = [place for place, name in enumerate(names) if name not in known]
        found = {name: known[name] for name in names if name in known}
        if fresh:
            read = self._asked(prompt.begun, prompt.rest[fresh])
            found |= {names[place]: each for place, each in zip(fresh, read, strict=True)}
        if self.kept is not None:
            known.update(found)
        return torch.stack([torch.as_tensor(found[name]) for name in names])

    @torch.no_grad()
    def _asked(self, begun: Ints, rest: Ints) -> Tensor:
        started, busy = time.perf_counter(), time.process_time()
        device = next(self.model.parameters()).device
        ids = [torch.from_numpy(each.astype(np.int64)).to(device) for each in (begun, rest)]
        # In half precision, several letters would have one and the same logit.
        with torch.autocast(device.type, enabled=False):
            logits = self.model.after(*ids).float()
        said = logits.log_softmax(dim=1)[:, self.answers].cpu()
        self.seconds += time.perf_counter() - started
        self.cpu_seconds += time.process_time() - busy
        self.lists += len(rest)
        return said


class Kept:
    """What one language model has said of prompts, in a file: so nothing is read twice.

    Attributes:
        known: float32 [letters] by the hash of the prompt's tokens.
    """

    def __init__(self, folder: Path, letters: int) -> None:
        self.path, self.letters = folder / f"letters_{letters}.npz", letters

    @cached_property
    def known(self) -> dict[bytes, Any]:
        """What is in the file; nothing where it cannot be read."""
        self._written = 0
        try:
            with np.load(self.path, allow_pickle=False) as file:
                keys, said = file["keys"], file["said"]
        except (OSError, ValueError, KeyError):
            return {}
        self._written = len(keys)
        return {key.tobytes(): each for key, each in zip(keys, said, strict=True)}

    def write(self) -> None:
        """Write what has come since."""
        if len(self.known) == self._written:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        keys = np.stack([np.frombuffer(key, np.uint8) for key in self.known])
        said = np.stack([np.asarray(each, np.float32) for each in self.known.values()])
        with atomic_path(self.path) as temporary, temporary.open("wb") as file:
            np.savez(file, keys=keys, said=said)
        self._written = len(keys)
