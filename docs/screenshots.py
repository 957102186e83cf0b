#!/usr/bin/env python3
"""Makes docs/page-{light,dark}.png and docs/page-narrow.png: the page of the example `page`, in headless Chromium.

    cargo build --example page --features http && docs/screenshots.py

Needs chromium and chromedriver. `docs/screenshots.py FOLDER` writes them there instead.
"""

import base64
import json
import pathlib
import re
import subprocess
import sys
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDER = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs"


def line_with(process, pattern):
    for line in process.stdout:
        if found := re.search(pattern, line):
            return found.group(1)
    sys.exit(f"{process.args[0]} ended early")


class Browser:
    def __init__(self, driver, width, height):
        port = line_with(driver, r"started successfully on port (\d+)")
        self.base = f"http://127.0.0.1:{port}"
        args = ["--headless=new", "--no-sandbox", "--hide-scrollbars", "--disable-gpu"]
        options = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": {"args": args}}}}
        self.driver = self.base
        self.base += "/session/" + self.call("/session", options)["sessionId"]

    def call(self, path, body):
        request = urllib.request.Request(self.base + path, json.dumps(body).encode(), {"content-type": "application/json"})
        return json.load(urllib.request.urlopen(request))["value"]

    def size(self, width, height):
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("/goog/cdp/execute", {"cmd": "Emulation.setDeviceMetricsOverride", "params": metrics})

    def run(self, script):
        return self.call("/execute/sync", {"script": script, "args": []})

    def until(self, script):
        for _ in range(200):
            if self.run(f"return Boolean({script})"):
                return
            time.sleep(0.05)
        sys.exit(f"{script} did not come true")

    def shot(self, name):
        time.sleep(0.4)  # the sheet slides in
        with urllib.request.urlopen(self.base + "/screenshot") as answer:
            (FOLDER / name).write_bytes(base64.b64decode(json.load(answer)["value"]))


def main():
    app = subprocess.Popen([ROOT / "target/debug/examples/page", "38", "127.0.0.1:0"], stdout=subprocess.PIPE, text=True)
    driver = subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True)
    try:
        url = line_with(app, r"(http://\S+)")
        browser = Browser(driver, 1440, 900)
        time.sleep(75)  # for some to grow old: the picture is of the ages
        browser.size(1440, 860)
        browser.call("/url", {"url": url})
        browser.until("document.querySelector('.rows .row')")
        browser.run("fetch('procs/import1', { method: 'DELETE', body: JSON.stringify({ message: 'the wrong month' }) })")
        time.sleep(1.5)
        for theme in ["light", "dark"]:
            browser.run(f"document.documentElement.dataset.theme = '{theme}'")
            if theme == "dark":
                browser.run("[...document.querySelectorAll('.rows .row')].find((row) => row.textContent.includes('merging') || row.textContent.includes('rendering')).click()")
                browser.until("document.querySelectorAll('.steps li').length > 1")
            browser.shot(f"page-{theme}.png")
        browser.run("document.querySelector('dialog[open]').close(); document.documentElement.dataset.theme = 'light'")
        browser.size(400, 860)
        browser.shot("page-narrow.png")
        # Else the browser would outlive its driver.
        urllib.request.urlopen(browser.driver + "/shutdown").read()
    finally:
        app.kill()
        driver.terminate()


if __name__ == "__main__":
    main()
