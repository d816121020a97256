"""The part of a provider that works on a dataset's operations, for those that keep them themselves."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from mlflow_dsver.errors import NotFound
from mlflow_dsver.model.holds import Hold
from mlflow_dsver.model.refs import LATEST, DatasetRef, nearest, tag_list
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.providers import dataset_history as history
from mlflow_dsver.providers.dataset_history import Operation, Record, State
from mlflow_dsver.providers.interface import Capability, Provider
from mlflow_dsver.providers.operation_schema import text_fields

MIN_PREFIX = 6
"""Minimum hex digits of an id prefix that `resolve` accepts when only one id begins with it."""
Decide = Callable[[State], "Operation | None"]
"""From the present state to the operation to keep; None for none."""


class HistoryProvider(Provider):
    """Versions, tags and holds that result from operations. A subclass says where operations are kept."""

    deleted_text = "this version was deleted"
    unknown_text = "no version of that id and no such tag"
    no_dataset_text = "no such dataset"
    create_hint = " FOLDER"
    """What `mlflow-dsver versions create REFERENCE` takes besides."""

    @abstractmethod
    def _state(self, dataset: str) -> State:
        """The state of a dataset. Raises NotFound when there is none of that name."""

    @abstractmethod
    def _append(self, dataset: str, decide: Decide) -> State:
        """Keep the operation that `decide` returns, durably, and return the new state."""

    @abstractmethod
    def _version(self, state: State, record: Record) -> DatasetVersion:
        """A version as its record describes it."""

    def resolve(self, ref: DatasetRef) -> DatasetVersion:
        """A version id, else a tag, else an unambiguous prefix of an id (6 digits or more)."""
        state = self._state(ref.dataset)
        selector = ref.selector
        if selector in (None, LATEST):
            if not state.versions:
                tip = f"mlflow-dsver versions create {ref.at(None)}{self.create_hint}"
                raise self._not_found(ref, "the dataset has no version", tip)
            selector = next(reversed(state.versions))
        assert selector is not None
        record = state.versions.get(selector) or state.versions.get(state.tags.get(selector, ""))
        if record is None:
            begun = [one for one in state.versions if len(selector) >= MIN_PREFIX and one.startswith(selector)]
            if len(begun) != 1:
                raise self._no_version(state, selector, ambiguous=begun)
            record = state.versions[begun[0]]
        return self._version(state, record)

    def get(self, dataset: str, version: str) -> DatasetVersion:
        """The version of that id; tags and beginnings of ids are resolved by `resolve` only."""
        state = self._state(dataset)
        record = state.versions.get(version)
        if record is None:
            raise self._no_version(state, version)
        return self._version(state, record)

    def versions(self, dataset: str, *, tag: str | None = None) -> Iterator[DatasetVersion]:
        """All versions, the most recently created first."""
        state = self._state(dataset)
        return (
            self._version(state, record)
            for record in reversed(state.versions.values())
            if tag is None or state.tags.get(tag) == record.id
        )

    def update(
        self,
        version: DatasetVersion,
        *,
        message: str | None = None,
        add_tags: tuple[str, ...] = (),
        remove_tags: tuple[str, ...] = (),
        metadata: Mapping[str, Any] | None = None,
    ) -> DatasetVersion:
        """Change message (empty string removes it), tags and metadata of a version."""
        labels = text_fields(message, add_tags, metadata)
        labels["remove_tags"] = list(tag_list(remove_tags))

        def operation(state: State) -> Operation:
            history.check_free(state, labels["add_tags"])
            return history.operation("update", version.id, **labels)

        state = self._changed(version, operation)
        return self._version(state, state.versions[version.id])

    def delete(self, version: DatasetVersion) -> None:
        """Delete a version and its tags; its bytes are not touched. Raises VersionHeld for one that is held."""

        def operation(state: State) -> Operation:
            history.check_not_held(state, version.ref)
            return history.operation("delete", version.id)

        self._changed(version, operation)

    def hold(self, version: DatasetVersion, reasons: Sequence[Hold]) -> None:
        """Keep a version for these reasons: deleting it is refused."""
        if Capability.HOLD not in self.capabilities:
            super().hold(version, reasons)
        self._changed(version, lambda state: history.hold_operation(state, version.id, reasons))

    def release(self, version: DatasetVersion, reasons: Sequence[Hold]) -> None:
        """Take back these reasons."""
        if Capability.HOLD not in self.capabilities:
            super().release(version, reasons)
        self._changed(version, lambda state: history.release_operation(state, version.id, reasons))

    def holds(self, version: DatasetVersion) -> tuple[Hold, ...]:
        """The reasons for which a version is kept."""
        self._record(version)
        return history.holds_of(self._state(version.ref.dataset), version.id)

    def held(self) -> Iterator[tuple[DatasetVersion, tuple[Hold, ...]]]:
        """All versions that are kept for a reason; each dataset is read once."""
        for dataset in self.datasets() if Capability.HOLD in self.capabilities else ():
            state = self._state(dataset)
            for version_id in state.holds:
                yield self._version(state, state.versions[version_id]), history.holds_of(state, version_id)

    def _changed(self, version: DatasetVersion, operation: Decide) -> State:
        self._record(version)

        def decide(state: State) -> Operation | None:
            if version.id not in state.versions:
                raise self._no_version(state, version.id)
            return operation(state)

        return self._append(version.ref.dataset, decide)

    def _record(self, version: DatasetVersion) -> Record:
        state = self._state(version.ref.dataset)
        record = state.versions.get(version.id)
        if record is None:
            raise self._no_version(state, version.id)
        return record

    def _no_dataset(self, dataset: str, known: list[str]) -> NotFound:
        """known: the names that are searched for a similar one."""
        ref = DatasetRef(self.name, dataset)
        near = ", ".join(str(DatasetRef(self.name, name)) for name in nearest(dataset, known))
        tip = near or f"mlflow-dsver versions create {ref}{self.create_hint}"
        return self._not_found(ref, self.no_dataset_text, tip)

    def _no_version(self, state: State, selector: str, ambiguous: list[str] | None = None) -> NotFound:
        ref = DatasetRef(self.name, state.dataset, selector)
        what = self.unknown_text
        if ambiguous:
            what = f"{len(ambiguous)} versions begin so"
        elif selector in state.ids:
            what = self.deleted_text
        near = ambiguous or nearest(selector, [*state.versions, *state.tags])
        if not near and state.versions:
            near = [LATEST]
        return self._not_found(ref, what, ", ".join(str(ref.at(name)) for name in near[:3]) or None)
