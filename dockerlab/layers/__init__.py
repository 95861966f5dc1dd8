"""File trees to changesets and back; nothing here mounts."""
