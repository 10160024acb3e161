"""ASGI middleware of the page: limits on requests, and headers that keep the browser on this server."""

from lnclip_df.app.uploads import Uploads

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


class SecurityMiddleware:
    """Refuses requests that are too large, and adds security headers to every response.

    An upload may have ``max_bytes``, all its files together.
    """

    def __init__(self, app, uploads: Uploads, max_bytes: int):
        self.app, self.uploads, self.max_bytes = app, uploads, max_bytes

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return await self.app(scope, receive, send)

        async def send_with_headers(message):
            if message["type"] == "http.response.start":
                message = message | {"headers": [*message.get("headers", ()), *HEADERS]}
            await send(message)

        refusal = self._refusal(scope["path"].endswith("/upload"), dict(scope["headers"]))
        if refusal is not None:
            return await _refuse(receive, send_with_headers, *refusal)
        return await self.app(scope, receive, send_with_headers)

    def _refusal(self, is_upload, headers):
        """Status and reason if a request is refused, else None. The server enforces the length that is declared."""
        if b"transfer-encoding" in headers:
            return 411, "The length of the request is missing."
        length, limit = int(headers.get(b"content-length", 0)), self.max_bytes if is_upload else 0
        if length > limit + MARGIN:
            return 413, f"Too large: together the files may have {limit / (1 << 20):g} MB."
        if is_upload and not self.uploads.has_room(length):
            return 503, "Too many files are waiting to be checked; please try again in a few minutes."
        return None


async def _refuse(receive, send, status, reason):
    """Answer after the whole request was received and dropped: a browser shows no earlier answer."""
    while (message := await receive()).get("more_body"):
        pass
    if message["type"] == "http.disconnect":
        return
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": reason.encode()})
