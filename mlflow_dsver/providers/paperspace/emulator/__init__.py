"""An emulator of Paperspace's v1 API: datasets, dataset versions, storage providers, the session.

It follows the published reference and OpenAPI file: paths, methods, 200 for every success, the keys of each body and
which may be null, cursor pages, tags that are written as one string and read as a list, and sizes as decimal strings.
What the documents leave open is a switch. The API has no upload, so `fill` simulates the console or a workflow that
adds files to a version; over HTTP it is the path `POST /emulator/fill/DATASET/VERSION/BYTES`, which the service does
not have. The emulator was not compared with the live service.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from mlflow_dsver.emulators.serving import Emulator, Reply, Request, Switch
from mlflow_dsver.errors import NotFound
from mlflow_dsver.providers.paperspace.emulator import responses
from mlflow_dsver.providers.paperspace.emulator.responses import SWITCHES

_DATASET_BODY: responses.Known = {
    "name": str,
    "description": (str, type(None)),
    "storageProviderId": str,
    "isPublic": bool,
}
_VERSION_BODY: responses.Known = {"message": str, "tags": str, "metadata": dict}


class PaperspaceEmulator(Emulator):
    """The emulator; its base address is `base`. See `Emulator` for the arguments.

    seed: fill an empty state with two datasets and five versions.
    """

    name: ClassVar[str] = "paperspace"
    SWITCHES: ClassVar[tuple[Switch, ...]] = SWITCHES

    def __init__(self, *, seed: bool = False, **options: Any) -> None:
        self.datasets: dict[str, dict[str, Any]] = {}
        self.versions: dict[str, dict[str, dict[str, Any]]] = {}
        self.sizes: dict[str, int] = {}
        self._clock = datetime.now(UTC)
        super().__init__(**options)
        if seed and not self.datasets:
            self.seed()

    # For tests, notebooks and demos

    @property
    def base(self) -> str:
        """The base address for clients."""
        return f"{self.address}/v1"

    @property
    def variables(self) -> Mapping[str, str]:
        """Environment variables that point a client here."""
        return {"PAPERSPACE_API_URL": self.base, "PAPERSPACE_API_KEY": self.good_key or "any-key-will-do"}

    def add_dataset(self, name: str, *, dataset_id: str | None = None, public: bool = False) -> str:
        """Add a dataset without a request; return its id."""
        with self.lock:
            return str(self._new_dataset({"name": name, "isPublic": public}, dataset_id)["id"])

    def add_version(
        self,
        dataset: str,
        *,
        version: str | None = None,
        tags: str = "",
        message: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        size: int = 0,
        committed: bool = True,
    ) -> str:
        """Add a version without a request; return its id."""
        with self.lock:
            body = {"tags": tags, "message": message, "metadata": dict(metadata or {}) or None}
            record = self._new_version(dataset, body, version)
            self.sizes[f"{dataset}:{record['version']}"] = size
            record["isCommitted"] = committed
            return str(record["version"])

    def fill(self, dataset: str, version: str, size: int) -> None:
        """Simulate the console or a workflow: add files of this total size to an uncommitted version."""
        with self.lock:
            found = self.versions[dataset].get(version)
            if found is None or found["isCommitted"]:
                raise NotFound("no uncommitted version of that id", reference=f"paperspace://{dataset}@{version}")
            self.sizes[f"{dataset}:{version}"] = size

    def _fill_over_http(self, dataset: str, version: str, size: str) -> Any:
        """`fill` over HTTP."""
        if not size.isdecimal() or len(size) > 30:
            raise responses.invalid("bytes: Expected a whole number")
        try:
            self.fill(dataset, version, int(size))
        except (NotFound, KeyError):
            raise responses.Refused(404, "No uncommitted version of that id") from None
        return {"datasetId": dataset, "version": version, "bytes": size}

    def seed(self) -> None:
        """Add two datasets and five versions: two have tags, one is not committed."""
        cats = self.add_dataset("cats", dataset_id="dst364npcw6ccok")
        self.add_version(cats, version="klfoyy9", message="first upload", size=524_288_000)
        self.add_version(cats, version="fo5rp4m", message="relabelled", tags="clean", size=530_841_600)
        self.add_version(cats, version="1rn19s2", message="more cats", size=1_073_741_824)
        self.add_version(cats, version="8ngwr2a", message="upload in progress", committed=False)
        digits = self.add_dataset("digits", dataset_id="dsr5zdx0thjhfe2")
        self.add_version(digits, version="a1b2c3d", message="scikit-learn digits", tags="raw", size=1_024_000)

    def snapshot(self) -> dict[str, Any]:
        """The whole state as JSON."""
        return {"datasets": self.datasets, "versions": self.versions, "sizes": self.sizes}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore a state that `snapshot` returned."""
        self.datasets, self.versions, self.sizes = state["datasets"], state["versions"], state["sizes"]

    def error_reply(self, status: int) -> Reply:
        """The vendor's error body for a fault; 200 is an error body with the status of a success."""
        code = responses.CODES.get(status if status != 200 else 500, "INTERNAL_SERVER_ERROR")
        return Reply(status, {"message": f"injected fault {status}", "code": code})

    # Requests

    def answer(self, request: Request) -> Reply:
        """The response to a request, by path and method."""
        try:
            return Reply(200, responses.apply_switches(self._dispatch(request), self.switches))
        except responses.Refused as refused:
            return Reply(refused.status, refused.body(self.switches), headers=refused.headers)

    def _dispatch(self, request: Request) -> Any:
        if request.path[:2] == ("emulator", "fill") and len(request.path) == 5 and request.verb == "POST":
            return self._fill_over_http(*request.path[2:])
        if request.path[:1] != ("v1",):
            raise responses.Refused(404, "Not found")
        path = request.path[1:]
        key = request.key("Bearer")
        is_authenticated = key is not None and self.good_key in (None, key)
        if path == ("auth", "session") and request.verb == "GET":
            return responses.session() if is_authenticated else None
        handler = self._handler(request.verb, path)
        if not is_authenticated:
            raise responses.Refused(int(self.switches["bad-key"]), "invalid key")
        return handler(request)

    def _handler(self, verb: str, path: tuple[str, ...]) -> Callable[[Request], Any]:
        match path:
            case ("datasets",):
                handlers = {"GET": self._list_datasets, "POST": self._create_dataset}
            case ("datasets", dataset):
                handlers = {
                    "GET": lambda request: self._dataset(dataset),
                    "PUT": lambda request: self._update_dataset(dataset, request),
                    "DELETE": lambda request: self._delete_dataset(dataset),
                }
            case ("datasets", dataset, "versions"):
                handlers = {
                    "GET": lambda request: self._list_versions(dataset, request),
                    "POST": lambda request: self._create_version(dataset, request),
                }
            case ("datasets", dataset, "versions", version):
                handlers = {
                    "GET": lambda request: self._version_json(dataset, self._version(dataset, version)),
                    "PUT": lambda request: self._update_version(dataset, version, request),
                    "DELETE": lambda request: self._delete_version(dataset, version),
                }
            case ("storage-providers",):
                handlers = {
                    "GET": lambda request: responses.page([responses.storage(self.switches)], request, self.switches)
                }
            case ("storage-providers", "utilization"):
                handlers = {"GET": lambda request: responses.utilization(self.sizes)}
            case ("storage-providers", provider) if provider == responses.STORAGE:
                handlers = {"GET": lambda request: responses.storage(self.switches)}
            case ("storage-providers", _):
                raise responses.Refused(int(self.switches["unknown"]), "Storage provider not found")
            case _:
                raise responses.Refused(404, "Not found")
        if verb not in handlers:
            raise responses.Refused(405, "Method not supported", headers={"Allow": ", ".join(handlers)})
        return handlers[verb]

    # Datasets

    def _list_datasets(self, request: Request) -> Any:
        privacy = request.first("privacy") or "PRIVATE"
        if privacy not in ("PUBLIC", "PRIVATE"):
            raise responses.invalid("privacy: Invalid enum value. Expected 'PUBLIC' | 'PRIVATE'")
        if request.first("teamId") not in (None, responses.TEAM, responses.NAMESPACE):
            raise responses.Refused(403, "not a member of this team")
        matching = [each for each in self.datasets.values() if each["isPublic"] == (privacy == "PUBLIC")]
        return responses.page(matching, request, self.switches)

    def _create_dataset(self, request: Request) -> Any:
        body = responses.read_body(request, _DATASET_BODY, self.switches)
        if "name" not in body or (self.switches["missing-is-public"] == "400" and "isPublic" not in body):
            raise responses.invalid(f"{'name' if 'name' not in body else 'isPublic'}: Required")
        self._check_name(body["name"], None)
        return self._new_dataset(body, None)

    def _check_name(self, name: str, dataset: str | None) -> None:
        """Raise Refused for the name of another dataset. dataset: the id of the one to name; None for a new one."""
        same = next((each for each in self.datasets.values() if each["name"] == name and each["id"] != dataset), None)
        if same and self.switches["duplicate-name"] == "409":
            raise responses.Refused(409, f"a dataset with this name exists: {same['id']}")

    def _new_dataset(self, body: Mapping[str, Any], dataset_id: str | None) -> dict[str, Any]:
        now = self._now()
        dataset = {
            "id": dataset_id or "ds" + responses.random_id(13),
            "name": body.get("name"),
            "dtCreated": now,
            "dtModified": now,
            "isPublic": body.get("isPublic", False),
            "teamId": responses.TEAM,
            "storageProviderId": body.get("storageProviderId", responses.STORAGE),
            "description": body.get("description"),
        }
        self.datasets[dataset["id"]] = dataset
        self.versions[dataset["id"]] = {}
        return dataset

    def _dataset(self, dataset: str) -> dict[str, Any]:
        if dataset not in self.datasets:
            raise responses.Refused(int(self.switches["unknown"]), "Dataset not found")
        return self.datasets[dataset]

    def _update_dataset(self, dataset: str, request: Request) -> Any:
        record = self._dataset(dataset)
        body = responses.read_body(request, {"name": str, "description": (str, type(None))}, self.switches)
        if "name" in body:
            self._check_name(body["name"], dataset)
        record.update(body, dtModified=self._now())
        return record

    def _delete_dataset(self, dataset: str) -> Any:
        self._dataset(dataset)
        if self.versions[dataset] and self.switches["delete-dataset"] == "409":
            raise responses.Refused(409, "the dataset has versions")
        del self.datasets[dataset], self.versions[dataset]
        return {"id": dataset}

    # Versions

    def _list_versions(self, dataset: str, request: Request) -> Any:
        self._dataset(dataset)
        matching = list(self.versions[dataset].values())
        if self.switches["list-uncommitted"] == "no":
            matching = [each for each in matching if each["isCommitted"]]
        if tags := self._tags(request.first("tags") or ""):
            matches = all if self.switches["tags-filter"] == "all" else any
            matching = [each for each in matching if matches(tag in each["tags"] for tag in tags)]
        return responses.page(matching, request, self.switches, lambda version: self._version_json(dataset, version))

    def _create_version(self, dataset: str, request: Request) -> Any:
        self._dataset(dataset)
        body = responses.read_body(request, _VERSION_BODY, self.switches)
        return self._version_json(dataset, self._new_version(dataset, body, None))

    def _new_version(self, dataset: str, body: Mapping[str, Any], version: str | None) -> dict[str, Any]:
        now = self._now()
        record: dict[str, Any] = {
            "version": version or responses.random_id(7),
            "datasetId": dataset,
            "userId": "u" + responses.TEAM,
            "message": body.get("message"),
            "metadata": body.get("metadata"),
            "isCommitted": False,
            "url": f"s3://{responses.TEAM}/{responses.TEAM}/datasets/{dataset}/versions/",
            "dtCreated": now,
            "dtModified": now,
            "tags": self._tags(body.get("tags") or ""),
        }
        record["url"] += record["version"]
        self._take_tags(dataset, record["tags"])
        self.versions[dataset][record["version"]] = record
        return record

    def _version(self, dataset: str, version: str) -> dict[str, Any]:
        self._dataset(dataset)
        existing = self.versions[dataset]
        if version == "latest" and self.switches["latest-in-path"] == "resolves":
            version = next((name for name, each in reversed(existing.items()) if each["isCommitted"]), version)
        if version not in existing:
            raise responses.Refused(int(self.switches["unknown"]), "Dataset version not found")
        return existing[version]

    def _update_version(self, dataset: str, version: str, request: Request) -> Any:
        record = self._version(dataset, version)
        body = responses.read_body(request, {**_VERSION_BODY, "isCommitted": bool}, self.switches)
        edits = [key for key in body if key != "isCommitted"]
        if edits and record["isCommitted"] and self.switches["edit-committed"] != "allowed":
            raise responses.Refused(int(self.switches["edit-committed"]), "the version is committed")
        commit = body.pop("isCommitted", None)
        if commit is False and record["isCommitted"] and self.switches["uncommit"] != "allowed":
            if self.switches["uncommit"] == "409":
                raise responses.Refused(409, "the version is committed")
            commit = None
        if "tags" in body:
            body["tags"] = self._parsed_tags(body["tags"])
            self._take_tags(dataset, body["tags"])
        if "metadata" in body and self.switches["metadata"] == "merges":
            body["metadata"] = {**(record["metadata"] or {}), **body["metadata"]}
        record.update(body)
        if commit is not None:
            record["isCommitted"] = commit
        if self.switches["modified"] == "every-put" or commit:
            record["dtModified"] = self._now()
        return self._version_json(dataset, record)

    def _delete_version(self, dataset: str, version: str) -> Any:
        found = self._version(dataset, version)["version"]
        del self.versions[dataset][found]
        self.sizes.pop(f"{dataset}:{found}", None)
        return {"datasetId": dataset, "version": found}

    def _parsed_tags(self, text: str) -> list[str]:
        if not text and self.switches["empty-tags"] == "400":
            raise responses.invalid("tags: String must contain at least 1 character(s)")
        return self._tags(text)

    def _tags(self, text: str) -> list[str]:
        parts = text.split(",") if text else []
        return list(
            dict.fromkeys(part.strip() if self.switches["tag-blanks"] == "trimmed" else part for part in parts)
        )

    def _take_tags(self, dataset: str, tags: list[str]) -> None:
        if tags and self.switches["tag-moves"] == "moves":
            for each in self.versions[dataset].values():
                if not set(tags).isdisjoint(each["tags"]):
                    each["tags"] = [tag for tag in each["tags"] if tag not in tags]

    # Forms of bodies

    def _version_json(self, dataset: str, version: Mapping[str, Any]) -> dict[str, Any]:
        """A version as in a response."""
        has_size = version["isCommitted"] and self.switches["usage-bytes"] == "on-commit"
        result = {
            **version,
            "usageBytes": str(self.sizes.get(f"{dataset}:{version['version']}", 0)) if has_size else None,
        }
        if self.switches["dataset-id"] == "uuid":
            result["datasetId"] = str(uuid.uuid5(uuid.NAMESPACE_OID, dataset))
        if self.switches["nulls"] == "null":
            result.update(userId=None, url=None, usageBytes=None)
        return result

    def _now(self) -> str:
        """The time in milliseconds, always later than the previous one."""
        now = max(datetime.now(UTC), self._clock + timedelta(milliseconds=1))
        self._clock = now.replace(microsecond=now.microsecond // 1000 * 1000)
        return self._clock.isoformat(timespec="milliseconds").replace("+00:00", "Z")
