"""The provider against the emulator: what `latest` is, waiting, failures, lost answers, tags, size, address."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlflow_dsver.errors import (
    AuthenticationFailed,
    InvalidArgument,
    NotFound,
    ProviderError,
    ProviderUnavailable,
    SettingsError,
    UnexpectedResponse,
    Unsupported,
)
from mlflow_dsver.model.refs import DatasetRef, parse
from mlflow_dsver.model.versions import Grade
from mlflow_dsver.providers.clarifai import ClarifaiProvider, account, polling
from mlflow_dsver.providers.clarifai.convert import newest_first
from mlflow_dsver.providers.clarifai.emulator import ClarifaiEmulator
from mlflow_dsver.providers.clarifai.emulator.routes import Call
from mlflow_dsver.providers.clarifai.models import DatasetVersion as WireVersion
from mlflow_dsver.providers.clarifai.models import Format, Origin
from mlflow_dsver.providers.clarifai.polling import ListingChanged
from mlflow_dsver.providers.registry import get_provider

CATS = "demo-user/demo-app/cats"
PAT = "pat-0123456789abcdef"


def with_(emulator: ClarifaiEmulator, **options: object) -> ClarifaiProvider:
    signed = account(pat=PAT, user=emulator.user, app=emulator.app, base=emulator.address)
    return ClarifaiProvider(signed, **{"wait_seconds": 20, **options})  # type: ignore[arg-type]


def test_reference_without_user_and_app_takes_the_settings(provider: ClarifaiProvider) -> None:
    """And the version that it means names all three."""
    assert str(provider.resolve(parse("clarifai://cats"))) == "clarifai://demo-user/demo-app/cats@v2"
    assert str(provider.resolve(parse("clarifai://cats@clean"))) == "clarifai://demo-user/demo-app/cats@v1"


def test_me_is_the_user_whose_token_it_is(provider: ClarifaiProvider) -> None:
    assert str(provider.resolve(parse("clarifai://me/demo-app/cats@v1"))) == "clarifai://demo-user/demo-app/cats@v1"


def test_provider_is_found_by_its_name_and_reads_the_environment(
    emulator: ClarifaiEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in emulator.variables.items():
        monkeypatch.setenv(name, value)
    assert get_provider("clarifai").resolve(parse("clarifai://cats@v1")).id == "v1"


def test_portals_page_is_a_reference(provider: ClarifaiProvider) -> None:
    page = "https://clarifai.com/demo-user/demo-app/datasets/cats/versions/v1"
    assert provider.resolve(parse(page)).id == "v1"


@pytest.mark.parametrize("origin", [Origin.TRAINING, Origin.EVAL_GROUND_TRUTH, Origin.EVAL_PREDICTIONS])
def test_versions_that_no_person_asked_for_are_left_out_unless_asked_for(
    emulator: ClarifaiEmulator, provider: ClarifaiProvider, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = emulator.add_version("cats", origin=origin)
    assert provider.resolve(parse("clarifai://cats")).id == "v2"
    assert made not in [version.id for version in provider.versions(CATS)]
    assert provider.resolve(parse(f"clarifai://cats@{made}")).id == made
    assert with_(emulator, all_origins=True).resolve(parse("clarifai://cats")).id == made
    monkeypatch.setenv("MLFLOW_DSVER_CLARIFAI_ORIGINS", "all")
    assert provider.resolve(parse("clarifai://cats")).id == made
    monkeypatch.setenv("MLFLOW_DSVER_CLARIFAI_ORIGINS", "mine")
    with pytest.raises(SettingsError, match="CLARIFAI_ORIGINS"):
        provider.resolve(parse("clarifai://cats"))


def test_latest_passes_over_what_is_not_ready(emulator: ClarifaiEmulator, provider: ClarifaiProvider) -> None:
    emulator.add_version("cats", ready=False)
    emulator.add_version("cats", outcome="failure")
    emulator.add_version("cats", outcome="unknown")
    emulator.add_version("cats", outcome="no-status")
    assert provider.resolve(parse("clarifai://cats")).id == "v2"


def test_dataset_without_a_ready_version_is_not_found(emulator: ClarifaiEmulator, provider: ClarifaiProvider) -> None:
    emulator.add_version("digits", origin=Origin.TRAINING)
    with pytest.raises(NotFound, match="ready"):
        provider.resolve(parse("clarifai://digits"))


def test_version_in_the_making_is_waited_for(emulator: ClarifaiEmulator, provider: ClarifaiProvider) -> None:
    emulator.switch("ready-reads", "4")
    made = emulator.add_version("cats", ready=False)
    found = provider.get(CATS, made)
    assert (found.immutable, provider.grade(found)) == (False, Grade("D"))
    resolved = provider.resolve(parse(f"clarifai://cats@{made}"))
    assert (resolved.immutable, provider.grade(resolved)) == (True, Grade("B"))


@pytest.mark.parametrize(
    ("outcome", "code", "error"),
    [
        ("failure", "64020", ProviderError),
        ("unexpected-error", "64025", ProviderError),
        ("conflict", "64030", ProviderError),
        ("unknown", "64999", UnexpectedResponse),
        ("no-status", "no status", UnexpectedResponse),
    ],
)
def test_version_that_fails_is_an_error_with_its_code(
    emulator: ClarifaiEmulator, provider: ClarifaiProvider, outcome: str, code: str, error: type[ProviderError]
) -> None:
    emulator.switch("outcome", outcome)
    failed = emulator.add_version("cats", outcome=outcome)
    for attempt in (lambda: provider.create(CATS), lambda: provider.resolve(parse(f"clarifai://cats@{failed}"))):
        with pytest.raises(error, match=code) as caught:
            attempt()
        assert type(caught.value) is error
        assert "clarifai://demo-user/demo-app/cats@" in str(caught.value)


def test_version_that_never_becomes_ready_ends_with_the_bound(emulator: ClarifaiEmulator) -> None:
    emulator.switch("outcome", "never")
    with pytest.raises(ProviderUnavailable, match=r"not ready after 0\.3 seconds.*CLARIFAI_WAIT"):
        with_(emulator, wait_seconds=0.3).create(CATS)


def test_resolving_waits_no_longer_than_a_provider_may_take(
    emulator: ClarifaiEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only `create` has the longer bound for a version that is made."""
    emulator.switch("outcome", "never")
    made = emulator.add_version("cats", ready=False)
    monkeypatch.setenv("MLFLOW_DSVER_PROVIDER_TIMEOUT", "0.4")
    with pytest.raises(ProviderUnavailable, match=r"not ready after 0\.4 seconds.*MLFLOW_DSVER_PROVIDER_TIMEOUT"):
        with_(emulator, wait_seconds=600).resolve(parse(f"clarifai://cats@{made}"))


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        ("never", "in progress"),
        ("failure", "failure"),
        ("unexpected-error", "unexpected error"),
        ("conflict", "conflict"),
        ("unknown", "unknown (64999)"),
        ("no-status", "unknown"),
    ],
)
def test_version_in_any_state_is_found_changed_and_deleted(
    emulator: ClarifaiEmulator, provider: ClarifaiProvider, outcome: str, state: str
) -> None:
    """Nobody who looks at a version, changes or deletes it waits for it or is refused."""
    emulator.add_version("cats", id="odd", outcome=outcome, metadata={"tags": ["odd one"]})
    assert {each.id: each.state for each in provider.versions(CATS)} == {"odd": state, "v2": "ready", "v1": "ready"}
    for selector in ("odd", "odd one"):
        found = provider.find(DatasetRef("clarifai", CATS, selector))
        assert (found.id, found.state) == ("odd", state)
    changed = provider.update(found, message="kept for the record", add_tags=("second",))
    assert (changed.state, changed.message, changed.tags) == (state, "kept for the record", ("odd one", "second"))
    provider.delete(changed)
    assert [each.id for each in provider.versions(CATS)] == ["v2", "v1"]


