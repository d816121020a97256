"""Tests for providers: subclass `ProviderContract`, bring two fixtures, and pytest runs the rest.

    class TestMyProvider(ProviderContract):
        @pytest.fixture
        def provider(self): return MyProvider(...)
        @pytest.fixture
        def known(self, provider): return Known(dataset, (newest_id, ..., oldest_id), tag=("clean", some_id))

The tests look at `capabilities` and at nothing else to know what the provider can do: what it declares must work,
and what it does not declare must raise Unsupported. Needs pytest, which this package does not depend on.

There are also fixtures with running emulators. In a `conftest.py`:

    from mlflow_dsver.testing import paperspace_emulator
    my_emulator = emulator_fixture("my-provider")

The environment of the test points at the emulator. Its arguments are given by indirect parametrisation:

    @pytest.mark.parametrize("paperspace_emulator", [{"seed": True, "faults": ["503:times=2"]}], indirect=True)
    def test_training_survives(paperspace_emulator): ...
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from mlflow_dsver import plugins
from mlflow_dsver.emulators.serving import Emulator
from mlflow_dsver.errors import NotFound, Unsupported
from mlflow_dsver.model.refs import LATEST, DatasetRef, parse
from mlflow_dsver.model.versions import DatasetVersion, Grade
from mlflow_dsver.providers.interface import Capability, Health, Provider
from mlflow_dsver.testing_files import HOLDS, FilesContract

__all__ = [
    "EMULATED_KEY",
    "Known",
    "ProviderContract",
    "clarifai_emulator",
    "emulator_fixture",
    "paperspace_emulator",
]

EMULATED_KEY = "emulated-key-0123456789"
"""The only key that an emulator of a fixture takes."""

_DIGEST = re.compile(r"blake3:[0-9a-f]{64}\Z")


def emulator_fixture(provider: str) -> Any:
    """A pytest fixture that runs a provider's emulator, empty unless seeded, and sets the variables that point to it.

    provider: the provider's name; its `ProviderInfo` says where the emulator is.
    """

    @pytest.fixture(name=f"{provider}_emulator")
    def running(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
        target = plugins.provider_infos()[provider].emulator
        if target is None:
            raise ValueError(f"the provider {provider} brings no emulator")
        with plugins.load(target)(**{"key": EMULATED_KEY, **getattr(request, "param", {})}) as emulator:
            for name, value in emulator.variables.items():
                monkeypatch.setenv(name, value)
            yield emulator

    return running


clarifai_emulator = emulator_fixture("clarifai")
paperspace_emulator = emulator_fixture("paperspace")


@dataclass(frozen=True, slots=True)
class Known:
    """What the provider under test holds when a test begins.

    dataset: a dataset with at least two versions. versions: the ids of all of them, newest first.
    tag: a tag and the id of the version that has it; None for a provider without the capability TAGS.
    """

    dataset: str
    versions: tuple[str, ...]
    tag: tuple[str, str] | None = None


class ProviderContract(FilesContract):
    """Subclass this with the fixtures `provider` and `known`; both are asked for once a test.

    words: which of `message` and `metadata` the provider can keep; override where it is less than both.
    """

    words: ClassVar[frozenset[str]] = frozenset({"message", "metadata"})

    @pytest.fixture
    def provider(self) -> Provider:
        """The provider under test, ready to be used, its state its own for each test."""
        raise NotImplementedError("the subclass brings the fixture `provider`")

    @pytest.fixture
    def known(self, provider: Provider) -> Known:
        """What the provider holds."""
        raise NotImplementedError("the subclass brings the fixture `known`")

    def make(self, provider: Provider, dataset: str, folder: Path, **words: Any) -> DatasetVersion:
        """Make a version that was not there; override where versions are not made of a folder."""
        folder.mkdir(parents=True)
        (folder / "labels.csv").write_text(f"file,label\n{folder.name},7\n")
        (folder / "images").mkdir()
        (folder / "images" / "ü 1.bin").write_bytes(bytes(range(256)))
        return provider.create(dataset, folder, **words)

    # What every provider keeps

    def test_name_is_that_of_its_references(self, provider: Provider, known: Known) -> None:
        """The name stands before `://` of each version's reference."""
        assert DatasetRef(provider.name, "x").provider == provider.name
        assert {version.ref.provider for version in provider.versions(known.dataset)} == {provider.name}

    def test_capabilities_are_declared(self, provider: Provider) -> None:
        """Capabilities are a frozen set of the words there are."""
        assert isinstance(provider.capabilities, frozenset)
        assert provider.capabilities <= frozenset(Capability)

    def test_get_gives_the_version_of_that_id(self, provider: Provider, known: Known) -> None:
        """`get` finds each known version by its id, and its reference is canonical."""
        for version_id in known.versions:
            version = provider.get(known.dataset, version_id)
            assert version.ref == DatasetRef(provider.name, known.dataset, version_id)

    def test_versions_come_newest_first(self, provider: Provider, known: Known) -> None:
        """All versions are listed once, the newest first, and their dates agree."""
        listed = list(provider.versions(known.dataset))
        assert tuple(version.id for version in listed) == known.versions
        dates = [version.created for version in listed if version.created]
        assert dates == sorted(dates, reverse=True)

    def test_versions_is_an_iterator(self, provider: Provider, known: Known) -> None:
        """A listing is an iterator, so that a caller who needs the first needs not wait for the last."""
        listing = provider.versions(known.dataset)
        assert isinstance(listing, Iterator)
        assert next(listing).id == known.versions[0]

    def test_listing_and_getting_agree(self, provider: Provider, known: Known) -> None:
        """What a listing says of a version is what `get` says of it, where it says anything."""
        for listed in provider.versions(known.dataset):
            got = provider.get(known.dataset, listed.id)
            assert (listed.ref, listed.tags, listed.immutable) == (got.ref, got.tags, got.immutable)

    @pytest.mark.parametrize("selector", [None, LATEST])
    def test_latest_is_the_newest(self, provider: Provider, known: Known, selector: str | None) -> None:
        """No selector and `latest` both mean the newest version, and the answer names its id."""
        version = provider.resolve(DatasetRef(provider.name, known.dataset, selector))
        assert version.id == known.versions[0]

    def test_every_canonical_reference_resolves_to_itself(self, provider: Provider, known: Known) -> None:
        """A reference that was printed is read back as the same version."""
        for listed in provider.versions(known.dataset):
            assert parse(str(listed)) == listed.ref
            assert provider.resolve(parse(str(listed))).ref == listed.ref

    def test_find_names_the_same_version_as_resolve(self, provider: Provider, known: Known) -> None:
        """What a person changes by a reference is what a run would use by it; an unknown one is NotFound."""
        selectors = [None, LATEST, *known.versions, *(known.tag[:1] if known.tag else ())]
        for selector in selectors:
            ref = DatasetRef(provider.name, known.dataset, selector)
            assert provider.find(ref).ref == provider.resolve(ref).ref
        with pytest.raises(NotFound):
            provider.find(DatasetRef(provider.name, known.dataset, "no-such-version"))

    def test_tag_resolves_to_its_version(self, provider: Provider, known: Known) -> None:
        """A tag means the version that has it, by `resolve` and as a filter of a listing."""
        if Capability.TAGS not in provider.capabilities:
            assert known.tag is None, "a provider that finds versions by tag declares the capability TAGS"
            return
        assert known.tag is not None, "the fixture `known` names a tag, because the provider declares TAGS"
        tag, version_id = known.tag
        assert provider.resolve(DatasetRef(provider.name, known.dataset, tag)).id == version_id
        assert [version.id for version in provider.versions(known.dataset, tag=tag)] == [version_id]
        assert tag in provider.get(known.dataset, version_id).tags

    def test_unknown_tag_filters_everything(self, provider: Provider, known: Known) -> None:
        """A listing by a tag that no version has is empty, and no error."""
        assert list(provider.versions(known.dataset, tag="no-such-tag")) == []

    def test_unknown_dataset_raises_not_found(self, provider: Provider, known: Known) -> None:
        """A dataset that does not exist is NotFound in every way of asking, and the message names it."""
        unknown = known.dataset[:-1] + ("x" if known.dataset[-1] != "x" else "y")
        for ask in _ways_of_asking(provider, unknown, known.versions[0]):
            with pytest.raises(NotFound) as caught:
                ask()
            assert unknown in str(caught.value)
            assert caught.value.provider == provider.name

    def test_unknown_version_raises_not_found(self, provider: Provider, known: Known) -> None:
        """A version that does not exist is NotFound; the message names it, and one whose id is near."""
        existing = known.versions[0]
        unknown = existing[:-1] + ("0" if existing[-1] != "0" else "1")
        with pytest.raises(NotFound) as caught:
            provider.get(known.dataset, unknown)
        assert unknown in str(caught.value)
        with pytest.raises(NotFound) as caught:
            provider.resolve(DatasetRef(provider.name, known.dataset, unknown))
        assert unknown in str(caught.value)
        assert existing in str(caught.value), "the message suggests the version that is nearest"

    def test_versions_go_to_json_and_back(self, provider: Provider, known: Known) -> None:
        """All that is said of a version is JSON, the provider's untouched answer included."""
        for version in provider.versions(known.dataset):
            text = json.dumps(version.to_json(), allow_nan=False)
            assert DatasetVersion.from_json(json.loads(text)) == version

    def test_facts_have_their_form(self, provider: Provider, known: Known) -> None:
        """Sizes are not negative, dates have a zone, digests their prefix, pages are http or https."""
        for version_id in known.versions:
            version = provider.get(known.dataset, version_id)
            assert version.usage_bytes is None or version.usage_bytes >= 0
            assert version.content_digest is None or _DIGEST.match(version.content_digest)
            assert all(date is None or date.tzinfo for date in (version.created, version.modified))
            assert version.web_url is None or version.web_url.startswith(("https://", "http://"))
            assert all(isinstance(count, int) and count >= 0 for count in version.counts.values())

    def test_grade_does_not_overstate(self, provider: Provider, known: Known) -> None:
        """A needs a content digest that was computed here; B needs a provider that promises immutability."""
        for version_id in known.versions:
            version = provider.get(known.dataset, version_id)
            grade = provider.grade(version)
            assert isinstance(grade, Grade)
            if grade.letter == "A":
                assert version.content_digest is not None
                assert not version.digest_is_claimed
            if grade.letter == "B":
                assert version.immutable

    def test_health_is_a_value(self, provider: Provider) -> None:
        """`health` answers in one line and does not raise."""
        health = provider.health()
        assert isinstance(health, Health)
        assert health.ok
        assert health.summary
        assert "\n" not in health.summary

    # What a provider declares must work, what it does not declare is Unsupported

    def test_what_is_not_declared_is_unsupported(self, provider: Provider, known: Known, tmp_path: Path) -> None:
        """A missing capability is Unsupported, which names the provider and says what it can do."""
        version = provider.get(known.dataset, known.versions[0])
        calls: dict[Capability, list[Callable[[], object]]] = {
            Capability.DATASETS: [lambda: list(provider.datasets())],
            Capability.CREATE: [lambda: self.make(provider, known.dataset, tmp_path / "new")],
            Capability.UPDATE: [lambda: provider.update(version, message="x")],
            Capability.DELETE: [lambda: provider.delete(version)],
            Capability.HOLD: [lambda: provider.hold(version, HOLDS), lambda: provider.release(version, HOLDS)],
            Capability.TABLE: [lambda: provider.table(version, "pandas")],
            Capability.BYTES: [
                lambda: provider.path(version),
                lambda: provider.materialise(version, tmp_path / "out"),
            ],
        }
        for capability in frozenset(calls) - provider.capabilities:
            for call in calls[capability]:
                with pytest.raises(Unsupported) as caught:
                    call()
                assert provider.name in str(caught.value)

    def test_datasets_lists_what_is_there(self, provider: Provider, known: Known) -> None:
        """The listing of datasets has the known one, sorted, none twice."""
        if Capability.DATASETS in provider.capabilities:
            names = list(provider.datasets())
            assert known.dataset in names
            assert names == sorted(set(names))

    def test_created_version_is_the_newest(self, provider: Provider, known: Known, tmp_path: Path) -> None:
        """A version that was made is found by its id, is first in the listing, and is what `latest` means."""
        if Capability.CREATE in provider.capabilities:
            made = self.make(provider, known.dataset, tmp_path / "new")
            assert made.id not in known.versions
            assert provider.get(known.dataset, made.id).ref == made.ref
            assert [version.id for version in provider.versions(known.dataset)] == [made.id, *known.versions]
            assert provider.resolve(DatasetRef(provider.name, known.dataset)).ref == made.ref

    def test_created_version_has_its_words(self, provider: Provider, known: Known, tmp_path: Path) -> None:
        """Message and metadata given at creation are those that are read back."""
        if Capability.CREATE in provider.capabilities:
            given = {key: value for key, value in _WORDS.items() if key in self.words}
            made = self.make(provider, known.dataset, tmp_path / "new", **given)
            found = provider.get(known.dataset, made.id)
            assert {key: getattr(found, key) for key in given} == given

    def test_tag_moves_to_the_version_created_with_it(self, provider: Provider, known: Known, tmp_path: Path) -> None:
        """A tag names one version: creating another with it takes it away from the first."""
        if known.tag is not None and Capability.CREATE in provider.capabilities:
            tag, former = known.tag
            made = self.make(provider, known.dataset, tmp_path / "new", tags=(tag,))
            assert made.tags == (tag,)
            assert provider.resolve(DatasetRef(provider.name, known.dataset, tag)).ref == made.ref
            assert tag not in provider.get(known.dataset, former).tags

    def test_update_changes_what_is_given_and_nothing_else(self, provider: Provider, known: Known) -> None:
        """None leaves a thing as it is; metadata replaces the whole."""
        if Capability.UPDATE not in provider.capabilities:
            return
        version = provider.get(known.dataset, known.versions[-1])
        for word in sorted(self.words):
            before = provider.get(known.dataset, version.id)
            after = provider.update(before, **{word: _WORDS[word]})
            assert getattr(after, word) == _WORDS[word]
            same = {"message", "metadata", "tags", "usage_bytes", "content_digest", "created", "ref"} - {word}
            assert {key: getattr(after, key) for key in same} == {key: getattr(before, key) for key in same}
            assert getattr(provider.get(known.dataset, version.id), word) == _WORDS[word]

    def test_tags_are_added_moved_and_removed(self, provider: Provider, known: Known) -> None:
        """An added tag leaves the version that had it; a removed one names none."""
        if known.tag is None or Capability.UPDATE not in provider.capabilities:
            return
        tag, former = known.tag
        other = next(version_id for version_id in known.versions if version_id != former)
        moved = provider.update(provider.get(known.dataset, other), add_tags=(tag, "second tag"))
        assert {tag, "second tag"} <= set(moved.tags)
        assert tag not in provider.get(known.dataset, former).tags
        assert [version.id for version in provider.versions(known.dataset, tag=tag)] == [other]
        bare = provider.update(moved, remove_tags=(tag, "second tag"))
        assert not {tag, "second tag"} & set(bare.tags)
        assert list(provider.versions(known.dataset, tag=tag)) == []

    def test_deleted_version_is_gone(self, provider: Provider, known: Known) -> None:
        """After deletion there is no such version, no tag that names it, and deleting again is NotFound."""
        if Capability.DELETE not in provider.capabilities:
            return
        version = provider.get(known.dataset, known.versions[0])
        provider.delete(version)
        assert [each.id for each in provider.versions(known.dataset)] == list(known.versions[1:])
        for ask in (lambda: provider.get(known.dataset, version.id), lambda: provider.delete(version)):
            with pytest.raises(NotFound):
                ask()


_WORDS: dict[str, Any] = {
    "message": "relabelled 7s; ünïcode, commas",
    "metadata": {"by": "round 3", "share": 0.5, "checked": True, "none": None, "nested": {"list": [1, "two"]}},
}


def _ways_of_asking(provider: Provider, dataset: str, version: str) -> list[Callable[[], object]]:
    return [
        lambda: provider.get(dataset, version),
        lambda: list(provider.versions(dataset)),
        lambda: provider.resolve(DatasetRef(provider.name, dataset)),
        lambda: provider.resolve(DatasetRef(provider.name, dataset, version)),
    ]
