"""The problem of masked words: a language model goes on learning from the texts of a catalogue."""

from pathlib import Path
from typing import Annotated, ClassVar

import polars as pl
import torch
from omegaconf import DictConfig
from pydantic import Field, PositiveFloat

from lightning_rec import config
from lightning_rec.adapters.base import AdaptedModule
from lightning_rec.data.clicks.items import text_columns
from lightning_rec.data.clicks.table import prepare_clicks
from lightning_rec.data.core.audited import Audited
from lightning_rec.data.prepare import prepare
from lightning_rec.data.templates import render_template
from lightning_rec.data.texts import RandomTexts, audit_texts
from lightning_rec.files import sha256_json
from lightning_rec.language.batches import SplitTexts, TextData
from lightning_rec.language.hub import find_model
from lightning_rec.language.load import words_loader
from lightning_rec.language.tokens import tokenize
from lightning_rec.metrics.measure import names_of
from lightning_rec.metrics.words import WordMetrics
from lightning_rec.models.text.masked_lm import MaskedLM
from lightning_rec.problems.base import Problem
from lightning_rec.problems.left_language import check_adapter, leave
from lightning_rec.tasks.base import Arithmetic, Task
from lightning_rec.tasks.mlm import WordSteps


class MaskedWords(Problem[Audited[SplitTexts]]):
    """Mask words of the catalogue's texts and predict them; a language model is what it leaves.

    No interaction is read: the catalogue alone, all of it. So what is learnt here can be used under
    every protocol, as the language model that was there before.

    Args:
        cfg, tuned_lr, arithmetic: see :class:`Problem`.
        mask_prob: share of the words of each text that are masked, at least one.
    """

    name: ClassVar = "mlm"
    takes: ClassVar = {
        "data": ("interactions", "clicks", "pairs"),
        "protocol": ("texts",),
        "model": ("masked_words",),
        "loss": ("masked_words",),
    }
    batches: ClassVar = TextData
    metric: ClassVar = WordMetrics
    protocol: RandomTexts
    meta_model: MaskedLM

    def __init__(
        self,
        cfg: DictConfig,
        mask_prob: Annotated[float, Field(gt=0, lt=1)] = 0.15,
        tuned_lr: PositiveFloat | None = None,
        arithmetic: Arithmetic = "fast",
    ) -> None:
        super().__init__(cfg, tuned_lr, arithmetic)
        self.mask_prob = mask_prob
        if cfg.baseline:
            config.expect("baseline", config.plain(cfg.baseline), MaskedLM)
        self.meta_model = self._part("model", load_words=words_loader(meta=True))
        with torch.device("meta"):
            adapted = AdaptedModule(self.meta_model.words.body, self.adapter)
        check_adapter(adapted, self.adapter, "task=mlm")
        self.check()

    def known_figures(self) -> list[str]:
        """Names of the figures of validation."""
        return [f"val/{name}" for name in names_of(self.measured, ())]

    def load(self, cache: Path) -> Audited[SplitTexts]:
        """The texts of the whole catalogue, in parts."""
        model = self.meta_model
        texts = render_template(self._catalogue(cache), model.template)
        tokens = tokenize(texts, model.tokenizer, model.max_tokens)
        parts = self.protocol.assign(texts)
        return Audited(
            name=self.source.name,
            data_hash=sha256_json(texts),  # all that is learnt from
            data=SplitTexts(texts, tokens, parts),
            counts={f"{name} texts": len(which) for name, which in parts.items()},
            facts=audit_texts(texts, int(tokens.offsets[-1]), parts),
            validates=len(parts["val"]) > 0,
        )

    def make_data(self, loaded: Audited[SplitTexts]) -> TextData:
        """The batches of audited texts."""
        tokens, parts = loaded.data.tokens, loaded.data.parts
        return self._build("batches", tokens=tokens, parts=parts, seed=self.cfg.seed)

    def make_task(self, loaded: Audited[SplitTexts], data: TextData) -> Task:
        """The task over the language model; its head is trained, whatever else is."""
        model: MaskedLM = self._part("model", load_words=words_loader(meta=False))
        adapted = AdaptedModule(model.words.body, self.adapter)
        model.words.drop_from(adapted.lowest_tuned(model.words.layers))
        adapted.report()
        return self.task(self._steps(), model, self.make_loss(), adapted=adapted)

    def make_baseline(self, loaded: Audited[SplitTexts], data: TextData) -> Task | None:
        """The task over the language model as it came."""
        if not self.cfg.baseline:
            return None
        settings = config.plain(self.cfg.model) | config.plain(self.cfg.baseline)
        model = config.build("baseline", settings, load_words=words_loader(meta=False))
        return self.task(self._steps(), model, None)

    def tables(self, task: Task, loaded: Audited[SplitTexts]) -> dict[str, pl.DataFrame]:
        """What was predicted of each text of the test."""
        assert isinstance(task.steps, WordSteps)
        answers = task.steps.answers["test"]._asdict()
        columns = {name: values.cpu().numpy() for name, values in answers.items()}
        which = loaded.data.parts["test"][columns.pop("example")]
        texts = [loaded.data.texts[number] for number in which.tolist()]
        return {"test_texts": pl.DataFrame({"text": texts, **columns})}

    def save_artifacts(self, task: Task, folder: Path) -> None:
        """Write the language model, an adapter merged into its weights, and its tokenizer."""
        assert task.adapted is not None
        assert isinstance(task.model, MaskedLM)
        began = find_model(self.meta_model.name)
        model, tokenizer = task.model.words.model, self.meta_model.tokenizer
        leave(task.adapted, model, tokenizer, folder, began)

    def described(self) -> dict[str, str]:
        """Name and class of each part."""
        shown, model = super().described(), self.meta_model
        named = {"model": f"{shown.pop('model')} of {model.name}"}
        return shown | {"texts": model.template} | named

    def _catalogue(self, cache: Path) -> pl.DataFrame:
        """The columns that texts are made of: of each item, or each different one of clicks."""
        if self.source.kind != "clicks":
            return prepare(self.source, cache).items
        table = prepare_clicks(self.source, cache)
        names = text_columns(table, self.source.fields, self.meta_model.template)
        return table.rows.select(names).unique(maintain_order=True).collect()

    def _steps(self) -> WordSteps:
        metrics = {stage: WordMetrics(self.measured) for stage in ("val", "test")}
        return WordSteps(metrics, self.mask_prob)
