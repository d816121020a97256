"""Runs of `MlflowClient.create_run` in scripts that do not know of this package: each is linked once.

Plain client code, batched runs of autologging, callbacks that keep a run's id: each script is run as a process
against a real server, with MLFLOW_DSVER_INPUTS.
"""

from __future__ import annotations

from collections import Counter

import mlflow
import pytest
from mlflow import MlflowClient
from tracking_fakes import dsver_part, run_of
from training_scripts import BARE, INPUTS, links

import mlflow_dsver as dsver
from mlflow_dsver.record import reader

CREATED = """
    import os
    from mlflow import MlflowClient
    client = MlflowClient()
    run_id = client.create_run(os.environ["MLFLOW_EXPERIMENT_ID"]).info.run_id
    client.log_param(run_id, "depth", 3)
    client.log_metric(run_id, "loss", 0.5)
    {end}
    print("trained")
"""
ENDS = [
    "client.set_terminated(run_id)",
    "client.update_run(run_id, status='FINISHED')",
    "MlflowClient().set_terminated(run_id=run_id, status='FINISHED')",
    "",
]


@pytest.mark.parametrize("end", ENDS, ids=["set_terminated", "update_run", "another client", "never ended"])
def test_a_run_of_the_client_is_linked_whoever_ends_it_and_keeps_its_own_params(train, digits, end):
    linked = train(CREATED.format(end=end), INPUTS)
    assert (linked.code, linked.out) == (0, "trained\n"), linked.err
    (run,) = linked.runs
    assert links(run) == {"training": str(digits.ref)}
    assert (run.data.params, run.data.metrics) == ({"depth": "3"}, {"loss": 0.5})
    assert run.info.status == ("FINISHED" if end else "RUNNING")


def test_it_costs_the_same_requests_as_a_fluent_run(train, digits):
    script = CREATED.format(end=ENDS[0])
    more = Counter(train(script, INPUTS).calls) - Counter(train(script, BARE).calls)
    assert more == Counter(
        {"POST runs/log-batch": 1, "POST runs/log-inputs": 1, "POST runs/search": 1, "PUT artifact": 3}
    )


def test_a_run_that_is_created_and_then_resumed_is_linked_once(train, digits):
    script = """
        import mlflow, os
        run = mlflow.MlflowClient().create_run(os.environ["MLFLOW_EXPERIMENT_ID"])
        with mlflow.start_run(run_id=run.info.run_id):
            mlflow.log_metric("loss", 0.5)
    """
    linked = train(script, INPUTS)
    assert linked.code == 0, linked.err
    (run,) = linked.runs
    assert links(run) == {"training": str(digits.ref)}
    calls = Counter(linked.calls)
    assert (calls["POST runs/log-inputs"], calls["PUT artifact"]) == (1, 3)


SEARCH = """
    import logging, mlflow
    from sklearn.datasets import load_iris
    from sklearn.model_selection import GridSearchCV
    from sklearn.tree import DecisionTreeClassifier
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    mlflow.sklearn.autolog(log_models=False, max_tuning_runs=None)
    x, y = load_iris(return_X_y=True)
    grid = {"max_depth": [1, 2, 3], "min_samples_leaf": [1, 5]}
    search = GridSearchCV(DecisionTreeClassifier(random_state=0), grid)
    print(search.fit(x, y).best_params_)
"""


def test_the_children_of_an_autologged_search_are_linked(train, digits):
    bare, linked = train(SEARCH, BARE), train(SEARCH, INPUTS)
    assert (linked.code, linked.out) == (bare.code, bare.out), linked.err
    assert len(linked.runs) == len(bare.runs) == 7
    assert all(links(run) == {"training": str(digits.ref)} for run in linked.runs)

    def own(runs):
        return sorted((sorted(run.data.params.items()), sorted(run.data.metrics)) for run in runs)

    assert own(linked.runs) == own(bare.runs)


def test_children_take_their_parents_version_even_if_it_is_not_the_configured_one(train, digits, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "new.txt").write_text("new")
    other = dsver.create_version("local://digits", tmp_path / "other")
    script = f"""
        import mlflow, os
        import mlflow_dsver as dsver
        client = mlflow.MlflowClient()
        with dsver.start_run(inputs={{"training": "{digits}"}}) as parent:
            tags = {{"mlflow.parentRunId": parent.info.run_id}}
            client.create_run(os.environ["MLFLOW_EXPERIMENT_ID"], tags=tags)
        client.create_run(os.environ["MLFLOW_EXPERIMENT_ID"])
    """
    linked = train(script, {"MLFLOW_DSVER_INPUTS": "training=local://digits@latest"})
    assert linked.code == 0, linked.err
    parent, child, alone = linked.runs
    assert links(parent) == links(child) == {"training": str(digits.ref)}
    assert links(alone) == {"training": str(other.ref)}


