"""Host shapes as real test environments, made from users, capabilities, filters and mounts: `python -m tests.hosts SHAPE [COMMAND…]` enters one."""
