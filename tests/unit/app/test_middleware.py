"""Uploads are refused when the folder is full."""

import asyncio

import pytest

from lnclip_df.app.middleware import SecurityMiddleware
from lnclip_df.app.uploads import Uploads

httpx = pytest.importorskip("httpx")


def test_there_is_room_for_so_many_uploads_and_no_more(tmp_path):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"taken"})

    (tmp_path / "waiting").write_bytes(b"0" * 80)
    middleware = SecurityMiddleware(app, Uploads(tmp_path, 100), 100)

    async def answers():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(middleware), base_url="http://x") as client:
            return [(await client.post("/upload", content=b"0" * size)).status_code for size in (20, 21)]

    assert asyncio.run(answers()) == [200, 503]