def test_threads_that_create_runs_link_each(train, digits):
    script = """
        import os
        from concurrent.futures import ThreadPoolExecutor
        from mlflow import MlflowClient
        client = MlflowClient()
        def trial(number):
            run = client.create_run(os.environ["MLFLOW_EXPERIMENT_ID"], tags={"trial": str(number)})
            client.set_terminated(run.info.run_id)
        with ThreadPoolExecutor(6) as threads:
            list(threads.map(trial, range(12)))
    """
    linked = train(script, INPUTS)
    assert linked.code == 0, linked.err
    assert sorted(int(run.data.tags["trial"]) for run in linked.runs) == list(range(12))
    assert all(links(run) == {"training": str(digits.ref)} for run in linked.runs)


def test_a_run_in_another_store_is_linked_there(train, digits, tmp_path):
    store = f"sqlite:///{tmp_path}/other.db"
    script = f"""
        from mlflow import MlflowClient
        client = MlflowClient(tracking_uri={store!r})
        experiment = client.create_experiment("other", artifact_location={(tmp_path / "artifacts").as_uri()!r})
        run = client.create_run(experiment)
        client.set_terminated(run.info.run_id)
        print(run.info.run_id)
    """
    linked = train(script, INPUTS)
    assert linked.code == 0, linked.err
    assert linked.runs == []
    (link,) = dsver.inputs_of(linked.out.strip(), tracking_uri=store)
    assert (link.role, link.version.ref) == ("training", digits.ref)


@pytest.mark.parametrize(
    ("setting", "fluent", "created"), [("all", True, True), ("fluent", True, False), ("none", False, False)]
)
def test_a_setting_leaves_out_runs_that_train_nothing(train, digits, setting, fluent, created):
    script = """
        import mlflow, os
        with mlflow.start_run(run_name="fluent"):
            pass
        mlflow.MlflowClient().create_run(os.environ["MLFLOW_EXPERIMENT_ID"], run_name="created")
    """
    linked = train(script, INPUTS, MLFLOW_DSVER_AUTOLINK=setting)
    assert linked.code == 0, linked.err
    assert {run.info.run_name: bool(links(run)) for run in linked.runs} == {"fluent": fluent, "created": created}


def test_a_copy_of_a_linked_run_keeps_the_record_that_it_was_copied_with(train, digits):
    script = """
        import mlflow, os
        client = mlflow.MlflowClient()
        tags = {"dsver.schema": "1", "dsver.training.version": "local://digits@0123456789ab", "copied": "yes"}
        client.create_run(os.environ["MLFLOW_EXPERIMENT_ID"], tags=tags)
    """
    (run,) = train(script, INPUTS).runs
    assert dsver_part(run.data.tags) == {
        "dsver.schema": "1", "dsver.training.version": "local://digits@0123456789ab"
    }  # fmt: skip


@pytest.mark.parametrize("strict", [{"MLFLOW_DSVER_ON_ERROR": "raise"}, {"MLFLOW_DSVER_FROZEN": "1"}])
def test_a_strict_setting_creates_no_run_that_cannot_be_linked(train, strict):
    linked = train(CREATED.format(end=ENDS[0]), {"MLFLOW_DSVER_INPUTS": "training=local://missing"}, **strict)
    assert linked.code == 1
    assert linked.runs == []
    assert "local://missing" in linked.err


def test_else_the_run_says_why_it_is_not_linked(train):
    linked = train(CREATED.format(end=ENDS[0]), {"MLFLOW_DSVER_INPUTS": "training=local://missing"})
    assert (linked.code, linked.out) == (0, "trained\n")
    (run,) = linked.runs
    assert "local://missing" in run.data.tags["dsver.training.error"]


def test_data_that_changed_during_a_run_of_the_client_is_told_at_its_end(train, digits, digits_folder, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "a.txt").write_text("one")
    dsver.create_version("local://moving", data, reference=True)
    script = f"""
        import os
        from mlflow import MlflowClient
        client = MlflowClient()
        run_id = client.create_run(os.environ["MLFLOW_EXPERIMENT_ID"]).info.run_id
        open({str(data / "a.txt")!r}, "w").write("another text")
        client.set_terminated(run_id)
    """
    variables = {"MLFLOW_DSVER_INPUTS": "training=local://moving", "MLFLOW_DSVER_SEAL": "hash"}
    (run,) = train(script, variables, MLFLOW_DSVER_BACKGROUND="no").runs
    assert " changed: " in run.data.tags["dsver.training.sealed"]


# Params


READ_BACK = """
    import mlflow, os
    from sklearn.ensemble import RandomForestRegressor
    with mlflow.start_run():
        mlflow.log_params({"n_estimators": 10, "max_depth": 3})
        mlflow.log_metric("rmse", 0.5)
    experiments = [os.environ["MLFLOW_EXPERIMENT_ID"]]
    best = mlflow.search_runs(experiments, order_by=["metrics.rmse"], output_format="list")[0]
    params = {name: int(value) for name, value in best.data.params.items()}
    print(RandomForestRegressor(**params))
"""


