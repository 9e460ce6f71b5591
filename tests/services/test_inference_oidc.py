"""Tokens of an issuer beside keys: good ones open what their claims say, forged ones nothing; keys go on working."""

import asyncio
import base64
import hashlib
import hmac
import json
import logging
import time
from dataclasses import replace

import httpx
import jwt
import pytest
from tests.services.own_issuer import AUDIENCE, ec_key, issuing, pem_of, rsa_key
from tests.services.own_server import serving
from tests.services.test_inference import CLASSIFY, SEGMENT, Served, as_npy, frame, get, post

from hilum.adapters import published_keys
from hilum.adapters.api_keys import KeyFile
from hilum.adapters.meters import PrometheusMeter
from hilum.adapters.oidc import Issuer, Trust
from hilum.adapters.published_keys import PublishedKeys
from hilum.core.errors import RequestError
from hilum_services.inference.access import Door
from hilum_services.inference.app import from_environment, make_app
from hilum_services.inference.service import Service
from hilum_services.inference.tokens import Tokens

BODY = as_npy(frame())
DISCOVERY = "/.well-known/openid-configuration"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture(scope="module")
def other_key():
    return rsa_key()


class Trusting(Served):
    """A service that believes an issuer, or what is changed of that."""

    def __init__(self, tmp_path, issuer, *, jwks_url=None, **changes):
        super().__init__(tmp_path)
        self.champion("chest", CLASSIFY, seed=1)
        self.champion("liver", SEGMENT)
        self.trust = replace(Trust(issuer.url, AUDIENCE), **changes)
        self.published = PublishedKeys(issuer.url, jwks_url)

    def start(self):
        service = Service(self.store, self.ledger, self.limits, PrometheusMeter(), fresh_for=0)
        door = Door(KeyFile(self.keys), Tokens(Issuer(self.trust, self.published)))
        return serving(make_app(service, door))


@pytest.fixture
def issuer():
    with issuing() as found:
        yield found


@pytest.fixture
def served(tmp_path, issuer):
    made = Trusting(tmp_path, issuer)
    with made.start() as url:
        made.url = url
        yield made


def status(served, token, model="chest"):
    return post(served, f"{model}/classify", BODY, key=token).status_code


def signed_by_hand(header, claims, secret=b""):
    """A token as no library would make it."""
    parts = [base64.urlsafe_b64encode(json.dumps(one).encode()).rstrip(b"=") for one in (header, claims)]
    mac = hmac.new(secret, b".".join(parts), hashlib.sha256).digest() if secret else b""
    return b".".join([*parts, base64.urlsafe_b64encode(mac).rstrip(b"=")]).decode()


def test_a_token_is_answered_and_the_audit_says_whose_it_was(served, issuer, caplog):
    token = issuer.token(sub="auth0|pacs")
    with caplog.at_level(logging.INFO):
        assert status(served, token) == 200
    line = next(json.loads(record.message) for record in caplog.records if record.name == "hilum.audit")
    assert line["caller"] == "oidc:auth0|pacs"
    assert token not in caplog.text
    assert status(served, issuer.token()) == 200
    assert issuer.asked == [DISCOVERY, "/keys"]  # and not again for the second


def test_a_key_of_the_curve_signs_as_well(served, issuer):
    issuer.rotate("curve", ec_key())
    assert status(served, issuer.token()) == 200


def test_a_token_may_what_its_scopes_say_and_no_more(served, issuer):
    assert get(served, "/v1/models", issuer.token()).status_code == 403
    assert get(served, "/v1/models", issuer.token(scope="openid hilum:read")).status_code == 200
    assert get(served, "/metrics", issuer.token(scope=["hilum:metrics"])).status_code == 200
    for scope in (None, "", "predict", "hilum:predictall", "HILUM:PREDICT", {"hilum:predict": True}, 7):
        assert status(served, issuer.token(scope=scope)) == 403


def test_a_job_is_its_tokens_owners_and_nobody_elses(served, issuer):
    job = post(served, "chest/classify", BODY, key=issuer.token(), later=True).json()
    assert get(served, job["url"], issuer.token()).status_code == 200
    assert get(served, job["url"], issuer.token(sub="another")).status_code == 404
    assert get(served, job["url"]).status_code == 404


