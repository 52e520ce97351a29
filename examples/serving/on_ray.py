"""The server as replicas on a Ray cluster, and answers for a whole file by Ray Data.

usage: python examples/serving/on_ray.py serve MODEL [replicas=2] [key=value …]
       python examples/serving/on_ray.py batch MODEL USERS.parquet FOLDER [k=10] [workers=1]

It needs ``pip install "ray[serve,data]"`` beside the extra ``serve``. ``serve`` takes what
``lightning-rec serve`` takes, and answers at the port of Ray Serve, 8000; replicas share sessions
by ``sessions=redis://…``. ``batch`` reads a column ``user`` and writes Parquet files.
"""

import sys
import time
from typing import Any

import polars as pl
import ray
import ray.data
from ray import serve

from lightning_rec import open_model
from lightning_rec.serving.app import make_app
from lightning_rec.serving.keys import Keys
from lightning_rec.serving.service import Service
from lightning_rec.serving.settings import Settings


def serving(model: str, replicas: int, said: dict[str, str]) -> None:
    """Replicas until Ctrl-C."""

    def app() -> Any:  # each replica opens the model itself
        settings = Settings.of({"model": model, **said})
        return make_app(Service(settings), Keys.of(settings.keys))

    made: Any = serve.deployment(serve.ingress(app)())
    serve.run(made.options(name="recommender", num_replicas=replicas).bind())
    print("Ray Serve answers at http://127.0.0.1:8000. Ctrl-C ends it.", flush=True)
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        ray.shutdown()


class Recommended:
    """Answers for batches of users; a worker opens the model once."""

    def __init__(self, model: str, k: int) -> None:
        self.model: Any = open_model(model)
        self.k = k

    def __call__(self, users: Any) -> Any:
        """Tables of Arrow: ``user``, ``rank``, ``item``, perhaps ``title``, ``score``."""
        asked = pl.Series(users["user"])
        return self.model.recommend(users=asked, k=self.k, strict=False).to_arrow()


def batch(model: str, users: str, folder: str, k: int, workers: int) -> None:
    """The best items of each user of a file; each worker takes a core, another one reads."""
    read = ray.data.read_parquet(users, columns=["user"], override_num_blocks=4 * workers)
    answered = read.map_batches(
        Recommended, fn_constructor_args=(model, k), batch_format="pyarrow", batch_size=2048,
        compute=ray.data.ActorPoolStrategy(size=workers),
    )  # fmt: skip
    answered.write_parquet(folder)


if __name__ == "__main__":
    words = [word for word in sys.argv[1:] if "=" not in word]
    said = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
    ray.init(log_to_driver=False)
    if words[0] == "serve":
        serving(words[1], int(said.pop("replicas", 2)), said)
    else:
        batch(words[1], words[2], words[3], int(said.get("k", 10)), int(said.get("workers", 1)))
