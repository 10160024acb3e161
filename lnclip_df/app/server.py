"""Serve the page: one process, one detector, uploads in a folder that is deleted at the end."""

import asyncio
import errno
import logging
import os
import socket
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lnclip_df.app.middleware import SecurityMiddleware
from lnclip_df.app.uploads import Uploads, upload_folder
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.scoring.scorer import Scorer

MAX_UPLOADS = 10  # of the largest size, at once
SHUTDOWN_TIMEOUT = 1  # seconds; every open page keeps a connection
LOCAL_HOSTS = ("127.0.0.1", "::1")
CLIENT_VARIABLES = {"all_proxy", "http_proxy", "https_proxy", "no_proxy", "ssl_cert_file", "ssl_cert_dir"}
STYLE = Path(__file__).with_name("templates") / "style.css"
FONTS = ["system-ui", "Segoe UI", "Roboto", "DejaVu Sans", "sans-serif"]  # none from the network

logger = logging.getLogger(__name__)


def listen(host: str, port: int) -> socket.socket:
    """Bind an address, before anything slow is done; port 0 takes any free one.

    Raises:
        LNCLIPError: Gradio is missing, or the address cannot be bound.
    """
    if find_spec("gradio") is None:
        raise LNCLIPError("the page needs Gradio: pip install 'lnclip-df[app]'")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        number: Any = getattr(error, "errno", None)
        reason = os.strerror(number) if number in errno.errorcode else error
        raise LNCLIPError(f"cannot serve at {host}, port {port}: {reason}; choose another host or port") from error


def serve(scorer: Scorer, where: socket.socket, *, max_mb: float = 200, max_seconds: float = 300):
    """Serve the page until Ctrl-C, or SIGTERM where the program handles that; leave no file. For the main thread.

    Args:
        scorer: see :func:`lnclip_df.load`.
        where: see :func:`listen`.
        max_mb: megabytes (2²⁰ bytes) of one upload.
        max_seconds: of a video.

    Raises:
        LNCLIPError: a limit is not above 0, or the folder for uploads cannot be created.
    """
    import uvicorn

    for name, limit in (("max_mb", max_mb), ("max_seconds", max_seconds)):
        if not limit > 0:
            raise LNCLIPError(f"{name}: {limit:g} received; accepted is a number above 0")
    host, port = where.getsockname()[:2]
    max_bytes = int(max_mb * (1 << 20))
    with where, upload_folder(MAX_UPLOADS * max_bytes) as uploads:
        hosts = frozenset({*LOCAL_HOSTS, "localhost", "[::1]"}) if host in LOCAL_HOSTS else None
        app = make_app(scorer, uploads, max_bytes=max_bytes, max_seconds=max_seconds, hosts=hosts)
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=SHUTDOWN_TIMEOUT)
        if host not in LOCAL_HOSTS:
            logger.warning("everybody who reaches this machine can use the page; it has no login")
        logger.info("http://%s:%d/ (Ctrl-C ends it)", f"[{host}]" if ":" in host else host, port)
        logging.getLogger("uvicorn.error").addFilter(_is_not_cancelled_request)
        uvicorn.Server(config).run(sockets=[where])


def make_app(
    scorer: Scorer, uploads: Uploads, *, max_bytes: int, max_seconds: float, hosts: frozenset[str] | None = None
) -> SecurityMiddleware:
    """The page as an ASGI application; ``hosts`` as for ``SecurityMiddleware``.

    It tells Gradio the folder of uploads by an environment variable, and removes those of network clients: Gradio makes
    such clients when it starts, and ends on a proxy or a certificate that they cannot use. The page needs no network.
    """
    os.environ["GRADIO_TEMP_DIR"] = str(uploads.folder)
    for name in [name for name in os.environ if name.lower() in CLIENT_VARIABLES]:
        del os.environ[name]
    import gradio
    from fastapi import FastAPI

    from lnclip_df.app.page import build

    page = build(scorer, uploads, max_bytes=max_bytes, max_seconds=max_seconds)
    theme = gradio.themes.Default(primary_hue="blue", font=FONTS, font_mono=["ui-monospace", "monospace"])
    theme.set(button_primary_background_fill="*primary_600", button_primary_background_fill_hover="*primary_700")
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    gradio.mount_gradio_app(
        app, page, path="/", max_file_size=max_bytes, theme=theme, css=STYLE.read_text(), footer_links=[],
        run_history=False, ssr_mode=False, pwa=False, mcp_server=False, enable_monitoring=False, show_error=False,
    )  # fmt: skip
    return SecurityMiddleware(app, uploads, max_bytes, hosts)


def _is_not_cancelled_request(record):
    """False for the log records of pages that are open when the server ends."""
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))