def test_a_script_that_reads_all_params_of_its_runs_back_into_a_model_goes_on_as_before(train, digits):
    bare, linked = train(READ_BACK, BARE), train(READ_BACK, INPUTS)
    assert (bare.code, linked.code) == (0, 0), linked.err
    assert linked.out == bare.out == "RandomForestRegressor(max_depth=3, n_estimators=10)\n"
    assert links(linked.runs[0]) == {"training": str(digits.ref)}


LABELS = ("version", "requested", "tags", "usage_bytes", "content_digest")


@pytest.mark.parametrize(("setting", "logged"), [("full", set(LABELS)), ("short", {"version"}), ("none", set())])
def test_what_is_no_param_is_a_tag_and_everything_can_be_read_and_verified(train, digits, setting, logged):
    script = """
        import mlflow
        import mlflow_dsver as dsver
        with mlflow.start_run():
            pass
        with dsver.start_run(inputs={"training": "local://digits@clean"}):
            pass
    """
    made = train(script, {**INPUTS, "MLFLOW_DSVER_PARAMS": setting}).runs
    assert len(made) == 2
    for run in made:
        assert links(run) == {"training": str(digits.ref)}
        assert {f"dsver.training.{name}" for name in logged} == set(run.data.params)
        labels = {**run.data.tags, **run.data.params}
        assert {name: labels[f"dsver.training.{name}"] for name in LABELS} == {
            "version": str(digits.ref),
            "requested": "local://digits" if run is made[0] else "local://digits@clean",
            "tags": "clean",
            "usage_bytes": str(digits.usage_bytes),
            "content_digest": digits.content_digest,
        }
        report = dsver.verify(run.info.run_id)
        assert (str(report.verdict), report.exit_code) == ("MATCH", 0), report
        assert dsver.runs_using(digits.ref)


def test_without_params_and_artifacts_a_record_still_says_what_was_asked_for(train, digits):
    (run,) = train(CREATED.format(end=ENDS[0]), INPUTS, MLFLOW_DSVER_BACKGROUND="no").runs
    whole = mlflow.artifacts.load_dict(f"{run.info.artifact_uri}/dsver/training.json")
    (link,) = reader.links_of(run_of(run.info.run_id)).values()
    assert (link.requested, link.version.tags) == (whole["requested"], tuple(whole["version"]["tags"]))
    assert (link.version.usage_bytes, link.version.content_digest) == (digits.usage_bytes, digits.content_digest)


@pytest.mark.parametrize("name", LABELS)
def test_a_label_in_a_tag_that_somebody_changed_is_found(train, digits, name):
    (run,) = train(CREATED.format(end=ENDS[0]), INPUTS).runs
    other = {"usage_bytes": "1", "content_digest": "blake3:" + "0" * 64, "version": "local://digits@" + "0" * 16}
    MlflowClient().set_tag(run.info.run_id, f"dsver.training.{name}", other.get(name, "local://other"))
    report = dsver.verify(run.info.run_id)
    assert str(report.verdict) == ("MISSING" if name == "version" else "CHANGED"), report
    assert any("disagrees with itself" in finding.what for each in report.inputs for finding in each.findings), report


def test_a_wrong_setting_is_told_by_the_run_and_raised_where_a_script_links_by_itself(train, digits):
    script = """
        import mlflow_dsver as dsver
        dsver.start_run(inputs={"training": "local://digits"})
    """
    wrong = {"MLFLOW_DSVER_PARAMS": "most"}
    refused = train(script, wrong)
    assert refused.code == 1
    assert refused.runs == []
    assert "MLFLOW_DSVER_PARAMS; expected full, short, none" in refused.err
    linked = train(CREATED.format(end=ENDS[0]), {**INPUTS, **wrong})
    assert linked.code == 0
    assert "MLFLOW_DSVER_PARAMS" in linked.runs[0].data.tags["dsver.error"]


@pytest.mark.parametrize(
    ("first", "then"), [("none", "full"), ("full", "none"), ("short", "full"), ("none", "short")]
)
def test_a_run_that_is_resumed_keeps_its_labels_where_they_are(tracking, digits, monkeypatch, first, then):
    monkeypatch.setenv("MLFLOW_DSVER_PARAMS", first)
    inputs = {"training": "local://digits"}
    with dsver.start_run(inputs=inputs) as run:
        pass
    before = run_of(run.info.run_id).data
    monkeypatch.setenv("MLFLOW_DSVER_PARAMS", then)
    with dsver.start_run(run_id=run.info.run_id, inputs=inputs) as resumed:
        assert resumed.datasets["training"].dataset, (
            "waits for the record, and raises what keeps it from being written"
        )
    dsver.attach(run.info.run_id, "local://digits")
    after = run_of(run.info.run_id).data
    assert (after.params, after.tags) == (before.params, before.tags)
