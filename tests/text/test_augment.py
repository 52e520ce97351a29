"""Texts changed for training: by which words, how often, and never where something is asked.

The oracle of the operations is a re-statement of EDA's official code (jasonwei20/eda_nlp@04ab29c, code/eda.py): both are drawn
from many times, and what comes out has to come out as often.
"""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from languages import WORDS, language

from lightning_rec.errors import UserError
from lightning_rec.language.augment import operations
from lightning_rec.language.augment.operations import Synonyms
from lightning_rec.language.augment.texts import Around, Augmentation
from lightning_rec.language.augment.translation import translated
from lightning_rec.language.augment.wordnet import WordNet, replaceable
from lightning_rec.language.load import load_language
from lightning_rec.language.tokens import tokenize

pytest.importorskip("transformers")
DRAWS = 20_000
# Words 0 to 4 have synonyms but for 3; 5 and above are the synonyms.
KNOWN = {0: [5, 6], 1: [7], 2: [8, 9, 10], 3: [], 4: [11]}
SYNONYMS = Synonyms(
    np.append(0, np.cumsum([len(KNOWN[word]) for word in KNOWN])),
    np.array([each for word in KNOWN for each in KNOWN[word]]),
)
Words = list[int]


def eda_replacement(words: Words, n: int) -> Words:
    new, replaced = list(words), 0
    for word in random.sample(sorted(set(words)), len(set(words))):
        if KNOWN[word]:
            synonym = random.choice(KNOWN[word])
            new = [synonym if each == word else each for each in new]
            replaced += 1
        if replaced >= n:
            break
    return new


def eda_deletion(words: Words, p: float) -> Words:
    if len(words) == 1:
        return words
    return [word for word in words if random.uniform(0, 1) > p] or [random.choice(words)]


def eda_swap(words: Words, n: int) -> Words:
    """But that two different places are always found; the official loop gives up now and then."""
    words = list(words)
    for _ in range(n if len(words) > 1 else 0):
        one, other = random.sample(range(len(words)), 2)
        words[one], words[other] = words[other], words[one]
    return words


def eda_insertion(words: Words, n: int) -> Words:
    """But that the synonym is drawn, where the official code takes the first of a set."""
    words = list(words)
    for _ in range(n):
        able = [word for word in words if KNOWN.get(word)]
        if able:
            words.insert(random.randrange(len(words)), random.choice(KNOWN[random.choice(able)]))
    return words


def draw(*shape: int) -> Any:
    return torch.rand(shape, dtype=torch.float64).numpy()


OPERATIONS: dict[str, tuple[Callable[..., Any], Callable[[Words, float], Words]]] = {
    "replace": (
        lambda words, alpha: operations.replace(words, alpha, draw, SYNONYMS),
        lambda words, alpha: eda_replacement(words, max(1, int(alpha * len(words)))),
    ),
    "delete": (lambda words, alpha: operations.delete(words, alpha, draw), eda_deletion),
    "swap": (
        lambda words, alpha: operations.swap(words, alpha, draw),
        lambda words, alpha: eda_swap(words, max(1, int(alpha * len(words)))),
    ),
    "insert": (
        lambda words, alpha: operations.insert(words, alpha, draw, SYNONYMS),
        lambda words, alpha: eda_insertion(words, max(1, int(alpha * len(words)))),
    ),
}


@pytest.mark.parametrize("words", [[0, 1, 2, 3], [0, 0, 1, 4, 3], [2, 3], [3], [4]])
@pytest.mark.parametrize("alpha", [0.1, 0.5])
@pytest.mark.parametrize("name", OPERATIONS)
def test_each_operation_is_edas(name: str, alpha: float, words: Words) -> None:
    ours, official = OPERATIONS[name]
    torch.manual_seed(0)
    random.seed(0)
    padded = np.array([[*words, -1, -1]] * DRAWS)  # as beside a longer text
    made = Counter(tuple(each[each >= 0].tolist()) for each in ours(padded, alpha))
    theirs = Counter(tuple(official(words, alpha)) for _ in range(DRAWS))
    support = made.keys() | theirs.keys()
    apart = sum(abs(made[each] - theirs[each]) for each in support) / (2 * DRAWS)
    assert apart < 1.2 * (len(support) / DRAWS) ** 0.5  # on average about half of that
    assert all(made[each] for each in support if theirs[each] > 20)


