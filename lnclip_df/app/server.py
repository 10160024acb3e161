"""Serve the page: one process, one detector, uploads in a folder that is deleted at the end."""

import asyncio
import errno
import logging
import os
import signal
import socket
from contextlib import contextmanager
from importlib.util import find_spec

from lnclip_df.app.guard import Guard
from lnclip_df.app.uploads import Uploads, upload_folder
from lnclip_df.core.errors import LNCLIPError

WAITING = 10  # uploads of the largest size that there is room for at once
PATIENCE = 1  # seconds for open connections when the server ends: every open page has one
HERE = ("127.0.0.1", "::1")

logger = logging.getLogger(__name__)


def listen(host: str, port: int) -> socket.socket:
    """Take an address, before anything slow is done.

    Args:
        host: a name or an IP address of this machine.
        port: 0 takes any that is free.

    Raises:
        LNCLIPError: Gradio is absent, or the address cannot be had.
    """
    if find_spec("gradio") is None:
        raise LNCLIPError("the page needs Gradio: pip install 'lnclip-df[app]'")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        reason = os.strerror(error.errno) if getattr(error, "errno", 0) in errno.errorcode else error
        raise LNCLIPError(f"cannot serve at {host}, port {port}: {reason}; name others with --host, --port") from error


def serve(scorer, where: socket.socket, *, max_mb: float = 200, max_seconds: float = 300):
    """Serve the page until Ctrl-C or SIGTERM, and leave no file behind; to be called in the main thread.

    Args:
        scorer: see :func:`lnclip_df.load`.
        where: see :func:`listen`.
        max_mb: megabytes (2²⁰ bytes) of one upload.
        max_seconds: how long a video may last.

    Raises:
        LNCLIPError: a limit is not above 0, or there is no folder for uploads.
    """
    import uvicorn

    if not (max_mb > 0 and max_seconds > 0):
        raise LNCLIPError(f"--max-mb {max_mb:g}, --max-seconds {max_seconds:g}: both have to be above 0")
    host, port = where.getsockname()[:2]
    most = int(max_mb * (1 << 20))
    with where, _ended_by_sigterm(), upload_folder(WAITING * most) as uploads:
        app = make_app(scorer, uploads, most=most, max_seconds=max_seconds)
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=PATIENCE)
        if host not in HERE:
            logger.warning("everybody who reaches this machine can use the page; it has no login")
        logger.info("http://%s:%d/ (Ctrl-C ends it)", f"[{host}]" if ":" in host else host, port)
        logging.getLogger("uvicorn.error").addFilter(_is_no_closed_page)
        uvicorn.Server(config).run(sockets=[where])


def make_app(scorer, uploads: Uploads, *, most: int, max_seconds: float) -> Guard:
    """The page as an ASGI application.

    Args:
        scorer: see :func:`lnclip_df.load`.
        uploads: where the files go; Gradio is told so by its environment variable.
        most: bytes of one upload.
        max_seconds: how long a video may last.
    """
    os.environ["GRADIO_TEMP_DIR"] = str(uploads.folder)
    import gradio
    from fastapi import FastAPI

    from lnclip_df.app.page import build
    from lnclip_df.app.style import STYLE, theme

    page = build(scorer, uploads, most=most, max_seconds=max_seconds)
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    gradio.mount_gradio_app(
        app, page, path="/", max_file_size=most, theme=theme(), css=STYLE, footer_links=[], run_history=False,
        ssr_mode=False, pwa=False, mcp_server=False, enable_monitoring=False, show_error=False,
    )  # fmt: skip
    return Guard(app, uploads, most)


def _is_no_closed_page(record):
    """Whether a line of the log is about something else than a page that is open when the server ends."""
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


@contextmanager
def _ended_by_sigterm():
    """SIGTERM ends the program as ``sys.exit`` does, so that what it holds is given back."""
    before = signal.signal(signal.SIGTERM, _exit)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _exit(number, _frame):
    raise SystemExit(128 + number)
