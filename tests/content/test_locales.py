"""File names are bytes: a node with another locale gives the same digests, the same names, and no traceback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mlflow_dsver.checks.reports import Proof
from mlflow_dsver.content.hashing import hash_folder
from mlflow_dsver.errors import ContentError
from mlflow_dsver.text import encodable, one_line, os_text, text_of

NAMES = ("café.csv", "größe/😀.bin", "plain")

SCRIPT = """
import json, os, sys
from pathlib import Path
from mlflow_dsver.checks.reports import Depth
from mlflow_dsver.checks.byte_checks import ReadOptions, read_bytes
from mlflow_dsver.content.hashing import hash_file, hash_folder
from mlflow_dsver.content.patterns import Rules
from mlflow_dsver.errors import ContentError
from mlflow_dsver.providers.local import LocalProvider

work = Path(sys.argv[1])
local = LocalProvider()
kept = local.create("kept-\\u00e9", work / "data", message="\\u00e9", tags=("caf\\u00e9",))
referred = local.create("referred", work / "data", reference=True)
local.materialise(kept, work / "out")
local.materialise(referred, work / "out2")
depths = [
    str(read_bytes(local, version, ReadOptions(depth)).proof)
    for version in (kept, referred) for depth in (Depth.FULL, Depth.DEFAULT)
]
(work / "data" / os.fsdecode("caf\\u00e9.csv".encode())).write_bytes(b"other")
try:
    local.path(referred)
except OSError as error:
    told = str(error)
print(json.dumps({
    "digest": kept.content_digest,
    "names": [entry.path for entry in local.manifest(kept).entries],
    "pattern": [entry.path for entry in hash_folder(work / "data", rules=Rules(exclude=("caf\\u00e9*",))).entries],
    "view": sorted(os.listdir(os.fsencode(local.path(kept))))[0].decode(),
    "source": referred.raw["source"],
    "file": hash_file(next((work / "data").glob("caf*"))).path,
    "proofs": depths,
    "told": told,
    "cached": read_bytes(local, referred, ReadOptions(Depth.DEFAULT)).digest,
}))
"""


@pytest.fixture(params=["C", "latin-1"])
def node(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """The environment of a node with another locale, in which Python does not help itself."""
    environment = {**os.environ, "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "LC_ALL": "C"}
    environment["MLFLOW_DSVER_HOME"] = str(tmp_path / "zuhause-é")
    if request.param == "latin-1":
        if shutil.which("localedef") is None:
            pytest.skip("no localedef to make a Latin-1 locale with")
        made = tmp_path / "locales"
        made.mkdir()
        command = ["localedef", "-i", "en_US", "-f", "ISO-8859-1", str(made / "en_US.ISO-8859-1")]
        if subprocess.run(command, capture_output=True, check=False).returncode > 1:
            pytest.skip("localedef cannot make a Latin-1 locale here")
        environment |= {"LOCPATH": str(made), "LC_ALL": "en_US.ISO-8859-1"}
    return environment


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A folder whose own name is not ASCII, with data in it."""
    work = tmp_path / "arbeit-é"
    for name in NAMES:
        (work / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (work / "data" / name).write_bytes(name.encode())
    return work


def python(node: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, *arguments], env=node, capture_output=True, timeout=120, check=False)


def test_the_locale_is_another_one(node: dict[str, str]) -> None:
    ran = python(node, "-c", "import sys; print(sys.getfilesystemencoding())")
    assert ran.stdout.strip() in (b"ascii", b"iso8859-1")


def test_digests_names_and_folders_are_those_of_any_other_node(node: dict[str, str], work: Path) -> None:
    here = hash_folder(work / "data")
    ran = python(node, "-c", SCRIPT, str(work))
    assert (ran.returncode, ran.stderr.decode()) == (0, "")
    seen = json.loads(ran.stdout)
    assert seen["digest"] == here.digest
    assert seen["names"] == [entry.path for entry in here.entries] == sorted(NAMES)
    assert seen["pattern"] == sorted(NAMES[1:])
    assert (seen["view"], seen["file"], seen["source"]) == ("café.csv", "café.csv", str(work / "data"))
    assert set(seen["proofs"]) <= {Proof.HASHED, Proof.CACHED}
    assert "café.csv has other bytes" in seen["told"]
    assert seen["cached"] == hash_folder(work / "data").digest
    for copy in ("out", "out2"):
        assert hash_folder(work / copy).digest == here.digest


def test_the_command_line_takes_and_shows_them(node: dict[str, str], work: Path) -> None:
    def command(*arguments: str) -> str:
        ran = python(node, "-m", "mlflow_dsver", *arguments)
        assert (ran.returncode, ran.stderr) == (0, b""), ran.stderr
        return ran.stdout.decode("latin-1")

    folder = str(work / "data")
    command("versions", "create", "local://größe", folder, "--tag", "café", "--message", "größer")
    shown = json.loads(command("versions", "show", "local://größe@café", "--json"))
    assert (shown["tags"], shown["message"]) == (["café"], "größer")
    assert shown["content_digest"] == hash_folder(work / "data").digest
    assert "plain" in command("versions", "files", "local://größe")
    command("versions", "materialise", "local://größe", str(work / "out"))
    assert hash_folder(work / "out").digest == shown["content_digest"]
    ran = python(node, "-m", "mlflow_dsver", "versions", "show", "local://café")
    assert ran.returncode == 2
    assert b"Traceback" not in ran.stderr
    assert ran.stderr.count(b"\n") == 1


def test_names_that_are_not_utf8_are_refused_by_name_everywhere(node: dict[str, str], work: Path) -> None:
    os.close(os.open(os.fsencode(work / "data") + b"/\xe9", os.O_CREAT))
    with pytest.raises(ContentError) as caught:
        hash_folder(work / "data")
    ran = python(node, "-m", "mlflow_dsver", "versions", "create", "local://x", str(work / "data"))
    assert caught.value.paths == ("\udce9",)
    assert b"its name is not UTF-8" in ran.stderr
    assert ran.returncode == 2


class TestHere:
    def test_where_the_locale_is_utf8_nothing_is_changed(self) -> None:
        for text in ("", "plain", "café", "\udce9"):
            assert text_of(text) == os_text(text) == text

    def test_a_message_can_be_encoded_whatever_stands_in_it(self) -> None:
        assert encodable("plain") == "plain"
        assert encodable("caf\udcc3\udca9 and café") == "café and café"
        assert encodable("\udce9") == "\\xe9"
        assert encodable("\ud800") == "\\ud800"

    def test_an_error_can_be_sent_whatever_a_path_has_in_it(self) -> None:
        error = ContentError("\udce9 is missing", expected=Path("\udce9"), got="\udce9", tip="\udce9", done="\udce9")
        str(error).encode()

    def test_a_path_is_shown_as_text(self) -> None:
        assert one_line(Path("café")) == "café"
