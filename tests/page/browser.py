"""Chromium, driven by lines of JSON on stdin, each answered by one on stdout.

Each order names what to `do` and, but for the first ones, the `page` to do it on. Chromium is the machine's own.
"""

import json
import pathlib
import shutil
import sys
import time

import axe_playwright_python
from playwright.sync_api import Error, sync_playwright

AXE = (pathlib.Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
# Time for what is asked of a page. [ms]
PATIENCE_MS = 10_000
FOUND = """async () => (await axe.run(document, {resultTypes: ["violations"]})).violations
    .map(({id, impact, nodes}) => ({id, impact, where: nodes.map((node) => node.target.join(" ")).slice(0, 3),
                                    why: nodes[0].failureSummary}))"""


class Pages:
    """The pages that are open, and what went wrong in each."""

    def __init__(self, browser):
        self.browser = browser
        self.pages = {}
        self.problems = {}

    def open(self, page, width=1280, height=800, scheme="light", language="en-US"):
        context = self.browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, locale=language
        )
        opened = context.new_page()
        opened.set_default_timeout(PATIENCE_MS)
        problems = self.problems[page] = []
        opened.on("pageerror", lambda error: problems.append(str(error)))
        opened.on("console", lambda said: said.type == "error" and problems.append(said.text))
        opened.on("dialog", lambda dialog: (problems.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        self.pages[page] = opened

    def close(self, page):
        self.pages.pop(page).context.close()

    def go(self, page, url):
        self.pages[page].goto(url)

    def evaluate(self, page, script):
        return self.pages[page].evaluate(script)

    def wait(self, page, script, timeout_ms=PATIENCE_MS):
        """Until `script` is true; answers the time then, in milliseconds since 1970."""
        until = time.monotonic() + timeout_ms / 1000
        while True:
            value = self.pages[page].evaluate(script)
            if value:
                return time.time() * 1000
            if time.monotonic() > until:
                raise TimeoutError(f"not within {timeout_ms} ms: {script}")
            # Lets the browser's own messages be seen meanwhile.
            self.pages[page].wait_for_timeout(5)

    def fill(self, page, selector, text):
        self.pages[page].fill(selector, text)

    def click(self, page, selector):
        self.pages[page].click(selector)

    def press(self, page, key):
        self.pages[page].keyboard.press(key)

    def offline(self, page, is_offline):
        self.pages[page].context.set_offline(is_offline)

    def shoot(self, page, file):
        self.pages[page].screenshot(path=file)

    def check(self, page):
        """What axe finds."""
        self.pages[page].evaluate(AXE)
        return self.pages[page].evaluate(FOUND)

    def wrong(self, page):
        """What has gone wrong since it was last asked."""
        self.pages[page].wait_for_timeout(1)
        problems = list(self.problems[page])
        self.problems[page].clear()
        return problems


def main():
    chromium = shutil.which("chromium")
    if not chromium:
        sys.exit("there is no Chromium; `make setup` installs it")
    with sync_playwright() as playwright:
        # Inside a container root has no sandbox to start it in. It sees pages of ours only.
        pages = Pages(playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"]))
        print(json.dumps({"value": "ready"}), flush=True)
        for line in sys.stdin:
            order = json.loads(line)
            act = getattr(pages, order.pop("do"))
            try:
                answer = {"value": act(**order)}
            except (Error, TimeoutError) as problem:
                answer = {"problem": str(problem)}
            print(json.dumps(answer), flush=True)


main()
