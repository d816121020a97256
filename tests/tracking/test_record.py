"""What a link becomes: values within MLflow's limits, digests that tell roles apart, and golden files of schema 1."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st
from mlflow.utils.validation import _validate_param, _validate_tag
from tracking_fakes import version

from mlflow_dsver.model.differences import difference
from mlflow_dsver.model.manifests import FileEntry, Manifest
from mlflow_dsver.model.versions import DatasetVersion, Grade, Link
from mlflow_dsver.record import card, reader, schema
from mlflow_dsver.tracking.dataset import dataset_input

LINKED = datetime(2026, 11, 22, 4, 5, 6, tzinfo=UTC)
ROLES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", fullmatch=True)


def link(role: str = "training", requested: str = "fake://cats@latest", **fields: object) -> Link:
    return Link(role, requested, version(**fields), Grade("B"), LINKED)


@given(st.lists(st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=30)))
def test_tags_go_to_one_text_and_back(tags):
    """Exactly, commas and percent signs included; characters that cannot be shown are written as escapes."""
    assert schema.parse_tags(schema.tags_text(tags)) == tuple(sorted(tags))


@given(st.lists(st.text(max_size=300), max_size=60), st.integers(60, 400))
def test_tags_are_cut_visibly_and_never_beyond_the_limit(tags, limit):
    text = schema.tags_text(tags, limit)
    assert len(text) <= limit
    if len(schema.tags_text(tags, 10**6)) > limit:
        assert text.endswith(" more")
        assert schema.MORE in text


def test_a_tag_that_does_not_fit_is_left_out_whole():
    """Half of a tag would be another tag."""
    text = schema.tags_text(["a", "b" * 100], 60)
    assert text == "a,… 1 more"
    assert schema.parse_tags(text) == ("a",)
    assert schema.tags_text(["b" * 100], 60) == "… 1 more"


def test_the_mark_counts_what_was_left_out():
    text = schema.tags_text([f"tag-{i:03}" for i in range(100)], 60)
    assert text.endswith(f",… {100 - len(schema.parse_tags(text))} more")


@given(ROLES, st.lists(st.text(max_size=2000), max_size=5), st.text(max_size=9000))
def test_short_labels_leave_the_version_and_its_digest_whole(role, tags, requested):
    made = link(role, requested, tags=tuple(tags), content_digest="blake3:" + "0" * 64)
    short, whole = schema.params(made, schema.SHORT_LIMIT), schema.params(made)
    assert short.keys() == whole.keys()
    assert all(len(value) <= schema.SHORT_LIMIT for value in short.values())
    for name in ("version", "usage_bytes", "content_digest"):
        assert short[schema.key(role, name)] == whole[schema.key(role, name)]


@given(ROLES, st.lists(st.text(max_size=2000), max_size=5), st.text(max_size=9000), st.none() | st.integers(0, 2**70))
def test_every_param_and_tag_is_one_that_mlflow_takes_uncut(role, tags, requested, size):
    made = link(role, requested, tags=tuple(tags), usage_bytes=size, dataset_name=requested)
    for key, value in schema.params(made).items():
        assert _validate_param(key, value).value == value
        assert value.isprintable() or "\u00a0" in value
    for key, value in schema.tags(made).items():
        assert _validate_tag(key, value).value == value


def test_digests_tell_versions_contents_and_second_roles_apart():
    plain = version()
    digests = {
        schema.digest(plain),
        schema.digest(plain, "validation"),
        schema.digest(plain, "test"),
        schema.digest(version(name="v2")),
        schema.digest(replace(plain, content_digest="blake3:" + "0" * 64)),
    }
    assert len(digests) == 5
    assert all(len(each) == 16 and int(each, 16) >= 0 for each in digests)
    assert schema.digest(plain) == schema.digest(replace(plain, tags=("other",), usage_bytes=1))


@given(st.lists(ROLES, unique=True, min_size=1, max_size=5), st.data())
def test_the_plan_of_digests_is_stable(roles, data):
    """However the roles came to the run, in whatever order and batches: planning again gives what is there."""
    links = [link(role) for role in roles]
    first = data.draw(st.integers(0, len(links)))
    present: list[schema.Input] = []
    for batch in (links[:first], links[first:]):
        plan = schema.plan_digests(batch, present)
        present += [(str(each.version.ref), plan[each.role], each.role) for each in batch]
    assert len({(name, digest) for name, digest, _ in present}) == len(links)
    again = schema.plan_digests(data.draw(st.permutations(links)), present)
    assert {(str(links[0].version.ref), digest, role) for role, digest in again.items()} == set(present)


def test_an_input_that_somebody_logged_without_a_role_takes_the_plain_digest():
    """As `mlflow.log_metric(dataset=…)` does before `log_input`: MLflow would drop the role."""
    made = link()
    present = [(str(made.version.ref), schema.digest(made.version), None)]
    assert schema.plan_digests([made], present) == {"training": schema.digest(made.version, "training")}


def test_the_profile_is_short_and_flat():
    lines = schema.profile(
        version(
            message="x" * 500,
            tags=tuple(f"tag{i}" for i in range(100)),
            dataset_name="cats\n" * 100,
            content_digest="blake3:" + "ab" * 32,
        ),
        "fake://cats@latest",
        Grade("B", ("offline",)),
        7,
        "1 file added since v0",
    )
    assert len(lines) <= 10
    assert all(isinstance(value, str) and len(value) <= 80 for value in lines.values())
    assert lines["grade"] == "B"


def test_golden_record(golden):
    """The promise of schema 1, whole: params, tags, dataset input and link of one example."""
    made = link(
        content_digest="blake3:" + "ab" * 32,
        message="relabelled 7s",
        metadata={"by": "round 3"},
        dataset_name="Cats and dogs",
    )
    entity = dataset_input(made, schema.digest(made.version), files=3)
    told = {
        "params": schema.params(made),
        "tags": schema.tags(made),
        "input": {
            "name": entity.dataset.name,
            "digest": entity.dataset.digest,
            "digest in a second role": schema.digest(made.version, made.role),
            "source_type": entity.dataset.source_type,
            "source": json.loads(entity.dataset.source),
            "profile": json.loads(entity.dataset.profile),
            "tags": {tag.key: tag.value for tag in entity.tags},
        },
        "artifact": json.loads(schema.link_json(made)),
    }
    golden("tracking/record.json", json.dumps(told, indent=2, ensure_ascii=False) + "\n")


def test_golden_card(golden):
    """Same, changed, new and gone inputs; hostile words; files that changed."""
    before = Manifest(
        (FileEntry("a.png", 1, "a" * 64), FileEntry("b|`.png", 2, "b" * 64), FileEntry("c.png", 3, "c" * 64))
    )
    after = Manifest(
        (FileEntry("a.png", 1, "d" * 64), FileEntry("c.png", 3, "c" * 64), FileEntry("e.png", 5, "e" * 64))
    )
    links = [
        link(
            "training",
            name="v2",
            usage_bytes=9,
            dataset_name="cats | **dogs**",
            message="[click](javascript:alert(1)) | <b>",
        ),
        link("validation", web_url="javascript:alert(1)", tags=("a|b", "c,d", "*bold*")),
        link("test", requested="fake://cats@`x`|<img>", name="v3"),
    ]
    was = {"training": link("training"), "validation": link("validation"), "eval": link("eval")}
    earlier = card.PreviousRun("0" * 32, "brave-cat-1 <script>", was, {"training": difference(before, after)})
    text = card.render(links, {"training": 3}, earlier)
    golden("tracking/card.md", text.replace(card.__version__, "VERSION"))
    golden("tracking/card-first.md", card.render(links[:1], {}, None, True).replace(card.__version__, "VERSION"))


def test_count_that_the_provider_names_is_a_param_and_is_read_back() -> None:
    """Its other counts are not, and no name of a count takes the place of another thing on the run."""
    counts = {"inputs_count": 3, "regions_count": 7, "version": 1, "grade": 2, "export_bytes.coco": 5}
    made = link("training", counts=counts, count_params=("inputs_count", "version", "grade", "gone_count"))
    params = schema.params(made)
    assert params["dsver.training.inputs_count"] == "3"
    assert params["dsver.training.version"] == str(made.version.ref)
    assert set(params) - {f"dsver.training.{name}" for name in ("version", "requested", "tags", "usage_bytes")} == {
        "dsver.training.inputs_count"
    }
    again = DatasetVersion.from_json(json.loads(json.dumps(made.version.to_json())))
    assert again == made.version
    info = SimpleNamespace(run_id="r", start_time=0)
    odd = {"dsver.training.x_count": "many", "dsver.training.y_count": "-1", "dsver.other.inputs_count": "9"}
    run = SimpleNamespace(info=info, data=SimpleNamespace(params={**params, **odd}, tags={}), inputs=None)
    found = reader.links_of(run)["training"].version
    assert (found.counts, found.count_params) == ({"inputs_count": 3}, ("inputs_count",))
