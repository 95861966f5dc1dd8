"""The terminal's surface: `dockerlab …`, and `docker …` through the shim."""
