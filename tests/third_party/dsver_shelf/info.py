"""What mlflow-dsver knows of Shelf without importing its provider."""

from mlflow_dsver.plugins import ProviderInfo
from mlflow_dsver.settings import choice_setting

DRAFTS = choice_setting("SHELF_DRAFTS", "yes: drafts are listed as well", {"yes": True, "no": False}, default=False)


def spelling(text: str) -> tuple[str, str | None] | None:  # `shelf:dataset#branch`, as its own tools write it
    dataset, _, branch = text.removeprefix("shelf:").partition("#")
    return (dataset, branch or None) if text.startswith("shelf:") and "://" not in text else None


INFO = ProviderInfo(
    title="Shelf",
    settings=(DRAFTS,),
    spelling=spelling,
    slashes_in_selectors=True,
    commands={"shelf": "dsver_shelf.cli:shelf"},
    emulator="dsver_shelf.emulator:ShelfEmulator",
)
