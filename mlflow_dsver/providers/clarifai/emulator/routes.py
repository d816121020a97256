"""The calls of the emulator: what each address and method does with the state, as the documents or a switch say."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mlflow_dsver.emulators.serving import Request
from mlflow_dsver.providers.clarifai.emulator import responses
from mlflow_dsver.providers.clarifai.emulator import state as kept
from mlflow_dsver.providers.clarifai.emulator.responses import Refused
from mlflow_dsver.providers.clarifai.emulator.state import Record, State
from mlflow_dsver.providers.clarifai.models import FORMAT_NAMES, ORIGIN_NAMES, Format, VersionStatus, number

MAX_PER_PAGE = 1000
MAX_NOTES = 64 << 10
VERSION_FIELDS = frozenset(
    {"id", "description", "metadata", "visibility", "annotation_filter_config", "model_predict_config"}
    | {"processing_info", "embed_model_version_ids", "user_app_id"}
)


@dataclass(frozen=True, slots=True)
class Call:
    """One request inside an app. address: of the emulator."""

    state: State
    app: Record
    request: Request
    switches: Mapping[str, str]
    address: str

    def routed(self, path: tuple[str, ...]) -> Record:
        """Carry out the call; path: segments inside the app. Raises Refused."""
        found: dict[str, Callable[[], Record]]
        match path:
            case () | ("app",):
                found = {"GET": lambda: {"app": {"id": self.app["app"], "user_id": self.app["user"]}}}
            case ("inputs",):
                found = {
                    "GET": lambda: {"inputs": self._page(self._app_inputs())},
                    "POST": lambda: self._post_inputs(),
                }
            case ("datasets",):
                found = {
                    "GET": lambda: {"datasets": self._page(self._datasets())},
                    "POST": lambda: self._post_datasets(),
                    "PATCH": lambda: self._patch_datasets(),
                    "DELETE": lambda: self._delete_datasets(),
                }
            case ("datasets", dataset):
                found = {"GET": lambda: {"dataset": self._printed_dataset(self._dataset(dataset))}}
            case ("datasets", dataset, "inputs", *rest) if len(rest) < 2:
                found = self._inputs(self._dataset(dataset), rest)
            case ("datasets", dataset, "versions"):
                held = self._dataset(dataset)
                found = {
                    "GET": lambda: {"dataset_versions": self._versions(held)},
                    "POST": lambda: self._post_versions(held),
                    "PATCH": lambda: self._patch_versions(held),
                    "DELETE": lambda: self._delete_versions(held),
                }
            case ("datasets", dataset, "versions", version):
                held = self._dataset(dataset)
                found = {"GET": lambda: self._get_version(held, version)}
            case ("datasets", dataset, "versions", version, "exports"):
                record = self._version(self._dataset(dataset), version)
                found = {"PUT": lambda: self._put_exports(record)}
            case ("datasets", dataset, "versions", version, "metrics"):
                record = self._version(self._dataset(dataset), version)
                found = {"GET": lambda: {responses.LISTS["metrics"]: self._page(self._metrics(record))}}
            case ("annotation_filters", *rest) if len(rest) < 2:
                found = self._filters(rest, "annotation_filter")
            case ("datasets", dataset, "filters", *rest) if len(rest) < 2 and self.switches["filters"] == "served":
                found = self._filters(rest, "dataset_filter")
            case _:
                raise Refused(404, 11101, "Check the url of your request.")
        if self.request.verb not in found:
            allow = {"Allow": ", ".join(found)}
            raise Refused(405, 11103, f"{self.request.verb} is not allowed here", headers=allow)
        return found[self.request.verb]()

    # Datasets, inputs, filters

    def _datasets(self) -> list[Record]:
        records = sorted(self.app["datasets"].values(), key=lambda record: -record["modified"])
        return [self._printed_dataset(record) for record in records]

    def _dataset(self, dataset: str) -> Record:
        return responses.held(self.app["datasets"], dataset, "dataset_id")

    def _printed_dataset(self, record: Record) -> Record:
        shown = {
            "id": record["id"],
            "created_at": kept.date(record["created"], self.switches),
            "modified_at": kept.date(record["modified"], self.switches),
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
            shown["version"] = self._printed(record, list(record["versions"].values())[-1])
        return shown

    def _post_datasets(self) -> Record:
        def make(each: Record) -> Record:
            return self.state.new_dataset(self.app, each)

        return self._posted("datasets", self.app["datasets"], make, self._printed_dataset)

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
                self.state.overwrite(record, each, merging, kept.DATASET_FIELDS)
        return {"datasets": [self._printed_dataset(record) for record in records]}

    def _delete_datasets(self) -> Record:
        wanted = responses.ids(self.request, "dataset_ids")
        for dataset in wanted:
            if self._dataset(dataset)["versions"] and self.switches["delete-dataset"] == "refuse":
                raise Refused(400, responses.FAILED, f"dataset {dataset!r} has versions")
        for dataset in wanted:
            del self.app["datasets"][dataset]
        return {}

    def _inputs(self, held: Record, rest: list[str]) -> dict[str, Callable[[], Record]]:
        known = {each["id"]: each for each in held["inputs"]}

        def show(each: Record) -> Record:
            shown = kept.with_hosted(each, self.address)
            return {"created_at": kept.date(held["created"], self.switches), "input": shown}

        def post() -> Record:
            added = [
                dict(each.get("input") or {})
                for each in responses.items(responses.body(self.request), "dataset_inputs")
            ]
            if not all(isinstance(each.get("id"), str) for each in added):
                raise Refused(400, 11102, "input.id is a text")
            held["inputs"] += [each for each in added if each["id"] not in known]
            return {"dataset_inputs": [show(each) for each in added]}

        def delete() -> Record:
            gone = responses.ids(self.request, "input_ids")
            if self.switches["delete-unknown"] == "refuse":
                for each in gone:
                    responses.held(known, each, "input_id")
            held["inputs"] = [each for each in held["inputs"] if each["id"] not in gone]
            return {}

        if rest:
            return {"GET": lambda: {"dataset_input": show(responses.held(known, rest[0], "input_id"))}}
        listed = [show(each) for each in held["inputs"]]
        return {"GET": lambda: {"dataset_inputs": self._page(listed)}, "POST": post, "DELETE": delete}

    def _app_inputs(self) -> list[Record]:
        """All inputs of the app, with the datasets that have them."""
        found: dict[str, Record] = {key: dict(each) for key, each in self.app["inputs"].items()}
        for name, held in self.app["datasets"].items():
            for each in held["inputs"]:
                shown = found.setdefault(each["id"], dict(each))
                shown["dataset_ids"] = [*shown.get("dataset_ids", []), name]
        return [kept.with_hosted(each, self.address) for each in found.values()]

    def _post_inputs(self) -> Record:
        """Take inputs into the app, and into the datasets that they name."""
        known = {each["id"]: each for each in self._app_inputs()}

        def make(each: Record) -> Record:
            record = {"id": each.get("id") or secrets.token_hex(16), "data": each.get("data") or {}}
            for name in each.get("dataset_ids") or []:
                self._dataset(name)["inputs"].append(record)
            self.app["inputs"][record["id"]] = record
            return record

        return self._posted("inputs", known, make, lambda each: kept.with_hosted(each, self.address))

    def _filters(self, rest: list[str], name: str) -> dict[str, Callable[[], Record]]:
        known, many = self.app["filters"], f"{name}s"

        def make(each: Record) -> Record:
            record = {**each, "id": each.get("id") or secrets.token_hex(16)}
            known[record["id"]] = record
            return record

        def patch() -> Record:
            body = responses.body(self.request)
            if body.get("action") != "overwrite":
                raise Refused(400, 11102, "action is overwrite")
            found = [responses.held(known, str(each.get("id")), f"{name}_id") for each in responses.items(body, many)]
            for record, each in zip(found, body[many], strict=True):
                record.update(each)
            return {many: found}

        def delete() -> Record:
            gone = [responses.held(known, each, f"{name}_id") for each in responses.ids(self.request, f"{name}_ids")]
            for each in gone:
                del known[each["id"]]
            return {}

        if rest:
            return {"GET": lambda: {name: responses.held(known, rest[0], f"{name}_id")}}
        return {
            "GET": lambda: {many: self._page(list(known.values()))},
            "POST": lambda: self._posted(many, known, make, dict),
            "PATCH": patch,
            "DELETE": delete,
        }

    # Versions

    def _version(self, held: Record, version: str) -> Record:
        return responses.held(held["versions"], version, "dataset_version_id")

    def _printed(self, held: Record, record: Record) -> Record:
        return kept.printed_version(self.app, held, record, self.switches, self._data_host())

    def _versions(self, held: Record) -> list[Record]:
        try:
            wanted = {number(each, ORIGIN_NAMES) for each in self.request.query.get("request_origins", [])}
        except ValueError:
            raise Refused(400, 11102, "request_origins") from None
        found = [each for each in held["versions"].values() if not wanted or each["origin"] in wanted]
        orders: dict[str, Callable[[Record], Any]] = {
            "newest": lambda each: -each["created"],
            "oldest": lambda each: each["created"],
            "id": lambda each: each["id"],
        }
        ordered = sorted(found, key=orders[self.switches["order"]])
        page, size = self._window()
        done = self.state.records.get("deleted_meanwhile", 0)
        if page == 2 and len(ordered) > size > 1 and done < int(self.switches["deleted-meanwhile"]):
            del held["versions"][ordered.pop(0)["id"]]
            self.state.records["deleted_meanwhile"] = done + 1
        return [self._printed(held, each) for each in self._page(ordered)]

    def _get_version(self, held: Record, version: str) -> Record:
        record = self._version(held, version)
        shown = self._printed(held, record)
        record["reads"] += 1
        for export in record["exports"].values():
            export["reads"] += 1
        return {"dataset_version": shown}

    def _post_versions(self, held: Record) -> Record:
        if self.switches["unknown-fields"] == "refuse":
            for each in responses.items(responses.body(self.request), "dataset_versions"):
                if unknown := set(each) - VERSION_FIELDS:
                    raise Refused(400, 11100, f"unknown field {sorted(unknown)[0]!r}")
        return self._posted(
            "dataset_versions",
            held["versions"],
            lambda each: self.state.new_version(held, each),
            lambda record: self._printed(held, record),
        )

    def _patch_versions(self, held: Record) -> Record:
        body = responses.body(self.request)
        if body.get("action") != "overwrite" and self.switches["action"] == "refuse":
            raise Refused(400, 11102, "action must be overwrite")
        items = responses.items(body, "dataset_versions")
        if self.switches["unknown-fields"] == "refuse" and any(set(each) - VERSION_FIELDS for each in items):
            raise Refused(400, 11100, "unknown field")
        records = [self._version(held, str(each.get("id"))) for each in items]
        for record, each in zip(records, items, strict=True):
            self.state.overwrite(record, each, self.switches)
        return {"dataset_versions": [self._printed(held, record) for record in records]}

    def _delete_versions(self, held: Record) -> Record:
        wanted = responses.ids(self.request, "dataset_version_ids")
        for each in wanted:
            if self.switches["in-use"] == "yes":
                raise Refused(400, VersionStatus.CONFLICT, f"Dataset version '{each}' is in use")
            if self.switches["delete-unknown"] == "refuse":
                self._version(held, each)
        for each in wanted:
            held["versions"].pop(each, None)
        return {"details": ", ".join(f"Dataset version '{each}' deleted" for each in wanted)}

    def _posted(
        self,
        key: str,
        known: Mapping[str, Record],
        make: Callable[[Record], Record],
        show: Callable[[Record], Record],
    ) -> Record:
        """Make each of the items that were sent; an id that exists fails alone, and all failing fails the whole."""
        shown, failed = [], 0
        for each in responses.items(responses.body(self.request), key):
            if each.get("id") in known:
                failed += 1
                shown.append(
                    {
                        "id": each["id"],
                        "status": responses.status(int(self.switches["duplicate"]), None, self.switches),
                    }
                )
            else:
                shown.append(show(make(each)))
        if failed == len(shown):
            raise Refused(400, responses.FAILED, responses.DUPLICATE, shown)
        if failed:
            raise Refused(int(self.switches["mixed"]), responses.MIXED, f"{failed} of {len(shown)} failed", shown)
        return {key: shown}

    # Exports and counts

    def _put_exports(self, record: Record) -> Record:
        shown = []
        for each in responses.items(responses.body(self.request), "exports"):
            try:
                wanted = number(each.get("format"), FORMAT_NAMES)
            except ValueError:
                wanted = None
            format_ = next((one for one in Format if one.number == wanted), None)
            if format_ is None:
                raise Refused(400, 11102, "format is one of CLARIFAI_DATA_PROTOBUF, COCO, CLARIFAI_DATA_JSON")
            ready = kept.version_code(record, self.switches) == VersionStatus.READY
            if not ready and self.switches["export-early"] == "refuse":
                raise Refused(400, 11102, "the dataset version is not ready")
            export = record["exports"].setdefault(
                format_.value, {"reads": 0, "token": secrets.token_hex(16), "address": self.address}
            )
            shown.append(kept.printed_export(record, format_, self.switches, self._data_host()))
            export["reads"] += ready
        return {"exports": shown}

    def _metrics(self, record: Record) -> list[Record]:
        if self.switches["metrics"] == "computing" or kept.version_code(record, self.switches) != VersionStatus.READY:
            return []
        counts = {name: kept.whole(n, self.switches) for name, n in kept.counted(record["inputs"]).items()}
        return [{"parent_path": "/", "type": 2, "value": "image", "metrics": counts}]

    def _data_host(self) -> str:
        return responses.storage(self.address) if self.switches["export-host"] == "signed" else f"{self.address}/data"

    def _page(self, items: list[Record]) -> list[Record]:
        page, size = self._window()
        return items[(page - 1) * size : page * size]

    def _window(self) -> tuple[int, int]:
        """The page that is asked for, and how many items it has."""
        try:
            page, size = int(self.request.first("page") or 1), int(self.request.first("per_page") or 128)
        except ValueError:
            raise Refused(400, 11102, "page and per_page are whole numbers") from None
        if page < 1 or size < 1 or (size > MAX_PER_PAGE and self.switches["per-page"] == "refuse"):
            raise Refused(400, 11102, f"page and per_page are at least 1, per_page at most {MAX_PER_PAGE}")
        return page, min(size, MAX_PER_PAGE)
