"""What a command says."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.cli.console import reply, table


def test_people_read_lines_and_what_to_type_next(capsys):
    reply(False, {"run_id": "abc"}, "pool abc", next_commands=["hilum score mednist"])
    out = capsys.readouterr().out
    assert out.splitlines() == ["pool abc", "Next:", "  hilum score mednist"]


def test_machines_read_one_document_with_the_same_next_commands(capsys):
    reply(True, {"run_id": "abc"}, "pool abc", next_commands=["hilum score mednist"])
    assert json.loads(capsys.readouterr().out) == {"run_id": "abc", "next": ["hilum score mednist"]}


def test_text_in_a_table_is_never_markup(capsys):
    reply(False, {}, table("", ["name"], [["[red]x[/red]"]]))
    assert "[red]x[/red]" in capsys.readouterr().out


@given(
    st.dictionaries(
        st.text(), st.one_of(st.integers(), st.text(), st.floats(allow_nan=False, allow_infinity=False), st.none())
    )
)
def test_any_answer_is_json(data):
    import io
    from contextlib import redirect_stdout

    with redirect_stdout(io.StringIO()) as out:
        reply(True, data)
    assert json.loads(out.getvalue()) == {**data, "next": []}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_is_not_one_is_null_and_the_document_stays_json(value, capsys):
    reply(True, {"results": {"test": [{"auc": value}]}})
    assert json.loads(capsys.readouterr().out)["results"] == {"test": [{"auc": None}]}
