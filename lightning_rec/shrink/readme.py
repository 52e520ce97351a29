"""The README of a shrunk model: how it is run where there is nothing but NumPy and onnxruntime."""

from typing import Any

_HEAD = """\
# {model}, {what}

Of the run `{run}`. On real inputs its outputs, the largest of which is {largest:.3g},
differ from those of the model by at most {apart:.2g}.

    pip install onnxruntime numpy {more}
"""
_WHAT = {"onnx": "as ONNX", "int8": "as ONNX with weights of eight bits"}
_MORE = {
    "sequences": "safetensors polars",
    "clicks": "polars",
    "texts": "tokenizers polars",
    "pairs": "tokenizers polars",
}
_LEFT_OUT = "scores[had] = -np.inf  # as the run has it, nothing comes again\n"
_CODE = {
    "sequences": """
```python
import numpy as np, onnxruntime as ort, polars as pl
from safetensors.numpy import load_file

items = pl.read_parquet("items.parquet")["item"].to_list()  # row i is code i
code = {{item: i for i, item in enumerate(items)}}
table = load_file("items.safetensors")
vectors = table["codes"].astype(np.float32)
if len(table["scale"]):
    vectors *= table["scale"][:, None]
vectors = np.hstack([vectors, table["bias"]])  # the last column meets a 1 in the query

session = ort.InferenceSession("model.onnx")
had = [code[item] for item in items[:3]]  # a history, oldest first: {longest} items at most
history = np.array([had], dtype=np.int64)  # of several, pad on the right with {padding}
(query,) = session.run(None, {{"history": history}})
scores = vectors @ query[0]
{left_out}print([items[i] for i in np.argsort(-scores)[:10]])
```
""",
    "clicks": """
```python
import numpy as np, onnxruntime as ort

session = ort.InferenceSession("model.onnx")
# A row number of the embedding table for each field, as vocabulary.parquet has them: 0 fills lists.
ids = np.ones((1, session.get_inputs()[0].shape[1]), dtype=np.int32)
inputs = {{"ids": ids}}
if len(session.get_inputs()) > 1:  # numbers, scaled by statistics.parquet
    inputs["values"] = np.zeros((1, session.get_inputs()[1].shape[1]), dtype=np.float32)
(logit,) = session.run(None, inputs)
print(1 / (1 + np.exp(-logit)))  # of {goals}
```
""",
    "texts": """
```python
import numpy as np, onnxruntime as ort
from tokenizers import Tokenizer

tokenizer = Tokenizer.from_file("tokenizer.json")
tokenizer.enable_padding()
tokenizer.enable_truncation({max_query_tokens})  # of an item {max_item_tokens}
read = tokenizer.encode_batch(["angle bracket", "deck screws"])
ids = np.array([each.ids for each in read], dtype=np.int64)
mask = np.array([each.attention_mask for each in read], dtype=np.int64)
(vectors,) = ort.InferenceSession("model.onnx").run(None, {{"ids": ids, "mask": mask}})
print(vectors @ vectors.T)  # scores are inner products
```
""",
    "pairs": """
```python
import numpy as np, onnxruntime as ort
from tokenizers import Tokenizer

tokenizer = Tokenizer.from_file("tokenizer.json")
tokenizer.enable_padding()
tokenizer.enable_truncation({longest})
read = tokenizer.encode_batch([("angle bracket", "steel angle"), ("angle bracket", "deck screws")])
session = ort.InferenceSession("model.onnx")
inputs = {{
    "ids": [each.ids for each in read],
    "mask": [each.attention_mask for each in read],
    "kinds": [each.type_ids for each in read],
}}
named = {{each.name: np.array(inputs[each.name], dtype=np.int64) for each in session.get_inputs()}}
print(session.run(None, named)[0])  # the higher, the better the item fits the query
```
""",
}


def readme(facts: dict[str, Any]) -> str:
    """The text, of what the manifest says."""
    kind = facts["kind"]
    known = facts | {"what": _WHAT[facts["method"]], "more": _MORE[kind]}
    known["left_out"] = _LEFT_OUT if facts.get("seen") == "filter" else ""
    known["run"] = facts["run"] or "of this session"
    return (_HEAD + _CODE[kind]).format(**known)
