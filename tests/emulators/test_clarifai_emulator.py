"""The Clarifai emulator by an ordinary HTTP client: the documents' own calls, statuses, keys, pages, data host."""

from __future__ import annotations

import io
import json
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import mlflow_dsver
from mlflow_dsver.errors import SettingsError
from mlflow_dsver.providers.clarifai.emulator import ClarifaiEmulator
from mlflow_dsver.providers.clarifai.emulator.responses import SWITCHES, protobuf
from mlflow_dsver.testing import clarifai_emulator  # noqa: F401 (a fixture)

LONG = "/v2/users/demo-user/apps/demo-app"


@pytest.fixture
def emulator() -> Iterator[ClarifaiEmulator]:
    with ClarifaiEmulator(seed=True, key="pat-good", app_key="app-good") as running:
        yield running


def ask(
    emulator: ClarifaiEmulator, verb: str, path: str, body: object = None, authorization: str | None = "Key pat-good"
) -> tuple[int, Any]:
    """Status and parsed body, by the standard library's client."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": authorization} if authorization else {})
    data = body.encode() if isinstance(body, str) else None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(emulator.address + path, data, headers, method=verb)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def fetch(address: str, authorization: str | None) -> tuple[int, bytes]:
    request = urllib.request.Request(address, headers={"Authorization": authorization} if authorization else {})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_the_five_calls_of_2021_work_as_they_were_written(emulator: ClarifaiEmulator) -> None:
    """Short path, an app's key, and the bodies of the documents of 2021, with `name` and `dataset_filter`."""
    versions, key = "/v2/datasets/cats/versions", "Key app-good"
    ask(emulator, "POST", "/v2/annotation_filters", {"annotation_filters": [{"id": "my-filter"}]}, key)
    add = """{
    "dataset_versions": [
        {
            "id": "dataset-version-1633032673",
            "name": "foo",
            "dataset_filter": {
                "id": "my-filter"
            }
        }
    ]
}"""
    status, answer = ask(emulator, "POST", versions, add, key)
    assert (status, answer["status"]["code"]) == (200, 10000)
    made = answer["dataset_versions"][0]
    assert made["id"] == "dataset-version-1633032673"
    assert made["annotation_filter_config"]["annotation_filter"]["id"] == "my-filter"
    assert "name" not in made
    assert made["description"] == "foo"

    status, answer = ask(emulator, "GET", f"{versions}?page=1&per_page=100", None, key)
    assert status == 200
    assert answer["dataset_versions"][0]["id"] == "dataset-version-1633032673"

    status, answer = ask(emulator, "GET", f"{versions}/dataset-version-1633032673", None, key)
    assert (status, answer["dataset_version"]["id"]) == (200, "dataset-version-1633032673")

    change = """{
    "dataset_versions": [
        {
            "id": "dataset-version-1633032673",
            "name": "dataset version updated name"
        }
    ],
    "action": "overwrite"
}"""
    status, answer = ask(emulator, "PATCH", versions, change, key)
    assert (status, answer["status"]["code"]) == (200, 10000)
    assert answer["dataset_versions"][0]["description"] == "dataset version updated name"

    delete = """{
    "dataset_version_ids": ["dataset-version-1633032673"]
}"""
    status, answer = ask(emulator, "DELETE", versions, delete, key)
    assert (status, answer["status"]["code"]) == (200, 10000)
    assert answer["status"]["details"] == "Dataset version 'dataset-version-1633032673' deleted"
    assert ask(emulator, "GET", f"{versions}/dataset-version-1633032673", None, key)[0] == 404


def test_the_same_calls_on_the_long_path_with_a_token(emulator: ClarifaiEmulator) -> None:
    """Today's page of the documents sends the same bodies with a token to the path with user and app."""
    versions = f"{LONG}/datasets/cats/versions"
    body = {"dataset_versions": [{"id": "w1", "dataset_filter": {"id": "f"}}]}
    assert ask(emulator, "POST", versions, body)[0] == 200
    assert ask(emulator, "GET", f"{versions}/w1")[1]["dataset_version"]["user_id"] == "demo-user"
    assert ask(emulator, "GET", "/v2/users/me/apps/demo-app/datasets/cats/versions/w1")[0] == 200
    body = {"dataset_versions": [{"id": "w1", "name": "x"}], "action": "overwrite"}
    assert ask(emulator, "PATCH", versions, body)[0] == 200
    assert ask(emulator, "DELETE", versions, {"dataset_version_ids": ["w1"]})[0] == 200


