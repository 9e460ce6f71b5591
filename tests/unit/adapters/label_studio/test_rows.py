"""Of tasks that are asked twice, who stands and who goes: the same for whoever looks, in whatever order."""

from hypothesis import given
from hypothesis import strategies as st

from hilum.adapters.label_studio.rows import Row, standing

KEYS = ("a", "b", "c")


@st.composite
def rows(draw: st.DrawFn) -> list[Row]:
    said = draw(st.lists(st.tuples(st.sampled_from(KEYS), st.booleans()), max_size=12))
    return [
        Row(number, key, "s", {}, "", (number,) if begun else (), begun, frozenset())
        for number, (key, begun) in enumerate(said, start=1)
    ]


@given(rows(), st.randoms(use_true_random=False))
def test_the_order_of_looking_changes_nothing(found: list[Row], random) -> None:
    shuffled = list(found)
    random.shuffle(shuffled)
    assert standing(shuffled) == standing(found)


@given(rows())
def test_every_key_stands_once_and_nothing_that_was_begun_goes(found: list[Row]) -> None:
    by_key, doubles = standing(found)
    assert set(by_key) == {row.key for row in found}
    assert not any(row.begun for row in doubles)
    left = [row for row in found if row not in doubles]
    assert all(row.begun for row in left if by_key[row.key] != row)


@given(rows())
def test_taking_doubles_away_is_done_after_once(found: list[Row]) -> None:
    _, doubles = standing(found)
    left = [row for row in found if row not in doubles]
    assert standing(left)[1] == []
    assert standing(left)[0] == standing(found)[0]
