"""The people of a campaign in words: what is known, and a dash for what is not."""

from hilum.loop.people import Agreement, Person
from hilum.loop.report import render
from hilum.loop.report.people import agreement_line, agreement_over_seeds, headings, mean_person, person_row

ANN = Person("ann", 40, 8.0, 320.0, 10, 0.9, 0.8, 30, 0.5)
ALONE = Person("ann", 20, None, 0.0, 0, None, None, 0, None)


def texts(person, question="classify"):
    names = (f"{heading.text} {heading.detail}".strip() for heading in headings(question))
    return dict(zip(names, (cell.text for cell in person_row(person, question)), strict=True))


def test_what_is_not_known_is_a_dash():
    told = texts(ALONE)
    assert [told[one] for one in ("time median", "time in all", "kappa with the others", "drafts accepted")] == [
        "–"
    ] * 4
    assert (told["answers"], told["shared with others"]) == ("20", "0")


def test_drafts_are_accepted_or_covered():
    assert texts(ANN)["drafts accepted"] == "50\N{NO-BREAK SPACE}%"
    assert texts(ANN, "segment")["Dice with drafts"] == "0.50"
    assert texts(ANN, "segment")["Dice with the others"] == "0.80"


def test_over_seeds_what_one_seed_does_not_know_is_left_out():
    mean = mean_person([ANN, ALONE])
    assert (mean.num_answers, mean.num_shared, mean.total_seconds) == (30, 5, 160.0)
    assert (mean.median_seconds, mean.with_others, mean.with_drafts) == (8.0, 0.8, 0.5)


def test_how_far_all_agree_is_a_sentence_and_says_when_it_says_nothing():
    said = agreement_line(Agreement("Fleiss' kappa", 0.216, 1200, 3))
    assert said == "Fleiss' kappa of 3 annotators over the 1,200 candidates that several answered: 0.22"
    assert "nobody gave two classes" in agreement_line(Agreement("Cohen's kappa", None, 4, 2))
    both = [Agreement("Fleiss' kappa", 0.2, 10, 3), Agreement("Fleiss' kappa", 0.4, 20, 3)]
    assert agreement_over_seeds(both) == agreement_line(Agreement("Fleiss' kappa", (0.2 + 0.4) / 2, 15, 3))
    assert agreement_over_seeds([]) == ""


def test_the_page_shows_people_where_there_are_several(make_section):
    page = render([make_section()], title="Report")
    assert "Who answered" in page
    assert "Fleiss&#39; kappa of 3 annotators over the 96 candidates that several answered: 0.55." in page
