"""What every process shares: framed unix sockets, configuration files, crash points.

It stands between the processes and the packages that they compose. It knows
sockets and files, and nothing of transactions, policies or keys. A co-signer
loads it, so it imports neither asyncio, ssl nor http.
"""
