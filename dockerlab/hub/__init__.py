"""A hub: accounts and organisations in front of a registry, and builds that a Git push begins."""
