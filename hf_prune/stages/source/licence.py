"""What the licence of the original demands of whoever publishes a model made from it.

A model with layers removed is a derivative of its original, whatever the licence calls that: it goes under
the same licence, and these terms go with it. Each entry of the table says where in the text of the licence
its terms stand; a licence that is not in the table is not guessed at, but named as one to be read. This is no
legal advice, and decides two things alone: a derivative that may not be shared is not published, and a name
that breaks the licence is not given.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from hf_prune.errors import LicenceForbids


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What one licence demands, as far as it concerns a derivative that is published."""

    name: str  # of the licence, in full
    place: str | None = None  # where in its text it says what goes for a derivative
    known: bool = True
    forbidden: str | None = None  # why a derivative may not be published
    begins_with: str | None = None  # what the derivative's name begins with
    shown: str | None = None  # words that the card shows
    notice: str | None = None  # the line of a "Notice" file
    copy: bool = False  # whether a copy of the licence goes with the weights
    duties: tuple[str, ...] = ()  # whatever else, in a sentence each
    links: tuple[tuple[str, str], ...] = ()  # title and address of what else applies


def _llama(version: str, policy: str) -> Terms:
    """Of the Llama Community License Agreements from 3.1 on, which agree in these terms."""
    return Terms(
        name=f"Llama {version} Community License Agreement",
        place="section 1.b",
        begins_with="Llama",
        shown="Built with Llama",
        notice=(
            f"Llama {version} is licensed under the Llama {version} Community License, Copyright © Meta "
            f"Platforms, Inc. All Rights Reserved."
        ),
        copy=True,
        links=(("Acceptable Use Policy", policy),),
    )


_RAIL = Terms(
    name="Responsible AI License",
    place="the section on distribution",  # paragraph 4 of CreativeML's and BigScience's
    copy=True,
    duties=(
        "Its use-based restrictions bind every user of this model, and whoever passes it on has to pass them "
        "on as an enforceable provision.",
        "Files that were changed have to say so, and notices of copyright and attribution stay.",
    ),
)

# By the Hub's word for them; the texts are those that the Hub and their authors show.
TERMS: dict[str, Terms] = {
    "llama2": Terms(
        name="Llama 2 Community License Agreement",
        place="section 1.b",
        notice=(
            "Llama 2 is licensed under the LLAMA 2 Community License, Copyright (c) Meta Platforms, Inc. All "
            "Rights Reserved."
        ),
        copy=True,
        links=(("Acceptable Use Policy", "https://ai.meta.com/llama/use-policy"),),
    ),
    "llama3": Terms(
        name="Meta Llama 3 Community License Agreement",
        place="section 1.b",
        begins_with="Llama 3",
        shown="Built with Meta Llama 3",
        notice=(
            "Meta Llama 3 is licensed under the Meta Llama 3 Community License, Copyright © Meta Platforms, "
            "Inc. All Rights Reserved."
        ),
        copy=True,
        links=(("Acceptable Use Policy", "https://llama.meta.com/llama3/use-policy"),),
    ),
    "llama3.1": _llama("3.1", "https://llama.meta.com/llama3_1/use-policy"),
    "llama3.2": _llama("3.2", "https://www.llama.com/llama3_2/use-policy"),
    "llama3.3": _llama("3.3", "https://www.llama.com/llama3_3/use-policy"),
    "llama4": _llama("4", "https://www.llama.com/llama4/use-policy"),
    "gemma": Terms(
        name="Gemma Terms of Use",
        place="section 3.1",
        notice=(
            "Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms"
        ),
        copy=True,
        duties=(
            "Its use restrictions (section 3.2) bind every user of this model, and whoever passes it on has "
            "to pass them on as an enforceable provision.",
            "Files that were changed have to say so.",
        ),
        links=(
            ("Terms", "https://ai.google.dev/gemma/terms"),
            ("Prohibited Use Policy", "https://ai.google.dev/gemma/prohibited_use_policy"),
        ),
    ),
    "openrail": replace(_RAIL, name="OpenRAIL license family"),
    "openrail++": replace(_RAIL, name="Open RAIL++-M License"),
    "creativeml-openrail-m": replace(_RAIL, name="CreativeML OpenRAIL-M"),
    "bigscience-openrail-m": replace(_RAIL, name="BigScience OpenRAIL-M"),
    "bigscience-bloom-rail-1.0": replace(_RAIL, name="BigScience RAIL License v1.0"),
    "bigcode-openrail-m": replace(_RAIL, name="BigCode OpenRAIL-M v1"),
}
PERMISSIVE = re.compile(  # what they demand is met by the files that are copied along, and by the card
    r"apache-2\.0|mit|isc|zlib|unlicense|wtfpl|pddl|ncsa|postgresql|bsl-1\.0|afl-3\.0|artistic-2\.0|ecl-2\.0"
    r"|ms-pl|bsd(-[23]-clause(-clear)?)?|cc0-1\.0|cdla-permissive-[12]\.0|etalab-2\.0|odc-by"
)
COPYLEFT = re.compile(
    r"[al]?gpl(-\d\.\d)?|lgpl-lr|mpl-2\.0|epl-\d\.\d|eupl-\d\.\d|osl-3\.0|cdla-sharing-1\.0|odbl|gfdl"
)
CREATIVE_COMMONS = re.compile(r"cc-by(?P<terms>(-nc)?(-nd|-sa)?)-(?P<version>\d\.\d)")
UNSTATED = ("", "unknown")
# Meta's first name of its own models, before what their derivatives have to begin with.
BEFORE_THE_NAME = re.compile(r"^Meta-(?=Llama)")


