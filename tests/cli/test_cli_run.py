"""`run`: one answer for all processes of a command, which stays itself: output, input, exit code and signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from prepared import Prepared
from processes import SCRIPT, Run
from servers import free_port

from mlflow_dsver.providers.paperspace.emulator import PaperspaceEmulator
from mlflow_dsver.providers.registry import get_provider

TELL = """
import json
from mlflow_dsver import settings
from mlflow_dsver.resolution import inputs
print(json.dumps({
    "inputs": inputs.configured_inputs(),
    "overrides": inputs.configured_overrides(),
    "answers": {text: str(version) for text, version in inputs.inherited_versions().items()},
    "offline": sorted(inputs.inherited_offline()),
    "settings": {name: settings.setting(name) for name in ("ON_ERROR", "FROZEN", "LOCK", "PARAMS")},
}))
"""
TELLS = ["python", "-c", TELL]
LATEST = "local://digits@latest"


@pytest.fixture
def run(process: Run) -> Run:
    """In a process of its own, which the command takes over."""
    return process


@pytest.fixture(autouse=True)
def python(prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    """`python` starts fast."""
    monkeypatch.setenv("PATH", f"{prepared.bin}{os.pathsep}{os.environ['PATH']}")


def told(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, str]]:
    """What the command saw."""
    assert done.returncode == 0, done.stderr
    seen: dict[str, dict[str, str]] = json.loads(done.stdout)
    return seen


def refused(done: subprocess.CompletedProcess[str], code: int = 2) -> str:
    """The one line of a refusal; nothing was started."""
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("mlflow-dsver: ")
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def versions() -> list[str]:
    return [str(version) for version in get_provider("local").versions("digits")]


@pytest.fixture
def changed(digits_folder: Path) -> Callable[[], None]:
    """Makes a newer version of `local://digits`."""

    def make() -> None:
        with (digits_folder / "labels.csv").open("a") as stream:
            stream.write("another line\n")
        get_provider("local").create("digits", digits_folder)

    return make


def test_how_much_is_logged_as_params_is_handed_on(run: Run, made: str) -> None:
    arguments = ("--input", f"training={LATEST}", "--quiet")
    assert told(run("run", *arguments, "--params", "short", "--", *TELLS))["settings"]["PARAMS"] == "short"
    assert told(run("run", *arguments, "--", *TELLS))["settings"]["PARAMS"] is None
    assert "'full', 'short', 'none'" in run("run", *arguments, "--params", "all", "--", *TELLS).stderr


def test_the_command_gets_inputs_and_answers(run: Run, made: str) -> None:
    done = run("run", "--input", f"training={LATEST}", "--input", "test=local://digits@raw", "--", *TELLS)
    seen = told(done)
    assert seen["inputs"] == {"training": LATEST, "test": "local://digits@raw"}
    assert {seen["answers"][text] for text in (LATEST, "local://digits@raw", "local://digits", made)} == {made}
    assert seen["settings"] == dict.fromkeys(("ON_ERROR", "FROZEN", "LOCK", "PARAMS"))
    assert done.stderr == f"mlflow-dsver: training is {made} ({LATEST}); test is {made} (local://digits@raw)\n"


def test_quiet_says_nothing(run: Run, made: str) -> None:
    assert run("run", "--quiet", "--input", f"training={made}", "--", "true").stderr == ""


@pytest.mark.parametrize("code", [0, 1, 7, 126, 255])
def test_the_exit_code_is_the_commands(run: Run, made: str, code: int) -> None:
    assert run("run", "--input", f"training={made}", "--", "sh", "-c", f"exit {code}").returncode == code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_signal_reaches_the_command_and_nobody_else(made: str, number: signal.Signals) -> None:
    """No process stands between: the id that was started is the command's own."""
    process = subprocess.Popen(
        [SCRIPT, "run", "--input", f"training={made}", "--", "sh", "-c", "echo $$; exec sleep 60"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == f"{process.pid}\n"
    process.send_signal(number)
    assert process.wait(30) == -number
    process.stdout.close()


def test_a_command_that_is_started_with_interrupts_ignored_has_them_ignored(made: str) -> None:
    """As nohup and a script's `&` start it."""
    done = subprocess.run(
        [SCRIPT, "run", "--quiet", "--input", f"training={made}", "--", "sh", "-c", "kill -INT $$; echo still here"],
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    assert (done.returncode, done.stdout) == (0, "still here\n")


def test_bytes_go_through_as_they_are(made: str) -> None:
    """Standard input, output and error, and what the command's own options are."""
    content = bytes(range(256)) * 1000
    done = subprocess.run(
        [SCRIPT, "run", "--quiet", "--input", f"training={made}", "--", "sh", "-c", 'printf %s "$*" >&2; cat', "-",
         "--input", "--", "x\udcff y"],
        input=content, capture_output=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0
    assert done.stdout == content
    assert done.stderr == b"--input -- x\xff y"


def test_a_closed_pipe_ends_the_command_as_without_us(made: str) -> None:
    """Python ignores SIGPIPE; the command does not inherit that."""
    shell = f"'{SCRIPT}' run --quiet --input training={made} -- yes | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, timeout=60)
    assert done.stdout == "y\n141\n", done.stderr


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "2>/dev/full", "2> >(true); wait $!"])
def test_streams_that_are_closed_are_the_commands_business(made: str, closed: str, tmp_path: Path) -> None:
    """Training starts all the same, and nothing of ours gets into its output."""
    shell = f"exec {closed}\nexec '{SCRIPT}' run --input training={made} -- sh -c 'echo out; echo >started'"
    done = subprocess.run(["bash", "-c", shell], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (tmp_path / "started").exists(), done.stderr
    assert done.stdout == ("" if closed == ">&-" else "out\n")


def test_the_dashes_may_be_left_out(run: Run, made: str) -> None:
    assert told(run("run", "--input", f"training={made}", *TELLS))["inputs"] == {"training": made}


def test_all_processes_below_have_the_same_answer_though_the_tag_moves(
    run: Run, made: str, changed: Callable[[], None], tmp_path: Path
) -> None:
    """Eight ranks; latest moves when the first of them has started."""
    script = tmp_path / "ranks.py"
    script.write_text(
        "import os, subprocess, sys, time\n"
        "from pathlib import Path\n"
        "child = 'from mlflow_dsver.resolution.inputs import inherited_versions; '\n"
        "child += 'sys.stdout.write(str(inherited_versions()[sys.argv[1]]) + chr(10))'\n"
        "Path('started').touch()\n"
        "while not Path('moved').exists(): time.sleep(0.01)\n"
        "ranks = [subprocess.Popen(['python', '-c', 'import sys; ' + child, 'local://digits'],\n"
        "         env={**os.environ, 'RANK': str(rank), 'WORLD_SIZE': '8'}) for rank in range(8)]\n"
        "sys.exit(max(rank.wait() for rank in ranks))\n"
    )
    process = subprocess.Popen(
        [SCRIPT, "run", "--input", "training=local://digits", "--", "python", str(script)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    until = time.monotonic() + 60
    while not (tmp_path / "started").exists() and time.monotonic() < until:
        time.sleep(0.01)
    changed()
    (tmp_path / "moved").touch()
    shown, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert shown.split() == [made] * 8
    assert len(versions()) == 2


def test_create_makes_one_version_and_uses_it(run: Run, made: str, digits_folder: Path) -> None:
    (digits_folder / "new.txt").write_text("new")
    done = run("run", "--input", "training=local://digits", "--create", f"training={digits_folder}", "--", *TELLS)
    newest = versions()[0]
    assert len(versions()) == 2
    assert newest != made
    seen = told(done)
    assert seen["inputs"] == {"training": f"local://digits?create&folder={digits_folder}"}
    assert seen["answers"]["local://digits"] == newest
    assert newest in done.stderr


def test_an_input_may_ask_for_a_new_version_with_all_it_gets(run: Run, digits_folder: Path) -> None:
    asked = f"local://new?create&folder={digits_folder}&message=round 3&tag=raw"
    seen = told(run("run", "--input", f"training={asked}", "--", *TELLS))
    (made,) = get_provider("local").versions("new")
    assert seen["answers"][asked] == seen["answers"]["local://new"] == str(made.ref)
    assert (made.message, made.tags) == ("round 3", ("raw",))


def test_ranks_with_a_launcher_each_make_one_version_between_them(digits_folder: Path) -> None:
    """As under `mpirun mlflow-dsver run …`."""
    command = [
        SCRIPT,
        "run",
        "--input",
        "training=local://new",
        "--create",
        f"training={digits_folder}",
        "--",
        *TELLS,
    ]
    job = {"OMPI_COMM_WORLD_SIZE": "4", "PMIX_NAMESPACE": "job-1"}
    processes = [
        subprocess.Popen(
            command,
            env={**os.environ, **job, "OMPI_COMM_WORLD_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for rank in range(4)
    ]
    answers = {json.loads(process.communicate(timeout=60)[0])["answers"]["local://new"] for process in processes}
    assert answers == {str(version) for version in get_provider("local").versions("new")}
    assert len(answers) == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--input", "training=local://digits", "--create", "training"], "ROLE=FOLDER"),
        (["--input", "training=local://digits", "--create", "training="], "ROLE=FOLDER"),
        (["--input", "training=local://digits", "--create", "a b=x"], "not a role"),
        (["--input", "training=local://digits", "--create", "test=x"], "--input test=local://"),
        (["--input", "training=local://digits@raw", "--create", "training=x"], "no id before it is created"),
        (["--input", "training=local://digits", "--create", "training=x", "--create", "training=y"], "named twice"),
        (
            ["--input", "a=local://b", "--override", "a=local://c", "--create", "a=x"],
            "by an override",
        ),
        (["--input", "training=local://digits", "--create", "training=x", "--frozen"], "--frozen takes only"),
        (["--input", "training=local://digits", "--create", "training=no-such-folder"], "no-such-folder"),
        (["--input", "local://digits"], "--input: an input without a role"),
        (["--input", "training=digits"], "local://digits"),
        (["--input", "training=local://a", "--input", "training=local://b"], "occurs twice"),
        (["--override", "training"], "--override: an input without a role"),
        (["--input", "training=local://no-such-dataset"], "no such dataset"),
        (["--input", "training=nope://a"], "nope"),
        ([], "Nothing to link"),
        (["--frozen"], "no lock file"),
        (["--on-error", "ignore"], "--on-error"),
    ],
)
def test_wrong_usage_starts_nothing(run: Run, tmp_path: Path, arguments: list[str], says: str) -> None:
    done = run("run", *arguments, "--", "touch", "started")
    assert says in refused(done)
    assert not (tmp_path / "started").exists()


def test_a_command_is_needed(run: Run) -> None:
    assert "COMMAND" in refused(run("run", "--input", "training=local://digits"))


@pytest.mark.parametrize("variable", ["MLFLOW_DSVER_INPUTS", "MLFLOW_DSVER_OVERRIDE", "MLFLOW_DSVER_RESOLVED"])
def test_a_variable_that_is_wrong_is_named(run: Run, made: str, variable: str) -> None:
    assert variable in refused(run("run", "--input", f"training={made}", "--", "true", **{variable: "nonsense"}))


def test_a_command_that_cannot_be_started_is_told_as_a_shell_does(run: Run, made: str, tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("no program")
    (tmp_path / "garbage").write_bytes(b"\x00\x01")
    (tmp_path / "garbage").chmod(0o755)
    options = ("run", "--quiet", "--input", f"training={made}", "--")
    assert "no such command" in refused(run(*options, "no-such-command"), 127)
    assert "no such command" in refused(run(*options, "./no/such/command"), 127)
    assert "no such command" in refused(run(*options, ""), 127)
    assert "Permission denied" in refused(run(*options, "./plain"), 126)
    assert "Permission denied" in refused(run(*options, str(tmp_path)), 126)
    assert "format" in refused(run(*options, "./garbage"), 126)


def test_inputs_of_the_environment_are_added_and_options_win(run: Run, made: str) -> None:
    seen = told(
        run(
            "run", "--input", f"training={made}", "--", *TELLS,
            MLFLOW_DSVER_INPUTS="training=local://digits@no-such-tag;test=local://digits@raw",
        )
    )  # fmt: skip
    assert seen["inputs"] == {"training": made, "test": "local://digits@raw"}


def test_an_override_is_resolved_and_inherited(run: Run, made: str, changed: Callable[[], None]) -> None:
    changed()
    options = ("--input", f"training={LATEST}", "--override", "training=local://digits@raw")
    done = run("run", *options, "--", *TELLS, MLFLOW_DSVER_OVERRIDE="training=local://a;test=local://digits@raw")
    seen = told(done)
    assert seen["inputs"] == {"training": LATEST}
    assert seen["overrides"] == {"training": "local://digits@raw", "test": "local://digits@raw"}
    assert seen["answers"]["local://digits@raw"] == made
    assert f"training is {made} (local://digits@raw)" in done.stderr


def test_within_another_launcher_the_same_words_mean_the_same(
    made: str, run: Run, changed: Callable[[], None], tmp_path: Path
) -> None:
    """A sweep that is started in pieces is not split; --fresh asks again."""
    outer = run("run", "--input", f"training={LATEST}", "--", "env")
    handed = dict(line.split("=", 1) for line in outer.stdout.splitlines() if line.startswith("MLFLOW_DSVER_"))
    changed()
    inner = ("run", "--input", "training=local://digits")
    assert told(run(*inner, "--", *TELLS, **handed))["answers"]["local://digits"] == made
    assert told(run(*inner, "--fresh", "--", *TELLS, **handed))["answers"]["local://digits"] == versions()[0] != made
    assert told(run(*inner, "--fresh", "--", *TELLS, **handed))["answers"][made] == made


@pytest.fixture
def unreachable(run: Run, monkeypatch: pytest.MonkeyPatch) -> str:
    """A reference whose provider answered once and is gone; gives what it was then."""
    port = free_port()
    monkeypatch.setenv("MLFLOW_DSVER_PROVIDER_TIMEOUT", "2")
    with PaperspaceEmulator(seed=True, key="k" * 20, port=port) as emulator:
        for name, value in emulator.variables.items():
            monkeypatch.setenv(name, value)
        done = run("run", "--input", "training=paperspace://cats@latest", "--", *TELLS)
    return str(told(done)["answers"]["paperspace://cats@latest"])


def test_a_provider_that_fails(run: Run, unreachable: str, made: str, tmp_path: Path) -> None:
    """Nothing is started unless that was asked for; what is started knows which answer is how sure."""
    away, other = "paperspace://cats@latest", "paperspace://dogs@latest"
    options = ("run", "--input", f"training={away}", "--input", f"test={made}")
    refused(run(*options, "--", "touch", "started"), 3)
    refused(run(*options, "--frozen", "--on-error", "warn", "--", "touch", "started"), 3)
    assert not (tmp_path / "started").exists()

    warned = run(*options, "--on-error", "warn", "--", *TELLS)
    assert told(warned)["inputs"] == {"test": made}
    assert told(warned)["settings"]["ON_ERROR"] == "warn"
    assert "training is left out" in warned.stderr

    offline = run(*options, "--input", f"dogs={other}", "--", *TELLS, MLFLOW_DSVER_ON_ERROR="offline")
    seen = told(offline)
    assert seen["inputs"] == {"training": away, "test": made}
    assert seen["answers"][away] == unreachable
    assert away in seen["offline"]
    assert made not in seen["offline"]
    assert "dogs is left out" in offline.stderr
    assert f"training is {unreachable} ({away}), the last known answer of 2" in offline.stderr


def test_offline_answers_stay_offline_in_a_launcher_below(run: Run, unreachable: str) -> None:
    away = "paperspace://cats@latest"
    inner = ["mlflow-dsver", "run", "--input", f"training={away}", "--", *TELLS]
    seen = told(run("run", "--on-error", "offline", "--input", f"training={away}", "--", *inner))
    assert away in seen["offline"]
    assert seen["answers"][away] == unreachable


def _lock(tmp_path: Path, version: str, digest: str) -> Path:
    path = tmp_path / "dsver.lock"
    path.write_text(
        f'schema = 1\n[inputs.training]\nrequested = "{LATEST}"\nversion = "{version}"\ncontent_digest = "{digest}"\n'
    )
    return path


def test_a_lock_file_names_the_inputs_and_frozen_keeps_to_it(
    run: Run, made: str, changed: Callable[[], None], tmp_path: Path
) -> None:
    path = _lock(tmp_path, made, get_provider("local").get("digits", made.partition("@")[2]).content_digest or "")
    assert told(run("run", "--", *TELLS))["inputs"] == {"training": LATEST}
    frozen = told(run("run", "--frozen", "--", *TELLS))
    assert frozen["inputs"] == {"training": LATEST}
    assert frozen["settings"] == {"ON_ERROR": None, "FROZEN": "1", "LOCK": str(path), "PARAMS": None}
    changed()
    for frozen_by in ({}, {"MLFLOW_DSVER_FROZEN": "1"}):
        option = () if frozen_by else ("--frozen",)
        assert versions()[0] in refused(run("run", *option, "--", "touch", "started", **frozen_by), 1)
    assert not (tmp_path / "started").exists()
    assert told(run("run", "--frozen", "--input", f"training={made}", "--", *TELLS))["inputs"] == {"training": made}
    moved = told(run("run", "--", *TELLS))
    assert moved["answers"][LATEST] == versions()[0] != made


def test_environment_is_the_callers_own_but_for_the_settings(run: Run, made: str) -> None:
    shown = run("run", "--input", f"training={made}", "--", "env", "-0", MLFLOW_RUN_ID="abc", OTHER="a\nb")
    seen = dict(pair.split("=", 1) for pair in shown.stdout.split("\0") if pair)
    assert seen.keys() - os.environ.keys() == {
        "MLFLOW_DSVER_INPUTS", "MLFLOW_DSVER_RESOLVED", "MLFLOW_RUN_ID", "OTHER", "COLUMNS"
    } - os.environ.keys()  # fmt: skip
    assert (seen["MLFLOW_RUN_ID"], seen["OTHER"]) == ("abc", "a\nb")
