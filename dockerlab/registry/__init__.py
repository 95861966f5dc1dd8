"""The OCI distribution protocol, both ends: a client, and a registry that is one WSGI application."""
