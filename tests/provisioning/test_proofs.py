"""The DPoP verifier and the nonces by themselves: nothing forged, changed or made up passes."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.credentials import dpop
from appliance.credentials.identity import Identity
from appliance.provisioning import nonces, proofs
from appliance.provisioning.problems import RefusalError

URL = "http://127.0.0.1:8787/v1/sessions"


def encode(content: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()


def forgeries(good: str, other: str) -> list[str]:
    """Proofs that must not pass, made from two that do: ours and another device's."""
    header, claims, signature = good.split(".")
    others = other.split(".")
    decoded = json.loads(base64.urlsafe_b64decode(header + "=="))
    return [
        "",
        "..",
        "a.b.c",
        "é" * 10,
        good + ".",
        f"{header}.{claims}.",
        f"{header}.{claims}.{others[2]}",
        f"{others[0]}.{claims}.{signature}",
        f"{header}.{encode({'jti': 'x', 'htm': 'POST', 'htu': URL, 'iat': 0})}.{signature}",
        f"{encode({**decoded, 'alg': 'none'})}.{claims}.",
        f"{encode({**decoded, 'alg': 'HS256'})}.{claims}.{signature}",
        f"{encode({**decoded, 'typ': 'JWT'})}.{claims}.{signature}",
        f"{encode({**decoded, 'crit': ['x']})}.{claims}.{signature}",
        f"{encode({**decoded, 'jwk': {**decoded['jwk'], 'd': 'AAAA'}})}.{claims}.{signature}",
        f"{encode({**decoded, 'jwk': {**decoded['jwk'], 'x': 'A' * 43}})}.{claims}.{signature}",
        f"{encode({**decoded, 'jwk': {**decoded['jwk'], 'x': ''}})}.{claims}.{signature}",
        f"{encode({**decoded, 'jwk': {'kty': 'oct', 'k': 'AAAA'}})}.{claims}.{signature}",
        f"{encode(['alg'])}.{claims}.{signature}",
        f"{encode(7)}.{claims}.{signature}",
        good + "A" * proofs.PROOF_AT_MOST,
    ]


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return Identity.load_or_create(tmp_path_factory.mktemp("device"))


def good_proof(identity: Identity, jti: str = "one") -> str:
    return dpop.proof(identity, method="POST", url=URL, now_s=0, jti=jti, nonce="n")


def test_forged_proofs(identity: Identity, tmp_path: Path) -> None:
    good = good_proof(identity)
    assert proofs.verify([good], method="POST", url=URL).thumbprint == identity.thumbprint
    for forged in forgeries(good, good_proof(Identity.load_or_create(tmp_path))):
        with pytest.raises(RefusalError) as refused:
            proofs.verify([forged], method="POST", url=URL)
        assert refused.value.code == "invalid_dpop_proof"
    for several in ([], [good, good]):
        with pytest.raises(RefusalError):
            proofs.verify(several, method="POST", url=URL)


@given(position=st.integers(0, 10_000), character=st.characters(max_codepoint=0x17F))
@settings(max_examples=150, deadline=None)
def test_no_changed_character_passes(identity: Identity, position: int, character: str) -> None:
    good = good_proof(identity)
    position %= len(good)
    changed = good[:position] + character + good[position + 1 :]
    try:
        same = proofs.verify([changed], method="POST", url=URL)
    except RefusalError:
        return
    # Base64's last character has bits to spare: what decodes to the same bytes is the same proof, jti and all.
    assert same == proofs.verify([good], method="POST", url=URL)


@given(
    claims=st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: st.dictionaries(
            st.sampled_from(["jti", "htm", "htu", "iat", "nonce", "ath"]) | st.text(), inner, max_size=6
        ),
    )
)
@settings(max_examples=150, deadline=None)
def test_any_signed_nonsense_is_refused_and_nothing_else_escapes(identity: Identity, claims: object) -> None:
    header = encode({"typ": "dpop+jwt", "alg": "ES256", "jwk": identity.public_jwk})
    signed = f"{header}.{encode(claims)}"
    signature = base64.urlsafe_b64encode(identity.sign(signed.encode())).rstrip(b"=").decode()
    with pytest.raises(RefusalError):
        proofs.verify([f"{signed}.{signature}"], method="POST", url=URL)


