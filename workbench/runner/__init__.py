"""Runs notebooks and makes reports of them. It proposes, watches and reports; it never approves."""
