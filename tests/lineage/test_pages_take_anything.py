"""The lineage pages inside this process: whatever is asked for, and whatever stands on a run, gets a page, soon.

MLflow's own application on a small store, without a login; `tests/browser` has real servers with one.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib
import json
import re
import tempfile
import tracemalloc
import unicodedata
import urllib.parse
import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from mlflow_dsver.deadlines import Deadline
from mlflow_dsver.model.manifests import FileEntry, Manifest
from mlflow_dsver.model.refs import parse
from mlflow_dsver.model.versions import DatasetVersion, Grade, Link
from mlflow_dsver.tracking.record_writer import PendingLink, write

pytestmark = pytest.mark.filterwarnings(  # MLflow's WSGI bridge closes no file
    "ignore::pytest.PytestUnraisableExceptionWarning"
)

VERIFY = "/ajax-api/2.0/dsver/verify"
ROUTES = {
    "/dsver": ("q", "after"),
    "/dsver/dataset": ("ref", "versions", "runs", "experiment", "role", "grade", "verdict", "since", "until"),
    "/dsver/version": ("ref", "runs", "experiment", "role", "grade", "verdict", "since", "until"),
    "/dsver/run": ("id",),
    "/dsver/model": ("key",),
    "/dsver/diff": ("a", "b"),
    "/dsver/search": ("q", "after"),
}


@dataclass
class Pages:
    """The application, what is in its store, and how a test asks."""

    http: Any
    client: MlflowClient
    experiment: str

    def get(self, path: str) -> tuple[int, str]:
        answer = self.http.get(path)
        return answer.status_code, answer.get_data(as_text=True)

    def check(self, run_id: str) -> tuple[int, str]:
        answer = self.http.post(VERIFY, data={"run": run_id})
        return answer.status_code, answer.get_data(as_text=True)

    def linked(self, manifest: Manifest, reference: str = "local://digits@0123456789abcdef") -> str:
        """A run that is linked to a version with a manifest; the version is nobody's."""
        return self.forged(reference, manifest.digest, manifest.to_bytes())

    def forged(self, reference: str, digest: str, manifest: bytes) -> str:
        """A run whose record says so, and has this as its manifest."""
        made = self.client.create_run(self.experiment)
        version = DatasetVersion(parse(reference), content_digest=digest, usage_bytes=1)
        link = Link("training", reference, version, Grade("A"), datetime.now(UTC))
        write(self.client, made.info, made, [PendingLink(link)], Deadline(60))
        run_id = str(made.info.run_id)
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "training.manifest.jsonl.gz"
            path.write_bytes(manifest)
            self.client.log_artifact(run_id, str(path), "dsver")
        return run_id


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what MLflow's handlers import when they are first asked
        importlib.import_module("mlflow.server.auth")
        create = importlib.import_module("mlflow.server.fastapi_app").create_fastapi_app
    from mlflow.server import app, handlers

    from mlflow_dsver.server.rest_client import set_served
    from mlflow_dsver.server.routes import register_routes

    folder = tmp_path_factory.mktemp("pages")
    uri = f"sqlite:///{folder}/mlflow.db"
    with pytest.MonkeyPatch.context() as patched:
        for name in ("_tracking_store", "_model_registry_store"):
            patched.setattr(handlers, name, None)
        handlers._get_tracking_store(uri, str(folder / "artifacts"))
        handlers._get_model_registry_store(uri)
        if not any(rule.rule == "/dsver" for rule in app.url_map.iter_rules()):
            patched.setattr(app, "_got_first_request", False)  # another test may have asked it
            register_routes(app)
        patched.setitem(app.extensions, "mlflow_dsver", app)  # put back at the end
        set_served(app, create(app))
        client = MlflowClient(uri, uri)
        experiment = client.create_experiment("digits", (folder / "artifacts").as_uri())
        made = Pages(app.test_client(), client, experiment)
        made.linked(Manifest((FileEntry("a", 1, "0" * 64),)))
        yield made


values = st.one_of(
    st.text(max_size=30),
    st.text(st.characters(categories=["Cc", "Cf", "Cs", "Zl", "Zs", "Po"]), max_size=8),
    st.integers().map(str),
    st.sampled_from(
        ["local://digits", "local://digits@0123456789abcdef", "local://digits@x", "models:/m/1", "models:/m-0a/1",
         "models:/%/" + "9" * 30, "models:/m-00ff", "A", "MATCH", "none", "2026-01-01", "2026-13-45", "0001-01-01",
         "9999-12-31", "\u0661\u0662", "a" * 1999, "'", '"', "\\", "%", "!", "`", "local://" + "%00" * 9,
         "digits.x='1' OR 1=1", "blake3:" + "0" * 64]
    ),
)  # fmt: skip


