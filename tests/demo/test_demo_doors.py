"""``wnet demo`` from outside: which files it opens, whom it answers to, how much it stores, and when that goes.

Everything is asked over HTTP of a page that runs, as any program on this machine or any page in the browser could ask it.
"""

from __future__ import annotations

import asyncio
import http.client
import http.server
import json
import os
import re
import socket
import threading
import time
import types
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

from tests.demo.test_demo import LIMITS, WAIT, BlueScreen, need_gradio, save, scene
from wnet_arch.demo import asgi, gate, server, store
from wnet_arch.demo.asgi import Refused
from wnet_arch.demo.choices import PLAIN, Choices
from wnet_arch.demo.limits import Limits
from wnet_arch.demo.privacy import OwnMachineOnly, check_own
from wnet_arch.demo.store import Full, Store
from wnet_arch.demo.visitors import Visitors
from wnet_arch.errors import DataError, UsageError

BOUNDARY = "so-long"
JSON = {"Content-Type": "application/json"}


def form(name: str, content: bytes, field: str = "files") -> bytes:
    """One part of a form; :data:`END` closes it."""
    disposition = f'Content-Disposition: form-data; name="{field}"; filename="{name}"'
    return f"--{BOUNDARY}\r\n{disposition}\r\nContent-Type: image/png\r\n\r\n".encode() + content + b"\r\n"


END = f"--{BOUNDARY}--\r\n".encode()
MULTIPART = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


class Page:
    """A page that runs, and its folder."""

    def __init__(self, url: str, place: Path, gate):
        self.port, self.place, self.store, self.gradio = urlsplit(url).port, place, gate._store, gate._app.routes[-1].app

    @property
    def files(self) -> list[Path]:
        """All uploads and results, complete or not."""
        parts = (self.place / part for part in ("owned", "arriving"))
        found = [os.path.join(folder, name) for part in parts for folder, _, names in os.walk(part) for name in names]
        return [path for path in map(Path, found) if path.is_file()]  # walk() passes over what goes meanwhile, rglob() does not

    def visitor(self) -> Visitor:
        """A browser that has opened the page."""
        _, headers, _ = Visitor(self, None).ask("GET", "/")
        cookie = headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        return Visitor(self, cookie.partition(";")[0])


class Visitor:
    """Asks the page with one cookie, or with none."""

    def __init__(self, page: Page, cookie: str | None):
        self.page, self.cookie = page, cookie

    def connect(self, method: str, path: str, body=None, headers=(), **options) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("127.0.0.1", self.page.port, timeout=20)
        cookies = {"Cookie": f"other=1; {self.cookie}"} if self.cookie else {}
        connection.request(method, path, body, {**cookies, **dict(headers)}, **options)
        return connection

    def ask(self, *request, **options) -> tuple[int, dict, bytes]:
        connection = self.connect(*request, **options)
        answer = connection.getresponse()
        found = answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        connection.close()
        return found

    def send(self, path: str, message) -> tuple[int, bytes]:
        status, _, body = self.ask("POST", path, json.dumps(message), JSON)
        return status, body

    def upload(self, content: bytes, name: str = "a.png") -> str:
        status, _, body = self.ask("POST", "/gradio_api/upload", form(name, content) + END, MULTIPART)
        assert status == 200, body
        return json.loads(body)[0]

    def run(self, event: tuple[str, str], data: list, session: str) -> dict:
        """Sends an event of the page through the queue and waits for what comes of it."""
        status, body = self.send("/gradio_api/queue/join", {"data": data, "fn_index": self.number(*event), "session_hash": session})
        assert status == 200, body
        _, _, events = self.ask("GET", f"/gradio_api/queue/data?session_hash={session}")
        messages = [json.loads(line[6:]) for line in events.decode().splitlines() if line.startswith("data: ")]
        return next(message for message in messages if message["msg"] == "process_completed")

    def number(self, element: str, event: str) -> int:
        """Of the function that an event calls, or, with ``then``, of the one that follows it."""
        config = json.loads(self.ask("GET", "/config")[2])
        number = next(one["id"] for one in config["components"] if one["props"].get("elem_id") == element)
        event, _, then = event.partition(" ")
        first = next(one["id"] for one in config["dependencies"] if [number, event] in one["targets"])
        return next(one["id"] for one in config["dependencies"] if one["trigger_after"] == first) if then else first

    def choose(self, path: str, session: str) -> dict:
        """What the browser does with a photo that was uploaded."""
        return self.run(("photo", "upload"), [file_data(path), time.time() * 1000, None, None], session)

    def restore(self, session: str) -> dict:
        """And then; or when a setting is changed."""
        settings = [None, PLAIN, 1, 0]
        begun = self.run(("network", "input"), settings, session)
        assert begun["success"]
        return self.run(("network", "input then"), [*settings, begun["output"]["data"][-1]], session)


