"""What a part of an observer tells, written down."""

from collections import defaultdict

from hilum.loop.observing.campaigns import Campaigns

PEOPLE = {"annotators": 3, "error_rate": 0.2, "seconds_per_answer": 4.0}


class Notes:
    """A meter that only writes down: (metric, *labels) -> value."""

    def __init__(self):
        self.told = {}
        self.observed = defaultdict(list)

    def count(self, metric, value=1, /, **labels):
        assert (metric, *sorted(labels.items())) not in self.told
        self.told[metric, *sorted(labels.items())] = value

    def set(self, metric, value, /, **labels):
        self.told[metric, *sorted(labels.items())] = value

    def observe(self, metric, value, /, **labels):
        self.observed[metric, *sorted(labels.items())].append(value)

    def of(self, metric, /, **labels):
        return self.told.get((metric, *sorted(labels.items())))


def told_by(part):
    """Look once, and what it tells then."""
    part.look()
    notes = Notes()
    part.tell(notes)
    return notes


def campaigns_of(here, **how):
    return Campaigns(here.store, here.ledger, **how)