@pytest.mark.parametrize("path", ROUTES)
def test_any_query_gets_a_page_and_no_failure(pages: Pages, path: str) -> None:
    """Found, not found or refused; and never MLflow's or Flask's own page of an error."""

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.dictionaries(st.sampled_from(ROUTES[path]), values, max_size=len(ROUTES[path])))
    @example(dict.fromkeys(ROUTES[path], ""))
    @example(dict.fromkeys(ROUTES[path], "\0"))
    @example(dict.fromkeys(ROUTES[path], "local://digits@0123456789abcdef"))
    @example({**dict.fromkeys(ROUTES[path], "local://digits"), "since": "0001-01-01", "until": "9999-12-31"})
    @example({**dict.fromkeys(ROUTES[path], "local://digits"), "since": "", "until": "", "runs": ""})
    def check(query: dict[str, str]) -> None:
        told = urllib.parse.urlencode({name: value.encode("utf-8", "surrogatepass") for name, value in query.items()})
        status, text = pages.get(f"{path}?{told}")
        assert status in (200, 400, 404), (told, status)
        assert "<!doctype html>" in text
        assert "Traceback" not in text

    check()


@pytest.mark.parametrize(
    "query", ["%", "%ff%fe=%80", "ref", "ref=&ref=&&=", "ref=local://a&" * 500, "ref=" + "x" * 3000]
)
@pytest.mark.parametrize("path", ROUTES)
def test_odd_queries_get_a_page(pages: Pages, path: str, query: str) -> None:
    status, text = pages.get(f"{path}?{query}")
    assert status in (200, 400, 404)
    assert "<!doctype html>" in text


@settings(max_examples=40, deadline=None)
@given(run_id=values)
def test_any_run_can_be_asked_to_be_checked(pages: Pages, run_id: str) -> None:
    answer = pages.http.post(VERIFY, data={"run": run_id.encode("utf-8", "replace")})
    assert answer.status_code in (200, 400, 404)


