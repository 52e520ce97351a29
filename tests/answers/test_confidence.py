"""Whether an answer fits: facts, curve and threshold by hand, and a run that says nothing."""

import itertools
import json
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from omegaconf import OmegaConf

from lightning_rec import cli, load_run
from lightning_rec.answers.confidence import (
    Answering,
    Asked,
    Confidence,
    ask,
    facts_of,
    fit,
    fit_logistic,
    read_confidence,
)
from lightning_rec.answers.selective import accuracy_over_coverage, aurc, measured
from lightning_rec.errors import UserError
from lightning_rec.predict.matching import MatchPredictor

for library in ("bm25s", "Stemmer", "transformers"):
    pytest.importorskip(library)
WORDS = [
    a + b for a in ("ba", "do", "gi", "ku", "le", "mo") for b in ("ra", "ni", "tu", "so", "va")
]


@pytest.fixture(scope="module")
def rows() -> pl.DataFrame:
    """400 questions of two to four words of their answer, some of them spoilt; a word is in many."""
    chance, found = random.Random(2), []
    for item in range(250):
        words = chance.sample(WORDS, 6)
        for _ in range(chance.choice([1, 2])):
            asked = chance.sample(words, chance.choice([2, 3, 4]))
            if chance.random() < 0.3:
                asked[0] = chance.choice(WORDS)
            found.append((" ".join(asked), f"a{item}", " ".join(words)))
    return pl.DataFrame(found, schema=["question", "item", "answer"], orient="row")


