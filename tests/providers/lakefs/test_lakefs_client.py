"""The emulator answers lakeFS' own Python client, where that is installed, as it answers the provider."""

from __future__ import annotations

import pytest

from mlflow_dsver.model.refs import parse
from mlflow_dsver.providers.lakefs import LakefsProvider
from mlflow_dsver.providers.lakefs.emulator import LakefsEmulator
from mlflow_dsver.testing import EMULATED_KEY


@pytest.mark.filterwarnings("ignore")  # the client's own
def test_the_client_and_the_provider_say_the_same(
    lakefs: LakefsEmulator, imported: str, provider: LakefsProvider
) -> None:
    # `lakefs` alone would also be found as this folder of tests
    pytest.importorskip("lakefs.client", reason="lakeFS' client is not installed: pip install lakefs")
    import lakefs as library

    client = library.client.Client(host=lakefs.address, username="AKIAEMULATEDLAKEFS", password=EMULATED_KEY)
    repository = library.Repository("digits", client=client)
    version = provider.resolve(parse("lakefs://digits@main"))
    assert repository.branch("main").get_commit().id == version.id == imported
    assert [each.id for each in repository.ref("main").log()] == [each.id for each in provider.versions("digits")]
    files = {entry.path: entry for entry in provider.manifest(version).entries}
    listed = list(repository.ref(version.id).objects())
    assert [(each.path, each.size_bytes, each.checksum) for each in listed] == [
        (path, entry.bytes, entry.evidence and entry.evidence.etag) for path, entry in files.items()
    ]
    with repository.ref(provider.revision(version)).object("train/a.csv").reader(mode="rb") as stream:
        assert stream.read() == b"a,b\n1,2\n"
