"""`lock --check` offline: contradictions within the file are found without a provider."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlflow_dsver.checks.lock_check import State, check_lock

ENTRY = """schema = 1
[inputs.training]
requested = "{provider}://digits@latest"
version = "{provider}://digits@{version}"
content_digest = "blake3:{digest}"
"""


@pytest.mark.parametrize(
    ("provider", "version", "digest", "state", "code"),
    [
        ("local", "3f9c2a7d11e05b64", "3f9c2a7d11e05b64" + "0" * 48, State.NOT_ASKED, 0),
        ("local", "3f9c2a7d11e05b64", "4f9c2a7d11e05b64" + "0" * 48, State.CHANGED, 1),
        ("local", "3f9c2a7d11e05b6400000000", "3f9c2a7d11e05b64" + "1" * 48, State.CHANGED, 1),
        ("paperspace", "fo5rp4m", "4f9c2a7d11e05b64" + "0" * 48, State.NOT_ASKED, 0),
        ("nobody", "1", "4f9c2a7d11e05b64" + "0" * 48, State.NOT_ASKED, 0),
    ],
)
def test_an_id_that_does_not_fit_its_own_content_digest_is_found_without_asking(
    tmp_path: Path, provider: str, version: str, digest: str, state: State, code: int
) -> None:
    file = tmp_path / "dsver.lock"
    file.write_text(ENTRY.format(provider=provider, version=version, digest=digest))
    report = check_lock(file, ask=False)
    assert [each.state for each in report.inputs] == [state]
    assert report.exit_code == code


def test_a_provider_that_does_not_answer_does_not_hide_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow_dsver.errors import ProviderUnavailable
    from mlflow_dsver.providers.local import LocalProvider

    def down(*_: object) -> None:
        raise ProviderUnavailable("down")

    monkeypatch.setattr(LocalProvider, "resolve", down)
    file = tmp_path / "dsver.lock"
    file.write_text(ENTRY.format(provider="local", version="3f9c2a7d11e05b64", digest="0" * 64))
    assert [each.state for each in check_lock(file).inputs] == [State.CHANGED]
