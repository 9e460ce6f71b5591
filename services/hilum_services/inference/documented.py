"""What every address may answer beside what was asked for: for the OpenAPI document."""

from typing import Any

from pydantic import BaseModel

Responses = dict[int | str, dict[str, Any]]


class Refusal(BaseModel):
    """Every refusal."""

    error: str


_SENTENCES = {
    400: "The body was cut short, or the request is not one that is understood here.",
    401: "A key or token is missing or wrong.",
    403: "The key or token may not do that.",
    404: "There is no such thing, or it is not this key's.",
    408: "The body did not come in time.",
    409: "The job is not done.",
    413: "The body is too long.",
    422: "The image, or what is asked of it, cannot be answered; the sentence says why.",
    429: "Too many requests; Retry-After says when.",
    500: "The service's own fault; its log says more.",
    503: "Too many images wait, store and ledger cannot be read, or the issuer of tokens does not answer.",
}


def refusals(*statuses: int) -> Responses:
    """These, and those that any address may answer."""
    return {
        status: {"description": _SENTENCES[status], "model": Refusal}
        for status in sorted({400, 401, 403, 429, 500, 503, *statuses})
    }


def files(*media_types: str) -> Responses:
    """A good answer that is one of these kinds of file."""
    content = {kind: {"schema": {"type": "string", "format": "binary"}} for kind in media_types}
    return {200: {"description": "The answer.", "content": content}}