def test_a_claim_bounds_models_and_ingests(tmp_path, issuer):
    made = Trusting(tmp_path, issuer, models_claim="models", reads_claim="https://hilum.test/ingests", per_minute=30)
    claim = "https://hilum.test/ingests"
    with made.start() as made.url:
        assert status(made, issuer.token(models=["ch*"])) == 200
        assert status(made, issuer.token(models="liver chest")) == 200
        assert status(made, issuer.token(models=["liver"])) == 403
        assert status(made, issuer.token()) == 403  # the claim is asked for, and is not there
        url, volume = f"{made.url}/v1/models/liver/segment", {"volume": "0" * 12, "ingest": "1" * 12}
        for ingests, expected in ((["1" * 12], 404), (["2" * 12], 403), (None, 403), (["../.."], 401)):
            token = issuer.token(models=["*"], **{claim: ingests})
            answer = httpx.post(url, json=volume, headers={"Authorization": f"Bearer {token}"}, trust_env=False)
            assert answer.status_code == expected
        said = [status(made, issuer.token(models=["chest"], sub="greedy", jti=str(n))) for n in range(31)]
        assert said.count(429) == 1


def test_a_token_that_is_not_good_is_refused(served, issuer, other_key):
    now = int(time.time())
    bad = {
        "for another audience": issuer.token(aud="another-service"),
        "for no audience": issuer.token(aud=None),
        "of another issuer": issuer.token(iss="https://issuer.test"),
        "of nobody": issuer.token(sub=None),
        "of a number": issuer.token(sub=7),
        "over": issuer.token(exp=now - 60),
        "without end": issuer.token(exp=None),
        "not yet": issuer.token(nbf=now + 120),
        "of tomorrow": issuer.token(iat=now + 120),
        "of an end that is none": issuer.token(exp="never"),
        "of an end beyond all": issuer.token(exp=float("inf")),
        "of a list of issuers": issuer.token(iss=[issuer.url]),
        "of a name too long": issuer.token(sub="x" * 400),
        "by another key": issuer.token(key=other_key),
        "half": issuer.token()[:-20],
        "nothing": "..",
        "no base64": "!.!.!",
    }
    assert {what: status(served, token) for what, token in bad.items()} == dict.fromkeys(bad, 401)
    assert status(served, issuer.token(exp=now - 5, nbf=now + 5)) == 200  # clocks differ a little


def test_no_other_algorithm_is_read(served, issuer):
    claims, key_id = issuer.claims(), issuer.key_id
    for algorithm in ("none", "None", "NONE", "", None, ["RS256"], "RS512", "PS256"):
        token = signed_by_hand({"alg": algorithm, "typ": "JWT", "kid": key_id}, claims)
        assert status(served, token) == 401
    for secret in (pem_of(issuer.key), pem_of(issuer.key).strip()):
        token = signed_by_hand({"alg": "HS256", "typ": "JWT", "kid": key_id}, claims, secret)
        assert status(served, token) == 401
    assert status(served, jwt.encode(claims, issuer.key, "RS512", {"kid": key_id})) == 401
    assert status(served, jwt.encode(claims, issuer.key, "PS256", {"kid": key_id})) == 401


def test_a_key_that_a_token_brings_along_is_not_its_issuers(served, issuer, other_key):
    brought = issuer.jwk("brought", other_key)
    for more in ({"jwk": brought}, {"jku": "http://127.0.0.1:1/keys"}, {"x5u": "http://127.0.0.1:1/x"}):
        for key_id in ("brought", issuer.key_id):
            token = jwt.encode(issuer.claims(), other_key, "RS256", {**more, "kid": key_id})
            assert status(served, token) == 401


def test_an_extension_that_must_be_understood_is_refused(served, issuer):
    headers = {"kid": issuer.key_id, "crit": ["exp"], "exp": 1}
    assert status(served, jwt.encode(issuer.claims(), issuer.key, "RS256", headers)) == 401