def file_data(path, **more) -> dict:
    return {"path": path, "orig_name": "a.png", "meta": {"_type": "gradio.FileData"}, **more}


def png(tmp_path: Path, *sides: int) -> bytes:
    return Path(save(tmp_path / "photo.png", scene(*sides))).read_bytes()


@pytest.fixture(scope="module")
def page():
    need_gradio()
    ready, found = threading.Event(), []
    with server.listen(0) as door, server.folder() as place:
        choices = Choices("Bicubic", detector=BlueScreen())
        running = server.make_server(choices, LIMITS, place, door, lambda url: (found.append(url), ready.set()))
        thread = threading.Thread(target=running.run, kwargs={"sockets": [door]}, daemon=True)
        thread.start()
        assert ready.wait(60)
        yield Page(found[0], place, running.config.app.app)
        running.should_exit = True
        thread.join(30)


@pytest.fixture
def fetched(monkeypatch):
    """A server on this machine, and what it was asked for. At the end nobody has looked for the address of any other."""

    class Answers(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

        do_HEAD = do_POST = do_GET

        def log_message(self, *_):
            pass

    def watched(host, *arguments, **options):
        if host not in ("127.0.0.1", "localhost", None):
            names.append(host)
        return resolve(host, *arguments, **options)

    asked: list[str] = []
    names: list[str] = []
    resolve = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", watched)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        asked_at = types.SimpleNamespace(url=f"http://127.0.0.1:{other.server_address[1]}/a.png", asked=asked)
        yield asked_at
        other.shutdown()
    assert names == []


@pytest.fixture
def foreign(page, fetched, tmp_path):
    """Paths that nobody but their owner may open, by what is wrong with them; and the visitor who asks for them."""
    visitor, other = page.visitor(), page.visitor()
    own = Path(visitor.upload(png(tmp_path, 12)))
    secret = Path(save(tmp_path / "secret.png", scene(12)))
    secret.chmod(0o600)
    (own.parent / "link.png").symlink_to(secret)
    (own.parent / "folder").symlink_to(tmp_path)
    (own.parent / "circle.png").symlink_to(own.parent / "circle.png")
    stranger = other.upload(png(tmp_path, 14))
    (own.parent / "stranger.png").symlink_to(stranger)
    (page.place / "arriving" / "half.png").write_bytes(b"half")
    up = "/".join([".."] * len(own.parent.parts))
    paths = {
        "absolute": str(secret),
        "of the system": "/etc/hostname",
        "upwards": f"{own.parent}/{up}{secret}",
        "upwards to a stranger": f"{own.parent.parent}/../{Path(stranger).relative_to(page.place / 'owned')}",
        "a link": str(own.parent / "link.png"),
        "a link upwards": str(own.parent / "folder" / "secret.png"),
        "a link in a circle": str(own.parent / "circle.png"),
        "a link to a stranger": str(own.parent / "stranger.png"),
        "a stranger's": stranger,
        "arriving": str(page.place / "arriving" / "half.png"),
        "a folder": str(own.parent),
        "nothing": str(own.parent / "nothing.png"),
        "relative": os.path.relpath(own),
        "no name": "",
        "zero": f"{own}\0.png",
        "http": fetched.url,
        "https": fetched.url.replace("http:", "https:"),
        "upper case": fetched.url.replace("http:", "HTTP:"),
        "by name": fetched.url.replace("127.0.0.1", "localhost"),
        "of another": "http://photos.example/a.png",
        "that Gradio trusts": "https://huggingface.co/a.png",
        "file": f"file://{secret}",
        "file of one's own": f"file://{own}",
        "data": "data:image/png;base64,iVBORw0KGgo=",
        "number": 7,
        "none": None,
        "list": [str(secret)],
    }
    yield visitor, own, paths
    (page.place / "arriving" / "half.png").unlink()
    assert fetched.asked == []


# Which files


def test_what_was_uploaded_is_restored_and_only_its_owner_gets_it(page, tmp_path):
    visitor, stranger = page.visitor(), page.visitor()
    path = visitor.upload(png(tmp_path, 12), "mine.png")
    assert visitor.choose(path, "page1")["success"]
    done = visitor.restore("page1")
    assert "mine.png</b>: 1 face found" in json.dumps(done)
    made = re.findall(r'"path": "([^"]+mine\.png)"', json.dumps(done))[0]
    for method in ("GET", "HEAD"):
        for one in (path, made):
            assert visitor.ask(method, f"/gradio_api/file={quote(one)}")[0] == 200
            assert stranger.ask(method, f"/gradio_api/file={quote(one)}")[0] == 403
            assert Visitor(page, None).ask(method, f"/gradio_api/file={quote(one)}")[0] == 403
    assert Path(made).read_bytes() == visitor.ask("GET", f"/gradio_api/file={quote(made)}")[2]
    status, body = stranger.send("/gradio_api/queue/join", {"data": [None, PLAIN, 1, 0], "fn_index": 1, "session_hash": "page1"})
    assert (status, b"another page's session" in body) == (403, True)
    for address in ("/gradio_api/queue/data?session_hash=page1", "/gradio_api/heartbeat/page1"):
        assert stranger.ask("GET", address)[0] == 403
    assert stranger.send("/gradio_api/cancel", {"session_hash": "page1", "fn_index": 1, "event_id": "x"})[0] == 403


def test_examples_are_for_all(page):
    pytest.importorskip("skimage", reason="scikit-image is not installed, which brings the example photos")
    examples = sorted((page.place / "examples").iterdir())
    assert examples
    assert page.visitor().ask("GET", f"/gradio_api/file={examples[0]}")[0] == 200
    assert page.visitor().choose(str(examples[0]), "example")["success"]


def test_no_message_names_a_foreign_file(page, foreign):
    visitor, own, paths = foreign
    number = visitor.number("photo", "upload")
    for what, path in paths.items():
        for data in (
            [file_data(path)],
            [[[file_data(path)]]],
            [{"a": {"b": {"path": path}}}],
            [file_data(str(own)), file_data(path)],
        ):
            for message in (
                {"data": data},
                {"data": [file_data(str(own))], "event_data": {"value": data}},
                {"data": [], "x": data},
            ):
                status, body = visitor.send("/gradio_api/queue/join", {**message, "fn_index": number, "session_hash": "page2"})
                assert status == 403, what
                assert b"Only photos that were uploaded here" in body


def test_no_address_beside_a_path_or_instead_of_one_is_fetched(page, fetched, foreign):
    visitor, own, paths = foreign
    for index, path in enumerate(value for value in paths.values() if isinstance(value, str)):
        assert visitor.choose(str(own), f"u{index}")["success"]
        visitor.run(("photo", "upload"), [file_data(str(own), url=path)], f"u{index}")
        shown = json.dumps(visitor.restore(f"u{index}"))
        assert "photo.png</b>" in shown or "a.png</b>: 1 face found" in shown
        for instead in (path, {"url": path, "meta": {"_type": "gradio.FileData"}}, [path]):
            assert not visitor.run(("photo", "upload"), [instead], f"v{index}")["success"]
        assert "secret" not in json.dumps(visitor.restore(f"v{index}"))
    assert fetched.asked == []


def test_a_message_that_two_readers_may_read_differently_is_refused_or_written_anew(page, foreign):
    visitor, own, paths = foreign
    number, secret = visitor.number("photo", "upload"), json.dumps(paths["absolute"])
    twice = f'{{"data": [{{"path": {secret}, "path": {json.dumps(str(own))}, "meta": {{"_type": "gradio.FileData"}}}}]'
    twice += f', "fn_index": {number}, "session_hash": "twice"}}'
    assert visitor.ask("POST", "/gradio_api/queue/join", twice, JSON)[0] == 200
    _, _, events = visitor.ask("GET", "/gradio_api/queue/data?session_hash=twice")
    assert b"secret" not in events
    plain = json.dumps({"data": [], "fn_index": number, "session_hash": "plain"})
    for headers in ({}, {"Content-Type": "text/plain"}, {"Content-Type": "application/x-www-form-urlencoded"}, MULTIPART):
        assert visitor.ask("POST", "/gradio_api/queue/join", plain, headers)[0] == 415
    for wrong in ("", "{", "[" * 100_000, '{"a":' * 40_000):
        assert visitor.ask("POST", "/gradio_api/queue/join", wrong, JSON)[0] in (400, 422)
    assert visitor.ask("POST", "/gradio_api/queue/join", "7", JSON)[0] == 422
    assert visitor.ask("POST", "/gradio_api/queue/join", f'"{"x" * 300_000}"', JSON)[0] == 413
    assert visitor.ask("POST", "/gradio_api/queue/join", iter([b" " * 90_000] * 3), JSON, encode_chunked=True)[0] == 413
    for session in ("", "../x", "a/b", "x" * 65, 7, ["a"], {"a": 1}):
        assert visitor.send("/gradio_api/queue/join", {"data": [], "fn_index": number, "session_hash": session})[0] == 403


def addresses(router, method: str) -> set[str]:
    """What Gradio answers to, with "show" where anything may stand."""
    found = set()
    for one in router.routes:
        if hasattr(one, "original_router"):  # newer versions of FastAPI do not copy the routes of a router
            found |= addresses(one.original_router, method)
        elif method in (getattr(one, "methods", None) or ()):
            found.add(re.sub(r"\{[^}]*\}", "show", one.path))
    return found


def test_what_is_handed_on_is_what_was_checked(tmp_path):
    files, visitors, got = Store(tmp_path, LIMITS), Visitors(), []
    cookie = visitors.new().partition(b";")[0]
    with files.arrival(9) as file:
        own = files.keep(visitors.owner(cookie.decode()), file, "own.png")
    (own.parent / "link.png").symlink_to(own)

    async def app(scope, receive, send):
        got.extend((scope, await receive()))

    async def receive():
        return {"type": "http.request", "body": message.encode()}

    link = f"{own.parent}/../{own.parent.name}/link.png"
    message = f'{{"data": [{{"path": "/etc/hostname", "path": "{link}", "url": "http://a.example", "b": [{{"url": 1, "c": 2}}]}}]}}'
    headers = [(b"cookie", cookie), (b"content-type", b"application/json"), (b"content-length", b"%d" % len(message))]
    scope = {"type": "http", "method": "POST", "path": "/gradio_api/queue/join", "headers": headers}
    asyncio.run(gate.Gate(app, files, visitors, LIMITS)(scope, receive, None))
    assert json.loads(got[1]["body"]) == {"data": [{"path": str(own), "b": [{"c": 2}]}]}
    assert b"hostname" not in got[1]["body"]
    assert [value for name, value in got[0]["headers"] if name == b"content-length"] == [b"%d" % len(got[1]["body"])]


def test_all_else_that_gradio_would_take_is_not_there(page, foreign):
    visitor, _, paths = foreign
    served = {f"/gradio_api/{name}" for name in ("queue/join", "cancel", "reset", "upload")}
    taking = addresses(page.gradio, "POST")
    assert served < taking
    names = {
        f"/gradio_api/{name}"
        for name in ("component_server", "run/show", "call/show", "api/show", "process_recording", "stream/show")
    }
    assert names < taking
    message = {"data": [file_data(paths["absolute"])], "fn_index": 0, "session_hash": "page3", "component_id": 1, "fn_name": "ls"}
    for path in taking - served:
        assert visitor.send(path, message)[0] == 404, path
        assert visitor.ask("POST", path, form("a.png", b"x" * 9) + END, MULTIPART)[0] == 404, path
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"):
        assert visitor.ask(method, "/gradio_api/upload")[0] == 405


def test_the_page_has_no_other_addresses_than_it_needs(page):
    visitor, offered = page.visitor(), addresses(page.gradio, "GET")
    needed = {path for path in offered if path in gate._PLAIN or path.startswith((*gate._FOLDERS, gate._FILE, gate._HEARTBEAT))}
    needed |= {"/gradio_api/queue/data", "/gradio_api/upload_progress"}
    left = offered - needed
    assert {"/gradio_api/proxy=show", "/gradio_api/deep_link", "/gradio_api/file/show", "/gradio_api/runs"} < left
    for path in left:
        assert visitor.ask("GET", path)[0] == 404, path
        assert visitor.ask("HEAD", path)[0] == 404, path


def test_no_address_of_a_file_leads_elsewhere(page, fetched, foreign):
    visitor, own, paths = foreign
    assert visitor.ask("GET", f"/gradio_api/file={own}")[0] == 200
    for path in (str(value) for value in paths.values()):
        for method in ("GET", "HEAD"):
            assert visitor.ask(method, f"/gradio_api/file={quote(path)}")[0] == 403, path
            assert visitor.ask(method, f"/gradio_api/file={quote(quote(path, safe=''))}")[0] == 403, path
            assert visitor.ask(method, f"/gradio_api/file/{quote(path)}")[0] == 404
            assert visitor.ask(method, f"/gradio_api/proxy={quote(path)}")[0] == 404
    for folder in ("assets", "static", "svelte"):
        for name in (f"../../../../../../../..{paths['absolute']}", paths["absolute"], f"..%2f..{paths['absolute']}"):
            assert visitor.ask("GET", f"/{folder}/{name}")[0] in (403, 404)


def test_the_one_who_opens_photos_looks_himself(page, tmp_path):
    from wnet_arch.demo.page import _Handlers

    (tmp_path / "store").mkdir()
    files, visitors = Store(tmp_path / "store", LIMITS), Visitors()
    do = _Handlers(Choices("Bicubic", detector=BlueScreen()), LIMITS, files, visitors)
    cookie = visitors.new().decode().partition(";")[0]
    owner = visitors.owner(cookie)
    with files.arrival(9) as file:
        file.write(png(tmp_path, 12))
        own = files.keep(owner, file, "own.png")
    assert files.claim(owner, "s")

    def shown(path, cookie):
        wish = str(path), PLAIN, 1.0, 0.0, types.SimpleNamespace(headers={"cookie": cookie}, session_hash="s")
        do.latest.forget("s")
        begun = do.begin(*wish)
        assert "working" in begun[0]
        return do.show(*wish[:-1], begun[-1], wish[-1])[0]

    assert "1 face found" in shown(own, cookie)
    for path, who in ((tmp_path / "photo.png", cookie), (own, None), (own, visitors.new().decode())):
        assert "is not among this page" in shown(path, who)


# Of whom


OWN = {"host": "127.0.0.1:7860"}
NAVIGATE = {"sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}


def refused(method: str = "POST", path: str = "/gradio_api/upload", query: bytes = b"", **headers) -> int | None:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in {**OWN, **headers}.items()]
    try:
        check_own({"type": "http", "method": method, "path": path, "query_string": query, "headers": raw})
    except Refused as no:
        return no.status
    return None


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS", "PUT", "DELETE"])
def test_other_origins_are_refused_whatever_they_do(method):
    assert refused(method) is None
    assert refused(method, origin="http://127.0.0.1:7860", sec_fetch_site="same-origin") is None
    assert refused(method, host="localhost:9000", origin="http://localhost:9000") is None  # a port that ssh forwards
    ports = ("http://127.0.0.1:7861", "http://127.0.0.1", "http://localhost:7860", "https://127.0.0.1:7860")
    names = ("http://evil.example", "http://127.0.0.1:7860.evil.example", "http://evil.example/http://127.0.0.1:7860")
    for origin in (*ports, *names, "null", "", "file://"):
        assert refused(method, origin=origin) == 403
        assert refused(method, "/", origin=origin, **NAVIGATE) == 403
    for site in ("cross-site", "same-site", "", "new"):
        assert refused(method, sec_fetch_site=site) == 403
        assert refused(method, sec_fetch_site=site, **NAVIGATE) == 403
        assert refused(method, origin="http://127.0.0.1:7860", sec_fetch_site=site) == 403


def test_a_link_to_the_page_may_be_followed_from_anywhere_but_not_framed_or_posted():
    assert refused("GET", "/", sec_fetch_site="cross-site", **NAVIGATE) is None
    assert refused("POST", "/", sec_fetch_site="cross-site", **NAVIGATE) == 403
    assert refused("GET", "/", b"deep_link=x", sec_fetch_site="cross-site", **NAVIGATE) == 403
    assert refused("GET", "/", sec_fetch_site="cross-site", **{**NAVIGATE, "sec-fetch-dest": "iframe"}) == 403
    assert refused("GET", "/", sec_fetch_site="same-site", **{"sec-fetch-mode": "cors", "sec-fetch-dest": "empty"}) == 403


def test_headers_given_twice_are_refused():
    twice = [(b"host", b"localhost"), (b"origin", b"http://localhost"), (b"Origin", b"http://evil.example")]
    with pytest.raises(Refused, match="2 times"):
        check_own({"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": twice})


def test_there_are_no_websockets():
    sent = []

    async def receive():
        return {"type": "websocket.connect"}

    async def send(message):
        sent.append(message)

    scope = {"type": "websocket", "headers": [(b"host", b"127.0.0.1:7860")], "path": "/"}
    asyncio.run(OwnMachineOnly(None)(scope, receive, send))
    assert [message["type"] for message in sent] == ["websocket.close"]


def test_a_length_that_is_not_true_sets_nothing_aside():
    chunked = [(b"content-length", b"1"), (b"transfer-encoding", b"chunked")]
    assert asgi.announced({"headers": chunked}, 99) == 99
    assert asgi.announced({"headers": chunked[:1]}, 99) == 1
    with pytest.raises(Refused):
        asgi.announced({"headers": [(b"content-length", b"100")]}, 99)


def test_a_foreign_page_stores_nothing_and_reads_nothing(page, tmp_path):
    visitor = page.visitor()
    before = page.files
    body = form("a.png", png(tmp_path, 12)) + END
    local = f"http://localhost:{page.port}"
    for headers in ({"Origin": "http://evil.example"}, {"Origin": local}, {"Origin": "null"}, {"Sec-Fetch-Site": "same-site"}):
        status, answered, _ = visitor.ask("POST", "/gradio_api/upload", body, {**MULTIPART, **headers})
        assert status == 403
        assert not [name for name in answered if name.startswith("access-control")]
        asked = {**headers, "Access-Control-Request-Method": "POST"}
        assert visitor.ask("OPTIONS", "/gradio_api/upload", None, asked)[0] == 403
    for cookie in (None, "wnet_demo=x", visitor.cookie[:-1] + ("0" if visitor.cookie[-1] != "0" else "1")):
        assert Visitor(page, cookie).ask("POST", "/gradio_api/upload", body, MULTIPART)[0] == 403
    assert page.files == before
    _, answered, _ = visitor.ask("GET", "/config", None, {"Origin": f"http://127.0.0.1:{page.port}"})
    assert not [name for name in answered if name.startswith("access-control")]


def test_cookies_of_other_servers_and_broken_ones_name_nobody():
    visitors = Visitors()
    cookie = visitors.new().decode().partition(";")[0]
    owner = visitors.owner(cookie)
    assert visitors.owner(f"a=b; weird\xe4; {cookie}; c=d") == owner
    assert Visitors().owner(cookie) is None
    name, _, value = cookie.partition("=")
    other = visitors.new().decode().partition(";")[0].partition("=")[2]
    for wrong in (None, "", f"x{cookie}", f"{name}={value[:32]}", f"{name}={value[:33]}{other[33:]}", f"{name}=../{value}"):
        assert visitors.owner(wrong) is None


# How much


def test_an_upload_that_is_too_large_is_refused_and_leaves_nothing(page):
    visitor, before = page.visitor(), page.files
    most = LIMITS.max_bytes
    for size, chunked in ((most + 1, False), (most + 1, True), (4 * most, False), (4 * most, True)):
        body = form("a.png", bytes(size)) + END
        sent = (body[i : i + 50_000] for i in range(0, len(body), 50_000)) if chunked else body
        status, _, text = visitor.ask("POST", "/gradio_api/upload", sent, MULTIPART, encode_chunked=chunked)
        assert status == 413
        assert re.fullmatch(r"The (photo|request) is too large: 0\.5\d* MB at most\.\n", text.decode())
    assert page.files == before
    assert len(Path(visitor.upload(bytes(most))).read_bytes()) == most


def test_a_form_that_is_not_one_file_is_refused(page):
    visitor, before = page.visitor(), page.files
    one = form("a.png", b"x" * 99)
    field = one.replace(b'; filename="a.png"', b"")
    bodies = (
        one + one + END,
        field + END,
        field + one + END,
        one,
        one[:60],
        END,
        b"",
        b"nothing",
        one.replace(b"\r\n\r\n", b"\r\n"),
    )
    for body in bodies:
        assert visitor.ask("POST", "/gradio_api/upload", body, MULTIPART)[0] == 400, body
    for kind in ("image/png", "multipart/form-data", f"multipart/form-data; boundary={'x' * 999}", "multipart/mixed; boundary=x"):
        assert visitor.ask("POST", "/gradio_api/upload", one + END, {"Content-Type": kind})[0] == 400
    assert page.files == before


@pytest.mark.parametrize("name", ["a.svg", "a.html", "a.png.html", "a", "", ".htaccess", "a.png/"])
def test_only_photos_by_their_names_are_taken(page, name):
    before = page.files
    for ending in ("", "\0", " "):
        answer = page.visitor().ask("POST", "/gradio_api/upload", form(name + ending, b"<script>") + END, MULTIPART)
        assert answer[0] == 415
    assert page.files == before


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("../../../evil.png", "evil.png"), ("..", "photo"), ("C:\\x\\ü b.png", "ü b.png"), ("a\0b.png", "ab.png"), ("", "photo"),
        ("/etc/passwd", "passwd"), ("x" * 300 + ".jpeg", "x" * 150 + ".jpeg"), ("a?<b>.png", "ab.png"),
    ],
)  # fmt: skip
def test_names_of_uploads_are_harmless(name, stored):
    assert store._safe(name) == stored


