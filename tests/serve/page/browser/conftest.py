"""The page, served, and a browser to look at it."""

import asyncio
import os
import shutil
import threading
import time
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def url(app):
    """The page, served in a thread."""
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(10)


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")  # its event loop is this thread's: other tests run loops of their own
def browser():
    if CHROMIUM is None:
        lacking = "no Chromium here: install the Debian package `chromium`"
        if os.environ.get("LLMREC_CI_COMPLETE"):
            pytest.fail(lacking)
        pytest.skip(lacking)
    from playwright.sync_api import sync_playwright

    args = ["--no-sandbox", "--headless=new", "--disable-gpu", "--disable-background-networking"]
    args += ["--disable-component-update", "--disable-sync"]
    with sync_playwright() as play:
        one = play.chromium.launch(executable_path=CHROMIUM, args=args)
        yield one
        one.close()


class Visit:
    """A tab, and what went wrong in it."""

    def __init__(self, page, url, shots):
        self.page, self.url, self.errors, self._shots = page, url, [], shots
        page.set_default_timeout(8_000)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", self._said)

    def _said(self, message):
        refused = "responded with a status of 4" in message.text  # the browser's own words about 401 and 422
        if message.type == "error" and not refused:
            self.errors.append(message.text)

    def go(self, path):
        self.page.goto(self.url + path)
        return self.page

    def shot(self, name):
        if self._shots:
            Path(self._shots).mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=str(Path(self._shots) / f"{name}.png"), full_page=True)


@pytest.fixture
def visit(browser, service, url):
    """Open a tab: `visit(width=1280, dark=False, scripts=True)`. It must leave no error behind."""
    contexts, visits = [], []

    def begin(width=1280, *, dark=False, scripts=True):
        context = browser.new_context(
            viewport={"width": width, "height": 800},
            color_scheme="dark" if dark else "light",
            java_script_enabled=scripts,
            reduced_motion="reduce",
        )
        contexts.append(context)
        visits.append(Visit(context.new_page(), url, os.environ.get("LLMREC_PAGE_SHOTS")))
        return visits[-1]

    yield begin
    for context in contexts:
        context.close()
    assert [one.errors for one in visits if one.errors] == []
