"""``lightning-rec similar model=FOLDER item=ID``: items like an item, or bought with it."""

from lightning_rec.commands.asked import ids, keys_of, nothing_else, rules_of
from lightning_rec.commands.sets import number
from lightning_rec.commands.shown import show
from lightning_rec.errors import UserError

HELP = """\
Items like an item: by the vectors of a model of sequences, by texts of the
catalogue, by both; or complements, which the same users have.

usage: lightning-rec similar model=FOLDER item=ID|[ID,...] [k=10]
                             [by=model|text|both|bought_together]
                             [allow=IDS] [deny=IDS] [where=CONDITION]

bought_together counts users who have both items, in the log that the run was
trained on (two at least), over the root of the product of those who have either;
lift says how many times as often as by chance. Competitors are similar items
of the same category: where="category == 'shoes'". A bi-encoder compares vectors of
texts, and takes item= and k= alone. new_items=FILE has items that training did not
have, which a run that reads texts knows by them.

Examples:
  lightning-rec similar model=runs/sasrec item=2571
  lightning-rec similar model=runs/sasrec item=2571 by=bought_together k=5
  lightning-rec similar model=runs/sasrec item=2571 by=both "where='Sci-Fi' in genres"
"""
KEYS = ("model", "new_items", "item", "k", "by", "allow", "deny", "where")


def run(arguments: list[str]) -> int:
    """Print a table for each item. Raises UserError on bad input."""
    said, others = keys_of(arguments, "similar", KEYS)
    nothing_else(others, "similar")
    if "item" not in said:
        raise UserError("Say which item: lightning-rec similar model=FOLDER item=ID")
    k = number("k", said["k"], int) if "k" in said else 10
    from lightning_rec.commands.opening import opened, sequences
    from lightning_rec.predict.matching import MatchPredictor

    source, asked = opened(said, "similar"), ids("item", said["item"])
    if isinstance(source.model, MatchPredictor):
        if odd := [name for name in ("by", "allow", "deny", "where") if name in said]:
            raise UserError(f"{odd[0]}= is for models of sequences; {source.model.name} is none.")
        show(source.model.similar(asked, k), "item", "No similar item is left.")
        return 0
    model = sequences(source, "similar")
    from lightning_rec.answers.similar import similar

    found = similar(model, asked, k, said.get("by", "model"), rules_of(said))
    show(found, "item", "No similar item is left.")
    return 0
