"""The published description (OpenAPI): what the framework cannot see of proofs, nonces, tokens and refusals.

Responsible for: `/openapi.json` telling all that a client has to send and may be answered. Not for: doing it.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

_SECURITY = {
    "type": "http",
    "scheme": "DPoP",
    "description": "The device's access token, `Authorization: DPoP vdt_…`, which the proof names (`ath`).",
}
_PROOF = {
    "name": "DPoP",
    "in": "header",
    "required": True,
    "description": "A proof for this request (RFC 9449), ES256, with the nonce of the last answer.",
    "schema": {"type": "string", "maxLength": 2048},
}
_IF_NONE_MATCH = {"name": "If-None-Match", "in": "header", "required": False, "schema": {"type": "string"}}
_ETAG = {"ETag": {"schema": {"type": "string"}}}
_NONCE = {"DPoP-Nonce": {"description": "for the next proof", "schema": {"type": "string"}}}
_REFUSED = {
    "Retry-After": {
        "description": "seconds; with `quota_exceeded`, `too_many_requests`, `overloaded`, `temporarily_unavailable`",
        "schema": {"type": "integer"},
    },
    "WWW-Authenticate": {"description": "with 401", "schema": {"type": "string"}},
}


class Described(FastAPI):
    """The application, with a description that is whole."""

    def openapi(self) -> dict[str, Any]:
        """The description, made once."""
        if self.openapi_schema is None:
            whole = super().openapi()
            whole["components"]["securitySchemes"] = {"dpop": _SECURITY}
            for path, methods in whole["paths"].items():
                if path.startswith(("/oauth/", "/v1/")):
                    for operation in methods.values():
                        _complete(path, operation)
        described: dict[str, Any] = super().openapi()
        return described


def _complete(path: str, operation: dict[str, Any]) -> None:
    resource = path.startswith("/v1/")
    operation["parameters"] = [*operation.get("parameters", []), _PROOF]
    for status, response in operation["responses"].items():
        refused = _REFUSED if status == "default" else {}
        response["headers"] = _NONCE | {name: refused[name] for name in refused if resource or name == "Retry-After"}
    if not resource:
        return
    operation["security"] = [{"dpop": []}]
    refusals = operation["responses"]["default"]
    refusals["content"] = {"application/problem+json": refusals["content"]["application/json"]}
    if "304" in operation["responses"]:
        operation["parameters"].append(_IF_NONE_MATCH)
        for status in ("200", "304"):
            operation["responses"][status]["headers"] |= _ETAG