def test_filters_of_2021_are_gone_unless_switched_on(emulator: ClarifaiEmulator) -> None:
    body = {"dataset_filters": [{"id": "f1", "name": "foo", "saved_search": {"id": "s"}}]}
    status, answer = ask(emulator, "POST", f"{LONG}/datasets/cats/filters", body)
    assert (status, answer["status"]["code"]) == (404, 11101)
    emulator.switch("filters", "served")
    assert ask(emulator, "POST", f"{LONG}/datasets/cats/filters", body)[0] == 200
    assert ask(emulator, "GET", f"{LONG}/datasets/cats/filters/f1")[1]["dataset_filter"]["id"] == "f1"


@pytest.mark.parametrize(
    ("authorization", "path", "http", "code"),
    [
        (None, f"{LONG}/datasets", 400, 11102),
        ("key pat-good", f"{LONG}/datasets", 400, 11102),
        ("Bearer pat-good", f"{LONG}/datasets", 400, 11102),
        ("Key pat-bad", f"{LONG}/datasets", 401, 11009),
        ("Key pat-good", "/v2/datasets", 401, 11008),
        ("Key app-good", "/v2/users/other/apps/their/datasets", 401, 11008),
        ("Key app-bad", "/v2/datasets", 401, 11009),
        ("Key pat-good", f"{LONG}/datasets/none", 404, 11101),
        ("Key pat-good", "/v3/datasets", 404, 11101),
        ("Key pat-good", "/v2/users/demo-user/apps/none/datasets", 404, 11101),
        ("Key pat-good", "/v2/users/other/apps/demo-app/datasets/cats/versions", 404, 11101),
        ("Key pat-good", f"{LONG}/datasets/cats/versions/none", 404, 11101),
    ],
)
def test_refusals_have_a_status_inside(
    emulator: ClarifaiEmulator, authorization: str | None, path: str, http: int, code: int
) -> None:
    status, answer = ask(emulator, "GET", path, None, authorization)
    assert (status, answer["status"]["code"]) == (http, code)
    assert len(answer["status"]["req_id"]) == 32


def test_app_exists_once_it_was_made(emulator: ClarifaiEmulator) -> None:
    emulator.add_app("second")
    status, answer = ask(emulator, "GET", "/v2/users/me/apps/second/datasets")
    assert (status, answer["status"]["code"], answer["datasets"]) == (200, 10000, [])


def test_token_that_the_emulator_prints_is_no_apps_key() -> None:
    """On the short path it is refused as any token is, also where any key is good."""
    with ClarifaiEmulator(seed=True) as running:
        token = running.variables["CLARIFAI_PAT"]
        assert ask(running, "GET", f"{LONG}/datasets", None, f"Key {token}")[0] == 200
        status, answer = ask(running, "GET", "/v2/datasets", None, f"Key {token}")
        assert (status, answer["status"]["code"]) == (401, 11008)
        assert ask(running, "GET", "/v2/datasets", None, "Key an-apps-own")[0] == 200


@pytest.mark.parametrize("verb", ["PUT", "HEAD", "BREW", "OPTIONS"])
def test_method_that_is_not_allowed_says_which_are(emulator: ClarifaiEmulator, verb: str) -> None:
    request = urllib.request.Request(
        f"{emulator.address}{LONG}/datasets", headers={"Authorization": "Key pat-good"}, method=verb
    )
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=10)
    with caught.value as answer:
        assert (answer.code, answer.headers["Allow"]) == (405, "GET, POST, PATCH, DELETE")
        assert verb == "HEAD" or json.loads(answer.read())["status"]["code"] == 11103


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("datasets", {"dataset_ids": ["cats", "none"]}),
        ("datasets/none/versions", {"dataset_version_ids": ["v1"]}),
        ("datasets/cats/versions", {"dataset_version_ids": ["v1", "none"]}),
        ("datasets/cats/inputs", {"input_ids": ["cats-tabby", "none"]}),
        ("annotation_filters", {"annotation_filter_ids": ["f", "none"]}),
    ],
)
def test_deleting_what_is_not_there_deletes_nothing(
    emulator: ClarifaiEmulator, path: str, body: dict[str, list[str]]
) -> None:
    ask(emulator, "POST", f"{LONG}/annotation_filters", {"annotation_filters": [{"id": "f"}]})
    before = json.dumps(emulator.snapshot())
    status, answer = ask(emulator, "DELETE", f"{LONG}/{path}", body)
    assert (status, answer["status"]["code"]) == (404, 11101)
    assert "none" in answer["status"]["details"]
    assert json.dumps(emulator.snapshot()) == before


