"""The questions that Paperspace's published documents leave open, with the answers that are possible."""

from __future__ import annotations

from mlflow_dsver.emulators.serving import Switch

SWITCHES = (
    Switch("next-page", "`nextPage` on the last page", ("missing", "null", "empty")),
    Switch("gone-cursor", "`after` whose entry was deleted meanwhile", ("ends", "400", "goes-on")),
    Switch("default-limit", "entries a page without `limit`", ("20",), numbers=(1, 120)),
    Switch("bad-key", "status for a key that is no good", ("401", "403", "404")),
    Switch("unknown", "status for a dataset or version that does not exist", ("404", "403")),
    Switch("edit-committed", "changing message, tags or metadata of a committed version", ("allowed", "409", "412")),
    Switch("uncommit", "`isCommitted: false` for a committed version", ("409", "ignored", "allowed")),
    Switch("metadata", "what a PUT of `metadata` does with the former keys", ("replaces", "merges")),
    Switch("tag-moves", "a tag that another version has", ("moves", "stays")),
    Switch("empty-tags", 'what `tags: ""` does', ("clears", "400")),
    Switch("tag-blanks", "blanks around a tag", ("trimmed", "kept")),
    Switch("tags-filter", "`?tags=a,b` lists versions with", ("any", "all")),
    Switch("list-uncommitted", "uncommitted versions are listed", ("yes", "no")),
    Switch("latest-in-path", "`…/versions/latest`", ("404", "resolves")),
    Switch("usage-bytes", "when `usageBytes` is there", ("on-commit", "never")),
    Switch("modified", "what moves `dtModified`", ("every-put", "commit")),
    Switch("missing-is-public", "a dataset created without `isPublic`", ("false", "400")),
    Switch("duplicate-name", "a dataset with a name that is taken", ("409", "allowed")),
    Switch("unknown-key", "a body's key that is not in the documents", ("dropped", "400")),
    Switch("delete-dataset", "deleting a dataset that has versions", ("versions-too", "409")),
    Switch("error-detail", "key of an error's details", ("issues", "details")),
    Switch("dataset-id", "a version's `datasetId`", ("handle", "uuid")),
    Switch("secrets", "`secretAccessKey` of a storage provider", ("masked", "shown")),
    Switch("dates", "fractions of seconds in dates", ("milliseconds", "seconds")),
    Switch("nulls", "values that may be null", ("filled", "null")),
    Switch("extra-keys", "keys that are not in the documents are answered", ("no", "yes")),
)
"""The questions that the vendor's documents leave open; the first setting is the default."""
