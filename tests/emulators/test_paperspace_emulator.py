"""The Paperspace emulator keeps to the published documents: keys, nulls, pages, tags, errors, switches, faults."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlflow_dsver.emulators.faults import KINDS, Fault
from mlflow_dsver.errors import SettingsError
from mlflow_dsver.providers.paperspace.emulator import SWITCHES, PaperspaceEmulator
from mlflow_dsver.testing import paperspace_emulator

__all__ = ["paperspace_emulator"]

CATS = "/datasets/dst364npcw6ccok"
DATASET_KEYS = ["dtCreated", "dtModified", "description", "id", "isPublic", "name", "storageProviderId", "teamId"]
VERSION_KEYS = [
    *("datasetId", "dtCreated", "dtModified", "isCommitted", "message", "metadata", "tags", "url", "usageBytes"),
    *("userId", "version"),
]


@pytest.fixture
def emulator() -> Iterator[PaperspaceEmulator]:
    with PaperspaceEmulator(seed=True, key="good") as running:
        yield running


def ask(
    emulator: PaperspaceEmulator,
    path: str,
    verb: str = "GET",
    body: Any = None,
    key: str | None = "good",
    kind: str = "",
) -> tuple[int, Any]:
    """Status and body, by nothing but the standard library."""
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    if data is not None:
        headers["Content-Type"] = kind or "application/json"
    request = urllib.request.Request(f"{emulator.base}{path}", data=data, method=verb, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_bodies_have_all_keys_and_documented_types(emulator: PaperspaceEmulator) -> None:
    """Eleven and eight keys, always there; sizes are decimal text; every success is 200."""
    status, page = ask(emulator, f"{CATS}/versions")
    assert (status, page["hasMore"], "nextPage" in page) == (200, False, False)
    assert all(sorted(each) == sorted(VERSION_KEYS) for each in page["items"])
    assert [each["usageBytes"] for each in page["items"]] == [None, "1073741824", "530841600", "524288000"]
    assert sorted(ask(emulator, CATS)[1]) == sorted(DATASET_KEYS)
    status, made = ask(emulator, f"{CATS}/versions", "POST", {})
    assert (status, made["isCommitted"], made["usageBytes"], made["tags"]) == (200, False, None, [])
    version = f"{CATS}/versions/{made['version']}"
    emulator.fill("dst364npcw6ccok", made["version"], 12)
    assert ask(emulator, version, "PUT", {"isCommitted": True})[1]["usageBytes"] == "12"
    assert ask(emulator, version, "DELETE") == (200, {"datasetId": "dst364npcw6ccok", "version": made["version"]})
    assert ask(emulator, CATS, "DELETE") == (200, {"id": "dst364npcw6ccok"})


def test_pages(emulator: PaperspaceEmulator) -> None:
    """Newest first unless asked otherwise; the mark leads on; limits and orders out of range are refused."""
    seen, mark = [], ""
    while True:
        page = ask(emulator, f"{CATS}/versions?limit=1&after={mark}")[1]
        seen += [each["version"] for each in page["items"]]
        mark = page.get("nextPage")
        if not mark:
            break
    assert seen == ["8ngwr2a", "1rn19s2", "fo5rp4m", "klfoyy9"]
    assert ask(emulator, f"{CATS}/versions?order=asc&limit=1")[1]["items"][0]["version"] == "klfoyy9"
    for query in ("limit=0", "limit=121", "limit=x", "order=up", "orderBy=name", "after=%FF"):
        status, error = ask(emulator, f"{CATS}/versions?{query}")
        assert (status, error["code"], bool(error["issues"])) == (400, "BAD_REQUEST", True)
    assert ask(emulator, "/datasets?privacy=PUBLIC")[1]["items"] == []
    assert ask(emulator, "/datasets?privacy=SECRET")[0] == 400


def test_tags_are_written_as_text_and_read_as_a_list(emulator: PaperspaceEmulator) -> None:
    version = ask(emulator, f"{CATS}/versions/klfoyy9", "PUT", {"tags": "a, clean,a"})[1]
    assert version["tags"] == ["a", "clean"]
    assert ask(emulator, f"{CATS}/versions/fo5rp4m")[1]["tags"] == []
    assert [each["version"] for each in ask(emulator, f"{CATS}/versions?tags=a")[1]["items"]] == ["klfoyy9"]


@pytest.mark.parametrize(
    ("path", "verb", "body", "kind", "status", "code"),
    [
        ("/nowhere", "GET", None, "", 404, "NOT_FOUND"),
        (CATS, "POST", {}, "", 405, "METHOD_NOT_SUPPORTED"),
        (f"{CATS}/versions", "POST", b"{", "", 400, "PARSE_ERROR"),
        (f"{CATS}/versions", "BREW", None, "", 405, "METHOD_NOT_SUPPORTED"),
        ("/datasets/none/versions/x", "DELETE", None, "", 404, "NOT_FOUND"),
        (f"{CATS}/versions/none", "DELETE", None, "", 404, "NOT_FOUND"),
        (CATS, "PUT", {"name": "digits"}, "", 409, "CONFLICT"),
        (f"{CATS}/versions", "POST", b"[]", "", 400, "BAD_REQUEST"),
        (f"{CATS}/versions", "POST", {"tags": None}, "", 400, "BAD_REQUEST"),
        (f"{CATS}/versions", "POST", {"tags": ["a"]}, "", 400, "BAD_REQUEST"),
        (f"{CATS}/versions", "POST", {"message": "x" * 100_001}, "", 413, "PAYLOAD_TOO_LARGE"),
        (f"{CATS}/versions", "POST", {}, "application/json; charset=utf-8", 415, "INTERNAL_SERVER_ERROR"),
        ("/datasets", "POST", {"isPublic": True}, "", 400, "BAD_REQUEST"),
    ],
)
def test_errors(
    emulator: PaperspaceEmulator, path: str, verb: str, body: Any, kind: str, status: int, code: str
) -> None:
    found = ask(emulator, path, verb, body, kind=kind)
    assert (found[0], found[1]["code"]) == (status, code)


def test_methods_that_a_path_has_are_told(emulator: PaperspaceEmulator) -> None:
    request = urllib.request.Request(
        f"{emulator.base}{CATS}", method="PATCH", headers={"Authorization": "Bearer good"}
    )
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=10)
    with caught.value as error:
        assert (error.code, error.headers["Allow"]) == (405, "GET, PUT, DELETE")


def test_dataset_keeps_its_own_name_when_it_is_updated(emulator: PaperspaceEmulator) -> None:
    assert ask(emulator, CATS, "PUT", {"name": "cats", "description": "x"})[1]["description"] == "x"
    assert ask(emulator, CATS, "PUT", {"name": "felines"})[1]["name"] == "felines"


def said(emulator: PaperspaceEmulator, request: bytes) -> tuple[bytes, Any]:
    """Status line and JSON of the answer to bytes as they are."""
    with socket.create_connection(("127.0.0.1", int(emulator.address.rpartition(":")[2])), timeout=10) as connection:
        connection.sendall(request)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.partition(b"\r\n")[0], json.loads(body)


CREATE = (
    b"POST /v1/datasets/dst364npcw6ccok/versions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer good\r\n"
    b"Content-Type: application/json\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
)


def test_body_in_chunks_is_read(emulator: PaperspaceEmulator) -> None:
    line, made = said(emulator, CREATE + b'b\r\n{"message":\r\n4;x=y\r\n"m"}\r\n0\r\nTrailer: x\r\n\r\n')
    assert (line, made["message"]) == (b"HTTP/1.1 200 OK", "m")


@pytest.mark.parametrize(
    "request_bytes",
    [CREATE + b"x\r\n", CREATE + b"ffffffff\r\n", CREATE + b"2\r\n{}}\r\n0\r\n\r\n", b"nonsense\r\n\r\n"],
)
def test_what_is_no_request_is_answered_with_json(emulator: PaperspaceEmulator, request_bytes: bytes) -> None:
    line, error = said(emulator, request_bytes)
    assert b" 400 " in line
    assert error["message"]


def test_defect_of_the_emulator_is_an_answer(emulator: PaperspaceEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not a connection that is cut."""
    monkeypatch.setattr(emulator, "_dispatch", lambda request: {}["defect"])
    assert ask(emulator, CATS)[0] == 500


