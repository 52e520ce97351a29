"""Texts of a catalogue and their tokens."""

import logging
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file, save_file

from lightning_rec.data.templates import render_template
from lightning_rec.errors import UserError
from lightning_rec.language.cached import agrees, read_lower
from lightning_rec.language.encoder import TextEncoder, check_length
from lightning_rec.language.hub import find_model
from lightning_rec.language.load import load_language, load_words
from lightning_rec.language.tokens import Tokens, tokenize

CATALOGUE = pl.DataFrame(
    {
        "title": ["red lamp", None, "  ", "стол ニホンゴ"],
        "kinds": [["old", "new"], [], None, ["wood"]],
        "price": [1.5, None, None, 2.0],
    }
)


def test_a_row_is_written_as_the_template_says(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        texts = render_template(CATALOGUE, "{title}: {kinds}")
    assert texts == ["red lamp: old, new", "unknown", "unknown", "стол ニホンゴ: wood"]
    assert "2 of 4 texts are empty" in caplog.text
    assert render_template(CATALOGUE, "at {price}")[0] == "at 1.5"


def test_a_column_of_titles_is_told_by_the_name_that_it_has_here() -> None:
    with pytest.raises(UserError, match=r"no column 'Titel'\. What data\.catalogue_title names is called \{title\} here"):  # fmt: skip
        render_template(CATALOGUE, "{Titel}")


@pytest.mark.parametrize(
    ("template", "hint"), [("title", "names no column"), ("{titel}", "Did you mean 'title'?")]
)
def test_a_template_that_names_nothing_is_refused(template: str, hint: str) -> None:
    with pytest.raises(UserError, match=hint.replace("?", r"\?")):
        render_template(CATALOGUE, template)


def test_tokens_are_those_of_each_text_alone(tiny_bert: Path) -> None:
    tokenizer = load_language(tiny_bert).tokenizer
    texts = ["red lamp", "old", "a very large soft blue chair of wood", "", "red " * 50_000]
    tokens = tokenize(texts, tokenizer, 8)
    batch = tokens.take(np.array([4, 0, 3]))
    for row, text in enumerate(["red " * 50, "red lamp", ""]):
        alone = tokenizer(text, truncation=True, max_length=8)["input_ids"]
        assert batch.ids[row][batch.mask[row]].tolist() == alone
        assert (batch.ids[row][~batch.mask[row]] == tokenizer.pad_token_id).all()
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


@pytest.mark.parametrize("lost", ["layer.2", "all"])
def test_weights_that_are_not_there_are_told(lost: str, tiny_bert: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bert"
    shutil.copytree(tiny_bert, folder)
    weights = load_file(folder / "model.safetensors")
    kept = {name if lost != "all" else f"0.{name}": value for name, value in weights.items() if lost not in name}  # fmt: skip
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"lacks \d+ weights of its model, such as em?[bn]"):
        load_language(folder)
    with pytest.raises(UserError, match=r"lacks \d+ weights of its model"):
        load_words(folder, "masked")


def test_places_before_the_first_token_are_not_counted(tiny_bert: Path) -> None:
    import transformers

    settings = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "max_position_embeddings": 34}  # fmt: skip
    for kind, most in (("Roberta", 32), ("MPNet", 32), ("Bert", 34)):
        model = getattr(transformers, f"{kind}Model")(getattr(transformers, f"{kind}Config")(**settings))  # fmt: skip
        encoder = TextEncoder(model)
        check_length(encoder, "max_tokens", most)
        there = torch.ones(1, most, dtype=torch.bool)
        assert encoder(Tokens(torch.full((1, most), 7), there)).isfinite().all()
        with pytest.raises(UserError, match=f"max_tokens={most + 1}: .* reads {most} tokens"):
            check_length(encoder, "max_tokens", most + 1)


