"""InsuranceQA: questions of people about insurance, and answers of professionals.

Feng, Xiang, Glass, Wang & Zhou, ASRU 2015, "Applying Deep Learning to Answer Selection: A Study and
An Open Task"; version 2: 16,889 questions and 27,413 answers, which readable text of the source
archive ``insuranceqa_data`` 1.0 carries in English and Chinese.
"""

import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import polars as pl

from lightning_rec.data.fetch import Layout, PublicData
from lightning_rec.data.sources.pairs import Scale
from lightning_rec.data.sources.public import PublicSource
from lightning_rec.errors import UserError

ANSWERS, PARTS = "answers.json.gz", ("train.json.gz", "valid.json.gz", "test.json.gz")
INSURANCE_QA = PublicData(
    name="insurance_qa",
    title="InsuranceQA",
    licence="research only",
    users=16_865,
    items=27_413,
    events=27_987,
    megabytes=21.6,
    folders=("insurance-qa", "insuranceqa_data"),
    layouts=(Layout("archive", (ANSWERS, *PARTS)),),
)


@dataclass(eq=False, kw_only=True)
class InsuranceQA(PublicSource):
    """Questions and their answers: every pair is a relevant one.

    Args:
        language: ``en``, as they were written, or ``zh``, translated by a machine.
    """

    kind: ClassVar[str] = "pairs"
    public: ClassVar[PublicData] = INSURANCE_QA
    graded: ClassVar[bool] = False
    positive_from: ClassVar[float] = 1.0
    scale: ClassVar[Scale | None] = None

    language: Literal["en", "zh"] = "en"

    def settings(self) -> dict[str, Any]:
        """The language."""
        return {"language": self.language}

    def read(self, files: list[Path]) -> pl.DataFrame:
        """A row for each answer of a question. Raises UserError where a file is another one."""
        by_name = {file.name: file for file in files}
        answers = _read(by_name[ANSWERS])
        texts = {key: each.get(self.language) for key, each in answers.items()}
        rows: list[tuple[str, str, str | None]] = []
        for name in PARTS:
            for question in _read(by_name[name]).values():
                asked = question[self.language]
                rows += [(asked, str(key), texts.get(str(key))) for key in question["answers"]]
        schema = dict.fromkeys(("query", "item", "title"), pl.String)
        table = pl.DataFrame(rows, schema=schema, orient="row")
        plain = (pl.col(name).str.replace_all(r"\s+", " ").str.strip_chars() for name in schema)
        return table.select(plain).with_columns(relevance=pl.lit(1.0))


def _read(path: Path) -> dict[str, Any]:
    try:
        with gzip.open(path) as opened:
            found = json.load(opened)
        if all({"en", "zh"} <= each.keys() for each in found.values()):
            return dict(found)
    except (OSError, EOFError, ValueError, AttributeError) as error:
        raise UserError(f"{path} cannot be read ({error}): it is not InsuranceQA's.") from None
    raise UserError(f"{path} has other entries than en and zh: it is not InsuranceQA's.")
