"""Secrets that cannot be printed, and hostile texts that do nothing where they land."""

from __future__ import annotations

import copy
import pickle
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_dsver.secrets import HIDDEN, Secret, redact
from mlflow_dsver.text import human_bytes, human_count, markdown, markdown_code, one_line


class TestSecrets:
    def test_no_way_of_printing_shows_it(self) -> None:
        secret = Secret("sesame-open")
        for text in (str(secret), repr(secret), f"{secret}", f"{secret:>20}", f"{[secret]}", "%s" % secret):  # noqa: UP031
            assert "sesame" not in text
        assert "sesame" not in str(vars(type(secret)))

    @pytest.mark.parametrize("keep", [pickle.dumps, copy.deepcopy])
    def test_it_is_not_kept_in_other_forms(self, keep: object) -> None:
        with pytest.raises(TypeError, match="not pickled"):
            keep(Secret("sesame"))  # type: ignore[operator]

    def test_it_compares_by_value(self) -> None:
        assert Secret("a") == Secret("a")
        assert Secret("a") != "a"
        assert len({Secret("a"), Secret("a")}) == 1
        assert not Secret("")

    @given(st.lists(st.text("ab[]hiden", min_size=4, max_size=8), max_size=4), st.text(max_size=10))
    def test_redaction_leaves_none(self, values: list[str], around: str) -> None:
        values = [value for value in values if value not in HIDDEN and around.find(value) < 0]
        text = redact(around + " ".join(values) + around, [*map(Secret, values), None])
        assert all(value not in text.replace(HIDDEN, "\0") for value in values)

    def test_a_secret_that_another_begins_with_hides_both(self) -> None:
        assert redact("abcd abcdefgh", [Secret("abcd"), Secret("abcdefgh")]) == f"{HIDDEN} {HIDDEN}"

    def test_words_are_left(self) -> None:
        assert redact("a key of abc", [Secret("abc"), Secret(""), None]) == "a key of abc"


class TestNumbers:
    @pytest.mark.parametrize(
        ("count", "text"),
        [
            (None, "unknown"), (0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB"),
            (2**20 - 1, "1.0 MiB"), (2**20, "1.0 MiB"), (-4096, "-4.0 KiB"), (2**40 - 1, "1.0 TiB"),
            (2**40, "1.0 TiB"), (2**60, "1048576.0 TiB"),
        ],
    )  # fmt: skip
    def test_bytes(self, count: int | None, text: str) -> None:
        assert human_bytes(count) == text

    @given(st.integers(1, 2**60))
    def test_no_unit_shows_more_than_its_next(self, count: int) -> None:
        number, unit = human_bytes(count).split()
        assert unit == "TiB" or float(number) < 1024

    def test_counts(self) -> None:
        assert human_count(1, "file") == "1 file"
        assert human_count(1797, "file") == "1,797 files"
        assert human_count(2, "entry", "entries") == "2 entries"


class TestTexts:
    @given(st.text(), st.integers(1, 50))
    def test_one_line_is_one_printable_line(self, text: str, limit: int) -> None:
        shown = one_line(text, limit)
        assert shown.isprintable()
        assert len(shown) <= limit
        assert not any(unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") for character in shown)

    @given(st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]).filter(str.isprintable), max_size=20))
    def test_harmless_text_stays_as_it_is(self, text: str) -> None:
        assert one_line(text) == text

    @pytest.mark.parametrize("text", ["a\nb", "\x1b[2J", "a\u202eb", "a\u2028b", "\ud800", "a\0"])
    def test_dangerous_characters_are_shown(self, text: str) -> None:
        assert "\\" in one_line(text)

    @given(st.text(max_size=60))
    def test_markdown_has_no_markup(self, text: str) -> None:
        """Every character that could mean something has a backslash before it."""
        shown = markdown(text)
        plain = shown.replace("\\\\", "")
        for place, character in enumerate(plain):
            if character in "`*_{}[]<>()#+-.!|~&:@/":
                assert plain[place - 1] == "\\"
                assert place > 0

    @given(st.text(max_size=60))
    def test_inline_code_ends_where_it_ends(self, text: str) -> None:
        shown = markdown_code(text)
        assert shown[0] == shown[-1] == "`"
        assert not set("`|\n") & set(shown[1:-1])
