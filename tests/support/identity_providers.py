"""Identity providers for tests: a real one, from a package, and one that answers as a test says."""

from __future__ import annotations

import functools
import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import httpx2
import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from oidc_provider_mock import run_server_in_thread

from tests.support.processes import PATIENCE

CLIENT: Final = "the-loan-desk"
_OPTIONS: Final[dict[str, Any]] = {"timeout": PATIENCE, "trust_env": False}


@dataclass(frozen=True)
class RealProvider:
    """A running oidc-provider-mock, which knows one client."""

    issuer: str
    client_id: str
    client_secret: str = field(repr=False)

    def set_user(self, subject: str, **claims: Any) -> None:
        """Give the provider an account, with what it says about its owner."""
        url = f"{self.issuer}/users/{subject}"
        httpx2.put(url, json=claims, **_OPTIONS).raise_for_status()

    def sign_in(self, url: str, subject: str) -> str:
        """What somebody does at the provider; returns where it sends the browser then."""
        return _location(httpx2.post(url, data={"sub": subject}, **_OPTIONS))

    def cancel(self, url: str) -> str:
        """Somebody does not want to sign in; returns where the provider sends the browser then."""
        return _location(httpx2.post(url, data={"action": "deny"}, **_OPTIONS))


def _location(answer: httpx2.Response) -> str:
    assert answer.status_code == httpx2.codes.FOUND, answer.text
    return str(answer.headers["Location"])


@contextmanager
def running_real_provider(callback: str) -> Iterator[RealProvider]:
    """A real provider that sends browsers back to this address, and to no other."""
    with run_server_in_thread(require_client_registration=True, require_nonce=True) as server:
        issuer = f"http://localhost:{server.server_port}"
        client = httpx2.post(
            f"{issuer}/oauth2/clients",
            json={"redirect_uris": [callback], "token_endpoint_auth_method": "client_secret_basic"},
            **_OPTIONS,
        )
        client.raise_for_status()
        known = client.json()
        yield RealProvider(issuer, known["client_id"], known["client_secret"])


@dataclass(frozen=True)
class Answer:
    """What a `ScriptedProvider` answers, after a delay in seconds."""

    body: bytes
    status: int = 200
    delay: float = 0.0


@functools.cache
def _keys() -> tuple[rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey]:
    rsa_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return rsa_key, ec.generate_private_key(ec.SECP256R1())


class ScriptedProvider:
    """A provider that signs tokens properly, except where a test has it do otherwise."""

    def __init__(self, port: int) -> None:
        self.issuer = f"http://127.0.0.1:{port}"
        self.rsa_key, self.ec_key = _keys()  # To make them takes long.
        self.answers: dict[str, Answer] = {}
        """The answers, by path, that differ from the proper ones."""
        self.id_token = ""
        self.asked: list[tuple[str, dict[str, list[str]]]] = []
        """Each path that was asked for, with the form that was sent."""

    def claims(self, request_url: str, **others: Any) -> dict[str, Any]:
        """The proper claims for the sign-in that was begun at this address."""
        now = int(time.time())
        query = parse_qs(urlsplit(request_url).query)
        return {
            "iss": self.issuer,
            "aud": CLIENT,
            "sub": "4711",
            "nonce": query["nonce"][0],
            "iat": now,
            "exp": now + 300,
            "preferred_username": "uma",
            "groups": ["credit-underwriting"],
            **others,
        }

    def sign(self, claims: Mapping[str, Any], *, algorithm: str = "RS256", **header: Any) -> str:
        """An ID token."""
        key = self.ec_key if algorithm == "ES256" else self.rsa_key
        headers = {"kid": algorithm, **header}
        return jwt.encode(dict(claims), key, algorithm=algorithm, headers=headers)

    def answer(self, path: str, form: dict[str, list[str]]) -> Answer:
        """The answer to a call."""
        self.asked.append((path, form))
        if path in self.answers:
            return self.answers[path]
        return Answer(json.dumps(self._document(path)).encode())

    def forms_sent_to(self, path: str) -> list[dict[str, list[str]]]:
        """The forms of the calls of this path."""
        return [form for asked, form in self.asked if asked == path]

    def _document(self, path: str) -> dict[str, Any]:
        match path:
            case "/.well-known/openid-configuration":
                return self.discovery
            case "/token":
                return {"id_token": self.id_token, "access_token": "a", "token_type": "Bearer"}
            case "/keys":
                return {"keys": [self._public(RSAAlgorithm), self._public(ECAlgorithm)]}
        return {}

    @property
    def discovery(self) -> dict[str, Any]:
        """Its discovery document."""
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "token_endpoint_auth_methods_supported": ["client_secret_post"],
        }

    def _public(self, algorithm: Any) -> dict[str, Any]:
        is_rsa = algorithm is RSAAlgorithm
        key = (self.rsa_key if is_rsa else self.ec_key).public_key()
        name = "RS256" if is_rsa else "ES256"
        return {**algorithm.to_jwk(key, as_dict=True), "kid": name, "alg": name, "use": "sig"}


@contextmanager
def running_scripted_provider() -> Iterator[ScriptedProvider]:
    """A provider that a test scripts; it is ended at the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            form = parse_qs(self.rfile.read(length).decode())
            answer = provider.answer(urlsplit(self.path).path, form)
            ended.wait(answer.delay)
            self.send_response(answer.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *args: Any) -> None:
            """Log nothing."""

    ended = threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    provider = ScriptedProvider(server.server_port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield provider
    finally:
        ended.set()
        server.shutdown()
        thread.join()
        server.server_close()
