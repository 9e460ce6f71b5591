"""Refusals wait for their turn, answers never do; and the body is asked for before anything else."""

import asyncio

from hilum_services.inference.app import BodyFirst
from hilum_services.inference.pacing import Pace, PacedRefusals


def test_those_of_a_quiet_second_go_at_once_and_the_others_one_after_the_other():
    pace = Pace(per_second=50)
    waits = [pace.wait() for _ in range(150)]
    assert max(waits[:49]) == 0
    assert waits == sorted(waits)
    assert 1.9 < waits[-1] < 2.01


def test_nobody_waits_longer_than_ten_seconds():
    pace = Pace(per_second=1)
    assert max(pace.wait() for _ in range(100)) == 10


def answer(status, pace):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": status, "headers": []})

    async def run():
        sent = []

        async def send(message):
            sent.append(message["status"])

        await asyncio.wait_for(PacedRefusals(app, pace)({"type": "http"}, None, send), 0.2)
        return sent

    return asyncio.run(run())


def test_a_refusal_waits_and_an_answer_does_not():
    pace = Pace(per_second=1)
    answer(404, pace)
    for status in (200, 202, 503):
        assert answer(status, pace) == [status]
    try:
        answer(404, pace)
    except TimeoutError:
        return
    raise AssertionError("the second refusal did not wait")


def test_a_task_that_is_to_fetch_the_body_begins_before_the_application():
    order = []

    async def app(scope, receive, send):
        order.append("application")

    async def fetch():
        order.append("fetch")

    async def served():
        fetching = asyncio.create_task(fetch())
        await BodyFirst(app)({}, None, None)
        await fetching

    asyncio.run(served())
    assert order == ["fetch", "application"]
