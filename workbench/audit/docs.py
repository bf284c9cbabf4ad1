"""Data Docs that open anywhere: the pages of great-expectations without what they ask the network for.

The library's pages load style sheets, scripts and images from five hosts. Each page is rewritten: scripts,
links to style sheets, images and the newsletter go, a style sheet of our own that reads in light and dark
comes, and a content security policy stands before everything else. The policy is what holds: should a later
release link out in another way, the browser still asks for nothing. What the scripts did (filter, fold away)
is lost; everything that they hid is shown.
"""

from __future__ import annotations

import html
import re
import shutil
from pathlib import Path

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
DROPPED = re.compile(
    r"<script\b.*?</script\s*>|<style\b.*?</style\s*>|<link\b[^>]*>|<img\b[^>]*>|<footer\b.*?</footer\s*>|"
    r'<input\b[^>]*>|<label\b[^>]*\bonclick=.*?</label\s*>|\son[a-z]+="[^"]*"',
    re.DOTALL | re.IGNORECASE,
)
OUTSIDE = re.compile(r'<a\b[^>]*href="(?:https?:)?//[^>]*>(.*?)</a\s*>', re.DOTALL | re.IGNORECASE)
HEAD = re.compile(r"<head\b[^>]*>", re.IGNORECASE)
STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 sans-serif; max-width: 64rem; margin: 0 auto; padding: 1rem; }
body { overflow-wrap: break-word; }
table { border-collapse: collapse; width: 100%; font-size: 0.9rem; }
th, td { text-align: left; vertical-align: top; padding: 0.3rem 0.6rem; border-bottom: 1px solid #8886; }
pre, code { white-space: pre-wrap; }
a { color: inherit; }
.card { display: none; } /* the filter was a script */
i.text-success::before { content: "met"; }
i.text-danger::before { content: "NOT MET"; font-weight: bold; }
"""
INDEX = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Data Docs</title></head><body><h1>Data Docs</h1><ul>%s</ul></body></html>
"""


def take_offline(folder: Path) -> None:
    """Rewrite every page in a folder, write an index that links them, and drop the library's own pictures."""
    shutil.rmtree(folder / "static", ignore_errors=True)
    index = folder / "index.html"
    pages = [page for page in sorted(folder.rglob("*.html")) if page != index]
    for page in pages:
        page.write_text(offline(page.read_text()))
    names = [html.escape(page.relative_to(folder).as_posix()) for page in pages]
    links = "".join(f'<li><a href="{name}">{name}</a></li>' for name in names)
    index.write_text(offline(INDEX % links))


def offline(page: str) -> str:
    """Return a page that asks for nothing."""
    kept = OUTSIDE.sub(r"\1", DROPPED.sub("", page))
    head = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}"><style>{STYLE}</style>'
    return HEAD.sub(lambda found: found.group() + head, kept, count=1)
