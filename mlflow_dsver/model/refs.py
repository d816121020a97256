"""References: how a person names a dataset version, `provider://dataset[@selector]`.

`parse` reads what people write, including the notations that installed providers accept; `str` prints the canonical
form. The canonical form is plain ASCII: letters, digits and `-._~/:@%`; everything else is percent-encoded. It can
therefore be put unquoted into a shell command, a filter, Markdown, HTML or a CSV file. Two invariants hold:
`parse(str(ref)) == ref` for every reference, and `str(parse(text))` is a fixed point.

Names that would leave an address or a folder (`.`, `..`, empty, with a backslash or a control character, starting
with a dot) are refused here, once, so that no other module has to check for them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from urllib.parse import quote, unquote

from mlflow_dsver import plugins
from mlflow_dsver.errors import InvalidReference

LATEST = "latest"
"""The selector that every provider understands: the newest version that may be used."""

CREATE = re.compile(r"\?create(?:&|\Z)")
"""Marks a text that asks for a version to be made when a run starts; see `new_versions`."""

MAX_LENGTH = 400
"""Characters of a canonical reference at most; MLflow takes 500 for a dataset's name."""

_PROVIDER = re.compile(r"[a-z][a-z0-9+-]{0,31}\Z")
_ROLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}\Z")
_NAMES = r"(?!\.)[A-Za-z0-9._~%-]+(?:/(?!\.)[A-Za-z0-9._~%-]+)*"
_CANONICAL = re.compile(rf"{_NAMES}(?:@{_NAMES})?\Z")
"""What follows `://` in a canonical reference."""
_FORM = "provider://dataset[@version, tag or latest], such as local://digits@latest"


@dataclass(frozen=True, slots=True, order=True)
class DatasetRef:
    """A dataset at a provider, and which version of it.

    provider: the provider's name, the part before `://`.
    dataset: the dataset's name or id there, decoded; segments are joined by `/`.
    selector: a version id, a tag or `latest`, decoded; None means `latest`, and was not written. It has slashes only
        where the provider allows them (`ProviderInfo.slashes_in_selectors`).
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
            whole = "/" not in self.selector or not plugins.slashes_in_selectors(self.provider)
            for segment in (self.selector,) if whole else self.selector.split("/"):
                check_name(segment, "a version, tag or latest")
        if len(str(self)) > MAX_LENGTH:
            raise InvalidReference("too long", expected=f"at most {MAX_LENGTH} characters", got=len(str(self)))

    def __str__(self) -> str:
        dataset = "/".join(quote(segment, safe="") for segment in self.dataset.split("/"))
        selector = "" if self.selector is None else f"@{quote(self.selector, safe='/')}"
        return f"{self.provider}://{dataset}{selector}"

    def at(self, selector: str | None) -> DatasetRef:
        """The same dataset with another selector (None for none)."""
        return replace(self, selector=selector)


def parse(text: str | DatasetRef) -> DatasetRef:
    """Read a reference; one that is parsed already is handed back.

    Notations of installed providers are understood (`ProviderInfo.spelling`). Raises InvalidReference for any other
    text.
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
    provider, separator, rest = text.partition("://")
    # a canonical reference of an installed provider is read without asking the plug-ins for their spellings
    if not _CANONICAL.match(rest) or provider.lower() not in plugins.providers():
        spelled = _spelling(text, provider.lower() if separator else None)
        if spelled is not None:
            return spelled
    if not separator:
        raise _not_a_reference(text)
    if rest.count("@") > 1:
        raise InvalidReference(
            "more than one @", expected=_FORM, got=_shown(text), tip="write %40 for an @ inside a name"
        )
    dataset, at, selector = rest.partition("@")
    return _from_parts(provider.lower(), dataset, selector if at else None)


def parse_recorded(text: str) -> DatasetRef:
    """Read a reference that a run or a lock file recorded: as `parse`, and texts that earlier versions recorded.

    See `ProviderInfo.recorded_spelling`.
    """
    if isinstance(text, str) and "://" not in text:
        for name, info in plugins.provider_infos().items():
            found = info.recorded_spelling(text.strip(" \t\r\n")) if info.recorded_spelling else None
            if found:
                return _from_parts(name, *found)
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


def is_role(text: str) -> bool:
    """Whether the text can be a role: 1 to 64 letters, digits, `_` or `-`, the first no sign."""
    return _ROLE.match(text) is not None


def check_role(role: str) -> str:
    """Hand back a role (`training`, `validation`, …) that MLflow takes in its keys, or raise InvalidReference."""
    if not isinstance(role, str) or not is_role(role):
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


def _spelling(text: str, scheme: str | None) -> DatasetRef | None:
    """What a text means in the notation of an installed provider; None when no provider knows it.

    A text whose scheme is a provider's name is read by that provider alone.
    """
    infos = plugins.provider_infos()
    for name, info in infos.items():
        if info.spelling is not None and (scheme == name or scheme not in plugins.providers()):
            found = info.spelling(text)
            if found is not None:
                return _from_parts(name, *found)
    return None


def _from_parts(provider: str, dataset: str, selector: str | None) -> DatasetRef:
    """A reference from parts that may be percent-encoded."""
    return DatasetRef(
        provider,
        "/".join(_decoded(segment) for segment in dataset.split("/")),
        None if selector is None else "/".join(_decoded(segment) for segment in selector.split("/")),
    )


def _decoded(text: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError as error:
        raise InvalidReference("percent-encoding that is not UTF-8", got=_shown(text)) from error


def _not_a_reference(text: str) -> InvalidReference:
    tip = None
    if re.fullmatch(r"[\w./-]+(@[\w.-]+)?", text, re.ASCII) and not text.startswith((".", "/")):
        tip = f"local://{text} for a dataset of the local store"
        for name, info in plugins.provider_infos().items():
            if info.recorded_spelling and info.recorded_spelling(text.rpartition("/")[2]):
                tip += f", {name}://{text} for one of {info.title}"
    return InvalidReference("not a reference", expected=_FORM, got=_shown(text), tip=tip)


def _shown(text: str) -> str:
    """The text as one short, printable line."""
    printable = text if len(text) <= 60 else text[:57] + "…"
    return ascii(printable) if not printable.isprintable() or not printable else f"'{printable}'"
