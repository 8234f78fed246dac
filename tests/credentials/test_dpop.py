"""Proofs as the standard wants them, read by somebody else's JOSE library."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jws
from joserfc.jwk import ECKey

from appliance.credentials import dpop
from appliance.credentials.identity import Identity
from appliance.errors import Secret


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return Identity.load_or_create(tmp_path_factory.mktemp("device"))


def test_the_example_token_of_the_standard_gives_its_ath(identity: Identity) -> None:
    token = Secret("Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU")  # RFC 9449 §7.1
    proof = dpop.proof(identity, method="GET", url="https://a/b", now_s=1, jti="j", access_token=token)
    key = ECKey.import_key(dict(identity.public_jwk))
    claims = json.loads(jws.deserialize_compact(proof, key, algorithms=["ES256"]).payload)
    assert claims["ath"] == "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo"


@given(now_s=st.floats(-1e9, 1e11), jti=st.text(min_size=1), nonce=st.none() | st.text())
@settings(max_examples=50, deadline=None)
def test_every_claim_is_there(identity: Identity, now_s: float, jti: str, nonce: str | None) -> None:
    proof = dpop.proof(identity, method="POST", url="https://a/b?c=d#e", now_s=now_s, jti=jti, nonce=nonce)
    signed = jws.deserialize_compact(proof, ECKey.import_key(dict(identity.public_jwk)), algorithms=["ES256"])
    assert signed.headers() == {"typ": "dpop+jwt", "alg": "ES256", "jwk": identity.public_jwk}
    expected = {"jti": jti, "htm": "POST", "htu": "https://a/b", "iat": max(0, int(now_s))}
    assert json.loads(signed.payload) == expected | ({} if nonce is None else {"nonce": nonce})
    assert "d" not in signed.headers()["jwk"]
    assert len(proof) < 2_048 or len(jti) + len(nonce or "") > 500