def test_a_tokenizer_that_is_not_there_or_knows_no_mask_is_told(
    tiny_bert: Path, tiny_gpt: Path, tmp_path: Path
) -> None:
    for file in ("config.json", "model.safetensors"):
        shutil.copy(tiny_bert / file, tmp_path / file)
    with pytest.raises(UserError, match=r"no tokenizer: one of tokenizer\.json, vocab"):
        load_language(tmp_path)
    for path in tiny_gpt.glob("tokenizer*"):
        shutil.copy(path, tmp_path / path.name)
    with pytest.raises(UserError, match=r"no token for them .*do not belong together"):
        load_language(tmp_path)


def test_of_an_encoder_decoder_the_encoder_reads(tiny_bert: Path, tmp_path: Path) -> None:
    import transformers

    settings = transformers.T5Config(vocab_size=50, d_model=16, d_kv=8, d_ff=32, num_layers=3, num_heads=2, pad_token_id=0)  # fmt: skip
    whole = transformers.T5Model(settings)
    whole.save_pretrained(tmp_path)
    transformers.AutoTokenizer.from_pretrained(tiny_bert).save_pretrained(tmp_path)
    encoder, tokenizer, _ = load_language(tmp_path)
    tokens = tokenize(["red lamp", "a very large chair"], tokenizer, 16)
    some = tokens.take(np.arange(2))
    with torch.no_grad():
        states = whole.eval().encoder(some.ids, some.mask.long()).last_hidden_state
        torch.testing.assert_close(encoder(some), encoder.pool(states, some.mask))
    # The lowest layer makes what all others are told of places: none can be gone on from.
    assert not agrees(encoder, tokens, read_lower(encoder, tokens, 1, tmp_path / "lower"))


def test_columns_that_say_nothing_leave_no_trace() -> None:
    some = pl.DataFrame({"title": ["lamp", "", "-40 °C", None], "kinds": [[], ["old", "new"], ["x"], None]})  # fmt: skip
    assert render_template(some, "{title}, {kinds}") == ["lamp", "old, new", "-40 °C, x", "unknown"]


def test_texts_of_nothing_but_strange_words_are_counted(
    tiny_bert: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tokenizer = load_language(tiny_bert).tokenizer
    tokenize(["red lamp", "xyz lamp", ""], tokenizer, 8)
    assert not caplog.text
    tokenize(["red lamp", "стол 灯", "xyz lamp", "", "xyz"], tokenizer, 8)
    assert "2 of 5 texts have no word that the language model knows" in caplog.text


def test_there_must_be_room_for_a_word(tiny_bert: Path) -> None:
    tokenizer = load_language(tiny_bert).tokenizer
    with pytest.raises(UserError, match="no room for words beside 2 special ones"):
        tokenize(["red lamp"], tokenizer, 2)
    assert tokenize(["red lamp"], tokenizer, 2, special=False).lengths.tolist() == [2]


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
    for told in ('{"pooling_mode_max_tokens": true}', "{}", "[]"):
        (noted / "1_Pooling" / "config.json").write_text(told)
        with pytest.raises(UserError, match=r"which is not built: say which of mean, cls, last"):
            load_language(noted)
        assert load_language(noted, "mean").encoder.pooling == "mean"
    (noted / "1_Pooling" / "config.json").write_text("{")
    with pytest.raises(UserError, match="is not JSON"):
        load_language(noted)


def test_without_a_network_the_hub_is_not_tried(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hub = pytest.importorskip("huggingface_hub")
    asked: list[str] = []

    def nowhere(*_: object) -> None:
        raise OSError(-2, "Name or service not known")

    def snapshot(name: str, local_files_only: bool = False, **_: object) -> str:
        asked.append("here" if local_files_only else "hub")
        if local_files_only and name == "some/copy":
            return str(tmp_path)
        raise ValueError("not here")

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr("lightning_rec.language.hub.getproxies", dict)
    monkeypatch.setattr("socket.getaddrinfo", nowhere)
    monkeypatch.setattr(hub, "snapshot_download", snapshot)
    with pytest.raises(UserError, match="there is no network"):
        find_model("some/model")
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).touch()
    assert find_model("some/copy") == tmp_path
    assert asked == ["here", "here"]
