"""References: how a person names a dataset version, `provider://dataset[@selector]`.

`parse` reads what people write, vendors' well-known spellings included; `str` prints the canonical form. The
canonical form is plain ASCII: letters, digits and `-._~/:@%`; everything else is percent-encoded. It can
therefore stand in a shell, a filter, Markdown, HTML or a file of comma-separated values and means itself there.
Two promises: `parse(str(ref)) == ref` for every reference, and `str(parse(text))` is a fixed point.

Names that would climb out of an address or a folder (`.`, `..`, empty, with a slash or a control character,
starting with a dot) are refused here, once, so that nobody further in has to think of them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from urllib.parse import quote, unquote

from mlflow_dsver.errors import InvalidReference

LATEST = "latest"
"""The selector that every provider understands: the newest version that may be used."""

CREATE = re.compile(r"\?create(?:&|\Z)")
"""Marks a text that asks for a version to be made when a run starts; see `new_versions`."""

MAX_LENGTH = 400
"""Characters of a canonical reference at most; MLflow takes 500 for a dataset's name."""

_PROVIDER = re.compile(r"[a-z][a-z0-9+-]{0,31}\Z")
_ROLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}\Z")
_PAPERSPACE_ID = re.compile(r"(?:([a-z0-9-]{1,39})/)?(ds[a-z0-9]{13})(?::([^:/@]+))?\Z")
_PAPERSPACE_OWN = ("paperspace", "gradient")
"""What its notebooks and workflows write in a namespace's place for the team's own datasets."""
_CLARIFAI_PAGE = re.compile(
    r"https://clarifai\.com/([^/?#]+)/([^/?#]+)/datasets/([^/?#]+)(?:/versions/([^/?#]+))?/?\Z"
)
_FORM = "provider://dataset[@version, tag or latest], such as local://digits@latest"


@dataclass(frozen=True, slots=True, order=True)
class DatasetRef:
    """A dataset at a provider, and which version of it.

    provider: the provider's name, the part before `://`.
    dataset: the dataset's name or id there, decoded; segments are joined by `/`.
    selector: a version id, a tag or `latest`, decoded; None means `latest`, and was not written.
    """

    provider: str
    dataset: str
    selector: str | None = None

    def __post_init__(self) -> None:
        if not _PROVIDER.match(self.provider):
            raise InvalidReference(
                "not a provider's name",
                expected="lower-case letters, digits, + and -",
                got=_shown(self.provider),
            )
        for segment in self.dataset.split("/"):
            check_name(segment, "a dataset's name")
        if self.selector is not None:
            check_name(self.selector, "a version, tag or latest")
        if len(str(self)) > MAX_LENGTH:
            raise InvalidReference("too long", expected=f"at most {MAX_LENGTH} characters", got=len(str(self)))

    def __str__(self) -> str:
        dataset = "/".join(quote(segment, safe="") for segment in self.dataset.split("/"))
        selector = "" if self.selector is None else f"@{quote(self.selector, safe='')}"
        return f"{self.provider}://{dataset}{selector}"

    def at(self, selector: str | None) -> DatasetRef:
        """The same dataset with another selector (None for none)."""
        return replace(self, selector=selector)


def parse(text: str | DatasetRef) -> DatasetRef:
    """Read a reference; one that is parsed already is handed back.

    Well-known vendor spellings are understood: `dst364npcw6ccok:fo5rp4m` (also behind a namespace, and behind
    `paperspace://`; without a selector only as `paperspace/dst364npcw6ccok`, since any word may look like an id) and
    Clarifai's page of a dataset or version. Raises InvalidReference for any other text.
    """
    if isinstance(text, DatasetRef):
        return text
    if not isinstance(text, str):
        raise InvalidReference("a reference is text", expected=_FORM, got=type(text).__name__)
    text = text.strip(" \t\r\n")
    if len(text) > 4 * MAX_LENGTH:
        raise InvalidReference("too long", expected=f"at most {MAX_LENGTH} characters", got=len(text))
    if CREATE.search(text):
        raise InvalidReference(
            "asks for a version to be made, which only an input of a run that starts can",
            got=_shown(text),
            tip="versions create, or dsver.create_version, to make one now",
        )
    vendor = _vendor_spelling(text)
    if vendor is not None:
        return vendor
    provider, separator, rest = text.partition("://")
    if not separator:
        raise _not_a_reference(text)
    if rest.count("@") > 1:
        raise InvalidReference(
            "more than one @", expected=_FORM, got=_shown(text), tip="write %40 for an @ inside a name"
        )
    dataset, at, selector = rest.partition("@")
    return DatasetRef(
        provider=provider.lower(),
        dataset="/".join(_decoded(segment) for segment in dataset.split("/")),
        selector=_decoded(selector) if at else None,
    )


