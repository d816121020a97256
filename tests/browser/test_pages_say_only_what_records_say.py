"""The lineage pages are no confused deputy: who may edit one experiment learns nothing of others from any page.

A real server behind MLflow's own login. Its store has a dataset that only runs of a private experiment used.
Mallory may edit an experiment of her own and reads no other. She makes records up, with guessed names and with ids
and digests that she came by, presses the check button and opens every page: no answer has anything that she did not
write.
"""

from __future__ import annotations

import gzip
import json
import re
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from lineage_server import ADMIN, login_file, serving
from test_lineage_behind_a_login import Site

from mlflow_dsver.model.manifests import FileEntry, Manifest

MALLORY = ("mallory", "mallorypassword1")
API = "/api/2.0/mlflow"
VERIFY = "/ajax-api/2.0/dsver/verify"

pytestmark = [pytest.mark.timeout(300)]


@dataclass(frozen=True)
class Hidden:
    """What only the admin may see: a version with kept bytes, and one that refers to a folder."""

    kept: dict[str, Any]
    referring: dict[str, Any]
    home: Path
    private_run: str

    def secrets(self) -> set[str]:
        """Texts that no answer to Mallory may have, unless she wrote them herself."""
        told = {"payroll-2026.csv", "jane-doe", "first of the year", "board-only", str(self.home), "/payroll"}
        for version in (self.kept, self.referring):
            told |= {version["id"], version["digest"].removeprefix("blake3:"), str(version["bytes"])}
        return told


@dataclass(frozen=True)
class World:
    """written: all that Mallory put on her runs so far; pages may show it to her again."""

    site: Site
    hidden: Hidden
    experiment: str
    written: list[str] = field(default_factory=list)

    def forged(self, records: dict[str, dict[str, str]], artifacts: dict[str, bytes] | None = None) -> str:
        """A run of Mallory's with records as she likes them: role to the entries of params and tags."""
        self.written.append(json.dumps(records))
        made = self._post("runs/create", {"experiment_id": self.experiment, "run_name": "mine", "start_time": 1})
        run_id = str(made["run"]["info"]["run_id"])
        params = [
            {"key": f"dsver.{role}.{key}", "value": value}
            for role, entries in records.items()
            for key, value in entries.items()
        ]
        tags = [each for each in params if each["key"].endswith((".version", ".grade"))]
        tags.append({"key": "dsver.schema", "value": "1"})
        self._post("runs/log-batch", {"run_id": run_id, "params": params, "tags": tags, "metrics": []})
        inputs = [_input(role, entries) for role, entries in records.items()]
        self._post("runs/log-inputs", {"run_id": run_id, "datasets": inputs})
        for name, content in (artifacts or {}).items():
            path = f"/api/2.0/mlflow-artifacts/artifacts/{self.experiment}/{run_id}/artifacts/dsver/{name}"
            assert self.site.put(path, MALLORY, content) == 200
        return run_id

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        status, text = self.site.post(f"{API}/{path}", MALLORY, body)
        assert status == 200, text
        return dict(json.loads(text))

    def seen(self, path: str, form: dict[str, str] | None = None) -> str:
        status, text = self.site.ask(path, MALLORY, form)
        assert status in (200, 400, 403, 404), (path, status)
        return text

    def check(self, run_id: str) -> str:
        text = self.seen(VERIFY, {"run": run_id})
        assert "Result of this check" in text
        return text

    def pages(self, run_id: str, references: list[str]) -> Iterator[tuple[str, str]]:
        """Every page there is, about a run of hers and these references."""
        quoted = [urllib.parse.quote(each, safe="") for each in references]
        paths = ["/dsver", "/dsver?q=payroll", "/dsver?q=hr", "/dsver?after=a", f"/dsver/run?id={run_id}"]
        paths += [f"/dsver/run?id={self.hidden.private_run}", "/dsver/search?q=payroll", "/dsver/search?q=jane"]
        paths += ["/dsver/model?key=models:/payroll-model/1", "/dsver/model?key=models:/payroll-model/2"]
        paths += [f"/dsver/{page}?ref={each}" for page in ("dataset", "version") for each in quoted]
        paths += [f"/dsver/diff?a={one}&b={other}" for one in quoted for other in quoted]
        paths += [f"/dsver/search?q={self.hidden.kept['digest'].removeprefix('blake3:')[:16]}"]
        for path in paths:
            yield path, self.seen(path)
        yield VERIFY, self.seen(VERIFY, {"run": self.hidden.private_run})


