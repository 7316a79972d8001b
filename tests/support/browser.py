"""A card as the Hub shows it: Markdown to HTML, in a column of the Hub's width, in headless Chromium."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard
from markdown_it import MarkdownIt

COLUMN = 740  # pixels, about what the Hub leaves a model card beside its right-hand panel
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run")
STYLE = """
:root { --page: #ffffff; --ink: #374151; --head: #111827; --line: #e5e7eb; --code: #f9fafb; --link: #2563eb; }
:root.dark { --page: #0b0f19; --ink: #d1d5db; --head: #f3f4f6; }
:root.dark { --line: #374151; --code: #111827; --link: #93c5fd; }
body { background: var(--page); color: var(--ink); margin: 24px; }
body { font: 16px/1.65 "Source Sans Pro", "DejaVu Sans", sans-serif; }
main { max-width: COLUMNpx; margin: 0 auto; }
h1, h2, h3, strong, th { color: var(--head); } h2 { border-bottom: 1px solid var(--line); }
a { color: var(--link); } img { max-width: 100%; }
div.table { max-width: 100%; overflow-x: auto; } table { border-collapse: collapse; font-size: 14px; }
td, th { border: 1px solid var(--line); padding: 6px 10px; }
pre { background: var(--code); border: 1px solid var(--line); padding: 12px; overflow-x: auto; }
pre { font-size: 13px; } code { font-family: "DejaVu Sans Mono", monospace; font-size: 0.88em; }
code { overflow-wrap: anywhere; } pre code, td code { overflow-wrap: normal; }
""".replace("COLUMN", str(COLUMN))
# Runs in the page once it is whole, and leaves what it found as JSON in its last element.
SCRIPT = """
function light(colour) {
  const [r, g, b] = colour.match(/[\\d.]+/g).map(Number)
    .map(v => v / 255).map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
function ground(element) {
  for (let e = element; e; e = e.parentElement) {
    const colour = getComputedStyle(e).backgroundColor;
    if (colour !== "rgba(0, 0, 0, 0)") return colour;
  }
  return "rgb(255, 255, 255)";
}
function contrast() {
  let least = 21;
  for (const e of document.querySelectorAll("main *")) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
    const [a, b] = [light(getComputedStyle(e).color), light(ground(e))].sort((x, y) => y - x);
    least = Math.min(least, (a + 0.05) / (b + 0.05));
  }
  return least;
}
window.onload = () => {
  document.querySelectorAll("details").forEach(e => e.open = true);
  const main = document.querySelector("main"), found = {};
  found.images = [...document.images].map(i => ({
    source: i.getAttribute("src"), alt: i.alt, natural: i.naturalWidth, shown: i.clientWidth }));
  found.tables = [...document.querySelectorAll("div.table")].map(t => ({
    shown: t.clientWidth, needed: t.scrollWidth, head: t.innerText.slice(0, 60) }));
  found.column = main.clientWidth;
  found.overflow = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  found.headings = [...document.querySelectorAll("h1, h2, h3, h4")]
    .map(h => [Number(h.tagName[1]), h.innerText]);
  found.links = [...document.querySelectorAll("main a")].map(a => a.getAttribute("href"));
  const scheme = document.documentElement.className;
  for (const each of ["light", "dark"]) {
    document.documentElement.className = each;
    found[each] = contrast();
  }
  document.documentElement.className = scheme;
  const words = main.cloneNode(true);
  words.querySelectorAll("pre, code").forEach(e => e.remove());
  found.text = words.textContent;
  const report = document.createElement("script");
  report.type = "application/json"; report.id = "report"; report.textContent = JSON.stringify(found);
  document.body.append(report);
};
"""


def write_page(card: str, pictures: dict[str, bytes], folder: Path, scheme: str = "light") -> Path:
    """The card and its pictures as a page on this disk."""
    for name, picture in pictures.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(picture)
    markdown = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    body = markdown.render(ModelCard(card).text)
    body = body.replace("<table>", '<div class="table"><table>').replace("</table>", "</table></div>")
    page = folder / f"{scheme}.html"
    page.write_text(
        f'<!doctype html><html class="{scheme}"><meta charset="utf-8"><style>{STYLE}</style>'
        f"<body><main>{body}</main><script>{SCRIPT}</script></body></html>",
        encoding="utf-8",
    )
    return page


def look_at(page: Path) -> dict[str, Any]:
    """What the browser makes of a page."""
    dom = _chromium(page, "--dump-dom", "--virtual-time-budget=5000")
    found = re.search(r'<script type="application/json" id="report">(.*?)</script>', dom, re.DOTALL)
    assert found is not None, dom[-2000:]
    return json.loads(found[1])


def take_picture(page: Path, target: Path, height: int) -> None:
    """A screenshot of a page from its top."""
    _chromium(page, f"--screenshot={target}", f"--window-size={COLUMN + 120},{height}")


def _chromium(page: Path, *options: str) -> str:
    assert CHROMIUM is not None
    profile = page.parent / "profile"
    command = [
        CHROMIUM,
        *FLAGS,
        f"--user-data-dir={profile}",
        "--window-size=900,1200",
        *options,
        page.as_uri(),
    ]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=200).stdout
