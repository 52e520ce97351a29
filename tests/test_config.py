"""The Hydra tree: every file composes and fits its constructor; every slip is told with the nearest."""

import inspect
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from languages import with_tiny
from omegaconf import OmegaConf
from pytorch_lightning import Trainer
from shipped import models_of, said, task_of
from torch import nn

from lightning_rec import config
from lightning_rec.build import problem_of
from lightning_rec.build.keys import REFUSED
from lightning_rec.errors import UserError
from lightning_rec.metrics.clicks import Rows
from lightning_rec.metrics.lists import Lists, Tops
from lightning_rec.metrics.matching import JudgedPairs
from lightning_rec.metrics.targets import Targets
from lightning_rec.metrics.words import Texts
from lightning_rec.problems.sequences import Sequences

# Ranges of 'tune' are not composed; tests/cli/test_tune.py tries each.
GROUPS = sorted({path.name for path in config.config_dir().iterdir() if path.is_dir()} - {"search"})
CHOICES = [
    (group, name) for group in GROUPS if group != "experiment" for name in config.choices(group)
]
# Arguments that exist only at run time; all others must stand in the YAML.
LIVE = {
    "model": {"schema", "items", "load", "load_words", "titles"},
    "method": {"load"},
    "batches": {
        "split",
        "seed",
        "window",
        "side",
        "learnt",
        "candidates",
        "encoded",
        "histories",
        "tokens",
        "parts",
        "matches",
        "positives",
    },
    "loss": {"split", "pairs"},
    "metrics": {*Targets.inputs, *Lists.inputs, *Tops.inputs, *Rows.inputs, *JudgedPairs.inputs}
    | {*Texts.inputs},
    "negatives": {"matches", "positives"},
    "optimizer": {"params"},
    "schedule": {"optimizer", "total_steps", "steps_per_epoch"},
    "task": {"cfg"},
}


def kind_of(name: str) -> str:
    """Of a data set; one that builds on another says no class itself."""
    node = said("data", name)
    based = [str(each) for each in node.get("defaults", ()) if each != "_self_"]
    source: Any = config.target("data", node) if "_target_" in node else None
    return kind_of(based[0]) if source is None else str(source.kind)


KINDS = {name: kind_of(name) for name in config.choices("data")}
CLICKS, PAIRS = ([name for name in KINDS if KINDS[name] == kind] for kind in ("clicks", "pairs"))
NEEDS_LANGUAGE = pytest.mark.usefixtures("tiny_minilm")
IN_RUN = [("save_dir", None), ("dirpath", None)]  # set to the run folder's own
# What a choice needs beside it to be valid.
WITH = {
    ("data", "joined"): ["+data@data.parts.a=beauty", "+data@data.parts.b=toys_p5"],
    ("data", "table"): ["data.path=log.csv", "data.user=u", "data.item=i"],
    ("data", "click_table"): [
        "data.path=clicks.csv",
        "data.fields.label=y",
        "data.fields.categorical=[a,b]",
    ],
    ("data", "pairs"): [
        "data.path=pairs.csv",
        "data.query=q",
        "data.title=t",
        "data.relevance=r",
        "data.positive_from=2",
    ],
    ("negatives", "bm25"): ["model=bi_encoder"],
    ("negatives", "self"): ["model=bi_encoder"],
    ("negatives", "random"): ["model=bi_encoder"],
    ("augment", "words"): ["model=bi_encoder"],
    ("augment", "eda"): ["model=bi_encoder"],
    ("objective", "closed_form"): ["model=popularity"],
    ("model", "sequence_score"): ["model@encoder.model=sasrec"],
    ("model", "esmm"): [
        "data=ml_100k_clicks",
        "data.fields.label=null",
        "data.fields.positive_from=null",
        "+data.fields.goals={click: {column: rated}, buy: {column: bought}}",
        "monitor=val/click/auc",
    ],
}


def composed(group: str, name: str) -> dict[str, Any]:
    several = group in ("callbacks", "logger", "metrics")
    choice = f"{group}=[{name}]" if several else f"{group}={name}"
    cfg = config.compose([choice, *WITH.get((group, name), [])])
    node = config.plain(cfg[group])
    assert isinstance(node, dict)
    return node