def test_how_many_words_change_is_as_expected() -> None:
    torch.manual_seed(1)
    words = np.tile(np.arange(5).repeat([2, 2, 2, 2, 2]), (DRAWS, 1))
    lost = 1 - (operations.delete(words, 0.2, draw) >= 0).mean()
    assert lost == pytest.approx(0.2, abs=0.005)
    changed = (operations.replace(words, 0.2, draw, SYNONYMS) != words).mean(axis=1)
    assert (changed == 0.4).all()  # two words, each of which is there twice
    swapped = operations.swap(words, 0.1, draw)
    assert ((swapped != words).sum(axis=1) <= 2).all()
    assert (np.sort(swapped) == words).all()
    longer = operations.insert(words, 0.3, draw, SYNONYMS)
    assert ((longer >= 5).sum(axis=1) == 3).all()
    kept = [row[row < 5][: words.shape[1]].tolist() for row in longer[:100]]
    assert all(each == words[0].tolist() for each in kept)


@pytest.fixture(scope="module")
def wordnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of four kinds in WordNet's format, with a licence at its head."""
    folder = tmp_path_factory.mktemp("wordnet")
    synsets = {
        "noun": [["lamp", "light"], ["chair", "hot_seat"], ["door"], ["girl", "gal"], ["box", "case-12"]],
        "verb": [["light", "lite_up"]],
        "adj": [["red", "reddish(a)"], ["5/8"]],
        "adv": [],
    }  # fmt: skip
    for kind, each in synsets.items():
        data, index = "  1 This is no part of it\n", "  1 Nor is this | it\n"
        places: dict[str, list[str]] = {}
        for number, words in enumerate(each):
            place = f"{number + 1:08d}"
            pairs = " ".join(f"{word} 0" for word in words)
            data += f"{place} 06 n {len(words):02x} {pairs} 000 | a gloss; lamp and chair\n"
            for word in words:
                places.setdefault(word.split("(")[0].lower(), []).append(place)
        for word, at in sorted(places.items()):
            index += f"{word} n {len(at)} 1 @ {len(at)} 0 {' '.join(at)}  \n"
        (folder / f"data.{kind}").write_text(data)
        (folder / f"index.{kind}").write_text(index)
    (folder / "noun.exc").write_text("lampae lamp\n")
    return folder


def test_synonyms_of_a_word_and_of_its_forms(wordnet: Path) -> None:
    known = WordNet(wordnet)
    assert known.synonyms("lamp") == ["light"]
    assert known.synonyms("light") == ["lamp", "lite up"]
    assert known.synonyms("lamps") == ["lamp", "light"]
    assert known.synonyms("boxes") == ["box", "case"]  # letters and blanks are left
    assert known.synonyms("lampae") == ["lamp", "light"]
    assert known.synonyms("lighted") == ["light", "lite up"]
    assert known.synonyms("red") == ["reddish"]
    assert known.synonyms("door") == []
    assert known.synonyms("nothing") == []


@pytest.mark.parametrize(
    "word", ["2x4", "5/8", "in.", "gal", "GAL", "12", "the", "1-3", "3M", "x", "KL-7", "No.5"]
)
def test_numbers_units_and_models_are_never_replaced(word: str) -> None:
    assert replaceable(word) is None


def test_what_stands_around_a_word_stays() -> None:
    assert replaceable("(Lamp),") == ("(", "lamp", "),")
    assert replaceable("hot-seat") == ("", "hot-seat", "")


TEXTS = [" ".join(WORDS[start : start + 1 + start % 7]) for start in range(20, 40)]
TEXTS += ["Red lamp 2x4, 5/8 in. chair", "", "lamp", "unheard-of words", "the 12 gal lamp"]


def read(folder: Path, longest: int, special: bool = True, **settings: Any) -> tuple[Any, Any]:
    """The texts as they are changed, and as they are."""
    tokenizer = load_language(folder).tokenizer
    around = Around.of(tokenizer, longest, special)
    made = Augmentation(**settings).read(TEXTS, np.arange(0), tokenizer, around, folder)
    return made, tokenize(TEXTS, tokenizer, longest, special)


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
@pytest.mark.parametrize(("longest", "special"), [(64, True), (5, True), (5, False)])
def test_words_put_together_are_the_text(
    kind: str, longest: int, special: bool, tiny_bert: Path, tiny_gpt: Path
) -> None:
    made, plain = read({"bert": tiny_bert, "gpt2": tiny_gpt}[kind], longest, special)
    which = np.random.default_rng(0).permutation(len(TEXTS))
    same, expected = replace(made, share=0.0).take(which), plain.take(which)
    assert torch.equal(same.ids, expected.ids)
    assert torch.equal(same.mask, expected.mask)


