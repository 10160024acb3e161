"""Uploads are refused when the folder is full; visitors are told apart, and see no path of the server."""

import asyncio
import json

import pytest

from lnclip_df.app.middleware import PUBLIC, VISITOR, SecurityMiddleware
from lnclip_df.app.uploads import Uploads

httpx = pytest.importorskip("httpx")
ME = {VISITOR: "me"}


def test_there_is_room_for_so_many_uploads_and_no_more(tmp_path):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"taken"})

    (tmp_path / "waiting").write_bytes(b"0" * 80)
    middleware = SecurityMiddleware(app, Uploads(tmp_path, 100), 100)

    async def answers():
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(middleware), base_url="http://x", cookies=ME
        ) as client:
            return [(await client.post("/upload", content=b"0" * size)).status_code for size in (20, 21)]

    assert asyncio.run(answers()) == [200, 503]


def page_of(uploads):
    """A page that stores an upload and says what it was sent, as Gradio does."""

    async def app(scope, receive, send):
        body = (await receive())["body"]
        if scope["path"].endswith("/upload"):
            path = uploads.folder / "sha" / "x.mp4"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(body)
            body = json.dumps([str(path)]).encode()
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


def ask(middleware, *requests, cookies=ME, host="localhost:7860"):
    async def answers():
        transport = httpx.ASGITransport(middleware)
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}", cookies=cookies) as client:
            return [await client.request(*request[:2], content=request[2]) for request in requests]

    return asyncio.run(answers())


def test_visitors_see_no_path_of_the_server_and_own_what_they_upload(tmp_path):
    uploads = Uploads(tmp_path, 100)
    middleware = SecurityMiddleware(page_of(uploads), uploads, 100)
    (answer,) = ask(middleware, ("POST", "/gradio_api/upload", b"0"))
    (shown,) = answer.json()
    assert shown == f"{PUBLIC.decode()}/sha/x.mp4" and str(tmp_path) not in answer.text
    (answer,) = ask(middleware, ("POST", "/gradio_api/queue/join", json.dumps([shown]).encode()))
    assert answer.json() == [shown]
    path = tmp_path / "sha" / "x.mp4"
    assert uploads.owned("me", [path]) == [path] and uploads.owned("you", [path]) == uploads.owned(None, [path]) == []


def test_an_upload_needs_a_visitor_who_gets_a_cookie_that_scripts_cannot_read(tmp_path):
    uploads = Uploads(tmp_path, 100)
    middleware = SecurityMiddleware(page_of(uploads), uploads, 100)
    (refused,) = ask(middleware, ("POST", "/gradio_api/upload", b"0"), cookies=None)
    assert refused.status_code == 403 and not list(tmp_path.iterdir())
    for answer in ask(middleware, ("GET", "/", b""), cookies=None):
        assert answer.headers["set-cookie"].endswith("; Path=/; HttpOnly; SameSite=Strict")
    assert "set-cookie" not in ask(middleware, ("GET", "/", b""))[0].headers


def test_uploads_cannot_be_fetched(tmp_path):
    uploads = Uploads(tmp_path, 100)
    middleware = SecurityMiddleware(page_of(uploads), uploads, 100)
    paths = (f"/gradio_api/file={PUBLIC.decode()}/sha/x.mp4", f"/gradio_api/file={tmp_path}/x", "/gradio_api/file/x")
    assert {answer.status_code for answer in ask(middleware, *(("GET", path, b"") for path in paths))} == {404}


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:7860", 200),
        ("127.0.0.1", 200),
        ("[::1]:7860", 200),
        ("evil.example:7860", 421),
        ("127.0.0.1.a", 421),
    ],
)
def test_a_server_of_this_machine_answers_to_its_own_name_only(tmp_path, host, status):
    uploads = Uploads(tmp_path, 100)
    names = frozenset({"127.0.0.1", "::1", "localhost", "[::1]"})
    middleware = SecurityMiddleware(page_of(uploads), uploads, 100, names)
    assert ask(middleware, ("GET", "/", b""), host=host)[0].status_code == status
