"""The problem of hidden words: a language model goes on learning from the texts of a catalogue."""

import shutil
from pathlib import Path
from typing import Any

import polars as pl
import torch
from omegaconf import DictConfig
from pydantic import PositiveInt

from lightning_rec import config
from lightning_rec.adapters.base import AdaptedModule, Adapter
from lightning_rec.assembly.problem import Problem
from lightning_rec.data.clicks.items import text_columns
from lightning_rec.data.clicks.table import prepare_clicks
from lightning_rec.data.core.audited import Audited
from lightning_rec.data.kept import seal
from lightning_rec.data.prepare import prepare
from lightning_rec.data.templates import render_template, texts_hash
from lightning_rec.data.texts import RandomTexts, audit_texts
from lightning_rec.errors import UserError
from lightning_rec.files import atomic_folder
from lightning_rec.language.batches import SplitTexts, TextData
from lightning_rec.language.encoder import check_length
from lightning_rec.language.hub import RUN_MODEL, find_model
from lightning_rec.language.load import POOLING, Words, load_words
from lightning_rec.language.tokens import tokenize
from lightning_rec.metrics.measure import names_of
from lightning_rec.metrics.words import WordMetrics
from lightning_rec.models.text.masked_lm import MaskedLM
from lightning_rec.tasks.mlm import MaskedWords


class CatalogueWords:
    """A pretrained language model, and the texts of a catalogue that it goes on with.

    Args:
        encoder: the language model: a folder, that of a run, or an id of the hub.
        template: text with names of the catalogue's columns in braces.
        max_tokens: longest text.
    """

    def __init__(
        self,
        encoder: str = "all-MiniLM-L6-v2",
        template: str = "{title}",
        max_tokens: PositiveInt = 64,
    ) -> None:
        self.name, self.template, self.max_tokens = encoder, template, max_tokens

    def load(self, meta: bool = False) -> Words:
        """The language model and its head. Raises UserError where it is not to be had."""
        words = load_words(find_model(self.name), "masked", meta)
        check_length(words.model, "model.max_tokens", self.max_tokens)
        return words

    def model(self, words: Words, kind: type[MaskedLM] = MaskedLM) -> MaskedLM:
        """Over a language model, the model of hidden words."""
        tokenizer: Any = words.tokenizer
        return kind(words.model, tokenizer.mask_token_id, tuple(tokenizer.all_special_ids))