def test_all_files_together_have_a_limit(page, monkeypatch):
    visitor, size = page.visitor(), LIMITS.max_bytes
    total = page.store.used() / 1e6 + 2
    monkeypatch.setattr(page.store, "_limits", Limits(LIMITS.max_mb, LIMITS.max_pixels, total))
    body = form("a.png", bytes(size)) + END
    answers = [visitor.ask("POST", "/gradio_api/upload", body, MULTIPART) for _ in range(5)]
    assert [status for status, _, _ in answers] == [200, 200, 200, 413, 413]
    assert f"more than {total:g} MB together" in answers[-1][2].decode()
    chunked = iter([form("a.png", bytes(20)), END])  # it may become as large as one can be
    assert visitor.ask("POST", "/gradio_api/upload", chunked, MULTIPART, encode_chunked=True)[0] == 413
    with Tab(visitor, "full"):
        pass
    wait_for(lambda: visitor.ask("POST", "/gradio_api/upload", body, MULTIPART)[0] == 200)


def test_results_count_and_those_too_large_are_not_kept(tmp_path):
    files = Store(tmp_path, Limits(0.1, 1000, 0.2))
    assert files.claim("a" * 32, "s")
    with pytest.raises(Full, match=r"more than 0\.2 MB"), files.results("a" * 32, "s") as place:
        (place / "x").write_bytes(bytes(300_000))
    with pytest.raises(FileNotFoundError), files.results("a" * 32, "s") as place:
        (place / "missing").rename(place / "x")
    assert files.used() == 0
    places = []
    for _ in range(4):
        with files.results("a" * 32, "s") as place:
            (place / "x").write_bytes(bytes(30_000))
        places.append(place.is_dir())
    assert files.used() == store.LAST * 30_000
    with files.arrival(100_000), files.arrival(30_000), pytest.raises(Full), files.arrival(30_000):
        pass
    with files.arrival(140_000):
        pass


