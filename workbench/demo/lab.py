"""JupyterLab over a living demo world: a copy of the notebooks, kernels that find the desk, tokens."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import nbformat
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from workbench.demo.run import CHECKOUT, market
from workbench.demo.world import SERVICE, World, free_port
from workbench.desk.live import SOCKET, TRUST_ROOT
from workbench.rules import roles

HOST = "lab.localhost"
"""Not the machine's address: a browser gives no security key to a bare one."""
START_S, END_S, POLL_S = 60.0, 10.0, 0.2


class LabError(Exception):
    """JupyterLab did not come up; the message holds what it said."""


@dataclass(frozen=True, slots=True)
class Lab:
    """A running JupyterLab and the people's tokens."""

    origin: str
    tokens: Mapping[str, str]
    notebooks: Path

    def url(self, person: str, notebook: str = "") -> str:
        """Return the address at which this person comes in, at a notebook or at the launcher."""
        tree = f"/tree/{notebook}" if notebook else ""
        return f"{self.origin}/lab{tree}?token={self.tokens[person]}"


@contextmanager
def running(world: World) -> Iterator[Lab]:
    """Start JupyterLab beside a living world; end it with the block."""
    folder = world.places.state / "lab"
    folder.mkdir(mode=0o700)
    notebooks = folder / "notebooks"
    shutil.copytree(CHECKOUT / "notebooks", notebooks)
    _fill_in(notebooks / "committee" / "newswap.ipynb", world)
    tokens = {person: secrets.token_urlsafe(24) for person in world.policy.people}
    port = free_port()
    (folder / "config.json").write_text(json.dumps(_config(world, tokens, notebooks, port), indent=1))
    _quiet(folder / "jupyter" / "labconfig")
    command = [sys.executable, "-m", "jupyterlab", "--config", str(folder / "config.json")]
    command += ["--allow-root"] if os.geteuid() == 0 else []
    with (folder / "lab.log").open("ab") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, cwd=folder, env=_environment(world, folder)
        )
    try:
        _await_ready(process, port, folder / "lab.log")
        yield Lab(f"http://{HOST}:{port}", tokens, notebooks)
    finally:
        process.terminate()
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(END_S)


def _config(world: World, tokens: Mapping[str, str], notebooks: Path, port: int) -> dict[str, Any]:
    known = {person: hashlib.sha256(token.encode()).hexdigest() for person, token in tokens.items()}
    held = {
        person.id: sorted(each.value for each in roles.held(world.policy.roles, person.roles))
        for person in world.policy.people.values()
    }
    return {
        "ServerApp": {
            "allow_unauthenticated_access": False,
            "authorizer_class": "workbench.lab.people.DeskAuthorizer",
            "identity_provider_class": "workbench.lab.people.DeskIdentityProvider",
            "ip": "127.0.0.1",
            "local_hostnames": ["localhost", HOST],
            "open_browser": False,
            "port": port,
            "port_retries": 0,
            "root_dir": str(notebooks),
            "terminals_enabled": False,
        },
        "DeskAuthorizer": {"permissions": held},
        "DeskIdentityProvider": {"people": known},
        "KernelManager": {"transport_encryption": "required"},
    }


def _fill_in(notebook: Path, world: World) -> None:
    """Give the worked example this world's parameters."""
    parameters = {
        "socket": str(world.places.socket(SERVICE)),
        "market": market(world),
        "trust_root": str(world.places.trust_root),
    }
    filled = parameterize_notebook(load_notebook_node(str(notebook)), parameters)
    nbformat.write(filled, notebook)


def _quiet(folder: Path) -> None:
    """Let JupyterLab ask nobody about news from elsewhere."""
    folder.mkdir(parents=True)
    disabled = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}
    (folder / "page_config.json").write_text(json.dumps(disabled))


def _environment(world: World, folder: Path) -> dict[str, str]:
    own = {
        "JUPYTER_CONFIG_DIR": str(folder / "jupyter"),
        "JUPYTER_DATA_DIR": str(folder / "data"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
        SOCKET: str(world.places.socket(SERVICE)),
        TRUST_ROOT: str(world.places.trust_root),
    }
    return {**os.environ, **own}


def _await_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise LabError(log.read_text()[-2000:])
        with closing(HTTPConnection("127.0.0.1", port, timeout=START_S)) as http:
            try:
                http.request("GET", "/login", headers={"Host": f"{HOST}:{port}"})
                if http.getresponse().status < HTTPStatus.INTERNAL_SERVER_ERROR:
                    return
            except (OSError, HTTPException):
                time.sleep(POLL_S)
    raise LabError(f"JupyterLab is not ready after {START_S:.0f} s")
