"""The emulator's routes: what each path and method does with the state, as the vendor's documents or a switch say."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mlflow_dsver.emulators.serving import Request
from mlflow_dsver.providers.clarifai.emulator import responses
from mlflow_dsver.providers.clarifai.emulator.responses import Refused
from mlflow_dsver.providers.clarifai.emulator.state import (
    DATASET_FIELDS,
    Record,
    State,
    date,
    export_json,
    input_counts,
    int64,
    version_code,
    version_json,
    with_media_address,
)
from mlflow_dsver.providers.clarifai.models import FORMAT_NAMES, ORIGIN_NAMES, Format, VersionStatus, number

MAX_PER_PAGE = 1000
MAX_NOTES = 64 << 10
VERSION_FIELDS = frozenset(
    {"id", "description", "metadata", "visibility", "annotation_filter_config", "model_predict_config"}
    | {"processing_info", "embed_model_version_ids", "user_app_id"}
)


@dataclass(frozen=True, slots=True)
class Call:
    """One request to an app. address: the emulator's base address."""

    state: State
    app: Record
    request: Request
    switches: Mapping[str, str]
    address: str

    def dispatch(self, path: tuple[str, ...]) -> Record:
        """The body of the response. path: segments below the app. Raises Refused."""
        handlers: dict[str, Callable[[], Record]]
        match path:
            case () | ("app",):
                handlers = {"GET": lambda: {"app": {"id": self.app["app"], "user_id": self.app["user"]}}}
            case ("inputs",):
                handlers = {
                    "GET": lambda: {"inputs": self._page(self._app_inputs())},
                    "POST": lambda: self._post_inputs(),
                }
            case ("datasets",):
                handlers = {
                    "GET": lambda: {"datasets": self._page(self._datasets())},
                    "POST": lambda: self._post_datasets(),
                    "PATCH": lambda: self._patch_datasets(),
                    "DELETE": lambda: self._delete_datasets(),
                }
            case ("datasets", dataset):
                handlers = {"GET": lambda: {"dataset": self._dataset_json(self._dataset(dataset))}}
            case ("datasets", dataset, "inputs", *rest) if len(rest) < 2:
                handlers = self._inputs(self._dataset(dataset), rest)
            case ("datasets", dataset, "versions"):
                existing = self._dataset(dataset)
                handlers = {
                    "GET": lambda: {"dataset_versions": self._versions(existing)},
                    "POST": lambda: self._post_versions(existing),
                    "PATCH": lambda: self._patch_versions(existing),
                    "DELETE": lambda: self._delete_versions(existing),
                }
            case ("datasets", dataset, "versions", version):
                existing = self._dataset(dataset)
                handlers = {"GET": lambda: self._get_version(existing, version)}
            case ("datasets", dataset, "versions", version, "exports"):
                version_record = self._version(self._dataset(dataset), version)
                handlers = {"PUT": lambda: self._put_exports(version_record)}
            case ("datasets", dataset, "versions", version, "metrics"):
                version_record = self._version(self._dataset(dataset), version)
                handlers = {"GET": lambda: {responses.LISTS["metrics"]: self._page(self._metrics(version_record))}}
            case ("annotation_filters", *rest) if len(rest) < 2:
                handlers = self._filters(rest, "annotation_filter")
            case ("datasets", dataset, "filters", *rest) if len(rest) < 2 and self.switches["filters"] == "served":
                handlers = self._filters(rest, "dataset_filter")
            case _:
                raise Refused(404, 11101, "Check the url of your request.")
        if self.request.verb not in handlers:
            allow = {"Allow": ", ".join(handlers)}
            raise Refused(405, 11103, f"{self.request.verb} is not allowed here", headers=allow)
        return handlers[self.request.verb]()

    # Datasets, inputs, filters

    def _datasets(self) -> list[Record]:
        records = sorted(self.app["datasets"].values(), key=lambda record: -record["modified"])
        return [self._dataset_json(record) for record in records]

    def _dataset(self, dataset: str) -> Record:
        return responses.find_record(self.app["datasets"], dataset, "dataset_id")

    def _dataset_json(self, record: Record) -> Record:
        result = {
            "id": record["id"],
            "created_at": date(record["created"], self.switches),
            "modified_at": date(record["modified"], self.switches),
            "app_id": self.app["app"],
            "user_id": self.app["user"],
            "default_annotation_filter": {
                "id": f"default-{record['id']}",
                "user_id": self.app["user"],
                "app_id": self.app["app"],
            },
            **{key: value for key, value in record["sent"].items() if value},
        }
        if record["versions"]:
            result["version"] = self._version_json(record, list(record["versions"].values())[-1])
        return result

    def _post_datasets(self) -> Record:
        def create(each: Record) -> Record:
            return self.state.new_dataset(self.app, each)

        return self._create_each("datasets", self.app["datasets"], create, self._dataset_json)

    def _patch_datasets(self) -> Record:
        body = responses.body(self.request)
        if body.get("action") not in ("overwrite", "merge", "remove"):
            raise Refused(400, 11102, "action is one of overwrite, merge, remove")
        records = [self._dataset(str(each.get("id"))) for each in responses.items(body, "datasets")]
        merging = {**self.switches, "metadata": "merge" if body["action"] == "merge" else "replace"}
        for record, each in zip(records, body["datasets"], strict=True):
            if len(each.get("notes", "")) > MAX_NOTES:
                raise Refused(400, 11102, f"notes are longer than {MAX_NOTES} characters")
            if body["action"] == "remove":
                record["sent"].pop("image" if each.get("image") else "", None)
            else:
                self.state.overwrite(record, each, merging, DATASET_FIELDS)
        return {"datasets": [self._dataset_json(record) for record in records]}

    def _delete_datasets(self) -> Record:
        requested = responses.ids(self.request, "dataset_ids")
        for dataset in requested:
            if self._dataset(dataset)["versions"] and self.switches["delete-dataset"] == "refuse":
                raise Refused(400, responses.FAILED, f"dataset {dataset!r} has versions")
        for dataset in requested:
            del self.app["datasets"][dataset]
        return {}

    def _inputs(self, dataset: Record, rest: list[str]) -> dict[str, Callable[[], Record]]:
        existing = {each["id"]: each for each in dataset["inputs"]}

        def show(each: Record) -> Record:
            shown = with_media_address(each, self.address)
            return {"created_at": date(dataset["created"], self.switches), "input": shown}

        def post() -> Record:
            added = [
                dict(each.get("input") or {})
                for each in responses.items(responses.body(self.request), "dataset_inputs")
            ]
            if not all(isinstance(each.get("id"), str) for each in added):
                raise Refused(400, 11102, "input.id is a text")
            dataset["inputs"] += [each for each in added if each["id"] not in existing]
            return {"dataset_inputs": [show(each) for each in added]}

        def delete() -> Record:
            deleted = responses.ids(self.request, "input_ids")
            if self.switches["delete-unknown"] == "refuse":
                for each in deleted:
                    responses.find_record(existing, each, "input_id")
            dataset["inputs"] = [each for each in dataset["inputs"] if each["id"] not in deleted]
            return {}

        if rest:
            return {"GET": lambda: {"dataset_input": show(responses.find_record(existing, rest[0], "input_id"))}}
        listed = [show(each) for each in dataset["inputs"]]
        return {"GET": lambda: {"dataset_inputs": self._page(listed)}, "POST": post, "DELETE": delete}

    def _app_inputs(self) -> list[Record]:
        """All inputs of the app, each with the datasets that contain it."""
        inputs: dict[str, Record] = {key: dict(each) for key, each in self.app["inputs"].items()}
        for name, dataset in self.app["datasets"].items():
            for each in dataset["inputs"]:
                shown = inputs.setdefault(each["id"], dict(each))
                shown["dataset_ids"] = [*shown.get("dataset_ids", []), name]
        return [with_media_address(each, self.address) for each in inputs.values()]

    def _post_inputs(self) -> Record:
        """Add inputs to the app, and to the datasets that they name."""
        existing = {each["id"]: each for each in self._app_inputs()}

        def create(each: Record) -> Record:
            record = {"id": each.get("id") or secrets.token_hex(16), "data": each.get("data") or {}}
            for name in each.get("dataset_ids") or []:
                self._dataset(name)["inputs"].append(record)
            self.app["inputs"][record["id"]] = record
            return record

        return self._create_each("inputs", existing, create, lambda each: with_media_address(each, self.address))

    def _filters(self, rest: list[str], name: str) -> dict[str, Callable[[], Record]]:
        existing, list_name = self.app["filters"], f"{name}s"

        def create(each: Record) -> Record:
            record = {**each, "id": each.get("id") or secrets.token_hex(16)}
            existing[record["id"]] = record
            return record

        def patch() -> Record:
            body = responses.body(self.request)
            if body.get("action") != "overwrite":
                raise Refused(400, 11102, "action is overwrite")
            records = [
                responses.find_record(existing, str(each.get("id")), f"{name}_id")
                for each in responses.items(body, list_name)
            ]
            for record, each in zip(records, body[list_name], strict=True):
                record.update(each)
            return {list_name: records}

        def delete() -> Record:
            deleted = [
                responses.find_record(existing, each, f"{name}_id")
                for each in responses.ids(self.request, f"{name}_ids")
            ]
            for each in deleted:
                del existing[each["id"]]
            return {}

        if rest:
            return {"GET": lambda: {name: responses.find_record(existing, rest[0], f"{name}_id")}}
        return {
            "GET": lambda: {list_name: self._page(list(existing.values()))},
            "POST": lambda: self._create_each(list_name, existing, create, dict),
            "PATCH": patch,
            "DELETE": delete,
        }

    # Versions

    def _version(self, dataset: Record, version: str) -> Record:
        return responses.find_record(dataset["versions"], version, "dataset_version_id")

    def _version_json(self, dataset: Record, record: Record) -> Record:
        return version_json(self.app, dataset, record, self.switches, self._data_host())

    def _versions(self, dataset: Record) -> list[Record]:
        try:
            origins = {number(each, ORIGIN_NAMES) for each in self.request.query.get("request_origins", [])}
        except ValueError:
            raise Refused(400, 11102, "request_origins") from None
        records = [each for each in dataset["versions"].values() if not origins or each["origin"] in origins]
        orders: dict[str, Callable[[Record], Any]] = {
            "newest": lambda each: -each["created"],
            "oldest": lambda each: each["created"],
            "id": lambda each: each["id"],
        }
        ordered = sorted(records, key=orders[self.switches["order"]])
        page, size = self._window()
        deletions = self.state.records.get("deleted_meanwhile", 0)
        if page == 2 and len(ordered) > size > 1 and deletions < int(self.switches["deleted-meanwhile"]):
            del dataset["versions"][ordered.pop(0)["id"]]
            self.state.records["deleted_meanwhile"] = deletions + 1
        return [self._version_json(dataset, each) for each in self._page(ordered)]

    def _get_version(self, dataset: Record, version: str) -> Record:
        record = self._version(dataset, version)
        result = self._version_json(dataset, record)
        record["reads"] += 1
        for export in record["exports"].values():
            export["reads"] += 1
        return {"dataset_version": result}

    def _post_versions(self, dataset: Record) -> Record:
        if self.switches["unknown-fields"] == "refuse":
            for each in responses.items(responses.body(self.request), "dataset_versions"):
                if unknown := set(each) - VERSION_FIELDS:
                    raise Refused(400, 11100, f"unknown field {sorted(unknown)[0]!r}")
        return self._create_each(
            "dataset_versions",
            dataset["versions"],
            lambda each: self.state.new_version(dataset, each),
            lambda record: self._version_json(dataset, record),
        )

    def _patch_versions(self, dataset: Record) -> Record:
        body = responses.body(self.request)
        if body.get("action") != "overwrite" and self.switches["action"] == "refuse":
            raise Refused(400, 11102, "action must be overwrite")
        items = responses.items(body, "dataset_versions")
        if self.switches["unknown-fields"] == "refuse" and any(set(each) - VERSION_FIELDS for each in items):
            raise Refused(400, 11100, "unknown field")
        records = [self._version(dataset, str(each.get("id"))) for each in items]
        for record, each in zip(records, items, strict=True):
            self.state.overwrite(record, each, self.switches)
        return {"dataset_versions": [self._version_json(dataset, record) for record in records]}

    def _delete_versions(self, dataset: Record) -> Record:
        requested = responses.ids(self.request, "dataset_version_ids")
        for each in requested:
            if self.switches["in-use"] == "yes":
                raise Refused(400, VersionStatus.CONFLICT, f"Dataset version '{each}' is in use")
            if self.switches["delete-unknown"] == "refuse":
                self._version(dataset, each)
        for each in requested:
            dataset["versions"].pop(each, None)
        return {"details": ", ".join(f"Dataset version '{each}' deleted" for each in requested)}

    def _create_each(
        self,
        key: str,
        existing: Mapping[str, Record],
        create: Callable[[Record], Record],
        show: Callable[[Record], Record],
    ) -> Record:
        """Create each item of the request. An id that exists fails that item; the request fails if all items fail."""
        results, failed = [], 0
        for each in responses.items(responses.body(self.request), key):
            if each.get("id") in existing:
                failed += 1
                results.append(
                    {
                        "id": each["id"],
                        "status": responses.status(int(self.switches["duplicate"]), None, self.switches),
                    }
                )
            else:
                results.append(show(create(each)))
        if failed == len(results):
            raise Refused(400, responses.FAILED, responses.DUPLICATE, results)
        if failed:
            raise Refused(int(self.switches["mixed"]), responses.MIXED, f"{failed} of {len(results)} failed", results)
        return {key: results}

    # Exports and counts

    def _put_exports(self, record: Record) -> Record:
        results = []
        for each in responses.items(responses.body(self.request), "exports"):
            try:
                requested = number(each.get("format"), FORMAT_NAMES)
            except ValueError:
                requested = None
            format_ = next((format_option for format_option in Format if format_option.number == requested), None)
            if format_ is None:
                raise Refused(400, 11102, "format is one of CLARIFAI_DATA_PROTOBUF, COCO, CLARIFAI_DATA_JSON")
            ready = version_code(record, self.switches) == VersionStatus.READY
            if not ready and self.switches["export-early"] == "refuse":
                raise Refused(400, 11102, "the dataset version is not ready")
            export = record["exports"].setdefault(
                format_.value, {"reads": 0, "token": secrets.token_hex(16), "address": self.address}
            )
            results.append(export_json(record, format_, self.switches, self._data_host()))
            export["reads"] += ready
        return {"exports": results}

    def _metrics(self, record: Record) -> list[Record]:
        if self.switches["metrics"] == "computing" or version_code(record, self.switches) != VersionStatus.READY:
            return []
        counts = {name: int64(n, self.switches) for name, n in input_counts(record["inputs"]).items()}
        return [{"parent_path": "/", "type": 2, "value": "image", "metrics": counts}]

    def _data_host(self) -> str:
        return (
            responses.storage_address(self.address)
            if self.switches["export-host"] == "signed"
            else f"{self.address}/data"
        )

    def _page(self, items: list[Record]) -> list[Record]:
        page, size = self._window()
        return items[(page - 1) * size : page * size]

    def _window(self) -> tuple[int, int]:
        """The number and the size of the requested page."""
        try:
            page, size = int(self.request.first("page") or 1), int(self.request.first("per_page") or 128)
        except ValueError:
            raise Refused(400, 11102, "page and per_page are whole numbers") from None
        if page < 1 or size < 1 or (size > MAX_PER_PAGE and self.switches["per-page"] == "refuse"):
            raise Refused(400, 11102, f"page and per_page are at least 1, per_page at most {MAX_PER_PAGE}")
        return page, min(size, MAX_PER_PAGE)