def test_version_gets_its_size_over_http(emulator: PaperspaceEmulator) -> None:
    """It stands for the console or a workflow that fills a version, which the API has no path for."""

    def fill(path: str) -> bytes:
        request = b"POST /emulator/fill/%b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % path.encode()
        return said(emulator, request)[0].split()[1]

    assert fill("dst364npcw6ccok/8ngwr2a/1234") == b"200"
    assert ask(emulator, f"{CATS}/versions/8ngwr2a", "PUT", {"isCommitted": True})[1]["usageBytes"] == "1234"
    assert fill("dst364npcw6ccok/8ngwr2a/5") == b"404", "it is committed"
    assert (fill("none/8ngwr2a/5"), fill("dst364npcw6ccok/8ngwr2a/x")) == (b"404", b"400")


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize(("setting", "status"), [("ends", 200), ("400", 400), ("goes-on", 200)])
def test_cursor_of_a_version_that_is_gone(
    emulator: PaperspaceEmulator, setting: str, status: int, order: str
) -> None:
    emulator.switch("gone-cursor", setting)
    first = ask(emulator, f"{CATS}/versions?limit=2&order={order}")[1]
    ask(emulator, f"{CATS}/versions/{first['items'][1]['version']}", "DELETE")
    found = ask(emulator, f"{CATS}/versions?order={order}&after={first['nextPage']}")
    rest = ask(emulator, f"{CATS}/versions?order={order}")[1]["items"][1:]
    assert found[0] == status
    assert found[1].get("items", []) == (rest if setting == "goes-on" else [])


