"""How our HTTP servers run: one place for what uvicorn must not do by itself."""

from __future__ import annotations

from typing import Any, Final

import uvicorn

KEEP_ALIVE_S: Final = 5


def configured(app: Any, *, connections_max: int, grace_s: int, **more: Any) -> uvicorn.Config:  # noqa: ANN401 - ASGI's
    """Return the configuration of a server over an ASGI application."""
    return uvicorn.Config(
        app,
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        # nobody stands before the socket: a forwarded address would be the caller's invention
        proxy_headers=False,
        server_header=False,
        limit_concurrency=connections_max,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=grace_s,
        **more,
    )
