"""From references to versions: what each form means, how many requests it costs, what a refusal is found to mean."""

from __future__ import annotations

import logging
import tracemalloc
from dataclasses import replace
from typing import Any

import pytest

from mlflow_dsver.errors import (
    AuthenticationFailed,
    NotFound,
    PermissionDenied,
    ProviderError,
    ProviderUnavailable,
    SettingsError,
    UnexpectedResponse,
)
from mlflow_dsver.model.refs import parse
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.providers.paperspace import PaperspaceProvider, paging
from mlflow_dsver.providers.paperspace.client import PaperspaceClient
from mlflow_dsver.providers.paperspace.emulator import PaperspaceEmulator
from mlflow_dsver.providers.paperspace.local_files import Roots

CATS = "dst364npcw6ccok"


def resolve(provider: PaperspaceProvider, text: str) -> DatasetVersion:
    return provider.resolve(parse(text))


@pytest.mark.parametrize(
    ("text", "version", "requests"),
    [
        (f"paperspace://{CATS}", "1rn19s2", 2),
        (f"paperspace://{CATS}@latest", "1rn19s2", 2),
        (f"{CATS}:latest", "1rn19s2", 2),
        (f"paperspace/{CATS}:latest", "1rn19s2", 2),
        (f"gradient/{CATS}", "1rn19s2", 2),
        (f"t40f5ou8vp/{CATS}:latest", "1rn19s2", 3),
        (f"PAPERSPACE://{CATS}:fo5rp4m", "fo5rp4m", 2),
        (f"paperspace://{CATS}@fo5rp4m", "fo5rp4m", 2),
        (f"{CATS}:fo5rp4m", "fo5rp4m", 2),
        (f"paperspace://{CATS}@clean", "fo5rp4m", 3),
        ("paperspace://cats", "1rn19s2", 2),
        ("paperspace://cats@fo5rp4m", "fo5rp4m", 2),
        ("paperspace://cats:clean", "fo5rp4m", 3),
        ("paperspace://t40f5ou8vp/cats@clean", "fo5rp4m", 4),
        ("paperspace://paperspace/cats@clean", "fo5rp4m", 3),
    ],
)
def test_forms_of_a_reference_and_their_cost(
    emulator: PaperspaceEmulator, provider: PaperspaceProvider, text: str, version: str, requests: int
) -> None:
    """At most two requests for an id or a version, one for `latest` of an id, and one for the dataset's name; where
    it is given by its name, a listing of datasets instead. A namespace costs the question whose the key is.
    """
    assert str(resolve(provider, text)) == f"paperspace://{CATS}@{version}"
    assert len(emulator.requests) == requests


@pytest.mark.parametrize("text", ["paperspace://someone-else/cats", f"someone-else/{CATS}:fo5rp4m"])
def test_namespace_of_another_team_is_refused(provider: PaperspaceProvider, text: str) -> None:
    """One's own dataset of that name is another one; by every way of asking."""
    ref = parse(text)
    for ask in (
        lambda: provider.resolve(ref),
        lambda: provider.get(ref.dataset, "fo5rp4m"),
        lambda: next(provider.versions(ref.dataset)),
        lambda: provider.create(ref.dataset),
    ):
        with pytest.raises(NotFound, match=r"another team.*t40f5ou8vp.*someone-else"):
            ask()


