"""Kernel doors; nothing here knows of images."""
