"""BM25: items are found by the words they share with the query, rare words first.

Robertson and Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond, 2009, in the form of
Lucene (Kamphuis et al., ECIR 2020); the index is made by bm25s (Lù, 2024, arXiv:2407.03618).
Shapes: B queries, S pairs, N items, W words.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import torch
from pydantic import NonNegativeFloat
from scipy import sparse
from torch import Tensor

from lightning_rec.errors import UserError, import_extra
from lightning_rec.language.encoder import TextEncoder
from lightning_rec.language.tokens import Tokenized, Tokens
from lightning_rec.models.classic.parts import Sparse
from lightning_rec.models.text.matcher import CatalogueScorer, Texts
from lightning_rec.needs import ABSENT, Need
from lightning_rec.ranges import UpToOne


class BM25(CatalogueScorer):
    """The sum over the query's words w of idf(w) tf / (tf + k1 (1 - b + b |item| / mean length)).

    tf counts w in the item's text, and idf(w) = log(1 + (N - n + 0.5) / (n + 0.5)) where n of N
    items have w. A word is a run of letters and digits of any script, in lower case, stemmed. An
    item without any word of the query is not found. Nothing is learnt from queries.

    Args:
        k1: how fast further occurrences of a word stop to count.
        b: how much longer texts are marked down.
        stemmer: language of Snowball's stemmer (Porter, 2001), by PyStemmer; None keeps words.

    Raises UserError if a library is not installed, or there is no such stemmer.
    """

    floor = 0.0
    words: Tensor
    needs = (
        Need("loss", ABSENT, "is fitted to texts and takes no loss"),
        Need("negatives", ABSENT, "is not trained, and takes no negatives"),
    )

    def __init__(
        self, k1: NonNegativeFloat = 1.2, b: UpToOne = 0.75, stemmer: str | None = "english"
    ) -> None:
        super().__init__()
        self.k1, self.b = k1, b
        self.library = import_extra("bm25s", "model=bm25", "hub")
        self.stemmer = stemmer_of(stemmer)
        self.weights = Sparse(0)  # [N, W]
        self.register_buffer("words", torch.zeros(0, dtype=torch.uint8))  # UTF-8, parted by \n

    @property
    def fitted(self) -> bool:
        """Whether it has read a catalogue, or what was made of one."""
        return len(self.weights.indptr) > 1

    def fit(self, texts: list[str]) -> None:
        """Weigh the words of each item; text i is that of item i."""
        found = words_of(texts, self.stemmer)
        vocabulary = found["word"].unique().sort()
        if not len(vocabulary):
            raise UserError("BM25: there are no words in the items' texts.")
        text = bytearray("\n".join(vocabulary.to_list()).encode())  # no word has a line break
        self.words = torch.frombuffer(text, dtype=torch.uint8).to(self.words.device)
        read = self.read(texts, item=True)
        lists = np.split(read.ids, read.offsets[1:-1])
        index = self.library.BM25(k1=self.k1, b=self.b, method="lucene")
        codes = {word: code for code, word in enumerate(vocabulary)}
        index.index(([each.tolist() for each in lists], codes), show_progress=False)
        made = index.scores
        shape = (len(texts), len(made["indptr"]) - 1)
        columns = sparse.csc_array((made["data"], made["indices"], made["indptr"]), shape=shape)
        weights = Sparse(len(texts), len(vocabulary)).to(self.words.device)
        weights.keep(columns.tocsr()[:, : len(vocabulary)])
        self.weights = weights

    def read(self, texts: list[str], *, item: bool) -> Tokenized:
        """The words of each text that the catalogue has, by their codes in the vocabulary."""
        known = pl.DataFrame({"word": _strings(self.words)}).with_row_index("code")
        found = words_of(texts, self.stemmer).join(
            known, on="word", how="inner", maintain_order="left"
        )
        lengths = np.bincount(found["row"].to_numpy(), minlength=len(texts))
        offsets = np.append(0, np.cumsum(lengths)).astype(np.int64)
        return Tokenized(offsets, found["code"].to_numpy().astype(np.int32), 0)

    def pairs(self, texts: Texts, query: Tensor, item: Tensor) -> Tensor:
        """Score pairs: float [S]; 0 where they share no word."""
        counts = self._counts(texts.queries.take(query.cpu().numpy()))
        shared = counts.multiply(self._matrix()[item.cpu().numpy()])
        scores = np.asarray(shared.sum(axis=1), dtype=np.float32)
        return torch.from_numpy(scores).flatten().to(query.device)

    def index(
        self, items: Tokenized, make: Callable[[TextEncoder, Tokenized], Tensor]
    ) -> Tensor | None:
        """Nothing: the index is what was fitted."""
        return None

    def against(self, queries: Tokens, index: Tensor | None) -> Tensor:
        """Score the whole catalogue: float [B, N]."""
        scores = (self._matrix() @ self._counts(queries).T).toarray()
        return torch.from_numpy(scores).T.contiguous().to(queries.ids.device)

    def _matrix(self) -> sparse.csr_array:
        """Weight of each word in each item, sparse [N, W]."""
        if self.weights.columns is None:  # it was loaded
            words = len(_strings(self.words))
            if self.weights.shape[1] > words:
                raise UserError("BM25: the weights are of more words than there are.")
            self.weights.columns = words
        return self.weights.scipy()

    def _counts(self, queries: Tokens) -> sparse.csr_array:
        """How often each query has each word, sparse [B, W]."""
        row, column = (index.cpu() for index in queries.mask.nonzero(as_tuple=True))
        index = (row.numpy(), queries.ids.cpu()[row, column].numpy())
        ones = np.ones(len(row), dtype=np.float32)
        return sparse.csr_array((ones, index), shape=(len(queries.ids), self._matrix().shape[1]))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        saved = {name: state_dict.get(prefix + name) for name in ("words", "weights.indptr")}
        if (words := saved["words"]) is not None:
            self.words = self.words.new_empty(words.shape)
        if (rows := saved["weights.indptr"]) is not None:
            self.weights = Sparse(len(rows) - 1).to(self.words.device)
        super()._load_from_state_dict(state_dict, prefix, *rest)


def _strings(words: Tensor) -> list[str]:
    text = words.cpu().numpy().tobytes().decode()
    return text.split("\n") if text else []


def words_of(texts: list[str], stemmer: Any) -> pl.DataFrame:
    """All words of all texts in their order: ``row``, ``word``; ``stemmer`` of `stemmer_of`."""
    rows = pl.DataFrame({"text": texts}, schema={"text": pl.String}).with_row_index("row")
    words = pl.col("text").str.to_lowercase().str.extract_all(r"\w+").alias("word")
    found = rows.select("row", words).explode("word").drop_nulls()
    if stemmer is None:
        return found
    once = found["word"].unique()
    stems = pl.Series(stemmer.stemWords(once.to_list()), dtype=pl.String)
    return found.with_columns(pl.col("word").replace_strict(once, stems))


def stemmer_of(language: str | None) -> Any:
    """Snowball's stemmer of a language; None for None. Raises UserError if there is none."""
    if language is None:
        return None
    library = import_extra("Stemmer", "model=bm25", "hub")
    try:
        return library.Stemmer(language)
    except KeyError:
        known = ", ".join(library.algorithms())
        raise UserError(f"model.stemmer={language}: there are {known}, and null.") from None