@pytest.mark.parametrize("total", [1, 2e6, float("nan")])
def test_a_total_that_makes_no_sense(total):
    with pytest.raises(UsageError, match="--max-total-mb"):
        Limits(30, 1000, total)


# When it goes


def wait_for(condition, seconds: float = 10) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


class Tab:
    """A page in a tab that is open until the end of the block."""

    def __init__(self, visitor: Visitor, session: str):
        self.connection = visitor.connect("GET", f"/gradio_api/heartbeat/{session}")
        self.answer = self.connection.getresponse()
        assert self.answer.status == 200

    def __enter__(self):
        assert b"ALIVE" in self.answer.readline()

    def __exit__(self, *_):
        self.connection.sock and self.connection.sock.shutdown(socket.SHUT_RDWR)
        self.answer.close()
        self.connection.close()


def test_an_upload_that_breaks_off_leaves_nothing(page):
    visitor, before = page.visitor(), set(page.files)
    for size in (10, 100_000):
        headers = {**MULTIPART, "Content-Length": "400000"}
        connection = visitor.connect("POST", "/gradio_api/upload?upload_id=x", form("a.png", bytes(size)), headers)
        wait_for(lambda: set(page.files) - before)
        connection.sock.close()
        connection.close()
        wait_for(lambda: set(page.files) <= before)


