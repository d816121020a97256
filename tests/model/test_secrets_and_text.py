"""Secrets are never printed, and hostile text is made harmless."""

from __future__ import annotations

import copy
import pickle
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_dsver import settings  # noqa: F401  (tells which variables are secret)
from mlflow_dsver.errors import DsverError, NotFound
from mlflow_dsver.secrets import HIDDEN, MAX_TEXT, Secret, redact, redacted
from mlflow_dsver.text import error_line, human_bytes, human_count, markdown, markdown_code, one_line


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


class TestTextsOfOthers:
    """What other libraries' errors quote is taken out before it is shown, and references are not mistaken for it."""

    SECRET = "Hq3-very.secret_Value9"

    @pytest.mark.parametrize(
        "text",
        [
            "error sending request for url (http://{}@10.0.0.1:9000/bucket)",
            "cannot connect to https://user:{}@host/path",
            "postgresql+psycopg2://mlflow:{}@db/mlflow: refused",
            "mysql://mlflow:with/slash@and{}@db/mlflow",
            "acme://user:{}@host",
            "Max retries exceeded with url: /data?X-Amz-Signature={}&x=1 (Caused by y)",
            "GET https://host/x?token={}",
            "{'Authorization': 'Key {}', 'Accept': '*/*'}",
            "Authorization: Bearer {}",
            "header b'x-api-key: {}'",
            "Cookie: session={}",
            "connection string: host=db password={} user=x",
            '{"secret": "{}"}',
            "AWS_SECRET_ACCESS_KEY={}",
            "sent Basic {}== to the server",
        ],
    )
    def test_secrets_are_taken_out(self, text: str) -> None:
        quoted = text.replace("{}", self.SECRET)
        for shown in (
            redacted(quoted),
            one_line(ValueError(quoted)),
            error_line(OSError(quoted)),
            str(DsverError(quoted)),
        ):
            assert self.SECRET not in shown
            assert HIDDEN in shown
        error = NotFound("x", got=quoted, expected=quoted, tip=quoted, done=quoted)
        assert self.SECRET not in str(error)
        assert self.SECRET not in f"{error.got}{error.expected}{error.tip}{error.done}"

    @pytest.mark.parametrize(
        "text",
        [
            "local://digits@latest: no version of that id and no such tag",
            "paperspace://dst364npcw6ccok@fo5rp4m",
            "dst364npcw6ccok:fo5rp4m",
            "clarifai://me/app/cats@v3; expected a token, got none",
            "acme://data@v1",
            "no key is set. Try: set PAPERSPACE_API_KEY",
            "is the name right? No: it is not",
            "https://docs.example.org/a/b#c",
            "the header promises blake3:00; the lines give blake3:11",
            "Bearer authentication failed",
            "no such tag: secret",
        ],
    )
    def test_what_is_no_secret_stays(self, text: str) -> None:
        assert redacted(text) == text

    def test_values_of_variables_named_as_secrets_are_taken_out(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Of whatever program they are; words such as `none` are left."""
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", self.SECRET)
        monkeypatch.setenv("SOME_TOOLS_TOKEN", "other-" + self.SECRET)
        monkeypatch.setenv("OTHER_TOKEN", "none")
        shown = redacted(f"no {self.SECRET}, other-{self.SECRET}, none")
        assert shown == f"no {HIDDEN}, {HIDDEN}, none"

    @pytest.mark.parametrize(
        "piece", ["a", "://", "sql://", "sql", "x://a", "?", "?a", "?a=", "token", "Key a1", "Bearer a", "api-", "a@",
                  "http://a@", "authorization ", "cookie: ", "token=", '"secret" : ', "https://a", " ", "@"],
    )  # fmt: skip
    @pytest.mark.timeout(30)
    def test_long_texts_are_looked_through_in_no_time(self, piece: str) -> None:
        """Only their beginning is, and no pattern goes back and forth in it: a few milliseconds."""
        shown = redacted(piece * (1_000_000 // len(piece)))
        assert len(shown) < 6 * MAX_TEXT

    @given(st.text())
    def test_any_text_is_taken(self, text: str) -> None:
        assert isinstance(redacted(text), str)
        assert isinstance(one_line(ValueError(text)), str)


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