@given(nonce=st.text() | st.binary().map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
def test_no_made_up_nonce_is_accepted(nonce: str) -> None:
    assert not nonces.accepts(b"secret", "http://a", 1e9, nonce)


@given(now_s=st.floats(0, 1e11), later_s=st.floats(0, 300))
def test_a_nonce_is_good_for_a_window_and_at_its_own_address(now_s: float, later_s: float) -> None:
    nonce = nonces.issue(b"secret", "http://a", now_s)
    assert nonces.accepts(b"secret", "http://a", now_s + later_s, nonce)
    assert not nonces.accepts(b"secret", "http://a", now_s + 601, nonce)
    assert not nonces.accepts(b"secret", "http://b", now_s, nonce)
    assert not nonces.accepts(b"other", "http://a", now_s, nonce)


def test_addresses_are_compared_as_the_standard_says(identity: Identity) -> None:
    proof = dpop.proof(identity, method="POST", url="HTTPS://Voice.example:443/v1/x?q=1#f", now_s=0, jti="j")
    assert proofs.verify([proof], method="POST", url="https://voice.example/v1/x")
    for other in ("https://voice.example/v1/X", "http://voice.example/v1/x", "https://voice.example:444/v1/x"):
        with pytest.raises(RefusalError):
            proofs.verify([proof], method="POST", url=other)


def judged(proof: str) -> dict[str, object] | None:
    """What another library makes of the signature: the claims, or None."""
    try:
        key = jwt.PyJWK.from_dict(jwt.get_unverified_header(proof)["jwk"], algorithm="ES256")
        claims: dict[str, object] = jwt.decode(
            proof, key, algorithms=["ES256"], options={"verify_iat": False, "verify_aud": False}
        )
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, AttributeError, UnicodeError):
        return None
    return claims


def accepted(proof: str) -> bool:
    try:
        proofs.verify([proof], method="POST", url=URL)
    except RefusalError:
        return False
    return True


@given(jti=st.text(min_size=1, max_size=64), nonce=st.text(max_size=64), now_s=st.floats(0, 1e10))
@settings(max_examples=80, deadline=None)
def test_what_we_accept_another_library_verifies(identity: Identity, jti: str, nonce: str, now_s: float) -> None:
    proof = dpop.proof(identity, method="POST", url=URL, now_s=now_s, jti=jti, nonce=nonce)
    claims = judged(proof)
    assert claims is not None
    assert (claims["jti"], claims["nonce"]) == (jti, nonce)
    assert accepted(proof) == (len(jti) <= 128 and len(proof) <= proofs.PROOF_AT_MOST)


@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_what_another_library_refuses_we_refuse(identity: Identity, data: st.DataObject) -> None:
    proof = good_proof(identity)
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, len(proof) - 1))
        length = data.draw(st.integers(0, 3))
        inserted = data.draw(st.text("ABCabc019-_=.+/", max_size=3))
        proof = proof[:position] + inserted + proof[position + length :]
    if accepted(proof):
        assert judged(proof) == judged(good_proof(identity))  # the same claims under the same key, or nothing


@given(claims=st.dictionaries(st.sampled_from(["jti", "htm", "htu", "iat", "nonce"]), st.text() | st.integers()))
@settings(max_examples=80, deadline=None)
def test_a_proof_of_another_library_passes_if_its_claims_do(identity: Identity, claims: dict[str, object]) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    public = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key()))
    headers = {"typ": "dpop+jwt", "jwk": public}
    good = {"jti": "j", "htm": "POST", "htu": URL, "iat": 0, "nonce": "n"}
    assert accepted(jwt.encode(good, key, algorithm="ES256", headers=headers))
    assert not accepted(jwt.encode(good, key, algorithm="ES256", headers={**headers, "jwk": identity.public_jwk}))
    whole = {**good, **claims}
    fits = (
        isinstance(whole["jti"], str)
        and 0 < len(whole["jti"]) <= 128
        and (whole["htm"], whole["htu"]) == ("POST", URL)
        and isinstance(whole["iat"], int)
        and isinstance(whole["nonce"], str)
    )
    signed = f"{encode({**headers, 'alg': 'ES256'})}.{encode(whole)}".encode()
    signature = jwt.algorithms.ECAlgorithm(jwt.algorithms.ECAlgorithm.SHA256).sign(signed, key)
    proof = f"{signed.decode()}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"
    assert accepted(proof) == (fits and len(proof) <= proofs.PROOF_AT_MOST)
