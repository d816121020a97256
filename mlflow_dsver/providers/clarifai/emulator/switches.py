"""What Clarifai's published documents leave open, as switches of the emulator."""

from __future__ import annotations

from mlflow_dsver.emulators.serving import Switch

SWITCHES = (
    Switch("ready-reads", "After how many readings is a version ready?", ("1",), (0, 10_000)),
    Switch("ready-seconds", "After how many seconds is a version ready?", ("0",), (0, 86_400)),
    Switch(
        "outcome",
        "What becomes of a new version?",
        ("ready", "failure", "unexpected-error", "conflict", "never", "unknown", "no-status"),
    ),
    Switch("export-reads", "After how many questions is an export made?", ("1",), (0, 10_000)),
    Switch(
        "export-outcome",
        "What becomes of an export?",
        ("success", "failed", "unexpected-error", "never", "unknown", "no-address"),
    ),
    Switch(
        "export-early", "What becomes of an export that is asked for before its version is ready?", ("refuse", "wait")
    ),
    Switch("export-again", "Has a later download of an export the same bytes?", ("same", "differs")),
    Switch(
        "export-host",
        "Where does an export lie: behind the key, at an address that takes no key, or behind a redirect to that?",
        ("data-host", "signed", "redirect"),
    ),
    Switch("order", "In which order are versions listed?", ("newest", "oldest", "id")),
    Switch(
        "deleted-meanwhile",
        "How many times is a version deleted between two pages of a listing?",
        ("0",),
        (0, 10_000),
    ),
    Switch("per-page", "What becomes of per_page above 1000?", ("clamp", "refuse")),
    Switch("duplicate", "Which code has an id that exists?", ("40010", "30100")),
    Switch("mixed", "Under which HTTP status comes mixed success?", ("200", "207")),
    Switch("unknown-fields", "What becomes of unknown fields in a body?", ("ignore", "refuse")),
    Switch("filters", "Is the dataset filter of 2021 still there?", ("gone", "served")),
    Switch("metadata", "Does an overwrite replace metadata or merge it?", ("replace", "merge")),
    Switch("unsent", "Does an overwrite clear the fields that it does not get?", ("keep", "clear")),
    Switch("action", "What becomes of a change of versions without `overwrite`?", ("refuse", "take")),
    Switch("delete-unknown", "What becomes of deleting a version that is not there?", ("refuse", "ignore")),
    Switch("in-use", "Is every version in use, so that deleting it is a conflict?", ("no", "yes")),
    Switch("delete-dataset", "Can a dataset be deleted that still has versions?", ("yes", "refuse")),
    Switch("key-on-long-path", "Does an app's key work on the long path of its own app?", ("accept", "refuse")),
    Switch("enums", "Are enumerations in answers numbers or names?", ("numbers", "names")),
    Switch("counts", "Are whole numbers of 64 bits texts or numbers?", ("text", "numbers")),
    Switch("fraction", "How many digits has the fraction of a second?", ("6", "9")),
    Switch("empty-metadata", "Is empty metadata left out or an empty object?", ("absent", "object")),
    Switch("origin", "Do versions say that a person asked for them?", ("said", "unsaid")),
    Switch("metrics", "Are counts by part there?", ("there", "computing")),
)