def test_an_upload_that_stops_to_come_leaves_nothing(page, monkeypatch):
    monkeypatch.setattr(asgi, "PATIENCE", 0.3)
    visitor, before = page.visitor(), set(page.files)
    headers = {**MULTIPART, "Content-Length": "400000"}
    connection = visitor.connect("POST", "/gradio_api/upload", form("a.png", bytes(1000)), headers)
    assert connection.getresponse().status == 408
    assert set(page.files) <= before
    connection.close()


def test_files_go_with_their_page_and_all_of_an_owner_with_the_last(page, tmp_path):
    visitor, other = page.visitor(), page.visitor()
    strangers = Path(other.upload(png(tmp_path, 12)))
    with Tab(visitor, "tab1"):
        with Tab(visitor, "tab2"):
            path = Path(visitor.upload(png(tmp_path, 12)))
            loose = Path(visitor.upload(png(tmp_path, 14)))
            assert visitor.choose(str(path), "tab2")["success"]
            visitor.restore("tab2")
            results = [one for one in path.parents[1].rglob("*.png") if one not in (path, loose)]
            assert len(results) > 3
        wait_for(lambda: not path.exists() and not any(one.exists() for one in results))
        assert loose.exists()
    wait_for(lambda: not loose.parents[1].exists())
    assert strangers.exists()


