"""Run a notebook with papermill and turn it into a report that opens anywhere.

The verdict is whether execution ended without an error, never the notebook's metadata.
The report is one HTML file under a strict content security policy: no script, no request;
nbconvert's links to script hosts are left out by the template blocks, not filtered.
"""

from __future__ import annotations

import ast
import html
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
import papermill
from nbconvert import HTMLExporter
from traitlets.config import Config

CELL_S = 300
CSP = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:"
TEMPLATE = """
{%- extends 'lab/index.html.j2' -%}
{%- block html_head_js -%}{%- endblock html_head_js -%}
{%- block html_head_js_mermaidjs -%}{%- endblock html_head_js_mermaidjs -%}
{%- block html_head_js_requirejs -%}{%- endblock html_head_js_requirejs -%}
{%- block html_head_js_mathjax -%}{%- endblock html_head_js_mathjax -%}
{%- block jupyter_widgets -%}{%- endblock jupyter_widgets -%}
"""
HEAD = """<meta http-equiv="Content-Security-Policy" content="%s">
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>%s</style>"""
STYLE = """
:root { color-scheme: light dark; --ink: #1c1c1c; --ground: #ffffff; --line: #d4d4d4; }
@media screen and (prefers-color-scheme: dark) {
  :root { --ink: #e4e4e4; --ground: #161616; --line: #454545; }
}
html, body, .jp-Notebook { background: var(--ground) !important; color: var(--ink) !important; }
body { max-width: 60rem; margin: 0 auto !important; padding: 1rem !important; }
.jp-RenderedHTMLCommon, .jp-RenderedHTMLCommon * { color: var(--ink) !important; }
.jp-OutputPrompt, .jp-InputPrompt, .jp-Collapser { display: none !important; }
.jp-OutputArea-output { overflow-x: auto; background: transparent !important; }
.jp-OutputArea-output svg { max-width: 100%; height: auto; color: var(--ink); }
.workbench table {
  border-collapse: collapse; width: 100%; table-layout: auto !important; font-size: 0.85rem;
}
.workbench tr { background: transparent !important; }
.workbench thead tr:not(:has(th:not(:empty))) { display: none; }
.workbench th, .workbench td {
  text-align: left !important; vertical-align: top; padding: 0.3rem 0.6rem; white-space: normal !important;
  overflow-wrap: normal; border-bottom: 1px solid var(--line) !important;
}
.workbench td:last-child { overflow-wrap: anywhere; }
@media (max-width: 40rem) {
  .workbench thead { display: none; }
  .workbench tr {
    display: block; text-align: left !important; border-bottom: 1px solid var(--line); padding: 0.3rem 0;
  }
  .workbench td { display: inline-block; border: 0 !important; padding: 0.1rem 0.6rem 0.1rem 0 !important; }
  .workbench td:last-child { display: block; }
  .workbench td[data-label]:not(:empty):not([data-label^=" "]):not([data-label=""])::before {
    content: attr(data-label) ": "; opacity: 0.75;
  }
}
.jp-RenderedHTMLCommon code { background: transparent !important; }
@media print {
  /* paper is light whatever the screen is; a heading goes with what it heads, and no row is torn apart */
  :root { color-scheme: light; }
  .jp-InputArea, .jp-MarkdownOutput, .jp-OutputArea, .jp-OutputArea-child, .jp-OutputArea-output {
    display: block !important; width: auto !important; overflow: visible !important;
  }
  .jp-OutputArea-child { break-inside: auto; }
  .jp-RenderedHTMLCommon :is(h1, h2, h3), .jp-MarkdownCell, p:has(+ :is(table, svg, div, pre)) {
    break-after: avoid;
  }
  .jp-RenderedHTMLCommon p { break-inside: avoid; }
  .workbench thead { display: table-header-group; }
  .workbench tr, svg { break-inside: avoid; }
  .anchor-link { display: none; }
}
"""


NAME = re.compile(r"[a-z_][a-z0-9_]{0,63}")


class NotebookError(Exception):
    """The notebook did not run to its end, or was given what it does not take."""


def run(notebook: Path, folder: Path, parameters: Mapping[str, Any]) -> Path:
    """Execute a notebook with these parameters; return the report beside the executed copy."""
    folder.mkdir(parents=True, exist_ok=True)
    _check(notebook, parameters)
    executed = folder / notebook.name
    try:
        papermill.execute_notebook(
            str(notebook),
            str(executed),
            parameters=dict(parameters),
            kernel_name="python3",
            execution_timeout=CELL_S,
            progress_bar=False,
            config=Config(KernelManager={"transport_encryption": "required"}),
        )
    except (TimeoutError, papermill.exceptions.PapermillException, RuntimeError) as error:
        raise NotebookError(f"{notebook.name}: {error}") from error
    report = executed.with_suffix(".html")
    report.write_text(render(executed))
    return report


def render(executed: Path) -> str:
    """Return the report of an executed notebook: no code, no script, no outside address."""
    node = nbformat.read(executed, as_version=4)
    node.metadata.pop("widgets", None)  # a report has no script that could bring them to life
    config = Config()
    config.TemplateExporter.exclude_input = True
    config.TagRemovePreprocessor.enabled = True
    config.TagRemovePreprocessor.remove_cell_tags = {"parameters", "injected-parameters", "live"}
    exporter = HTMLExporter(config=config, raw_template=TEMPLATE)
    exporter.exclude_input_prompt = exporter.exclude_output_prompt = True
    exporter.register_preprocessor("nbconvert.preprocessors.TagRemovePreprocessor", enabled=True)
    body, _ = exporter.from_notebook_node(node)
    head = HEAD % (html.escape(CSP, quote=True), STYLE)
    return body.replace("<head>", f"<head>{head}", 1)


def _check(notebook: Path, parameters: Mapping[str, Any]) -> None:
    """Refuse a parameter that the notebook does not declare, or of another type.

    papermill only warns, and writes a parameter's name into the cell as code.
    """
    declared = papermill.inspect_notebook(str(notebook))
    for name, value in parameters.items():
        if name not in declared or NAME.fullmatch(name) is None:
            raise NotebookError(f"{notebook.name} has no parameter {name!r}")
        default = ast.literal_eval(declared[name]["default"])
        if type(value) is not type(default):
            raise NotebookError(f"{name}: {type(value).__name__}, declared {type(default).__name__}")
