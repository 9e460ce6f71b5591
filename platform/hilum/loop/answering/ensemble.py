"""Several versions of a model answer an image together: the mean of their probabilities (Lakshminarayanan et al. 2017).

Each says what it says alone, at its own calibration's temperature; how far they are apart is their mutual information.
"""

from collections.abc import Sequence

from hilum.core.errors import RequestError
from hilum.loop.answering.answer import Answer, Question
from hilum.loop.answering.under_way import UnderWay
from hilum.loop.answering.versions import Version


class Ensemble(UnderWay):
    """One image on its way to the answer of several versions. Whose model it is, and what is unlike, the first says."""

    def __init__(self, questions: Sequence[Question]) -> None:
        """RequestError where the versions do not answer the same."""
        first = questions[0].version
        for one in questions[1:]:
            _check_alike(first, one.version)
        self._questions = questions
        self.passes = [one for question in questions for one in question.passes]

    def answer(self) -> Answer:
        """The answer, once every pass is done; raises what went wrong with one."""
        first, *others = self._questions
        return first.answer(beside=others)


def _check_alike(one: Version, other: Version) -> None:
    for what, is_same in (
        ("answer other questions", one.question == other.question),
        ("know other classes", one.class_names == other.class_names),
        ("read images prepared otherwise", one.prepare == other.prepare),
        ("look at other patches", one.question == "segment" or one.pool == other.pool),
    ):
        if not is_same:
            raise RequestError(
                f"Checkpoints {one.checkpoint_id} and {other.checkpoint_id} cannot answer together: they {what}."
            )