def test_a_check_that_fails_does_not_block_the_next(pages: Pages, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it fails: MLflow does not answer, no thread can be started, a provider raises nonsense."""
    from mlflow_dsver.server import verify_page

    run_id = pages.linked(Manifest((FileEntry("a", 1, "0" * 64),)))

    def fails(*_: Any, **__: Any) -> Any:
        raise MlflowException("the store is away")

    def breaks(*_: Any, **__: Any) -> Any:
        raise RuntimeError("can't start new thread; /srv/secret/path")

    for place, failure in (
        (verify_page.RestClient, ("get_run", fails)),
        (verify_page, ("run_of", fails)),
        (verify_page.threading.Thread, ("start", breaks)),
        (verify_page, ("check_runs", breaks)),
        (verify_page, ("disclosed", fails)),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(place, *failure)
            status, text = pages.check(run_id)
            assert status in (200, 404, 500, 502), failure
            assert "<!doctype html>" in text
            assert "/srv/secret" not in text
        status, text = pages.check(run_id)
        assert status == 200
        assert "Result of this check" in text, failure


def swelling(files: int) -> tuple[str, bytes]:
    """Digest and content of a sound manifest, about three hundred bytes unpacked for each that is packed."""
    from blake3 import blake3

    hasher = blake3()
    packer = zlib.compressobj(6, wbits=31)
    line = b'{"path":"%07d","bytes":' + str(files).encode() + b',"digest":"' + b"0" * 64 + b'"}\n'
    blocks = [b"".join(line % number for number in range(start, start + 50_000)) for start in range(0, files, 50_000)]
    for block in blocks:
        hasher.update(block)
    header = json.loads(Manifest((FileEntry("a", 1, "0" * 64),)).header())
    header["content_digest"] = "blake3:" + hasher.hexdigest()
    packed = [packer.compress(json.dumps(header).encode() + b"\n"), *map(packer.compress, blocks), packer.flush()]
    return header["content_digest"], b"".join(packed)


@dataclass
class Bombs:
    """Versions with manifests that swell, a run of each. beyond: past the bounds. within: just inside them."""

    beyond: list[tuple[str, str]]
    within: list[tuple[str, str]]


@pytest.fixture(scope="module")
def bombs(pages: Pages) -> Bombs:
    made: list[list[tuple[str, str]]] = [[], []]
    for number, files in enumerate((1_100_000, 1_200_000, 300_000, 310_000)):
        digest, content = swelling(files)
        assert len(content) < 8 << 20
        reference = f"local://bomb@000000000000000{number}"
        made[number // 2].append((reference, pages.forged(reference, digest, content)))
    return Bombs(*made)


MEMORY = 128 << 20
"""Bytes that a page may take at most, whatever stands on the runs that it is about."""


@pytest.mark.parametrize("kind", ["beyond", "within"])
def test_manifests_that_swell_cost_a_page_no_more_than_its_bounds(pages: Pages, bombs: Bombs, kind: str) -> None:
    """Memory is measured; the work is bounded by the bytes and files that are looked at."""
    (one, run_id), (other, _) = getattr(bombs, kind)
    for path in (
        f"/dsver/diff?a={one}&b={other}",
        "/dsver/search?q=0000",
        "/dsver/search?q=0",
        f"/dsver/version?ref={one}",
    ):
        status, text, peak = measured(lambda path=path: pages.get(path))
        assert status == 200
        assert peak < MEMORY, (path, peak)
        if "diff" in path:
            assert "Could not compare" in text
        if "search" in path:
            assert text.count("<tr>") <= 201
    status, text, peak = measured(lambda: pages.check(run_id))
    assert status == 200
    assert peak < MEMORY
    assert "More than the check on a page reads" in text
    assert f"mlflow-dsver verify {run_id}" in text


def measured(ask: Callable[[], tuple[int, str]]) -> tuple[int, str, int]:
    """An answer, and the bytes that making it took at most."""
    tracemalloc.start()
    try:
        status, text = ask()
        return status, text, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("packed", "content"),
    [(False, b""), (False, b"\x1f\x8b"), (True, b""), (True, b"{}"), (True, b"[" * 99_999), (True, b"\n" * 99)],
    ids=["empty", "cut", "nothing", "no header", "deep", "blank lines"],
)
def test_damaged_manifests_are_pages_too(pages: Pages, packed: bool, content: bytes) -> None:
    digest = "blake3:" + hashlib.sha256(content).hexdigest()
    reference = f"local://damaged@{digest[7:23]}"
    run_id = pages.forged(reference, digest, gzip.compress(content) if packed else content)
    assert pages.get(f"/dsver/diff?a={reference}&b={reference}")[0] == 200
    assert pages.get("/dsver/search?q=a")[0] == 200
    status, text = pages.check(run_id)
    assert status == 200
    assert "Result of this check" in text


def test_a_manifest_with_its_right_digest_and_lines_that_are_none_is_told(pages: Pages) -> None:
    from blake3 import blake3

    references = []
    for lines in (b'{"path":"/etc/a"}\n', b"not json\n"):
        header = json.loads(Manifest((FileEntry("a", 1, "0" * 64),)).header())
        header["content_digest"] = "blake3:" + blake3(lines).hexdigest()
        reference = f"local://nonsense@{header['content_digest'][7:23]}"
        pages.forged(reference, header["content_digest"], gzip.compress(json.dumps(header).encode() + b"\n" + lines))
        references.append(reference)
    status, text = pages.get("/dsver/diff?a={}&b={}".format(*references))
    assert status == 200
    assert "A manifest is damaged" in text
    assert pages.get("/dsver/search?q=etc")[0] == 200
    assert pages.get("/dsver/search?q=json")[0] == 200


HOSTILE = [
    "javascript:alert(1)",
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "\u202egnp.exe",
    "\x1b]0;title\x07",
    "a" * 5000,
    "](javascript:alert(1))",
    "{{ 7 * 7 }}{% raw %}",
    "&#x3c;b&#x3e;",
    "data:text/html,<script>",
    "\u2028\u2029\u200b",
]


def test_names_of_runs_do_nothing_where_they_land(pages: Pages) -> None:
    """Runs, users, commits, models, tags and requested references, each with a hostile text, on every page."""
    found = []
    for number, text in enumerate(HOSTILE):
        reference = f"local://hostile@{number:016x}"
        run_id = pages.linked(Manifest((FileEntry("a", 1, "0" * 64),)), reference)
        pages.client.set_tag(run_id, "mlflow.runName", text)
        pages.client.update_run(run_id, name=text)
        for key in (
            "mlflow.user",
            "mlflow.source.git.commit",
            "dsver.verdict",
            "dsver.training.grade",
            "mlflow.note.content",
        ):
            pages.client.set_tag(run_id, key, text)
        pages.client.log_param(run_id, "dsver.odd.requested", text)
        pages.client.set_tag(run_id, "dsver.odd.version", reference)
        found += [f"/dsver/run?id={run_id}", f"/dsver/version?ref={reference}"]
    for path in (
        *found,
        "/dsver/dataset?ref=local://hostile",
        "/dsver",
        "/dsver/search?q=a",
        "/dsver?q=%3Cscript%3E",
    ):
        status, text = pages.get(path)
        assert status == 200
        seen = _Seen(text)
        assert seen.tags <= _TAGS, path
        assert not any(name.startswith("on") for name in seen.attributes), path
        for address in seen.addresses:
            assert address.startswith(("/", "#")) or re.match(r"https?://", address), (path, address)
        assert not any(
            unicodedata.category(each) == "Cf" or (ord(each) < 32 and each not in "\n") for each in text
        ), path
        assert "49{%" not in text
    # the longest name of all does not make a page long
    assert len(pages.get(found[10])[1]) < 200_000


_TAGS = frozenset(
    "html head meta title style body a header nav main section article footer h1 h2 h3 p div span dl dt dd ul ol li"  # noqa: SIM905
    " table thead tbody tr th td small code form input select option label button br svg g path rect text tspan line"
    " defs marker desc circle ellipse polygon polyline strong em b link".split()
)


class _Seen(HTMLParser):
    """The tags, attributes and addresses of a page, as a browser would find them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.addresses += [value or "" for name, value in attrs if name in ("href", "src", "action", "xlink:href")]