def test_synonyms_stand_where_words_stood(tiny_bert: Path, wordnet: Path) -> None:
    only = {"deletion": 0, "swap": 0, "synonyms": 1.0, "share": 1.0, "wordnet": str(wordnet)}
    made, _ = read(tiny_bert, 64, **only)
    tokenizer = load_language(tiny_bert).tokenizer
    told = tokenizer.batch_decode(made.take(np.arange(20, 25)).ids, skip_special_tokens=True)
    expected = ["[UNK] light 2x4, 5/8 in. [UNK] [UNK]", "", "light", TEXTS[23], "the 12 gal light"]
    for text, wanted in zip(told, expected, strict=True):
        bare = tokenizer(wanted.replace("[UNK]", "strange"), add_special_tokens=False)
        assert text == tokenizer.decode(bare["input_ids"], skip_special_tokens=True)


def test_a_share_is_changed_by_each_way_alike(tiny_bert: Path) -> None:
    made, plain = read(tiny_bert, 64, deletion=1.0, swap=0.1, share=0.6)
    torch.manual_seed(0)
    which = np.full(6000, 7)  # of seven words
    lengths = made.take(which).mask.sum(dim=1)
    assert (lengths == 3).float().mean() == pytest.approx(0.3, abs=0.02)  # one word is left
    assert (lengths == 9).float().mean() == pytest.approx(0.7, abs=0.02)
    ids, untouched = made.take(which).ids, plain.take(which).ids
    same = (ids.shape == untouched.shape) and (ids == untouched).all(dim=1).float().mean()
    assert same == pytest.approx(0.4, abs=0.02)
    torch.manual_seed(0)
    first = made.take(which).ids
    torch.manual_seed(0)
    assert torch.equal(first, made.take(which).ids)


def marian(folder: Path, seed: int) -> Path:
    """A random Marian model over the tiny words."""
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(language("bert", folder))
    torch.manual_seed(seed)
    settings = transformers.MarianConfig(
        vocab_size=len(tokenizer), d_model=16, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=16,
        decoder_ffn_dim=16, encoder_attention_heads=2, decoder_attention_heads=2, init_std=2.0, pad_token_id=0,
        eos_token_id=3, bos_token_id=2, decoder_start_token_id=0, forced_eos_token_id=3, max_position_embeddings=160,
    )  # fmt: skip
    transformers.MarianMTModel(settings).save_pretrained(folder)
    return folder


def test_back_translation_is_read_once_and_is_one_of_the_ways(tmp_path: Path) -> None:
    there, back = marian(tmp_path / "there", 0), marian(tmp_path / "back", 1)
    models = (str(there), str(back))
    texts = TEXTS[:6]
    found = translated(texts, models, tmp_path)
    assert len(found) == 6
    assert all(found)
    assert found != texts
    transformers = pytest.importorskip("transformers")
    expected = texts[3]
    for folder in (there, back):  # alone, without padding: what came back in a batch
        model = transformers.MarianMTModel.from_pretrained(folder).eval()
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        ids = tokenizer(expected, return_tensors="pt", return_token_type_ids=False)
        said = model.generate(**ids, do_sample=False, max_new_tokens=128)
        expected = tokenizer.decode(said[0], skip_special_tokens=True).strip()
    assert found[3] == expected
    (kept,) = (path for path in (tmp_path / "texts").glob("translated-*") if path.is_dir())
    written = (kept / "texts.parquet").stat().st_mtime_ns
    assert translated(texts, models, tmp_path) == found
    assert (kept / "texts.parquet").stat().st_mtime_ns == written

    tokenizer = load_language(language("bert", tmp_path / "bert")).tokenizer
    only = Augmentation(deletion=0, swap=0, translate=models, share=1.0)
    some = np.array([0, 3])  # the others are not learnt from, and stay
    made = only.read(texts, some, tokenizer, Around.of(tokenizer, 200, True), tmp_path)
    part = translated([texts[0], texts[3]], models, tmp_path)
    wanted = [part[0], texts[1], texts[2], part[1]]
    assert torch.equal(
        made.take(np.arange(4)).ids, tokenize(wanted, tokenizer, 200).take(np.arange(4)).ids
    )


def test_what_cannot_be_is_refused(tmp_path: Path, tiny_bert: Path) -> None:
    with pytest.raises(ValueError, match="nothing is changed"):
        Augmentation(deletion=0, swap=0)
    with pytest.raises(UserError, match=r"augment.wordnet=FOLDER"):
        Augmentation(synonyms=0.1)
    with pytest.raises(UserError, match=r"has no index.noun.*wordnet-base"):
        read(tiny_bert, 16, synonyms=0.1, wordnet=str(tmp_path))
    for kind in ("noun", "verb", "adj", "adv"):
        (tmp_path / f"index.{kind}").write_text("a,b\n1,2\n")
        (tmp_path / f"data.{kind}").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="no file of WordNet's"):
        read(tiny_bert, 16, synonyms=0.1, wordnet=str(tmp_path))
    with pytest.raises(UserError, match="translation model"):
        translated(["lamp"], (str(tmp_path), str(tmp_path)), tmp_path / "cache")
