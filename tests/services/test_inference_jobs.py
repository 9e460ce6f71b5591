"""Large images are answered later: as they would be at once, by whoever lives, and seen by their caller alone."""

import time

import pytest
from tests.services.own_server import CLIENT
from tests.services.test_inference import GRID, SEGMENT, Served, get, nifti_bytes, post, scan

import hilum_services.inference.jobs
from hilum.adapters.bodies import read_body
from hilum.adapters.meters import PrometheusMeter
from hilum.loop.answering.versions import reference
from hilum.store.inference_jobs import Job, State, jobs
from hilum_services.inference.asked import Asked
from hilum_services.inference.jobs import Jobs
from hilum_services.inference.service import Service

BODY = nifti_bytes(scan(), GRID)


@pytest.fixture
def served(tmp_path):
    made = Served(tmp_path, at_once_voxels=1000)
    made.versions = {"liver": made.champion("liver", SEGMENT)}
    with made.start() as url:
        made.url = url
        yield made


def delete(served, path):
    return CLIENT.delete(served.url + path, headers={"Authorization": f"Bearer {served.key}"})


def over(served, url):
    until = time.monotonic() + 60
    while (state := get(served, url).json())["status"] not in ("done", "failed", "cancelled"):
        assert time.monotonic() < until
        assert 0 <= state["progress"] <= 1
        time.sleep(0.05)
    return state


def test_a_large_image_becomes_a_job_whose_result_is_what_would_have_come_at_once(served, tmp_path):
    begun = post(served, "liver/segment", BODY, quality="accurate")
    assert begun.status_code == 202
    assert begun.headers["location"] == begun.json()["url"]
    state = over(served, begun.json()["url"])
    assert (state["status"], state["progress"], state["version"]) == ("done", 1.0, served.versions["liver"])
    result = get(served, state["url"] + "/result")
    roomy = Served(tmp_path / "roomy")
    roomy.champion("liver", SEGMENT)
    with roomy.start() as url:
        roomy.url = url
        at_once = post(roomy, "liver/segment", BODY)
    assert result.content == at_once.content
    assert result.headers["hilum-version"] == at_once.headers["hilum-version"]
    assert result.headers["content-type"] == at_once.headers["content-type"]
    # The image is kept no longer than it is needed.
    assert sorted(path.name for path in (tmp_path / "store" / "jobs").glob("*/*")) == [
        "answer.bin",
        "asked.json",
        "state.json",
    ]
    assert delete(served, state["url"]).json()["status"] == "forgotten"
    assert get(served, state["url"]).status_code == 404


def test_a_small_image_becomes_a_job_where_that_is_wished(tmp_path):
    made = Served(tmp_path)
    made.champion("liver", SEGMENT)
    with made.start() as url:
        made.url = url
        begun = post(made, "liver/score", BODY, later=True)
        assert begun.status_code == 202
        assert over(made, begun.json()["url"])["status"] == "done"
        assert "entropy" in get(made, begun.json()["url"] + "/result").json()["scores"]


def test_nobody_else_sees_a_job(served):
    url = post(served, "liver/segment", BODY).json()["url"]
    stranger = served.new_key("stranger")
    assert get(served, url, stranger).status_code == 404
    assert get(served, url + "/result", stranger).status_code == 404
    assert CLIENT.get(served.url + url).status_code == 401
    assert get(served, "/v1/jobs/..%2F..%2Fidentity.key").status_code in (400, 404)


def kept(served, **limits):
    """A job that a replica took in and never answered: it died."""
    service = Service(served.store, served.ledger, served.limits, PrometheusMeter())
    image = read_body(BODY, max_bytes=1 << 30)
    job = Jobs(service).add(image, service.version(reference("liver")), Asked("liver", "segment"), "owner")
    service.close()
    job.write_state(State("running", 0.4))
    return job


def test_a_job_whose_replica_died_is_answered_by_another(tmp_path):
    made = Served(tmp_path)
    made.champion("liver", SEGMENT)
    job = kept(made)
    assert "patient" not in str(job.asked())
    with made.start():
        until = time.monotonic() + 60
        while not job.state().is_over:
            assert time.monotonic() < until
            time.sleep(0.05)
    assert job.state().status == "done"
    assert job.answer()


def test_a_job_that_is_cancelled_ends_and_has_no_result(tmp_path):
    made = Served(tmp_path)
    made.champion("liver", SEGMENT)
    job = kept(made)
    job.cancel()
    with made.start():
        time.sleep(0.5)
    assert job.state().status == "cancelled"
    assert not (tmp_path / "store" / "jobs" / job.job_id / "answer.bin").exists()
    assert not (tmp_path / "store" / "jobs" / job.job_id / "image.npz").exists()


def test_a_job_is_forgotten_when_its_time_is_over(tmp_path):
    made = Served(tmp_path, keep_jobs=0.0)
    made.champion("liver", SEGMENT)
    kept(made)
    with made.start():
        until = time.monotonic() + 60
        while list(jobs(made.store)):
            assert time.monotonic() < until
            time.sleep(0.05)


def test_a_job_that_cannot_be_answered_says_why(served):
    begun = post(served, "liver/segment", BODY, depth=3)
    state = over(served, begun.json()["url"])
    assert state["status"] == "failed"
    assert "pruned" in state["error"]
    assert get(served, state["url"] + "/result").status_code == 409


def test_no_more_jobs_are_kept_than_may_be(tmp_path):
    made = Served(tmp_path, most_jobs=0, at_once_voxels=1000)
    made.champion("liver", SEGMENT)
    with made.start() as url:
        made.url = url
        answer = post(made, "liver/segment", BODY)
        assert (answer.status_code, "retry-after" in answer.headers) == (503, True)


def test_a_job_that_never_was_is_not_there(served):
    assert get(served, "/v1/jobs/" + "0" * 32).status_code == 404
    with pytest.raises(Exception, match="no file"):
        Job(served.store, "0" * 32).state()


def test_a_store_that_fails_for_a_while_does_not_end_the_jobs(served, monkeypatch):
    real = hilum_services.inference.jobs.jobs

    def failing(store):
        monkeypatch.setattr(hilum_services.inference.jobs, "jobs", real)
        raise RuntimeError("the bucket is not there now")

    monkeypatch.setattr(hilum_services.inference.jobs, "jobs", failing)
    time.sleep(0.1)
    begun = post(served, "liver/segment", BODY)
    if begun.status_code == 500:  # the request itself met the failing store
        begun = post(served, "liver/segment", BODY)
    assert over(served, begun.json()["url"])["status"] == "done"
