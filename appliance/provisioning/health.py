"""``GET /healthz``: whether this replica can do its work, for a load balancer. Says nothing else to strangers."""

from __future__ import annotations

from fastapi import APIRouter
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import PlainTextResponse

from appliance.provisioning.service import CurrentService

router = APIRouter()


@router.get("/healthz", response_class=PlainTextResponse, responses={503: {"description": "the database is away"}})
async def healthz(service: CurrentService) -> PlainTextResponse:
    """200 while the database answers, else 503."""
    try:
        async with service.engine.execution_options(reading=True).begin() as connection:
            await connection.execute(text("SELECT 1"))
    except SQLAlchemyError:
        return PlainTextResponse("the database does not answer\n", 503)
    return PlainTextResponse("ok\n")
