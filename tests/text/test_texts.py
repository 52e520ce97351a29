"""Texts of a catalogue and their tokens."""

import logging
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from lightning_rec.assembly.language import load_language
from lightning_rec.data.text.hub import find_model
from lightning_rec.data.text.texts import Tokenized, tokenize, written
from lightning_rec.errors import UserError

CATALOGUE = pl.DataFrame(
    {
        "title": ["red lamp", None, "  ", "стол ニホンゴ"],
        "kinds": [["old", "new"], [], None, ["wood"]],
        "price": [1.5, None, None, 2.0],
    }
)


def test_a_row_is_written_as_the_template_says(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        texts = written(CATALOGUE, "{title}: {kinds}")
    assert texts == ["red lamp: old, new", "unknown", "unknown", "стол ニホンゴ: wood"]
    assert "2 of 4 texts are empty" in caplog.text
    assert written(CATALOGUE, "at {price}")[0] == "at 1.5"


@pytest.mark.parametrize(
    ("template", "hint"), [("title", "names no column"), ("{titel}", "Did you mean 'title'?")]
)
def test_a_template_that_names_nothing_is_refused(template: str, hint: str) -> None:
    with pytest.raises(UserError, match=hint.replace("?", r"\?")):
        written(CATALOGUE, template)


def test_tokens_are_those_of_each_text_alone(tiny_bert: Path, tmp_path: Path) -> None:
    tokenizer = load_language(tiny_bert).tokenizer
    texts = ["red lamp", "old", "a very large soft blue chair of wood", "", "red " * 50_000]
    tokens = tokenize(texts, tokenizer, 8)
    tokens.save(tmp_path / "tokens")
    tokens = Tokenized.load(tmp_path / "tokens")
    batch = tokens.take(np.array([4, 0, 3]))
    for row, text in enumerate(["red " * 50, "red lamp", ""]):
        alone = tokenizer(text, truncation=True, max_length=8)["input_ids"]
        assert batch.ids[row][batch.there[row]].tolist() == alone
        assert (batch.ids[row][~batch.there[row]] == tokenizer.pad_token_id).all()
    assert tokens.lengths.max() == 8


def test_a_model_that_is_not_there_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_bert: Path
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match="no folder, and the Hugging Face hub does not bring it"):
        find_model("nobody/has-this-model")
    with pytest.raises(UserError, match=r"has no config\.json"):
        find_model(str(tmp_path))
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text((tiny_bert / "config.json").read_text())
    with pytest.raises(UserError, match="cannot be read"):
        load_language(broken)


def test_a_tokenizer_of_another_model_is_refused(tiny_bert: Path, tmp_path: Path) -> None:
    import transformers

    settings = transformers.BertConfig(vocab_size=10, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)  # fmt: skip
    transformers.BertModel(settings).save_pretrained(tmp_path)
    transformers.AutoTokenizer.from_pretrained(tiny_bert).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="do not belong together"):
        load_language(tmp_path)


def test_pooling_is_what_the_model_was_made_for(
    tiny_bert: Path, tiny_gpt: Path, tmp_path: Path
) -> None:
    assert load_language(tiny_bert).encoder.pooling == "mean"
    assert load_language(tiny_gpt).encoder.pooling == "last"
    noted = tmp_path / "noted"
    noted.mkdir()
    for file in tiny_bert.iterdir():
        (noted / file.name).write_bytes(file.read_bytes())
    (noted / "1_Pooling").mkdir()
    (noted / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    assert load_language(noted).encoder.pooling == "cls"
