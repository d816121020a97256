"""Import paths that documentation of former versions named."""

from __future__ import annotations

from importlib import import_module

import pytest

from mlflow_dsver._former_names import FORMER


@pytest.mark.parametrize(("former", "present"), FORMER.items())
def test_a_former_module_has_the_names_of_the_present_one_and_warns(former: str, present: str) -> None:
    with pytest.warns(DeprecationWarning, match=f"{former} is now {present}"):
        module = import_module(former)
    now = vars(import_module(present))
    assert {name: now[name] for name in now if not name.startswith("_")}.items() <= vars(module).items()
