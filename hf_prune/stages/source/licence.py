"""The terms of the original's licence for derivatives.

A model with layers removed is a derivative: it keeps the licence, and these terms apply. hf-prune does not
guess the terms of licences outside the table, but tells you to read them. This is no legal advice. It decides
only that hf-prune publishes no derivative that may not be shared, and gives no name that breaks the licence.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from hf_prune.errors import LicenceForbids


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The terms of one licence for derivatives that are published."""

    name: str  # of the licence, in full
    section: str | None = None  # the section with the terms for derivatives
    known: bool = True
    forbidden: str | None = None  # why a derivative may not be published
    begins_with: str | None = None  # how the derivative's name must begin
    shown: str | None = None  # words that the card must show
    notice: str | None = None  # the line of a "Notice" file
    copy: bool = False  # a copy of the licence must be beside the weights
    duties: tuple[str, ...] = ()  # other terms, one sentence each
    links: tuple[tuple[str, str], ...] = ()  # title and address of further rules


def _llama(name: str, policy: str) -> Terms:
    """The terms of a Llama Community License Agreement, as they are from 3.1 on."""
    return Terms(
        name=f"{name} Community License Agreement",
        section="section 1.b",
        begins_with="Llama",
        shown="Built with Llama",
        notice=(
            f"{name} is licensed under the {name} Community License, Copyright © Meta Platforms, Inc. All "
            f"Rights Reserved."
        ),
        copy=True,
        links=(("Acceptable Use Policy", policy),),
    )


_RAIL = Terms(
    name="Responsible AI License",
    section="the section on distribution",  # paragraph 4 of CreativeML's and BigScience's
    copy=True,
    duties=(
        "Its use-based restrictions bind you as a user of this model. If you pass the model on, you must "
        "pass them on as an enforceable provision.",
        "You must mark changed files and keep all copyright and attribution notices.",
    ),
)