def test_keys(emulator: PaperspaceEmulator) -> None:
    """A bad key is null at the session and an error elsewhere; without a key of its own, the emulator takes any."""
    for key in ("bad", None):
        assert ask(emulator, "/auth/session", key=key) == (200, None)
        assert ask(emulator, CATS, key=key)[0] == 401
    assert ask(emulator, "/auth/session")[1]["team"]["namespace"]
    with PaperspaceEmulator() as other:
        assert ask(other, "/auth/session", key="any")[1]["user"]["id"]
        assert ask(other, "/auth/session", key=None) == (200, None)


@pytest.mark.parametrize("switch", SWITCHES, ids=lambda switch: switch.name)
def test_every_switch_changes_an_answer(switch: Any) -> None:
    """Each setting of each switch gives another answer to some request than the default does."""
    answers = []
    for setting in switch.settings[:2] if len(switch.settings) > 1 else ("20", "2"):
        with PaperspaceEmulator(seed=True, key="good", switches={switch.name: setting}) as emulator:
            answers.append(_many_answers(emulator))
    assert answers[0] != answers[1]


def _many_answers(emulator: PaperspaceEmulator) -> list[str]:
    cats, version = CATS, f"{CATS}/versions/fo5rp4m"
    emulator.add_version("dst364npcw6ccok", version="zzzzzz1", tags="x")
    calls: list[tuple[str, str, Any]] = [
        ("/datasets/none", "GET", None),
        ("/storage-providers", "GET", None),
        (f"{version}", "PUT", {"metadata": {"a": 1}}),
        (f"{version}", "PUT", {"metadata": {"b": 1}, "wrong": 1}),
        (f"{version}", "PUT", {"tags": " x , y"}),
        (f"{cats}/versions/zzzzzz1", "GET", None),
        (f"{cats}/versions?tags=x,none", "GET", None),
        (f"{cats}/versions", "GET", None),
        (f"{cats}/versions/latest", "GET", None),
        (f"{cats}/versions?after=Z29uZSAyMDE5", "GET", None),
        (f"{version}", "PUT", {"tags": ""}),
        (f"{version}", "PUT", {"isCommitted": False}),
        (f"{version}", "PUT", {"tags": 7}),
        ("/datasets", "POST", {"name": "cats"}),
        (cats, "DELETE", None),
    ]
    times = [str(ask(emulator, version)[1]["dtCreated"] == ask(emulator, version)[1]["dtModified"])]
    found = []
    for path, verb, body in calls:
        answer = ask(emulator, path, verb, body)
        if isinstance(answer[1], dict):
            times.append(str(answer[1].get("dtModified") == answer[1].get("dtCreated")))
            times.append(str("." in str(answer[1].get("dtCreated"))))
        found.append(_without_chance(json.dumps(answer, sort_keys=True)))
    return [*found, *times, _without_chance(json.dumps(ask(emulator, CATS, key="bad")))]


