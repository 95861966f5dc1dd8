"""State on disk: an OCI image layout with a few sibling folders. Valid after `kill -9` at any instant."""