def nodes(tree: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The node itself, or those in it: callbacks, loggers and metrics are mappings of nodes.

    What a metric declares of its figure is none of its arguments.
    """
    for node in [tree] if "_target_" in tree else tree.values():
        yield {key: value for key, value in node.items() if key != "figure"}


def keywords(built: Callable[..., Any]) -> set[str]:
    parameters = inspect.signature(built).parameters
    bare = getattr(built, "__init__", None) is nn.Module.__init__  # a module without settings
    assert bare or not any(p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL) for p in parameters.values())
    return set() if bare else set(parameters)


@pytest.mark.parametrize(("group", "name"), CHOICES)
def test_every_choice_composes_and_its_keys_are_its_constructors(group: str, name: str) -> None:
    for node in nodes(composed(group, name)):
        config.check(
            group, {key: value for key, value in node.items() if (key, value) not in IN_RUN}
        )
        built = config.target(group, node)
        if built.__module__.startswith("lightning_rec"):
            assert set(node) - {"_target_"} == keywords(built) - LIVE.get(group, set())


def test_every_optimizer_says_all_that_its_constructor_takes_with_torchs_defaults() -> None:
    never = {"maximize", "differentiable", "capturable"}  # refused
    ours = {"lr": ("adamw", "adamw_language"), "weight_decay": ("adamw", "adamw_language")}
    for name in config.choices("optimizer"):
        node = composed("optimizer", name)
        parameters = inspect.signature(config.target("optimizer", node)).parameters
        later = {"decoupled_weight_decay"} if name == "adam" else set()  # torch 2.6 has it not
        assert set(node) - {"_target_"} == set(parameters) - {"params"} - never - later, name
        for key in set(node) - {"_target_", "fused"}:
            default = parameters[key].default
            if name not in ours.get(key, ()):
                assert node[key] == (list(default) if isinstance(default, tuple) else default), key


def test_the_trainer_takes_all_that_lightnings_does() -> None:
    taken = set(inspect.signature(Trainer.__init__).parameters) - {"self"}
    for name in config.choices("trainer"):
        assert set(composed("trainer", name)) - {"_target_"} == taken - set(REFUSED), name


def test_keys_of_the_trainer_are_lightnings_defaults_but_for_a_few_of_ours() -> None:
    ours = {
        "devices", "precision", "max_epochs", "gradient_clip_val", "check_val_every_n_epoch",
        "log_every_n_steps", "deterministic", "use_distributed_sampler", "num_sanity_val_steps",
        "enable_model_summary",
    }  # fmt: skip
    nothing_said = {
        "limit_train_batches",
        "limit_val_batches",
        "limit_test_batches",
        "val_check_interval",
    }
    node, parameters = composed("trainer", "auto"), inspect.signature(Trainer.__init__).parameters
    for key in set(node) - {"_target_"} - ours:
        default = 1.0 if key in nothing_said else parameters[key].default  # None is all of them
        assert node[key] == default, key


@pytest.mark.parametrize("name", config.choices("model"))
def test_what_cases_are_chosen_by_is_what_is_composed(name: str) -> None:
    cfg = config.compose([f"model={name}"])
    assert cfg.task._target_ == said("task", task_of(name))["task"]["_target_"]
    declared = {key: each for key, each in said("model", name).items() if key != "defaults"}
    assert cfg.model.keys() == declared.keys()
    assert cfg.model._target_ == declared["_target_"]


CLICK_MODELS, MATCH_MODELS = models_of("click"), models_of("match")
TRAINED = [
    name
    for name in config.choices("model")
    if ".models.sequential." in said("model", name)["_target_"]
]


HISTORIES = ("ml_100k_clicks", "ml_1m_collm")
HISTORY_MODELS = ("din", "dien", "bst", "sdim", "sequence_score")
# They read with a language model: tests/cli has them.
READERS = ("zero_shot", "masked_lm", "tallrec", "listwise", "lcrec")


def kinds(data: str, model: str) -> tuple[tuple[bool, bool], tuple[bool, bool]]:
    return (data in CLICKS, data in PAIRS), (model in CLICK_MODELS, model in MATCH_MODELS)


# Each data set with the first models of its kind, each model with the first data sets of its kind,
# and the first ones of every pair of kinds, which are refused.
FIRST = ("ml_100k", "ml_100k_clicks", "ml_1m_collm", "pairs", "sasrec", "deepfm", "bm25")
PAIRED = [
    (data, model)
    for data in config.choices("data")
    for model in config.choices("model")
    if model not in READERS and (data in FIRST) + (model in FIRST) >= len(set(kinds(data, model)))
]


@NEEDS_LANGUAGE
@pytest.mark.parametrize(("data", "model"), PAIRED)
def test_every_model_assembles_with_every_data_set_of_its_problem(data: str, model: str) -> None:
    choices = [f"model={model}", *WITH.get(("data", data), [])]
    if data in CLICKS:
        choices += WITH.get(("model", model), [])
    choices.append(f"data={data}")
    if data in ("insurance_qa", "co_purchase") and model in MATCH_MODELS:  # without judgements
        choices += ["task.ranked=[val,test]", "monitor=val/ndcg@10"]
    if len(set(kinds(data, model))) == 2:
        with pytest.raises(UserError, match=r"data[=:].* holds .*(model=|data=)"):
            problem_of(config.compose(choices))
        return
    if model in HISTORY_MODELS and data not in HISTORIES:
        with pytest.raises(UserError, match=r"data\.fields\.past=clicks"):
            problem_of(config.compose(choices))
        return
    if model in ("click_neumf", "two_tower") and not config.compose(choices).data.fields.item:
        with pytest.raises(UserError, match=r"item_fields"):
            problem_of(config.compose(choices))
        return
    problem = problem_of(config.compose(choices))
    assert problem.source.name
    if isinstance(problem, Sequences):
        assert problem.objective.name == problem.meta_model.objectives[0]  # type: ignore[index]


@NEEDS_LANGUAGE
@pytest.mark.parametrize("name", config.choices("experiment"))
def test_every_experiment_assembles_and_is_short(
    name: str, tiny_bert: Path, tiny_gpt: Path
) -> None:
    tiny = with_tiny(config.compose([f"experiment={name}"]), tiny_bert, tiny_gpt)
    problem_of(config.compose([f"experiment={name}", *tiny]))
    lines = (config.config_dir() / "experiment" / f"{name}.yaml").read_text().splitlines()
    assert lines[0] == "# @package _global_"
    assert sum(bool(line.strip()) and not line.startswith("#") for line in lines) <= 20
    header = " ".join(line for line in lines if line.startswith("#"))
    assert all(word in header for word in ("Source", "Expected", "Cost"))


@pytest.mark.parametrize("model", TRAINED)
def test_every_sequence_model_can_be_pretrained_to_be_an_encoder(model: str) -> None:
    problem_of(config.compose(["experiment=pretrain_ml100k", f"model={model}"]))


def test_train_alone_is_the_readmes_experiment() -> None:
    alone, named = (config.compose(overrides) for overrides in ([], ["experiment=bert4rec_ml100k"]))
    assert OmegaConf.to_container(alone) == OmegaConf.to_container(named)


def test_the_command_line_wins_over_an_experiment() -> None:
    cfg = config.compose(["experiment=bert4rec_ml100k", "model.dim=32", "trainer.max_epochs=2"])
    assert (cfg.model.dim, cfg.trainer.max_epochs) == (32, 2)
    other = config.compose(
        ["experiment=bert4rec_ml100k", "objective=masked_item", "objective.mask_prob=0.5"]
    )
    assert other.objective.mask_prob == 0.5


def test_a_model_brings_its_objective_and_loss() -> None:
    popular = config.compose(["model=popularity"])
    assert popular.objective._target_.endswith("ClosedForm")
    assert not popular.get("loss")
    assert config.compose(["model=bert4rec"]).loss._target_.endswith("FullSoftmax")


CHECKPOINT = "_target_:pytorch_lightning.callbacks.ModelCheckpoint"
MISUSE = {
    "model.dimm=3": ["Unknown key model.dimm", "'dim'"],
    "task.calibrate=temperature": ["Unknown key task.calibrate", "task=click has it"],
    "lr=0.1": ["Unknown key lr", "'optimizer.lr'"],
    "data=click_table data.label=clicked": ["Unknown key data.label", "'data.fields.label'"],
    "model=bert5rec": ["Unknown choice model=bert5rec", "'bert4rec'", "popularity"],
    "modl=bert4rec": ["modl", "'model'"],
    "data=ml100k": ["Unknown choice data=ml100k", "'ml_100k'"],
    "experiment=bert4rec_ml100": ["experiment=bert4rec_ml100", "'bert4rec_ml100k'"],
    "protocol=leave-one-out": ["protocol=leave-one-out", "'leave_one_out'"],
    "model.dropout=1.5": ["model.dropout=1.5", "less than 1"],
    "model.heads=3": ["heads=3", "dim=64"],
    "model.dim=abc": ["model.dim=abc", "integer"],
    "model.dim=0": ["model.dim=0", "greater than 0"],
    "model.dim=null": ["model.dim=None", "integer"],
    "batches.max_len=1": ["batches.max_len=1", "greater than or equal to 2"],
    "batches.batchsize=1": ["batches.batchsize", "'batch_size'"],
    "objective.mask_prob=2": ["objective.mask_prob=2", "less than 1"],
    "protocol.cutoffs=[0]": ["protocol.cutoffs", "greater than 0"],
    "protocol.cold_targets=drop": ["protocol.cold_targets=drop", "'miss', 'exclude' or 'rank'"],
    "optimizer.lr=-1": ["optimizer", "-1"],
    "optimizer=sgd optimizer.nesterov=true": ["optimizer: Nesterov momentum requires a momentum"],
    "+optimizer.maximize=true": ["optimizer: maximize=True: the loss would grow"],
    "optimizer=sgd +optimizer.differentiable=true": ["differentiable=True: nothing here differentiates"],
    "model=sasrec loss=sampled_softmax model.sparse=true": ["sparse gradients", "lazy_adamw learns"],
    "schedule=one_cycle optimizer=adagrad": ["schedule: optimizer must support momentum"],
    "schedule=one_cycle schedule.pct_start=1": ["schedule.pct_start=1", "less than 1"],
    "schedule=step schedule.interval=week": ["schedule.interval=week", "'epoch' or 'step'"],
    "schedule.warmup=2.5": ["schedule.warmup=2.5", "less than 1"],
    "schedule.warmup=1.0": ["schedule.warmup=1.0", "less than 1"],
    "schedule.decay=cos": ["schedule.decay=cos", "'cosine'"],
    "objective=closed_form": ["BERT4Rec", "closed_form", "masked_item"],
    "model=popularity loss=full_softmax": ["Popularity", "closed form", "loss"],
    "model=popularity objective=masked_item": ["Popularity", "masked_item", "closed_form"],
    "~loss": ["BERT4Rec", "needs a loss", "full_softmax"],
    "trainer.max_epoch=3": ["trainer.max_epoch", "'max_epochs'"],
    "+trainer.max_epoch=3": ["Unknown key trainer.max_epoch", "'max_epochs'"],
    "+model.dimm=3": ["Unknown key model.dimm", "'dim'"],
    "data=table": ["data.path"],
    "model.dim=": ["model.dim"],
    "model.dim==3": ["model.dim"],
    "protocol.cutoffs=[]": ["protocol.cutoffs"],
    "protocol=temporal protocol.val_from=0.9 protocol.test_from=0.8": [
        "val_from=0.9",
        "test_from=0.8",
    ],
    "optimizer.lr=fast": ["optimizer.lr=fast"],
    "trainer.max_epochs=many": ["trainer.max_epochs=many"],
    "seed=abc": ["seed=abc"],
    "monitor=val/ndgc@10": ["monitor=val/ndgc@10", "'val/ndcg@10'"],
    "=3": ["override"],
    "model=zero_shot item.template={title}": ["item.template={title} cannot be read", """'item.template="{title}"'"""],
    "data.path=käufe.csv": ["letters beyond ASCII", """'data.path="käufe.csv"'"""],
    "data.fields.categorical=[id,Gerät]": ["""'data.fields.categorical=[id,"Gerät"]'"""],
    "+data.fields.dims={Gerät:4}": ["keys beyond ASCII are set in a YAML file"],
    "task=click": ["BERT4Rec is a model of sequences", "models of clicks", "deepfm"],
    "model=deepfm task=sequence": ["DeepFM is a model of clicks", "models of sequences", "sasrec"],
    "model=deepfm loss=bpr": ["BPR is a loss of sequences", "loss=focal, logloss"],
    "model=deepfm objective=next_item": ["takes no objective"],
    "model=multvae loss=full_softmax": ["Reconstruction has a set of items", "say loss=multinomial"],
    "model=sasrec loss=multinomial": ["Multinomial is the likelihood of a set", "objective=reconstruction"],
    "model=ease baseline=null objective=reconstruction": ["EASE", "closed_form"],
    "model=s3rec_pretraining objective=next_item": ["S3RecPretraining learns by s3rec", "objective=s3rec"],
    "model=sasrec objective=s3rec": ["SASRec learns by next_item", "objective=next_item"],
    "model=s3rec method=finetune": ["method.run is not set"],
    "batches.shortest=1": ["batches.shortest=1", "greater than or equal to 2"],
    "model=multvae model.hidden=[0]": ["model.hidden", "greater than 0"],
    "model=multvae model.anneal_steps=-1": ["model.anneal_steps=-1", "greater than or equal to 0"],
    "data=ml_1m_collm model=deepfm model@encoder.model=multvae": ["MultVAE does not learn from the order"],
    "model=deepfm protocol=leave_one_out": ["LeaveOneOut splits histories", "random_rows"],
    "protocol=random_rows": ["RandomRows splits rows", "leave_one_out"],
    "model=deepfm data=ml_100k": ["data=ml_100k holds interactions", "ml_100k_clicks"],
    "data=frappe": ["data=frappe holds clicks", "toys", "model=autoint"],
    "model=deepfm data=click_table": ["data.fields.label is not set"],
    "model=deepfm data=click_table data.fields.label=y data.fields.numeric=[a]": ["data.path is not set"],
    "model=deepfm data=click_table data.path=a.csv data.fields.label=y": ["names no feature"],
    "model=deepfm data.fields.label=null": ["data.fields.label is not set"],
    "model=esmm data.fields.goals={a:{column:a}}": ["say '+data.fields.goals={a:{column:a}}'"],
    "model=deepfm task.goal_weights.a=2": ["by a plus: say +task.goal_weights.a=2"],
    "model=deepfm data.fields.categoricl=[a]": ["Unknown key data.fields.categoricl", "'categorical'"],
    "model=deepfm data.fields.min_count=0": ["data.fields.min_count=0: ", "greater than"],
    "model=deepfm protocol.val=0.5 protocol.test=0.5": ["protocol.val=0.5", "train"],
    "model=deepfm monitor=val/acu": ["monitor=val/acu", "'val/auc'"],
    "model=deepfm monitor=val/ndcg@3": ["monitor=val/ndcg@3", "val/ndcg@5"],
    "model=finalmlp model.context=[usr]": ["model", "no field 'usr'", "'user'"],
    "model=autoint model.heads=3": ["model.heads=3", "attention_dim=32"],
    "model=deepfm model.mlp=[0]": ["model.mlp", "greater than 0"],
    "model=deepfm task.embedding_l2=-1": ["task.embedding_l2=-1"],
    "model=din data=frappe": ["DIN reads what somebody did before", "data.fields.past=clicks"],
    "model=deepfm data=frappe data.fields.past=clicks": ["data.fields.time=COLUMN"],
    "model=deepfm data.fields.item=null": ["data.fields.item=null", "user, item"],
    "model=deepfm data.fields.past=all": ["data.fields.past=all: ", "'clicks' or 'rows'"],
    "model=deepfm model@encoder.model=sasrec data.fields.past=null": ["no history to encode"],
    "model=deepfm model@encoder.model=ease": ["EASE does not learn from the order"],
    "model=deepfm model@encoder.model=deepfm": ["no model of sequences"],
    "model=deepfm model@encoder.model=sasrec encoder.model.heads=3": ["heads=3", "dim=64"],
    "model=deepfm encoder.run=nowhere": ["There is no folder nowhere"],
    "model=naive_bayes model@encoder.model=sasrec": ["NaiveBayes is fitted at once", "encoder"],
    "model=deepfm adapter=lora": ["LoRA tunes what was trained before", "encoder.run=", "item=text"],
    "adapter=frozen": ["Frozen", "nothing to adapt"],
    "task=mlm": ["BERT4Rec is a model of sequences", "model=masked_lm"],
    "model=masked_lm task=click": ["MaskedLM is a model of masked words"],
    "model=tallrec model.prompt=why": ["model.prompt must hold {history} and {item}"],
    "model=deepfm item=text data.fields.item=null data.fields.past=null": ["item=text", "data.fields.item=COLUMN"],
    "model=lightgcn item=text": ["LightGCN has no table of items", "texts, read by"],
    "model=deepfm item=text item.encoder=/nowhere": ["'/nowhere' is no folder"],
    "model=din model.activation=relu": ["model.activation=relu", "'dice' or 'prelu'"],
    "model=bst model.heads=3": ["model.heads=3", "dim=16"],
    "task=match": ["BERT4Rec is a model of sequences", "model=bi_encoder"],
    "model=bi_encoder task=sequence": ["BiEncoder is a model of matching"],
    "model=bi_encoder data=ml_100k": ["data=ml_100k holds interactions", "data=co_purchase, home_depot"],
    "model=bi_encoder protocol=random_rows": ["RandomRows splits rows", "by_query"],
    "model=deepfm protocol=by_query": ["ByQuery splits queries", "random_rows"],
    "protocol=by_query": ["ByQuery splits queries", "leave_one_out"],
    "data=home_depot": ["data=home_depot holds pairs", "model=bi_encoder"],
    "loss=info_nce": ["InfoNCE is a loss of matching"],
    "model=bi_encoder loss=in_batch": ["InBatch is a loss of sequences", "info_nce"],
    "model=cross_encoder loss=info_nce": ["InfoNCE compares vectors", "bi_encoder"],
    "model=bm25 loss=info_nce": ["BM25 is fitted to texts and takes no loss"],
    "model=bm25 negatives=self": ["BM25 is not trained, and takes no negatives"],
    "model=bm25 augment=words": ["BM25 learns from none", "model=bi_encoder"],
    "augment=words": ["augment"],
    "model=bi_encoder augment=words augment.swap=2": ["augment.swap=2", "less than or equal to 1"],
    "model=bi_encoder augment=eda": ["augment.wordnet=FOLDER", "wordnet-base"],
    "model=bi_encoder augment=words augment.swap=0 augment.deletion=0": ["nothing is changed"],
    "model=cross_encoder negatives=self": ["CrossEncoder rank the catalogue", "negatives=bm25"],
    "model=cross_encoder model.first=nowhere": ["There is no folder nowhere"],
    "model=bm25 adapter=lora": ["LoRA", "nothing to adapt"],
    "model=bm25 model.b=2": ["model.b=2", "less than or equal to 1"],
    "model=bi_encoder data=pairs": ["data.path is not set"],
    "model=bi_encoder protocol.val=0.6 protocol.test=0.4": ["protocol.val=0.6", "train"],
    "model=bi_encoder model.pooling=max": ["model.pooling=max"],
    "model=bi_encoder monitor=val/ndgc@10": ["monitor=val/ndgc@10", "val/judged/ndcg@10"],
    "model=deepfm schedule.factor=2": ["schedule.factor=2", "less than 1"],
    # Unknown keys, with + too, at every depth.
    "+foo=1": ["Unknown key foo", "At the top there are", "monitor"],
    "++optimiser=1": ["Unknown key optimiser", "'optimizer'"],
    "+encoder.run=nowhere": ["Unknown key encoder", "task=sequence"],
    "+item.vectors=emb.npy": ["item", "vectors", "_target_"],
    "+tracking.groups=a": ["Unknown key tracking.groups", "'group'"],
    "model=deepfm +encoder.runs=a": ["Unknown key encoder.runs", "'run'"],
    "model=deepfm +examples=3": ["Unknown key examples"],
    "+callbacks.best.modes=a": ["Unknown key callbacks.best.modes", "'mode'"],
    "+callbacks.mine=1": ["callbacks.mine=1", "dictionary"],
    "+callbacks.mine.patience=1": ["callbacks.mine", "_target_"],
    "+logger.wandb.nome=a": ["Unknown key logger.wandb.nome"],
    "+trainer.callbacks=[1]": ["trainer.callbacks", "callbacks="],
    "+schedule.warm=1": ["Unknown key schedule.warm", "'warmup'"],
    "model=bi_encoder negatives=bm25 +negatives.by.k3=1": ["Unknown key negatives.by.k3"],
    # Of the wrong kind, out of range, or missing.
    "run_dir=1e5": ["run_dir=100000.0 is read as a number", "run_dir='TEXT'"],
    "run_dir=1": ["run_dir=1 is read as a number", "run_dir='1'"],
    "data.user=true data=table": ["data.user=true is read as true or false", "data.user='true'"],
    "monitor=null": ["monitor=null", "string"],
    "baseline=5": ["baseline=5", "dictionary"],
    "baseline._target_=lightning_rec.models.sequential.sasrec.SASRec": ["baseline", "no fit"],
    "optimizer._target_=abc": ["optimizer._target_=abc"],
    "optimizer._target_=lightning_rec.tasks.progress.Progress": ["no Optimizer"],
    "loss._target_=null": ["loss", "_target_"],
    "protocol=[1]": ["protocol=[1]", "by name", "leave_one_out"],
    "loss=null": ["loss=null", "'~loss'", "full_softmax"],
    "model=5": ["model=5", "by name", "bert4rec"],
    "~seed": ["seed is missing"],
    "~monitor": ["monitor"],
    "~data": ["data is missing"],
    "seed=4294967296": ["seed=4294967296", "less than 4294967296"],
    "seed=true": ["seed=True", "integer"],
    "examples=-1": ["examples=-1", "greater than or equal to 0"],
    "patience=null": ["patience=null", "integer"],
    "monitor_mode=up": ["monitor_mode=up", "'min' or 'max'"],
    "monitor_mode=min": ["monitor_mode=min", "worst val/ndcg@10", "monitor_mode=max"],
    "~run_dir": ["run_dir is missing"],
    "callbacks.early_stopping.min_delta=nan": ["callbacks.early_stopping.min_delta=nan", "number"],
    "callbacks.best.monitor=foo": ["callbacks.best.monitor=foo", "val/ndcg@10"],
    "~trainer.max_epochs": ["trainer.max_epochs is missing"],
    "trainer.val_check_interval=0": ["trainer.val_check_interval=0", "greater than 0"],
    "logger=[csv,tensorbord]": ["Unknown choice logger=tensorbord", "'tensorboard'"],
    # The best weights are those that the run takes for them.
    "logger=none +callbacks.lr={_target_:pytorch_lightning.callbacks.LearningRateMonitor}": [
        "callbacks.lr",
        "logger=csv",
    ],
    "model=mmoe data=click_table data.path=x +data.fields.goals.a={column:y,weight:2}": [
        "data.fields.goals",
        "Unexpected keyword argument: weight",
    ],
    "model=deepfm monitor=val/rate": ["monitor=val/rate is no figure", "val/auc"],
    "callbacks.best.filename=a": ["callbacks.best.filename=a", "checkpoints/best.ckpt"],
    "callbacks.best.dirpath=/tmp/a": ["callbacks.best.dirpath=/tmp/a", "checkpoints/best.ckpt"],
    "callbacks.last.dirpath=/tmp/a": ["callbacks.last.dirpath=/tmp/a", "checkpoints/last.ckpt"],
    "+callbacks.best.save_top_k=0": ["callbacks.best.save_top_k=0", "cannot be changed"],
    "+callbacks.best.save_last=true": ["callbacks.best.save_last", "callbacks.last"],
    "callbacks.best.mode=min": ["callbacks.best.mode=min", "worst val/ndcg@10", "mode=max"],
    "callbacks.best.mode=foo": ["callbacks.best", "min, max", "foo"],
    "model=deepfm callbacks.early_stopping.monitor=val/auc": ["early_stopping.mode=min", "worst val/auc"],
    "callbacks.early_stopping.monitor=train/loss": ["train/loss is not known yet", "figure of validation"],
    f"+callbacks.own={{{CHECKPOINT},filename:best}}": ["callbacks.own.filename=best", "another name"],
    f"+callbacks.own={{{CHECKPOINT},monitor:val/ndcg@5}}": ["callbacks.own.mode=min", "worst val/ndcg@5"],
    "batches=rows": ["batches", "ClickData", "SequenceData"],
    "model.depth=1000000000": ["model.depth=1000000000", "less than or equal to 1000"],
    "batches.num_workers=10000": ["batches.num_workers=10000", "less than or equal to 256"],
    "trainer.check_val_every_n_epoch=0": ["trainer.check_val_every_n_epoch=0", "greater than 0"],
    "trainer.gradient_clip_val=nan": ["trainer.gradient_clip_val=nan", "finite"],
    "trainer.log_every_n_steps=0": ["trainer.log_every_n_steps=0", "greater than 0"],
    "trainer.max_epochs=-1": ["trainer.max_epochs=-1", "greater than or equal to 0", "max_steps"],
    "trainer.max_time=abc": ["trainer", "abc", "DD:HH:MM:SS"],
    "trainer.strategy=foo": ["trainer", "'foo'"],
    "trainer.limit_val_batches=nan": ["trainer.limit_val_batches=nan"],
    "trainer.use_distributed_sampler=true": ["trainer.use_distributed_sampler=True", "False"],
    "trainer=cpu trainer.devices=9999": ["trainer.devices=9999"],
    "trainer=cpu trainer.devices=1000": ["trainer.devices=1000", "cores"],
    "trainer.num_nodes=2": ["trainer.num_nodes=2", "MASTER_ADDR"],
    "model=deepfm batches.batch_size=1": ["batches.batch_size=1", "model.batch_norm=false"],
    # Names stay in their folder.
    "data.name=../../x": ["data.name", "out of its folder"],
    "name=/x": ["name=/x", "out of its folder"],
    "logger=csv logger.csv.name=../x": ["logger.csv.name=../x", "out of its folder"],
    "callbacks.best.filename=../x": ["callbacks.best.filename=../x", "out of its folder"],
}  # fmt: skip


@NEEDS_LANGUAGE
@pytest.mark.parametrize("slip", list(MISUSE))
def test_a_slip_is_told_in_one_sentence_before_any_data_is_read(slip: str) -> None:
    with pytest.raises(UserError) as refusal:
        problem_of(config.compose(slip.split()))
    message = str(refusal.value)
    assert all(word in message for word in MISUSE[slip]), message
    assert "\n" not in message
    assert len(message) < 800  # some list every experiment


@pytest.mark.parametrize(
    "more",
    ["+callbacks=checkpoint", "+callbacks@callbacks=progress", "+logger=csv", "++model.depth=3"],
)
def test_a_plus_still_adds_what_is_known(more: str) -> None:
    problem_of(config.compose([more]))


def test_runs_of_the_same_second_have_folders_of_their_own() -> None:
    assert len({config.compose([]).run_dir for _ in range(5)}) == 5


def test_the_direction_of_the_monitor_follows_its_name() -> None:
    for overrides, mode in {
        "model=bert4rec": "max",
        "model=bert4rec monitor=val/gini@10": "min",
        "model=deepfm": "min",
        "model=deepfm monitor=val/auc": "max",
        "model=masked_lm monitor=val/accuracy": "max",
        "model=deepfm monitor=val/auc monitor_mode=min": "min",
    }.items():
        cfg = config.compose(overrides.split())
        assert cfg.monitor_mode == cfg.callbacks.best.mode == mode, overrides


def test_settings_of_clicks_whose_keys_are_the_users_own() -> None:
    cfg = config.compose(["model=deepfm", "data=click_table"])
    nodes = {"data.fields": cfg.data.fields, "task": cfg.task}
    assert {key for node in nodes.values() for key in node if node[key] == {}} == {*config.OPEN}
    assert cfg.monitor == "val/logloss"
    goals = "+data.fields.goals={buy: {column: b}, click: {column: c}}"
    cfg = config.compose(["model=mmoe", "data=click_table", goals])
    assert (cfg.monitor, cfg.monitor_mode) == ("val/buy/logloss", "min")  # of the first
    assert cfg.schedule.monitor == cfg.callbacks.best.monitor == cfg.monitor


def test_experiments_of_clicks_state_what_they_are_stopped_by() -> None:
    for name in config.choices("experiment"):
        cfg = config.compose([f"experiment={name}"])
        if cfg.task._target_.endswith("Clicks"):
            assert (cfg.monitor, cfg.monitor_mode, cfg.patience) in {
                ("val/auc", "max", 2),
                ("val/like/auc", "max", 2),
                ("val/back/auc", "max", 2),
            }, name


@pytest.mark.parametrize("group", ["data", "loss", "metrics", "optimizer", "schedule", "trainer"])
def test_the_page_of_groups_names_every_choice(group: str) -> None:
    page = Path("docs/configuration.md").read_text()
    (line,) = [line for line in page.splitlines() if line.startswith(f"| `{group}` |")]
    assert [name for name in config.choices(group) if f"`{name}`" not in line] == []


def test_a_config_is_composed_without_torch() -> None:
    code = "import sys; from lightning_rec import config; config.compose([]); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