def _without_chance(text: str) -> str:
    """Dates and random ids taken out."""
    import re

    return re.sub(r"20\d\d-[-T:.\d]+Z|ds[a-z0-9]{13}", "…", text)


def test_state_in_a_file_outlives_the_emulator(tmp_path: Path) -> None:
    """Written after each change, whole; the seed fills an empty state only."""
    file = tmp_path / "state.json"
    with PaperspaceEmulator(state=file, seed=True) as emulator:
        made = ask(emulator, f"{CATS}/versions", "POST", {"message": "kept"})[1]["version"]
    with PaperspaceEmulator(state=file, seed=True) as emulator:
        assert ask(emulator, f"{CATS}/versions/{made}")[1]["message"] == "kept"
        assert len(emulator.datasets) == 2
    assert [each.name for each in tmp_path.iterdir()] == ["state.json"]


@pytest.mark.parametrize(
    "text", ["", "200", "399", "600", "xx", "429:", "429:times=x", "429:retry=1", "slow:seconds="]
)
def test_faults_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(SettingsError):
        Fault.parse(text)


def test_every_kind_of_fault_is_read() -> None:
    for kind in KINDS:
        assert Fault.parse("503" if kind == "STATUS" else kind).times is None
    assert Fault.parse("429:retry-after=2:times=3:verb=GET:on=/versions").retry_after == "2"


def test_fault_is_used_up_and_kept_to_its_requests(emulator: PaperspaceEmulator) -> None:
    emulator.inject("503:times=1:verb=GET:on=/versions")
    assert ask(emulator, CATS)[0] == 200
    assert [ask(emulator, f"{CATS}/versions")[0] for _ in range(2)] == [503, 200]


@pytest.mark.parametrize(("name", "value"), [("none", "x"), ("unknown", "500"), ("default-limit", "121")])
def test_switches_that_are_none_are_refused(name: str, value: str) -> None:
    with pytest.raises(SettingsError):
        PaperspaceEmulator(switches={name: value})


@pytest.mark.parametrize("paperspace_emulator", [{"seed": True, "faults": ["503:times=2"]}], indirect=True)
def test_fixture_points_the_environment_at_the_emulator(paperspace_emulator: PaperspaceEmulator) -> None:
    """A user's test needs the fixture and a reference, and no more; its arguments are those of the emulator."""
    from mlflow_dsver.model.refs import parse
    from mlflow_dsver.providers.registry import get_provider

    version = get_provider("paperspace").resolve(parse("dst364npcw6ccok:clean"))
    assert version.id == "fo5rp4m"
    assert len(paperspace_emulator.requests) == 5
