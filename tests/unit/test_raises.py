"""Expecting an error by its code: it is as strict as it says."""

from __future__ import annotations

import pytest

from swarmbook.base.codes import Code
from swarmbook.base.errors import WorldError
from swarmbook.testing.errors import raises


def test_the_code_and_what_is_named() -> None:
    with raises(Code.KEY_GONE, "n1") as caught:
        raise WorldError("the key is gone", where="n1", code=Code.KEY_GONE)
    assert caught.value.where == "n1"


def test_another_code_another_name_or_no_error_at_all() -> None:
    with pytest.raises(AssertionError, match="unexpected was raised"), raises(Code.KEY_GONE):
        raise WorldError("the key is gone")
    with pytest.raises(AssertionError, match="does not name n2"), raises(Code.KEY_GONE, "n2"):
        raise WorldError("the key is gone", where="n1", code=Code.KEY_GONE)
    with pytest.raises(AssertionError, match="nothing was raised"), raises(Code.KEY_GONE):
        pass
    with pytest.raises(ZeroDivisionError), raises(Code.KEY_GONE):
        _ = 1 / 0