def parse_recorded(text: str) -> DatasetRef:
    """Read a reference that a run or a lock file recorded: as `parse`, and a Paperspace id that stands alone.

    Earlier versions of this package took such an id for a reference, and wrote it down as it was.
    """
    alone = _PAPERSPACE_ID.match(text.strip(" \t\r\n")) if isinstance(text, str) else None
    if alone and alone[1] is None and alone[3] is None:
        return DatasetRef("paperspace", alone[2])
    return parse(text)


def check_name(name: str, what: str) -> str:
    """Hand back a segment of a dataset's name, a version id or a tag, or raise InvalidReference.

    Refused: empty, `.`, `..`, a leading dot, slashes, backslashes, control, format and unassigned characters.
    """
    if not name:
        raise InvalidReference(f"{what} is empty", expected=_FORM)
    if name.startswith("."):
        raise InvalidReference(f"{what} starts with a dot", got=_shown(name))
    for character in name:
        if character in "/\\" or unicodedata.category(character)[0] == "C" or character in "\u2028\u2029":
            raise InvalidReference(f"{what} has a character that is not allowed", got=_shown(name))
    return name


def check_role(role: str) -> str:
    """Hand back a role (`training`, `validation`, …) that MLflow takes in its keys, or raise InvalidReference."""
    if not isinstance(role, str) or not _ROLE.match(role):
        raise InvalidReference(
            "not a role",
            expected="1 to 64 letters, digits, _ or -, such as training",
            got=_shown(str(role)),
        )
    return role


def check_tag(tag: str) -> str:
    """Hand back a tag, or raise InvalidReference: tags are written and read separated by commas."""
    check_name(tag, "a tag")
    if "," in tag or tag != tag.strip() or tag == LATEST or len(tag) > 128:
        raise InvalidReference(
            "not a tag",
            expected="at most 128 characters, no comma, no blanks around it, and not the word latest",
            got=_shown(tag),
        )
    return tag


def tag_list(tags: str | Iterable[str]) -> tuple[str, ...]:
    """Checked tags; of one text they are separated by commas, with blanks around them allowed.

    Each tag stands once, in the order given. Raises InvalidReference for one that is none.
    """
    if isinstance(tags, str):
        tags = (part.strip() for part in tags.split(",") if part.strip())
    return tuple(dict.fromkeys(check_tag(tag) for tag in tags))


def nearest(name: str, known: list[str], limit: int = 3) -> list[str]:
    """The names most like the one that was not found, best first; [] when none comes near."""
    return get_close_matches(name, known, n=limit, cutoff=0.5)


def _vendor_spelling(text: str) -> DatasetRef | None:
    if page := _CLARIFAI_PAGE.match(text):
        user, app, dataset, version = (None if part is None else _decoded(part) for part in page.groups())
        return DatasetRef("clarifai", f"{user}/{app}/{dataset}", version)
    scheme, separator, body = text.partition("://")
    if separator:
        # a canonical reference never has a bare colon in its body
        if scheme.lower() != "paperspace" or "@" in body or body.count(":") != 1:
            return None
        dataset, _, selector = body.partition(":")
        return DatasetRef("paperspace", "/".join(map(_decoded, dataset.split("/"))), _decoded(selector))
    found = _PAPERSPACE_ID.match(text)
    if not found or (found[3] is None and found[1] not in _PAPERSPACE_OWN):
        return None
    namespace = "" if found[1] in (None, *_PAPERSPACE_OWN) else f"{found[1]}/"
    return DatasetRef("paperspace", namespace + found[2], None if found[3] is None else _decoded(found[3]))


def _decoded(text: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError as error:
        raise InvalidReference("percent-encoding that is not UTF-8", got=_shown(text)) from error


def _not_a_reference(text: str) -> InvalidReference:
    tip = None
    if re.fullmatch(r"[\w./-]+(@[\w.-]+)?", text, re.ASCII) and not text.startswith((".", "/")):
        tip = f"local://{text} for a dataset of the local store"
        if _PAPERSPACE_ID.match(text):
            tip += f", paperspace://{text} for one of Paperspace"
    return InvalidReference("not a reference", expected=_FORM, got=_shown(text), tip=tip)


def _shown(text: str) -> str:
    """The text as one short, printable line."""
    printable = text if len(text) <= 60 else text[:57] + "…"
    return ascii(printable) if not printable.isprintable() or not printable else f"'{printable}'"
