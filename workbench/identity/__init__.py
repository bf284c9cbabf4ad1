"""People's keys: the one outside world of this package is the FIDO2 authenticator."""
