"""One tree of errors: as printed, as coded, across process borders."""

from __future__ import annotations

import pickle
import re

import pytest

from swarmbook.base import errors
from swarmbook.base.codes import Code
from swarmbook.base.errors import CommandFailed, SwarmbookError, exit_code_for

CLASSES = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, SwarmbookError)]


def test_the_printed_tree_is_the_real_one() -> None:
    printed: dict[str, str] = {}
    stack: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"^    ([│├└─ ]*)(\w+)(?: +(?:exit (\d+)\b)?.*)?$", line)
        if not found:
            continue
        depth, name, code = len(found[1]), found[2], found[3]
        stack = [entry for entry in stack if entry[0] < depth]
        printed[name] = stack[-1][1] if stack else ""
        stack.append((depth, name))
        if code:
            assert getattr(errors, name).exit_code == int(code), name
    real = {
        cls.__name__: next((b.__name__ for b in cls.__bases__ if issubclass(b, SwarmbookError)), "") for cls in CLASSES
    }
    assert printed == real


def test_all_are_exported() -> None:
    assert set(errors.__all__) == {cls.__name__ for cls in CLASSES} | {"ERROR_MIME", "exit_code_for"}
    assert errors.__all__ == ["ERROR_MIME", *sorted(set(errors.__all__) - {"ERROR_MIME"})]


@pytest.mark.parametrize(
    ("name", "code"), [("CheckFailed", 1), ("ParameterError", 2), ("OutOfOrder", 2), ("LockHeld", 3), ("Interrupted", 130), ("ZeroDivisionError", 3), ("exit_code_for", 3)]
)  # fmt: skip
def test_exit_codes_by_name(name: str, code: int) -> None:
    assert exit_code_for(name) == code


@pytest.mark.parametrize("cls", CLASSES)
def test_an_error_is_whole_after_a_process_border(cls: type[SwarmbookError]) -> None:
    error = cls("what", where="sw1", wanted="a", seen="b\nc", next="do", code=Code.DISK_FULL)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is cls
    assert str(again) == str(error)
    assert (again.what, again.where, again.wanted, again.seen, again.next) == ("what", "sw1", "a", "b\nc", "do")
    assert again.code is Code.DISK_FULL and pickle.loads(pickle.dumps(cls("what"))).code is cls.code


def test_a_class_has_a_code_of_its_own_and_a_misspelt_one_cannot_be_raised() -> None:
    assert len({cls.code for cls in CLASSES}) == len(CLASSES) and all(isinstance(cls.code, Code) for cls in CLASSES)
    assert (
        CommandFailed("what", code=Code.DISK_FULL).code is Code.DISK_FULL and CommandFailed.code is Code.COMMAND_FAILED
    )
    with pytest.raises(ValueError, match="disk-ful"):
        CommandFailed("what", code="disk-ful")  # type: ignore[arg-type]


def test_the_message() -> None:
    error = CommandFailed("it failed", where="sw1", seen="exit 1\nno space\n", next="look")
    assert str(error) == "it failed\n  where:  sw1\n  seen:   exit 1\n          no space\n  next:   look"
    assert str(CommandFailed("it failed")) == "it failed"
    assert isinstance(error, RuntimeError)


def test_a_notebook_shows_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    error = CommandFailed("it failed", where="sw1")
    assert error._render_traceback_() == ["CommandFailed: it failed", "  where:  sw1"]
    monkeypatch.setenv("SWARMBOOK_DEBUG", "1")
    try:
        raise error
    except CommandFailed as caught:
        assert "Traceback" in "".join(caught._render_traceback_())
