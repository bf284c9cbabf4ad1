"""Keys in PKCS#11 tokens: the one outside world of this package is the token."""