def terms_of(license_id: str | None, license_name: str | None = None) -> Terms:
    """What a licence demands.

    Args:
        license_id: the Hub's word for it, or "other", or None where the original states none.
        license_name: its name, where the Hub has no word for it; older cards name the Hub's words of today.
    """
    stated = (license_name if license_id == "other" and license_name else license_id) or ""
    word = stated.strip().lower()
    if word in TERMS:
        return TERMS[word]
    if creative := CREATIVE_COMMONS.fullmatch(word):
        return _creative_commons(word, creative["terms"], creative["version"])
    if PERMISSIVE.fullmatch(word):
        return Terms(name=word)
    if COPYLEFT.fullmatch(word):
        return Terms(name=word, duties=("What is made from this model and shared stays under this licence.",))
    return Terms(name=stated if word not in UNSTATED else "", known=False)


def _creative_commons(word: str, terms: str, version: str) -> Terms:
    """Of version 4.0: sections 2(a)(1)(B), 3(a), 3(b); earlier versions agree in these terms."""
    name = f"CC {word.removeprefix('cc-').removesuffix('-' + version).upper()} {version}"
    forbidden = "lets nobody share a changed version (NoDerivatives)" if "-nd" in terms else None
    duties = []
    if not forbidden:
        duties.append(
            "Whoever passes this model on names the authors of the original and says that it was changed."
        )
    if "-nc" in terms:
        duties.append("This model may not be used commercially, nor may anything made from it.")
    if "-sa" in terms:
        duties.append("What is made from this model and shared stays under this licence.")
    place = "sections 2(a)(1) and 3" if version == "4.0" else None
    return Terms(name=name, place=place, duties=tuple(duties), forbidden=forbidden)


def fitting_name(terms: Terms, name: str) -> str:
    """The name of a derivative as its licence has it: "SuperChat-8B-24L" under Llama's begins with "Llama-".

    Args:
        terms: of the licence.
        name: without an owner.
    """
    if terms.begins_with is None or _begins_with(name, terms.begins_with):
        return name
    name = BEFORE_THE_NAME.sub("", name)
    if _begins_with(name, terms.begins_with):
        return name
    return f"{terms.begins_with.replace(' ', '-')}-{name}"


def _begins_with(name: str, beginning: str) -> bool:
    """Whether a name begins so; on the Hub, where names have no spaces, Llama-3 and Llama3 stand for it."""
    expression = "[-_. ]?".join(re.escape(word) for word in beginning.split())
    more = r"(?!\d)" if beginning[-1].isdigit() else ""  # Llama-30B is not of Llama 3
    return re.match(expression + more, name, re.IGNORECASE) is not None


def notice_file(terms: Terms, legal_files: tuple[str, ...]) -> str | None:
    """The file with the notices of the original, or the one to write; None where none is there nor needed.

    Args:
        terms: of the licence.
        legal_files: of the original, beside its weights.
    """
    there = next((name for name in legal_files if name.lower().startswith("notice")), None)
    return there or ("NOTICE" if terms.notice else None)


def refuse_by_licence(terms: Terms, repo_id: str) -> None:
    """Stop where the licence does not let a derivative be published, or not under this name.

    Args:
        terms: of the licence.
        repo_id: with or without an owner.

    Raises:
        LicenceForbids: with the reason, and the name that would do.
    """
    if terms.forbidden:
        raise LicenceForbids(
            f"the licence of the original, {terms.name}, {terms.forbidden}: leave --push out and keep the "
            f"result to yourself, or ask the authors"
        )
    owner, _, name = repo_id.rpartition("/")
    fitting = fitting_name(terms, name)
    if fitting != name:
        whole = f"{owner}/{fitting}" if owner else fitting
        raise LicenceForbids(
            f"{repo_id} breaks the licence of the original, {terms.name}, by which the name begins with "
            f"{terms.begins_with!r}: give --repo-id {whole}"
        )


def cautions(terms: Terms, name: str, *, publishing: bool) -> Iterator[str]:
    """What to tell someone who makes a derivative.

    Args:
        terms: of the licence.
        name: that the derivative would have without it.
        publishing: whether the result is to be published.
    """
    stated = f"the licence of the original, {terms.name}"
    if (fitting := fitting_name(terms, name)) != name:
        yield f"{stated}, has names begin with {terms.begins_with!r}: the result is called {fitting}"
    if terms.forbidden:
        yield f"{stated}, {terms.forbidden}: the result is not to be published"
    elif publishing and not terms.name:
        yield "the original states no licence: without one, ask its authors before others see the result"
    elif publishing and not terms.known:
        yield f"{stated}, is none that hf-prune knows: read whether it lets you publish the result"