def test_version_in_our_words(provider: PaperspaceProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    found = resolve(provider, f"{CATS}:fo5rp4m")
    assert (found.usage_bytes, found.message, found.tags) == (530_841_600, "relabelled", ("clean",))
    assert (found.immutable, found.creator, found.web_url) == (True, "utewr3st2z", None)
    assert (found.state, found.dataset_name) == ("committed", "cats")
    assert str(provider.grade(found)) == "B"
    assert found.raw["usageBytes"] == "530841600"
    assert found.metadata == {}
    monkeypatch.setenv("MLFLOW_DSVER_PAPERSPACE_PAGE", "https://console.example.org/ns/{dataset}?v={version}")
    assert resolve(provider, f"{CATS}:fo5rp4m").web_url == f"https://console.example.org/ns/{CATS}?v=fo5rp4m"


@pytest.mark.parametrize("template", ["javascript:{dataset}", "https://x.org/", "{dataset}"])
def test_page_template_is_checked(
    provider: PaperspaceProvider, monkeypatch: pytest.MonkeyPatch, template: str
) -> None:
    monkeypatch.setenv("MLFLOW_DSVER_PAPERSPACE_PAGE", template)
    with pytest.raises(ValueError, match="PAPERSPACE_PAGE"):
        resolve(provider, f"paperspace://{CATS}")


def test_uncommitted_version_is_shown_changed_and_deleted(
    emulator: PaperspaceEmulator, provider: PaperspaceProvider
) -> None:
    """By its id or a tag; only a run refuses it."""
    for text in (f"{CATS}:8ngwr2a", f"{CATS}:wip", "paperspace://cats@wip"):
        found = provider.find(parse(text))
        assert (found.id, found.state) == ("8ngwr2a", "uncommitted")
        provider.update(found, add_tags=("wip",))
    assert {each.id: each.state for each in provider.versions(CATS)}["8ngwr2a"] == "uncommitted"
    provider.delete(provider.find(parse(f"{CATS}:wip")))
    assert "8ngwr2a" not in emulator.versions[CATS]


def test_uncommitted_version_is_refused(provider: PaperspaceProvider) -> None:
    """By its id too; the message says how to commit it, and how to link it all the same."""
    with pytest.raises(ProviderError, match=r"not committed.*paperspace commit.*UNCOMMITTED=link"):
        resolve(provider, f"{CATS}:8ngwr2a")
    assert provider.get(CATS, "8ngwr2a").immutable is False


def test_uncommitted_version_is_linked_when_asked_for(
    emulator: PaperspaceEmulator, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Grade D and a loud word; `latest` is still the newest committed one."""
    monkeypatch.setenv("MLFLOW_DSVER_PAPERSPACE_UNCOMMITTED", "link")
    provider = PaperspaceProvider(key=emulator.good_key, base=emulator.base, roots=Roots((), ()))
    found = resolve(provider, f"{CATS}:8ngwr2a")
    assert str(provider.grade(found)) == "D (uncommitted)"
    assert "IS NOT COMMITTED" in caplog.text
    assert resolve(provider, f"paperspace://{CATS}").id == "1rn19s2"


def test_latest_without_a_committed_version(emulator: PaperspaceEmulator, provider: PaperspaceProvider) -> None:
    empty = emulator.add_dataset("empty")
    with pytest.raises(NotFound, match="no version"):
        resolve(provider, f"paperspace://{empty}")
    emulator.add_version(empty, committed=False)
    with pytest.raises(NotFound, match="none of them committed"):
        resolve(provider, f"paperspace://{empty}")


def test_name_of_the_dataset_is_known_and_nothing_depends_on_it(
    emulator: PaperspaceEmulator, provider: PaperspaceProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its id or its name; where the service does not say it, or not soon, it is unknown."""
    made = provider.create(CATS)
    assert made.dataset_name == provider.commit(made).dataset_name == "cats"
    assert provider.update(made, message="x").dataset_name == "cats"
    assert resolve(provider, "paperspace://cats@clean").dataset_name == "cats"
    assert provider.find(parse(f"{CATS}:8ngwr2a")).dataset_name == "cats"
    assert next(provider.versions("cats")).dataset_name == "cats"

    def fails(self: PaperspaceClient, dataset: str, *, seconds: float | None = None) -> None:
        assert seconds == 5.0, "nobody waits long for it"
        raise ProviderUnavailable("away")

    monkeypatch.setattr(PaperspaceClient, "dataset", fails)
    assert resolve(provider, f"{CATS}:clean").dataset_name is None


def test_version_id_wins_over_a_tag(emulator: PaperspaceEmulator, provider: PaperspaceProvider) -> None:
    emulator.add_version(CATS, tags="klfoyy9")
    assert resolve(provider, f"{CATS}:klfoyy9").id == "klfoyy9"


def test_tag_on_several_versions_means_the_newest_and_says_so(
    emulator: PaperspaceEmulator, provider: PaperspaceProvider, caplog: pytest.LogCaptureFixture
) -> None:
    emulator.switch("tag-moves", "stays")
    newer = emulator.add_version(CATS, tags="clean")
    emulator.add_version(CATS, tags="clean", committed=False)
    caplog.set_level(logging.WARNING)
    assert resolve(provider, f"{CATS}:clean").id == newer
    assert "not fo5rp4m" in caplog.text


def test_tag_with_odd_characters(emulator: PaperspaceEmulator, provider: PaperspaceProvider) -> None:
    """Blanks around a tag that other programs wrote are not part of it; a comma cannot be."""
    emulator.switch("tag-blanks", "kept")
    made = emulator.add_version(CATS, tags="a,  two words ")
    assert resolve(provider, f"paperspace://{CATS}@two%20words").id == made
    with pytest.raises(NotFound):
        resolve(provider, f"paperspace://{CATS}@a,b")


def test_service_that_answers_with_another_version_is_not_believed(
    emulator: PaperspaceEmulator, provider: PaperspaceProvider
) -> None:
    real = emulator._version
    emulator._version = lambda dataset, version: real(dataset, "klfoyy9")  # type: ignore[method-assign]
    with pytest.raises(UnexpectedResponse, match=r"another version.*fo5rp4m.*klfoyy9"):
        resolve(provider, f"{CATS}:fo5rp4m")
    with pytest.raises(NotFound):
        provider.get(CATS, "fo5rp4m")


def test_tag_where_an_id_belongs_is_told_with_the_id(provider: PaperspaceProvider) -> None:
    """What was typed is not suggested."""
    with pytest.raises(NotFound, match=rf"no version of that id; it is a tag. Try: paperspace://{CATS}@fo5rp4m"):
        provider.get(CATS, "clean")


def test_unknown_dataset_names_near_ones(provider: PaperspaceProvider) -> None:
    with pytest.raises(NotFound, match=f"paperspace://{CATS}"):
        resolve(provider, "paperspace://cat")
    with pytest.raises(NotFound, match=f"paperspace://{CATS}"):
        resolve(provider, "paperspace://dst364npcw6cco0")
    with pytest.raises(NotFound, match="one team"):
        resolve(provider, "paperspace://zzzzzzzz")


def test_name_of_two_datasets_is_an_error(emulator: PaperspaceEmulator, provider: PaperspaceProvider) -> None:
    other = emulator.add_dataset("cats")
    with pytest.raises(ProviderError, match=f"2 datasets.*{other}"):
        resolve(provider, "paperspace://cats")


def test_public_dataset_of_others_is_found_by_id_alone(
    emulator: PaperspaceEmulator, provider: PaperspaceProvider
) -> None:
    """A stranger's public dataset cannot take the place of one's own by its name."""
    public = emulator.add_dataset("squat", public=True)
    emulator.add_version(public)
    assert resolve(provider, f"paperspace://{public}").ref.dataset == public
    with pytest.raises(NotFound):
        resolve(provider, "paperspace://squat")


@pytest.mark.parametrize("status", ["401", "403", "404"])
def test_bad_key_is_told_apart_from_a_missing_dataset(emulator: PaperspaceEmulator, status: str) -> None:
    """Whichever status the service has for a bad key, the error is about the key."""
    emulator.switch("bad-key", status)
    provider = PaperspaceProvider(key="another-key", base=emulator.base, timeout=10, roots=Roots((), ()))
    for text in (f"paperspace://{CATS}", f"{CATS}:fo5rp4m", f"{CATS}:clean", "paperspace://cats"):
        if status != "401" and text == "paperspace://cats":
            continue  # the listing of datasets is refused as such
        with pytest.raises(AuthenticationFailed, match="PAPERSPACE_API_KEY"):
            resolve(provider, text)
    assert not provider.health().ok


@pytest.mark.parametrize("status", ["404", "403"])
def test_refusal_for_something_missing_is_not_found(
    emulator: PaperspaceEmulator, provider: PaperspaceProvider, status: str
) -> None:
    emulator.switch("unknown", status)
    for text in ("paperspace://dst364npcw6cco0", f"{CATS}:fo5rp4n", f"{CATS}:no-such-tag"):
        with pytest.raises(NotFound):
            resolve(provider, text)


def test_refusal_for_something_that_is_there_stays_a_refusal(
    emulator: PaperspaceEmulator, provider: PaperspaceProvider
) -> None:
    emulator.inject("403:on=/versions/fo5rp4m")
    with pytest.raises(PermissionDenied):
        provider.get(CATS, "fo5rp4m")
    emulator.inject("403:on=/versions")
    with pytest.raises(PermissionDenied):
        resolve(provider, f"paperspace://{CATS}")


def test_ten_thousand_versions_in_pages_with_flat_memory(
    emulator: PaperspaceEmulator, provider: PaperspaceProvider
) -> None:
    """120 a page, 84 requests, memory of a few pages; `latest` of them is one request, beside that for the name."""
    many = emulator.add_dataset("many")
    for _ in range(10_000):
        emulator.add_version(many, metadata={"note": "x" * 200})
    emulator.requests.clear()
    assert resolve(provider, f"paperspace://{many}@latest").id
    assert len(emulator.requests) == 2
    emulator.requests.clear()
    next(iter(provider.versions(many)))
    emulator.requests.clear()
    tracemalloc.start()
    try:
        listed = sum(1 for _ in provider.versions(many))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert listed == 10_000
    assert [len(emulator.requests), emulator.requests[0].first("limit")] == [84, "120"]
    assert peak < 8 << 20, f"{peak} bytes: server and client share this process"


@pytest.mark.parametrize("setting", ["ends", "400", "goes-on"])
def test_listing_misses_nothing_when_a_version_is_deleted_meanwhile(
    emulator: PaperspaceEmulator, provider: PaperspaceProvider, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    """Whatever the service does with the mark of what is gone: all that are left are listed, none twice."""

    monkeypatch.setattr(paging, "PAGE", 2)
    emulator.switch("gone-cursor", setting)
    listing = provider.versions(CATS)
    listed = [next(listing).id, next(listing).id]
    provider.delete(provider.get(CATS, listed[1]))
    listed += [each.id for each in listing]
    assert listed == ["8ngwr2a", "1rn19s2", "fo5rp4m", "klfoyy9"]


def test_listing_that_never_comes_to_an_end_is_an_error(
    emulator: PaperspaceEmulator, provider: PaperspaceProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every second page is empty, although the first says that there is more."""
    from mlflow_dsver.providers.paperspace.emulator import responses

    monkeypatch.setattr(paging, "PAGE", 2)
    monkeypatch.setattr(responses, "_cursor", lambda item: "Z29uZSAyMDE5")
    with pytest.raises(UnexpectedResponse, match="began again 3 times"):
        list(provider.versions(CATS))


@pytest.mark.parametrize(
    "wrong", [{"tags": None}, {"dtCreated": "2019-08-24t14:15:60z"}, {"isCommitted": "yes"}], ids=str
)
def test_one_odd_version_does_not_hide_the_others(
    emulator: PaperspaceEmulator,
    provider: PaperspaceProvider,
    caplog: pytest.LogCaptureFixture,
    wrong: dict[str, Any],
) -> None:
    """`latest`, tags and listings work; a version of which it is not known whether it is committed is not `latest`
    and that is said.
    """
    shown = emulator._version_json
    emulator._version_json = lambda dataset, version: {  # type: ignore[method-assign]
        **shown(dataset, version),
        **(wrong if version["version"] == "1rn19s2" else {}),
    }
    assert [each.id for each in provider.versions(CATS)] == ["8ngwr2a", "1rn19s2", "fo5rp4m", "klfoyy9"]
    assert resolve(provider, f"{CATS}:clean").id == "fo5rp4m"
    latest = resolve(provider, f"{CATS}:latest")
    if "isCommitted" not in wrong:
        assert latest.id == "1rn19s2"
        return
    assert latest.id == "fo5rp4m"
    assert "1rn19s2 is newer than fo5rp4m and is passed over" in caplog.text
    odd = provider.get(CATS, "1rn19s2")
    assert (odd.immutable, odd.state, str(provider.grade(odd))) == (None, "unknown", "D (uncommitted)")
    with pytest.raises(ProviderError, match="does not say whether"):
        provider.resolve(odd.ref)


def test_address_without_the_version_of_the_api_is_told(emulator: PaperspaceEmulator) -> None:
    """And is no missing dataset; where something else answers there, a missing dataset is one."""
    provider = PaperspaceProvider(key=emulator.good_key, base=emulator.address, timeout=10, roots=Roots((), ()))
    for text in ("paperspace://cats", f"{CATS}:fo5rp4m", f"{CATS}:latest"):
        with pytest.raises(SettingsError, match=r"lacks /v1.*expected .*/v1"):
            resolve(provider, text)
    real = emulator.answer
    emulator.answer = lambda request: real(replace(request, path=("v1", *request.path)))  # type: ignore[method-assign]
    assert resolve(provider, f"{CATS}:latest").id == "1rn19s2"
    with pytest.raises(NotFound):
        resolve(provider, f"{CATS}:none")


def test_listing_outlasts_the_bound_of_one_operation(
    emulator: PaperspaceEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller who works between pages is not cut off: each page has the bound for itself."""
    import time
    from types import SimpleNamespace

    from mlflow_dsver import deadlines

    later = 0.0
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + later, sleep=time.sleep)
    monkeypatch.setattr(deadlines, "time", clock)
    monkeypatch.setattr(paging, "PAGE", 1)
    provider = PaperspaceProvider(key=emulator.good_key, base=emulator.base, timeout=20.0)
    listed = []
    for version in provider.versions(CATS):
        listed.append(version.id)
        later += 30.0
    assert len(listed) == 4


@pytest.mark.parametrize("fault", ["hang", "drip:seconds=0.5", "drip-headers:seconds=0.5", "503", "nonsense", "cut"])
def test_resolving_never_takes_longer_than_its_bound(emulator: PaperspaceEmulator, fault: str) -> None:
    """Whatever the service does, an error comes: a fault lasts until the test is stopped, or gives an answer."""
    emulator.inject(fault)
    provider = PaperspaceProvider(key=emulator.good_key, base=emulator.base, timeout=2.0)
    with pytest.raises(ProviderError):
        resolve(provider, f"{CATS}:clean")


def test_datasets_are_sorted_ids(provider: PaperspaceProvider) -> None:
    assert list(provider.datasets()) == ["dsr5zdx0thjhfe2", CATS]


def test_health_says_team_and_origins_and_no_secret(provider: PaperspaceProvider) -> None:
    health = provider.health()
    assert health.ok
    assert "t40f5ou8vp" in health.summary
    assert health.settings["PAPERSPACE_API_KEY"] == "argument"
    assert "emulated-key" not in repr(health) + repr(provider) + repr(vars(provider))
