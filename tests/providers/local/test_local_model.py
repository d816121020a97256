"""The catalog of a dataset against a simple model of it: random sequences of operations give the same answers."""

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule

from mlflow_dsver.errors import NotFound
from mlflow_dsver.model.refs import DatasetRef
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.providers.local import LocalProvider
from mlflow_dsver.providers.local.maintenance import check, collect

TAGS = st.sampled_from(["clean", "v1", "ünïcode tag", "a b"])
MESSAGES = st.one_of(st.none(), st.text(st.characters(codec="utf-8"), max_size=20))
METADATA = st.one_of(st.none(), st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=3), st.integers()))


class Catalog(RuleBasedStateMachine):
    """The model: living versions in the order of their last creation, and which of them has which tag."""

    made = Bundle("made")

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.root = Path(self._folder.name)
        self.local = LocalProvider(self.root / "store")
        self.words: dict[str, tuple[str | None, dict[str, int]]] = {}
        self.tags: dict[str, str] = {}
        self.kept: set[str] = set()
        self.bytes: dict[str, int] = {}
        self.ever = False

    def teardown(self) -> None:
        self._folder.cleanup()

    def _tag(self, version_id: str, added: set[str], removed: set[str] = frozenset()) -> None:
        self.tags = {tag: to for tag, to in self.tags.items() if not (tag in removed and to == version_id)}
        self.tags.update(dict.fromkeys(added, version_id))

    @rule(target=made, content=st.integers(0, 4), tags=st.sets(TAGS), message=MESSAGES, metadata=METADATA,
          reference=st.booleans())  # fmt: skip
    def create(self, content, tags, message, metadata, reference):
        folder = self.root / f"content-{content}"
        folder.mkdir(exist_ok=True)
        if not (folder / "a.txt").exists():
            (folder / "a.txt").write_text("a" * content)
        version = self.local.create(
            "data", folder, tags=tuple(tags), message=message, metadata=metadata, reference=reference
        )
        old_message, old_metadata = self.words.pop(version.id, (None, {}))
        self.words[version.id] = (
            old_message if message is None else message or None,
            old_metadata if metadata is None else metadata,
        )
        if not reference:
            self.kept.add(version.id)
        self._tag(version.id, tags)
        self.bytes[version.id] = content
        self.ever = True
        return version

    @rule(version=made, added=st.sets(TAGS), removed=st.sets(TAGS), message=MESSAGES, metadata=METADATA)
    def update(self, version, added, removed, message, metadata):
        words = {"message": message, "metadata": metadata}
        if version.id not in self.words:
            self._is_gone(lambda: self.local.update(version, **words))
            return
        self.local.update(version, add_tags=tuple(added), remove_tags=tuple(removed), **words)
        old_message, old_metadata = self.words[version.id]
        self.words[version.id] = (
            old_message if message is None else message or None,
            old_metadata if metadata is None else metadata,
        )
        self._tag(version.id, added, removed)

    @rule(version=made)
    def delete(self, version):
        if version.id not in self.words:
            self._is_gone(lambda: self.local.delete(version))
            return
        self.local.delete(version)
        del self.words[version.id]
        self.kept.discard(version.id)
        self.tags = {tag: to for tag, to in self.tags.items() if to != version.id}

    @rule(version=made)
    def give_out(self, version):
        if version.id not in self.words:
            self._is_gone(lambda: self.local.path(version))
            return
        assert (self.local.path(version) / "a.txt").stat().st_size == self.bytes[version.id]

    @rule(dry=st.booleans())
    def collect(self, dry):
        collect(self.local.store, dry_run=dry, min_age=0)

    @rule(target=made)
    def nothing(self):
        return multiple()

    def _is_gone(self, ask):
        try:
            ask()
        except NotFound:
            return
        raise AssertionError("a version that was deleted can still be used")

    @invariant()
    def agrees(self):
        if not self.ever:
            self._is_gone(lambda: next(self.local.versions("data")))
            return
        versions = list(self.local.versions("data"))
        assert [version.id for version in versions] == list(reversed(self.words))
        for version in versions:
            assert (version.message, version.metadata) == self.words[version.id]
            assert set(version.tags) == {tag for tag, to in self.tags.items() if to == version.id}
            assert version.usage_bytes == self.bytes[version.id]
            assert self.local.grade(version).letter == ("A" if version.id in self.kept else "C")
            assert self.local.get("data", version.id) == version
            assert DatasetVersion.from_json(version.to_json()) == version
        for tag, version_id in self.tags.items():
            assert self.local.resolve(DatasetRef("local", "data", tag)).id == version_id
        if versions:
            assert self.local.resolve(DatasetRef("local", "data")).id == versions[0].id

    @invariant()
    def is_sound(self):
        assert check(self.local.store)


TestCatalog = Catalog.TestCase
TestCatalog.settings = settings(
    max_examples=20, stateful_step_count=15, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
