"""Values of the OCI specifications: no files, no sockets."""
