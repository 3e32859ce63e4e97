from __future__ import annotations

from pathlib import Path

import pytest

from commands.tokens import main


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA", str(tmp_path))


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["scripts/tokens", *arguments])
    return main()


def test_limits_are_set_changed_and_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "create", "bob") == 0
    limits = ["--max-steps", "50", "--models", "Demo", "a/b", "--weight", "2", "--loras"]
    assert run(monkeypatch, "create", "ann", *limits) == 0
    more = ["--max-steps", "any", "--models", "default", "--predictions-a-day", "3"]
    assert run(monkeypatch, "limit", "ann", *more) == 0
    capsys.readouterr()
    assert run(monkeypatch, "list") == 0
    bob, ann = capsys.readouterr().out.splitlines()
    assert bob.startswith("bob: made 20")
    assert "," not in bob
    said = ann.split(", ")[1:]
    assert sorted(said) == ["loras none", "max-steps any", "predictions-a-day 3", "weight 2"]


def test_a_token_that_is_not_there_has_no_limits(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "limit", "ann", "--max-steps", "5") == 1
    assert capsys.readouterr().err == "there is no token ann\n"


@pytest.mark.parametrize(
    ("flag", "value", "says"),
    [
        ("--max-steps", "0", "give a whole number from 1 on, any or default"),
        ("--max-side", "63", "give a whole number from 64 on, any or default"),
        ("--max-images", "two", "give a whole number from 1 on, any or default"),
        ("--weight", "0", "give a number from 0.1 to 100"),
        ("--weight", "nan", "give a number from 0.1 to 100"),
        ("--weight", "heavy", "give a number from 0.1 to 100"),
    ],
)
def test_what_is_no_limit_is_refused(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    flag: str,
    value: str,
    says: str,
) -> None:
    with pytest.raises(SystemExit):
        run(monkeypatch, "create", "ann", flag, value)
    assert says in capsys.readouterr().err
