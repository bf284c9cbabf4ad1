"""A co-signer on another host: stunnel in front of its unix socket, mutual TLS between two machines.

A co-signer opens no network socket; what stands before it is stunnel, which knows nothing of the desk. Each
side believes one certificate, the other's own, and no authority: whoever issues certificates gains nothing.
TLS 1.3 only, no resumption. At the near side stunnel listens on a unix socket in the co-signer's place, so
that the service and the watcher find there what they would find at home: they are told of nothing.

Who holds the near side's key can connect, as the service can at home, and is believed as little: evidence,
leases and messages between co-signers are signed by their authors. TLS keeps strangers from getting so far.

Pure: these are the texts of configurations; who starts stunnel, and in which network, is the operator's.
"""

from __future__ import annotations

from pathlib import Path

COMMON = """\
foreground = yes
syslog = no
debug = warning
pid =
sslVersionMin = TLSv1.3
sessionCacheSize = 1
options = NO_TICKET
TIMEOUTclose = 0
"""
PLACES = frozenset("\n\r;#")


class TunnelError(ValueError):
    """A value that would be read as something else in a configuration."""


def far(*, accept: str, cosigner: Path, certificate: Path, key: Path, peer: Path) -> str:
    """Return the configuration beside the co-signer: TLS in, its unix socket out.

    Args:
        accept: HOST:PORT of an address of this machine.
        cosigner: the co-signer's own socket.
        certificate: this side's certificate (PEM).
        key: its private key, which nobody else may read (PEM).
        peer: the one certificate that may connect (PEM).

    """
    return _service(accept=accept, connect=str(cosigner), certificate=certificate, key=key, peer=peer)


def near(*, listen: Path, connect: str, certificate: Path, key: Path, peer: Path) -> str:
    """Return the configuration beside the service: a unix socket in, TLS out; arguments as in `far`."""
    return _service(
        accept=str(listen), connect=connect, certificate=certificate, key=key, peer=peer, client=True
    )


def _service(
    *, accept: str, connect: str, certificate: Path, key: Path, peer: Path, client: bool = False
) -> str:
    lines = {
        "client": "yes" if client else "no",
        "accept": accept,
        "connect": connect,
        "cert": str(certificate),
        "key": str(key),
        "CAfile": str(peer),
        # the peer's certificate itself, not one that somebody has issued
        "verifyPeer": "yes",
    }
    for name, value in lines.items():
        if PLACES & set(value) or value != value.strip() or not value:
            raise TunnelError(f"{name}: {value!r:.100}")
    return COMMON + "\n[cosigner]\n" + "".join(f"{name} = {value}\n" for name, value in lines.items())
