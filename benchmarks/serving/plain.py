"""The server that one writes first, FastAPI over a model of torch: what ours is held against.

usage: python benchmarks/serving/plain.py RUN PORT
"""

import sys

import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from lightning_rec.build import load_run
from lightning_rec.data.split import Histories
from lightning_rec.predict.sequences import SequencePredictor

torch.set_num_threads(1)
predictor = load_run(sys.argv[1])
assert isinstance(predictor, SequencePredictor)
model = predictor.model
items = predictor.items["item"].to_list()
titles = predictor.items["title"].to_list()
codes = {item: code for code, item in enumerate(items)}
longest = model.schema.max_len
app = FastAPI()


class Asked(BaseModel):
    """A history, oldest item first."""

    history: list[str]
    k: int = 10


@app.post("/recommend")
def recommend(asked: Asked) -> dict[str, list[dict[str, str | float]]]:
    """The best items; FastAPI runs this in threads of its own."""
    history = [codes[item] for item in asked.history if item in codes]
    with torch.inference_mode():
        latest = torch.tensor([history[-longest:]])
        query = model(Histories(latest, torch.tensor([-1])), torch.tensor([latest.shape[1] - 1]))
        scores = model.scores(query, None)[0]
        scores[history] = -torch.inf
        best = scores.topk(asked.k)
    found = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return {
        "items": [{"item": items[code], "title": titles[code], "score": s} for code, s in found]
    }


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), access_log=False, log_level="warning")
