"""Seconds from ``import`` to a first answer of a bundle, each time in a fresh process.

usage: python -m benchmarks.first_answer BUNDLE [OUT.json]; it writes benchmarks/first_answer.json.
"""

import statistics
import subprocess
import sys
from pathlib import Path

from lightning_rec.documents import read_json
from lightning_rec.files import write_json
from lightning_rec.runs import provenance

TIMES = 7
ASK = """
import sys, time
began = time.perf_counter()
from lightning_rec import open_model
model = open_model(sys.argv[1])
item = model.items["item"][0]
model.recommend([[item]], k=10)
print(time.perf_counter() - began)
"""


def main(bundle: Path, out: Path) -> None:
    """Measure, print and write."""
    words = [sys.executable, "-c", ASK, str(bundle)]
    took = [
        float(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
        for _ in range(TIMES)
    ]
    card = provenance.card()
    record = {key: card[key] for key in ("version", "commit", "dirty", "machine", "packages")}
    of = read_json(bundle / "card.json")
    record |= {"started": provenance.now(), "data": of["data"], "seed": of["seed"]}
    record |= {"seconds": took, "median": statistics.median(took)}
    print(record["seconds"], record["median"])
    write_json(out, record)


if __name__ == "__main__":
    given = [Path(word) for word in sys.argv[1:]]
    main(given[0], given[1] if len(given) > 1 else Path("benchmarks/first_answer.json"))