def _input(role: str, entries: dict[str, str]) -> dict[str, Any]:
    source = {"url": "", "reference": entries["version"]}
    source |= {key: entries[key] for key in ("content_digest",) if key in entries}
    dataset = {"name": entries["version"], "digest": "0" * 32, "source_type": "http", "source": json.dumps(source)}
    return {"tags": [{"key": "mlflow.data.context", "value": role}], "dataset": dataset}


_SEED = """
import json, sys, warnings; warnings.simplefilter("ignore")
from pathlib import Path
from datetime import datetime, UTC
from mlflow import MlflowClient
from mlflow_dsver.deadlines import Deadline
from mlflow_dsver.providers.registry import get_provider
from mlflow_dsver.tracking.record_writer import PendingLink, write
from mlflow_dsver.model.versions import Grade, Link

folder = Path(sys.argv[1])
uri = f"sqlite:///{folder}/mlflow.db"
client, local = MlflowClient(uri, uri), get_provider("local")
source = folder / "payroll"
source.mkdir()
(source / "payroll-2026.csv").write_text("jane-doe,123456\\n" * 77)
kept = local.create("hr-payroll", source, message="first of the year", tags=("board-only",))
(source / "payroll-2026.csv").write_text("jane-doe,123456\\n" * 79)
referring = local.create("hr-payroll", source, message="first of the year", reference=True)
experiment = client.create_experiment("private", (folder / "artifacts").as_uri())
run = client.create_run(experiment, run_name="jane-doe")
wanted = [
    PendingLink(Link(role, str(version.ref), version, Grade("A"), datetime.now(UTC)), local.manifest(version))
    for role, version in (("training", kept), ("test", referring))
]
write(client, run.info, run, wanted, Deadline(60))
client.set_terminated(run.info.run_id)
client.create_registered_model("payroll-model")
client.create_model_version("payroll-model", source=f"runs:/{run.info.run_id}/model", run_id=run.info.run_id)
(source / "payroll-2026.csv").write_text("jane-doe,999999\\n" * 83)
told = [{"id": each.id, "digest": each.content_digest, "bytes": each.usage_bytes} for each in (kept, referring)]
print(json.dumps({"versions": told, "run": run.info.run_id}))
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    import subprocess
    import sys

    from lineage_server import _environment

    folder = tmp_path_factory.mktemp("deputy")
    done = subprocess.run(
        [sys.executable, "-c", _SEED, str(folder)],
        capture_output=True,
        text=True,
        timeout=120,
        env=_environment(folder),
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    hidden = Hidden(*told["versions"], folder / "home", told["run"])
    variables = {**login_file(folder), "MLFLOW_BASIC_AUTH_FAIL_CLOSED": "true"}
    with serving(folder, **variables) as address:
        site = Site(address, {})
        assert site.admin(f"{API}/users/create", {"username": MALLORY[0], "password": MALLORY[1]}) == 200
        status, text = site.post(f"{API}/experiments/create", MALLORY, {"name": "mallory's own"})
        assert status == 200, text
        made = World(site, hidden, str(json.loads(text)["experiment_id"]))
        _warm_up(made)
        yield made


def _warm_up(world: World) -> None:
    """The admin looks at the hidden versions, so that the server keeps their manifests."""
    one, other = (f"local://hr-payroll@{each['id']}" for each in (world.hidden.kept, world.hidden.referring))
    status, text = world.site.ask(f"/dsver/diff?a={one}&b={other}", ADMIN)
    assert status == 200
    assert "payroll-2026.csv" in text, text
    assert "payroll-2026.csv" in world.site.ask("/dsver/search?q=payroll", ADMIN)[1]
    assert "MATCH" in world.site.ask(VERIFY, ADMIN, {"run": world.hidden.private_run})[1].upper()


def leaks(text: str, secrets: set[str], written: str) -> list[str]:
    """Secrets in a page that are not in what she wrote."""
    return sorted(each for each in secrets if each in text and each not in written)


RECORDS: dict[str, dict[str, str]] = {
    "a name nearly right": {"version": "local://hr-payrol@latest", "requested": "local://hr-payrol"},
    "a moving selector": {"version": "local://hr-payroll@latest", "requested": "local://hr-payroll@latest"},
    "an id nearly right": {"version": "local://hr-payroll@{almost}"},
    "what another reference means": {"version": "local://mine@0123456789abcdef", "requested": "local://hr-payroll"},
    "an id, and other claims": {
        "version": "local://hr-payroll@{id}",
        "usage_bytes": "1",
        "content_digest": "blake3:" + "0" * 64,
        "tags": "none-such",
        "grade": "A",
    },
    "an id of a folder that changed": {"version": "local://hr-payroll@{folder id}", "usage_bytes": "1"},
    "a provider without a key": {"version": "paperspace://dst364npcw6ccok@fo5rp4m", "requested": "paperspace://cats"},
}


@pytest.mark.parametrize("kind", RECORDS)
def test_a_made_up_record_makes_no_page_tell_of_hidden_data(world: World, kind: str) -> None:
    ids = {"{id}": world.hidden.kept["id"], "{folder id}": world.hidden.referring["id"]}
    ids["{almost}"] = ids["{id}"][:-1] + "_"
    entries = {key: _filled(value, ids) for key, value in RECORDS[kind].items()}
    run_id = world.forged({"training": entries})
    written = " ".join(world.written)
    report = world.check(run_id)
    assert leaks(report, world.hidden.secrets(), written) == []
    assert "Try:" not in report
    if "hr-payroll" not in written:
        assert "hr-payroll" not in report
    references = [entries["version"], entries.get("requested", ""), "local://hr-payroll@latest"]
    for path, text in world.pages(run_id, [each for each in references if each]):
        assert leaks(text, world.hidden.secrets(), written + path) == [], path


def _filled(text: str, ids: dict[str, str]) -> str:
    for name, value in ids.items():
        text = text.replace(name, value)
    return text


def test_a_digest_opens_nothing_that_the_server_keeps(world: World) -> None:
    """With id and digest of a hidden version, which the admin's pages have just read."""
    for hidden in (world.hidden.kept, world.hidden.referring):
        version = f"local://hr-payroll@{hidden['id']}"
        entries = {"version": version, "content_digest": hidden["digest"], "requested": version}
        run_id = world.forged({"training": entries})
        files = {"payroll-2026.csv", "jane-doe"}
        for path, text in world.pages(run_id, [version, version]):
            assert leaks(text, files, path) == [], path
        shown = world.seen(f"/dsver/diff?a={version}&b={version}")
        assert "Could not compare" in shown
        found = re.search(r"(\d+) files? found in (\d+) versions", world.seen("/dsver/search?q=payroll"))
        assert found is not None
        assert found[1] == "0"


