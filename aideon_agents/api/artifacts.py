"""The files that runs have made: for the user of a run, and for those who have a signed address."""

from __future__ import annotations

from typing import Annotated, Any, cast

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import FileResponse

from aideon_agents.access import signing
from aideon_agents.access.roles import Permission
from aideon_agents.api import problems
from aideon_agents.api.asking import asking, service_of
from aideon_agents.errors import NotFound, shown
from aideon_agents.media.artifacts import Artifacts, artifact_in, beginning_with
from aideon_agents.media.sniffing import ENDINGS, UNKNOWN

router = APIRouter(tags=["artifacts"])

_PERMISSION: Permission = "runs:own"
_HEADS = {
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "private, max-age=3600",
}
_INLINE = ("image/", "audio/", "video/")


async def _may(
    request: Request,
    sha256: str,
    expires: Annotated[int | None, Query(ge=0, le=2**53)] = None,
    signature: Annotated[str | None, Query(max_length=64)] = None,
) -> str | None:
    """The user whose files are given; None: the address is signed, and gives this file to all."""
    service = service_of(request)
    if signing.is_signed(service.settings, service.ledger, sha256, expires, signature):
        return None
    caller = await asking(_PERMISSION).dependency(request)
    return cast("str", caller.user)


cast("Any", _may).permission = _PERMISSION


@router.get(
    "/artifacts/{sha256}",
    responses={200: {"content": {"application/octet-stream": {}}}, **problems.answers(404)},
    response_class=Response,
)
def artifact(
    request: Request,
    sha256: str,
    user: Annotated[str | None, Depends(_may)],
) -> Response:
    """Fetch a file that a run has made. Only the user of a run can, or who has its signed address."""
    service = service_of(request)
    for row in beginning_with(service.ledger, sha256):
        if row["sha256"] != sha256:  # the beginning of a digest names no file here
            break
        if user is not None and service.ledger.find_run(row["run_id"]).user != user:
            continue
        made = artifact_in(row)
        path = Artifacts.of(service.settings, service.ledger).path(made)
        if not path.is_file():
            break
        name = f"{sha256[:12]}.{ENDINGS.get(made.mime, ENDINGS[UNKNOWN])}"
        kind = "inline" if made.mime.startswith(_INLINE) else "attachment"
        heads = {**_HEADS, "Content-Disposition": f'{kind}; filename="{name}"'}
        return FileResponse(path, media_type=made.mime, headers=heads)
    raise NotFound(f"there is no file {shown(sha256)}, or it is another user's")
