"""What a request may do: bring no more bytes than the limit, and let the browser ask nobody but this server."""

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


class Guard:
    """An ASGI application around the page's own.

    Args:
        app: the page's.
        uploads: where the files go.
        most: bytes of all files of one upload.
    """

    def __init__(self, app, uploads: Uploads, most: int):
        self.app, self.uploads, self.most = app, uploads, most

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        answer = _with_headers(send)
        refused = self._refused(scope["path"].endswith("/upload"), dict(scope["headers"]))
        if refused is not None:
            return await _refuse(receive, answer, *refused)
        return await self.app(scope, receive, answer)

    def _refused(self, upload, headers):
        """Status and reason, where a request is not taken: its length has to be said beforehand, and is kept to."""
        if b"transfer-encoding" in headers:
            return 411, "The length of the request is missing."
        length, most = int(headers.get(b"content-length", 0)), self.most if upload else 0
        if length > most + MARGIN:
            return 413, f"Too large: together the files may have {most / (1 << 20):g} MB."
        if upload and self.uploads.full(length):
            return 503, "Too many files wait to be checked; please try again in some minutes."
        return None


def _with_headers(send):
    async def answer(message):
        if message["type"] == "http.response.start":
            message = message | {"headers": [*message.get("headers", ()), *HEADERS]}
        await send(message)

    return answer


async def _refuse(receive, send, status, reason):
    """Answer once the whole request has come, and is thrown away: a browser shows no answer before that."""
    while (message := await receive()).get("more_body"):
        pass
    if message["type"] == "http.disconnect":
        return
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": reason.encode()})
