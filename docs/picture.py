#!/usr/bin/env python3
"""Records a session with the example http_server and draws it as docs/terminal.svg.

    python3 docs/picture.py

Needs cargo and Python 3, nothing else. What is drawn is what was received, and the lines that were
typed in between.
"""

import html
import pathlib
import re
import socket
import subprocess
import threading
import time
import urllib.request

FOLDER = pathlib.Path(__file__).resolve().parent
TYPED, SENT = "typed", "sent"


def record():
    """The lines of a session: what was typed and what came."""
    command = ["cargo", "run", "--quiet", "--example", "http_server", "--features", "axum", "--"]
    command += ["127.0.0.1:0", "127.0.0.1:0"]
    server = subprocess.Popen(command, cwd=FOLDER.parent, stdout=subprocess.PIPE, text=True)
    try:
        text = "".join(server.stdout.readline() for _ in range(5))
        app = re.search(r"http://([\d.:]+)/stuck", text).group(1)
        host, port = re.search(r"nc (\S+) (\d+)", text).groups()
        for uri, pause in [("/stuck", 2.5), ("/report", 0.4), ("/users/5/friends", 1.0)]:
            threading.Thread(target=get, args=(f"http://{app}{uri}",), daemon=True).start()
            time.sleep(pause)
        session = socket.create_connection((host, int(port)))
        lines = [(TYPED, f"$ nc localhost {port}".replace(port, "8081"))]
        lines += receive(session, 0.5)
        stuck, friends = (id_of(uri, lines) for uri in ["/stuck", "/users/5/friends"])
        for typed, pause in [(f"kill {stuck} houston, we have a problem", 0.6), ("list", 0.4), (f"show {friends}", 0.4)]:
            session.sendall(f"{typed}\n".encode())
            lines.append((TYPED, typed))
            lines += receive(session, pause)
        return lines
    finally:
        server.kill()


def id_of(uri, lines):
    """The id of the request with this uri, from the table."""
    return next(line.split()[0] for _, line in lines if line.endswith(uri))


def get(url):
    try:
        urllib.request.urlopen(url).read()
    except OSError:
        pass  # a request that was killed answers 503


def receive(session, seconds):
    session.settimeout(0.05)
    received, end = b"", time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            received += session.recv(65536)
        except TimeoutError:
            pass
    return [(SENT, line) for line in received.decode().splitlines()]


def draw(lines):
    """An SVG of a terminal."""
    width, height = 80 * 8.43 + 32, len(lines) * 19 + 56
    rows = []
    for number, (kind, line) in enumerate(lines):
        colour = "#7ee787" if kind == TYPED else "#e6edf3"
        text = html.escape(line[:80])
        rows.append(f'<text x="16" y="{54 + number * 19}" fill="{colour}" xml:space="preserve">{text}</text>')
    dots = "".join(f'<circle cx="{20 + 18 * n}" cy="18" r="5.5" fill="{fill}"/>'
                   for n, fill in enumerate(["#ff5f57", "#febc2e", "#28c840"]))
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height}" '
            f'font-family="ui-monospace, Menlo, Consolas, DejaVu Sans Mono, monospace" font-size="14">\n'
            f'<rect width="100%" height="100%" rx="8" fill="#0d1117"/>\n{dots}\n' + "\n".join(rows) + "\n</svg>\n")


if __name__ == "__main__":
    (FOLDER / "terminal.svg").write_text(draw(record()))
