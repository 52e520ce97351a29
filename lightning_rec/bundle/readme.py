"""The page that a bundle brings along."""

import json
from typing import Any

from lightning_rec.bundle.packed import Packed

ASKED = {
    "sequences": "model.recommend([{ids}], k=10)  # for a history, oldest item first",
    "clicks": "model.score(rows)  # a frame with the columns below",
    "matching": 'model.recommend(["a query"], k=10)',
}
FIGURES = ("test/ndcg@10", "test/recall@10", "test/auc", "test/logloss", "test/judged/ndcg@10")


def readme(packed: Packed, card: dict[str, Any]) -> str:
    """Markdown: what it is, how it is asked, what it was trained on and how good it was."""
    name = str(packed.settings["model"]["_target_"]).rpartition(".")[2]
    items = packed.tables.get("items")
    some = [] if items is None or "item" not in items.columns else items["item"].head(2).to_list()
    ids = json.dumps(some, ensure_ascii=False)
    lines = [
        f"# {name}",
        "",
        f"A trained model of {packed.kind}, exported by lightning-rec {card['exported_with']}. All "
        "files are data: nothing here is run as code. `bundle.json` has the hash of each.",
        "",
        "```python",
        "from lightning_rec import open_model",
        "",
        'model = open_model(".")',
        ASKED[packed.kind].replace("{ids}", ids),
        "```",
        "",
    ]
    if packed.kind == "clicks":
        fields = packed.settings["fields"]
        kinds = (fields.get(kind) or [] for kind in ("categorical", "multi_valued", "numeric"))
        names = [each for kind in kinds for each in kind]
        lines += [f"Columns: {', '.join(f'`{each}`' for each in names)}.", ""]
    if items is not None:
        lines += [f"It knows {len(items):,} items.", ""]
    if (index := packed.settings.get("index")) is not None and index["kind"] != "exact":
        lines += [
            f"Items are looked up by `{index['kind']}`: recall@10 {index['recall']:.4f} against "
            f"scoring every item, of similar items {index['similar_recall']:.4f}. "
            '`model.use_index("exact")` scores every item.',
            "",
        ]
    metrics = card.get("metrics") or {}
    lines += ["| | |", "| --- | --- |"]
    lines += [f"| {figure} | {metrics[figure]:.4f} |" for figure in FIGURES if figure in metrics]
    facts = ("data", "data_hash", "protocol_hash", "seed", "commit", "finished")
    lines += [f"| {key} | {str(card[key])[:40]} |" for key in facts if card.get(key) is not None]
    return "\n".join(lines) + "\n"
