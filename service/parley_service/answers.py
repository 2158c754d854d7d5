"""Problems as HTTP answers: the one middleware through which every refusal of a service becomes `application/problem+json`.

Also what aiohttp refuses by itself (no such address, a method that is not taken, a body beyond the limit) is answered as a problem. An
exception of none of our trees is a bug and passes: aiohttp logs it with its traceback and answers a bare 500.
"""

from __future__ import annotations

from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler
from parley_protocol.problems import CONTENT_TYPE, Problem, Slug

from parley_service.problems import KNOWN, problem_of

_OF_STATUS: Final = {
    400: Slug.MALFORMED_REQUEST,
    403: Slug.NOT_ENTITLED,
    404: Slug.NOT_FOUND,
    405: Slug.METHOD_NOT_ALLOWED,
    413: Slug.TOO_LARGE,
    503: Slug.UNAVAILABLE,
}


def problem_response(problem: Problem) -> web.Response:
    """Return the answer that carries `problem`."""
    headers = {"WWW-Authenticate": "Bearer"} if problem.status == web.HTTPUnauthorized.status_code else None  # RFC 9110, 15.5.2
    return web.Response(body=problem.dump(), status=problem.status, content_type=CONTENT_TYPE, headers=headers)


@web.middleware
async def problem_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer what `handler` raises as a problem, as others may see it."""
    try:
        return await handler(request)
    except KNOWN as error:
        return problem_response(problem_of(error, outward=True))
    except web.HTTPException as error:
        slug = _OF_STATUS.get(error.status)
        if slug is None:
            raise
        return problem_response(Problem(slug, f"{request.method} {request.path[:200]}", got=error.reason))