@pytest.mark.parametrize(
    "item",
    [{"id": []}, {"id": {"a": 1}}, {"metadata": [1]}, {"metadata": "x"}, {"description": 5}, {"visibility": 10}],
)
@pytest.mark.parametrize("verb", ["POST", "PATCH"])
def test_fields_of_another_kind_are_refused(emulator: ClarifaiEmulator, verb: str, item: dict[str, object]) -> None:
    body = {"dataset_versions": [{"id": "v1"} | item], "action": "overwrite"}
    status, answer = ask(emulator, verb, f"{LONG}/datasets/cats/versions", body)
    assert (status, answer["status"]["code"]) == (400, 11100)


def test_datasets_notes_are_kept_and_changed(emulator: ClarifaiEmulator) -> None:
    datasets = f"{LONG}/datasets"
    assert (
        ask(emulator, "POST", datasets, {"datasets": [{"id": "dogs", "notes": "a"}]})[1]["datasets"][0]["notes"]
        == "a"
    )
    body = {"datasets": [{"id": "dogs", "notes": "b", "image": {"url": "https://x"}}], "action": "overwrite"}
    assert ask(emulator, "PATCH", datasets, body)[1]["datasets"][0]["notes"] == "b"
    found = ask(emulator, "PATCH", datasets, body | {"action": "remove"})[1]["datasets"][0]
    assert ("image" in found, found["notes"]) == (False, "b")
    long = {"datasets": [{"id": "dogs", "notes": "x" * 70_000}], "action": "overwrite"}
    assert ask(emulator, "PATCH", datasets, long)[0] == 400


def test_lists_are_printed_even_beside_an_error(emulator: ClarifaiEmulator) -> None:
    status, answer = ask(emulator, "GET", f"{LONG}/datasets/none/versions")
    assert status == 404
    assert answer["dataset_versions"] == []


@pytest.mark.parametrize("body", ["{", "[]", '{"dataset_versions": []}', '{"dataset_versions": [1]}'])
def test_bad_bodies_are_refused(emulator: ClarifaiEmulator, body: str) -> None:
    status, answer = ask(emulator, "POST", f"{LONG}/datasets/cats/versions", body)
    assert status == 400
    assert answer["status"]["code"] in (11100, 11102)


@pytest.mark.parametrize("action", [None, "merge", "remove"])
def test_versions_are_changed_by_overwrite_alone(emulator: ClarifaiEmulator, action: str | None) -> None:
    body = {"dataset_versions": [{"id": "v1", "description": "x"}]} | ({"action": action} if action else {})
    status, answer = ask(emulator, "PATCH", f"{LONG}/datasets/cats/versions", body)
    assert (status, answer["status"]["code"]) == (400, 11102)


def test_enumerations_come_as_names_or_numbers_and_go_as_numbers(emulator: ClarifaiEmulator) -> None:
    versions = f"{LONG}/datasets/cats/versions"
    for gettable in (10, "PRIVATE"):
        body = {"dataset_versions": [{"visibility": {"gettable": gettable}}]}
        assert ask(emulator, "POST", versions, body)[1]["dataset_versions"][0]["visibility"] == {"gettable": 10}
    for origins in ("request_origins=TRAINING", "request_origins=2"):
        listed = ask(emulator, "GET", f"{versions}?{origins}")[1]["dataset_versions"]
        assert [each["id"] for each in listed] == ["auto-generated-1"]
    listed = ask(emulator, "GET", f"{versions}?request_origins=MANUAL&request_origins=TRAINING")[1][
        "dataset_versions"
    ]
    assert {each["request_origin"] for each in listed} == {1, 2}


def test_whole_numbers_are_texts_and_unset_fields_are_left_out(emulator: ClarifaiEmulator) -> None:
    shown = ask(emulator, "GET", f"{LONG}/datasets/cats/versions/v1")[1]["dataset_version"]
    assert shown["metrics"]["/"]["inputs_count"] == "2"
    assert shown["metrics"]["/"]["regions_count"] == "0"
    assert "export_info" not in shown
    assert shown["created_at"][19] == "."


