"""Who asks for a page, and whether a form comes from one of our pages.

Responsible for: cookies, the session behind them, the checks against forged requests (Origin, Sec-Fetch-Site, CSRF
token), reading forms. Not for: sessions as such (``owner_sessions``).

Cookies are SameSite=Lax, not Strict: the link to ``/activate`` comes from chats and mails, and must find its owner
signed in. All that changes anything is POST, which Lax keeps from other sites.
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass, field
from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import Depends
from starlette.requests import Request

from appliance.errors import Secret
from appliance.provisioning import database, owner_sessions
from appliance.provisioning.pages.trouble import SeeOther, Trouble
from appliance.provisioning.service import CurrentService, Service

_FIELDS_AT_MOST = 40
_RETURN_LIFE_S = 1_800
# Where a sign-in may lead: only to pages of ours, spelled out, so that no link can lead elsewhere.
_RETURN = re.compile(
    r"/(?:activate(?:\?user_code=[0-9-]{1,13})?|(?:devices|usage|tokens|profiles|audit)(?:/\w{1,64})?)", re.ASCII
)


@dataclass(frozen=True)
class Visit:
    """One request of the signed-in owner_sessions. ``form`` is empty but for POST."""

    request: Request
    service: Service
    session: owner_sessions.Session
    now_ms: int
    form: dict[str, str] = field(default_factory=dict)

    @property
    def room(self) -> str:
        """The part of the page this is, for the navigation."""
        return self.request.url.path.split("/")[1]

    def query(self, name: str, at_most: int = 64) -> str:
        """A word of the query, fit for the database; empty when left out."""
        text = self.request.query_params.get(name, "")[:at_most]
        return "".join(character for character in text if character.isprintable())


def cookie(service: Service, request: Request, name: str, value: str, life_s: int) -> tuple[str, str]:
    """The header that sets a cookie, or with no life takes it away."""
    secure = "; Secure" if _encrypted(service, request) else ""
    text = f"{_name(service, request, name)}={value}; Path=/; Max-Age={life_s}; HttpOnly; SameSite=Lax{secure}"
    return "set-cookie", text


def session_cookie(service: Service, request: Request, secret: Secret | str, life_s: int) -> tuple[str, str]:
    """The header that signs a browser in, or with no life out."""
    return cookie(service, request, "owner", str(secret), life_s)


def session_of(service: Service, request: Request) -> str:
    """The secret that the browser shows, empty if none."""
    return request.cookies.get(_name(service, request, "owner"), "")[:64]


def take_return(service: Service, request: Request) -> str:
    """Where the owner wanted to go before the sign-in; the list of devices unless said."""
    wanted = request.cookies.get(_name(service, request, "return"), "")
    return wanted if _RETURN.fullmatch(wanted) else "/devices"


def check_origin(service: Service, request: Request) -> None:
    """Passes a form that was sent from one of our own pages.

    Raises:
        Trouble: it was not, as far as the browser says.
    """
    site = request.headers.get("sec-fetch-site", "same-origin")
    origin = request.headers.get("origin")
    ours = {service.issuer(request), f"{request.url.scheme}://{request.url.netloc}"}
    if site != "same-origin" or (origin is not None and origin not in ours):
        raise Trouble(
            403,
            "This was sent from another site",
            "Nothing was changed. Open the page yourself and do it there. Behind a proxy, server.toml has to name "
            "the address in “issuer”.",
        )


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a form.

    Raises:
        Trouble: it is no form, or holds what no browser sends.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise Trouble(415, "This is not a form", "Use the pages of this service.")
    try:
        body = (await request.body()).decode("ascii")
        pairs = parse_qsl(body, keep_blank_values=True, max_num_fields=_FIELDS_AT_MOST)
    except ValueError:
        raise Trouble(400, "The form cannot be read", "Go back, reload the page and try again.") from None
    if any("\0" in value for _, value in pairs):
        raise Trouble(400, "The form holds a character that cannot be kept", "Go back and take it out.")
    return {name: value.replace("\r\n", "\n") for name, value in pairs}


async def _session(service: Service, request: Request, now_ms: int) -> owner_sessions.Session | None:
    secret = session_of(service, request)
    if not secret:
        return None
    async with database.unsynced(service.engine).begin() as connection:
        session = await owner_sessions.find_session(connection, secret, now_ms)
    request.state.signed_in = session is not None
    if session is not None and session.renewed:
        request.state.renewed_cookie = session_cookie(service, request, secret, owner_sessions.LIFE_S)
    return session


async def reading(request: Request, service: CurrentService) -> Visit:
    """The owner's visit to a page that only shows.

    Raises:
        SeeOther: to the sign-in, for everybody else; it leads back here.
    """
    now_ms = service.now_ms()
    session = await _session(service, request, now_ms)
    if session is None:
        wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        back = [cookie(service, request, "return", wanted, _RETURN_LIFE_S)] if _RETURN.fullmatch(wanted) else []
        raise SeeOther("/sign-in", *back)
    return Visit(request, service, session, now_ms)


async def writing(request: Request, service: CurrentService) -> Visit:
    """The owner's visit with a form, checked.

    Raises:
        Trouble: not signed in, or a form that is not from our pages.
    """
    check_origin(service, request)
    now_ms = service.now_ms()
    session = await _session(service, request, now_ms)
    if session is None:
        remedy = "Nothing was changed. Sign in with a new link (voice-provisioning sign-in), then do it again."
        raise Trouble(401, "You are signed out", remedy)
    form = await read_form(request)
    if not secrets_equal(form.pop("csrf", ""), session.csrf_token):
        raise Trouble(403, "This form is out of date", "Nothing was changed. Go back, reload the page and try again.")
    return Visit(request, service, session, now_ms, form)


def secrets_equal(one: str, other: str) -> bool:
    """Whether they are the same, in a time that does not tell."""
    return hmac.compare_digest(one.encode(), other.encode())


def _encrypted(service: Service, request: Request) -> bool:
    return service.issuer(request).startswith("https:")


def _name(service: Service, request: Request, name: str) -> str:
    # __Host-: browsers take it only encrypted, for this host and no other.
    return f"__Host-voice-{name}" if _encrypted(service, request) else f"voice-{name}"


Reading = Annotated[Visit, Depends(reading)]
Writing = Annotated[Visit, Depends(writing)]