class Pretraining(Problem[Audited[SplitTexts]]):
    """Hide words of the catalogue's texts, say which they are; leave a language model behind.

    Nothing that anybody did is read: the catalogue alone, all of it. So what is learnt here can be
    used under every protocol, as the language model that was there before.
    """

    module = TextData
    metric = WordMetrics
    protocol: RandomTexts

    def __init__(self, cfg: DictConfig) -> None:
        super().__init__(cfg)
        wanted = config.target("model", config.plain(cfg.model))
        if not (isinstance(wanted, type) and issubclass(wanted, CatalogueWords)):
            raise UserError(
                f"{getattr(wanted, '__name__', wanted)} hides no words, which task=mlm is about: "
                "say model=masked_lm, which brings the task along."
            )
        for node in ("objective", "loss", "item"):
            if (cfg.get(node) or {}).get("_target_"):
                raise UserError(f"task=mlm takes no {node}: drop {node}=, or say '~{node}'.")
        self.protocol = self._part("protocol", "name", "settings", "hash")
        if not isinstance(self.protocol, RandomTexts):
            raise UserError(
                f"protocol={self.protocol.name} splits what users did, but task=mlm takes one that "
                "splits texts: protocol=random_texts."
            )
        self.source = self._part("data", "name")
        self.words: CatalogueWords = config.build("model", cfg.model)
        if cfg.baseline:
            config.expect("baseline", config.plain(cfg.baseline), MaskedLM)
        meta = self.words.load(meta=True)
        self.tokenizer = meta.tokenizer
        self.meta_model = self.words.model(meta)
        with torch.device("meta"):
            _check_adapter(AdaptedModule(meta.model.body, self._adapter()))
        self._check_training(
            [f"val/{name}" for name in names_of(self.measured, ())], self.protocol.validates
        )

    def load(self, cache: Path) -> Audited[SplitTexts]:
        """The texts of the whole catalogue, in parts."""
        texts = render_template(self._catalogue(cache), self.words.template)
        tokens = tokenize(texts, self.tokenizer, self.words.max_tokens)
        parts = self.protocol.assign(texts)
        return Audited(
            name=self.source.name,
            data_hash=texts_hash(texts),  # all that is learnt from
            data=SplitTexts(texts, tokens, parts),
            counts={f"{name} texts": len(which) for name, which in parts.items()},
            facts=audit_texts(texts, int(tokens.offsets[-1]), parts),
            validates=len(parts["val"]) > 0,
        )

    def make_data(self, loaded: Audited[SplitTexts]) -> TextData:
        """The data module over audited texts."""
        module = self._build(
            "batches", tokens=loaded.data.tokens, parts=loaded.data.parts, seed=self.cfg.seed
        )
        assert isinstance(module, TextData)
        return module

    def make_task(self, loaded: Audited[SplitTexts], data: TextData) -> MaskedWords:
        """The task over the language model; its head is trained, whatever else is."""
        words = self.words.load()
        tuned = AdaptedModule(words.model.body, self._adapter())
        words.model.drop_from(tuned.lowest_tuned(words.model.layers))
        tuned.report()
        task = self._task(self.words.model(words))
        task.tuned = tuned
        return task

    def make_baseline(self, loaded: Audited[SplitTexts], data: TextData) -> MaskedWords | None:
        """The task over the language model as it came."""
        if not self.cfg.baseline:
            return None
        kind = config.target("baseline", config.plain(self.cfg.baseline))
        assert isinstance(kind, type)
        return self._task(self.words.model(self.words.load(), kind))

    def tables(self, task: MaskedWords, loaded: Audited[SplitTexts]) -> dict[str, pl.DataFrame]:
        """What was said of each text of the test."""
        found = task.answers["test"]
        which = loaded.data.parts["test"][found.example.cpu().numpy()]
        columns = {"asked": found.asked, "right": found.right, "loss": found.loss}
        return {
            "test_texts": pl.DataFrame(
                {
                    "text": [loaded.data.texts[at] for at in which.tolist()],
                    **{name: column.cpu().numpy() for name, column in columns.items()},
                }
            )
        }

    def save_artifacts(self, task: MaskedWords, folder: Path) -> None:
        """Write the language model, an adapter merged into its weights, and its tokenizer."""
        assert task.tuned is not None
        if task.tuned.added:
            task.tuned.merge()
        left, began = folder / RUN_MODEL, find_model(self.words.name)
        with atomic_folder(left) as temporary:
            model: Any = task.model.words.model
            model.save_pretrained(temporary)
            self.tokenizer.save_pretrained(temporary)
            if (began / POOLING).is_file():  # how its states become a vector
                (temporary / POOLING.parent).mkdir()
                shutil.copy(began / POOLING, temporary / POOLING)
            seal(temporary)
            shutil.rmtree(left, ignore_errors=True)  # of this run, before it went on

    def parts(self) -> dict[str, str]:
        """Name and class of each part."""
        weights = sum(parameter.numel() for parameter in self.meta_model.parameters())
        name = type(self.meta_model).__name__
        return {
            "source": type(self.source).__name__,
            "texts": self.words.template,
            "protocol": type(self.protocol).__name__,
            "model": f"{name}, {weights:,} parameters of {self.words.name}",
        }

    def _catalogue(self, cache: Path) -> pl.DataFrame:
        """The columns that texts are made of: of each item, or each different one of clicks."""
        if not hasattr(self.source, "fields"):
            return prepare(self.source, cache).items
        table = prepare_clicks(self.source, cache)
        names = text_columns(table, self.source.fields, self.words.template)
        return table.rows.select(names).unique(maintain_order=True).collect()

    def _task(self, model: MaskedLM) -> MaskedWords:
        task = self._build(
            "task",
            model=model,
            optimizer=self._optimizer,
            schedule=self._schedule,
            metrics={stage: WordMetrics(self.measured) for stage in ("val", "test")},
            seed=self.cfg.seed,
        )
        assert isinstance(task, MaskedWords)
        return task


def _check_adapter(tuned: AdaptedModule) -> None:
    """Raise UserError unless something is tuned that a language model can be left with."""
    name, adapter = type(tuned.adapter).__name__, tuned.adapter
    if not tuned.names:
        raise UserError(
            f"adapter={name} tunes nothing of the language model, which task=mlm is about: say "
            "adapter=full, top_layers or lora."
        )
    if tuned.added and type(adapter).merge is Adapter.merge:
        raise UserError(
            f"adapter={name} puts something into the language model that cannot be added to its "
            "weights, so that nothing else could read it: say adapter=full, top_layers or lora."
        )
