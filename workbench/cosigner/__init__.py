"""The hands: a process that holds one key in its own token and decides alone.

It imports no web library, no database, no node client, and believes no courier.
"""
