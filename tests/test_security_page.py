"""SECURITY.md names a test for each statement, and each of them exists."""

import re
from pathlib import Path

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "SECURITY.md").read_text()


def test_each_statement_has_tests_that_exist() -> None:
    rows = PAGE.partition("| statement | tests |")[2].split("\n\n")[0].splitlines()[2:]
    assert len(rows) > 25
    for row in rows:
        statement, tests, *_ = (cell.strip() for cell in row.strip("|").split("|"))
        named = re.findall(r"`([\w/]+\.py)::(test_\w+)`", tests)
        assert statement
        assert named, row
        for file, function in named:
            assert f"def {function}(" in (TESTS / file).read_text(), (file, function)
