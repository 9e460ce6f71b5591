"""A small OpenID Connect issuer on loopback: a discovery document, keys that can be changed, and tokens."""

import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

AUDIENCE = "hilum"


def rsa_key(bits=2048):
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def ec_key():
    return ec.generate_private_key(ec.SECP256R1())


def pem_of(key):
    """The public half as anybody can have it."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


class OwnIssuer:
    """``answers`` maps a path to (status, headers, body); ``asked`` has every path that was asked for, in order."""

    def __init__(self, url):
        self.url, self.asked, self.is_down, self.slow, self.answers = url, [], False, 0.0, {}
        self.answers["/.well-known/openid-configuration"] = self._json(
            {"issuer": url, "jwks_uri": f"{url}/keys", "authorization_endpoint": f"{url}/authorize"}
        )
        self.key_id, self.key = None, None
        self.rotate("first", rsa_key())

    def rotate(self, key_id, key, *, and_keep=()):
        """Sign with this key from now on, and publish it alone."""
        self.key_id, self.key = key_id, key
        self.publish(self.jwk(key_id, key), *and_keep)

    def publish(self, *jwks):
        self.answers["/keys"] = self._json({"keys": list(jwks)})

    def jwk(self, key_id, key, **more):
        kind = jwt.algorithms.RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else jwt.algorithms.ECAlgorithm
        return {**kind.to_jwk(key.public_key(), as_dict=True), "kid": key_id, "use": "sig", **more}

    def claims(self, **changes):
        now = int(time.time())
        usual = {"iss": self.url, "aud": AUDIENCE, "sub": "pacs", "iat": now, "exp": now + 60, "scope": "hilum:predict"}
        return {name: value for name, value in {**usual, **changes}.items() if value is not None}

    def token(self, *, key=None, key_id=None, **changes):
        signing = key or self.key
        algorithm = "RS256" if isinstance(signing, rsa.RSAPrivateKey) else "ES256"
        payload = json.dumps(self.claims(**changes)).encode()  # jwt.encode would refuse claims that are none
        return jwt.PyJWS().encode(payload, signing, algorithm, {"kid": key_id or self.key_id})

    def _json(self, content):
        return 200, {"Content-Type": "application/json"}, json.dumps(content).encode()


@contextmanager
def issuing():
    """The issuer, listening."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            issuer.asked.append(self.path)
            time.sleep(issuer.slow)
            down = (503, {}, b"")
            status, headers, body = down if issuer.is_down else issuer.answers.get(self.path, (404, {}, b""))
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    issuer = OwnIssuer(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
