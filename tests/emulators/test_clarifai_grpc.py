"""The Clarifai emulator over gRPC, by the vendor's published stubs on a real loopback connection."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from clarifai_grpc.channel.clarifai_channel import ClarifaiChannel
from clarifai_grpc.grpc.api import resources_pb2, service_pb2, service_pb2_grpc
from clarifai_grpc.grpc.api.status import status_code_pb2 as codes
from google.protobuf.struct_pb2 import Struct

from mlflow_dsver.errors import SettingsError
from mlflow_dsver.providers.clarifai.emulator import ClarifaiEmulator

ME = resources_pb2.UserAppIDSet(user_id="demo-user", app_id="demo-app")
CATS: dict[str, Any] = {"user_app_id": ME, "dataset_id": "cats"}
GOOD = (("authorization", "Key pat-good"),)


@pytest.fixture(scope="module")
def emulator() -> Iterator[ClarifaiEmulator]:
    with ClarifaiEmulator(key="pat-good", app_key="app-good", grpc_port=0, seed=True) as running:
        yield running


@pytest.fixture
def stub(emulator: ClarifaiEmulator) -> Iterator[Any]:
    assert emulator.grpc_address is not None
    host, port = emulator.grpc_address.removeprefix("http://").split(":")
    with ClarifaiChannel.get_insecure_grpc_channel(base=host, port=int(port)) as channel:
        yield service_pb2_grpc.V2Stub(channel)


def test_version_from_creation_to_deletion(stub: Any) -> None:
    metadata = Struct()
    metadata.update({"round": 3, "by": "labelling"})
    sent = resources_pb2.DatasetVersion(
        id="w1",
        description="round 3",
        metadata=metadata,
        visibility=resources_pb2.Visibility(gettable=resources_pb2.Visibility.ORG),
        annotation_filter_config=resources_pb2.AnnotationFilterConfig(
            annotation_filter=resources_pb2.AnnotationFilter(id="checked"), ignore_empty_inputs=True
        ),
    )
    made = stub.PostDatasetVersions(
        service_pb2.PostDatasetVersionsRequest(**CATS, dataset_versions=[sent]), metadata=GOOD
    )
    assert made.status.code == codes.SUCCESS
    assert made.dataset_versions[0].status.code == codes.DATASET_VERSION_PENDING

    one = service_pb2.GetDatasetVersionRequest(**CATS, dataset_version_id="w1")
    for _ in range(2):
        found = stub.GetDatasetVersion(one, metadata=GOOD).dataset_version
    assert found.status.code == codes.DATASET_VERSION_READY
    assert dict(found.metadata) == {"round": 3, "by": "labelling"}
    assert found.visibility.gettable == resources_pb2.Visibility.ORG
    assert found.annotation_filter_config.annotation_filter.id == "checked"
    assert found.annotation_filter_config.ignore_empty_inputs
    assert found.metrics["/"].inputs_count.value == 4

    body = [resources_pb2.DatasetVersion(id="w1", description="changed")]
    change = service_pb2.PatchDatasetVersionsRequest(**CATS, dataset_versions=body, action="overwrite")
    assert stub.PatchDatasetVersions(change, metadata=GOOD).dataset_versions[0].description == "changed"

    delete = service_pb2.DeleteDatasetVersionsRequest(**CATS, dataset_version_ids=["w1"])
    assert stub.DeleteDatasetVersions(delete, metadata=GOOD).status.details == "Dataset version 'w1' deleted"
    assert stub.GetDatasetVersion(one, metadata=GOOD).status.code == codes.CONN_DOES_NOT_EXIST


def test_versions_are_listed_in_pages_and_by_origin(stub: Any) -> None:
    def ids(**query: Any) -> list[str]:
        request = service_pb2.ListDatasetVersionsRequest(**CATS, **query)
        answer = stub.ListDatasetVersions(request, metadata=GOOD)
        assert answer.status.code == codes.SUCCESS
        return [each.id for each in answer.dataset_versions]

    assert ids() == ["auto-generated-1", "v2", "v1"]
    assert ids(page=2, per_page=2) == ["v1"]
    assert ids(page=3, per_page=2) == []
    assert ids(request_origins=[2]) == ["auto-generated-1"]


def test_datasets_and_inputs_are_made_and_listed(stub: Any) -> None:
    made = stub.PostDatasets(
        service_pb2.PostDatasetsRequest(user_app_id=ME, datasets=[resources_pb2.Dataset(id="dogs", notes="n")]),
        metadata=GOOD,
    )
    assert made.datasets[0].notes == "n"
    image = resources_pb2.Data(image=resources_pb2.Image(url="https://samples.invalid/rex.jpg"))
    sent = [resources_pb2.Input(id="rex", data=image, dataset_ids=["dogs"])]
    assert (
        stub.PostInputs(service_pb2.PostInputsRequest(user_app_id=ME, inputs=sent), metadata=GOOD).status.code
        == codes.SUCCESS
    )
    listed = stub.ListDatasets(service_pb2.ListDatasetsRequest(user_app_id=ME), metadata=GOOD)
    assert {each.id for each in listed.datasets} == {"cats", "digits", "dogs"}
    inputs = stub.ListDatasetInputs(
        service_pb2.ListDatasetInputsRequest(user_app_id=ME, dataset_id="dogs"), metadata=GOOD
    )
    assert [each.input.id for each in inputs.dataset_inputs] == ["rex"]


def test_export_names_images_that_the_data_host_serves(stub: Any, emulator: ClarifaiEmulator) -> None:
    """What the vendor's client does with an export: the archive, then each image by `hosted`, with the same key."""
    import io
    import zipfile

    export = resources_pb2.DatasetVersionExport(format=resources_pb2.CLARIFAI_DATA_PROTOBUF)
    request = service_pb2.PutDatasetVersionExportsRequest(**CATS, dataset_version_id="v1", exports=[export])
    for _ in range(2):
        told = stub.PutDatasetVersionExports(request, metadata=GOOD).exports[0]
    assert told.status.code == codes.DATASET_VERSION_EXPORT_SUCCESS

    def fetch(address: str) -> bytes:
        asked = urllib.request.Request(address, headers={"Authorization": GOOD[0][1]})
        with urllib.request.urlopen(asked, timeout=10) as answer:
            content: bytes = answer.read()
            return content

    content = fetch(told.url)
    assert len(content) == told.size
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        batch = resources_pb2.InputBatch.FromString(archive.read("all/inputbatch_0_n2"))
    for each in batch.inputs:
        hosted = each.data.image.hosted
        assert "orig" in hosted.sizes
        assert fetch(f"{hosted.prefix}/orig/{hosted.suffix}").startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("metadata", "whose", "code"),
    [
        ((), ME, codes.CONN_INVALID_REQUEST),
        ((("authorization", "Key bad"),), ME, codes.CONN_KEY_NOT_FOUND),
        (GOOD, None, codes.CONN_KEY_INVALID),
        ((("authorization", "Key app-good"),), None, codes.SUCCESS),
        (GOOD, resources_pb2.UserAppIDSet(user_id="demo-user", app_id="none"), codes.CONN_DOES_NOT_EXIST),
        (GOOD, resources_pb2.UserAppIDSet(user_id="me", app_id="demo-app"), codes.SUCCESS),
    ],
)
def test_refusals_are_answers_with_a_status(stub: Any, metadata: Any, whose: Any, code: int) -> None:
    request = service_pb2.ListDatasetsRequest(user_app_id=whose)
    assert stub.ListDatasets(request, metadata=metadata).status.code == code


def test_calls_that_the_emulator_does_not_have_are_refused(stub: Any) -> None:
    request = service_pb2.ListModelsRequest(user_app_id=ME)
    assert stub.ListModels(request, metadata=GOOD).status.code == codes.CONN_DOES_NOT_EXIST


def test_faults_reach_grpc_as_well(stub: Any, emulator: ClarifaiEmulator) -> None:
    request = service_pb2.ListDatasetsRequest(user_app_id=ME)
    emulator.inject("429:times=1")
    assert stub.ListDatasets(request, metadata=GOOD).status.code == codes.CONN_THROTTLED
    emulator.inject("lost")
    try:
        with pytest.raises(grpc.RpcError) as caught:
            stub.ListDatasets(request, metadata=GOOD, timeout=30)
    finally:
        emulator.faults.clear()
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


def test_port_in_use_is_told(emulator: ClarifaiEmulator) -> None:
    assert emulator.grpc_address is not None
    port = int(emulator.grpc_address.rpartition(":")[2])
    with pytest.raises(SettingsError, match="grpc-port"):
        ClarifaiEmulator(grpc_port=port).start()
