"""ASGI middleware of the page: limits on requests, and headers that keep the browser on this server."""

import json
import secrets
from contextlib import suppress
from http.cookies import CookieError, SimpleCookie

from lnclip_df.app.uploads import NO_ROOM, Uploads

MARGIN = 1 << 20  # bytes of a request beside the files: the form around them, or the page's messages
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; media-src 'self' blob:; connect-src 'self'; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)


PUBLIC = b"/lnclip-uploads"  # what visitors see instead of the path of the folder of uploads
VISITOR = "lnclip-visitor"  # the cookie that tells visitors apart


class SecurityMiddleware:
    """Refuses what no page sends, keeps the server's paths to itself, and adds security headers to every response.

    Args:
        max_bytes: what an upload may have, all its files together.
        hosts: names by which the server may be asked; None accepts any. A page of another name, which a browser was
            made to resolve to this machine, is refused.
    """

    def __init__(self, app, uploads: Uploads, max_bytes: int, hosts: frozenset[str] | None = None):
        self.app, self.uploads, self.max_bytes, self.hosts = app, uploads, max_bytes, hosts
        self.private = str(uploads.folder).encode()

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        headers, is_upload = dict(scope["headers"]), scope["path"].endswith("/upload")
        visitor = _cookie(headers.get(b"cookie", b"").decode("latin-1"))
        cookie = f"{VISITOR}={visitor or secrets.token_urlsafe(24)}; Path=/; HttpOnly; SameSite=Strict"
        more = HEADERS if visitor else (*HEADERS, (b"set-cookie", cookie.encode()))

        async def send_with_headers(message):
            if message["type"] == "http.response.start":
                message = message | {"headers": [*message.get("headers", ()), *more]}
            await send(message)

        refusal = self._refusal(scope["path"], is_upload, headers, visitor)
        if refusal is not None:
            return await _refuse(receive, send_with_headers, *refusal)
        if "/gradio_api/" not in scope["path"]:
            return await self.app(scope, receive, send_with_headers)
        scope = scope | {"headers": [pair for pair in scope["headers"] if pair[0] != b"accept-encoding"]}
        if not is_upload and scope["method"] == "POST":
            receive = await self._with_private_paths(scope, receive)
        await self.app(scope, receive, self._with_public_paths(send_with_headers, visitor if is_upload else None))

    def _refusal(self, path, is_upload, headers, visitor):
        """Status and reason if a request is refused, else None. The server enforces the length that is declared."""
        if self.hosts is not None and _name_of(headers.get(b"host", b"").decode("latin-1")) not in self.hosts:
            return 421, "This server answers to its own name only."
        if "/file=" in path or "/file/" in path:
            return 404, "Uploads cannot be fetched."
        if b"transfer-encoding" in headers:
            return 411, "The length of the request is missing."
        length = headers.get(b"content-length", b"0")
        limit = self.max_bytes if is_upload else 0
        if not length.isdigit() or int(length[:20]) > limit + MARGIN:
            return 413, f"Too large: together the files may have {limit / (1 << 20):g} MB."
        if is_upload and visitor is None:
            return 403, "Cookies are needed, to keep the files of visitors apart."
        if is_upload and not self.uploads.has_room(int(length)):
            return 503, NO_ROOM
        return None

    async def _with_private_paths(self, scope, receive):
        """The request's body with the true paths of uploads, as one message."""
        body, message = b"", {"more_body": True}
        while message.get("more_body"):
            message = await receive()
            body += message.get("body", b"")
        body = body.replace(PUBLIC + b"/", self.private + b"/")
        length = (b"content-length", str(len(body)).encode())
        scope["headers"] = [*(pair for pair in scope["headers"] if pair[0] != b"content-length"), length]
        messages = [message | {"body": body}] if message["type"] == "http.request" else [message]
        return lambda: _next(messages, receive)

    def _with_public_paths(self, send, visitor):
        """A ``send`` that hides the folder in every body; the files of an upload belong to ``visitor`` from then on."""
        start = None

        async def rewritten(message):
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
                return
            body = message.get("body", b"")
            if visitor is not None:
                self.uploads.own(visitor, _paths_in(body))
            body = body.replace(self.private, PUBLIC)
            if start is not None:
                length = [] if message.get("more_body") else [(b"content-length", str(len(body)).encode())]
                kept = [pair for pair in start.get("headers", ()) if pair[0].lower() != b"content-length"]
                await send(start | {"headers": kept + length})
                start = None
            await send(message | {"body": body})

        return rewritten


async def _next(messages, receive):
    return messages.pop(0) if messages else await receive()


def _paths_in(body):
    """The paths that an upload's answer names; none where it is an error."""
    try:
        found = json.loads(body)
    except ValueError:
        return []
    return [path for path in found if isinstance(path, str)] if isinstance(found, list) else []


def _cookie(header):
    """The visitor that a request's cookies name, or None."""
    cookies = SimpleCookie()
    with suppress(CookieError):
        cookies.load(header)
    return cookies[VISITOR].value if VISITOR in cookies else None


def _name_of(host):
    """The name in a Host header, without the port."""
    return (host[: host.find("]") + 1] if host.startswith("[") else host.partition(":")[0]).lower()


async def _refuse(receive, send, status, reason):
    """Answer after the whole request was received and dropped: a browser shows no earlier answer."""
    while (message := await receive()).get("more_body"):
        pass
    if message["type"] == "http.disconnect":
        return
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": reason.encode()})