@pytest.mark.parametrize(
    "how", [{"use": "enc"}, {"alg": "RS512"}, {"kty": "oct", "k": "AAAA"}, {"n": 7}, {"e": "!"}, {"kid": 7}]
)
def test_a_published_key_of_another_use_signs_nothing_and_others_go_on(served, issuer, how, other_key):
    issuer.publish(issuer.jwk("odd", other_key, **how), issuer.jwk(issuer.key_id, issuer.key))
    assert status(served, issuer.token(key=other_key, key_id="odd")) == 401
    assert status(served, issuer.token()) == 200


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
def test_a_short_key_signs_nothing(served, issuer):
    issuer.rotate("short", rsa_key(1024))
    assert status(served, issuer.token()) == 401


def test_a_token_without_a_key_id_is_the_only_keys(served, issuer, other_key):
    nameless = jwt.encode(issuer.claims(), issuer.key, "RS256")
    assert status(served, nameless) == 200
    assert status(served, jwt.encode(issuer.claims(), other_key, "RS256")) == 401


def test_where_there_are_several_keys_a_token_must_name_its_own(served, issuer, other_key):
    issuer.publish(issuer.jwk("other", other_key), issuer.jwk(issuer.key_id, issuer.key))
    assert status(served, jwt.encode(issuer.claims(), issuer.key, "RS256")) == 401
    assert status(served, issuer.token()) == 200


def test_headers_that_are_deep_or_long_are_refused(served):
    deep = base64.urlsafe_b64encode(b"[" * 9000).decode()
    assert status(served, f"{deep}.e30.e30") == 401
    assert status(served, "x" * 17_000) == 401
    headers = {"Authorization": "Bearer é.é.é".encode("latin-1")}
    assert httpx.get(f"{served.url}/v1/models", headers=headers, trust_env=False).status_code == 401


def test_forged_key_ids_do_not_flood_the_issuer_and_good_tokens_wait_for_one_fetch(served, issuer, other_key):
    issuer.slow = 0.3
    good = [issuer.token(sub=f"caller-{n}") for n in range(10)]
    forged = [issuer.token(key=other_key, key_id=f"forged-{n}") for n in range(200)]

    async def at_once():
        url = f"{served.url}/v1/models/chest/classify"
        limits = httpx.Limits(max_connections=210)
        async with httpx.AsyncClient(timeout=60, trust_env=False, limits=limits) as client:
            asked = (client.post(url, content=BODY, headers={"Authorization": f"Bearer {t}"}) for t in [*forged, *good])
            return [answer.status_code for answer in await asyncio.gather(*asked)]

    assert asyncio.run(at_once()) == [401] * 200 + [200] * 10
    assert issuer.asked == [DISCOVERY, "/keys"]


def test_a_new_key_is_looked_for_and_one_that_is_gone_opens_nothing_any_more(served, issuer, monkeypatch):
    monkeypatch.setattr(published_keys, "_BETWEEN_SECONDS", 0.2)
    before = issuer.token()
    assert status(served, before) == 200
    issuer.rotate("second", rsa_key())
    assert status(served, before) == 200  # as far as was seen not long ago
    time.sleep(0.3)
    assert status(served, issuer.token()) == 200
    assert status(served, before) == 401


def test_keys_are_looked_at_again_while_they_go_on_being_used(served, issuer, monkeypatch):
    monkeypatch.setattr(published_keys, "_BETWEEN_SECONDS", 0.1)
    monkeypatch.setattr(published_keys, "_FRESH_SECONDS", 0.3)
    token = issuer.token()
    assert status(served, token) == 200
    issuer.rotate("second", rsa_key())
    until = time.monotonic() + 30
    while status(served, token) == 200:
        assert time.monotonic() < until
        time.sleep(0.1)
    assert status(served, token) == 401