def test_a_verdict_says_how_the_records_own_claims_fared(world: World) -> None:
    """And the values that were found instead stay unsaid."""
    version = f"local://hr-payroll@{world.hidden.kept['id']}"
    wrong = world.check(world.forged({"training": {"version": version, "usage_bytes": "17", "grade": "A"}}))
    assert 'class="chip bad">changed' in wrong
    assert "the usage bytes: not as recorded; recorded <code>17</code>" in wrong
    right = {"version": version, "usage_bytes": str(world.hidden.kept["bytes"]), "grade": "A"}
    right["content_digest"] = world.hidden.kept["digest"]
    assert "not as recorded" not in world.check(world.forged({"training": right}))


def test_contradictions_inside_a_record_are_shown_as_they_stand_there(world: World) -> None:
    link = {"schema": 1, "role": "training", "nonsense": "yes"}
    run_id = world.forged(
        {"training": {"version": "local://mine@0123456789abcdef"}}, {"training.json": json.dumps(link).encode()}
    )
    assert "is no link, so somebody changed it" in world.check(run_id)


def bomb() -> tuple[str, bytes]:
    """A manifest of some hundred kilobytes with two million files, in order and with its right digest."""
    from blake3 import blake3

    hasher = blake3()
    block = b"".join(
        b'{"path":"%07d","bytes":1,"digest":"%s"}\n' % (number, b"0" * 64) for number in range(1_200_000)
    )
    hasher.update(block)
    header = Manifest((FileEntry("a", 1, "0" * 64),)).to_bytes()
    first = json.loads(gzip.decompress(header).split(b"\n")[0])
    first["content_digest"] = "blake3:" + hasher.hexdigest()
    return first["content_digest"], gzip.compress(json.dumps(first).encode() + b"\n" + block, 6)


def test_a_manifest_that_swells_is_not_read_to_its_end(world: World) -> None:
    """Within the stated bounds, by every page; and the page says that it was not."""
    digest, content = bomb()
    version = "local://mine@00000000000000aa"
    run_id = world.forged(
        {"training": {"version": version, "content_digest": digest}}, {"training.manifest.jsonl.gz": content}
    )
    assert "Could not compare" in world.seen(f"/dsver/diff?a={version}&b={version}")
    assert ">0000000<" not in world.seen("/dsver/search?q=000")
    text = world.seen(VERIFY, {"run": run_id})
    assert "More than the check on a page reads" in text
    assert "mlflow-dsver verify" in text
