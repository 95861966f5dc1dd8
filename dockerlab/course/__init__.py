"""Lessons: each has its own view of the store, and a start that can be brought back."""

from __future__ import annotations

from dockerlab.course.lessons import Lesson, lesson

__all__ = ["Lesson", "lesson"]