@pytest.fixture(scope="module")
def run(rows: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("answers")
    rows.write_csv(folder / "pairs.csv")
    about = [
        "data=pairs", f"data.path={folder / 'pairs.csv'}", "data.query=question", "data.title=answer",
        "data.item=item", "model=bm25", "protocol.val=0.4", "protocol.test=0.3", "logger=none",
        "protocol.cutoffs=[1,10]", "task.ranked=[val,test]", "monitor=val/ndcg@10", "baseline=null",
    ]  # fmt: skip
    assert cli.run(["train", *about, "trainer=cpu", f"run_dir={folder / 'run'}"]) == 0
    return folder / "run"


@pytest.fixture(scope="module")
def model(run: Path) -> MatchPredictor:
    found = load_run(run)
    assert isinstance(found, MatchPredictor)
    return found


@pytest.fixture(scope="module")
def sure(run: Path) -> Path:
    path = run.parent / "sure.json"
    said = ["answer", f"model={run}", "--fit", str(run), f"to={path}", "accuracy=0.7"]
    assert cli.run([*said, "unanswerable=0.25"]) == 0
    return path


def test_facts_are_those_by_hand() -> None:
    scores = {"x": [5.0, 3, 2, 2, 1, 1, 1, 1, 1, 1, 0.5, 0.1], "one two": [2.0]}
    found = pl.concat(
        pl.DataFrame({"query": query, "rank": range(len(own), 0, -1), "score": own[::-1]})
        for query, own in scores.items()
    )
    facts = facts_of(["one two", "nothing here at all", "x"], found)
    assert facts[0].tolist() == pytest.approx([2, 0, 0, math.log(3)])
    assert np.isnan(facts[1, :3]).all()
    others = np.mean([3, 2, 2, 1, 1, 1, 1, 1, 1])
    assert facts[2].tolist() == pytest.approx([5, 2, 5 - others, math.log(2)])


def test_the_regression_is_sklearns() -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    chance = np.random.default_rng(0)
    facts = chance.normal(size=(300, 4))
    right = chance.random(300) < 1 / (1 + np.exp(-facts @ [1.0, -0.5, 0, 2] - 0.3))
    weight, bias = fit_logistic(facts, right)
    theirs = linear.LogisticRegression(C=1 / (2 * 1e-3 * 300), tol=1e-9).fit(facts, right)
    assert weight == pytest.approx(theirs.coef_[0].tolist(), abs=1e-3)
    assert bias == pytest.approx(float(theirs.intercept_[0]), abs=1e-3)


def test_risk_over_coverage_is_the_mean_over_orders_of_the_equally_sure() -> None:
    sure = np.array([0.9, 0.5, 0.5, 0.5, 0.2, 0.2])
    right = np.array([True, False, True, True, True, False])
    curves = []
    for order in itertools.permutations(range(6)):
        if (np.diff(sure[list(order)]) <= 0).all():
            curves.append(np.cumsum(right[list(order)]) / np.arange(1, 7))
    assert len(curves) == 12
    assert accuracy_over_coverage(sure, right) == pytest.approx(np.mean(curves, 0))
    assert aurc(sure, right) == pytest.approx(1 - np.mean(curves))


def test_the_threshold_is_the_lowest_that_is_right_often_enough() -> None:
    chance = np.random.default_rng(1)
    facts = np.round(chance.normal(size=(400, 4)), 1)
    right = chance.random(400) < 1 / (1 + np.exp(-2 * facts[:, 0]))
    facts[:20] = np.nan  # nothing was found
    right[:20] = False
    asked = Asked([""] * 400, facts, right, np.ones(400, bool))
    made = fit(asked, 0.8, "m")
    sure = made.of(facts)
    assert (sure[:20] == 0).all()
    good = [
        each
        for each in np.unique(sure[20:])
        if right[sure >= each].mean() >= 0.8 and (sure >= each).sum() >= 20
    ]
    assert made.least == min(good)
    told = measured(asked, made)
    given = sure >= made.least
    assert told["coverage"] == pytest.approx(given.mean())
    assert told["answered_accuracy"] == pytest.approx(right[given].mean())
    assert told["low"] < told["answered_accuracy"] < told["high"]
    assert told["aurc_best"] <= told["aurc"] <= 1 - right.mean() + 0.02
    with pytest.raises(UserError, match="no threshold reaches it"):
        fit(Asked([""] * 400, facts, chance.random(400) < 0.3, asked.answerable), 0.9, "m")
    with pytest.raises(UserError, match="50 are needed"):
        fit(Asked([""] * 30, facts[:30], right[:30], asked.answerable[:30]), 0.8, "m")
    with pytest.raises(UserError, match="To no question"):
        fit(Asked([""] * 400, facts, right & False, asked.answerable), 0.8, "m")


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_what_stands_first_where_answers_are_taken_away(
    model: MatchPredictor, rows: pl.DataFrame, share: float
) -> None:
    given = rows.select(query="question", item="item")
    asked = ask(model, given, share, seed=3, step=50)
    assert asked.queries == sorted(set(rows["question"]))
    assert asked.answerable.mean() == pytest.approx(1 - share, abs=0.08)
    for place, query in enumerate(asked.queries[:60]):
        own = set(given.filter(query=query)["item"])
        found = model.recommend([query], 40)
        if not asked.answerable[place]:
            found = found.filter(~pl.col("item").is_in(own))
        assert asked.right[place] == (len(found) > 0 and found["item"][0] in own)
        assert asked.right[place] <= asked.answerable[place]
        scores = found["score"].to_list()[:10]
        if len(scores) > 1:
            assert asked.facts[place, 0] == pytest.approx(scores[0])
            assert asked.facts[place, 1] == pytest.approx(scores[0] - scores[1])


def test_questions_that_were_learnt_from_are_not_measured(
    run: Path, sure: Path, rows: pl.DataFrame
) -> None:
    told = json.loads(sure.read_text())
    card = json.loads((run / "run.json").read_text())
    assert told["learnt"] == card["split"]["val queries"]
    assert told["test"]["questions"] == card["split"]["test queries"]
    assert told["asked"]["accuracy"] == 0.7
    assert {"commit", "dirty", "version", "finished"} <= told.keys()
    assert 0 < told["test"]["coverage"] < 1
    assert told["test"]["answered_accuracy"] > told["test"]["accuracy"]
    assert told["test"]["withheld"] > 1 - told["test"]["coverage"]
    assert told["test"]["aurc"] < 1 - told["test"]["accuracy"]
    assert sure.with_suffix(".png").exists()


def test_answers_and_silence(
    run: Path, sure: Path, rows: pl.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    good, odd = rows["answer"][0], "nobody wrote this"
    said = ["answer", f"model={run}", f"confidence={sure}"]
    assert cli.run([*said, good, odd]) == 0
    told = capsys.readouterr().out
    assert rows["item"][0] in told
    assert f"{odd}\n  Nothing fits (confidence 0.00)." in told
    assert cli.run([*said, "least=0.9999999", good]) == 0
    assert "Nothing fits" in capsys.readouterr().out
    answering = Answering(load_run(run), read_confidence(sure, _identity(run)))
    sureness, answers = answering.answer([good, odd], k=3)
    assert sureness["fits"].to_list() == [True, False]
    assert answers.equals(load_run(run).recommend([good, odd], 3))
    few = {"allow": [rows["item"][5], rows["item"][9]]}
    _, answers = answering.answer([good], k=3, rules=few)
    assert set(answers["item"]) <= set(few["allow"])


def test_what_was_turned_away_is_told(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = ["answer", f"model={run}", "--fit", str(run), f"to={tmp_path / 's.json'}"]
    assert cli.run([*said, "accuracy=0.7", "unanswerable=0.25"]) == 0
    share = json.loads((tmp_path / "s.json").read_text())["test"]["withheld"]
    told = f"Of the questions without a stored answer {share:.1%} were turned away."
    assert told in capsys.readouterr().out


def _identity(run: Path) -> str:
    from lightning_rec.bundle import identity_of

    return identity_of(run)


def test_a_question_whose_answers_nobody_knows_is_unanswerable(model: MatchPredictor) -> None:
    rows = {"query": ["bara doni", "bara doni", "gisu kutu"], "item": ["a1", "zz", "zz"]}
    asked = ask(model, rows)
    assert asked.queries == ["bara doni", "gisu kutu"]
    assert asked.answerable.tolist() == [True, False]
    assert not asked.right[1]


def test_the_questions_are_those_of_the_models_own_split(
    run: Path, rows: pl.DataFrame, tmp_path: Path
) -> None:
    """Another split may test on what the model was trained on."""
    config = OmegaConf.load(run / "config.yaml")
    again = [
        f"data.path={config.data.path}", "data=pairs", "data.query=question", "data.title=answer",
        "data.item=item", "model=bm25", "protocol.val=0.4", "protocol.test=0.3", "logger=none",
        "protocol.cutoffs=[1,10]", "task.ranked=[val,test]", "monitor=val/ndcg@10", "baseline=null",
    ]  # fmt: skip
    other = ["protocol.seed=5", "trainer=cpu", f"run_dir={tmp_path / 'other'}"]
    assert cli.run(["train", *again, *other]) == 0
    assert cli.run(["export", f"run={run}", f"to={tmp_path / 'bundle'}"]) == 0
    for folder in (run, tmp_path / "bundle"):
        said = ["answer", f"model={folder}", f"to={tmp_path / 's.json'}", "accuracy=0.5"]
        with pytest.raises(UserError, match="has another protocol_hash than"):
            cli.run([*said, "--fit", str(tmp_path / "other")])
    assert cli.run([*said, "--fit", str(run)]) == 0  # which the bundle was exported from


def test_rows_of_ones_own_and_bundles(
    run: Path, rows: pl.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows.select(query="question", item="item").write_csv(tmp_path / "rows.csv")
    assert cli.run(["export", f"run={run}", f"to={tmp_path / 'bundle'}"]) == 0
    said = ["answer", f"model={tmp_path / 'bundle'}", f"to={tmp_path / 's.json'}", "accuracy=0.7"]
    assert cli.run([*said, "--fit", str(tmp_path / "rows.csv")]) == 0
    told = json.loads((tmp_path / "s.json").read_text())
    once = rows["question"].n_unique()
    assert told["learnt"] + told["test"]["questions"] == once
    assert abs(told["learnt"] - once / 2) < 40
    asked = ["answer", f"model={tmp_path / 'bundle'}", f"confidence={tmp_path / 's.json'}"]
    capsys.readouterr()
    assert cli.run([*asked, rows["answer"][0]]) == 0
    assert rows["item"][0] in capsys.readouterr().out


def test_slips_are_told(run: Path, sure: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.json"
    kept = json.loads(sure.read_text())
    kept["confidence"]["scale"][0] = 0.0
    broken.write_text(json.dumps(kept))
    (tmp_path / "few.csv").write_text("query,item\nbara,a1\n")
    (tmp_path / "odd.csv").write_text("query,item\n" + "".join(f"q{n},zz\n" for n in range(150)))
    fitting = ["answer", f"model={run}", f"to={tmp_path / 'new.json'}", "--fit"]
    (tmp_path / "own.png").write_text("")
    asking = ["answer", f"model={run}"]
    for words, said in (
        (["answer", "model=nowhere", "x"], "nowhere"),
        ([*asking, "x"], "Say confidence=FILE"),
        (asking, "Say what is asked"),
        ([*asking, f"confidence={broken}", "x"], "holds none"),
        ([*asking, f"confidence={tmp_path / 'few.csv'}", "x"], "few.csv"),
        ([*asking, f"confidence={sure}", "least=2", "x"], "below 1"),
        ([*asking, f"confidence={sure}", "to=x.json", "x"], "is of --fit"),
        ([*asking, f"confidence={sure}", "size=3"], "put a blank before"),
        ([*asking, f"confidence={sure}", "k=0", "x"], "k=0: this run can find from 1 to"),
        ([*asking, f"confidence={sure}", "k=9999", "x"], "k=9999: this run can find from 1 to"),
        (["answer", f"model={run}", f"to={tmp_path / 'own.json'}", "--fit", str(run)], "own.png"),
        (["answer", f"model={run}", "to=x.png", "--fit", str(run)], "its name ends in .json"),
        ([*fitting, str(run), "accuracy=1"], "accuracy=1: say above 0, and below 1"),
        ([*fitting, str(run), "k=3"], "k= has no part in --fit"),
        ([*fitting, str(tmp_path / "few.csv")], "has 1 questions, and 100 are needed"),
        ([*fitting, str(tmp_path / "odd.csv")], "their ids are others"),
        ([*fitting, str(tmp_path / "none.csv")], "none.csv"),
        (["answer", f"model={run}", f"to={sure}", "--fit", str(run)], "exists"),
    ):
        with pytest.raises(UserError, match=said.replace(".", r"\.")):
            cli.run(words)
    assert not (tmp_path / "new.json").exists()
    other = Confidence((0,) * 4, (1,) * 4, (0,) * 4, 0.0, 0.5, "another")
    with pytest.raises(UserError, match="for another model"):
        read_confidence(sure, other.model)


def test_a_small_language_model_words_the_answer_and_its_source_is_shown(
    run: Path, sure: Path, tiny_gpt: Path, rows: pl.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    from lightning_rec.answers.wording import PROMPT, Wording

    worded = Wording(str(tiny_gpt), tokens=6)
    article = "the lamp is red and warm " * 20
    (words,) = worded.words(["is the lamp red"], [article])
    # By hand: the article is cut at its end, so that all of it is read; then the likeliest words.
    empty = PROMPT.format(article="", question="is the lamp red")
    room = 64 - 6 - len(worded.tokenizer(empty)["input_ids"])
    cut = worded.tokenizer.decode(worded.tokenizer(article)["input_ids"][:room])
    ids = worded.tokenizer(PROMPT.format(article=cut, question="is the lamp red"))["input_ids"]
    assert len(ids) == 64 - 6
    for _ in range(6):
        ids.append(int(worded.model(torch.tensor([ids])).logits[0, -1].argmax()))
        if ids[-1] == worded.tokenizer.eos_token_id:
            break
    assert words == worded.tokenizer.decode(ids[58:], skip_special_tokens=True).strip()
    with pytest.raises(UserError, match="ask a shorter one"):
        worded.words(["lamp " * 80], ["red"])
    with pytest.raises(UserError):
        Wording(str(run))
    said = ["answer", f"model={run}", f"confidence={sure}", f"wording={tiny_gpt}"]
    with pytest.raises(UserError, match="ask a shorter one"):
        cli.run([*said, rows["answer"][0]])  # whose prompt alone is longer than this model reads


def test_http_says_whether_it_fits(run: Path, sure: Path, rows: pl.DataFrame) -> None:
    for needed in ("fastapi", "uvicorn", "prometheus_client", "httpx"):
        pytest.importorskip(needed)
    import asyncio

    from serving.servers import Asking

    answering = Answering(load_run(run), read_confidence(sure, _identity(run)))

    async def begun() -> Asking:
        return Asking(run, confidence=sure)

    with asyncio.Runner() as runner:
        served = runner.run(begun())
        served.run = runner.run
        for query in (rows["answer"][0], rows["question"][7], "nobody wrote this"):
            told, answers = answering.answer([query], k=3)
            found = served("/search", {"query": query, "k": 3}).body
            assert found["fits"] == told["fits"][0]
            assert found["confidence"] == pytest.approx(told["confidence"][0])
            assert [row["item"] for row in found["items"]] == answers["item"].to_list()
        rules = {"explore": "epsilon:0.5"}
        found = served("/search", {"query": rows["question"][7], "rules": rules}).body
        assert found["items"]
        assert "fits" not in found  # chance has changed the order
        runner.run(served.close())


@pytest.mark.parametrize(
    "change",
    [
        {"bias": 10**400},
        {"mean": [10**400, 0, 0, 0]},
        {"weight": [1e200, -1e200, 0, 0]},
        {"scale": [1e-320, 1, 1, 1]},
        {"scale": [-1, 1, 1, 1]},
        {"least": -1},
        {"least": 2},
        {"mean": [1, 2, 3]},
        {"mean": "abcd"},
    ],
)
def test_a_file_from_which_no_confidence_can_come_is_refused(
    sure: Path, tmp_path: Path, change: dict[str, object]
) -> None:
    kept = json.loads(sure.read_text())
    kept["confidence"] |= change
    path = tmp_path / "poisoned.json"
    path.write_text(json.dumps(kept))
    with pytest.raises(UserError, match="holds none"):
        read_confidence(path, kept["confidence"]["model"])


@pytest.mark.parametrize("article", ["é" * 300, "a" + "é" * 300, "aa" + "😀" * 200])
def test_an_article_that_is_cut_within_a_letter_fits_all_the_same(
    article: str, tmp_path: Path
) -> None:
    """A byte of a letter alone is read as the three of U+FFFD: more than the model has room for."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    from lightning_rec.answers.wording import Wording

    vocab = {c: n for n, c in enumerate([*sorted(pre_tokenizers.ByteLevel.alphabet()), "</s>"])}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>").save_pretrained(tmp_path)
    shape: dict[str, Any] = {"n_positions": 200, "n_embd": 8, "n_layer": 1, "n_head": 1}
    torch.manual_seed(0)
    ends: dict[str, Any] = {"eos_token_id": 256, "bos_token_id": 256}
    GPT2LMHeadModel(GPT2Config(vocab_size=257, **shape, **ends)).save_pretrained(tmp_path)
    worded = Wording(str(tmp_path), tokens=4)
    for question in ("q?", "qq?"):
        assert isinstance(worded.words([question], [article])[0], str)
