"""The same answers by LitServe, which batches in a process of its own; tried beside our queue.

usage: python benchmarks/serving/lit.py RUN PORT
"""

import sys
from typing import Any

sys.modules["mcp"] = None  # type: ignore[assignment]  # LitServe 0.2.19 does not start beside mcp 2

import litserve  # type: ignore[import-not-found, import-untyped, unused-ignore]  # noqa: E402


class Api(litserve.LitAPI):  # type: ignore[misc, unused-ignore]
    """Batches of 64 at most, that wait 2 ms."""

    def setup(self, device: str) -> None:
        """Open the run."""
        from lightning_rec.build import load_run

        self.predictor = load_run(sys.argv[1])

    def decode_request(self, request: dict[str, Any]) -> list[str]:
        """The history."""
        history: list[str] = request["history"]
        return history

    def batch(self, inputs: list[list[str]]) -> list[list[str]]:
        """As they are."""
        return inputs

    def predict(self, inputs: list[list[str]]) -> list[list[dict[str, Any]]]:
        """The items of each history."""
        found = self.predictor.recommend(inputs, k=10).partition_by("row", as_dict=True)
        rows = (found.get((row,)) for row in range(len(inputs)))
        return [[] if part is None else part.drop("row").to_dicts() for part in rows]

    def unbatch(self, output: list[Any]) -> list[Any]:
        """As they are."""
        return output

    def encode_response(self, output: list[dict[str, Any]]) -> dict[str, Any]:
        """The answer."""
        return {"items": output}


if __name__ == "__main__":
    api = Api(max_batch_size=64, batch_timeout=0.002, api_path="/recommend")
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(
        host="127.0.0.1", port=int(sys.argv[2]), generate_client_file=False, log_level="error"
    )
