"""``lightning-rec recommend`` of a model of clicks: the best of given candidates for rows."""

from pathlib import Path
from typing import Any

from lightning_rec.commands.asked import context_of, flag, rules_of
from lightning_rec.errors import UserError
from lightning_rec.screen import Screen


def recommend_candidates(found: Any, said: dict[str, str], k: int) -> int:
    """Print the best candidates of a row, or write those of a file. Raises UserError if not."""
    from lightning_rec.predict.told import Told
    from lightning_rec.rules.given import table

    model, told = found.model, Told()
    for name in ("user", "history", "seen", "item", "time"):
        if name in said:
            raise UserError(
                f"{name}= is for models of sequences; {model.name} reads rows: say row={{…}}, with "
                "its columns, or --input FILE, and items=FILE, the candidates."
            )
    if "items" not in said:
        raise UserError("Say items=FILE, the candidates with the features that the model reads.")
    items = table(Path(said["items"]))
    k = k if "k" in said else min(k, max(1, len(items)))
    asked: dict[str, Any] = {"k": k, "context": context_of(said), "goal": said.get("goal")}
    asked["rules"] = rules_of(said)
    answer = _of_file if "--input" in said else _of_row
    answer(found, said, asked, items, told)
    told.log(k)
    return 0


def _of_row(found: Any, said: dict[str, str], asked: dict[str, Any], items: Any, told: Any) -> None:
    import polars as pl

    from lightning_rec.answers.files import check_output, write_table
    from lightning_rec.commands.shown import show
    from lightning_rec.rules.given import pairs

    row = pl.DataFrame({name: [value] for name, value in pairs("row", said["row"]).items()})
    answer = found.model.recommend(row, items, told=told, **asked).drop("row")
    if "--output" in said:
        check_output(Path(said["--output"]), overwrite=flag(said, "overwrite"))
        write_table(answer.lazy(), Path(said["--output"]))
    else:
        show(answer, None, "Nothing is recommended.")


def _of_file(
    found: Any, said: dict[str, str], asked: dict[str, Any], items: Any, told: Any
) -> None:
    import polars as pl

    from lightning_rec.answers.files import answer_file
    from lightning_rec.files import sha256_file, sha256_json

    model, rules, output = found.model, asked["rules"], Path(said["--output"])
    if rules is not None and rules.boosts is not None and rules.at is None:
        raise UserError("Say at=TIME beside boosts=, so that a killed command goes on with it.")
    files = [said["items"], *([said["boosts"]] if "boosts" in said else [])]
    request = {
        "model": found.identity,
        "files": [sha256_file(Path(each)) for each in files],
        "asked": sha256_json(str(asked)),
    }

    def answered(rows: Any, own: Any) -> Any:
        answer = model.recommend(rows, items, told=own, **asked)
        kept = [name for name in (model.processor.fields.group, "user") if name in rows.columns]
        named = rows.select(kept[:1] or rows.columns[:1])[answer["row"].to_list()]
        if (name := named.columns[0]) in answer.columns:
            raise UserError(
                f"{source}: the answer has a column '{name}' as well: put the column first that "
                "says whom a row is for."
            )
        return pl.concat([named, answer.drop("row")], how="horizontal")

    more = {"overwrite": flag(said, "overwrite"), "restart": flag(said, "restart")}
    source = Path(said["--input"])
    done = answer_file(source, output, request, lambda rows: rows, answered, told, **more)
    speed = (done.rows - done.before) / done.seconds
    words = f"{done.rows:,} rows answered, {speed:,.0f} a second; {done.written:,} rows in {output}"
    Screen().print(words, highlight=False, soft_wrap=True)