def test_pages_end_with_an_empty_one(emulator: ClarifaiEmulator) -> None:
    for number in range(130):
        emulator.add_version("digits", id=f"n{number}")
    versions = f"{LONG}/datasets/digits/versions"
    assert len(ask(emulator, "GET", versions)[1]["dataset_versions"]) == 128
    assert len(ask(emulator, "GET", f"{versions}?page=2")[1]["dataset_versions"]) == 2
    status, answer = ask(emulator, "GET", f"{versions}?page=3")
    assert (status, answer["dataset_versions"]) == (200, [])
    assert ask(emulator, "GET", f"{versions}?page=0")[0] == 400


@pytest.mark.parametrize(("mixed", "http"), [("200", 200), ("207", 207)])
def test_mixed_success_says_which_failed(emulator: ClarifaiEmulator, mixed: str, http: int) -> None:
    emulator.switch("mixed", mixed)
    versions = f"{LONG}/datasets/cats/versions"
    status, answer = ask(emulator, "POST", versions, {"dataset_versions": [{"id": "v1"}, {"id": "new"}]})
    assert (status, answer["status"]["code"]) == (http, 10010)
    assert [each["status"]["code"] for each in answer["dataset_versions"]] == [40010, 64005]
    status, answer = ask(emulator, "POST", versions, {"dataset_versions": [{"id": "v1"}]})
    assert (status, answer["status"]["code"]) == (400, 10020)


def test_version_becomes_ready_after_readings(emulator: ClarifaiEmulator) -> None:
    emulator.switch("ready-reads", "2")
    versions = f"{LONG}/datasets/cats/versions"
    made = ask(emulator, "POST", versions, {"dataset_versions": [{"id": "w"}]})[1]["dataset_versions"][0]
    codes = [made["status"]["code"]]
    codes += [ask(emulator, "GET", f"{versions}/w")[1]["dataset_version"]["status"]["code"] for _ in range(3)]
    assert codes == [64005, 64005, 64010, 64015]


def test_version_becomes_ready_on_the_clock(emulator: ClarifaiEmulator) -> None:
    emulator.switch("ready-seconds", "3600")
    ask(emulator, "POST", f"{LONG}/datasets/cats/versions", {"dataset_versions": [{"id": "w"}]})
    for _ in range(3):
        found = ask(emulator, "GET", f"{LONG}/datasets/cats/versions/w")[1]["dataset_version"]
    assert found["status"]["code"] == 64010
    assert "metrics" not in found


def test_export_is_made_and_served_only_with_a_good_key(emulator: ClarifaiEmulator) -> None:
    """64201, then 64200 with address and size; the data host says 404 without a key and 401 for a bad one."""
    exports = f"{LONG}/datasets/cats/versions/v1/exports"
    body = {"exports": [{"format": "CLARIFAI_DATA_JSON"}]}
    first = ask(emulator, "PUT", exports, body)[1]["exports"][0]
    assert first["status"]["code"] == 64201
    assert "url" not in first
    second = ask(emulator, "PUT", exports, {"exports": [{"format": 3}]})[1]["exports"][0]
    assert (second["status"]["code"], second["format"]) == (64200, 3)
    assert fetch(second["url"], None)[0] == 404
    assert fetch(second["url"], "Key pat-bad")[0] == 401
    status, archive = fetch(second["url"], "Key pat-good")
    assert (status, len(archive)) == (200, int(second["size"]))
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        assert opened.read("mimetype") == b"application/x.clarifai-data+json"
        assert [each["id"] for each in json.loads(opened.read("all/inputbatch_0_n2"))["inputs"]] == [
            "cats-tabby",
            "cats-siamese",
        ]


def test_early_export_is_refused(emulator: ClarifaiEmulator) -> None:
    ask(emulator, "POST", f"{LONG}/datasets/cats/versions", {"dataset_versions": [{"id": "w"}]})
    status, _ = ask(emulator, "PUT", f"{LONG}/datasets/cats/versions/w/exports", {"exports": [{"format": 3}]})
    assert status == 400