def test_waiting_is_bounded_when_the_service_hangs(
    emulator: ClarifaiEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_DSVER_PROVIDER_TIMEOUT", "0.5")
    emulator.inject("hang:verb=GET")
    with pytest.raises(ProviderUnavailable, match=r"within 0\.5 seconds"):
        with_(emulator).resolve(parse("clarifai://cats"))


@pytest.mark.parametrize(
    "fault",
    ["429", "429:retry-after=9999", "500", "503", "ok-error", "html", "nonsense", "redirect", "bomb", "hang", "drip",
     "drip-headers", "cut", "cut-unsaid", "reset", "lost"],
)  # fmt: skip
def test_service_that_is_broken_is_an_error_within_the_bound(
    emulator: ClarifaiEmulator, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the other side does, whoever resolves gets an error of ours, in time, and without the key."""
    monkeypatch.setenv("MLFLOW_DSVER_PROVIDER_TIMEOUT", "1")
    emulator.inject(fault)
    for reference in ("clarifai://cats", "clarifai://cats@v1", "clarifai://cats@clean"):
        with pytest.raises(ProviderError) as caught:
            with_(emulator).resolve(parse(reference))
        assert PAT not in f"{caught.value!r} {caught.value} {vars(caught.value)}"


def test_short_trouble_is_got_over(emulator: ClarifaiEmulator) -> None:
    for fault in ("503:times=1", "429:retry-after=0:times=1", "reset:times=1", "cut:times=1"):
        emulator.inject(fault)
        assert with_(emulator).resolve(parse("clarifai://cats@v1")).id == "v1"


MALFORMED: list[dict[str, object]] = [
    {"id": "../up"},
    {"id": "a/b"},
    {"id": "line\nbreak"},
    {"id": ".hidden"},
    {"id": "long" * 100},
    {"id": 7},
    {"metadata": None},
    {"metadata": ["clean"]},
    {"metadata": {"tags": None}},
    {"metadata": {"tags": "clean"}},
    {"created_at": "yesterday"},
    {"created_at": "2024-06-30t23:59:60z"},
    {"status": {"code": 1e300}},
    {"status": []},
    {"export_info": {"coco": "none"}},
    {"metrics": {"/": "none"}},
    {"user_id": None, "app_id": None, "dataset_id": None},
]


@pytest.mark.parametrize("odd", MALFORMED, ids=str)
def test_malformed_version_hides_no_other(
    emulator: ClarifaiEmulator, provider: ClarifaiProvider, odd: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The listing, tags and `latest` go on; a version that cannot be named is left out."""
    emulator.add_version("cats", id="odd", ready=False)
    good = Call._version_json

    def answer(call: Call, held: dict[str, Any], record: dict[str, Any]) -> dict[str, Any]:
        return {**good(call, held, record), **(odd if record["id"] == "odd" else {})}

    monkeypatch.setattr(Call, "_version_json", answer)
    listed = [each.id for each in provider.versions(CATS)]
    assert [each for each in listed if each != "odd"] == ["v2", "v1"]
    assert ("odd" in listed) == ("id" not in odd)
    assert provider.resolve(parse("clarifai://cats")).id == "v2"
    assert provider.resolve(parse("clarifai://cats@clean")).id == "v1"


def test_metadata_that_cannot_be_read_is_not_overwritten(
    emulator: ClarifaiEmulator, provider: ClarifaiProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = Call._version_json
    monkeypatch.setattr(Call, "_version_json", lambda *them: {**good(*them), "metadata": ["somebody's"]})
    with pytest.raises(UnexpectedResponse, match="metadata"):
        provider.update(provider.get(CATS, "v1"), message="new")
    assert "PATCH" not in [request.verb for request in emulator.requests]


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polling, "PER_PAGE", 2)


@pytest.mark.usefixtures("small_pages")
@pytest.mark.parametrize("count", [3, 4, 5])
def test_listing_that_a_deletion_moves_never_ends_early(
    emulator: ClarifaiEmulator, provider: ClarifaiProvider, count: int
) -> None:
    """A version that slipped to a page which was read already is not left out without a word."""
    for number in range(count):
        emulator.add_version("digits", id=f"d{number}", metadata={"tags": ["first"]} if number == 0 else {})
    emulator.switch("deleted-meanwhile", "1")
    with pytest.raises(ListingChanged, match="changed while it was read"):
        list(provider.versions("demo-user/demo-app/digits"))
    assert [each.id for each in provider.versions("demo-user/demo-app/digits")] == [
        f"d{number}" for number in reversed(range(count - 1))
    ]


@pytest.mark.usefixtures("small_pages")
@pytest.mark.parametrize("selector", [None, "first", "unknown"])
def test_resolving_asks_again_when_the_listing_moved(
    emulator: ClarifaiEmulator, provider: ClarifaiProvider, selector: str | None
) -> None:
    for number in range(8):
        emulator.add_version("digits", id=f"d{number}", metadata={"tags": ["first"]} if number == 0 else {})
    ref = DatasetRef("clarifai", "digits", selector)
    emulator.switch("deleted-meanwhile", "2")
    if selector == "unknown":
        with pytest.raises(NotFound):
            provider.resolve(ref)
    else:
        assert provider.resolve(ref).id == {None: "d5", "first": "d0"}[selector]
    emulator.switch("deleted-meanwhile", "100")
    emulator.add_version("digits")
    with pytest.raises(ListingChanged):
        provider.resolve(ref)


@pytest.mark.usefixtures("small_pages")
def test_versions_made_meanwhile_are_no_error(emulator: ClarifaiEmulator, provider: ClarifaiProvider) -> None:
    """They move entries to later pages, where those come a second time; each is given once."""
    made = [emulator.add_version("digits") for _ in range(6)]
    listing = provider.versions("demo-user/demo-app/digits")
    seen = [next(listing).id]
    emulator.add_version("digits")
    seen += [each.id for each in listing]
    assert seen == made[::-1]


def test_create_sends_what_was_said_and_waits(emulator: ClarifaiEmulator, provider: ClarifaiProvider) -> None:
    made = provider.create(
        CATS,
        message="relabelled",
        tags=("best",),
        metadata={"by": "x"},
        annotation_filter="f",
        ignore_empty_inputs=True,
    )
    assert (made.message, made.tags, made.metadata, made.immutable) == ("relabelled", ("best",), {"by": "x"}, True)
    assert made.usage_bytes is None
    assert made.content_digest is None
    assert made.counts["inputs_count"] == 4
    config = made.raw["annotation_filter_config"]
    assert (config["annotation_filter"]["id"], config["ignore_empty_inputs"]) == ("f", True)
    sent = json.loads(next(request for request in emulator.requests if request.verb == "POST").body)
    assert sent["dataset_versions"][0]["metadata"] == {"by": "x", "tags": ["best"]}


@pytest.mark.parametrize(("visibility", "number"), [("private", 10), ("org", 30), ("public", 50), ("PUBLIC", 50)])
def test_created_version_has_the_id_and_visibility_that_were_asked_for(
    emulator: ClarifaiEmulator, provider: ClarifaiProvider, visibility: str, number: int
) -> None:
    """Own id, visibility, filter and metadata go together, as plain values."""
    made = provider.create(
        CATS, version_id="round-3", visibility=visibility, annotation_filter="f", metadata={"round": 3}
    )
    assert (made.id, made.metadata, made.raw["visibility"]) == ("round-3", {"round": 3}, {"gettable": number})
    assert made.raw["annotation_filter_config"]["annotation_filter"]["id"] == "f"


def test_id_that_a_version_has_already_makes_nothing(emulator: ClarifaiEmulator, provider: ClarifaiProvider) -> None:
    """Also when the answer is lost, an older version is never taken for the one that was to be made."""
    emulator.inject("lost:verb=POST")
    with pytest.raises(ProviderError, match="exists already") as caught:
        provider.create(CATS, version_id="v1", message="another")
    assert caught.value.status == 409
    assert "POST" not in [request.verb for request in emulator.requests]


@pytest.mark.parametrize(
    "options",
    [{"version_id": "latest"}, {"version_id": "a/b"}, {"version_id": ""}, {"visibility": "everybody"},
     {"annotation_filter": ""}],
    ids=str,
)  # fmt: skip
def test_options_that_cannot_be_sent_are_refused_before_anything_is_made(
    emulator: ClarifaiEmulator, provider: ClarifaiProvider, options: dict[str, str]
) -> None:
    with pytest.raises(ValueError, match=r"id|visibility"):
        provider.create(CATS, **options)  # type: ignore[arg-type]
    assert not emulator.requests


def test_tags_as_one_text_are_separated_by_commas(provider: ClarifaiProvider) -> None:
    """At creation and in an update; never letter by letter."""
    made = provider.create(CATS, tags="best, checked")  # type: ignore[arg-type]
    assert made.tags == ("best", "checked")
    changed = provider.update(made, add_tags="round 3,new", remove_tags="best,checked")  # type: ignore[arg-type]
    assert changed.tags == ("new", "round 3")


def test_folder_cannot_be_made_a_version(provider: ClarifaiProvider, tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="inputs"):
        provider.create(CATS, tmp_path)
    with pytest.raises(Unsupported, match="inputs"):
        provider.create(CATS, reference=True)


@pytest.mark.parametrize("metadata", [{"a": float("nan")}, {"a": object()}, {"tags": ["x"]}])
def test_metadata_that_cannot_be_sent_is_refused_before_anything_is_made(
    emulator: ClarifaiEmulator, provider: ClarifaiProvider, metadata: dict[str, object]
) -> None:
    with pytest.raises(InvalidArgument):
        provider.create(CATS, metadata=metadata)
    assert not emulator.requests


@pytest.mark.parametrize("fault", ["lost", "cut", "cut-unsaid"])
def test_create_whose_answer_was_lost_is_found_and_not_repeated(
    emulator: ClarifaiEmulator, provider: ClarifaiProvider, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    emulator.inject(f"{fault}:verb=POST:times=1")
    made = provider.create(CATS, message="once")
    assert [request.verb for request in emulator.requests].count("POST") == 1
    assert [version.message for version in provider.versions(CATS)].count("once") == 1
    assert provider.get(CATS, made.id).message == "once"
    assert "lost" in caplog.text


@pytest.mark.parametrize("fault", ["503", "reset", "nonsense", "html"])
def test_create_that_did_not_happen_is_an_error_and_not_repeated(
    emulator: ClarifaiEmulator, provider: ClarifaiProvider, fault: str
) -> None:
    emulator.inject(f"{fault}:verb=POST:times=1")
    with pytest.raises(ProviderError):
        provider.create(CATS, message="never")
    assert [request.verb for request in emulator.requests].count("POST") == 1
    assert "never" not in [version.message for version in provider.versions(CATS)]


def test_tag_that_is_on_two_versions_means_the_newer_ready_one(
    emulator: ClarifaiEmulator, provider: ClarifaiProvider
) -> None:
    """As it is when somebody else wrote the metadata, or a move was cut short."""
    for name, ready in (("older", True), ("newer", True), ("newest", False)):
        emulator.add_version("cats", id=name, metadata={"tags": ["both"]}, ready=ready)
    assert provider.resolve(parse("clarifai://cats@both")).id == "newer"


def test_tag_moves_by_giving_it_first(emulator: ClarifaiEmulator, provider: ClarifaiProvider) -> None:
    """Between the two changes both versions have it, and never none."""
    provider.update(provider.get(CATS, "v2"), add_tags=("clean",))
    patches = [json.loads(request.body) for request in emulator.requests if request.verb == "PATCH"]
    changed = [(body["dataset_versions"][0]["id"], body["dataset_versions"][0]["metadata"]) for body in patches]
    assert changed == [("v2", {"by": "labelling round 2", "tags": ["clean"]}), ("v1", {"tags": []})]


def test_update_sends_back_what_it_does_not_change(emulator: ClarifaiEmulator, provider: ClarifaiProvider) -> None:
    """An overwrite may clear what it does not get."""
    emulator.switch("unsent", "clear")
    emulator.add_version("cats", id="v3", description="kept", metadata={"a": 1}, visibility={"gettable": 50})
    changed = provider.update(provider.get(CATS, "v3"), add_tags=("x",))
    assert (changed.message, changed.metadata, changed.raw["visibility"]) == ("kept", {"a": 1}, {"gettable": 50})


def test_deleting_a_version_in_use_is_an_error_with_its_code(
    emulator: ClarifaiEmulator, provider: ClarifaiProvider
) -> None:
    emulator.switch("in-use", "yes")
    with pytest.raises(ProviderError, match="64030"):
        provider.delete(provider.get(CATS, "v1"))
    assert provider.get(CATS, "v1").id == "v1"


def test_sizes_are_never_anything_else(provider: ClarifaiProvider) -> None:
    """No bytes of data are known; those of an export stand under their own name once there is one."""
    before = provider.get(CATS, "v1")
    export = provider.export(before, Format.COCO)
    after = provider.get(CATS, "v1")
    assert before.usage_bytes is after.usage_bytes is None
    assert not [name for name in before.counts if name.startswith("export_bytes")]
    assert after.counts["export_bytes.coco"] == export.size
    assert [group.metrics["inputs_count"] for group in provider.metrics(after)] == ["2"]


def test_web_address_is_the_form_that_the_vendors_library_parses() -> None:
    from mlflow_dsver.providers.clarifai.convert import web_url

    ref = DatasetRef("clarifai", "me & you/a app/data?set", "v#1")
    page = "https://clarifai.com/me%20%26%20you/a%20app/datasets/data%3Fset/versions/v%231"
    assert web_url(account(), ref) == page
    assert parse(page) == ref


def test_web_address_of_another_api_needs_a_portal(
    provider: ClarifaiProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert provider.get(CATS, "v1").web_url is None
    monkeypatch.setenv("CLARIFAI_UI", "https://portal.example/")
    assert provider.get(CATS, "v1").web_url == "https://portal.example/demo-user/demo-app/datasets/cats/versions/v1"
    monkeypatch.setenv("CLARIFAI_UI", "javascript:alert(1)")
    assert provider.get(CATS, "v1").web_url is None


def test_answer_about_another_users_dataset_is_unexpected(emulator: ClarifaiEmulator) -> None:
    """With an app's key the address does not say whose dataset is meant, so the answer must."""
    signed = account(api_key="key-fedcba9876543210", base=emulator.address)
    with pytest.raises(UnexpectedResponse, match="another dataset"):
        ClarifaiProvider(signed).get("somebody/else/cats", "v1")
    assert str(ClarifaiProvider(signed).get("cats", "v1")) == "clarifai://demo-user/demo-app/cats@v1"


def test_health_counts_datasets(emulator: ClarifaiEmulator) -> None:
    health = with_(emulator).health()
    count = len(list(with_(emulator).datasets()))
    assert health.ok
    assert health.summary.endswith("(1 dataset)" if count == 1 else f"({count} datasets)")


def test_a_missing_dataset_comes_with_a_tip(emulator: ClarifaiEmulator) -> None:
    with pytest.raises(NotFound) as caught:
        with_(emulator).resolve(parse("clarifai://demo-user/demo-app/nothing"))
    assert caught.value.tip


def test_bad_key_says_so_and_is_not_shown(emulator: ClarifaiEmulator) -> None:
    bad = ClarifaiProvider(account(pat="pat-of-nobody", user="demo-user", app="demo-app", base=emulator.address))
    with pytest.raises(AuthenticationFailed, match="CLARIFAI_PAT") as caught:
        bad.resolve(parse("clarifai://cats"))
    assert "pat-of-nobody" not in f"{caught.value} {caught.value!r}"
    health = bad.health()
    assert not health.ok
    assert "pat-of-nobody" not in f"{health}"


def test_health_without_a_key_says_what_to_set() -> None:
    health = ClarifaiProvider().health()
    assert not health.ok
    assert "CLARIFAI" in health.summary


@pytest.mark.parametrize(("order", "most"), [("newest", 1100), ("oldest", 5100)])
def test_five_thousand_versions_are_listed_in_pages(emulator: ClarifaiEmulator, order: str, most: int) -> None:
    """Newest first whatever the order of the pages; of pages that come so, two at most are in memory."""
    made = [emulator.add_version("digits") for _ in range(5000)]
    emulator.switch("order", order)
    provider = with_(emulator)
    alive = []
    listing = enumerate(zip(provider.versions("demo-user/demo-app/digits"), reversed(made), strict=True))
    for number, (version, expected) in listing:
        assert version.id == expected
        if number % 1000 == 999:
            alive.append(sum(type(each) is WireVersion for each in gc.get_objects()))
    assert max(alive) < most
    assert len(emulator.requests) == 11 + 10  # each page but the empty one is looked at once more


def test_latest_of_many_is_found_whatever_the_order(emulator: ClarifaiEmulator) -> None:
    made = [emulator.add_version("digits") for _ in range(1200)]
    for order in ("newest", "oldest", "id"):
        emulator.switch("order", order)
        assert with_(emulator).resolve(parse("clarifai://digits")).id == made[-1]


def wires(*moments: int) -> Iterator[WireVersion]:
    return (WireVersion.read({"id": f"v{m}", "created_at": f"2024-01-01T00:{m:02}:00Z"}) for m in moments)


def test_listing_that_changes_its_order_is_not_believed() -> None:
    assert [each.id for each in newest_first(wires(3, 2, 1), look_ahead=2)] == ["v3", "v2", "v1"]
    assert [each.id for each in newest_first(wires(1, 3, 2), look_ahead=2)] == ["v3", "v2", "v1"]
    with pytest.raises(UnexpectedResponse, match="newest first"):
        list(newest_first(wires(3, 2, 9), look_ahead=2))


def test_version_that_moved_to_the_next_page_is_given_once() -> None:
    assert [each.id for each in newest_first(wires(3, 2, 2, 1), look_ahead=2)] == ["v3", "v2", "v1"]


def test_versions_of_one_moment_have_one_order() -> None:
    same = [WireVersion.read({"id": name, "created_at": "2024-01-01T00:00:00Z"}) for name in "bca"]
    assert [each.id for each in newest_first(iter(same))] == ["c", "b", "a"]
