"""Running containers. Outside this room nothing asks which tier the host allows: it reads a `Capabilities` record."""
