"""The emulator's state: apps of users, their datasets, inputs, filters, versions as JSON, and their response form.

Records hold what was sent and what was created; `version_json` makes the object in a response. This module is
independent of addresses, keys and HTTP.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Collection, Mapping
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from mlflow_dsver.providers.clarifai.emulator.responses import archive
from mlflow_dsver.providers.clarifai.models import GETTABLE, ExportStatus, Format, Origin, VersionStatus

Record = dict[str, Any]
Switches = Mapping[str, str]

COUNTS = (
    "inputs_count", "unlabeled_inputs_count", "inputs_with_metadata_count", "inputs_with_geo_count", "regions_count",
    "bounding_boxes_count", "polygons_count", "points_count", "masks_count", "frames_count", "embeddings_count",
    "positive_input_tags_count", "positive_region_tags_count", "positive_frame_tags_count",
)  # fmt: skip
VERSION_FIELDS = ("description", "metadata", "visibility")
DATASET_FIELDS = (*VERSION_FIELDS, "notes", "image", "default_annotation_filter", "default_processing_info")
"""Fields that an overwrite may change."""
OUTCOMES = {
    "ready": VersionStatus.READY.value,
    "failure": VersionStatus.FAILURE.value,
    "unexpected-error": VersionStatus.UNEXPECTED_ERROR.value,
    "conflict": VersionStatus.CONFLICT.value,
    "never": VersionStatus.IN_PROGRESS.value,
    "unknown": 64999,
    "no-status": None,
}
EXPORT_OUTCOMES = {
    "success": ExportStatus.SUCCESS.value,
    "no-address": ExportStatus.SUCCESS.value,
    "failed": ExportStatus.FAILED.value,
    "unexpected-error": ExportStatus.UNEXPECTED_ERROR.value,
    "never": ExportStatus.IN_PROGRESS.value,
    "unknown": 64999,
}


class State:
    """The emulator's state; `records` can be written as JSON."""

    def __init__(self, records: Record | None = None) -> None:
        self.records: Record = records if records is not None else {"apps": {}, "moment": 0}

    def app(self, user: str, app: str) -> Record:
        """An app, created when it does not exist."""
        empty = {"user": user, "app": app, "datasets": {}, "filters": {}, "inputs": {}}
        found: Record = self.records["apps"].setdefault(f"{user}/{app}", empty)
        return found

    def now(self) -> int:
        """Microseconds since 1970, always later than the previous ones."""
        moment: int = max(time.time_ns() // 1000, self.records["moment"] + 1)
        self.records["moment"] = moment
        return moment

    def new_dataset(self, app: Record, body: Mapping[str, Any]) -> Record:
        """Create a dataset in an app."""
        moment = self.now()
        record: Record = {
            "id": body.get("id") or uuid.uuid4().hex,
            "created": moment,
            "modified": moment,
            "sent": {key: deepcopy(value) for key, value in body.items() if key not in ("id", "user_app_id")},
            "inputs": [],
            "versions": {},
        }
        app["datasets"][record["id"]] = record
        return record

    def new_version(self, dataset: Record, body: Mapping[str, Any], origin: Origin = Origin.MANUAL) -> Record:
        """Create a version of a dataset's current inputs."""
        moment = self.now()
        sent = {key: deepcopy(value) for key, value in body.items() if key != "id"}
        if "dataset_filter" in sent:  # the documents of 2021
            sent.setdefault("annotation_filter_config", {"annotation_filter": sent.pop("dataset_filter")})
        sent = _without_name(sent)
        record: Record = {
            "id": body.get("id") or uuid.uuid4().hex,
            "created": moment,
            "modified": moment,
            "sent": sent,
            "origin": origin.value,
            "inputs": deepcopy(dataset["inputs"]),
            "reads": 0,
            "exports": {},
        }
        dataset["versions"][record["id"]] = record
        return record

    def overwrite(
        self, record: Record, body: Mapping[str, Any], switches: Switches, fields: Collection[str] = VERSION_FIELDS
    ) -> None:
        """Change those of the fields of a version or dataset that may be changed."""
        sent = record["sent"]
        body = _without_name(body)
        for key in fields:
            if key not in body:
                if switches["unsent"] == "clear":
                    sent.pop(key, None)
            elif key == "metadata" and switches["metadata"] == "merge":
                sent[key] = {**(sent.get(key) or {}), **deepcopy(body[key] or {})}
            else:
                sent[key] = deepcopy(body[key])
        record["modified"] = self.now()


def with_media_address(record: Mapping[str, Any], address: str) -> Record:
    """An input as in a response: its image has an address at the data host of the emulator at `address`."""
    result = deepcopy(dict(record))
    data = result.get("data")
    image = data.get("image") if isinstance(data, dict) else None
    if isinstance(image, dict) and "hosted" not in image:
        suffix = quote(str(result["id"]), safe="")
        image["hosted"] = {"prefix": f"{address}/data/media", "suffix": suffix, "sizes": ["orig"]}
    return result


def _without_name(body: Mapping[str, Any]) -> Record:
    """A body without the `name` of the documents of 2021, which becomes the description if there is none."""
    rest = {key: value for key, value in body.items() if key != "name"}
    return {"description": body["name"], **rest} if body.get("name") else rest


def version_code(record: Mapping[str, Any], switches: Switches) -> int | None:
    """The current status of a version: by its reads and age, then as the switch sets. None for no status."""
    waited = time.time() - record["created"] / 1e6
    reads = record["reads"]
    if not record.get("made") and (reads < int(switches["ready-reads"]) or waited < int(switches["ready-seconds"])):
        return VersionStatus.PENDING.value if reads == 0 else VersionStatus.IN_PROGRESS.value
    return OUTCOMES[record.get("outcome") or switches["outcome"]]


def export_code(export: Mapping[str, Any], switches: Switches) -> int:
    """The current status of an export."""
    if export["reads"] < int(switches["export-reads"]):
        return ExportStatus.PENDING.value if export["reads"] == 0 else ExportStatus.IN_PROGRESS.value
    return EXPORT_OUTCOMES[switches["export-outcome"]]


def version_json(
    app: Mapping[str, Any], dataset: Mapping[str, Any], record: Mapping[str, Any], switches: Switches, data_host: str
) -> Record:
    """A version as in a response; unset fields are left out."""
    sent = record["sent"]
    code = version_code(record, switches)
    result: Record = {
        "id": record["id"],
        "created_at": date(record["created"], switches),
        "modified_at": date(record["modified"], switches),
        "app_id": app["app"],
        "user_id": app["user"],
        "dataset_id": dataset["id"],
        "annotation_filter_config": _filter_config(app, record, switches),
        **{key: sent[key] for key in ("model_predict_config", "processing_info", "description") if sent.get(key)},
        **{key: sent[key] for key in ("embed_model_version_ids",) if sent.get(key)},
    }
    if code is not None:
        result["status"] = status(code, switches)
    if sent.get("metadata") or switches["empty-metadata"] == "object":
        result["metadata"] = sent.get("metadata", {})
    if (visible := _gettable(sent.get("visibility"), switches)) is not None:
        result["visibility"] = {"gettable": visible}
    if record["origin"] != Origin.MANUAL.value or switches["origin"] == "said":
        origin = Origin(record["origin"])
        result["request_origin"] = origin.name if switches["enums"] == "names" else origin.value
    if code == VersionStatus.READY:
        result["metrics"] = {"/": {name: int64(n, switches) for name, n in input_counts(record["inputs"]).items()}}
    if record["exports"]:
        result["export_info"] = {
            name: export_json(record, Format(name), switches, data_host) for name in record["exports"]
        }
    return result


def export_json(record: Mapping[str, Any], format_: Format, switches: Switches, data_host: str) -> Record:
    """An export as in a response, with address and size once it is ready."""
    export = record["exports"][format_.value]
    code = export_code(export, switches)
    format_value = format_.value.upper() if switches["enums"] == "names" else format_.number
    result: Record = {"format": format_value, "status": status(code, switches)}
    if code == ExportStatus.SUCCESS:
        result["size"] = int64(len(export_bytes(record, format_, 0)), switches)
        if switches["export-outcome"] == "success":
            result["url"] = f"{data_host}/{export['token']}"
    return result


def export_bytes(record: Mapping[str, Any], format_: Format, served: int) -> bytes:
    """The archive of an export. served: a number to write into it, 0 for none."""
    inputs = record["inputs"]
    address = record["exports"].get(format_.value, {}).get("address")
    if address:  # as when the export was created, so that its bytes stay the same
        inputs = [with_media_address(each, address) for each in inputs]
    if served:
        inputs = [*inputs, {"id": f"served-{served}", "data": {"text": {"raw": str(served)}}}]
    return archive(inputs, format_)


def input_counts(inputs: list[Mapping[str, Any]]) -> dict[str, int]:
    """The counts of all inputs of a version."""
    data = [each.get("data", {}) for each in inputs]
    counts = dict.fromkeys(COUNTS, 0)
    counts["inputs_count"] = len(inputs)
    counts["unlabeled_inputs_count"] = sum(not each.get("concepts") for each in data)
    counts["inputs_with_metadata_count"] = sum(bool(each.get("metadata")) for each in data)
    counts["positive_input_tags_count"] = sum(len(each.get("concepts", [])) for each in data)
    return counts


def status(code: int, switches: Switches, **parts: Any) -> Record:
    """A status object; the vendor documents no descriptions, so they are the emulator's own."""
    names: dict[int, str] = {each.value: f"DATASET_VERSION_{each.name}" for each in VersionStatus}
    names |= {each.value: f"DATASET_VERSION_EXPORT_{each.name}" for each in ExportStatus}
    name = names.get(code, "UNKNOWN")
    result: Record = {"code": name if switches["enums"] == "names" and code in names else code}
    return {**result, "description": name.replace("_", " ").capitalize(), **parts}


def int64(number: int, switches: Switches) -> str | int:
    """A 64-bit integer as in a response."""
    return str(number) if switches["counts"] == "text" else number


def date(microseconds: int, switches: Switches) -> str:
    """A date as in a response."""
    moment = datetime.fromtimestamp(microseconds // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    nanoseconds = "789" if switches["fraction"] == "9" else ""
    return f"{moment}.{microseconds % 1_000_000:06}{nanoseconds}Z"


def _gettable(visibility: Any, switches: Switches) -> int | str | None:
    found = visibility.get("gettable") if isinstance(visibility, dict) else None
    number = GETTABLE.get(found, found) if isinstance(found, str) else found
    if not isinstance(number, int):
        return None
    return (
        next((name for name, n in GETTABLE.items() if n == number), number)
        if switches["enums"] == "names"
        else number
    )


def _filter_config(app: Mapping[str, Any], record: Mapping[str, Any], switches: Switches) -> Record:
    sent = record["sent"].get("annotation_filter_config") or {}
    filter_id = (sent.get("annotation_filter") or {}).get("id") or "default"
    moment = date(record["created"], switches)
    result: Record = {
        "annotation_filter": {
            "id": filter_id,
            "created_at": moment,
            "modified_at": moment,
            "user_id": app["user"],
            "app_id": app["app"],
        }
    }
    if sent.get("ignore_empty_inputs"):
        result["ignore_empty_inputs"] = True
    return result
