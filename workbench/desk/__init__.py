"""The kernel's side of the desk: draft, wait, show. Claims, never facts; no key but the session's."""