def test_version_is_a_snapshot(emulator: ClarifaiEmulator) -> None:
    """What is put into or taken out of the dataset later does not change a version."""
    inputs = f"{LONG}/datasets/cats/inputs"
    body = {"dataset_inputs": [{"input": {"id": "new"}}]}
    assert ask(emulator, "POST", inputs, body)[1]["dataset_inputs"][0]["input"]["id"] == "new"
    assert ask(emulator, "DELETE", inputs, {"input_ids": ["cats-tabby"]})[0] == 200
    assert ask(emulator, "GET", f"{inputs}/new")[0] == 200
    assert ask(emulator, "GET", f"{inputs}/cats-tabby")[0] == 404
    found = ask(emulator, "GET", f"{LONG}/datasets/cats/versions/v1")[1]["dataset_version"]
    assert found["metrics"]["/"]["inputs_count"] == "2"


def test_datasets_are_made_changed_and_deleted(emulator: ClarifaiEmulator) -> None:
    datasets = f"{LONG}/datasets"
    assert ask(emulator, "POST", datasets, {"datasets": [{"id": "dogs", "metadata": {"a": 1}}]})[0] == 200
    for action, metadata in (("merge", {"a": 1, "b": 2}), ("overwrite", {"b": 2}), ("remove", {"b": 2})):
        body = {"datasets": [{"id": "dogs", "metadata": {"b": 2}}], "action": action}
        assert ask(emulator, "PATCH", datasets, body)[1]["datasets"][0]["metadata"] == metadata
    assert ask(emulator, "DELETE", datasets, {"dataset_ids": ["dogs"]})[0] == 200
    assert ask(emulator, "GET", f"{datasets}/dogs")[0] == 404
    assert ask(emulator, "DELETE", f"{datasets}/cats", {})[0] == 405


def test_state_is_kept_in_a_file(tmp_path: Path) -> None:
    with ClarifaiEmulator(seed=True, state=tmp_path / "state.json") as first:
        assert ask(first, "POST", f"{LONG}/datasets/cats/versions", {"dataset_versions": [{"id": "kept"}]})[0] == 200
    with ClarifaiEmulator(seed=True, state=tmp_path / "state.json") as second:
        assert ask(second, "GET", f"{LONG}/datasets/cats/versions/kept")[0] == 200


def test_key_is_not_in_the_log_of_requests(emulator: ClarifaiEmulator) -> None:
    ask(emulator, "GET", f"{LONG}/datasets")
    assert "pat-good" not in repr(emulator.requests)


def test_faults_have_the_vendors_body(emulator: ClarifaiEmulator) -> None:
    emulator.inject("429:retry-after=1:times=1")
    status, answer = ask(emulator, "GET", f"{LONG}/datasets")
    assert (status, answer["status"]["code"]) == (429, 11005)
    emulator.inject("ok-error:times=1")
    status, answer = ask(emulator, "GET", f"{LONG}/datasets")
    assert status == 200
    assert answer["status"]["code"] != 10000


def test_every_switch_asks_and_takes_only_its_settings() -> None:
    assert len({switch.name for switch in SWITCHES}) == len(SWITCHES)
    for switch in SWITCHES:
        assert switch.question.endswith("?")
        with pytest.raises(SettingsError):
            ClarifaiEmulator(switches={switch.name: "no such setting"})


@pytest.mark.parametrize("clarifai_emulator", [{"seed": True, "switches": {"order": "oldest"}}], indirect=True)
def test_fixture_points_the_environment_there(clarifai_emulator: ClarifaiEmulator) -> None:  # noqa: F811
    """Which is what `from mlflow_dsver.testing import clarifai_emulator` gives to others."""
    assert clarifai_emulator.switches["order"] == "oldest"
    assert mlflow_dsver.get_provider("clarifai").resolve(mlflow_dsver.parse("clarifai://cats")).id == "v2"


def test_protobuf_written_by_hand_is_what_the_vendors_library_reads() -> None:
    """Also a batch whose lengths need more than one byte."""
    from clarifai_grpc.grpc.api.resources_pb2 import InputBatch

    long = "x" * 300
    inputs = [
        {"id": f"n{i}", "data": {"image": {"url": f"https://a/{long}"}, "text": {"raw": "ü"}}} for i in range(5)
    ]
    inputs[0]["data"]["concepts"] = [{"id": "cat", "value": 0.5}]
    read = InputBatch.FromString(protobuf(inputs))
    assert [each.id for each in read.inputs] == [each["id"] for each in inputs]
    assert read.inputs[4].data.image.url == f"https://a/{long}"
    assert read.inputs[4].data.text.raw == "ü"
    assert [(each.id, each.value) for each in read.inputs[0].data.concepts] == [("cat", 0.5)]