def test_while_the_issuer_is_away_tokens_wait_and_keys_go_on(served, issuer, monkeypatch):
    monkeypatch.setattr(published_keys, "_BETWEEN_SECONDS", 0.2)
    issuer.is_down = True
    answer = post(served, "chest/classify", BODY, key=issuer.token())
    assert (answer.status_code, int(answer.headers["retry-after"]) > 0) == (503, True)
    assert "issuer" in answer.json()["error"]
    assert status(served, served.key) == 200
    assert status(served, "hilum_wrong") == 401
    issuer.is_down = False
    time.sleep(0.3)
    assert status(served, issuer.token()) == 200
    issuer.is_down = True
    time.sleep(0.3)
    assert status(served, issuer.token(key_id="perhaps-new")) == 503
    assert status(served, issuer.token()) == 200  # its key is known


def test_keys_are_not_kept_for_ever_while_the_issuer_is_away(served, issuer, monkeypatch):
    assert status(served, issuer.token()) == 200
    issuer.is_down = True
    monkeypatch.setattr(published_keys, "_BETWEEN_SECONDS", 0.1)
    monkeypatch.setattr(published_keys, "_KEPT_SECONDS", 0.2)
    time.sleep(0.3)
    assert status(served, issuer.token()) == 503


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        (DISCOVERY, (302, {"Location": "/elsewhere"}, b"")),
        ("/keys", (302, {"Location": "/elsewhere"}, b"")),
        ("/keys", (200, {}, b"not json")),
        ("/keys", (200, {}, b"[" * 100_000)),
        ("/keys", (200, {}, b'{"keys": {}}')),
        ("/keys", (200, {}, json.dumps({"keys": [{}] * 51}).encode())),
        ("/keys", (200, {}, b" " * 300_000)),
        (DISCOVERY, (200, {}, b'{"issuer": "https://issuer.test", "jwks_uri": "/keys"}')),
        (DISCOVERY, (200, {}, b"[]")),
    ],
)
def test_an_issuer_that_answers_otherwise_is_as_good_as_away(served, issuer, path, answer):
    issuer.answers["/elsewhere"] = issuer.answers[path]
    issuer.answers[path] = answer
    assert status(served, issuer.token()) == 503
    assert "/elsewhere" not in issuer.asked
    assert status(served, served.key) == 200


@pytest.mark.parametrize("address", ["http://issuer.test/keys", "file:///etc/passwd", "//issuer.test", 7])
def test_discovery_leads_to_no_address_that_is_not_safe(served, issuer, address):
    said = {"issuer": issuer.url, "jwks_uri": address}
    issuer.answers[DISCOVERY] = (200, {}, json.dumps(said).encode())
    assert status(served, issuer.token()) == 503
    assert issuer.asked == [DISCOVERY]


def test_where_keys_are_can_be_said_instead_of_discovered(tmp_path, issuer):
    made = Trusting(tmp_path, issuer, jwks_url=f"{issuer.url}/keys")
    with made.start() as made.url:
        assert status(made, issuer.token()) == 200
    assert issuer.asked == ["/keys"]


@pytest.mark.parametrize("address", ["http://issuer.test", "issuer.test", "https://", "http://[", "file:///etc"])
def test_an_issuer_without_tls_is_not_trusted(address):
    with pytest.raises(RequestError, match="https"):
        PublishedKeys(address)
    with pytest.raises(RequestError, match="https"):
        PublishedKeys("https://issuer.test", address)


def test_the_environment_names_the_issuer_and_no_key_is_needed(tmp_path, issuer, monkeypatch):
    made = Served(tmp_path)
    made.champion("chest", CLASSIFY, seed=1)
    monkeypatch.setenv("HILUM_OIDC_ISSUER", issuer.url)
    monkeypatch.delenv("HILUM_API_KEYS_FILE", raising=False)
    with pytest.raises(RequestError, match="HILUM_OIDC_AUDIENCE"):
        from_environment(made.store.url, is_alone=False)
    monkeypatch.setenv("HILUM_OIDC_AUDIENCE", AUDIENCE)
    with serving(from_environment(made.store.url, is_alone=False)) as made.url:
        assert status(made, issuer.token()) == 200
        assert status(made, made.key) == 401  # there is no file of keys
        assert httpx.get(f"{made.url}/v1/models", trust_env=False).status_code == 401