# Keys are the Hub's identifiers. The terms are from the texts on the Hub and on their authors' sites.
TERMS: dict[str, Terms] = {
    "llama2": replace(
        _llama("Llama 2", "https://ai.meta.com/llama/use-policy"),
        begins_with=None,
        shown=None,
        notice=(
            "Llama 2 is licensed under the LLAMA 2 Community License, Copyright (c) Meta Platforms, Inc. All "
            "Rights Reserved."
        ),
    ),
    "llama3": replace(
        _llama("Meta Llama 3", "https://llama.meta.com/llama3/use-policy"),
        begins_with="Llama 3",
        shown="Built with Meta Llama 3",
    ),
    "llama3.1": _llama("Llama 3.1", "https://llama.meta.com/llama3_1/use-policy"),
    "llama3.2": _llama("Llama 3.2", "https://www.llama.com/llama3_2/use-policy"),
    "llama3.3": _llama("Llama 3.3", "https://www.llama.com/llama3_3/use-policy"),
    "llama4": _llama("Llama 4", "https://www.llama.com/llama4/use-policy"),
    "gemma": Terms(
        name="Gemma Terms of Use",
        section="section 3.1",
        notice=(
            "Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms"
        ),
        copy=True,
        duties=(
            "Its use restrictions (section 3.2) bind you as a user of this model. If you pass the model on, "
            "you must pass them on as an enforceable provision.",
            "You must mark changed files.",
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
PERMISSIVE = re.compile(  # the copied licence files and the card meet their terms
    r"apache-2\.0|mit|isc|zlib|unlicense|wtfpl|pddl|ncsa|postgresql|bsl-1\.0|afl-3\.0|artistic-2\.0|ecl-2\.0"
    r"|ms-pl|bsd(-[23]-clause(-clear)?)?|cc0-1\.0|cdla-permissive-[12]\.0|etalab-2\.0|odc-by"
)
COPYLEFT = re.compile(
    r"[al]?gpl(-\d\.\d)?|lgpl-lr|mpl-2\.0|epl-\d\.\d|eupl-\d\.\d|osl-3\.0|cdla-sharing-1\.0|odbl|gfdl"
)
CREATIVE_COMMONS = re.compile(r"cc-by(?P<terms>(-nc)?(-nd|-sa)?)-(?P<version>\d\.\d)")
UNSTATED = ("", "unknown")
SAME_LICENCE = "If you share a model made from this one, you must use the same licence."
META_PREFIX = re.compile(r"^Meta-(?=Llama)")  # of Meta's own models; derivatives begin with "Llama"


def terms_of(license_id: str | None, license_name: str | None = None) -> Terms:
    """The terms of a licence.

    Args:
        license_id: the Hub's identifier, or "other". None: the original states no licence.
        license_name: its name if `license_id` is "other". Older cards have today's identifiers here.
    """
    stated = (license_name if license_id == "other" and license_name else license_id) or ""
    identifier = stated.strip().lower()
    if identifier in TERMS:
        return TERMS[identifier]
    if creative := CREATIVE_COMMONS.fullmatch(identifier):
        return _creative_commons(identifier, creative["terms"], creative["version"])
    if PERMISSIVE.fullmatch(identifier):
        return Terms(name=identifier)
    if COPYLEFT.fullmatch(identifier):
        return Terms(name=identifier, duties=(SAME_LICENCE,))
    return Terms(name=stated if identifier not in UNSTATED else "", known=False)


def _creative_commons(identifier: str, terms: str, version: str) -> Terms:
    """The terms of version 4.0, sections 2(a)(1)(B), 3(a) and 3(b). Earlier versions agree in them."""
    name = f"CC {identifier.removeprefix('cc-').removesuffix('-' + version).upper()} {version}"
    forbidden = "lets nobody share a changed version (NoDerivatives)" if "-nd" in terms else None
    credit = "If you pass this model on, you must name the original's authors and say that it was changed."
    duties = [] if forbidden else [credit]
    if "-nc" in terms:
        duties.append("You may not use this model, or anything made from it, commercially.")
    if "-sa" in terms:
        duties.append(SAME_LICENCE)
    section = "sections 2(a)(1) and 3" if version == "4.0" else None
    return Terms(name=name, section=section, duties=tuple(duties), forbidden=forbidden)


def fitting_name(terms: Terms, name: str) -> str:
    """The name that the licence requires, without an owner: for Llama, "Llama-X" instead of "X"."""
    if terms.begins_with is None or _begins_with(name, terms.begins_with):
        return name
    name = META_PREFIX.sub("", name)
    beginning = "" if _begins_with(name, terms.begins_with) else f"{terms.begins_with.replace(' ', '-')}-"
    return beginning + name


def _begins_with(name: str, beginning: str) -> bool:
    """Whether a name begins so. Names on the Hub have no spaces, so Llama-3 and Llama3 match "Llama 3"."""
    expression = "[-_. ]?".join(re.escape(word) for word in beginning.split())
    more = r"(?!\d)" if beginning[-1].isdigit() else ""  # "Llama-30B" is not Llama 3
    return re.match(expression + more, name, re.IGNORECASE) is not None


def notice_file(terms: Terms, legal_files: tuple[str, ...]) -> str | None:
    """The original's notice file among its legal files, or the name of the one to write. None: not needed."""
    existing = next((name for name in legal_files if name.lower().startswith("notice")), None)
    return existing or ("NOTICE" if terms.notice else None)


def refuse_by_licence(terms: Terms, repo_id: str) -> None:
    """Refuse to publish a derivative if its licence forbids that, or forbids this name.

    Raises:
        LicenceForbids: the message has the reason, and a name that the licence allows.
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
            f"{repo_id} breaks the licence of the original, {terms.name}: the name must begin with "
            f"{terms.begins_with!r}, so give --repo-id {whole}"
        )


def cautions(terms: Terms, name: str, *, publishing: bool) -> Iterator[str]:
    """Warnings for someone who makes a derivative with this name, and publishes it or not."""
    stated = f"the licence of the original, {terms.name}"
    if (fitting := fitting_name(terms, name)) != name:
        yield f"{stated}, requires a name that begins with {terms.begins_with!r}: the result is {fitting}"
    if terms.forbidden:
        yield f"{stated}, {terms.forbidden}: do not publish the result"
    elif publishing and not terms.name:
        yield "the original states no licence: ask its authors before you share the result"
    elif publishing and not terms.known:
        yield f"{stated}, is not one that hf-prune knows: read whether it lets you publish the result"
