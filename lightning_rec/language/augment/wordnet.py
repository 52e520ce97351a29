"""Synonyms out of a folder of WordNet's database files (Miller, CACM 38, 1995; wndb(5WN))."""

import re
from functools import lru_cache
from pathlib import Path

from lightning_rec.errors import UserError

_KINDS = ("noun", "verb", "adj", "adv")
# Detachment rules of morphy(7WN): what an ending stands for.
_ENDINGS = {
    "noun": "s: ses:s ves:f xes:x zes:z ches:ch shes:sh men:man ies:y",
    "verb": "s: ies:y es:e es: ed:e ed: ing:e ing:",
    "adj": "er: est: er:e est:e",
    "adv": "",
}
_MARKER = re.compile(r"\((?:a|p|ip)\)$")  # where an adjective may stand
_STOP_WORDS = """
i me my myself we our ours ourselves you your yours yourself yourselves he him his himself she her
hers herself it its itself they them their theirs themselves what which who whom this that these
those am is are was were be been being have has had having do does did doing a an the and but if or
because as until while of at by for with about against between into through during before after
above below to from up down in out on off over under again further then once here there when where
why how all any both each few more most other some such no nor not only own same so than too very s
t can will just don should now
"""
_UNITS = """
in inch inches ft foot feet yd yard yards mi mile miles mm cm m km sq cu oz ounce ounces lb lbs
pound pounds g gram grams kg mg ton tons gal gallon gallons qt quart quarts pt pint pints ml l liter
liters litre litres w kw watt watts v volt volts amp amps a ah hp btu psi cfm gpm mph rpm hz khz mhz
ghz kb mb gb tb dpi ga gauge deg f c k pk pack ct count pc pcs piece pieces x
"""
# What is never replaced: words that carry a sentence rather than its matter, which are EDA's; and
# units of measure, which WordNet knows as other things (gal is a girl, pt is platinum).
KEPT = frozenset(f"{_STOP_WORDS} {_UNITS}".split())
_WORD = re.compile(r"(\W*)([A-Za-z]+(?:[-'][A-Za-z]+)*)([^\w.]*)")


class WordNet:
    """The database in a folder: ``index.noun``, ``data.noun``, and so on for verb, adj and adv;
    ``noun.exc`` and so on for irregular forms, if they are there.

    Raises UserError if a file is missing, or is none of WordNet's.
    """

    def __init__(self, folder: Path) -> None:
        wanted = [f"{what}.{kind}" for kind in _KINDS for what in ("index", "data")]
        if missing := [name for name in wanted if not (folder / name).is_file()]:
            raise UserError(
                f"augment.wordnet={folder} has no {missing[0]}: name the folder of WordNet's "
                "database files, such as /usr/share/wordnet, which Debian's package wordnet-base "
                "brings, or corpora/wordnet of NLTK's data."
            )
        self.synsets: dict[str, dict[str, list[str]]] = {}  # by kind and word, where they begin
        self.words: dict[str, dict[str, list[str]]] = {}  # by kind and that place
        self.irregular: dict[str, dict[str, list[str]]] = {}
        for kind in _KINDS:
            try:
                self.synsets[kind] = dict(map(_indexed, _lines(folder / f"index.{kind}")))
                self.words[kind] = dict(map(_words, _lines(folder / f"data.{kind}")))
            except (ValueError, IndexError) as error:
                raise UserError(
                    f"{folder}: index.{kind} or data.{kind} is no file of WordNet's database."
                ) from error
            exceptions = folder / f"{kind}.exc"
            lines = map(str.split, _lines(exceptions)) if exceptions.is_file() else ()
            self.irregular[kind] = {form: bases for form, *bases in lines}

    def synonyms(self, word: str) -> list[str]:
        """Words of one or several words that share a meaning with a word in lower case, sorted; its
        plural and other forms count as the word. EDA's cleaning: letters and blanks are left.
        """
        found = {
            _letters(each)
            for kind in _KINDS
            for form in self._forms(word, kind)
            for synset in self.synsets[kind][form]
            for each in self.words[kind][synset]
        }
        return sorted(found - {word, ""})

    def _forms(self, word: str, kind: str) -> list[str]:
        """What a word may be a form of, itself included, as far as it is known: morphy(7WN)."""
        if word in self.irregular[kind]:
            forms = [word, *self.irregular[kind][word]]
        else:
            rules = [rule.split(":") for rule in _ENDINGS[kind].split()]
            cut = [word.removesuffix(old) + new for old, new in rules if word.endswith(old)]
            forms = [word, *cut]
        return [form for form in dict.fromkeys(forms) if form in self.synsets[kind]]


def replaceable(word: str) -> tuple[str, str, str] | None:
    """What stands before a word, the word in lower case, and what stands behind it; None for what
    is never replaced: stop words, units, and all that has a digit or is abbreviated by a dot.
    """
    found = _WORD.fullmatch(word)
    if found is None or found[2].lower() in KEPT:
        return None
    return found[1], found[2].lower(), found[3]


@lru_cache(maxsize=1)
def read_wordnet(folder: Path) -> WordNet:
    """The database of a folder, read once."""
    return WordNet(folder)


def _lines(path: Path) -> list[str]:
    """The lines of a file but for the licence at its head, which is set off by blanks."""
    text = path.read_text(encoding="utf-8", errors="replace")
    return [line for line in text.splitlines() if line and not line.startswith(" ")]


def _indexed(line: str) -> tuple[str, list[str]]:
    """A word, and where its synsets begin: they come last, as many as the third field says."""
    word, _, number, *rest = line.split()
    return word, rest[-int(number) :]


def _words(line: str) -> tuple[str, list[str]]:
    """Where a synset begins, and its words; their number is hexadecimal."""
    place, _, _, number, *rest = line.split("|")[0].split()
    return place, [_MARKER.sub("", word) for word in rest[: 2 * int(number, 16) : 2]]


def _letters(word: str) -> str:
    spaced = word.replace("_", " ").replace("-", " ").lower()
    kept = "".join(each for each in spaced if each == " " or "a" <= each <= "z")
    return " ".join(kept.split())
