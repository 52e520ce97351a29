"""A report: one page of HTML that needs no network, of a comparison and of searches."""

import base64
import datetime
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning_rec import __version__
from lightning_rec.errors import UserError, import_extra
from lightning_rec.files import write_text
from lightning_rec.lab import Comparison, compare
from lightning_rec.lab.columns import values_of
from lightning_rec.lab.reading import searches_at
from lightning_rec.reports import charts, searches
from lightning_rec.reports.sections import Section, of_cards, of_runs, of_search
from lightning_rec.reports.series import settings

PARTS = Path(__file__).parent / "template"


def collect(
    sources: Sequence[Any], **options: Any
) -> tuple[Comparison | None, list[searches.Search]]:
    """Compare what is named, and read the searches in it; of a search its best trial's runs count.

    Args:
        sources: what :func:`~lightning_rec.lab.compare` takes, and folders of ``lightning-rec
            tune``.
        options: further keywords of ``compare``.

    Returns the comparison, None if searches are all there is; and the searches. Raises UserError
    if runs are not comparable, or a study cannot be read.
    """
    plain, titled, found = list[Any](), dict[str, list[Path]](), list[searches.Search]()
    for title, path in _named(sources):
        folders = searches_at(path)
        for folder in folders:
            own = folder.resolve().name
            name = " ".join(dict.fromkeys([title, own] if len(folders) > 1 else [title or own]))
            found.append(searches.read_search(folder, name.strip()))
            if (best := searches.best_runs(folder)) is not None:
                titled.setdefault(name.strip(), []).append(best)
        if not folders and title:
            titled.setdefault(title, []).append(path)
        elif not folders:
            plain.append(path)
    if found and not (plain or titled):
        return None, found
    known = [*plain, *([titled] if titled else [])]
    return compare(*known, **options), found


def _named(sources: Sequence[Any]) -> list[tuple[str, Path]]:
    """Each path with its title, which may be empty."""
    found = list[tuple[str, Path]]()
    for source in sources:
        for title, of in source.items() if isinstance(source, Mapping) else [("", source)]:
            found += [(title, Path(each)) for each in ([of] if isinstance(of, str | Path) else of)]
    return found


def write_page(
    target: Path, made: Comparison | None, found: Sequence[searches.Search], title: str = ""
) -> None:
    """Write the page. Raises UserError without jinja2 or plotly (the extra ``report``)."""
    if target.is_dir():
        raise UserError(f"to={target} is a folder: name the file, to={target / 'report.html'}.")
    target.parent.mkdir(parents=True, exist_ok=True)
    write_text(target, render(made, found, title))


def render(
    made: Comparison | None,
    found: Sequence[searches.Search],
    title: str = "",
    version: str = "",
    jobs: Section | None = None,
) -> str:
    """The page; with a ``version`` one that asks its server for it, and loads itself again.

    ``jobs``: what goes on, above all else.
    """
    sections = [
        *([jobs] if jobs else ()),
        *(of_runs(made) if made else ()),
        *(of_search(each) for each in found),
    ]
    if made:
        sections.append(of_cards(made))
    named = title or (_title(made, found) if made or found else "Nothing is completed yet")
    return page_of(named, _about(made), sections, settings(made) if made else [], version)


def page_of(
    title: str,
    about: str,
    sections: Sequence[Section],
    settings: Sequence[str] = (),
    version: str = "",
) -> str:
    """The page of some sections; ``about``: a line below the title."""
    jinja2 = import_extra("jinja2", "report", "report")
    offline = import_extra("plotly.offline", "report", "report")
    names = ["report.js", *(["watch.js"] if version else [])]
    scripts = [(PARTS / name).read_text(encoding="utf-8") for name in names]
    if any(each.charts for each in sections):
        scripts.insert(0, offline.get_plotlyjs())
    loader = jinja2.FileSystemLoader(PARTS, encoding="utf-8")
    page = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True)
    page.filters["finite"] = charts.finite
    page.policies["json.dumps_kwargs"] = {"allow_nan": False}
    text: str = page.get_template("report.html").render(
        title=title,
        about=about,
        sections=sections,
        settings=settings,
        colour=charts.colour,
        glyph=charts.glyph,
        scripts=scripts,
        policy=_policy(scripts) + ("; connect-src 'self'" if version else ""),
        version=version,
    )
    return text


def _policy(scripts: Sequence[str]) -> str:
    """What a browser holds the page to: nothing from a network, no scripts but these."""
    digests = (base64.b64encode(hashlib.sha256(each.encode()).digest()) for each in scripts)
    allowed = " ".join(f"'sha256-{digest.decode()}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:"
    )


def _title(made: Comparison | None, found: Sequence[searches.Search]) -> str:
    if made is None:
        return f"Search: {', '.join(each.title for each in found)}"
    data = values_of(made.runs, "data")
    return f"Comparison on {data[0]}" if data else "Comparison"


def _about(made: Comparison | None) -> str:
    """What the runs have in common, and when the page was written."""
    today = datetime.datetime.now(datetime.UTC).date()
    told = [f"written {today} by lightning_rec {__version__}"]
    if made is None:
        return told[0]
    facts = {"protocol": "protocol.name", "data": "data_hash", "catalogue": "catalogue_hash"}
    for called, column in facts.items():
        if known := values_of(made.runs, column):
            told.append(f"{called} {str(known[0])[:16]}")
    count = f"{made.runs.height} runs of {len(settings(made))} settings"
    return " · ".join([count, f"baseline {made.baseline}", *told[1:], told[0]])
