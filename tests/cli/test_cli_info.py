"""`doctor` and `providers`: what is there, what is missing, and no secrets."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from processes import Run
from servers import Tracking

from mlflow_dsver.plugins import provider_infos
from mlflow_dsver.providers.registry import names
from mlflow_dsver.settings import KNOWN


def checks_of(run: Run, **variables: str) -> tuple[int, dict[str, dict[str, object]]]:
    done = run("doctor", "--json", **variables)
    report = json.loads(done.stdout)
    assert report["ok"] == (done.returncode == 0)
    return done.returncode, {each["check"]: each for each in report["checks"]}


def test_all_is_well_on_a_fresh_machine(run: Run, tmp_path: Path) -> None:
    """No store, no runs, no keys: nothing is wrong with that, and looking makes nothing."""
    code, checks = checks_of(run)
    assert code == 0, checks
    assert checks["MLflow plug-in"]["ok"] is True
    assert checks["local://"]["ok"] is True
    assert "does not exist yet" in str(checks["MLflow tracking"]["detail"])
    assert list(tmp_path.iterdir()) == []


def test_the_doctor_tells_every_provider(run: Run) -> None:
    assert {f"{name}://" for name in names()} <= set(checks_of(run)[1])
    listed = json.loads(run("providers", "--json").stdout)["providers"]
    assert [each["name"] for each in listed] == names()
    assert not [each for each in listed if each["error"]]
    assert all(f"{name}://" in run("providers").stdout for name in names())


def test_settings_and_where_they_come_from(run: Run, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('on_error = "warn"\n')
    _, checks = checks_of(run, MLFLOW_DSVER_CONFIG=str(tmp_path / "config.toml"))
    assert checks["MLFLOW_DSVER_ON_ERROR"]["detail"] == f"warn (from {tmp_path}/config.toml)"
    assert str(checks["MLFLOW_DSVER_HOME"]["detail"]).endswith("(from MLFLOW_DSVER_HOME)")
    assert str(checks["MLFLOW_DSVER_PROVIDER_TIMEOUT"]["detail"]).startswith("not set")


def test_each_setting_of_ours_is_told_once(run: Run) -> None:
    """In its own line, and not again with the provider that reads it; a vendor's variable is told there."""
    shown = run("doctor", MLFLOW_DSVER_PAPERSPACE_HASH="yes", PAPERSPACE_API_KEY="").stdout
    assert "PAPERSPACE_API_KEY" in shown
    provided = [each.name for info in provider_infos().values() for each in info.settings]
    assert "PAPERSPACE_HASH" in provided
    for name in (*KNOWN, *provided):
        assert len([line for line in shown.splitlines() if re.search(rf"MLFLOW_DSVER_{name}\b", line)]) == 1, name


def test_the_tracking_store_is_reached(run: Run, tracking: Tracking) -> None:
    code, checks = checks_of(run, MLFLOW_TRACKING_URI=tracking.uri)
    assert code == 0, checks
    assert str(checks["MLflow tracking"]["detail"]).endswith("answers")


def test_a_server_that_is_down_is_a_problem_and_its_password_is_not_shown(run: Run) -> None:
    uri = "http://user:Geheimnis@127.0.0.1:9/?token=Geheimnis"
    code, checks = checks_of(run, MLFLOW_TRACKING_URI=uri, MLFLOW_DSVER_TRACKING_TIMEOUT="3")
    assert code == 1
    assert checks["MLflow tracking"]["ok"] is False
    assert "http://127.0.0.1:9" in str(checks["MLflow tracking"]["detail"])
    assert "Geheimnis" not in json.dumps(checks)


def test_keys_are_named_and_never_shown(run: Run) -> None:
    """Whether a key is set can be seen, the key cannot."""
    keys = {"PAPERSPACE_API_KEY": "Geheimnis-1", "CLARIFAI_PAT": "Geheimnis-2", "CLARIFAI_USER_ID": "me"}
    addresses = {"PAPERSPACE_API_BASE": "http://127.0.0.1:9/v1", "CLARIFAI_API_BASE": "http://127.0.0.1:9"}
    done = run("doctor", MLFLOW_DSVER_PROVIDER_TIMEOUT="3", **keys, **addresses)
    assert "Geheimnis" not in done.stdout + done.stderr
    assert "CLARIFAI_PAT" in done.stdout


def test_a_package_that_was_never_asked_for_is_no_problem(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever else is set on the machine, such as variables of AWS."""
    for name in ("pyiceberg", "deltalake", "obstore"):
        monkeypatch.setitem(sys.modules, name, None)
    code, checks = checks_of(run, AWS_REGION="eu-central-1", PATH="/nowhere")
    assert code == 0, checks
    for name in ("s3", "gs", "az", "delta", "iceberg", "git", "dvc"):
        assert checks[f"{name}://"]["ok"] is None
        assert str(checks[f"{name}://"]["detail"]).startswith("not set up: ")