def test_photos_before_the_last_ones_go_while_the_page_is_open(page, tmp_path):
    visitor = page.visitor()
    with Tab(visitor, "many"):
        paths = [Path(visitor.upload(png(tmp_path, 12))) for _ in range(4)]
        for path in paths:
            assert visitor.choose(str(path), "many")["success"]
            visitor.restore("many")
        assert [path.exists() for path in paths] == [False, False, True, True]
        assert visitor.choose(str(paths[-1]), "many")["success"]


def test_what_nobody_asks_for_goes_by_age(tmp_path):
    files, owner = Store(tmp_path, LIMITS), "a" * 32
    paths = {}
    for name in ("shown", "asked", "new", "old"):
        with files.arrival(9) as file:
            paths[name] = files.keep(owner, file, f"{name}.png")
    (tmp_path / "tmp123").write_bytes(b"")  # Gradio leaves some
    assert files.claim(owner, "s")
    with files.open_page("s"):
        files.chosen("s", paths["shown"])
        for place in (*(path.parent for name, path in paths.items() if name != "new"), tmp_path / "tmp123"):
            os.utime(place, (1, 1))
        assert files.find(owner, str(paths["asked"]))
        files.sweep()
        assert [name for name, path in paths.items() if path.exists()] == ["shown", "asked", "new"]
        assert not (tmp_path / "tmp123").exists()
    assert list((tmp_path / "owned").iterdir()) == []


def test_a_session_that_was_never_seen_open_ends_by_age(tmp_path, monkeypatch):
    files, owner = Store(tmp_path, LIMITS), "a" * 32
    with files.arrival(9) as file:
        path = files.keep(owner, file, "a.png")
    assert files.claim(owner, "s")
    assert not files.claim("b" * 32, "s")
    files.chosen("s", path)
    os.utime(path.parent, (1, 1))
    files.sweep()
    assert path.exists()
    monkeypatch.setattr(store, "KEPT", -1)
    files.sweep()
    assert not path.exists()
    assert files.claim("b" * 32, "s")
    with pytest.raises(DataError, match="upload it again"):
        files.photo(owner, str(path))


# In a browser


@pytest.fixture
def tab(page, browser):
    context = browser.new_context()
    yield context.new_page()
    context.close()


def test_the_files_of_a_tab_go_when_it_is_closed(page, tab, tmp_path):
    before = set(page.files)
    tab.goto(f"http://127.0.0.1:{page.port}")
    tab.wait_for_selector("#network", timeout=WAIT)
    tab.locator("#photo input[type=file]").set_input_files(save(tmp_path / "a.png", scene(12)))
    tab.locator("#status", has_text="1 face found").wait_for(timeout=WAIT)
    assert len(set(page.files) - before) > 3
    tab.close()
    wait_for(lambda: set(page.files) <= before)


def test_what_is_refused_is_said_on_the_page(page, tab, tmp_path):
    tab.goto(f"http://127.0.0.1:{page.port}")
    tab.wait_for_selector("#network", timeout=WAIT)
    path, foreign = save(tmp_path / "a.png", scene(12)), page.visitor().upload(b"x")
    tab.route("**/upload?*", lambda route: route.fulfill(body=json.dumps([foreign]), content_type="application/json"))
    tab.locator("#photo input[type=file]").set_input_files(path)
    tab.get_by_text("Only photos that were uploaded here, examples and results can be opened.").wait_for(timeout=WAIT)
    tab.unroute("**/upload?*")
    tab.reload()
    tab.wait_for_selector("#network", timeout=WAIT)
    tab.context.clear_cookies()
    tab.locator("#photo input[type=file]").set_input_files(path)
    tab.get_by_text("Open the page again: this browser is not known").wait_for(timeout=WAIT)


def test_a_link_from_another_site_opens_the_page_with_the_cookie_that_is_there(page, tab, fetched):
    url = f"http://127.0.0.1:{page.port}/"
    tab.goto(url)
    tab.wait_for_selector("#network", timeout=WAIT)
    cookies = tab.context.cookies()
    tab.route("http://elsewhere.example/", lambda route: route.fulfill(body=f'<a href="{url}">x</a>', content_type="text/html"))
    tab.goto("http://elsewhere.example/")
    tab.locator("a").click()
    tab.wait_for_selector("#network", timeout=WAIT)
    assert tab.context.cookies() == cookies


def test_a_page_on_another_port_can_do_nothing(page, tab, fetched):
    before = set(page.files)
    tab.goto(f"http://127.0.0.1:{page.port}")
    tab.wait_for_selector("#network", timeout=WAIT)  # the cookie is there, and ports share it
    tab.goto(fetched.url)
    address = f"http://127.0.0.1:{page.port}/gradio_api/upload"
    script = """async address => {
        const form = new FormData()
        form.append('files', new Blob(['x'.repeat(999)]), 'a.png')
        const asked = {method: 'POST', body: form, credentials: 'include'}
        const opaque = await fetch(address, {...asked, mode: 'no-cors'}).then(() => 'sent', () => 'failed')
        return [opaque, await fetch(address, asked).then(one => one.status, () => 'failed')]
    }"""
    assert tab.evaluate(script, address)[1] == "failed"
    assert set(page.files) <= before
    fetched.asked.clear()
